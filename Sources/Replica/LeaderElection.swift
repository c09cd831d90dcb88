/// Decides which of the processes over one store exchanges with the relay.
///
/// One holds a lock that ends with the process. A process that is stopped keeps its lock, and one that hangs does too:
/// so the leader has to answer as well. Whoever waits asks it by a ping; a leader that does not answer is replaced, with a
/// higher term, by which it sees that it is the leader no more when it goes on. Two that lead for a moment do no harm.
package struct LeaderElection: Sendable {
  package enum Role: Sendable, Hashable { case follower, leader }

  /// What lies beside the lock.
  package struct Beat: Sendable, Hashable {
    /// Raised by each replacement.
    package var term: UInt64
    /// The process, by a number that it drew.
    package var process: UInt64
    /// Uptime of its last turn; of another boot where it lies in the future.
    package var uptime: UInt64

    package init(term: UInt64, process: UInt64, uptime: UInt64) { (self.term, self.process, self.uptime) = (term, process, uptime) }
  }

  package enum Action: Sendable, Hashable {
    /// Tries to take the lock.
    case tryLock
    /// Wakes the leader, so that it shows that it is there.
    case challenge
    /// Says beside the lock that this process leads.
    case beat(Beat)
    /// Gives the lock back.
    case unlock
  }

  package private(set) var role = Role.follower
  /// Uptime at which it is looked again.
  package private(set) var due: UInt64 = 0
  private let process: UInt64
  private var term: UInt64 = 0
  private var lastBeat: UInt64 = 0
  /// The leader was asked at that uptime, and had last shown itself then.
  private var challenge: (at: UInt64, beat: Beat?)?

  /// How often a follower looks whether it has to take over, in nanoseconds.
  package static let gap: UInt64 = 2_000_000_000
  /// A leader that showed itself so lately is there.
  private static let fresh: UInt64 = 2_500_000_000
  /// How long a leader has to answer.
  private static let patience: UInt64 = 1_000_000_000
  /// A leader says that it is there at most so often.
  private static let beatGap: UInt64 = 500_000_000

  /// - Parameter process: A number that no other process has.
  package init(process: UInt64) { self.process = process }

  /// Whether this process has said what lies beside the lock.
  package func isOurs(_ beat: Beat?) -> Bool { beat?.process == process }

  /// Looks at what lies beside the lock.
  package mutating func look(_ beat: Beat?, now: UInt64) -> [Action] {
    role == .leader ? lead(beat, now) : follow(beat, now)
  }

  private mutating func lead(_ beat: Beat?, _ now: UInt64) -> [Action] {
    if let beat, beat.process != process, beat.term > term || (beat.term == term && beat.process > process) {
      // Somebody took over while this process was stopped.
      (role, due, challenge) = (.follower, now &+ Self.gap, nil)
      return [.unlock]
    }
    guard now &- lastBeat >= Self.beatGap else { return [] }
    lastBeat = now
    return [.beat(Beat(term: term, process: process, uptime: now))]
  }

  private mutating func follow(_ beat: Beat?, _ now: UInt64) -> [Action] {
    guard now >= due else { return [] }
    due = now &+ Self.gap
    if let asked = challenge, now &- asked.at >= Self.patience {
      challenge = nil
      if asked.beat == beat {
        // It does not answer: stopped, hung, or of another boot.
        role = .leader
        (term, lastBeat) = ((beat?.term ?? 0) &+ 1, now)
        return [.beat(Beat(term: term, process: process, uptime: now))]
      }
    }
    if let beat, beat.uptime <= now, now - beat.uptime < Self.fresh { return [.tryLock] }
    challenge = (now, beat)
    due = now &+ Self.patience
    return [.tryLock, .challenge]
  }

  /// The lock was taken.
  package mutating func didLock(_ beat: Beat?, now: UInt64) -> [Action] {
    (role, challenge) = (.leader, nil)
    (term, lastBeat) = ((beat?.term ?? 0) &+ 1, now)
    return [.beat(Beat(term: term, process: process, uptime: now))]
  }

  /// This process is about to stop, or its turn is over: another one may lead.
  package mutating func yield(now: UInt64) -> [Action] {
    guard role == .leader else { return [] }
    (role, due) = (.follower, now &+ Self.gap)
    return [.unlock]
  }
}
