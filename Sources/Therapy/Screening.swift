import Causality
import ConflictResolution
import Crisis

/// What earlier questionnaires add to the answers being given. (DOMAIN.md, *Crisis detection*.)
package struct ScreeningContext: Sendable, Hashable {
  /// The latest complete GAD-7 total of the last two weeks, the time the questionnaires ask about.
  package var latestGAD7: Int?
  /// Complete PHQ-9 totals with their age in whole days, as far as a rise counts.
  package var phq9Totals: [Int] = []
  package var phq9Days: [Int] = []

  private static let windowDays = 14

  package init() {}

  /// - Parameters:
  ///   - assessments: In any order; whatever is no assessment is left out.
  ///   - wall: Milliseconds since 1970.
  package init(_ assessments: [RecordState], wall: UInt64) {
    let rows = assessments.compactMap { record -> (instrument: Instrument, total: Int, days: Int)? in
      guard record.isVisible, let instrument = record.instrument, let total = instrument.score(record.answers) else { return nil }
      let answered = record.answered?.milliseconds ?? wall
      let age = wall > answered ? wall - answered : 0
      return (instrument, total, Int(age / millisecondsPerDay))
    }.sorted { $0.days < $1.days }
    latestGAD7 = rows.first { $0.instrument.name == Instrument.gad7.name && $0.days <= Self.windowDays }?.total
    for row in rows where row.instrument.name == Instrument.phq9.name && row.days <= CrisisDetection.riseDays {
      phq9Totals.append(row.total)
      phq9Days.append(row.days)
    }
  }
}

extension Instrument {
  /// What the answers given so far call for, together with earlier questionnaires.
  package func offer(_ answers: [Int?], _ context: ScreeningContext) -> CrisisOffer? {
    var detection = CrisisDetection()
    if name == Self.phq9.name {
      detection.phq9 = answers
      detection.latestGAD7 = context.latestGAD7
      detection.earlierPHQ9 = zip(context.phq9Totals, context.phq9Days).map { ($0, $1) }
    } else {
      detection.gad7 = answers
    }
    return detection.offer
  }
}

extension RecordState {
  /// What an assessment calls for, whichever way its answers came to be there.
  ///
  /// - Parameter others: Every other assessment.
  package func offer(_ others: [RecordState], wall: UInt64) -> CrisisOffer? {
    guard kind == RecordCatalogue.assessment.kind, isVisible else { return nil }
    guard let instrument else {
      // Item 9 is the PHQ-9's, and never outweighed, also where nothing says which questionnaire it is.
      return integer("item9") ?? 0 >= 1 ? CrisisOffer(level: .severe, reason: .thoughts) : nil
    }
    return instrument.offer(answers, ScreeningContext(others.filter { $0.id != id }, wall: wall))
  }

  /// Whether a field is a part of what an offer is about.
  package static func isAnswer(_ field: String) -> Bool { field == "instrument" || field.hasPrefix("item") || field == Operation.recordField }

  /// The questionnaire of an assessment.
  package var instrument: Instrument? {
    kind == RecordCatalogue.assessment.kind ? text("instrument").flatMap(Instrument.named) : nil
  }

  /// When it was answered: a note that is added later, or an answer that is corrected, makes it no newer.
  package var answered: Timestamp? {
    (instrument?.items.indices ?? 0..<0).compactMap { index in self["item\(index + 1)"]?.dots.map(\.timestamp).max() }.min()
  }

  /// One answer per item; `nil` where there is none.
  package var answers: [Int?] {
    (instrument?.items.indices ?? 0..<0).map { index in integer("item\(index + 1)").map { Int($0) } }
  }
}
