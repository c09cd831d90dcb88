import Causality
import Crisis
import Therapy

/// How long this device has had the crisis that counts, and what it has to do about it.
///
/// Counted on this device's own uptime from the key that raised the crisis here, else from the moment it first saw the
/// crisis. After a restart it
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
  /// Activations of this device, and the uptime of the key that raised each: whoever takes one in later counts from there.
  private var raised: [OperationID: UInt64] = [:]
  /// Activations of which the person said that others are told now: it holds while one of them is active. They may not
  /// have come to this process yet.
  private var saidNow: Set<OperationID> = []
  private static let keptRaised = 16
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

  /// An activation was raised on this device, for a key that was pressed at that uptime.
  package mutating func noteRaised(_ activation: OperationID, at pressed: UInt64) {
    if raised.count >= Self.keptRaised { raised = [:] }
    raised[activation] = pressed
    if leading == activation { (seen, before) = (min(seen, pressed), 0) }
  }

  /// The person does not want to wait until these can no longer be taken back; of what is raised after them nothing is said.
  package mutating func sayNow(_ activations: Set<OperationID>) {
    if saidNow.count >= Self.keptRaised { saidNow = [] }
    saidNow.formUnion(activations)
  }

  package var hasSaidNow: Bool { !saidNow.isEmpty }

  /// Whether the person has said so of what is active.
  package func isSaidNow(_ crisis: CrisisState) -> Bool { crisis.activations.contains { saidNow.contains($0.id) } }

  /// Whether what was decided last is about this crisis.
  package func isAbout(_ crisis: CrisisState) -> Bool { leading == crisis.leading?.id }

  /// Takes in what is active now.
  ///
  /// - Parameter kept: What was kept last; asked for only when another activation counts.
  /// - Returns: What has to be kept from now on, if that is new.
  package mutating func follow(_ crisis: CrisisState, _ now: Moment, kept: () throws -> Kept?) rethrows -> Kept? {
    guard leading != crisis.leading?.id else { return nil }
    (leading, seen, before, verified, takenElsewhere) = (crisis.leading?.id, now.uptime, 0, now.uptime, [])
    mustEnd = true
    guard let leading else { return nil }
    if let pressed = raised[leading] {
      seen = min(now.uptime, pressed)
      let gone = (now.uptime - seen) / 1_000_000
      return Kept(activation: leading, wall: now.wall - min(now.wall, gone))
    }
    guard let kept = try kept(), kept.activation == leading else { return Kept(activation: leading, wall: now.wall) }
    // A clock that was set forward meanwhile must not make several stages due at once.
    before = now.wall > kept.wall ? min(now.wall - kept.wall, CrisisEscalation.patience(.severe) ?? 0) : 0
    return nil
  }

  /// Decides what this device has to do now.
  ///
  /// - Parameters:
  ///   - contacts: Every contact; only those who were invited and agreed on are ever told.
  ///   - told: Who was told beyond what the crisis says: it may not be saved yet.
  ///   - isHere: Whether another device can be expected to take its turn.
  package mutating func look(
    _ crisis: CrisisState, contacts: [SafetyPlan.Contact], told: Set<RecordID> = [], own: DeviceID, others: [DeviceID],
    isHere: (DeviceID) -> Bool, now: Moment
  ) -> [Duty] {
    // The device that raised it comes first, then the others in the order of their identifiers.
    let raiser = crisis.leading?.id.stream.device
    let order = ([own] + others).sorted { ($0 == raiser ? 0 : 1, $0) < ($1 == raiser ? 0 : 1, $1) }
    let rank = order.prefix { $0 != own }.filter(isHere).count
    let toldOf = crisis.told.union(told)
    let elapsed = before + (now.uptime - seen) / 1_000_000
    let taken = crisis.stages.union(takenElsewhere)
    step = CrisisEscalation(
      level: crisis.level, elapsed: elapsed, devices: order.count, acknowledged: crisis.acknowledgements.count,
      taken: taken, rank: rank
    ).step
    alert = CrisisAlert.decide(
      level: crisis.level, elapsed: elapsed, saidNow: isSaidNow(crisis), rank: rank, isUnanswered: taken.contains(.family),
      agreed: contacts.agreed, told: toldOf)
    // Counted in this run alone: it is about what is under way now.
    isPatient = (now.uptime - seen) / 1_000_000 < CrisisAlert.undoMilliseconds + UInt64(rank) * CrisisEscalation.turn + Self.patience
    var duties = alert.now.map(Duty.tell)
    if mustEnd, !crisis.isActive, contacts.contains(where: \.isInvited) { duties.append(.end) }
    due = alert.milliseconds.map { now.uptime + $0 * 1_000_000 }
    let again = contacts.filter { $0.isInvited && $0.consent != .never && toldOf.contains($0.record) }
    if !again.isEmpty {
      if now.uptime >= verified + Self.verifyGap {
        verified = now.uptime
        duties += again.map { .tell($0.record) }
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
