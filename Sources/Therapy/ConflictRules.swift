import Causality
import ConflictResolution

/// What a conflict is about. (DOMAIN.md, *Conflicts*.)
package enum ConflictType: String, Sendable, CaseIterable {
  case dataDivergence = "data divergence"
  case versionMismatch = "version mismatch"
  case timestampConflict = "timestamp conflict"
  case crisisOverride = "crisis override"
  case therapeuticPriority = "therapeutic priority"
  case sessionConflict = "session conflict"
  case assessmentConflict = "assessment conflict"
  case progressConflict = "progress conflict"
  case privacyConflict = "privacy conflict"
  case familyConflict = "family conflict"
}

package enum ConflictImpact: Int, Sendable, CaseIterable, Comparable {
  case none, minimal, moderate, significant, critical

  package static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
  package var name: String {
    switch self {
    case .none: "none"
    case .minimal: "minimal"
    case .moderate: "moderate"
    case .significant: "significant"
    case .critical: "critical"
    }
  }
}

/// What it touches in a person's life.
package enum ConflictArea: String, Sendable, CaseIterable {
  case safety, assessment, practice, mood, writing, people, bookkeeping
}

/// When somebody should look at it.
package enum ConflictUrgency: String, Sendable, CaseIterable { case whenever, soon, today }

/// How it was settled, or is to be.
package enum ConflictMethod: String, Sendable, CaseIterable {
  case latestWins = "latest wins"
  case crisisPriority = "crisis priority"
  case therapeuticPriority = "therapeutic priority"
  case fieldMerge = "field merge"
  case unionMerge = "union merge"
  case personsChoice = "the person's choice"
  case localWins = "local wins"
  case remoteWins = "remote wins"
  case assistant = "assistant"
  case therapistReview = "therapist review"
  case familyConsensus = "family consensus"
}

/// One rule of the table: what a conflict in these fields is.
package struct ConflictRule: Sendable, Hashable {
  package var kind: String
  /// `nil`: every field of the kind that no earlier rule names.
  package var fields: [String]?
  package var type: ConflictType
  package var impact: ConflictImpact
  /// How far apart two numbers have to be for the impact to be one level higher; `nil` where it does not matter.
  package var far: Double?
  package var area: ConflictArea
  package var urgency: ConflictUrgency
  /// Why it matters.
  package var why: String

  private init(
    _ kind: String, _ fields: [String]?, _ type: ConflictType, _ impact: ConflictImpact, far: Double? = nil,
    _ area: ConflictArea, _ urgency: ConflictUrgency, _ why: String
  ) {
    (self.kind, self.fields, self.type, self.impact, self.far) = (kind, fields, type, impact, far)
    (self.area, self.urgency, self.why) = (area, urgency, why)
  }

  /// First match counts. `record` stands for the record as a whole: removed here, written there.
  package static let table: [ConflictRule] = [
    .init("crisis", nil, .crisisOverride, .none, .safety, .whenever, "Whatever asks for help stays until somebody who saw it says that it is over."),
    .init("plan", nil, .therapeuticPriority, .significant, .safety, .soon, "Your plan is what you turn to when thinking is hard. Nothing leaves it by itself."),
    .init("contact", ["alert", "links", "withdrawn", "person"], .privacyConflict, .significant, .people, .today, "This decides what another person learns about you."),
    .init("contact", nil, .therapeuticPriority, .significant, .safety, .today, "Somebody you may want to reach in a crisis."),
    .init("assessment", ["item9"], .assessmentConflict, .critical, .assessment, .today, "The answers about thoughts of being better off dead differ. The one that stands for more risk counts, so that no risk is overlooked by accident."),
    .init("assessment", ["note", "offer", "instrument"], .dataDivergence, .minimal, .assessment, .whenever, "It belongs to a questionnaire, but not to its score."),
    .init("assessment", nil, .assessmentConflict, .moderate, far: 2, .assessment, .soon, "An answer goes into a score, and a score into decisions. The higher one counts, so that a score is never too low by accident."),
    .init("session", ["progress", "elapsed", "resumed"], .progressConflict, .none, .practice, .whenever, "Practice that was done is never taken back."),
    .init("session", nil, .sessionConflict, .minimal, .practice, .whenever, "A session runs in one place. The later word counts."),
    .init("check-in", ["anxiety"], .therapeuticPriority, .moderate, far: 4, .mood, .soon, "The higher value counts, so that a hard moment is not smoothed over by accident."),
    .init("check-in", ["mood", "sleep", "energy"], .dataDivergence, .minimal, far: 4, .mood, .whenever, "It shapes how your days look in hindsight."),
    .init("check-in", nil, .dataDivergence, .minimal, .mood, .whenever, "Both may be true; you know which one you meant."),
    .init("journal", nil, .dataDivergence, .moderate, .writing, .whenever, "These are your own words. None of them is dropped."),
    .init("review", nil, .familyConflict, .none, .people, .whenever, "Somebody was asked about a conflict. Every answer stays."),
    .init("device", nil, .timestampConflict, .none, .bookkeeping, .whenever, "A name for a device. The later one counts."),
    .init("preference", nil, .timestampConflict, .none, .bookkeeping, .whenever, "A setting. The later one counts."),
  ]

  /// For a kind that a newer version made.
  private static let unknown = ConflictRule(
    "", nil, .versionMismatch, .moderate, .bookkeeping, .whenever, "Another version of the program wrote this. Both are kept as they are.")

  /// The rule for a field.
  package static func rule(kind: String, field: String) -> ConflictRule {
    guard RecordCatalogue[kind] != nil else { return unknown }
    if field != Operation.recordField, RecordCatalogue[kind]?[field] == nil { return unknown }
    return table.first { $0.kind == kind && ($0.fields?.contains(field) ?? true) } ?? unknown
  }
}

/// Two or more writes of one field that did not know of each other: found from what they replace, never
/// from clocks.
package struct Conflict: Sendable, Hashable {
  package enum State: Sendable, Hashable {
    /// All wrote the same.
    case churn
    /// A rule has decided, and nobody needs to be asked.
    case settled
    /// The person decides; ``chosen`` is provisional.
    case open
  }
  package var field: String
  package var rule: ConflictRule
  package var impact: ConflictImpact
  package var method: ConflictMethod
  package var state: State
  package var chosen: Dot?
  /// What ``chosen`` was preferred to.
  package var others: [Dot]

  /// The conflict in a field; `nil` where there is one write, or a list, in which everything stands.
  init?(kind: String, _ state: FieldState) {
    guard state.dots.count > 1 else { return nil }
    let policy = RecordCatalogue.policy(of: state.name, kind: kind)
    guard !policy.isAdditive else { return nil }
    let view = policy.view(state.dots)
    let isSame = view.others.allSatisfy { $0.value == view.chosen?.value }
    (field, rule) = (state.name, ConflictRule.rule(kind: kind, field: state.name))
    (chosen, others) = (view.chosen, view.others)
    self.state = isSame ? .churn : view.isOpen ? .open : .settled
    method = policy.method
    impact = isSame ? .none : rule.impact(of: state.dots)
  }

  /// A record that was removed on one device and written on another.
  init(kind: String, removedBy erasures: [Dot], against writes: [Dot]) {
    (field, rule) = (Operation.recordField, ConflictRule.rule(kind: kind, field: Operation.recordField))
    (state, method, impact) = (.open, .personsChoice, max(rule.impact, .moderate))
    (chosen, others) = (writes.max { $0.isEarlier(than: $1) }, erasures)
  }
}

extension ConflictRule {
  fileprivate func impact(of dots: [Dot]) -> ConflictImpact {
    let numbers = dots.compactMap { $0.value?.number }
    guard let far, let least = numbers.min(), let most = numbers.max(), most - least >= far else { return impact }
    return ConflictImpact(rawValue: impact.rawValue + 1) ?? impact
  }
}

extension MergePolicy {
  /// The name of what it does, in the words of DOMAIN.md.
  package var method: ConflictMethod {
    switch self {
    case .latest: .latestWins
    case .multiValue, .kept: .personsChoice
    case .set, .unionList, .counter: .unionMerge
    case .maximum: .fieldMerge
    case .highestRisk: .therapeuticPriority
    case .mostSevere: .crisisPriority
    }
  }
}

extension RecordState {
  /// Everything in this record that was written apart from each other, also what a rule has settled.
  package var conflicts: [Conflict] {
    guard isVisible else { return [] }
    var found = dataFields.compactMap { Conflict(kind: kind, $0) }
    let removals = erasures
    if !removals.isEmpty {
      let covered = Set(removals.flatMap(\.covers))
      found.append(Conflict(kind: kind, removedBy: removals, against: dataFields.flatMap(\.dots).filter { !covered.contains($0.id) }))
    }
    return found
  }
}

// MARK: Guidance

extension Conflict {
  /// What happened, in plain words.
  package var happened: String {
    if field == Operation.recordField { return "It was removed on one device and written on another, apart from each other." }
    return others.count > 1 ? "\(others.count + 1) devices wrote this apart from each other." : "Two devices wrote this apart from each other."
  }

  /// What is shown until the person decides.
  package var meanwhile: String {
    if field == Operation.recordField { return "It stays until you decide." }
    switch method {
    case .therapeuticPriority: return "The one that stands for more risk is shown until you decide."
    case .personsChoice where RecordCatalogue.policy(of: field, kind: rule.kind) == .kept:
      return "The one that was there first is shown until you decide."
    default: return "The later one is shown until you decide; the other one is kept."
    }
  }

  /// What keeping a version would mean.
  package func consequence(of version: Dot) -> String {
    if field == Operation.recordField {
      return version.value == nil ? "it is removed on every device, and can be brought back from the history" : "it stays on every device"
    }
    if version.id == chosen?.id, method == .therapeuticPriority { return "more risk counts; nothing is overlooked" }
    if method == .therapeuticPriority { return "less risk counts from now on" }
    return "it counts on every device; the other stays in the history"
  }
}
