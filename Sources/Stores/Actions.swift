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
  package var device: DeviceID { store.ring.device }
  package var crisisRecord: RecordID { CrisisState.record(ofAccount: store.ring.account.account) }

  package init(_ store: Store) {
    self.store = store
    cutter = BatchCutter(ring: store.ring)
  }

  /// Saves drafts in one transaction and tells the other processes of this device.
  ///
  /// - Parameter own: The socket of this process, which is not pinged.
  package func commit(_ drafts: [Draft], pinging own: String? = nil) throws -> [Causality.Operation] {
    let operations = try store.write { try save(drafts, in: &$0) }
    store.pingOthers(except: own)
    return operations
  }

  /// Stamps and saves; in an idle lane the change is cut into a batch in the same transaction, so that
  /// whoever exchanges only has to send it. Under load the changes gather, as ``Pacing`` decides.
  private func save(_ drafts: [Draft], in transaction: inout SQLiteTransaction) throws -> [Causality.Operation] {
    let now = SystemClock.now
    let waiting = try transaction.pendingCounts()
    let operations = try transaction.withLedger { try $0.commit(drafts, by: device, wall: now.wall) }
    guard drafts.count <= Limits.operationsPerBatch else { return operations }
    var random = SystemRandomNumberGenerator()
    for lane in Set(drafts.map(\.lane)).sorted() where lane == .crisis || waiting[lane] == nil {
      while try cutter.cut(lane, in: &transaction, using: &random) != nil {
        // The crisis lane is never counted; a batch is one operation there, and may follow another.
        if lane != .crisis { try transaction.countSyncOperation(onDay: now.wall / millisecondsPerDay) }
      }
    }
    return operations
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
    _ = try store.write { try save(drafts, in: &$0) }
    let saved = SystemClock.wallMicroseconds
    store.pingOthers(except: nil)
    return (id, saved)
  }

  /// Changes a record; what it held is read in the same transaction that writes.
  package func set(_ id: RecordID, _ assignments: [String]) throws {
    try store.write { transaction in
      guard let record = try transaction.record(id) else { throw InputError.unknownRecord }
      guard let schema = RecordCatalogue[record.kind] else { throw InputError.unknownKind(record.kind) }
      let drafts = try schema.drafts(from: assignments, record: id, current: record)
      _ = try save(drafts, in: &transaction)
    }
    store.pingOthers(except: nil)
  }

  package func remove(_ id: RecordID) throws {
    let record = try store.read { try $0.record(id) }
    guard let record, record.isVisible else { throw InputError.unknownRecord }
    let lane = RecordCatalogue[record.kind]?.lane ?? .ordinary
    _ = try commit([
      Draft(record: id, kind: record.kind, field: Causality.Operation.recordField, mutation: .erase, lane: lane)
    ])
  }

  /// The record that these characters begin.
  package func record(beginningWith prefix: String) throws -> RecordState {
    let found = try store.read { try $0.records(beginningWith: prefix) }
    guard let record = found.first else { throw InputError.unknownRecord }
    guard found.count == 1 else { throw InputError.ambiguous("id") }
    return record
  }

  // MARK: Crisis

  /// Raises a crisis: durable first, then on the relay from this very process, whoever else is busy.
  ///
  package func activateCrisis(_ level: CrisisLevel, source: String, relay: FolderRelay?) throws -> CrisisChange {
    try crisis([CrisisState.activation(level, source: source, record: crisisRecord)], relay: relay)
  }

  /// Resolves every activation that this device has seen; `nil` when there is none.
  package func resolveCrisis(relay: FolderRelay?) throws -> CrisisChange? {
    let state = CrisisState(try store.read { try $0.record(crisisRecord) })
    guard state.isActive else { return nil }
    return try crisis([state.resolution(record: crisisRecord)], relay: relay)
  }

  /// A change of the crisis, and how far it has come.
  package struct CrisisChange {
    package var operation: Causality.Operation
    /// Microseconds since 1970 at which it was durable here.
    package var saved: UInt64
    /// What kept it from the relay, if anything did; the exchanging process tries again then.
    package var relayError: (any Error)?
  }

  private func crisis(_ drafts: [Draft], relay: FolderRelay?) throws -> CrisisChange {
    let operations = try store.write { try save(drafts, in: &$0) }
    let saved = SystemClock.wallMicroseconds
    store.pingOthers(except: nil)
    guard let operation = operations.first else { preconditionFailure("one draft makes one operation") }
    var change = CrisisChange(operation: operation, saved: saved)
    guard let relay, let tag = BlindTag(bytes: store.ring.account.sealer.tags.device(device)) else { return change }
    let key = StreamKey(operation.id.stream)
    do {
      let batches = try store.read { try $0.batches(of: key, after: operation.id.sequence - 1, limit: 1) }
      try relay.appendBlindly(batches.map(\.frame), to: RelayStream(tag: tag, channel: key.channel))
    } catch { change.relayError = error }
    return change
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
    guard let session = try session(id), session.owner == device else { return false }
    let drafts = session.progressed(to: elapsed, phase: phase)
    if !drafts.isEmpty { _ = try commit(drafts) }
    return true
  }

  package func offer(_ id: RecordID, to target: DeviceID, elapsed: Double?) throws {
    guard let session = try session(id) else { throw InputError.unknownRecord }
    guard session.owner == device, session.isOpen else {
      throw InputError.invalid(
        "This session does not run on this device. Nothing was changed.",
        remedy: "Hand it off from the device that `fullmind sessions list` names.")
    }
    _ = try commit(session.offering(to: target, elapsed: elapsed ?? session.elapsed))
  }

  package func session(_ id: RecordID) throws -> SessionState? {
    try store.read { try $0.record(id) }.flatMap(SessionState.init)
  }

  // MARK: Conflicts

  /// Settles a field by writing one of its versions anew, in place of all of them.
  ///
  /// - Parameter choice: The operation whose value is kept.
  package func resolve(_ id: RecordID, field: String, keeping choice: OperationID) throws {
    let record = try store.read { try $0.record(id) }
    guard let record, let dots = record[field]?.dots, let kept = dots.first(where: { $0.id == choice }),
      let value = kept.value
    else { throw InputError.unknownRecord }
    let lane = RecordCatalogue[record.kind]?.lane ?? .ordinary
    _ = try commit([
      Draft(
        record: id, kind: record.kind, field: field, mutation: .set(value), lane: lane, replaces: dots.map(\.id))
    ])
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

/// Device names as people may choose them.
package enum DeviceName {
  /// - Throws: ``InputError`` when it is empty, too long, or holds control characters.
  package static func checked(_ name: String) throws(InputError) -> String {
    let name = name.trimmingCharacters(in: .whitespaces)
    guard !name.isEmpty, name.count <= Limits.deviceNameCharacters, name.utf8.count <= 4 * Limits.deviceNameCharacters,
      !name.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
    else {
      throw .invalid(
        "This device name cannot be used. Nothing was changed.",
        remedy: "Give 1 to \(Limits.deviceNameCharacters) printable characters.")
    }
    return name
  }

  /// The kind that a name or a machine suggests.
  package static func kind(for name: String) -> String {
    let kinds = ["phone", "tablet", "desktop", "laptop", "watch", "widget", "server"]
    return kinds.first { name.lowercased().contains($0) } ?? "laptop"
  }
}
