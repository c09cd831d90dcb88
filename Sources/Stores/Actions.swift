import Causality
import ConflictResolution
import Crisis
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Therapy

/// What a person does, as writes to the store. Each returns when it is durable on this device.
package struct Actions: Sendable {
  package let store: Store
  private let cutter: BatchCutter
  /// Takes what is saved to the relay at once; `nil` where the exchanging process does.
  private let courier: Courier?
  private let tag: BlindTag
  package var device: DeviceID { store.ring.device }
  package var crisisRecord: RecordID { CrisisState.record(ofAccount: store.ring.account.account) }

  /// Milliseconds that a lock of another program is waited for; `nil` for as long as usual.
  private let patience: Int?

  package init(_ store: Store, courier: Courier? = nil, patience: Int? = nil) {
    (self.store, self.patience) = (store, patience)
    self.courier = courier
    cutter = BatchCutter(ring: store.ring)
    tag = BlindTag(of: store.ring.device, store.ring.account.sealer)
  }

  /// Saves drafts in one transaction and tells the other processes of this device.
  ///
  /// - Parameter own: The socket of this process, which is not pinged.
  package func commit(_ drafts: [Draft], pinging own: String? = nil) throws -> [Causality.Operation] {
    try saving(pinging: own) { try save(drafts, in: &$0) }.operations
  }

  struct Saved {
    var operations: [Causality.Operation]
    /// What can leave at once.
    var departures: [Departure] = []
    /// Microseconds since 1970 at which it was durable here.
    var at: UInt64 = 0
    var outcome = Courier.Outcome.left
  }

  /// Stamps and saves; in an idle lane the change is cut into a batch in the same transaction, so that
  /// nothing is left to do but to send it. Under load the changes gather, as ``Pacing`` decides.
  func save(_ drafts: [Draft], in transaction: inout SQLiteTransaction) throws -> Saved {
    let now = SystemClock.now
    let waiting = try transaction.pendingCounts()
    var random = SystemRandomNumberGenerator()
    var saved = Saved(
      operations: try transaction.withLedger { try $0.commit(drafts, by: device, wall: now.wall, using: &random) })
    try DecisionTally.count(saved.operations.map(AppliedChange.init), &transaction)
    guard drafts.count <= Limits.operationsPerBatch else { return saved }
    for lane in Set(drafts.map(\.lane)).sorted() where lane == .crisis || waiting[lane] == nil {
      while let batch = try cutter.cut(lane, in: &transaction, using: &random) {
        // The crisis lane is never counted; a batch is one operation there, and may follow another.
        if lane != .crisis { try transaction.countSyncOperation(onDay: now.wall / millisecondsPerDay) }
        guard courier != nil else { continue }
        let position = try transaction.ownProgress(of: device)[Channel(lane)]?.position ?? 0
        let previous = try transaction.ownBatch(Channel(lane), before: position)?.frame
        var departure = Departure(batch: batch, previous: previous, tag: tag)
        if lane == .crisis {
          let after = batch.first - min(batch.first, Self.crisisCarried + 1)
          departure.earlier = try transaction.batches(of: batch.stream, after: after, limit: Int(Self.crisisCarried))
            .filter { $0.first < batch.first }.map(\.frame)
          departure.introduction = try transaction.introduction
        }
        saved.departures.append(departure)
      }
    }
    return saved
  }

  /// How many writes of the crisis lane are looked for on the relay with each new one.
  private static let crisisCarried: UInt64 = 64
  /// Milliseconds that a relay may take before the other processes are told without it.
  private static let relayMayTake = 20
  /// Milliseconds after which nobody waits for the relay any more.
  private static let relayMustTake = 250

  /// Runs a transaction, sends what it cut, and tells the other processes of this device.
  func saving(pinging own: String? = nil, _ body: (inout SQLiteTransaction) throws -> Saved) throws -> Saved {
    var saved = try store.write(within: patience, body)
    guard !saved.operations.isEmpty else { return saved }
    saved.at = SystemClock.wallMicroseconds
    defer { if saved.operations.contains(where: { PlanCard.kinds.contains($0.kind) }) { PlanCard.refresh(store) } }
    guard let courier, !saved.departures.isEmpty else {
      store.pingOthers(except: own)
      return saved
    }
    // First the relay: a process that is told before that would send the same.
    let errand = courier.carry(saved.departures)
    saved.outcome = errand.outcome(within: Self.relayMayTake)
    store.pingOthers(except: own)
    if case .underWay = saved.outcome { saved.outcome = errand.outcome(within: Self.relayMustTake) }
    return saved
  }

  /// As ``saving(pinging:_:)``: what is written is decided by what the same transaction reads.
  func deciding(pinging own: String? = nil, _ drafts: (SQLiteTransaction) throws -> [Draft]) throws -> Saved {
    try saving(pinging: own) { transaction in
      let drafts = try drafts(transaction)
      return drafts.isEmpty ? Saved(operations: []) : try save(drafts, in: &transaction)
    }
  }

  package func newRecordID() -> RecordID {
    var random = SystemRandomNumberGenerator()
    return RecordID(using: &random)
  }

  // MARK: Records

  /// Adds a record from `field=value` words.
  ///
  /// - Throws: ``InputError``, ``StorageError``; all or nothing.
  @discardableResult
  package func add(kind: String, _ assignments: [String]) throws -> RecordID { try addTimed(kind: kind, assignments).id }

  /// As ``add(kind:_:)``; also tells when it was durable here, in microseconds since 1970.
  package func addTimed(kind: String, _ assignments: [String]) throws -> (id: RecordID, saved: UInt64) {
    guard let schema = RecordCatalogue[kind] else { throw InputError.unknownKind(kind) }
    guard schema.isAddedByHand else { throw InputError.notAddedByHand(kind: kind) }
    let id = newRecordID()
    let drafts = try schema.drafts(from: assignments, record: id, current: nil)
    return (id, try saving { try save(drafts, in: &$0) }.at)
  }

  /// Changes a record; what it held is read in the same transaction that writes.
  package func set(_ id: RecordID, _ assignments: [String]) throws {
    _ = try deciding { transaction in
      guard let record = try transaction.record(id) else { throw InputError.unknownRecord }
      guard let schema = RecordCatalogue[record.kind] else { throw InputError.unknownKind(record.kind) }
      return try schema.drafts(from: assignments, record: id, current: record)
    }
  }

  /// What the answers of a record call for now, where it has any.
  package func offer(of id: RecordID) throws -> CrisisOffer? {
    try store.read { transaction in
      guard let record = try transaction.record(id), record.kind == RecordCatalogue.assessment.kind else { return nil }
      return record.offer(try transaction.records(kind: record.kind, limit: 50), wall: SystemClock.now.wall)
    }
  }

  /// Changes the account's safety plan; the first change makes it.
  package func editPlan(_ assignments: [String]) throws {
    let id = SafetyPlan.record(ofAccount: store.ring.account.account)
    _ = try deciding { try RecordCatalogue.plan.drafts(from: assignments, record: id, current: try $0.record(id)) }
  }

  package func remove(_ id: RecordID) throws {
    let record = try store.read { try $0.record(id) }
    guard let record, record.isVisible else { throw InputError.unknownRecord }
    let lane = RecordCatalogue[record.kind]?.lane ?? .ordinary
    _ = try deciding { transaction in
      guard let record = try transaction.record(id), record.isVisible else { throw InputError.unknownRecord }
      try Self.mayLeave(record)
      return [Draft(record: id, kind: record.kind, field: Causality.Operation.recordField, mutation: .erase, lane: lane)]
    }
  }

  /// Whoever follows a link has to learn that it is good for nothing any more, before nobody here knows the link.
  private static func mayLeave(_ record: RecordState) throws {
    guard record.kind == RecordCatalogue.contact.kind else { return }
    let contact = SafetyPlan.Contact(record)
    if contact.isInvited {
      throw InputError.invalid(
        "This contact was given a link, and whoever follows it would wait for nothing. Nothing was removed.",
        remedy: "Take it back first: `fullmind family withdraw`.")
    }
    if !contact.withdrawn.isEmpty {
      throw InputError.invalid(
        "The link of this contact was taken back, and that does not stand there yet. Nothing was removed.",
        remedy: "Repeat this when the relay can be reached.")
    }
  }

  /// The record that these characters begin.
  package func record(beginningWith prefix: String) throws -> RecordState {
    let found = try store.read { try $0.records(beginningWith: prefix) }
    guard let record = found.first else { throw InputError.unknownRecord }
    guard found.count == 1 else { throw InputError.ambiguous("id") }
    return record
  }

  // MARK: Sessions

  package func sessions() throws -> [SessionState] {
    try store.read { try $0.records(kind: RecordCatalogue.session.kind, limit: 50) }.compactMap(SessionState.init)
  }

  package func startSession(_ type: String) throws -> RecordID {
    let id = newRecordID()
    _ = try commit(SessionState.start(type, owner: device, id: id))
    return id
  }

  /// Notes how far a session has come. Writes nothing when another device owns it by now.
  package func progress(_ id: RecordID, to elapsed: Double, phase: SessionState.Phase? = nil) throws -> Bool {
    func isOwn(_ session: SessionState) -> Bool { session.owner == device }
    guard let before = try session(id), isOwn(before) else { return false }
    guard !before.progressed(to: elapsed, phase: phase).isEmpty else { return true }
    var goesOn = false
    _ = try deciding { transaction in
      guard let session = try transaction.record(id).flatMap(SessionState.init), isOwn(session) else { return [] }
      goesOn = true
      return session.progressed(to: elapsed, phase: phase)
    }
    return goesOn
  }

  package func offer(_ id: RecordID, to target: DeviceID, elapsed: Double?) throws {
    _ = try deciding { transaction in
      guard let session = try transaction.record(id).flatMap(SessionState.init) else { throw InputError.unknownRecord }
      guard session.owner == device, session.isOpen else {
        throw InputError.invalid(
          "This session does not run on this device. Nothing was changed.",
          remedy: "Hand it off from the device that `fullmind sessions list` names.")
      }
      return session.offering(to: target, elapsed: elapsed ?? session.elapsed(at: SystemClock.now.wall))
    }
  }

  /// Takes up a session that was handed to this device.
  ///
  /// - Parameter wall: Now, by the clock that stamped the offer.
  /// - Returns: Whether it was still offered.
  func take(_ id: RecordID, wall: UInt64, pinging own: String?) throws -> Bool {
    try !deciding(pinging: own) { transaction in
      guard let session = try transaction.record(id).flatMap(SessionState.init), session.isOffered(to: device, wall: wall) else { return [] }
      return session.taking(by: device)
    }.operations.isEmpty
  }

  package func session(_ id: RecordID) throws -> SessionState? {
    try store.read { try $0.record(id) }.flatMap(SessionState.init)
  }

  /// Names a device for everybody.
  package func rename(_ target: DeviceID, to name: String) throws {
    guard let record = RecordID(bytes: target.bytes) else { preconditionFailure("16 bytes") }
    _ = try commit([
      Draft(
        record: record, kind: RecordCatalogue.device.kind, field: "name", mutation: .set(.text(name)),
        lane: RecordCatalogue.device.lane)
    ])
  }
}

/// Short names as people may choose them, for devices and for themselves.
package enum ShortName {
  /// - Throws: ``InputError`` when it is empty, too long, or holds control characters.
  package static func checked(_ name: String, _ what: String, limit: Int) throws(InputError) -> String {
    let name = name.trimmingCharacters(in: .whitespaces)
    guard !name.isEmpty, name.count <= limit, name.utf8.count <= 4 * limit,
      !name.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
    else {
      throw .invalid("This \(what) cannot be used. Nothing was changed.", remedy: "Give 1 to \(limit) printable characters.")
    }
    return name
  }
}

package enum DeviceName {
  /// - Throws: ``InputError``; see ``ShortName/checked(_:_:limit:)``.
  package static func checked(_ name: String) throws(InputError) -> String {
    try ShortName.checked(name, "device name", limit: Limits.deviceNameCharacters)
  }

  /// The kind that a name or a machine suggests.
  package static func kind(for name: String) -> String {
    let kinds = ["phone", "tablet", "desktop", "laptop", "watch", "widget", "server"]
    return kinds.first { name.lowercased().contains($0) } ?? "laptop"
  }
}
