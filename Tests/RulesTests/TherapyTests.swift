import Causality
import ConflictResolution
import Crisis
import Foundation
import Testing
import Therapy

@Suite("Instruments")
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

  @Test("the instruments have the published codes, in order")
  func codes() {
    #expect(Instrument.phq9.items.map(\.code) == ["44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8"])
    #expect(Instrument.gad7.items.map(\.code) == ["69725-0", "68509-9", "69733-4", "69734-2", "69735-9", "69689-8", "69736-7"])
  }

  @Test("a published response scores as published, and is read by link id, not by order")
  func published() throws {
    guard let data = Vectors.read("fhir/QuestionnaireResponse-phq-9-example.json") else { return }
    let response = try JSONDecoder().decode(Response.self, from: data)
    let codes = ["LA6568-5": 0, "LA6569-3": 1, "LA6570-1": 2, "LA6571-9": 3]
    let given = Dictionary(uniqueKeysWithValues: response.item.map { ($0.linkId.dropFirst().description, $0.answer?.first) })
    let answers = Instrument.phq9.items.map { given[$0.code]??.valueCoding.flatMap { codes[$0.code] } }
    let total = given[Instrument.phq9.total]??.valueDecimal
    #expect(answers.count == 9 && !answers.contains(nil))
    #expect(Instrument.phq9.score(answers).map(Double.init) == total)
  }

  private struct Response: Decodable {
    struct Item: Decodable {
      struct Answer: Decodable {
        struct Coding: Decodable { var code: String }
        var valueCoding: Coding?
        var valueDecimal: Double?
      }
      var linkId: String
      var answer: [Answer]?
    }
    var item: [Item]
  }

  @Test("earlier questionnaires count by their age; an incomplete one has no total")
  func screeningContext() {
    let wall: UInt64 = 1_790_000_000_000
    func assessment(_ number: UInt64, _ instrument: String, _ answers: [Int], days: UInt64) -> RecordState {
      var (state, hash) = (RecordState(id: RecordID(high: 1, low: number), kind: "assessment"), StateHash())
      let words = ["instrument=\(instrument)"] + answers.enumerated().map { "item\($0.offset + 1)=\($0.element)" }
      let drafts = (try? RecordCatalogue.assessment.drafts(from: words, record: state.id, current: nil)) ?? []
      for (index, draft) in drafts.enumerated() {
        let stream = StreamID(device: DeviceID(high: 0, low: number), incarnation: Incarnation(rawValue: 1), lane: .assessment)
        state.apply(
          Operation(
            id: OperationID(stream: stream, sequence: UInt64(index + 1), mark: 0), timestamp: Timestamp(milliseconds: wall - days * 86_400_000),
            record: state.id, kind: "assessment", field: draft.field, mutation: draft.mutation, replaces: []),
          hasArrived: { _ in true }, hash: &hash)
      }
      return state
    }
    let context = ScreeningContext(
      [
        assessment(1, "phq9", Array(repeating: 1, count: 9), days: 3), assessment(2, "phq9", [3, 3], days: 1),
        assessment(3, "phq9", Array(repeating: 2, count: 9), days: 9), assessment(4, "gad7", Array(repeating: 2, count: 7), days: 5),
        assessment(5, "gad7", Array(repeating: 3, count: 7), days: 20), assessment(6, "gad7", Array(repeating: 1, count: 7), days: 6),
      ], wall: wall)
    #expect(context.latestGAD7 == 14)
    #expect(context.phq9Totals == [9] && context.phq9Days == [3])
    #expect(Instrument.phq9.offer([3, 3, 3, 3, 2, nil, nil, nil, nil], context)?.reason == .risingLoad)
    #expect(Instrument.phq9.offer([3, 3, 3, 3, 3, nil, nil, nil, nil], context)?.reason == .loadAndWorry)
    #expect(Instrument.gad7.offer(Array(repeating: 3, count: 7), context)?.level == .moderate)
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
