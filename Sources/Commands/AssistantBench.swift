import Causality
import ConflictResolution
import Foundation
import Simulation
import Therapy

/// How good the assistant is, on households that it was not trained with.
enum AssistantBench {
  private static let heldOut: UInt64 = 77_000_000
  private static let households = 400
  /// Conflicts in fields that it must not touch.
  private static let tries = 100_000

  static func run() -> [BenchRow] {
    let usual = AssistantTraining.measure(Assistant(), seed: heldOut, households: households)
    let other = AssistantTraining.measure(Assistant(), seed: heldOut &+ 1_000_000, households: households, .other)
    func rows(_ report: AssistantTraining.Report, _ who: String) -> [BenchRow] {
      let spoke = Double(report.recommended.count) / Double(max(1, report.assistant.count))
      func score(_ name: String, _ score: AssistantTraining.Score, _ note: String = "") -> BenchRow {
        BenchRow(
          name: "\(name), \(who)", value: score.accuracy, unit: "right",
          note: "Brier \(number(score.brier)) · calibration error \(number(score.calibrationError)) · \(score.count) conflicts\(note)")
      }
      return [
        score("assistant, all conflicts", report.assistant),
        score("assistant, where it recommends", report.recommended, ", \(Int(spoke * 100)) % of all; it abstained from \(report.abstained)"),
        score("assistant, first ten of a household", report.young), score("assistant, from the fortieth on", report.old),
        score("latest wins", report.latestWins), score("therapeutic priority", report.therapeuticPriority),
      ]
    }
    let strange = AdversarialConflict.all.filter { if case .abstains = Assistant().advice($0.conflict, in: $0.record, threshold: 0.6) { false } else { true } }
    return rows(usual, "held-out households") + rows(other, "other people") + [
      BenchRow(
        name: "recommendations on safety fields", value: Double(onSafetyFields()), unit: "of \(tries)",
        note: "crisis, plan, contacts, assessments, anxiety, and whether a record is removed"),
      BenchRow(
        name: "recommendations on adversarial conflicts", value: Double(strange.count), unit: "of \(AdversarialConflict.all.count)",
        note: AdversarialConflict.all.map(\.name).joined(separator: "; ")),
    ]
  }

  /// How often it recommends where only the person may decide.
  static func onSafetyFields() -> Int {
    var random = SeededRandom(seed: 1)
    return (0..<tries).count { _ in
      let (record, conflict) = AdversarialConflict.onSafetyField(using: &random)
      if case .recommends = Assistant().advice(conflict, in: record, threshold: 0) { return true }
      return false
    }
  }

  /// Writes the source file that the weights stand in.
  static func train(into path: String) throws {
    let result = AssistantTraining.train()
    let rows = zip(AssistantFeature.allCases, result.weights).map { "    \($1),  // \($0.rawValue)" }
    let source = """
      // Written by scripts/train-assistant with seed \(AssistantTraining.seed); see docs/ASSISTANT.md.

      /// What the assistant has learned from synthetic households.
      package enum AssistantWeights {
        /// In the order of ``AssistantFeature``.
        package static let weights: [Double] = [
      \(rows.joined(separator: "\n"))
        ]
        package static let calibration = Assistant.Calibration(scale: \(result.calibration.scale), shift: \(result.calibration.shift))
      }

      """
    try source.write(toFile: path, atomically: true, encoding: .utf8)
  }

  private static func number(_ value: Double) -> String { String(format: "%.3f", value) }
}
