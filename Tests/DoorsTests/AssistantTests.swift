import Causality
import ConflictResolution
import Simulation
import Testing
import Therapy

/// A small model that recommends: how good it is, what it never touches, and when it says nothing.
@Suite("The assistant")
struct AssistantTests {
  @Test("the weights that come with the program are what its seed gives")
  func reproducible() {
    let result = AssistantTraining.train()
    for (trained, shipped) in zip(result.weights, AssistantWeights.weights) { #expect(abs(trained - shipped) < 1e-6) }
    #expect(abs(result.calibration.scale - AssistantWeights.calibration.scale) < 1e-6)
    #expect(AssistantWeights.weights.contains { abs($0) > 1 }, "something was learned")
  }

  @Test("it is better than both baselines and means the probabilities it names, on people it has never seen", arguments: [9_000_000, 9_500_000] as [UInt64])
  func heldOut(seed: UInt64) {
    for population in [SyntheticHousehold.Population.usual, .other] {
      let report = AssistantTraining.measure(Assistant(), seed: seed, households: 120, population)
      #expect(report.assistant.count > 6_000)
      #expect(report.assistant.accuracy > report.latestWins.accuracy && report.assistant.accuracy > report.therapeuticPriority.accuracy)
      #expect(report.assistant.brier < 0.25, "better than a coin")
      #expect(report.assistant.calibrationError <= 0.05)
      #expect(report.recommended.accuracy > 0.8 && report.recommended.count > 1_000, "what it recommends from 0.8 on is right so often")
      #expect(report.abstained > 1_000)
    }
  }

  @Test("no field of safety is its business, however often it is tried")
  func safety() {
    var random = SeededRandom(seed: 4)
    var assistant = Assistant()
    for _ in 0..<100_000 {
      let (record, conflict) = AdversarialConflict.onSafetyField(using: &random)
      guard case .abstains = assistant.advice(conflict, in: record, threshold: 0) else {
        Issue.record("it recommended for \(record.kind) \(conflict.field)")
        return
      }
    }
    // Nor does it learn anything there.
    let (record, conflict) = AdversarialConflict.onSafetyField(using: &random)
    let before = assistant
    if let chosen = conflict.chosen { assistant.learn(conflict, in: record, chosen: chosen.id) }
    #expect(assistant == before)
    let touched = RecordCatalogue.all.flatMap { schema in schema.fields.filter { ConflictRule.isForAssistant(kind: schema.kind, field: $0.name) }.map { "\(schema.kind).\($0.name)" } }
    #expect(touched.allSatisfy { $0.hasPrefix("check-in.") || $0.hasPrefix("journal.") } && !touched.contains("check-in.anxiety"))
  }

  /// As somebody would make it who wants it to say yes to everything.
  private func poisoned() -> Assistant {
    var assistant = Assistant()
    var household = SyntheticHousehold(seed: 5)
    for _ in 0..<10_000 {
      let next = household.next()
      if let comparison = try? VersionComparison(next.conflict, in: next.record) { assistant.learn(comparison, isLater: true) }
    }
    return assistant
  }

  @Test("of a conflict that is made to lead it astray it says nothing, whatever it has learned", arguments: AdversarialConflict.all.map(\.name))
  func adversarial(name: String) throws {
    let conflict = try #require(AdversarialConflict.all.first { $0.name == name })
    for assistant in [Assistant(), poisoned()] {
      guard case .abstains(let reason) = assistant.advice(conflict.conflict, in: conflict.record, threshold: 0) else {
        Issue.record("it recommended")
        continue
      }
      #expect(reason.hasSuffix("."))
    }
  }

  @Test("it learns what a person prefers, but not without bounds")
  func learns() throws {
    let stubborn = poisoned()
    for (learned, shipped) in zip(stubborn.weights, AssistantWeights.weights) { #expect(abs(learned - shipped) <= 0.5 + 1e-9) }
    #expect(stubborn.choices > 0 && stubborn.choices <= 600, "older choices fade")
    var household = SyntheticHousehold(seed: 6)
    var (moved, count) = (0.0, 0.0)
    for _ in 0..<200 {
      let next = household.next()
      guard let comparison = try? VersionComparison(next.conflict, in: next.record) else { continue }
      let (fresh, learned) = (Assistant(), stubborn)
      moved += learned.probability(learned.values(comparison)) - fresh.probability(fresh.values(comparison))
      count += 1
    }
    #expect(moved / count > 0.1, "who always chose the later one is told so")
  }

  @Test("the threshold stays within its bounds; below it nothing is said, and reasons are named")
  func threshold() throws {
    var household = SyntheticHousehold(seed: 8)
    var (spoke, silent) = (0, 0)
    for _ in 0..<300 {
      let next = household.next()
      let assistant = Assistant()
      guard let comparison = try? VersionComparison(next.conflict, in: next.record) else { continue }
      let probability = assistant.probability(assistant.values(comparison))
      let confidence = max(probability, 1 - probability)
      for (asked, bound) in [(0.0, 0.6), (0.7, 0.7), (0.8, 0.8), (1.0, 0.9)] {
        switch assistant.advice(next.conflict, in: next.record, threshold: asked) {
        case .recommends(let found):
          spoke += 1
          #expect(confidence >= bound && found.permille == UInt32((confidence * 1_000).rounded()))
          #expect(!found.reasons.isEmpty && found.reasons.count <= 3)
          #expect(found.version == (probability > 0.5 ? comparison.later.id : comparison.earlier.id))
        case .abstains:
          silent += 1
          #expect(confidence < bound)
        }
      }
    }
    #expect(spoke > 100 && silent > 100)
  }
}
