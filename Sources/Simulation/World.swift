import Causality
import ConflictResolution
import Crypto
import Relays
import Replica
import Sealing
import Therapy

/// A world of replicas: virtual clock, careless network, failing disks, and a person who writes.
///
/// Everything follows from the seed: the same seed gives the same trace, on any machine. The rules
/// are the program's own (``Replica``, ``Ledger``, ``EffectPerformer``, real sealing); only the disk,
/// the network and the clock are simulated. What is checked stands in `World+Checks.swift`.
package struct World {
  package struct Outcome: Sendable {
    package var violation: Violation?
    package var met: [Probe: Int]
    /// Folds every event of the run: equal for equal seeds.
    package var traceHash: UInt64
    package var stateHash: StateHash
    package var steps: Int
  }

  struct Device {
    var id: DeviceID
    var ring: KeyRing
    var store: MemoryStore
    var connection: SimulatedConnection
    var performer: EffectPerformer<MemoryStore>
    var replica: Replica?
    /// Raised with every restart: what was on its way to an earlier run is dropped.
    var run = 0
    var skewMilliseconds = 0
    var wakeAt: UInt64 = .max
    var partitionEnds: UInt64 = 0
    /// The last operation of each stream that was acknowledged here, and not put back since.
    var acknowledged: [StreamKey: UInt64] = [:]
    /// Earlier moments of the store, as a backup has them.
    var images: [StoreImage] = []
    /// Its files were put back, or copied, at some time: what others remember of it may be ahead.
    var wasPutBack = false
    /// What each other device had said, where it was kept from the replica on purpose.
    var heard: [DeviceID: Presence] = [:]
    /// Uptime until which some of its rows cannot be read.
    var unreadableUntil: UInt64 = 0
    /// Effects of its process, for a rule that counts them for ever.
    var effects = 0
    /// Uptime until which its sync leader is stopped.
    var stoppedUntil: UInt64 = 0
    /// With what it writes past its store, and what lies beside that, as its disk has it.
    var emergency: EmergencyWriter
    var journal: [[UInt8]] = []
    /// What no disk has taken yet, and its program alone knows.
    var unkept: [[UInt8]] = []
    /// The store has not taken over all of it, as far as is known.
    var journalIsDue = true
    var watch = CrisisWatch()
    /// Kept on its disk.
    var crisisSeen: CrisisWatch.Kept?
    /// How the crisis and the contacts stood when they were last looked at.
    var seen: [RecordState?]?
    /// With which it makes itself known; nothing for those of the first day.
    var introduction: [[UInt8]] = []
    /// A device that it has let in, and that has not begun.
    var admitting: DeviceID?
    /// Since when it has been running, unpartitioned, with a relay that did not lose anything.
    var connectedSince: UInt64 = 0
  }

  /// An earlier moment of a device, and of the relay at that time.
  struct StoreImage {
    var contents: MemoryStore.Contents
    var journal: [[UInt8]]
    var acknowledged: [StreamKey: UInt64]
    var relay: MemoryRelay.Image
    var identity: UInt64
  }

  enum Item {
    case event(ReplicaEvent, run: Int)
    case act
    case restart
    case timer(run: Int)
    case duty(run: Int)
    case read  // a contact looks at its board; the item's device is the contact's number
    case poll
    /// A service that carries files shows the rest of one.
    case release(RelayStream, @Sendable () -> Bool)
    /// A process that was stopped does what it was about to do.
    case late(EffectPerformer<MemoryStore>, ReplicaEffect)
    /// The person says which relay is meant from now on.
    case adopt
    /// The relay that was away is back.
    case back
    /// A device that was let in begins.
    case begin(KeyRing)
  }

  var random: SeededRandom, now: UInt64 = 1_000_000_000
  var queue = EventQueue<(device: Int, item: Item)>()
  var devices: [Device] = []
  /// Files of which a service has not shown all yet, and when everybody has had time to read what it showed last.
  var heldFiles = 0, heldUntil: UInt64 = 0
  let relay = MemoryRelay()
  let person: Person
  /// What is in the frames that were opened to see what somebody still has.
  let opened = Box<[[UInt8]: [OperationID]]>([:])
  var household = Household()
  var faults: Faults
  let sabotage: Sabotage?
  var probes = ProbeCounter()
  var images: [MemoryRelay.Image] = []
  /// Everything that was acknowledged and that somebody, or the relay, still had when files were put back.
  var written: [OperationID: UInt64] = [:]
  /// The mark under which each number was first used.
  var numbers: [StreamID: [UInt64: UInt64]] = [:]
  /// Whether two histories may share numbers: a copy went unnoticed.
  var mayFork = false
  /// Whether something was acknowledged that the relay alone had: who raised it had no room on its disk.
  var mayLose = false
  /// Activations that were acknowledged to the person, and resolutions with those that each had seen.
  var raised = Set<OperationID>()
  var resolved: [OperationID: [OperationID]] = [:]
  /// Also by resolutions that a power cut kept from being acknowledged; they may be durable all the same.
  var perhapsResolved = Set<OperationID>()
  /// Versions that somebody decided about.
  var decided = Set<OperationID>()
  var trace: UInt64 = 0xcbf2_9ce4_8422_2325
  var steps = 0
  var isCalm = false
  /// Half of the worlds have a relay that tells of no changes, and is asked every 2 s; in the others what a
  /// notification did not tell is found with the next heartbeat.
  let isPolled: Bool

  /// Milliseconds since 1970 at the beginning of every world.
  static let epoch: UInt64 = 1_790_000_000_000
  /// Nanoseconds of faults before the world calms down.
  static let stormLasts: UInt64 = 20_000_000_000

  // MARK: Time

  func moment(_ index: Int) -> Moment {
    let wall = Int64(Self.epoch + now / 1_000_000) + Int64(devices[index].skewMilliseconds)
    return Moment(wall: UInt64(max(0, wall)), uptime: now)
  }

  func milliseconds(_ count: Int) -> UInt64 { UInt64(count) * 1_000_000 }

  mutating func schedule(_ device: Int, _ item: Item, after nanoseconds: UInt64) {
    queue.push((device, item), at: now + nanoseconds)
  }

  mutating func delay() -> UInt64 { isCalm ? milliseconds(1) : milliseconds(random.number(faults.delay)) }

  // MARK: Running

  /// Runs the storm, then lets the world heal, and checks everything.
  package mutating func run() -> Outcome {
    ending {
      try $0.storm()
      try $0.heal()
    }
  }

  mutating func ending(_ body: (inout World) throws -> Void) -> Outcome {
    var violation: Violation?
    do { try body(&self) } catch let broken as Violation { violation = broken } catch {
      violation = Violation(promise: "the rules do not throw", detail: "\(type(of: error))")
    }
    return Outcome(
      violation: violation, met: probes.all, traceHash: trace, stateHash: devices[0].store.contents.hash, steps: steps)
  }

  mutating func storm() throws {
    let end = now + Self.stormLasts
    while let (at, entry) = queue.pop() {
      if at >= end {
        queue.push(entry, at: at)
        break
      }
      now = at
      try step(entry.device, entry.item)
      try stir()
      if steps % 16 == 0 { try check() }
    }
    try check()
  }

  /// Faults end; clocks are set right; everybody has to agree.
  mutating func heal() throws {
    isCalm = true
    for index in devices.indices {
      devices[index].connection.faults = nil
      devices[index].connection.isPartitioned = false
      devices[index].store.powerFails = nil
      devices[index].skewMilliseconds = 0
      devices[index].store.isFull = false
      devices[index].connection.isAway = false
      devices[index].store.unreadable = nil
      if devices[index].replica == nil || devices[index].stoppedUntil > now {
        devices[index].stoppedUntil = 0
        devices[index].store.restart()
        try boot(index)
      }
    }
    try adoptRelay()
    // The author has a minute to heal its file, and each device that could carry for it half a minute more.
    try settle(for: 120_000_000_000 + UInt64(devices.count) * 30_000_000_000)
    // Whatever was quarantined is due once the clocks have passed it.
    now += UInt64(faults.skewSeconds) * 1_000_000_000
    for index in devices.indices { _ = try releaseQuarantine(index) }
    try settle(for: 100_000_000_000)
    try decide()
    try settle(for: 100_000_000_000)
    try check()
    try checkAgreement()
    try checkGrowth()
    try checkProvisional()
    try checkHistory()
    try checkAlerts()
    try idle()
  }

  mutating func settle(for nanoseconds: UInt64) throws {
    let end = now + nanoseconds
    while let (at, entry) = queue.pop() {
      if at > end { return queue.push(entry, at: at) }
      now = max(now, at)
      if case .act = entry.item { continue }
      try step(entry.device, entry.item)
      // Looking costs as much as several steps.
      if steps.isMultiple(of: 8), heldFiles == 0, now >= heldUntil, agrees, devices.allSatisfy({ $0.store.contents.quarantine.isEmpty }) { return }
    }
  }

  mutating func releaseQuarantine(_ index: Int) throws -> [AppliedChange] {
    try devices[index].store.write { transaction in
      try transaction.withLedger { try $0.releaseDue(wall: moment(index).wall) }
    }
  }

  mutating func step(_ index: Int, _ item: Item) throws {
    steps += 1
    fold(now, UInt64(index))
    switch item {
    case .event(let event, let run): if run == devices[index].run { try feed(index, event) }
    case .timer(let run): if run == devices[index].run { try feed(index, .timer) }
    case .duty(let run): guard run == devices[index].run else { return }
    case .release(let stream, let show):
      (heldFiles, heldUntil) = (heldFiles - 1, now + 5_000_000_000)
      return show() ? notifyAll(.stream(stream)) : forgetWhatNobodyHas()
    case .late(var performer, let effect):
      _ = try? performer.perform(effect, now: moment(index), using: &random)
      if let connection = performer.relay as? SimulatedConnection { devices[index].connection.touched += connection.touched }
      return notify(from: index)
    case .adopt: return try adoptRelay()
    case .begin(let ring): return try begin(ring, admittedBy: index)
    case .back:
      devices[index].connection.isAway = false
      return
    case .read:
      schedule(index, .read, after: milliseconds(random.number(500...4_000)))
      return try readBoard(index)
    case .act:
      schedule(index, .act, after: milliseconds(random.number(50...900)))
      try act(index)
    case .restart:
      devices[index].store.restart()
      try boot(index)
    case .poll:
      // What a driver does whose relay cannot tell of changes.
      schedule(index, .poll, after: milliseconds(2_000))
      if devices[index].replica != nil { try feed(index, .listingChanged) }
    }
    try takeOverJournal(index)
    try doCrisisDuty(index)
  }

  /// The relay lost something: until it is healed nothing can be promised about time.
  mutating func disturb() { for index in devices.indices { devices[index].connectedSince = max(now, devices[index].connectedSince) } }

  // MARK: A device's life (what it does by itself stands in `World+Acts.swift`)

  mutating func armPowerCut(_ index: Int) {
    guard !isCalm else { return }
    let generator = Box(SeededRandom(seed: random.next()))
    let permille = faults.powerCuts
    devices[index].store.powerFails = {
      guard generator.value.happens(permille: permille) else { return nil }
      return generator.value.happens(permille: 500) ? .beforeCommit : .afterCommit
    }
  }

  mutating func powerCut(_ index: Int) {
    probes.count(devices[index].store.lastFailure == .afterCommit ? .cutAfterCommit : .cutBeforeCommit)
    devices[index].replica = nil
    devices[index].unkept = []
    devices[index].connectedSince = .max
    devices[index].run += 1
    forgetWhatNobodyHas()
    schedule(index, .restart, after: milliseconds(random.number(200...4_000)))
  }

  mutating func feed(_ index: Int, _ event: ReplicaEvent) throws {
    guard var replica = devices[index].replica, devices[index].stoppedUntil <= now else { return }
    if case .applied(_, _, let outcome) = event { try note(outcome, index, &replica) }
    if case .reconciled(_, _, _, _, let outcome?) = event { try note(outcome, index, &replica) }
    var event = event
    if sabotage == .hidesMissing, case .heard(let tag, var presence?) = event {
      devices[index].heard[presence.device] = presence
      presence.cursors = [:]
      event = .heard(tag, presence)
    }
    let effects = replica.handle(event, now: moment(index), using: &random)
    devices[index].replica = replica
    devices[index].effects += effects.count
    for effect in effects where sabotage != .countsForever || devices[index].effects < Self.loop { try perform(effect, index) }
  }

  mutating func perform(_ effect: ReplicaEffect, _ index: Int) throws {
    switch effect {
    case .wake(let at):
      guard at != devices[index].wakeAt else { return }
      devices[index].wakeAt = at
      schedule(index, .timer(run: devices[index].run), after: at > now ? at - now : 0)
    case .report(let report): try note(report, index)
    default:
      armPowerCut(index)
      do {
        let moment = moment(index)
        if effect == .closeLives { probes.count(.lifeClosed) }
        guard let answer = try answer(to: effect, moment, index) else { return }
        try checkShown(effect, answer, index)
        let run = devices[index].run
        schedule(index, .event(answer, run: run), after: delay())
        if case .read = answer, !isCalm, random.happens(permille: faults.repeated) {
          probes.count(.repeatedAnswer)
          schedule(index, .event(answer, run: run), after: delay())
        }
        notify(from: index)
      } catch is PowerCut {
        notify(from: index)
        powerCut(index)
      } catch is MemoryStore.DiskFull {
        notify(from: index)
        probes.count(.diskFull)
        schedule(index, .event(.storeFailed, run: devices[index].run), after: delay())
      } catch is MemoryStore.Unreadable {
        notify(from: index)
        probes.count(.unreadableRow)
        schedule(index, .event(.storeFailed, run: devices[index].run), after: delay())
      }
    }
  }

  private mutating func note(_ report: ReplicaReport, _ index: Int) throws {
    switch report {
    case .healed: probes.count(.healed)
    case .forked: probes.count(.forked)
    case .tookBack: probes.count(.tookBack)
    case .carried: probes.count(.carried)
    case .missing(let entries): if !entries.isEmpty { probes.count(.missing) }
    case .released: probes.count(.released)
    case .copied: probes.count(.copyTold)
    case .idle(settled: true, complete: true):
      try checkComplete(index)
      try checkSent(index)
    default: break
    }
  }

  /// What one device wrote becomes known to the others: late, twice, or not at all.
  mutating func notify(from index: Int) {
    let touched = devices[index].connection.touched
    devices[index].connection.touched = []
    for change in touched {
      for other in devices.indices where other != index {
        let event = ReplicaEvent(change)
        if !isCalm, random.happens(permille: faults.lostNotifications) { continue }
        schedule(other, .event(event, run: devices[other].run), after: delay())
        if !isCalm, random.happens(permille: faults.repeated) {
          schedule(other, .event(event, run: devices[other].run), after: delay())
        }
      }
    }
  }

  mutating func notifyAll(_ change: RelayChange) {
    for index in devices.indices { schedule(index, .event(ReplicaEvent(change), run: devices[index].run), after: delay()) }
  }

  mutating func note(_ outcome: ApplyOutcome, _ index: Int, _ replica: inout Replica) throws {
    if outcome.admitted { replica.learn(devices[index].performer.tags) }
    if outcome.introduced { probes.count(.introduced) }
    if outcome.concurrent > 0 { probes.count(.concurrentEdit) }
    if outcome.quarantined > 0 { probes.count(.quarantine) }
    let contents = devices[index].store.contents
    for id in Set(outcome.changes.map(\.record)) {
      guard let record = contents.records[id] else { continue }
      if !record.openConflicts.isEmpty { probes.count(.openConflict) }
      if record.fields.contains(where: { !$0.awaited.isEmpty }) { probes.count(.replacedBeforeArrival) }
      if !record.erasures.isEmpty, record.isVisible { probes.count(.eraseAgainstEdit) }
      if record.kind == RecordCatalogue.crisis.kind, CrisisState(record).activations.count > 1 { probes.count(.concurrentCrisis) }
    }
    if sabotage == .orderedMerge { sabotageMerge(outcome, index) }
    if outcome.gaps > 0, outcome.changes.contains(where: { $0.id.stream.lane == .crisis }), outcome.filed == 0 { probes.count(.shownAcrossGap) }
    for change in outcome.changes { fold(change.id.sequence, change.timestamp.rawValue) }
  }

  /// The state then depends on which change came last.
  mutating func sabotageMerge(_ outcome: ApplyOutcome, _ index: Int) {
    guard let last = outcome.changes.last, outcome.concurrent > 0 else { return }
    _ = try? devices[index].store.write { transaction in
      var hash = try transaction.stateHash()
      hash.toggle(StateHash(of: Dot(id: last.id, timestamp: last.timestamp, value: nil), field: last.field, in: last.record))
      try transaction.setStateHash(hash)
    }
  }
}
