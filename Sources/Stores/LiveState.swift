import Causality
import ConflictResolution
import Crisis
import Foundation
import Replica
import Storage
import Therapy

/// What the exchanging process knows beyond the store: counters, receipts, measurements, events.
struct LiveState: Sendable {
  var tier: Tier
  var measurements: Measurements
  /// What another process of this device has left undone is found in the store.
  var isExchanging = false { didSet { if isExchanging, !oldValue { offers.search(now: 0) } } }
  var hasProgress = false
  var batchesUp: UInt64 = 0
  var batchesDown: UInt64 = 0
  var bytesUp: UInt64 = 0
  var bytesDown: UInt64 = 0
  var events: [Snapshot.Event] = []
  var isCrisisActive = false
  var conflicts: ConflictTally
  /// Whether something of what was applied last met other writes.
  private(set) var hasMetOthers = false
  /// How long after a crisis was raised here each device had it, in nanoseconds.
  var receipts: [DeviceID: UInt64] = [:]
  /// How long after the key the crisis was drawn on a screen of each device, in nanoseconds.
  var shown: [DeviceID: UInt64] = [:]
  var duty = CrisisDuty()
  /// What was heard about the crisis and is not in the store.
  var glimpse = CrisisGlimpse()
  var reviews = ReviewDuty()
  /// What became of decisions, and the bytes it was read from.
  private(set) var decisions: (report: DecisionTally.Report, sealed: [UInt8]?) = (DecisionTally.Report(), nil)
  /// The conflict that somebody looks at.
  var looked: Place?
  struct Place: Sendable, Hashable { var record: RecordID; var field: String }
  /// When it is looked whether the store can be written again; `nil` where it does not refuse.
  var probeAt: UInt64?
  /// What this screen shows of a crisis and the others were not told: the store could not be written.
  var unshown: OperationID?
  /// The last crisis that was raised on this device, and when.
  private var raised: (activation: OperationID, at: UInt64)?
  private var acknowledged = Set<DeviceID>()
  private var eventNumber = 0
  private var waiting: [OwnWrite] = []
  private var counted: [Lane: UInt64] = [:]
  /// Places that this device's streams have come to in this run, with the operations that had been made then.
  private var tips: [Lane: [(operations: UInt64, tip: OwnTip)]] = [:]
  private var offered: [RecordID: UInt64] = [:]

  /// Own operations that wait for receipts.
  private struct OwnWrite: Sendable {
    var lane: Lane
    var through: UInt64
    var noticed: UInt64
    var receipts: Set<DeviceID> = []
  }

  /// With what earlier runs measured and counted.
  init(tier: Tier, _ transaction: SQLiteTransaction) throws {
    self.tier = tier
    measurements = try Measurements(restoring: transaction)
    conflicts = try ConflictTally(restoring: transaction)
    try refresh(transaction)
    try reviews.refresh(transaction)
  }

  /// Reads again what another process may have counted, where it has.
  mutating func refresh(_ transaction: SQLiteTransaction) throws {
    let sealed = try transaction.sealed(.decisions)
    if sealed != decisions.sealed { decisions = (DecisionTally(transaction).report, sealed) }
  }

  private var mode: GuaranteeMode { isCrisisActive ? .crisis : .normal }

  // MARK: Measuring

  /// Notices own operations, so that their receipts can be timed.
  mutating func noteOwnWrites(_ report: OwnReport, now: Moment) {
    for lane in Lane.allCases {
      guard let progress = report.progress[Channel(lane)] else { continue }
      noteOwn(lane, through: progress.saved, now: now)
      guard let tip = progress.tip, tips[lane]?.last?.tip != tip else { continue }
      tips[lane, default: []].append((progress.saved, tip))
      if tips[lane]?.count ?? 0 > 256 { tips[lane]?.removeFirst() }
    }
  }

  /// Operations of a lane that a device says it has, as far as they were made in this run.
  private func confirmed(_ lane: Lane, by presence: Presence) -> UInt64 {
    tips[lane]?.last { presence.has($0.tip) }?.operations ?? 0
  }

  private mutating func noteOwn(_ lane: Lane, through: UInt64, now: Moment) {
    let known = counted[lane] ?? 0
    counted[lane] = max(known, through)
    guard through > known, known > 0 || lane == .crisis else { return }
    waiting.append(OwnWrite(lane: lane, through: through, noticed: now.uptime))
    if waiting.count > 256 { waiting.removeFirst() }
  }

  /// A crisis was raised on this device, for a key that was pressed at that uptime.
  mutating func noteRaised(_ activation: OperationID, at pressed: UInt64) {
    (raised, receipts, shown, acknowledged) = ((activation, pressed), [:], [:], [])
    duty.noteRaised(activation, at: pressed)
  }

  /// Times a step of the crisis path. Slow ones are told; nothing is ever switched off because of them.
  mutating func time(_ operation: GuaranteedOperation, nanoseconds: UInt64, _ now: Moment) {
    measurements.record(operation, .crisis, nanoseconds: nanoseconds)
    let (took, target) = (Double(nanoseconds) / 1e6, operation.target(.crisis))
    guard took > target, operation != .crisisAcknowledged else { return }
    let weight = took > 2 * target ? "critical" : "major"
    add(.alarm, "\(weight): the crisis path was slow: \(operation.meaning) took \(Int(took)) ms of \(Int(target)). Nothing was switched off.", now)
  }

  /// Somebody acknowledged a crisis on another device.
  mutating func acknowledged(_ changes: [AppliedChange], _ now: Moment) {
    for change in changes where change.kind == RecordCatalogue.crisis.kind && change.field == "acknowledged" {
      guard let raised, acknowledged.insert(change.id.stream.device).inserted else { continue }
      time(.crisisAcknowledged, nanoseconds: now.uptime - raised.at, now)
    }
  }

  mutating func observe(_ event: ReplicaEvent) {
    switch event {
    case .read(_, _, let chunk):
      batchesDown += UInt64(chunk.frames.count)
      bytesDown += UInt64(chunk.frames.reduce(0) { $0 + $1.count })
    case .appended(_, _, let sent), .reconciled(_, _, _, let sent, _):
      batchesUp += UInt64(sent.count)
      bytesUp += UInt64(sent.bytes)
      hasProgress = true
    // What was refused may lie in the store all the same, and is no news when it comes again.
    case .storeFailed: offers.search(now: 0)
    default: break
    }
  }

  /// A device told how far it has come: times the receipts.
  mutating func heard(_ presence: Presence, _ replica: Replica, now: Moment) {
    if let roundTrip = replica.peers.all[presence.device]?.roundTrip, roundTrip > 0 {
      measurements.record(.deviceCoordination, mode, nanoseconds: roundTrip)
    }
    var confirmed: [Lane: UInt64] = [:]
    for index in waiting.indices where !waiting[index].receipts.contains(presence.device) {
      let write = waiting[index]
      let there = confirmed[write.lane] ?? self.confirmed(write.lane, by: presence)
      confirmed[write.lane] = there
      guard there >= write.through else { continue }
      if write.lane != .crisis, write.receipts.isEmpty {
        measurements.record(.stateUpdate, mode, nanoseconds: now.uptime - write.noticed)
      }
      waiting[index].receipts.insert(presence.device)
    }
    if let raised, receipts[presence.device] == nil, has(raised.activation, presence, replica) {
      // An activation is timed from its key.
      receipts[presence.device] = now.uptime - raised.at
      time(.crisisPropagation, nanoseconds: now.uptime - raised.at, now)
    }
    if let raised, let drawn = presence.shown, drawn.activation == raised.activation, shown[presence.device] == nil {
      let elapsed = now.uptime - raised.at
      shown[presence.device] = elapsed - min(elapsed, drawn.held)
      time(.crisisShown, nanoseconds: elapsed - min(elapsed, drawn.held), now)
    }
    let others = Self.present(replica, now)
    waiting.removeAll { write in others.allSatisfy { write.receipts.contains($0) } && !write.receipts.isEmpty }
  }

  /// Whether a device says that it has an activation.
  private func has(_ activation: OperationID, _ presence: Presence, _ replica: Replica) -> Bool {
    let stream = StreamKey(activation.stream)
    // Of a stream with two histories a number says nothing.
    guard replica.heads[stream]?.count ?? 0 < 2 else { return false }
    return presence.cursors[stream]?.contains { $0.sequence >= activation.sequence } ?? false
  }

  private static func present(_ replica: Replica, _ now: Moment) -> Set<DeviceID> {
    Set(replica.others.filter { replica.peers.state(of: $0, now: now.uptime) == .here })
  }

  /// Counts and times what became of writes that met others, and counts decisions.
  mutating func applied(_ outcome: ApplyOutcome, nanoseconds: UInt64, in store: Store) throws {
    hasMetOthers = outcome.concurrent > 0
    if outcome.changes.contains(where: { $0.decision != nil }) {
      try store.write { try DecisionTally.count(outcome.changes, &$0) }
    }
    guard hasMetOthers else { return }
    measurements.record(.conflictResolution, mode, nanoseconds: nanoseconds)
    var methods = Set<ConflictMethod>()
    for (id, changes) in Dictionary(grouping: outcome.changes, by: \.record) {
      guard let record = try store.read({ try $0.record(id) }) else { continue }
      methods.formUnion(conflicts.take(record, fields: Set(changes.map(\.field))))
    }
    for operation in Set(methods.compactMap(GuaranteedOperation.init)) {
      measurements.record(operation, mode, nanoseconds: nanoseconds)
    }
  }

  /// Sessions that may be offered to this device and were not taken yet.
  var offers = PendingOffers()
  /// What is to be done by itself about fields that other writes have met.
  var fieldDuties = PendingLooks<Arrivals.FieldDuty>(limit: Arrivals.waitingFields)

  /// Times a handoff from the offer made here to the moment that the other device's receipt is seen.
  mutating func sessionChanged(_ session: SessionState, own: DeviceID) {
    guard session.owner != own, let began = offered.removeValue(forKey: session.id) else { return }
    measurements.record(.sessionHandoff, mode, nanoseconds: SystemClock.now.uptime - began)
  }

  mutating func offering(_ session: RecordID, now: Moment) { offered[session] = now.uptime }

  // MARK: Duties

  /// Uptime at which there is something to do although nothing changes; `nil` while there is not.
  var due: UInt64? { [duty.due, probeAt, isCrisisActive ? nil : reviews.due, arrivalsDue].compactMap { $0 }.min() }

  /// Uptime at which something that has come is looked at again; `nil` where nothing waits, or another process exchanges.
  var arrivalsDue: UInt64? { isExchanging ? [offers.due, fieldDuties.due].compactMap { $0 }.min() : nil }

  /// Something was written: a crisis, or a question, perhaps.
  mutating func changed(_ now: Moment) {
    duty.change(now)
    reviews.change(now)
  }

  mutating func doCrisisDuty(_ store: Store, _ replica: Replica, _ around: CrisisDuty.Surroundings, _ now: Moment) throws -> CrisisDuty.Result {
    let result = try duty.perform(store, replica, around, now)
    isCrisisActive = result.isActive
    for news in result.news { add(.alarm, news, now) }
    return result
  }

  /// - Returns: Whether something was written here.
  mutating func review(_ store: Store, _ replica: Replica, _ relay: (any Relay)?, _ pingPath: String, _ now: Moment) throws -> Bool {
    let (news, hasWritten) = try reviews.perform(store, relay: relay, present: Self.present(replica, now), pingPath: pingPath, now)
    for text in news { add(.notable, text, now) }
    return hasWritten
  }

  // MARK: Telling

  mutating func note(_ report: ReplicaReport, _ replica: Replica, names: [DeviceID: String], now: Moment) {
    func name(_ device: DeviceID?) -> String { device.flatMap { names[$0] } ?? "an unknown device" }
    switch report {
    case .applied(let device, let changes):
      let records = Set(changes.map(\.record)).count
      let kinds = Set(changes.map(\.kind))
      if kinds.contains(RecordCatalogue.crisis.kind) { return add(.alarm, "crisis changed on \(name(device))", now) }
      let what = kinds.count == 1 ? (kinds.first.flatMap { RecordCatalogue[$0]?.title.lowercased() } ?? "record") : "records"
      add(
        .quiet, "\(changes.count) \(changes.count == 1 ? "change" : "changes") from \(name(device)) in \(records) × \(what)",
        now)
    case .quarantined(let device, let count):
      add(.warning, "\(count) operations of \(name(device)) are from the future: kept, applied when due. Check its clock.", now)
    case .released(let changes): add(.quiet, "\(changes.count) \(changes.count == 1 ? "change" : "changes") that had come from the future \(changes.count == 1 ? "is" : "are") shown now", now)
    case .damaged(let stream):
      add(.warning, "damaged bytes from \(name(replica.device(of: stream.tag))) on the relay: nothing was taken from them", now)
    case .healed: add(.notable, "our part of the relay was not as we left it: written anew from the log", now)
    case .forked(let stream):
      add(.alarm, "\(name(stream.device)) has written in two places at once, as a copied home does: both are kept, and both count", now)
    case .tookBack(let count):
      add(.alarm, "this store was an older copy of itself: \(count) \(count == 1 ? "batch" : "batches") that it had written before came back", now)
    case .copied(let lives):
      add(.alarm, "this home is used in several places, or was put back again and again (\(lives) lives are open): please use it in one place, and join the others as devices of their own", now)
    case .carried(let device): add(.notable, "what \(name(device)) had written and the relay had lost was put there again", now)
    case .missing(let entries):
      for entry in entries {
        let count = max(1, entry.count)
        let what = "\(count) \(count == 1 ? "change" : "changes") of \(name(entry.stream.device)) \(count == 1 ? "is" : "are") missing here: \(name(entry.saidBy)) has \(count == 1 ? "it" : "them"), the relay does not"
        add(entry.isCrisis ? .alarm : .warning, entry.isCrisis ? "about a crisis: \(what)" : what, now)
      }
    case .sendingFailed(_, let error): add(.warning, "what others write is read; sending fails: \(error.summary)", now)
    case .admitted: add(.notable, "a device was admitted to this account", now)
    case .heard: break
    case .relayLost(let error): add(.warning, error.summary, now)
    case .relayFound(_, let isNew):
      add(isNew ? .notable : .quiet, isNew ? "another relay is used from now on" : "the relay is reachable", now)
    case .accepted, .idle: break
    }
  }

  mutating func add(_ weight: Snapshot.Event.Weight, _ text: String, _ now: Moment) {
    // What is tried again and again is said once a minute.
    if weight == .warning, events.suffix(20).contains(where: { $0.text == text && $0.wall + 60_000 > now.wall && $0.wall <= now.wall }) { return }
    eventNumber += 1
    events.append(Snapshot.Event(number: eventNumber, wall: now.wall, weight: weight, text: text))
    if events.count > Limits.keptEvents { events.removeFirst(events.count - Limits.keptEvents) }
  }
}

extension Measurements {
  /// What earlier runs measured.
  init(restoring transaction: SQLiteTransaction) throws {
    self.init()
    for operation in GuaranteedOperation.allCases {
      for mode in GuaranteeMode.allCases {
        if let bytes = try transaction.measurement(operation.rawValue, mode.rawValue) {
          restore(operation, mode, bytes)
        }
      }
    }
  }
}
