import Causality
import Crisis
import Therapy

/// How long this device has had the crisis that counts, and what it has to do about it.
///
/// Counted on this device's own uptime from the moment it first saw the crisis. After a restart it
/// goes on from the wall clock of that moment, which is kept; a clock that was set meanwhile means at
/// worst that the count begins again, or that one stage comes early; never that it stops.
package struct CrisisWatch: Sendable {
  /// An activation, and the wall clock in milliseconds at which this device first had it.
  package struct Kept: Sendable, Hashable {
    package var activation: OperationID
    package var wall: UInt64

    package init(activation: OperationID, wall: UInt64) { (self.activation, self.wall) = (activation, wall) }
  }

  package enum Duty: Sendable, Hashable {
    case take(EscalationStage)
    /// Also of one who was told before: a relay that was wiped or rolled back has forgotten the alert.
    case tell(RecordID)
    /// Those who were told have to learn that it is over.
    case end
  }

  private var leading: OperationID?
  private var seen: UInt64 = 0
  private var before: UInt64 = 0
  private var verified: UInt64 = 0
  /// Stages that another device has taken without our having its operation yet.
  private var takenElsewhere: Set<EscalationStage> = []
  /// Somebody may have been told of something that is over.
  private var mustEnd = true
  /// Uptime at which it has to be looked at again; `nil` while nothing is due.
  package private(set) var due: UInt64?
  package private(set) var step = CrisisEscalation.Step.notNeeded
  package private(set) var alert = CrisisAlert.Decision<RecordID>()
  /// Whether ``CrisisOutreach`` may still wait for what it does not know; see there.
  package private(set) var isPatient = true

  /// Milliseconds for which a duty waits for operations that are known to be under way. Being told
  /// twice is better than not being told.
  private static let patience: UInt64 = 30_000
  /// Nanoseconds after which it is looked whether the alerts are still on the relay.
  private static let verifyGap: UInt64 = 5_000_000_000

  package init() {}

  /// Takes in what is active now.
  ///
  /// - Parameter kept: What was kept last; asked for only when another activation counts.
  /// - Returns: What has to be kept from now on, if that is new.
  package mutating func follow(_ crisis: CrisisState, _ now: Moment, kept: () throws -> Kept?) rethrows -> Kept? {
    guard leading != crisis.leading?.id else { return nil }
    (leading, seen, before, verified, takenElsewhere) = (crisis.leading?.id, now.uptime, 0, now.uptime, [])
    mustEnd = true
    guard let leading else { return nil }
    guard let kept = try kept(), kept.activation == leading else { return Kept(activation: leading, wall: now.wall) }
    // A clock that was set forward meanwhile must not make several stages due at once.
    before = now.wall > kept.wall ? min(now.wall - kept.wall, CrisisEscalation.patience(.severe) ?? 0) : 0
    return nil
  }

  /// Decides what this device has to do now.
  ///
  /// - Parameters:
  ///   - contacts: Every contact; only those who were invited and agreed on are ever told.
  ///   - isHere: Whether another device can be expected to take its turn.
  package mutating func look(
    _ crisis: CrisisState, contacts: [SafetyPlan.Contact], own: DeviceID, others: [DeviceID],
    isHere: (DeviceID) -> Bool, now: Moment
  ) -> [Duty] {
    // The device that raised it comes first, then the others in the order of their identifiers.
    let raiser = crisis.leading?.id.stream.device
    let order = ([own] + others).sorted { ($0 == raiser ? 0 : 1, $0) < ($1 == raiser ? 0 : 1, $1) }
    let rank = order.prefix { $0 != own }.filter(isHere).count
    let elapsed = before + (now.uptime - seen) / 1_000_000
    let taken = crisis.stages.union(takenElsewhere)
    step = CrisisEscalation(
      level: crisis.level, elapsed: elapsed, devices: order.count, acknowledged: crisis.acknowledgements.count,
      taken: taken, rank: rank
    ).step
    alert = CrisisAlert.decide(
      level: crisis.level, elapsed: elapsed, saidNow: false, rank: rank, isUnanswered: taken.contains(.family),
      agreed: contacts.agreed, told: crisis.told)
    // Counted in this run alone: it is about what is under way now.
    isPatient = (now.uptime - seen) / 1_000_000 < CrisisAlert.undoMilliseconds + UInt64(rank) * CrisisEscalation.turn + Self.patience
    var duties = alert.now.map(Duty.tell)
    if mustEnd, !crisis.isActive, contacts.contains(where: \.isInvited) { duties.append(.end) }
    due = alert.milliseconds.map { now.uptime + $0 * 1_000_000 }
    let told = contacts.filter { $0.isInvited && $0.consent != .never && crisis.told.contains($0.record) }
    if !told.isEmpty {
      if now.uptime >= verified + Self.verifyGap {
        verified = now.uptime
        duties += told.map { .tell($0.record) }
      }
      due = min(due ?? .max, verified + Self.verifyGap)
    }
    switch step {
    case .take(let stage): duties.append(.take(stage))
    case .wait(_, let milliseconds): due = min(due ?? .max, now.uptime + milliseconds * 1_000_000)
    case .notNeeded, .stopped, .complete: break
    }
    return duties
  }

  /// Another device has put it on the relay that it takes a stage.
  package mutating func noteTaken(_ stage: EscalationStage) { takenElsewhere.insert(stage) }

  /// Everybody who was told knows that it is over.
  package mutating func didEnd() { mustEnd = false }

  /// A duty could not be done: it is looked at again then.
  package mutating func postpone(until uptime: UInt64) { due = min(due ?? .max, uptime) }

  /// Nothing could be done, whatever was due: not before then.
  package mutating func hold(until uptime: UInt64) { due = due.map { max($0, uptime) } }
}
