/// When somebody outside the account is told of a crisis, as the person agreed beforehand.
public enum AlertConsent: String, Sendable, CaseIterable {
  case never = "no"
  /// When nobody has acknowledged it on the person's own devices.
  case unanswered
  /// As soon as the time to take it back is over.
  case prompt = "yes"
}

/// What other people are told of a crisis, and when. They learn that somebody asked for support,
/// and nothing else.
public enum CrisisAlert {
  /// Milliseconds in which the person can take a crisis back before anybody else hears of it.
  public static let undoMilliseconds: UInt64 = 10_000

  /// Whom to tell now, and whom later.
  public struct Decision<ID: Hashable & Sendable>: Sendable, Hashable {
    /// To be told by this device now.
    public var now: [ID] = []
    /// To be told in ``milliseconds``, unless the person takes it back or another device was faster.
    public var later: [ID] = []
    /// `nil` when nobody is left to be told.
    public var milliseconds: UInt64?

    public init() {}
  }

  /// Who is to be told: only from *severe* upward, only who was agreed on, nobody twice.
  ///
  /// - Parameters:
  ///   - elapsed: Milliseconds since this device first had the crisis.
  ///   - saidNow: The person does not want to wait.
  ///   - rank: Present devices whose turn it is before this one's.
  ///   - isUnanswered: The first stage of the escalation was taken.
  ///   - agreed: Whom the person allowed, and when, in order.
  ///   - told: Who was told of this crisis already.
  public static func decide<ID: Hashable & Sendable>(
    level: CrisisLevel, elapsed: UInt64, saidNow: Bool, rank: Int, isUnanswered: Bool,
    agreed: [(id: ID, consent: AlertConsent)], told: Set<ID>
  ) -> Decision<ID> {
    var decision = Decision<ID>()
    guard level >= .severe else { return decision }
    var known = told
    let waiting = agreed.filter { entry in
      let isMeant = entry.consent == .prompt || entry.consent == .unanswered && isUnanswered
      return isMeant && known.insert(entry.id).inserted
    }.map(\.id)
    let due = undoMilliseconds + UInt64(rank) * CrisisEscalation.turn
    if saidNow || elapsed >= due {
      decision.now = waiting
    } else if !waiting.isEmpty {
      (decision.later, decision.milliseconds) = (waiting, due - elapsed)
    }
    return decision
  }

  /// The whole message. It holds a name and nothing that was ever written.
  public static func text(person: String) -> String {
    "\(person) asked for support. Please get in touch with them now."
  }

  /// What follows when it is over.
  public static func endedText(person: String) -> String {
    "\(person) has said that it is over for now. A word from you may still be welcome."
  }

  /// What follows when the person takes the link back.
  public static func closedText(person: String) -> String { "\(person) has taken this link back. Nothing comes by it any more." }
}
