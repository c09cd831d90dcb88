import Foundation
import Therapy

/// Trains the assistant on synthetic households, and measures it on others.
///
/// Every household is lived through in order: the assistant is asked, then learns what was chosen, as on a device.
package enum AssistantTraining {
  /// What the shipped weights were trained with.
  package static let seed: UInt64 = 20_261_124
  package static let conflictsEach = 60
  private static let trained = 400, calibrated = 150
  /// Pull towards zero: a prior of one conflict in this many that says nothing.
  private static let ridge = 4.0

  package struct Result: Sendable {
    package var weights: [Double]
    package var calibration: Assistant.Calibration
  }

  /// Newton's method for the regression (Hosmer, Lemeshow 2000, §2.2), then Platt scaling (Platt 1999) on other households.
  package static func train(seed: UInt64 = seed) -> Result {
    var weights = [Double](repeating: 0, count: AssistantFeature.allCases.count)
    let plain = Assistant.Calibration(scale: 1, shift: 0)
    let examples = examples(Assistant(weights: weights, plain), seed: seed, households: trained)
    for _ in 0..<12 { weights = step(weights, examples.map { ($0.values, $0.isLater) }, ridge: ridge) }
    let scored = self.examples(Assistant(weights: weights, plain), seed: seed &+ 1_000_000, households: calibrated)
      .map { ([$0.score, 1], $0.isLater) }
    var platt = [1.0, 0]
    for _ in 0..<12 { platt = step(platt, scored, ridge: 0) }
    return Result(weights: weights, calibration: .init(scale: platt[0], shift: platt[1]))
  }

  private static func examples(_ assistant: Assistant, seed: UInt64, households: Int) -> [(values: [Double], score: Double, isLater: Bool)] {
    var examples: [(values: [Double], score: Double, isLater: Bool)] = []
    for number in 0..<households {
      var (household, own) = (SyntheticHousehold(seed: seed &+ UInt64(number)), assistant)
      for _ in 0..<conflictsEach {
        let next = household.next()
        guard let comparison = try? VersionComparison(next.conflict, in: next.record) else { continue }
        let values = own.values(comparison)
        examples.append((values, own.score(values), next.isLater))
        own.learn(comparison, isLater: next.isLater)
      }
    }
    return examples
  }

  /// One step of Newton's method on the penalized likelihood.
  private static func step(_ weights: [Double], _ examples: [([Double], Bool)], ridge: Double) -> [Double] {
    let count = weights.count
    var gradient = weights.map { -ridge * $0 }
    var curvature = [[Double]](repeating: [Double](repeating: 0, count: count), count: count)
    for index in 0..<count { curvature[index][index] = ridge + 1e-9 }
    for (values, isLater) in examples {
      let probability = Assistant.logistic(zip(weights, values).reduce(0) { $0 + $1.0 * $1.1 })
      let error = (isLater ? 1 : 0) - probability, spread = probability * (1 - probability)
      for row in 0..<count where values[row] != 0 {
        gradient[row] += error * values[row]
        for column in 0...row { curvature[row][column] += spread * values[row] * values[column] }
      }
    }
    let change = solve(curvature, gradient)
    return zip(weights, change).map { $0 + $1 }
  }

  /// Solves a symmetric, positive system of which the lower half is given: Cholesky.
  private static func solve(_ matrix: [[Double]], _ right: [Double]) -> [Double] {
    let count = right.count
    var lower = matrix, solution = right
    for row in 0..<count {
      for column in 0...row {
        let sum = (0..<column).reduce(matrix[row][column]) { $0 - lower[row][$1] * lower[column][$1] }
        lower[row][column] = row == column ? max(sum, 1e-12).squareRoot() : sum / lower[column][column]
      }
      solution[row] = (0..<row).reduce(solution[row]) { $0 - lower[row][$1] * solution[$1] } / lower[row][row]
    }
    for row in stride(from: count - 1, through: 0, by: -1) {
      solution[row] = (row + 1..<count).reduce(solution[row]) { $0 - lower[$1][row] * solution[$1] } / lower[row][row]
    }
    return solution
  }

  // MARK: Measuring

  /// How good something is at saying which version is chosen.
  package struct Score: Sendable {
    package var right = 0
    package var count = 0
    fileprivate var squares = 0.0
    fileprivate var bins = [(said: Double, right: Double, count: Double)](repeating: (0, 0, 0), count: 10)

    /// Of 1.
    package var accuracy: Double { count == 0 ? 0 : Double(right) / Double(count) }
    /// Mean squared error of the probabilities (Brier 1950): 0 is perfect, 0.25 is a coin.
    package var brier: Double { count == 0 ? 0 : squares / Double(count) }
    /// Expected calibration error over ten bins of confidence (Naeini et al. 2015).
    package var calibrationError: Double {
      bins.reduce(0) { $0 + abs($1.said - $1.right) } / Double(max(1, count))
    }

    mutating func take(probability: Double, isLater: Bool) {
      let isRight = (probability > 0.5) == isLater
      let confidence = max(probability, 1 - probability)
      count += 1
      if isRight { right += 1 }
      squares += (probability - (isLater ? 1 : 0)) * (probability - (isLater ? 1 : 0))
      let bin = min(9, Int((confidence - 0.5) * 20))
      bins[bin].said += confidence
      bins[bin].right += isRight ? 1 : 0
      bins[bin].count += 1
    }
  }

  package struct Report: Sendable {
    /// Every conflict, also where it would have said nothing.
    package var assistant = Score()
    /// Where it recommended.
    package var recommended = Score()
    /// The same, in the first ten conflicts of a household and from the fortieth on.
    package var young = Score()
    package var old = Score()
    package var latestWins = Score()
    package var therapeuticPriority = Score()
    package var abstained = 0
  }

  /// Lives through households that nothing was trained on.
  package static func measure(
    _ assistant: Assistant, seed: UInt64, households: Int, _ population: SyntheticHousehold.Population = .usual
  ) -> Report {
    var report = Report()
    for number in 0..<households {
      var (household, own) = (SyntheticHousehold(seed: seed &+ UInt64(number), population), assistant)
      for index in 0..<conflictsEach {
        let next = household.next()
        guard let comparison = try? VersionComparison(next.conflict, in: next.record) else {
          report.abstained += 1
          continue
        }
        let probability = own.probability(own.values(comparison))
        report.assistant.take(probability: probability, isLater: next.isLater)
        if index < 10 { report.young.take(probability: probability, isLater: next.isLater) }
        if index >= 40 { report.old.take(probability: probability, isLater: next.isLater) }
        switch own.advice(next.conflict, in: next.record) {
        case .recommends: report.recommended.take(probability: probability, isLater: next.isLater)
        case .abstains: report.abstained += 1
        }
        report.latestWins.take(probability: 1, isLater: next.isLater)
        report.therapeuticPriority.take(probability: priority(comparison), isLater: next.isLater)
        own.learn(comparison, isLater: next.isLater)
      }
    }
    return report
  }

  /// The value that stands for more distress; of texts, where that cannot be known, the one that says more.
  private static func priority(_ comparison: VersionComparison) -> Double {
    (comparison.isScale ? AssistantFeature.therapeuticWeight : .completeness).value(comparison) >= 0 ? 1 : 0
  }
}
