import Causality
import ConflictResolution
import Crisis

/// The crisis of an account, as a view of its one crisis record.
///
/// An activation is an entry that adding wins: a resolution takes out only the activations it had
/// seen, so one that it had not seen stays active, whatever the clocks say.
package struct CrisisState: Sendable, Hashable {
  package struct Activation: Sendable, Hashable {
    package var id: OperationID
    package var level: CrisisLevel
    package var source: String
    package var timestamp: Timestamp
  }
  /// Not resolved yet, oldest first.
  package var activations: [Activation]

  package init(_ record: RecordState?) {
    activations = (record?["active"]?.dots ?? []).compactMap(Activation.init)
      .sorted { ($0.timestamp, $0.id) < ($1.timestamp, $1.id) }
  }

  package var isActive: Bool { !activations.isEmpty }
  /// The most severe level that is not resolved.
  package var level: CrisisLevel { activations.map(\.level).max() ?? .none }
  /// Milliseconds since 1970 of the oldest activation.
  package var since: UInt64? { activations.first?.timestamp.milliseconds }

  /// The account has one crisis record; its name is the same on every device.
  package static func record(ofAccount account: [UInt8]) -> RecordID {
    let bytes = account + Array(repeating: 0, count: max(0, 16 - account.count))
    guard let base = RecordID(bytes: bytes.prefix(16)) else { preconditionFailure("16 bytes") }
    return RecordID(high: base.high ^ 0x6372_6973_6973_0001, low: base.low)
  }

  /// The write that raises a crisis. Each raises a new activation, also while one is active.
  package static func activation(_ level: CrisisLevel, source: String, record: RecordID) -> Draft {
    Draft(
      record: record, kind: RecordCatalogue.crisis.kind, field: "active",
      mutation: .add(.text("\(level.name) \(source)")), lane: .crisis, replaces: [])
  }

  /// The write that resolves everything seen so far.
  package func resolution(record: RecordID) -> Draft {
    Draft(
      record: record, kind: RecordCatalogue.crisis.kind, field: "active", mutation: .remove, lane: .crisis,
      replaces: activations.map(\.id))
  }
}

extension CrisisState.Activation {
  /// An entry that cannot be read still counts: as severe, for nothing may lower a crisis.
  fileprivate init?(_ dot: Dot) {
    guard case .text(let text)? = dot.value else { return nil }
    let words = text.split(separator: " ", maxSplits: 1).map(String.init)
    self.init(
      id: dot.id, level: words.first.flatMap(CrisisLevel.init(name:)) ?? .severe,
      source: words.count > 1 ? words[1] : "person", timestamp: dot.timestamp)
  }
}
