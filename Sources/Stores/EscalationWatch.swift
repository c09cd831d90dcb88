import Causality
import Crisis
import Therapy

/// How long this device has had the crisis that counts, and what is due.
///
/// Counted on this device's own uptime from the moment it first saw the crisis. After a restart it
/// goes on from the wall clock of that moment, which is kept; a clock that was set back meanwhile
/// only means that the count begins again, never that it stops.
package struct EscalationWatch: Sendable {
  /// An activation, and the wall clock in milliseconds at which this device first had it.
  package struct Kept: Sendable, Hashable {
    package var activation: OperationID
    package var wall: UInt64

    package init(activation: OperationID, wall: UInt64) { (self.activation, self.wall) = (activation, wall) }
  }

  private var leading: OperationID?
  private var seen: UInt64 = 0
  private var before: UInt64 = 0
  /// Uptime at which it has to be looked at again; `nil` while nothing is due.
  package private(set) var due: UInt64?
  package private(set) var step = CrisisEscalation.Step.notNeeded

  package init() {}

  /// Takes in what is active now.
  ///
  /// - Parameter kept: What was kept last; asked for only when another activation counts.
  /// - Returns: What has to be kept from now on, if that is new.
  package mutating func follow(_ crisis: CrisisState, _ now: Moment, kept: () throws -> Kept?) rethrows -> Kept? {
    guard leading != crisis.leading?.id else { return nil }
    (leading, seen, before) = (crisis.leading?.id, now.uptime, 0)
    guard let leading else { return nil }
    guard let kept = try kept(), kept.activation == leading else { return Kept(activation: leading, wall: now.wall) }
    before = now.wall > kept.wall ? now.wall - kept.wall : 0
    return nil
  }

  /// Decides what is due; the stage that this device has to take now, if any.
  ///
  /// - Parameter isHere: Whether another device can be expected to take its turn.
  package mutating func look(
    _ crisis: CrisisState, own: DeviceID, others: [DeviceID], isHere: (DeviceID) -> Bool, now: Moment
  ) -> EscalationStage? {
    // The device that raised it comes first, then the others in the order of their identifiers.
    let raiser = crisis.leading?.id.stream.device
    let order = ([own] + others).sorted { ($0 == raiser ? 0 : 1, $0) < ($1 == raiser ? 0 : 1, $1) }
    let ahead = order.prefix { $0 != own }.filter(isHere)
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
