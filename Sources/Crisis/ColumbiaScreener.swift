/// The C-SSRS screener as data: which answer stands for which risk. (DOMAIN.md, *Crisis detection*.)
public enum ColumbiaScreener {
  public enum Risk: Int, Sendable, CaseIterable, Comparable {
    case none, low, moderate, high

    public static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }

    /// The level that is offered.
    public var level: CrisisLevel {
      switch self {
      case .none: .none
      case .low: .mild
      case .moderate: .moderate
      case .high: .severe
      }
    }
  }

  /// One question answered with yes.
  public struct Yes: Sendable, Hashable {
    /// 1 to 6.
    public var question: Int
    /// For question 6: whether it was within three months; `nil` when that is unknown.
    public var isRecent: Bool?

    public init(_ question: Int, isRecent: Bool? = nil) { (self.question, self.isRecent) = (question, isRecent) }
  }

  /// Each row: a question, whether it has to be recent, and the risk.
  static let rows: [(question: Int, isRecent: Bool?, risk: Risk)] = [
    (1, nil, .low), (2, nil, .low), (3, nil, .moderate), (4, nil, .high), (5, nil, .high),
    (6, false, .moderate), (6, true, .high),
  ]

  /// The highest risk among the answers. Where it is unknown how long ago something was, it counts as
  /// recent: unknown is not harmless.
  public static func risk(_ answers: [Yes]) -> Risk {
    answers.flatMap { answer in
      rows.filter { row in
        row.question == answer.question && (row.isRecent == nil || row.isRecent == answer.isRecent ?? true)
      }.map(\.risk)
    }.max() ?? .none
  }
}
