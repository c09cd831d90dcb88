/// What an account may use. The table of PRODUCT.md, *Tiers*; it stands nowhere else.
package struct Tier: Sendable, Hashable {
  package var name: String
  /// Seconds between two batches when pacing falls back to it; on free, always the shortest.
  package var intervalSeconds: Int
  /// Operations a batch should carry at most.
  package var batch: Int
  /// Sync operations per day; `nil` where they are counted but not limited.
  package var operationsPerDay: Int?
  package var devices: Int
  package var conflictResolution: ConflictResolutionTier
  package var allowsHandoff: Bool

  package enum ConflictResolutionTier: String, Sendable { case basic, advanced, assisted }

  package static let free = Tier(
    name: "free", intervalSeconds: 30, batch: 10, operationsPerDay: 100, devices: 1,
    conflictResolution: .basic, allowsHandoff: false)
  package static let premium = Tier(
    name: "premium", intervalSeconds: 15, batch: 25, operationsPerDay: 2_000, devices: 5,
    conflictResolution: .advanced, allowsHandoff: true)
  package static let family = Tier(
    name: "family", intervalSeconds: 10, batch: 50, operationsPerDay: 5_000, devices: 10,
    conflictResolution: .advanced, allowsHandoff: true)
  package static let enterprise = Tier(
    name: "enterprise", intervalSeconds: 5, batch: 100, operationsPerDay: 10_000, devices: 50,
    conflictResolution: .assisted, allowsHandoff: true)
  /// No vendor configured: the features of enterprise, counted but not limited.
  package static let selfHosted = Tier(
    name: "self-hosted", intervalSeconds: 5, batch: 100, operationsPerDay: nil, devices: 50,
    conflictResolution: .assisted, allowsHandoff: true)

  package static let all = [free, premium, family, enterprise, selfHosted]

  /// Whether changes leave at once (from premium upward).
  package var isRealTime: Bool { name != Tier.free.name }
}
