/// What other people are told of a crisis, and when. They learn that somebody asked for support,
/// and nothing else.
public enum CrisisAlert {
  /// Milliseconds in which the person can take a crisis back before anybody else hears of it.
  public static let undoMilliseconds: UInt64 = 10_000

  /// Who is to be told now: only from *severe* upward, only who was agreed on, nobody twice.
  ///
  /// - Parameters:
  ///   - elapsed: Milliseconds since this device first had the crisis.
  ///   - saidNow: The person does not want to wait.
  ///   - agreed: Whom the person allowed, in order.
  ///   - told: Who was told of this crisis already.
  public static func recipients<ID: Hashable>(
    level: CrisisLevel, elapsed: UInt64, saidNow: Bool, agreed: [ID], told: Set<ID>
  ) -> [ID] {
    guard level >= .severe, saidNow || elapsed >= undoMilliseconds else { return [] }
    var known = told
    return agreed.filter { known.insert($0).inserted }
  }

  /// The whole message. It holds a name and nothing that was ever written.
  public static func text(person: String) -> String {
    "\(person) asked for support. Please get in touch with them now."
  }
}
