import Crisis

/// A questionnaire, question by question.
package struct Questionnaire: Sendable, Hashable {
  package var instrument: Instrument
  package var answers: [Int?]
  package var index = 0
  /// What the answers call for, while it is being offered.
  package var offer: CrisisOffer?
  /// The strongest offer so far: each is made once, a stronger one again.
  package private(set) var strongest: CrisisOffer?
  private var wasAccepted = false
  private var context: ScreeningContext

  package init(_ instrument: Instrument, _ context: ScreeningContext = ScreeningContext()) {
    self.instrument = instrument
    self.context = context
    answers = Array(repeating: nil, count: instrument.items.count)
  }

  /// Takes an answer; help is offered as the answer is given, not at the end.
  package mutating func answer(_ value: Int) {
    answers[index] = value
    if let found = instrument.offer(answers, context), strongest.map({ found.level > $0.level }) ?? true {
      (offer, strongest) = (found, found)
    }
    index += 1
  }

  /// Leaves an answer open.
  package mutating func skip() { index += 1 }

  package mutating func closeOffer(accepted: Bool) {
    offer = nil
    wasAccepted = wasAccepted || accepted
  }

  package var isComplete: Bool { index >= instrument.items.count }

  package var assignments: [String] {
    ["instrument=\(instrument.name)"]
      + answers.enumerated().compactMap { index, answer in answer.map { "item\(index + 1)=\($0)" } }
      + (strongest == nil ? [] : ["offer=\(wasAccepted ? "accepted" : "dismissed")"])
  }
}
