import Causality
import ConflictResolution
import Crisis
import Testing
import Therapy

@Suite("Instruments and crisis detection")
struct TherapyTests {
  @Test("PHQ-9 bands, every total", arguments: 0...27)
  func phq9Bands(total: Int) {
    let names = ["minimal", "mild", "moderate", "moderately severe", "severe"]
    let expected = names[total < 5 ? 0 : total < 10 ? 1 : total < 15 ? 2 : total < 20 ? 3 : 4]
    #expect(Instrument.phq9.band(of: total) == expected)
  }

  @Test("GAD-7 bands, every total", arguments: 0...21)
  func gad7Bands(total: Int) {
    let names = ["minimal", "mild", "moderate", "severe"]
    #expect(Instrument.gad7.band(of: total) == names[total < 5 ? 0 : total < 10 ? 1 : total < 15 ? 2 : 3])
  }

  @Test("PHQ-9: every total with item 9 at 0 to 3 and missing", arguments: 0...27)
  func detection(total: Int) throws {
    for item9 in [nil, 0, 1, 2, 3] {
      guard let answers = Self.answers(total: total, item9: item9) else { continue }
      let proposal = CrisisDetection.proposal(for: .phq9, answers: answers)
      let thoughts = (item9 ?? 0) >= 1
      let expected: CrisisLevel? = thoughts && total >= 20 ? .emergency : thoughts || total >= 20 ? .severe : nil
      #expect(proposal?.level == expected)
      if item9 == nil { #expect(Instrument.phq9.score(answers) == nil, "a missing answer is unknown, never 0") }
    }
  }

  /// Eight answers and item 9 with that sum; `nil` when there are none.
  static func answers(total: Int, item9: Int?) -> [Int?]? {
    var rest = total - (item9 ?? 0)
    guard (0...24).contains(rest) else { return nil }
    var answers: [Int?] = []
    for _ in 0..<8 {
      answers.append(min(3, rest))
      rest -= min(3, rest)
    }
    return answers + [item9]
  }

  @Test("GAD-7 proposes from 15 on", arguments: 0...21)
  func gad7Detection(total: Int) {
    var rest = total
    let answers = (0..<7).map { _ -> Int? in
      defer { rest -= min(3, rest) }
      return min(3, rest)
    }
    #expect(CrisisDetection.proposal(for: .gad7, answers: answers)?.level == (total >= 15 ? .moderate : nil))
  }

  @Test("the instruments have the published codes, in order")
  func codes() {
    #expect(Instrument.phq9.items.map(\.code) == ["44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8"])
    #expect(Instrument.gad7.items.map(\.code) == ["69725-0", "68509-9", "69733-4", "69734-2", "69735-9", "69689-8", "69736-7"])
  }

  @Test("the tiers are the table of the product")
  func tiers() {
    let rows = [Tier.free, .premium, .family, .enterprise].map { "\($0.name) \($0.intervalSeconds) \($0.batch) \($0.operationsPerDay ?? 0) \($0.devices)" }
    #expect(rows == ["free 30 10 100 1", "premium 15 25 2000 5", "family 10 50 5000 10", "enterprise 5 100 10000 50"])
    #expect(Tier.selfHosted.operationsPerDay == nil)
  }

  @Test("the breathing space has exactly three minutes")
  func breathing() {
    #expect(Practice.breathing.seconds == 180)
    #expect(Practice.breathing.stage(at: 59.9).index == 0)
    #expect(Practice.breathing.stage(at: 60).index == 1)
    #expect(Practice.breathing.stage(at: 500).remaining == 0)
    #expect(Practice.bodyScan.stages.count == 12)
  }
}

@Suite("What a person types")
struct FieldInputTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var kind: String
    var words: [String]
    var code: String?
  }

  static let rows = [
    Row(testDescription: "a number in its range", kind: "check-in", words: ["mood=7"], code: nil),
    Row(testDescription: "text with an equals sign", kind: "journal", words: ["title=a=b"], code: nil),
    Row(testDescription: "a list, entry by entry", kind: "check-in", words: ["gratitudes=a", "gratitudes=b"], code: nil),
    Row(testDescription: "no field", kind: "check-in", words: [], code: "input.no-fields"),
    Row(testDescription: "no value", kind: "check-in", words: ["mood"], code: "input.malformed-assignment"),
    Row(testDescription: "no name", kind: "check-in", words: ["=3"], code: "input.malformed-assignment"),
    Row(testDescription: "an unknown field", kind: "check-in", words: ["weather=rain"], code: "input.unknown-field"),
    Row(testDescription: "a word for a number", kind: "check-in", words: ["mood=fine"], code: "input.malformed-value"),
    Row(testDescription: "a number too high", kind: "check-in", words: ["mood=11"], code: "input.out-of-range"),
    Row(testDescription: "a number beyond 64 bits", kind: "check-in", words: ["mood=99999999999999999999"], code: "input.malformed-value"),
    Row(testDescription: "a word that is no choice", kind: "assessment", words: ["instrument=phq8"], code: "input.malformed-value"),
    Row(testDescription: "2,001 characters", kind: "journal", words: ["text=" + String(repeating: "ü", count: 2_001)], code: "input.too-long"),
    Row(testDescription: "21 entries", kind: "check-in", words: (0...20).map { "gratitudes=\($0)" }, code: "input.too-many-entries"),
    Row(testDescription: "adding to what is no list", kind: "check-in", words: ["mood+=3"], code: "input.malformed-assignment"),
    Row(testDescription: "removing what is not there", kind: "plan", words: ["coping-=x"], code: "input.malformed-value"),
  ]

  @Test("is taken, or refused with a code", arguments: rows)
  func typed(row: Row) throws {
    let schema = try #require(RecordCatalogue[row.kind])
    do {
      let drafts = try schema.drafts(from: row.words, record: RecordID(high: 0, low: 1), current: nil)
      #expect(row.code == nil)
      #expect(drafts.count == row.words.count)
    } catch {
      #expect(error.code == row.code)
      #expect(!error.summary.isEmpty && !error.remedy.isEmpty)
    }
  }
}

@Suite("Crisis state and card")
struct CrisisTests {
  private func activation(_ level: CrisisLevel, device: UInt64, sequence: UInt64 = 1, at: UInt64) -> Operation {
    let stream = StreamID(device: DeviceID(high: 0, low: device), lane: .crisis)
    let draft = CrisisState.activation(level, source: "person", record: RecordID(high: 9, low: 9))
    return Operation(
      id: OperationID(stream: stream, sequence: sequence), timestamp: Timestamp(milliseconds: at), record: draft.record,
      kind: draft.kind, field: draft.field, mutation: draft.mutation, replaces: [])
  }

  private func state(_ operations: [Operation]) -> CrisisState {
    var (state, hash, seen) = (RecordState(id: RecordID(high: 9, low: 9), kind: "crisis"), StateHash(), Set<OperationID>())
    for operation in operations {
      state.apply(operation, hasArrived: { seen.contains($0) }, hash: &hash)
      seen.insert(operation.id)
    }
    return CrisisState(state)
  }

  @Test("mild a second later does not beat emergency")
  func mostSevere() {
    let emergency = activation(.emergency, device: 1, at: 1_000)
    let mild = activation(.mild, device: 2, at: 2_000)
    #expect(state([emergency, mild]).level == .emergency)
    #expect(state([mild, emergency]).level == .emergency)
  }

  @Test("a resolution does not take an activation that it had not seen")
  func unseenActivation() throws {
    let first = activation(.severe, device: 1, at: 1_000)
    let unseen = activation(.moderate, device: 2, at: 900)
    let draft = state([first]).resolution(record: first.record)
    let stream = StreamID(device: DeviceID(high: 0, low: 3), lane: .crisis)
    let resolve = Operation(
      id: OperationID(stream: stream, sequence: 1), timestamp: Timestamp(milliseconds: 3_000), record: draft.record,
      kind: draft.kind, field: draft.field, mutation: draft.mutation, replaces: try #require(draft.replaces))
    for order in [[first, unseen, resolve], [first, resolve, unseen], [resolve, unseen, first]] {
      let after = state(order)
      #expect(after.isActive)
      #expect(after.level == .moderate)
    }
    #expect(!state([first, resolve]).isActive)
  }

  @Test("an entry that cannot be read still counts, as severe")
  func unreadableEntry() {
    var odd = activation(.mild, device: 1, at: 1)
    odd.mutation = .add(.text("♥ later version"))
    #expect(state([odd]).level == .severe)
  }

  @Test("the card has help lines for every region and fits 80 columns", arguments: HelpLines.regions.map(\.name) + [""])
  func card(region: String) {
    let text = CrisisCard.text(for: HelpLines.region(named: region))
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 79 })
    #expect(text.contains("112") || text.contains("911"))
    #expect(!text.contains("press 3"), "ended on 17 July 2025")
  }

  @Test("the region follows the locale", arguments: [("en_US.UTF-8", "United States"), ("de_AT", "European Union"), ("en_GB@euro", "United Kingdom and Ireland"), ("C.UTF-8", nil), ("", nil), ("en_CA", "Canada")])
  func regions(locale: String, name: String?) { #expect(HelpLines.region(ofLocale: locale)?.name == name) }

  @Test("levels have names and an order")
  func levels() {
    #expect(CrisisLevel(name: "SEVERE") == .severe)
    #expect(CrisisLevel(name: "bad") == nil)
    #expect(CrisisLevel.allCases == CrisisLevel.allCases.sorted())
  }
}
