import Causality
import ConflictResolution
import Therapy

/// One operation that changed what this device shows.
package struct AppliedChange: Hashable, Sendable {
  package var id: OperationID
  package var timestamp: Timestamp
  package var record: RecordID
  package var kind: String
  package var field: String
  private var aside: Aside<Decision>?
  package var decision: Decision? { aside?.value }

  package init(_ operation: Operation) {
    id = operation.id
    timestamp = operation.timestamp
    record = operation.record
    kind = operation.kind
    field = operation.field
    aside = operation.decision.map { .value($0) }
  }
}

/// The rules that change a store, inside one transaction.
///
/// It reads what it needs on the first use and writes everything back in ``finish()``, so that a
/// batch of 64 operations on one record costs one read and one write.
package struct Ledger<Transaction: StoreTransaction> {
  package private(set) var transaction: Transaction
  private var heads: [StreamKey: StreamHead] = [:]
  private var changedHeads = Set<StreamKey>()
  private var records: [RecordID: RecordState] = [:]
  private var order: [RecordID] = []
  private var clock: HybridClock
  private var hash: StateHash
  /// Writes that met another one made without knowing of it.
  private var concurrent = 0

  package init(_ transaction: Transaction) throws {
    self.transaction = transaction
    clock = try transaction.clock()
    hash = try transaction.stateHash()
  }

  /// Writes everything back. Without it the transaction holds half of what was decided.
  package mutating func finish() throws -> Transaction {
    for id in order {
      if let record = records[id] { try transaction.put(record) }
    }
    for stream in changedHeads.sorted() {
      if let head = heads[stream] { try transaction.setHead(head, of: stream) }
    }
    try transaction.setClock(clock)
    try transaction.setStateHash(hash)
    return transaction
  }

  // MARK: Own operations

  /// Stamps drafts and applies them: from here on they are saved, once the transaction commits.
  ///
  /// - Parameters:
  ///   - drafts: In the order of the person's actions.
  ///   - device: This device.
  ///   - wall: Milliseconds since 1970.
  package mutating func commit(_ drafts: [Draft], by device: DeviceID, wall: UInt64) throws -> [Operation] {
    var operations = [Operation]()
    for draft in drafts {
      let stream = StreamID(device: device, lane: draft.lane)
      let sequence = try head(StreamKey(stream)).applied + 1
      let operation = Operation(
        id: OperationID(stream: stream, sequence: sequence), timestamp: clock.stamp(wall: wall),
        record: draft.record, kind: draft.kind, field: draft.field, mutation: draft.mutation,
        replaces: try draft.replaces ?? replaced(by: draft), decision: draft.decision)
      try apply(operation)
      try transaction.appendPending(operation)
      try transaction.noteHistory(of: operation.record, in: StreamKey(stream), sequence: sequence)
      operations.append(operation)
    }
    return operations
  }

  /// What a write replaces when it does not say: everything that its field shows.
  private mutating func replaced(by draft: Draft) throws -> [OperationID] {
    let state = try record(draft.record, kind: draft.kind)
    switch draft.mutation {
    case .set: return state[draft.field]?.dots.map(\.id) ?? []
    case .erase: return state.liveOperations
    case .restore: return state.erasures.map(\.id)
    case .add(let value): return state[draft.field]?.dots.filter { $0.value == value }.map(\.id) ?? []
    case .remove: return []
    }
  }

  /// The next operations of a lane that are in no batch yet, with the link to the batch before.
  package mutating func cut(_ lane: Lane, of device: DeviceID) throws -> (operations: [Operation], previous: [UInt8])? {
    let key = StreamKey(StreamID(device: device, lane: lane))
    let head = try head(key)
    // The crisis lane travels alone: one operation, one batch, nothing to wait for.
    let limit = lane == .crisis ? 1 : Limits.operationsPerBatch
    let pending = try transaction.pending(lane, limit: limit)
    guard let first = pending.first else { return nil }
    precondition(first.id.sequence == head.batched + 1, "a gap between the log and what is pending")
    return (Self.fitting(pending), head.hash)
  }

  /// As many as fit into ``Limits/batchBytes``; at least one.
  private static func fitting(_ operations: [Operation]) -> [Operation] {
    var bytes = 0
    let kept = operations.prefix { operation in
      bytes += 64 + operation.replaces.count * 12 + (operation.mutation.value?.canonicalBytes.count ?? 0)
        + (operation.decision?.byteCount ?? 0)
      return bytes <= Limits.batchBytes
    }
    return kept.isEmpty ? Array(operations.prefix(1)) : Array(kept)
  }

  /// Puts a sealed batch of own operations into the log.
  package mutating func file(_ batch: StoredBatch) throws {
    var head = try head(batch.stream)
    precondition(batch.first == head.batched + 1, "batches are filed in order")
    head.batched = batch.last
    head.hash = batch.hash
    if batch.stream.channel.lane == nil { head.applied = batch.last }
    set(head, of: batch.stream)
    try transaction.append(batch)
    if let lane = batch.stream.channel.lane { try transaction.removePending(lane, through: batch.last) }
  }

  // MARK: Operations of other devices

  /// Whether a batch is the next of its stream.
  package enum Place: Sendable, Equatable { case next, known, gap, forked }

  package mutating func place(first: UInt64, previous: [UInt8], in stream: StreamKey) throws -> Place {
    let head = try head(stream)
    if first <= head.batched { return .known }
    if first > head.batched + 1 { return .gap }
    return previous == head.hash ? .next : .forked
  }

  /// Applies a batch that was checked to be the next of its stream.
  ///
  /// - Returns: What changed; operations from the future are quarantined and not among it.
  package mutating func accept(_ batch: StoredBatch, _ operations: [Operation], wall: UInt64) throws
    -> (changes: [AppliedChange], quarantined: Int, concurrent: Int)
  {
    let before = concurrent
    var changes = [AppliedChange]()
    var quarantined = 0
    for operation in operations {
      if try admit(operation, wall: wall) { changes.append(AppliedChange(operation)) } else { quarantined += 1 }
    }
    try fileForeign(batch)
    for record in Set(operations.map(\.record)) {
      try transaction.noteHistory(of: record, in: batch.stream, sequence: batch.first)
    }
    return (changes, quarantined, concurrent - before)
  }

  /// Files a batch that carries no operations.
  package mutating func fileForeign(_ batch: StoredBatch) throws {
    var head = try head(batch.stream)
    head.applied = batch.last
    head.batched = batch.last
    head.hash = batch.hash
    set(head, of: batch.stream)
    try transaction.append(batch)
  }

  private mutating func admit(_ operation: Operation, wall: UInt64) throws -> Bool {
    guard HybridClock.isFromTheFuture(operation.timestamp, wall: wall) else {
      clock.observe(operation.timestamp, wall: wall)
      try apply(operation)
      return true
    }
    // A crisis waits for nobody's clock. It is not followed either: ours stays right.
    if operation.id.stream.lane == .crisis {
      try apply(operation)
      return true
    }
    try transaction.quarantine(operation)
    try advance(operation.id)
    return false
  }

  /// Applies the quarantined operations whose time has come.
  package mutating func releaseDue(wall: UInt64) throws -> [AppliedChange] {
    let due = try transaction.quarantined()
      .filter { !HybridClock.isFromTheFuture($0.timestamp, wall: wall) }
      .sorted { ($0.timestamp, $0.id) < ($1.timestamp, $1.id) }
    for operation in due {
      clock.observe(operation.timestamp, wall: wall)
      try merge(operation)
      try transaction.release(operation.id)
    }
    return due.map(AppliedChange.init)
  }

  private mutating func apply(_ operation: Operation) throws {
    try merge(operation)
    try advance(operation.id)
  }

  private mutating func merge(_ operation: Operation) throws {
    var state = try record(operation.record, kind: operation.kind)
    // Heads are read before, so that the merge itself stays pure.
    for id in operation.replaces { _ = try head(StreamKey(id.stream)) }
    let heads = heads
    state.apply(
      operation, hasArrived: { $0.sequence <= heads[StreamKey($0.stream)]?.applied ?? 0 }, hash: &hash)
    records[operation.record] = state
    if (state[operation.field]?.dots.count ?? 0) > 1,
      !RecordCatalogue.policy(of: operation.field, kind: state.kind).isAdditive
    { concurrent += 1 }
  }

  private mutating func advance(_ id: OperationID) throws {
    let key = StreamKey(id.stream)
    var head = try head(key)
    precondition(id.sequence == head.applied + 1, "operations of a stream are applied without a gap")
    head.applied = id.sequence
    set(head, of: key)
  }

  // MARK: An old copy of this device

  /// Takes back a batch that this device made in a life that the store does not remember.
  ///
  /// Operations made since then were given the same sequence numbers. None of them has left this
  /// device, so they move behind the batch and keep their content.
  package mutating func takeBack(_ batch: StoredBatch, _ operations: [Operation], wall: UInt64) throws {
    guard let lane = batch.stream.channel.lane else { preconditionFailure("only lanes are taken back") }
    let pending = try transaction.pending(lane, limit: .max)
    try transaction.removePending(lane, through: .max)
    var moved: [OperationID: OperationID] = [:]
    for operation in pending {
      var id = operation.id
      id.sequence += batch.count
      moved[operation.id] = id
    }
    for operation in pending.reversed() { try renumber(operation, moved) }
    var head = try head(batch.stream)
    head.applied = head.batched
    set(head, of: batch.stream)
    _ = try accept(batch, operations, wall: wall)
    head = try self.head(batch.stream)
    for operation in pending {
      var operation = operation
      operation.id = moved[operation.id] ?? operation.id
      operation.replaces = operation.replaces.map { moved[$0] ?? $0 }
      if let version = operation.decision?.recommended { operation.decision?.recommended = moved[version] ?? version }
      try transaction.appendPending(operation)
      head.applied = operation.id.sequence
    }
    set(head, of: batch.stream)
  }

  private mutating func renumber(_ operation: Operation, _ moved: [OperationID: OperationID]) throws {
    var state = try record(operation.record, kind: operation.kind)
    if let id = moved[operation.id] { state.renumber(operation.id, to: id, in: operation.field, hash: &hash) }
    records[operation.record] = state
  }

  // MARK: Reading through

  private mutating func record(_ id: RecordID, kind: String) throws -> RecordState {
    if let record = records[id] { return record }
    let record = try transaction.record(id) ?? RecordState(id: id, kind: kind)
    records[id] = record
    order.append(id)
    return record
  }

  private mutating func head(_ stream: StreamKey) throws -> StreamHead {
    if let head = heads[stream] { return head }
    let head = try transaction.head(stream) ?? StreamHead(hash: noPreviousHash)
    heads[stream] = head
    return head
  }

  private mutating func set(_ head: StreamHead, of stream: StreamKey) {
    heads[stream] = head
    changedHeads.insert(stream)
  }
}

private let noPreviousHash = [UInt8](repeating: 0, count: 32)

extension StoreTransaction {
  /// Runs ledger rules and writes everything back.
  package mutating func withLedger<Result>(_ body: (inout Ledger<Self>) throws -> Result) throws -> Result {
    var ledger = try Ledger(self)
    let result = try body(&ledger)
    self = try ledger.finish()
    return result
  }
}
