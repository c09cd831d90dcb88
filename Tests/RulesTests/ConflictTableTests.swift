import Causality
import ConflictResolution
import Foundation
import Testing
import Therapy

/// Not Foundation's.
private typealias Operation = Causality.Operation

/// docs/CONFLICTS.md says what becomes of every field; the code does it, in every order of arrival.
@Suite("The table of conflicts")
struct ConflictTableTests {
  /// One row of the table in docs/CONFLICTS.md.
  struct Row: Sendable {
    var kind, field, policy, type, impact, apart: String
  }

  private static let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("docs/CONFLICTS.md").path

  static let rows: [Row] = {
    let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
    return text.split(separator: "\n").filter { $0.hasPrefix("| `") }.map { line in
      let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      let name = cells[0].trimmingCharacters(in: ["`"]).split(separator: ".", maxSplits: 1).map(String.init)
      return Row(kind: name[0], field: name[1], policy: cells[1], type: cells[2], impact: cells[3], apart: cells[4])
    }
  }()

  @Test("the table names every field, with the policy, type and impact that the code has")
  func complete() {
    let fields = RecordCatalogue.all.flatMap { schema in schema.fields.map { (schema.kind, $0) } }
    #expect(Self.rows.map { "\($0.kind).\($0.field)" } == fields.map { "\($0.0).\($0.1.name)" })
    for (row, (kind, field)) in zip(Self.rows, fields) {
      let rule = ConflictRule.rule(kind: kind, field: field.name)
      #expect(row.policy == field.policy.rawValue && row.type == rule.type.rawValue && row.impact == rule.impact.name, "\(kind).\(field.name)")
    }
  }

  // MARK: Devices

  /// Fields of one or two records, written by three devices.
  private typealias Write = (value: Value, at: UInt64)

  private struct World {
    var operations: [Operation] = []
    private var sequences: [UInt64: UInt64] = [:]

    mutating func write(
      _ device: UInt64, _ row: Row, _ mutation: Mutation, at: UInt64, replaces: [OperationID], field: String? = nil
    ) -> OperationID {
      sequences[device, default: 0] += 1
      let stream = StreamID(device: DeviceID(high: 0, low: device), incarnation: Incarnation(rawValue: 1), lane: RecordCatalogue[row.kind]?.lane ?? .ordinary)
      let id = OperationID(stream: stream, sequence: sequences[device] ?? 1, mark: 0)
      operations.append(
        Operation(
          id: id, timestamp: Timestamp(milliseconds: at), record: ConflictTableTests.record(row.kind), kind: row.kind,
          field: field ?? row.field, mutation: mutation, replaces: replaces))
      return id
    }
  }

  private static func record(_ kind: String) -> RecordID { RecordID(high: 7, low: UInt64(kind.utf8.reduce(0) { ($0 * 31 + Int($1)) % 1_000_003 })) }

  /// Two values and a third that a field can hold; the second is the larger one.
  private static func value(_ row: Row, _ number: Int) -> Value {
    guard let field = RecordCatalogue[row.kind]?[row.field] else { return .text("") }
    switch field.content {
    case .text: return .text(["before", "one", "two", "three"][number])
    case .integer(let range): return .integer(min(range.upperBound, range.lowerBound + [0, 1, 3, 2][number]))
    case .decimal(let range): return .decimal(min(range.upperBound, [0, 0.25, 0.75, 0.5][number]))
    case .flag: return .flag(number == 2)
    case .choice(let words): return .text(words[[0, 1, words.count - 1, 0][number] % words.count])
    }
  }

  private static func mutation(_ row: Row, _ number: Int) -> Mutation {
    MergePolicy(rawValue: row.policy)?.isAdditive ?? false ? .add(value(row, number)) : .set(value(row, number))
  }

  /// Every order in which the operations can arrive: each stream keeps its own.
  private static func orders(_ operations: [Operation]) -> [[Operation]] {
    func extend(_ rest: [[Operation]]) -> [[Operation]] {
      if rest.allSatisfy(\.isEmpty) { return [[]] }
      return rest.indices.filter { !rest[$0].isEmpty }.flatMap { index -> [[Operation]] in
        var next = rest
        let first = next[index].removeFirst()
        return extend(next).map { [first] + $0 }
      }
    }
    return extend(Dictionary(grouping: operations, by: \.id.stream).sorted { $0.key.device < $1.key.device }.map { $0.value.sorted { $0.id.sequence < $1.id.sequence } })
  }

  private static func states(_ operations: [Operation]) -> ([RecordID: RecordState], StateHash) {
    var (states, hash, seen) = ([RecordID: RecordState](), StateHash(), Set<OperationID>())
    for operation in operations {
      var state = states[operation.record] ?? RecordState(id: operation.record, kind: operation.kind)
      state.apply(operation, hasArrived: { seen.contains($0) }, hash: &hash)
      states[operation.record] = state
      seen.insert(operation.id)
    }
    return (states, hash)
  }

  /// What the table says is shown of these writes, in the words of its last column.
  private static func expected(_ row: Row, _ writes: [Write]) -> [Value] {
    func number(_ value: Value) -> Double { value.number ?? -1 }
    let byTime = writes.sorted { $0.at < $1.at }
    switch row.apart {
    case "all of them": return byTime.map(\.value).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    case "their sum": return []
    case "the larger": return [byTime.max { (number($0.value), $0.at) < (number($1.value), $1.at) }?.value].compactMap { $0 }
    case "the later": return [byTime.last?.value].compactMap { $0 }
    case "more risk, and the person is asked": return [byTime.max { (number($0.value), $0.at) < (number($1.value), $1.at) }?.value].compactMap { $0 }
    case "the earlier, and the person is asked": return [byTime.first?.value].compactMap { $0 }
    case "the later, and the person is asked": return [byTime.last?.value].compactMap { $0 }
    default: return []
    }
  }

  private func check(_ world: World, _ what: String, _ look: ([RecordID: RecordState]) -> Bool) {
    let all = Self.orders(world.operations).map(Self.states)
    guard let first = all.first else { return }
    #expect(all.allSatisfy { $0.0 == first.0 && $0.1 == first.1 }, "\(what): the order of arrival made a difference")
    #expect(look(first.0), "\(what)")
  }

  private func shown(_ row: Row, _ states: [RecordID: RecordState]) -> [Value] {
    guard let view = states[Self.record(row.kind)]?.view(row.field) else { return [] }
    return view.chosen.flatMap(\.value).map { [$0] } ?? view.entries.compactMap(\.value)
  }

  private func isOpen(_ row: Row, _ states: [RecordID: RecordState]) -> Bool {
    states[Self.record(row.kind)]?.openConflicts.contains { $0.field == row.field } ?? false
  }

  @Test("every ordered pair of fields, edited apart, removed and edited, and by three, in every order", arguments: rows.indices)
  func pairs(_ index: Int) {
    let one = Self.rows[index]
    for other in Self.rows {
      let what = "\(one.kind).\(one.field) × \(other.kind).\(other.field)"
      let isSame = one.kind == other.kind && one.field == other.field
      var base = World()
      let a = base.write(1, one, Self.mutation(one, 0), at: 1_000, replaces: [])
      let b = isSame ? a : base.write(1, other, Self.mutation(other, 0), at: 1_001, replaces: [])
      func replaced(_ row: Row, _ id: OperationID) -> [OperationID] { MergePolicy(rawValue: row.policy)?.isAdditive ?? false ? [] : [id] }
      func before(_ row: Row) -> [Write] {
        guard MergePolicy(rawValue: row.policy)?.isAdditive ?? false else { return [] }
        return [(value: Self.value(row, 0), at: UInt64(1_000))]
      }

      var apart = base
      _ = apart.write(1, one, Self.mutation(one, 1), at: 2_000, replaces: replaced(one, a))
      _ = apart.write(2, other, Self.mutation(other, 2), at: 3_000, replaces: replaced(other, b))
      let (first, second): (Write, Write) = ((Self.value(one, 1), 2_000), (Self.value(other, 2), 3_000))
      let mine: [Write] = before(one) + [first] + (isSame ? [second] : [])
      let theirs: [Write] = isSame ? mine : before(other) + [second]
      let asks = isSame && one.apart.hasSuffix("the person is asked") && Self.value(one, 1) != Self.value(one, 2)
      check(apart, "\(what), edited apart") { states in
        shown(one, states) == Self.expected(one, mine) && shown(other, states) == Self.expected(other, theirs) && isOpen(one, states) == asks
      }

      var three = apart
      _ = three.write(3, one, Self.mutation(one, 3), at: 2_500, replaces: replaced(one, a))
      let third: Write = (Self.value(one, 3), 2_500)
      check(three, "\(what), by three") { shown(one, $0) == Self.expected(one, mine + [third]) }

      for removesFirst in [false, true] {
        var removed = base
        let (remover, editor): (UInt64, UInt64) = removesFirst ? (1, 2) : (2, 1)
        let covered = one.kind == other.kind ? Array(Set([a, b])).sorted() : [b]
        _ = removed.write(remover, other, .erase, at: 2_000, replaces: covered, field: Operation.recordField)
        _ = removed.write(editor, one, Self.mutation(one, 1), at: 2_100, replaces: replaced(one, a))
        let edit: Write = (Self.value(one, 1), 2_100)
        let writes = before(one) + [edit]
        check(removed, "\(what), \(removesFirst ? "removed/edited" : "edited/removed")") { states in
          let record = states[Self.record(one.kind)]
          guard record?.isVisible == true, shown(one, states) == Self.expected(one, writes) else { return false }
          // Nothing disappears that somebody was still writing, and the person is asked; without an edit it is gone.
          return one.kind == other.kind
            ? record?.openConflicts.contains { $0.field == Operation.recordField } == true
            : states[Self.record(other.kind)]?.isVisible == false
        }
      }
    }
  }

  // MARK: The cases that failed elsewhere

  @Test("churn is nobody's question; a settled conflict says by which method")
  func states() throws {
    let mood = try #require(Self.rows.first { $0.kind == "check-in" && $0.field == "mood" })
    func conflict(_ row: Row, _ one: Value, _ other: Value) -> Conflict? {
      var world = World()
      _ = world.write(1, row, .set(one), at: 2_000, replaces: [])
      _ = world.write(2, row, .set(other), at: 3_000, replaces: [])
      return Self.states(world.operations).0[Self.record(row.kind)]?.conflicts.first
    }
    #expect(conflict(mood, .integer(4), .integer(4))?.state == .churn)
    #expect(conflict(mood, .integer(4), .integer(5))?.impact == .minimal && conflict(mood, .integer(2), .integer(9))?.impact == .moderate)
    let progress = try #require(Self.rows.first { $0.kind == "session" && $0.field == "progress" })
    let settled = try #require(conflict(progress, .decimal(0.6), .decimal(0.4)))
    #expect(settled.state == .settled && settled.method == .fieldMerge && settled.chosen?.value == .decimal(0.6))
    let item = try #require(Self.rows.first { $0.kind == "assessment" && $0.field == "item9" })
    let risk = try #require(conflict(item, .integer(3), .integer(0)))
    #expect(risk.state == .open && risk.impact == .critical && risk.chosen?.value == .integer(3) && risk.method == .therapeuticPriority)
    #expect(ConflictRule.rule(kind: "dream", field: "x").type == .versionMismatch)
  }

  @Test("every type but the unknown one has a rule, and rules name fields that exist")
  func rules() {
    let known = Set(ConflictRule.table.map(\.type))
    #expect(Set(ConflictType.allCases).subtracting(known) == [.versionMismatch])
    for rule in ConflictRule.table {
      #expect(RecordCatalogue[rule.kind] != nil && rule.fields?.allSatisfy { RecordCatalogue[rule.kind]?[$0] != nil } ?? true)
      #expect(!rule.why.lowercased().contains("diagnos"))
    }
  }
}

@Suite("Merging texts")
struct TextMergeTests {
  static let cases: [(base: String, one: String, other: String, merged: String?)] = [
    ("I slept well.", "I slept well.", "I slept badly.", "I slept badly."),
    ("I slept well.", "I slept badly.", "I slept badly.", "I slept badly."),
    ("one two three four", "zero two three four", "one two three five", "zero two three five"),
    ("one two three", "one 2 three", "one zwei three", nil),
    ("one two three", "one three", "one two three four", "one three four"),
    ("a b", "a x b", "a y b", nil),
    ("a b c d e", "a b c d e f", "z a b c d e", "z a b c d e f"),
    ("", "one", "two", nil),
    ("first line\nsecond line\nthird line", "first line\n2nd line\nthird line", "first line\nsecond line\n3rd line", "first line\n2nd line\n3rd line"),
    ("keep this", "", "keep this too", nil),
  ]

  @Test("edits of different words are both kept; edits that touch are left to the person", arguments: cases.indices)
  func merges(_ index: Int) {
    let (base, one, other, merged) = Self.cases[index]
    #expect(TextMerge.merge(base: base, one, other) == merged)
    #expect(TextMerge.merge(base: base, other, one) == merged, "it does not matter who merges")
  }

  @Test("random edits: symmetric, exact where only one side edited, and nothing of an edit is lost", arguments: 1...200)
  func random(seed: Int) {
    var random = SeededRandom(seed: UInt64(seed))
    let base = (0..<12).map { "w\($0)" }
    func edit(_ mark: String) -> [String] {
      var words = base
      for _ in 0..<random.number(0...2) {
        let place = random.number(0...words.count - 1)
        switch random.number(0...2) {
        case 0: words[place] = "\(mark)\(random.number(0...99))"
        case 1: words.insert("\(mark)\(random.number(0...99))", at: place)
        default: words.remove(at: place)
        }
      }
      return words
    }
    let (one, other) = (edit("a"), edit("b"))
    let texts = [base, one, other].map { $0.joined(separator: " ") }
    let merged = TextMerge.merge(base: texts[0], texts[1], texts[2])
    #expect(merged == TextMerge.merge(base: texts[0], texts[2], texts[1]))
    #expect(TextMerge.merge(base: texts[0], texts[1], texts[0]) == texts[1])
    if let merged {
      let words = Set(merged.split(separator: " ").map(String.init))
      for word in one + other where !base.contains(word) { #expect(words.contains(word)) }
      for word in base where !one.contains(word) || !other.contains(word) { #expect(!words.contains(word)) }
    }
    let pieces = TextMerge.pieces(texts[1], texts[2])
    #expect(pieces.left.map(\.text).joined() == texts[1] && pieces.right.map(\.text).joined() == texts[2])
    #expect(pieces.left.filter { !$0.isChanged }.map(\.text).joined() == pieces.right.filter { !$0.isChanged }.map(\.text).joined())
  }
}
