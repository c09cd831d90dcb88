import Causality
import ConflictResolution
import Sealing
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
  private var heads: [StreamKey: [StreamHead]] = [:]
  private var changedHeads: [StreamKey: Set<UInt64>] = [:]
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
    for (stream, branches) in changedHeads.sorted(by: { $0.key < $1.key }) {
      for head in heads[stream] ?? [] where branches.contains(head.branch) { try transaction.setHead(head, of: stream) }
      try foldIfClosed(stream)
    }
    try transaction.setClock(clock)
    try transaction.setStateHash(hash)
    return transaction
  }

  // MARK: Own operations

  /// The life of this store that writes now; begins one where there is none.
  package mutating func incarnation(using random: inout some RandomNumberGenerator) throws -> Incarnation {
    if let incarnation = try transaction.incarnation() { return incarnation }
    let incarnation = Incarnation(using: &random)
    try transaction.setIncarnation(incarnation)
    return incarnation
  }

  /// Stamps drafts and applies them: from here on they are saved, once the transaction commits.
  ///
  /// - Parameters:
  ///   - drafts: In the order of the person's actions.
  ///   - device: This device.
  ///   - wall: Milliseconds since 1970.
  package mutating func commit(
    _ drafts: [Draft], by device: DeviceID, wall: UInt64, using random: inout some RandomNumberGenerator
  ) throws -> [Operation] {
    guard !drafts.isEmpty else { return [] }
    let incarnation = try incarnation(using: &random)
    var operations = [Operation]()
    for draft in drafts {
      let stream = StreamID(device: device, incarnation: incarnation, lane: draft.lane)
      let key = StreamKey(stream)
      var head = try head(key)
      let replaced = try draft.replaces ?? replaced(by: draft)
      // What a reader would refuse would hold up everything after it: it never gets a number.
      guard draft.isReadable(replacing: replaced.count) else { throw WriteTooLarge() }
      let operation = Operation(
        stream: stream, sequence: head.applied + 1, timestamp: clock.stamp(wall: wall),
        record: draft.record, kind: draft.kind, field: draft.field, mutation: draft.mutation,
        replaces: replaced, decision: draft.decision)
      try merge(operation)
      head.applied += 1
      set(head, of: key)
      try transaction.appendPending(operation)
      try transaction.noteHistory(of: operation.record, in: key, sequence: operation.id.sequence)
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
  package mutating func cut(_ lane: Lane) throws -> (operations: [Operation], previous: [UInt8])? {
    // The crisis lane travels alone: one operation, one batch, nothing to wait for.
    let limit = lane == .crisis ? 1 : Limits.operationsPerBatch
    let pending = try transaction.pending(lane, limit: limit)
    guard let first = pending.first else { return nil }
    let head = try head(StreamKey(first.id.stream))
    precondition(first.id.sequence == head.batched + 1, "a gap between the log and what is pending")
    return (Self.fitting(pending.filter { $0.id.stream == first.id.stream }), head.hash)
  }

  /// As many as fit into ``Limits/batchBytes``; at least one.
  private static func fitting(_ operations: [Operation]) -> [Operation] {
    var bytes = 0
    let kept = operations.prefix { operation in
      bytes += 64 + operation.replaces.count * 20 + (operation.mutation.value?.canonicalBytes.count ?? 0)
        + (operation.decision?.byteCount ?? 0)
      return bytes <= Limits.batchBytes
    }
    return kept.isEmpty ? Array(operations.prefix(1)) : Array(kept)
  }

  /// Where the next batch of an own stream begins.
  package mutating func end(of stream: StreamKey) throws -> StreamHead { try head(stream) }

  /// Puts a sealed batch of own operations into the log.
  package mutating func file(_ batch: StoredBatch) throws {
    var head = try head(batch.stream)
    precondition(batch.first == head.batched + 1, "batches are filed in order")
    head.batched = batch.last
    head.hash = batch.hash
    if batch.stream.channel.lane == nil { head.applied = batch.last }
    set(head, of: batch.stream)
    try transaction.append(batch, isOwn: true)
    if let stream = batch.stream.id { try transaction.removePending(stream, through: batch.last) }
  }

  // MARK: Batches from elsewhere

  /// Where a batch belongs in its stream.
  package enum Place: Sendable, Hashable {
    /// It follows the end of a history.
    case next(branch: UInt64)
    /// It is in the log.
    case known
    /// It follows something that is known, where something else followed before: two histories used one number.
    case fork
    /// What it follows has not come.
    case gap
  }

  /// - Parameter hash: Of the frame; a number alone says nothing.
  package mutating func place(first: UInt64, previous: [UInt8], hash: [UInt8], in stream: StreamKey) throws -> Place {
    let heads = try histories(of: stream)
    guard first > 0 else { return .gap }
    if let head = heads.first(where: { $0.batched + 1 == first && $0.hash == previous }) {
      guard head.applied > head.batched else { return .next(branch: head.branch) }
      // Own operations that wait to be cut have these numbers already: both histories count, each once.
      return try isLogged(first, hash, stream) ? .known : .fork
    }
    if heads.isEmpty { return first == 1 && previous == noPreviousHash ? .next(branch: 0) : .gap }
    if try isLogged(first, hash, stream) { return .known }
    if first == 1 { return previous == noPreviousHash ? .fork : .gap }
    return try transaction.knows(StreamCursor(sequence: first - 1, hash: previous), in: stream) ? .fork : .gap
  }

  private func isLogged(_ first: UInt64, _ hash: [UInt8], _ stream: StreamKey) throws -> Bool {
    try transaction.logged(of: stream, from: first, through: first).contains { $0.hash == hash }
  }

  /// What came of a batch.
  package struct Accepted: Sendable {
    package var changes: [AppliedChange] = []
    package var quarantined = 0
    package var concurrent = 0
    package init() {}
  }

  /// Applies a batch that has its place.
  ///
  /// - Parameters:
  ///   - place: ``Place/next(branch:)`` or ``Place/fork``.
  ///   - wall: Milliseconds since 1970, by the clock that decides what is from the future.
  /// - Returns: What changed; operations from the future are quarantined and not among it.
  package mutating func accept(
    _ batch: StoredBatch, _ operations: [Operation], at place: Place, isOwn: Bool, wall: UInt64
  ) throws -> Accepted {
    let before = concurrent
    var accepted = Accepted()
    let known = try known(operations, in: batch.stream)
    var head = try file(batch, at: place, isOwn: isOwn, applied: batch.first - 1)
    if isOwn { try noteOutlived(batch.stream, at: operations.map(\.timestamp.milliseconds).max()) }
    let early = try batch.stream.channel.lane == .crisis ? operations.map(\.id).filter { try transaction.hasEarly($0) } : []
    accepted.changes.reserveCapacity(operations.count)
    for operation in operations {
      // What it replaces may stand just before it.
      if !operation.replaces.isEmpty { set(head, of: batch.stream) }
      head.applied = operation.id.sequence
      if known.contains(operation.id) || early.contains(operation.id) { continue }
      if try admit(operation, isOwn: isOwn, wall: wall) {
        accepted.changes.append(AppliedChange(operation))
      } else {
        accepted.quarantined += 1
      }
    }
    head.applied = batch.last
    set(head, of: batch.stream)
    if !early.isEmpty { try transaction.removeEarly(early) }
    for record in Set(operations.map(\.record)) {
      try transaction.noteHistory(of: record, in: batch.stream, sequence: batch.first)
    }
    accepted.concurrent = concurrent - before
    return accepted
  }

  /// What was written in a life of this device after that was closed comes from a copy of its home that is alive; what
  /// was written before, and comes late, does not.
  ///
  /// - Parameter wall: When the last of it was written.
  package mutating func noteOutlived(_ stream: StreamKey, at wall: UInt64?) throws {
    guard let wall, let closed = try transaction.closedAt(stream), wall > closed else { return }
    try transaction.noteOutlived(stream, at: wall)
  }

  /// Operations that are in the log already: what waited to be cut when a copy was made is cut twice, into two batches.
  private mutating func known(_ operations: [Operation], in stream: StreamKey) throws -> Set<OperationID> {
    let last = try histories(of: stream).map(\.applied).max() ?? 0
    return Set(try operations.map(\.id).filter { try $0.sequence <= last && transaction.marks(of: stream, at: $0.sequence).contains($0.mark) })
  }

  /// Files a batch that carries no operations.
  package mutating func file(_ batch: StoredBatch, at place: Place, isOwn: Bool) throws {
    _ = try file(batch, at: place, isOwn: isOwn, applied: batch.last)
  }

  private mutating func file(_ batch: StoredBatch, at place: Place, isOwn: Bool, applied: UInt64) throws -> StreamHead {
    let branch: UInt64 = if case .next(let branch) = place { branch } else { UInt64(beginningOf: batch.hash) | 1 }
    let head = StreamHead(applied: applied, batched: batch.last, hash: batch.hash, branch: branch)
    set(head, of: batch.stream)
    try transaction.append(batch, isOwn: isOwn)
    return head
  }

  /// Applies what raises a crisis although what it follows has not come: activations only add. Its batch is filed
  /// when the gap closes.
  ///
  /// - Returns: What changed; nothing when it was applied before.
  package mutating func acceptEarly(_ batch: StoredBatch, _ operations: [Operation]) throws -> [AppliedChange] {
    // A write may lie in two batches, each of which comes across a gap, or not.
    let new = try operations.filter { try !hasArrived($0.id) }
    for operation in new { try merge(operation) }
    if !new.isEmpty { try transaction.noteEarly(batch, new.map(\.id)) }
    return new.map(AppliedChange.init)
  }

  private mutating func admit(_ operation: Operation, isOwn: Bool, wall: UInt64) throws -> Bool {
    clock.observe(operation.timestamp, wall: wall)
    // A crisis waits for nobody's clock, and what was written here was here before it was lost. Neither is followed: the
    // clock of this device stays right.
    if HybridClock.isFromTheFuture(operation.timestamp, wall: wall), operation.id.stream.lane != .crisis, !isOwn {
      try transaction.quarantine(operation)
      return false
    }
    try merge(operation)
    return true
  }

  /// Applies the quarantined operations whose time has come.
  package mutating func releaseDue(wall: UInt64) throws -> [AppliedChange] {
    let due = try transaction.quarantined(dueBy: wall).sorted { ($0.timestamp, $0.id) < ($1.timestamp, $1.id) }
    for operation in due {
      clock.observe(operation.timestamp, wall: wall)
      try transaction.release(operation.id)
      try merge(operation)
    }
    return due.map(AppliedChange.init)
  }

  private mutating func merge(_ operation: Operation) throws {
    var state = try record(operation.record, kind: operation.kind)
    // What has arrived is looked up before, so that the merge itself stays pure.
    var arrived = Set<OperationID>()
    for id in operation.replaces where !(state[operation.field]?.contains(id) ?? false) {
      if try hasArrived(id) { arrived.insert(id) }
    }
    state.apply(operation, hasArrived: { arrived.contains($0) }, hash: &hash)
    records[operation.record] = state
    if (state[operation.field]?.dots.count ?? 0) > 1,
      !RecordCatalogue.policy(of: operation.field, kind: state.kind).isAdditive
    { concurrent += 1 }
  }

  /// As ``StoreTransaction/hasArrived(_:)``, with what this transaction has changed.
  private mutating func hasArrived(_ id: OperationID) throws -> Bool {
    let stream = StreamKey(id.stream)
    let isCovered = try histories(of: stream).contains { id.sequence <= $0.applied }
    guard try (isCovered && transaction.marks(of: stream, at: id.sequence).contains(id.mark)) || transaction.hasEarly(id)
    else { return false }
    return try !transaction.isQuarantined(id)
  }

  // MARK: Lives that are over

  /// Takes in that a life of a device's store is over: what is complete here is folded, and the rest is told to
  /// others until it is.
  ///
  /// - Parameter wall: When that was signed, in milliseconds since 1970.
  package mutating func close(_ closing: Closing, of device: DeviceID, at wall: UInt64) throws {
    for (key, ends) in closing.ends(of: device).sorted(by: { $0.key < $1.key }) {
      // What is written after it was closed for the first time comes from a copy that is alive, also where two copies
      // close each other again and again.
      try transaction.setClosing(ends, at: min(wall, try transaction.closedAt(key) ?? wall), of: key)
      // One of which nothing has come yet is told as that: as missing. One that was folded is open again where a copy of
      // the device says that it ended elsewhere as well.
      let histories = try histories(of: key)
      if histories.isEmpty { set(StreamHead(), of: key) } else { changedHeads[key, default: []].formUnion(histories.map(\.branch)) }
    }
  }

  private mutating func foldIfClosed(_ stream: StreamKey) throws {
    let ends = try transaction.closing(of: stream)
    guard !ends.isEmpty else { return }
    let heads = try histories(of: stream)
    let reached = Set(heads.map { StreamCursor(sequence: $0.batched, hash: $0.hash) })
    guard reached == Set(ends), heads.allSatisfy({ $0.applied == $0.batched }) else { return }
    try transaction.fold(stream)
  }

  // MARK: Reading through

  private mutating func record(_ id: RecordID, kind: String) throws -> RecordState {
    if let record = records[id] { return record }
    let record = try transaction.record(id) ?? RecordState(id: id, kind: kind)
    records[id] = record
    order.append(id)
    return record
  }

  private mutating func histories(of stream: StreamKey) throws -> [StreamHead] {
    if let known = heads[stream] { return known }
    let found = try transaction.heads(of: stream)
    heads[stream] = found
    return found
  }

  /// The history that came first.
  private mutating func head(_ stream: StreamKey) throws -> StreamHead {
    try histories(of: stream).first ?? StreamHead()
  }

  private mutating func set(_ head: StreamHead, of stream: StreamKey) {
    var known = heads[stream] ?? []
    if let index = known.firstIndex(where: { $0.branch == head.branch }) { known[index] = head } else { known.append(head) }
    heads[stream] = known
    changedHeads[stream, default: []].insert(head.branch)
  }
}

extension Closing {
  /// The streams that are over, each with the places where its histories ended.
  func ends(of device: DeviceID) -> [StreamKey: [StreamCursor]] {
    streams.reduce(into: [:]) { ends, stream in
      guard let channel = Channel(rawValue: stream.channel) else { return }
      let key = StreamKey(device: device, incarnation: incarnation, channel: channel)
      ends[key, default: []].append(StreamCursor(sequence: stream.sequence, hash: stream.hash))
    }
  }
}

extension StoreTransaction {
  /// Runs ledger rules and writes everything back.
  package mutating func withLedger<Result>(_ body: (inout Ledger<Self>) throws -> Result) throws -> Result {
    var ledger = try Ledger(self)
    let result = try body(&ledger)
    self = try ledger.finish()
    return result
  }
}
