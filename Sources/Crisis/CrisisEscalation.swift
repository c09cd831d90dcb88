/// What happens next when nobody acknowledges a crisis.
public enum EscalationStage: Int, Sendable, CaseIterable, Comparable {
  /// Every family member who agreed is told.
  case family = 1
  /// The list of contacts is on every screen.
  case contacts = 2

  public static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }

  public var meaning: String {
    switch self {
    case .family: "everybody who agreed to be told is told"
    case .contacts: "your contacts are put on every screen"
    }
  }
}

/// When the next stage is due, and which device takes it. (DOMAIN.md, *Crisis levels*.)
///
/// It knows no clock: how long this device has had the crisis is counted by the caller, so that
/// nobody's wrong clock can hold it up or hurry it.
public struct CrisisEscalation: Sendable, Hashable {
  public enum Step: Sendable, Hashable {
    /// Nothing escalates at this level.
    case notNeeded
    /// Half of the devices have acknowledged.
    case stopped
    /// This stage is due in so many milliseconds, unless somebody acknowledges or another device
    /// takes it first.
    case wait(EscalationStage, milliseconds: UInt64)
    /// This device takes this stage now.
    case take(EscalationStage)
    /// All stages were taken.
    case complete
  }

  public var level: CrisisLevel
  /// Milliseconds since this device first had the crisis.
  public var elapsed: UInt64
  /// Own devices, this one among them.
  public var devices: Int
  /// Own devices that have acknowledged.
  public var acknowledged: Int
  /// Stages that some device has taken.
  public var taken: Set<EscalationStage>
  /// Present devices whose turn it is before this one's.
  public var rank: Int

  public init(
    level: CrisisLevel, elapsed: UInt64, devices: Int, acknowledged: Int, taken: Set<EscalationStage>, rank: Int
  ) {
    (self.level, self.elapsed, self.devices) = (level, elapsed, devices)
    (self.acknowledged, self.taken, self.rank) = (acknowledged, taken, rank)
  }

  /// Milliseconds without acknowledgement before a stage; `nil` where nothing escalates.
  public static func patience(_ level: CrisisLevel) -> UInt64? {
    switch level {
    case .none, .mild, .moderate: nil
    case .severe: 60_000
    case .emergency: 30_000
    }
  }

  /// How much later each further device would take a stage that the one before it did not take.
  public static let turn: UInt64 = 5_000

  public var step: Step {
    guard let patience = Self.patience(level) else { return .notNeeded }
    if acknowledged * 2 >= devices { return .stopped }
    guard let stage = EscalationStage.allCases.first(where: { !taken.contains($0) }) else { return .complete }
    let due = UInt64(stage.rawValue) * patience + UInt64(rank) * Self.turn
    return elapsed >= due ? .take(stage) : .wait(stage, milliseconds: due - elapsed)
  }
}
