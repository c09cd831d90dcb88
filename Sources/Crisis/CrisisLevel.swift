/// How severe a crisis is. (DOMAIN.md, *Crisis levels*.)
public enum CrisisLevel: Int, Sendable, CaseIterable, Comparable {
  case none, mild, moderate, severe, emergency

  public var name: String {
    switch self {
    case .none: "none"
    case .mild: "mild"
    case .moderate: "moderate"
    case .severe: "severe"
    case .emergency: "emergency"
    }
  }

  /// Reads a level by its name; `nil` for anything else.
  public init?(name: String) {
    guard let level = Self.allCases.first(where: { $0.name == name.lowercased() }) else { return nil }
    self = level
  }

  public static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
}
