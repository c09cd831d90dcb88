import Causality
import ConflictResolution
import Foundation

/// A small model that recommends a version where two were written apart: logistic regression over the
/// features of ``VersionComparison``. docs/ASSISTANT.md says how it was trained and how good it is.
///
/// It is never asked about safety, assessments or contacts, says nothing rather than guess, and learns on this
/// device alone. It decides nothing unless the person has said that it may, and everything it decides can be
/// undone for ever.
package struct Assistant: Sendable, Hashable, Codable {
  /// What a decision names.
  package static let version = "assistant 1"
  /// Below this probability it says nothing.
  package static let threshold = 0.8
  package static let thresholds = 0.6...0.9

  /// Counts of this person's choices.
  package struct Tally: Sendable, Hashable, Codable {
    package var chosen = 0.0
    package var seen = 0.0
    package init() {}
  }

  /// One for each feature.
  package private(set) var weights: [Double]
  /// Stretches what the weights say so that 80 of 100 recommendations with 0.8 are right.
  package let calibration: Calibration
  private var devices: [String: Tally] = [:]
  /// How often the later version was chosen, by situation.
  private var situations: [String: Tally] = [:]
  private let shipped: [Double]

  package struct Calibration: Sendable, Hashable, Codable {
    package var scale: Double
    package var shift: Double
    package init(scale: Double, shift: Double) { (self.scale, self.shift) = (scale, shift) }
  }

  /// As it comes with the program.
  package init() { self.init(weights: AssistantWeights.weights, AssistantWeights.calibration) }

  package init(weights: [Double], _ calibration: Calibration) {
    precondition(weights.count == AssistantFeature.allCases.count, "a weight for each feature")
    (self.weights, shipped, self.calibration) = (weights, weights, calibration)
  }

  /// Whether what was kept fits this version: a newer one begins anew.
  package var isCurrent: Bool { shipped == AssistantWeights.weights && calibration == AssistantWeights.calibration }

  /// How many choices it has learned from.
  package var choices: Int { Int(situations.values.reduce(0) { $0 + $1.seen }) }

  // MARK: Recommending

  package struct Recommendation: Sendable, Hashable {
    package var version: OperationID
    /// How probable it is that the person would choose it, in thousandths.
    package var permille: UInt32
    /// What speaks for it, in words, the weightiest first.
    package var reasons: [String]

    package init(version: OperationID, permille: UInt32, reasons: [String]) {
      (self.version, self.permille, self.reasons) = (version, permille, reasons)
    }
  }

  package enum Advice: Sendable, Hashable {
    case recommends(Recommendation)
    /// Why it says nothing, in words.
    case abstains(String)
  }

  /// What it would choose for a conflict; nothing about what it must not touch.
  package func advice(_ conflict: Conflict, in record: RecordState, threshold: Double = Assistant.threshold) -> Advice {
    do throws(Abstention) {
      let comparison = try VersionComparison(conflict, in: record)
      let values = values(comparison)
      let probability = probability(values)
      let confidence = max(probability, 1 - probability)
      let bound = min(max(threshold, Self.thresholds.lowerBound), Self.thresholds.upperBound)
      guard confidence >= bound else { throw .unsure(percent: Int(confidence * 100)) }
      let isLater = probability > 0.5
      return .recommends(
        Recommendation(
          version: isLater ? comparison.later.id : comparison.earlier.id, permille: UInt32((confidence * 1_000).rounded()),
          reasons: reasons(comparison, values, isLater)))
    } catch { return .abstains(error.words) }
  }

  /// The probability that the person would choose the later version.
  package func probability(_ values: [Double]) -> Double { Self.logistic(calibration.scale * score(values) + calibration.shift) }

  package func score(_ values: [Double]) -> Double { zip(weights, values).reduce(0) { $0 + $1.0 * $1.1 } }

  package static func logistic(_ score: Double) -> Double { 1 / (1 + exp(-score)) }

  private func reasons(_ comparison: VersionComparison, _ values: [Double], _ isLater: Bool) -> [String] {
    let sign: Double = isLater ? 1 : -1
    let weighed = AssistantFeature.allCases.enumerated().map { (feature: $1, value: values[$0], weight: sign * weights[$0] * values[$0]) }
    return weighed.filter { $0.weight > 0.1 }.sorted { $0.weight > $1.weight }
      .compactMap { $0.feature.words(comparison, value: $0.value, isLater: isLater) }.prefix(3).map { $0 }
  }

  /// The features of a comparison, with what was learned here.
  package func values(_ comparison: VersionComparison) -> [Double] {
    AssistantFeature.allCases.map { feature in
      switch feature {
      case .reliability:
        return reliability(comparison.later.id.stream.device) - reliability(comparison.earlier.id.stream.device)
      case .pastChoices:
        let tally = situations[comparison.situation.rawValue] ?? Tally()
        return (2 * (tally.chosen + 1) / (tally.seen + 2) - 1) * tally.seen / (tally.seen + 4)
      default: return feature.value(comparison)
      }
    }
  }

  /// The share of a device's versions that were chosen.
  private func reliability(_ device: DeviceID) -> Double {
    let tally = devices[device.description] ?? Tally()
    return (tally.chosen + 2) / (tally.seen + 4)
  }

  // MARK: Learning

  /// How far one choice moves the weights, and how far all of them together may.
  private static let step = 0.02
  private static let leash = 0.5
  /// After so many choices older ones fade.
  private static let memory = 60.0

  /// Learns from a choice of the person; versions that it would not compare teach it nothing.
  package mutating func learn(_ conflict: Conflict, in record: RecordState, chosen: OperationID) {
    guard let comparison = try? VersionComparison(conflict, in: record) else { return }
    guard [comparison.later.id, comparison.earlier.id].contains(chosen) else { return }
    learn(comparison, isLater: chosen == comparison.later.id)
  }

  package mutating func learn(_ comparison: VersionComparison, isLater: Bool) {
    let values = values(comparison)
    let error = (isLater ? 1 : 0) - probability(values)
    for index in weights.indices {
      let moved = weights[index] + Self.step * error * values[index]
      weights[index] = min(max(moved, shipped[index] - Self.leash), shipped[index] + Self.leash)
    }
    count(&situations[comparison.situation.rawValue, default: Tally()], isLater)
    count(&devices[comparison.later.id.stream.device.description, default: Tally()], isLater)
    count(&devices[comparison.earlier.id.stream.device.description, default: Tally()], !isLater)
  }

  private func count(_ tally: inout Tally, _ isChosen: Bool) {
    tally.seen += 1
    if isChosen { tally.chosen += 1 }
    if tally.seen > Self.memory { (tally.seen, tally.chosen) = (tally.seen / 2, tally.chosen / 2) }
  }
}

/// Why the assistant says nothing.
package enum Abstention: Error, Sendable, Hashable {
  /// Safety, assessments, contacts, privacy: only the person decides.
  case isNotItsBusiness
  case hasManyVersions
  case isRemoval
  /// Something that this version would not have let anybody write.
  case isStrange
  case isEmpty
  case isFromOneDevice
  case isOutOfTime
  case hasNothingInCommon
  case unsure(percent: Int)

  package var words: String {
    switch self {
    case .isNotItsBusiness: "The assistant keeps out of what is about safety and scores."
    case .hasManyVersions: "There are more than two versions."
    case .isRemoval: "The assistant keeps out of whether something is removed."
    case .isStrange: "One of the versions is unlike anything that is written here."
    case .isEmpty: "One of the versions is empty."
    case .isFromOneDevice: "Both versions come from one device."
    case .isOutOfTime: "The times of the versions tell nothing about their order."
    case .hasNothingInCommon: "The versions have no word in common: both may be true."
    case .unsure(let percent): "It is not sure enough (\(percent) %)."
    }
  }
}

extension ConflictRule {
  /// Whether the assistant may look at a field at all. Safety and what is counted into scores are not its business,
  /// nor is anything of which a rule says what is safe meanwhile.
  package static func isForAssistant(kind: String, field: String) -> Bool {
    let rule = rule(kind: kind, field: field)
    guard [.mood, .writing].contains(rule.area), RecordCatalogue[kind]?[field] != nil else { return false }
    return RecordCatalogue.policy(of: field, kind: kind) == .multiValue
  }
}
