import Causality
import ConflictResolution
import Foundation
import Therapy

/// Conflicts that are made to lead the assistant astray: of every one it has to say nothing, however low the
/// person has set the threshold. docs/ASSISTANT.md lists them.
package struct AdversarialConflict {
  package var name: String
  package var record: RecordState
  package var conflict: Conflict

  package static let all: [AdversarialConflict] = {
    let day: UInt64 = 86_400_000, hour: UInt64 = 3_600_000
    let text = "I slept well and walked to the river", more = text + " with the dog and came back late"
    let checkIn = "check-in", journal = "journal"
    let cases: [(String, String, String, [(device: UInt64, at: UInt64, value: Value)])] = [
      ("three versions", journal, "text", [(1, 0, .text(text)), (2, hour, .text(more)), (3, 2 * hour, .text(text + " alone"))]),
      ("an empty later version", journal, "text", [(1, 0, .text(text)), (2, hour, .text(""))]),
      ("a later version of spaces", journal, "text", [(1, 0, .text(text)), (2, hour, .text(" \n\t "))]),
      ("both from one device", journal, "text", [(1, 0, .text(text)), (1, hour, .text(more))]),
      ("the same moment", journal, "text", [(1, 0, .text(text)), (2, 0, .text(more))]),
      ("31 days apart", journal, "text", [(1, 0, .text(text)), (2, 31 * day, .text(more))]),
      ("a clock of the next century", journal, "text", [(1, 0, .text(text)), (2, 30_000 * day, .text(more))]),
      ("no word in common", journal, "text", [(1, 0, .text(text)), (2, hour, .text("Called mother, tired now"))]),
      ("another script", journal, "text", [(1, 0, .text(text)), (2, hour, .text("σήμερα κοιμήθηκα καλά"))]),
      ("control characters", journal, "text", [(1, 0, .text(text)), (2, hour, .text(text + "\u{1B}[2J"))]),
      ("longer than any text may be", journal, "text", [(1, 0, .text(text)), (2, hour, .text(String(repeating: text + " ", count: 80)))]),
      ("a number where a text belongs", journal, "text", [(1, 0, .text(text)), (2, hour, .integer(7))]),
      ("a text where a number belongs", checkIn, "mood", [(1, 0, .integer(4)), (2, hour, .text("7"))]),
      ("a number that no scale has", checkIn, "mood", [(1, 0, .integer(4)), (2, hour, .integer(4_000_000_000))]),
      ("a decimal on a scale", checkIn, "mood", [(1, 0, .integer(4)), (2, hour, .decimal(.nan))]),
      ("a field that this version does not know", checkIn, "weather", [(1, 0, .text(text)), (2, hour, .text(more))]),
      ("a kind that this version does not know", "dream", "text", [(1, 0, .text(text)), (2, hour, .text(more))]),
      ("anxiety, which is safety", checkIn, "anxiety", [(1, 0, .integer(9)), (2, hour, .integer(1))]),
      ("item 9, which is safety", "assessment", "item9", [(1, 0, .integer(3)), (2, hour, .integer(0))]),
      ("a note to an assessment", "assessment", "note", [(1, 0, .text(text)), (2, hour, .text(more))]),
      ("a contact's number", "contact", "phone", [(1, 0, .text("555 0100")), (2, hour, .text("555 0101"))]),
    ]
    var all = cases.compactMap { name, kind, field, versions in make(name, kind, field, versions) }
    precondition(all.count == cases.count, "each is a conflict")
    all.append(removal)
    return all
  }()

  private static let wall: UInt64 = 1_790_000_000_000

  private static func make(_ name: String, _ kind: String, _ field: String, _ versions: [(device: UInt64, at: UInt64, value: Value)]) -> Self? {
    var (record, hash) = (RecordState(id: RecordID(high: 1, low: 1), kind: kind), StateHash())
    for (index, version) in versions.enumerated() {
      let stream = StreamID(device: DeviceID(high: 0, low: version.device), incarnation: Incarnation(rawValue: 1), lane: .ordinary)
      record.apply(
        Causality.Operation(
          id: OperationID(stream: stream, sequence: UInt64(index + 1), mark: 0), timestamp: Timestamp(milliseconds: wall + version.at),
          record: record.id, kind: kind, field: field, mutation: .set(version.value), replaces: []),
        hasArrived: { _ in true }, hash: &hash)
    }
    return record.conflicts.first.map { Self(name: name, record: record, conflict: $0) }
  }

  /// Removed on one device, edited on another.
  private static var removal: Self {
    var (record, hash) = (RecordState(id: RecordID(high: 1, low: 2), kind: RecordCatalogue.journal.kind), StateHash())
    func write(_ device: UInt64, _ field: String, _ mutation: Mutation, _ replaces: [OperationID]) -> OperationID {
      let id = OperationID(stream: StreamID(device: DeviceID(high: 0, low: device), incarnation: Incarnation(rawValue: 1), lane: .ordinary), sequence: 1, mark: 0)
      record.apply(
        Causality.Operation(
          id: id, timestamp: Timestamp(milliseconds: wall + device * 60_000), record: record.id, kind: record.kind, field: field,
          mutation: mutation, replaces: replaces),
        hasArrived: { _ in true }, hash: &hash)
      return id
    }
    let first = write(1, "text", .set(.text("a calm day")), [])
    _ = write(2, Causality.Operation.recordField, .erase, [first])
    _ = write(3, "text", .set(.text("a calm day at home")), [first])
    guard let conflict = record.conflicts.first else { preconditionFailure("removed against edited is a conflict") }
    return Self(name: "whether a record is removed", record: record, conflict: conflict)
  }

  /// Every field that the assistant must not touch.
  private static let safetyFields: [(kind: String, field: FieldSchema)] = RecordCatalogue.all.flatMap { schema in
    schema.fields.filter { field in
      guard !field.policy.isAdditive else { return false }
      let isSafety = ["crisis", "plan", "contact", "assessment"].contains(schema.kind)
      return isSafety || [.highestRisk, .mostSevere, .kept].contains(field.policy)
    }.map { (schema.kind, $0) }
  }

  /// Two or three random versions of a random one of them, or its removal.
  package static func onSafetyField(using random: inout SeededRandom) -> (RecordState, Conflict) {
    while true {
      let (kind, field) = safetyFields[random.number(0...safetyFields.count - 1)]
      let versions = (0..<random.number(2...3)).map { _ -> (device: UInt64, at: UInt64, value: Value) in
        (UInt64(random.number(1...4)), UInt64(random.number(0...100_000_000)), value(field.content, &random))
      }
      if let made = make("", kind, field.name, versions) { return (made.record, made.conflict) }
    }
  }

  private static func value(_ content: FieldSchema.Content, _ random: inout SeededRandom) -> Value {
    switch content {
    case .text: .text(String(repeating: "word \(random.number(0...3)) ", count: random.number(0...5)))
    case .integer(let range): .integer(Int64(random.number(Int(range.lowerBound)...Int(min(range.upperBound, 1_000)))))
    case .decimal(let range): .decimal(range.lowerBound + Double(random.number(0...100)) / 100)
    case .flag: .flag(random.happens(permille: 500))
    case .choice(let words): .text(words[random.number(0...words.count - 1)])
    }
  }
}
