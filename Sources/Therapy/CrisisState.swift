import Causality
import ConflictResolution
import Crisis

/// The crisis of an account, as a view of its one crisis record.
///
/// An activation is an entry that adding wins: a resolution takes out only the activations it had
/// seen, so one that it had not seen stays active, whatever the clocks say. What is known about an
/// activation (who acknowledged it, which stage was taken, who was told) are entries too, and leave
/// with it.
package struct CrisisState: Sendable, Hashable {
  package struct Activation: Sendable, Hashable {
    package var id: OperationID
    package var level: CrisisLevel
    package var source: String
    package var timestamp: Timestamp
  }
  /// A contact who was told.
  package struct Telling: Sendable, Hashable {
    package var contact: RecordID
    package var timestamp: Timestamp
  }
  package struct Acknowledgement: Sendable, Hashable {
    package var activation: OperationID
    package var device: DeviceID
    package var timestamp: Timestamp
  }
  /// Not resolved yet, oldest first.
  package var activations: [Activation]
  /// Of the last active activation, oldest first, each device once.
  package var acknowledgements: [Acknowledgement] = []
  /// Stages that some device has taken.
  package var stages: Set<EscalationStage> = []
  /// Contacts who were told, oldest first, each once.
  package var tellings: [Telling] = []
  /// Which activations each of them was told of.
  private var toldOf: [RecordID: Set<OperationID>] = [:]
  /// Every live entry, of whichever field.
  private var entries: [String: [OperationID]] = [:]

  package init(_ record: RecordState?) {
    activations = (record?["active"]?.dots ?? []).compactMap(Activation.init)
      .sorted { ($0.timestamp, $0.id) < ($1.timestamp, $1.id) }
    let active = Set(activations.map(\.id))
    func about(_ field: String) -> [(dot: Dot, activation: OperationID, rest: String)] {
      (record?[field]?.dots ?? []).compactMap { dot in
        guard case .text(let text)? = dot.value, let (id, rest) = CrisisEntry.read(text), active.contains(id) else { return nil }
        return (dot, id, rest)
      }
    }
    // A cry that comes after somebody has seen an earlier one is a new one.
    let latest = activations.last?.id
    var seen = Set<DeviceID>()
    acknowledgements = about("acknowledged").filter { $0.activation == latest }
      .map { Acknowledgement(activation: $0.activation, device: $0.dot.id.stream.device, timestamp: $0.dot.timestamp) }
      .sorted { ($0.timestamp, $0.device) < ($1.timestamp, $1.device) }
      .filter { seen.insert($0.device).inserted }
    stages = Set(about("escalated").compactMap { Int($0.rest).flatMap(EscalationStage.init(rawValue:)) })
    for entry in about("told").sorted(by: { $0.dot.timestamp < $1.dot.timestamp }) {
      guard let contact = RecordID(entry.rest) else { continue }
      if toldOf[contact] == nil { tellings.append(Telling(contact: contact, timestamp: entry.dot.timestamp)) }
      toldOf[contact, default: []].insert(entry.activation)
    }
    for field in ["active", "acknowledged", "escalated", "told"] { entries[field] = record?[field]?.dots.map(\.id) ?? [] }
  }

  package var told: Set<RecordID> { Set(toldOf.keys) }
  package var isActive: Bool { !activations.isEmpty }
  /// The most severe level that is not resolved.
  package var level: CrisisLevel { activations.map(\.level).max() ?? .none }
  /// The activation that counts: the oldest of the most severe.
  package var leading: Activation? { activations.first { $0.level == level } }
  /// Milliseconds since 1970 of the activation that counts.
  package var since: UInt64? { leading?.timestamp.milliseconds }

  /// The account has one crisis record; its name is the same on every device.
  package static func record(ofAccount account: [UInt8]) -> RecordID {
    RecordID(ofAccount: account, mark: 0x6372_6973_6973_0001)
  }

  // MARK: Writes

  /// The write that raises a crisis. Each raises a new activation, also while one is active.
  package static func activation(_ level: CrisisLevel, source: String, record: RecordID) -> Draft {
    draft("active", .add(.text("\(level.name) \(source)")), record, replaces: [])
  }

  /// The write that takes back activations, and nothing else.
  package static func withdrawal(of activations: [OperationID], record: RecordID) -> Draft {
    draft("active", .remove, record, replaces: activations)
  }

  /// The writes that resolve everything seen so far, and take out what was known about it.
  package func resolution(record: RecordID) -> [Draft] {
    ["active", "acknowledged", "escalated", "told"].compactMap { field in
      let ids = entries[field] ?? []
      return ids.isEmpty ? nil : Self.draft(field, .remove, record, replaces: ids)
    }
  }

  /// Says that somebody at this device has seen the last activation; `nil` when nothing is active or it has.
  package func acknowledgement(by device: DeviceID, record: RecordID) -> Draft? {
    guard let latest = activations.last, !acknowledgements.contains(where: { $0.device == device }) else { return nil }
    return Self.draft("acknowledged", .add(.text(CrisisEntry.text(latest.id, "seen"))), record, replaces: [])
  }

  /// Says that a device took a stage, for every activation that is active: who resolves one of them must
  /// not make it look as if nothing had happened for the others.
  package func escalation(to stage: EscalationStage, record: RecordID) -> [Draft] {
    guard !stages.contains(stage) else { return [] }
    return activations.map {
      Self.draft("escalated", .add(.text(CrisisEntry.text($0.id, "\(stage.rawValue)"))), record, replaces: [])
    }
  }

  /// Says that a contact was told, of every activation that is active.
  package func telling(_ contact: RecordID, record: RecordID) -> [Draft] {
    activations.filter { !(toldOf[contact]?.contains($0.id) ?? false) }.map {
      Self.draft("told", .add(.text(CrisisEntry.text($0.id, contact.description))), record, replaces: [])
    }
  }

  private static func draft(_ field: String, _ mutation: Mutation, _ record: RecordID, replaces: [OperationID]) -> Draft {
    Draft(
      record: record, kind: RecordCatalogue.crisis.kind, field: field, mutation: mutation, lane: .crisis,
      replaces: replaces)
  }
}

extension RecordID {
  /// A record that an account has once: its name is the same on every device.
  ///
  /// - Parameter mark: Which of them; never changed once used.
  package init(ofAccount account: [UInt8], mark: UInt64) {
    let bytes = account + Array(repeating: 0, count: max(0, 16 - account.count))
    guard let base = RecordID(bytes: bytes.prefix(16)) else { preconditionFailure("16 bytes") }
    self.init(high: base.high ^ mark, low: base.low)
  }
}

/// An entry that is about an activation: its ``OperationID/name``, a space, and the rest.
enum CrisisEntry {
  static func text(_ id: OperationID, _ rest: String) -> String { "\(id.name) \(rest)" }

  static func read(_ text: String) -> (OperationID, String)? {
    let words = text.utf8.split(separator: UInt8(ascii: " "), maxSplits: 1).map { Substring($0) }
    guard words.count == 2, let id = OperationID(name: words[0]), id.stream.lane == .crisis else { return nil }
    return (id, String(words[1]))
  }
}

extension CrisisState.Activation {
  fileprivate init?(_ dot: Dot) {
    guard case .text(let text)? = dot.value else { return nil }
    self.init(dot.id, text, dot.timestamp)
  }

  /// `nil` for a write that raises nothing.
  init?(_ write: Operation) {
    guard case .add(.text(let text)) = write.mutation else { return nil }
    self.init(write.id, text, write.timestamp)
  }

  /// An entry that cannot be read still counts: as severe, for nothing may lower a crisis.
  private init(_ id: OperationID, _ text: String, _ timestamp: Timestamp) {
    let words = text.split(separator: " ", maxSplits: 1).map(String.init)
    self.init(
      id: id, level: words.first.flatMap(CrisisLevel.init(name:)) ?? .severe,
      source: words.count > 1 ? words[1] : "person", timestamp: timestamp)
  }
}
