import Causality
import Crisis

/// Crises of the last 90 days, from every write to the crisis record: what was resolved is no longer in
/// its state. (DOMAIN.md, *Crisis levels*.)
package struct CrisisHistory: Sendable, Hashable {
  package struct Entry: Sendable, Hashable {
    package var activation: OperationID
    package var level: CrisisLevel
    package var source: String
    /// Milliseconds since 1970, by the stamps of whoever wrote them.
    package var raised: UInt64
    /// The first resolution that had seen it, and its device.
    package var resolved: (at: UInt64, by: DeviceID)?
    /// When each device acknowledged it first.
    package var acknowledged: [DeviceID: UInt64] = [:]
    package var stages: Set<EscalationStage> = []
    package var told: Set<RecordID> = []

    package static func == (one: Self, other: Self) -> Bool {
      one.activation == other.activation && one.acknowledged == other.acknowledged && one.stages == other.stages
        && one.told == other.told && one.resolved?.at == other.resolved?.at && one.resolved?.by == other.resolved?.by
    }
    package func hash(into hasher: inout Hasher) { hasher.combine(activation) }
  }

  /// Newest first.
  package private(set) var entries: [Entry]

  package static let days: UInt64 = 90

  /// - Parameters:
  ///   - writes: Every write to the record, in any order.
  ///   - wall: Now, in milliseconds since 1970.
  package init(_ writes: [Operation], wall: UInt64) {
    var entries: [OperationID: Entry] = [:]
    for write in writes where write.field == "active" {
      guard let activation = CrisisState.Activation(write) else { continue }
      entries[write.id] = Entry(
        activation: write.id, level: activation.level, source: activation.source, raised: write.timestamp.milliseconds)
    }
    for write in writes.sorted(by: { ($0.timestamp, $0.id) < ($1.timestamp, $1.id) }) {
      let at = write.timestamp.milliseconds
      if write.field == "active" {
        for id in write.replaces where entries[id] != nil && entries[id]?.resolved == nil {
          entries[id]?.resolved = (at, write.id.stream.device)
        }
      }
      guard case .add(.text(let text)) = write.mutation, let (id, rest) = CrisisEntry.read(text) else { continue }
      switch write.field {
      case "acknowledged":
        if entries[id]?.acknowledged[write.id.stream.device] == nil { entries[id]?.acknowledged[write.id.stream.device] = at }
      case "escalated":
        if let stage = Int(rest).flatMap(EscalationStage.init(rawValue:)) { entries[id]?.stages.insert(stage) }
      case "told": if let contact = RecordID(rest) { entries[id]?.told.insert(contact) }
      default: break
      }
    }
    let since = wall > Self.days * 86_400_000 ? wall - Self.days * 86_400_000 : 0
    // What is not resolved is never too old to be seen.
    self.entries = entries.values.filter { $0.raised >= since || $0.resolved == nil }
      .sorted { ($0.raised, $0.activation) > ($1.raised, $1.activation) }
  }
}
