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
    /// Raised with every restart: what was on its way to an earlier life is dropped.
    var life = 0
    var skewMilliseconds = 0
    var wakeAt: UInt64 = .max
    var partitionEnds: UInt64 = 0
    var acknowledged: [StreamKey: UInt64] = [:]
    var watch = CrisisWatch()
    /// Kept on its disk.
    var crisisSeen: CrisisWatch.Kept?
    /// The crisis as it was last looked at.
    var crisisHash: StateHash?
    /// Since when it has been running, unpartitioned, with a relay that did not lose anything.
    var connectedSince: UInt64 = 0
  }

  enum Item {
    case event(ReplicaEvent, life: Int)
    case act
    case restart
    case timer(life: Int)
    case duty(life: Int)
    case read  // a contact looks at its board; the item's device is the contact's number
    case poll
  }

  var random: SeededRandom
  var now: UInt64 = 1_000_000_000
  var queue = EventQueue<(device: Int, item: Item)>()
  var devices: [Device] = []
  let relay = MemoryRelay()
  let person: Person
  var household = Household()
  var faults: Faults
  let sabotage: Sabotage?
  var probes = ProbeCounter()
  var images: [MemoryRelay.Image] = []
  var written: [OperationID: UInt64] = [:]
  /// Activations that were acknowledged to the person, and those that some resolution had seen.
  var raised = Set<OperationID>()
  var resolved = Set<OperationID>()
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
    var violation: Violation?
    do {
      try storm()
      try heal()
    } catch let broken as Violation {
      violation = broken
    } catch {
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
      stir()
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
      if devices[index].replica == nil {
        devices[index].store.restart()
        try boot(index)
      }
    }
    try settle(for: 90_000_000_000)
    // Whatever was quarantined is due once the clocks have passed it.
    now += UInt64(faults.skewSeconds) * 1_000_000_000
    for index in devices.indices { _ = try releaseQuarantine(index) }
    try settle(for: 40_000_000_000)
    try decide()
    try settle(for: 40_000_000_000)
    try check()
    try checkAgreement()
    try checkProvisional()
    try checkHistory()
    try checkAlerts()
  }

  mutating func settle(for nanoseconds: UInt64) throws {
    let end = now + nanoseconds
    while let (at, entry) = queue.pop() {
      if at > end { return queue.push(entry, at: at) }
      now = max(now, at)
      if case .act = entry.item { continue }
      try step(entry.device, entry.item)
      if agrees, devices.allSatisfy({ $0.store.contents.quarantine.isEmpty }) { return }
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
    case .event(let event, let life): if life == devices[index].life { try feed(index, event) }
    case .timer(let life): if life == devices[index].life { try feed(index, .timer) }
    case .duty(let life): guard life == devices[index].life else { return }
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
    try doCrisisDuty(index)
  }

  /// Faults of the surroundings.
  mutating func stir() {
    if images.count < 4, random.happens(permille: 10) { images.append(relay.image) }
    if random.happens(permille: faults.wipes) {
      relay.wipe()
      probes.count(.wiped)
      disturb()
    }
    if let image = images.first, random.happens(permille: faults.rollbacks) {
      relay.restore(image)
      probes.count(.rolledBack)
      disturb()
    }
    if random.happens(permille: faults.damage), let stream = relay.streams.randomElement(using: &random),
      relay.damage(stream, frame: random.number(0...99), byte: random.number(0...9_999))
    {
      probes.count(.damaged)
      disturb()
      notifyAll(.stream(stream))
    }
    let index = random.number(0...devices.count - 1)
    if devices[index].partitionEnds < now {
      if devices[index].connection.isPartitioned { devices[index].connectedSince = now }
      devices[index].connection.isPartitioned = false
      if random.happens(permille: faults.partitions) {
        devices[index].connection.isPartitioned = true
        devices[index].connectedSince = .max
        devices[index].partitionEnds = now + milliseconds(random.number(500...6_000))
        probes.count(.partition)
      }
    }
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
    devices[index].connectedSince = .max
    devices[index].life += 1
    schedule(index, .restart, after: milliseconds(random.number(200...4_000)))
  }

  mutating func feed(_ index: Int, _ event: ReplicaEvent) throws {
    guard var replica = devices[index].replica else { return }
    if case .applied(_, let outcome) = event {
      note(outcome, index)
      if outcome.admitted { replica.learn(devices[index].performer.tags) }
    }
    let effects = replica.handle(event, now: moment(index), using: &random)
    devices[index].replica = replica
    for effect in effects { try perform(effect, index) }
  }

  mutating func perform(_ effect: ReplicaEffect, _ index: Int) throws {
    switch effect {
    case .wake(let at):
      guard at != devices[index].wakeAt else { return }
      devices[index].wakeAt = at
      schedule(index, .timer(life: devices[index].life), after: at > now ? at - now : 0)
    case .report(let report): if case .healed = report { probes.count(.healed) }
    default:
      armPowerCut(index)
      do {
        let moment = moment(index)
        guard let answer = try devices[index].performer.perform(effect, now: moment, using: &random) else { return }
        let life = devices[index].life
        schedule(index, .event(answer, life: life), after: delay())
        if case .read = answer, !isCalm, random.happens(permille: faults.repeated) {
          probes.count(.repeatedAnswer)
          schedule(index, .event(answer, life: life), after: delay())
        }
        notify(from: index)
      } catch is PowerCut {
        notify(from: index)
        powerCut(index)
      }
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
        schedule(other, .event(event, life: devices[other].life), after: delay())
        if !isCalm, random.happens(permille: faults.repeated) {
          schedule(other, .event(event, life: devices[other].life), after: delay())
        }
      }
    }
  }

  mutating func notifyAll(_ change: RelayChange) {
    for index in devices.indices { schedule(index, .event(ReplicaEvent(change), life: devices[index].life), after: delay()) }
  }

  mutating func note(_ outcome: ApplyOutcome, _ index: Int) {
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

/// Counts probes; shared by a world and its connections, which run on one thread.
final class ProbeCounter {
  private(set) var all: [Probe: Int] = [:]
  func count(_ probe: Probe) { all[probe, default: 0] += 1 }
}

final class Box<Value> {
  var value: Value
  init(_ value: Value) { self.value = value }
}
