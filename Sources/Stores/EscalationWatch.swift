import Causality
import Crisis
import Replica
import Storage
import Therapy

/// How long this device has had the crisis that counts, and what is due.
///
/// Counted on this device's own uptime from the moment it first saw the crisis. After a restart it
/// goes on from the wall clock of that moment, which is kept; a clock that was set back meanwhile
/// only means that the count begins again, never that it stops.
struct EscalationWatch: Sendable {
  private var leading: OperationID?
  private var seen: UInt64 = 0
  private var before: UInt64 = 0
  /// Uptime at which it has to be looked at again; `nil` while nothing is due.
  private(set) var due: UInt64?
  private(set) var step = CrisisEscalation.Step.notNeeded

  /// Takes in what is active now.
  mutating func follow(_ crisis: CrisisState, _ store: Store, _ now: Moment) throws {
    guard leading != crisis.leading?.id else { return }
    (leading, seen, before) = (crisis.leading?.id, now.uptime, 0)
    guard let leading else { return }
    let kept = try store.read { try $0.crisisSeen() }
    if let kept, kept.activation == leading {
      before = now.wall > kept.wall ? now.wall - kept.wall : 0
    } else {
      try store.write { try $0.setCrisisSeen(leading, wall: now.wall) }
    }
  }

  /// Decides what is due; the stage that this device has to take now, if any.
  mutating func look(_ crisis: CrisisState, _ replica: Replica, _ now: Moment) -> EscalationStage? {
    // The device that raised it comes first, then the others in the order of their identifiers.
    let raiser = crisis.leading?.id.stream.device
    let order = ([replica.device] + replica.others).sorted { ($0 == raiser ? 0 : 1, $0) < ($1 == raiser ? 0 : 1, $1) }
    let ahead = order.prefix { $0 != replica.device }.filter { replica.peers.state(of: $0, now: now.uptime) == .here }
    step = CrisisEscalation(
      level: crisis.level, elapsed: before + (now.uptime - seen) / 1_000_000, devices: order.count,
      acknowledged: crisis.acknowledgements.count, taken: crisis.stages, rank: ahead.count
    ).step
    due = nil
    switch step {
    case .take(let stage): return stage
    case .wait(_, let milliseconds): due = now.uptime + milliseconds * 1_000_000
    case .notNeeded, .stopped, .complete: break
    }
    return nil
  }
}
