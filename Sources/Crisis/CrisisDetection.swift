/// What the answers to questionnaires suggest: an offer, never a verdict. The person decides.
public struct CrisisOffer: Sendable, Hashable {
  /// ``CrisisLevel/none`` offers support without raising anything.
  public var level: CrisisLevel
  public var reason: CrisisReason

  public init(level: CrisisLevel, reason: CrisisReason) { (self.level, self.reason) = (level, reason) }
}

/// Why something is offered.
public enum CrisisReason: String, Sendable, CaseIterable {
  case thoughtsAndHeavyLoad = "thoughts-and-heavy-load"
  case thoughts
  case heavyLoad = "heavy-load"
  case muchWorry = "much-worry"
  case loadAndWorry = "load-and-worry"
  case considerableLoad = "considerable-load"
  case risingLoad = "rising-load"

  /// In one calm sentence that goes on after "because".
  public var text: String {
    switch self {
    case .thoughtsAndHeavyLoad: "you answered that you have thoughts of being better off dead, and that much weighs on you"
    case .thoughts: "you answered that you have thoughts of being better off dead"
    case .heavyLoad: "your answers show that very much weighs on you"
    case .muchWorry: "your answers show very much worry"
    case .loadAndWorry: "your answers show that much weighs on you, and much worry"
    case .considerableLoad: "your answers show that much weighs on you"
    case .risingLoad: "your answers show that more weighs on you than a few days ago"
    }
  }
}

/// The rules of DOMAIN.md, *Crisis detection*; looked at as each answer is given, on that device.
///
/// A missing answer is unknown: it is not counted as 0, it just is not counted. As answers only add,
/// a sum that is high enough without it stays so.
public struct CrisisDetection: Sendable, Hashable {
  /// From here on a crisis is offered. Severity bands, not validated detectors.
  public static let phq9Severe = 20, gad7Severe = 15
  /// From here on support is offered.
  public static let phq9Support = 15, gad7Worry = 10, phq9Rise = 5
  /// Days within which a rise counts.
  public static let riseDays = 7

  /// Nine answers, 0–3, `nil` where there is none; empty when it is not being answered.
  public var phq9: [Int?]
  /// Seven answers.
  public var gad7: [Int?]
  /// The latest complete GAD-7 total, when PHQ-9 is being answered.
  public var latestGAD7: Int?
  /// Complete PHQ-9 totals of the last days, with their age in days.
  public var earlierPHQ9: [(total: Int, days: Int)] {
    get { zip(earlierTotals, earlierDays).map { ($0, $1) } }
    set { (earlierTotals, earlierDays) = (newValue.map(\.total), newValue.map(\.days)) }
  }
  private var earlierTotals: [Int] = []
  private var earlierDays: [Int] = []

  public init(phq9: [Int?] = [], gad7: [Int?] = [], latestGAD7: Int? = nil) {
    (self.phq9, self.gad7, self.latestGAD7) = (phq9, gad7, latestGAD7)
  }

  /// The strongest offer that these answers call for; `nil` for none.
  public var offer: CrisisOffer? {
    let load = Self.sum(phq9), worry = Self.sum(gad7)
    // Item 9 is never prorated and never outweighed.
    let hasThoughts = phq9.count == 9 && (phq9[8] ?? 0) >= 1
    if hasThoughts, load >= Self.phq9Severe { return CrisisOffer(level: .emergency, reason: .thoughtsAndHeavyLoad) }
    if hasThoughts { return CrisisOffer(level: .severe, reason: .thoughts) }
    if load >= Self.phq9Severe { return CrisisOffer(level: .severe, reason: .heavyLoad) }
    if worry >= Self.gad7Severe { return CrisisOffer(level: .moderate, reason: .muchWorry) }
    if load >= Self.phq9Support, max(worry, latestGAD7 ?? worry) >= Self.gad7Worry {
      return CrisisOffer(level: .none, reason: .loadAndWorry)
    }
    if load >= Self.phq9Support { return CrisisOffer(level: .none, reason: .considerableLoad) }
    if rises(to: load) { return CrisisOffer(level: .none, reason: .risingLoad) }
    return nil
  }

  private func rises(to load: Int) -> Bool {
    earlierPHQ9.contains { $0.days <= Self.riseDays && load >= $0.total + Self.phq9Rise }
  }

  private static func sum(_ answers: [Int?]) -> Int { answers.reduce(0) { $0 + ($1 ?? 0) } }
}
