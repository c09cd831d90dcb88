import Crisis

/// What the answers to a questionnaire suggest. The program proposes; the person decides.
package struct CrisisProposal: Sendable, Hashable {
  package var level: CrisisLevel
  /// Why, in one calm sentence.
  package var reason: String
}

/// The rules of DOMAIN.md, *Crisis detection*; checked as each answer is given.
package enum CrisisDetection {
  /// PHQ-9: total from which help is proposed. A severity band, not a validated detector.
  package static let phq9Severe = 20
  /// GAD-7: total from which help is proposed. A severity band, not a validated detector.
  package static let gad7Severe = 15

  /// Looks at the answers given so far.
  ///
  /// - Parameter answers: One per item, 0–3; `nil` where there is none yet. A missing answer is
  ///   unknown: it neither raises nor lowers the sum of those given.
  /// - Returns: `nil` when nothing suggests a crisis.
  package static func proposal(for instrument: Instrument, answers: [Int?]) -> CrisisProposal? {
    let known = answers.compactMap { $0 }.reduce(0, +)
    switch instrument.name {
    case Instrument.phq9.name:
      let thoughts = answers.count == 9 ? answers[8] ?? 0 : 0
      if thoughts >= 1, known >= phq9Severe {
        return CrisisProposal(
          level: .emergency, reason: "you answered that you have thoughts of being better off dead, and a heavy load")
      }
      if thoughts >= 1 {
        return CrisisProposal(level: .severe, reason: "you answered that you have thoughts of being better off dead")
      }
      if known >= phq9Severe { return CrisisProposal(level: .severe, reason: "your answers show a heavy load") }
    case Instrument.gad7.name:
      if known >= gad7Severe { return CrisisProposal(level: .moderate, reason: "your answers show much worry") }
    default: break
    }
    return nil
  }
}
