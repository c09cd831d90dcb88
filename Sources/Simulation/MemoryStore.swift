import Causality
import ConflictResolution
import Replica

/// A simulated power cut: everything that was not synced is gone, and so is the process.
struct PowerCut: Error {}

/// A store on a simulated disk.
///
/// A commit is synced before it returns, as the real store's is. The disk can be told to lose power
/// in the middle of a commit — before or after it became durable — or, to prove that the checks
/// notice, to lie about syncing. It can be full, and it can be put back to an earlier moment, with or without the mark
/// that lies beside it.
package final class MemoryStore: ReplicaStore {
  package struct Contents: Sendable {
    var records: [RecordID: RecordState] = [:]
    var incarnation: Incarnation?
    var heads: [StreamKey: [StreamHead]] = [:]
    var folded: [StreamKey: [StreamHead]] = [:]
    var closings: [StreamKey: [StreamCursor]] = [:]
    var closedAt: [StreamKey: UInt64] = [:]
    var outlived: [StreamKey: UInt64] = [:]
    var clock = HybridClock()
    var hash = StateHash()
    var pending: [Lane: [Operation]] = [:]
    var batches: [StreamKey: [StoredBatch]] = [:]
    /// Where they end.
    var places: [StreamKey: Set<StreamCursor>] = [:]
    var ownLog: [Channel: [StoredBatch]] = [:]
    var ownOperations: [Channel: UInt64] = [:]
    var early: [OperationID: StoredBatch] = [:]
    var quarantine: [OperationID: Operation] = [:]
    var membership: [[UInt8]] = []
    var usage: [UInt64: Int] = [:]
    package init() {}

    /// What this device wrote in all its lives: what the mark beside a store tells.
    var written: UInt64 { ownOperations.values.reduce(0, +) + UInt64(pending.values.reduce(0) { $0 + $1.count }) }
  }

  private var committed: Contents
  /// What a power cut leaves.
  private var synced: Contents
  /// Whether commits are synced, as they must be.
  var syncsCommits = true
  /// Decides at each commit whether the power goes.
  var powerFails: (() -> PowerFailure?)?
  /// Whether the disk refuses every write.
  var isFull = false
  /// What cannot be read: a record, or the batches of a stream.
  var unreadable: Row?
  enum Row: Hashable { case record(RecordID), batches(StreamKey) }
  /// Whether what cannot be read is taken for absent, as no store does.
  var passesOver = false
  /// The next own write has to begin a life: the mark did not prove that this one goes on.
  var mustBegin = false

  private(set) var lastFailure: PowerFailure?

  enum PowerFailure { case beforeCommit, afterCommit }

  /// A disk without room.
  struct DiskFull: Error {}

  /// A row that does not come back as it was written.
  struct Unreadable: Error {}

  package init(_ contents: Contents = Contents()) {
    committed = contents
    synced = contents
  }

  package func write<Result>(within milliseconds: Int?, _ body: (inout MemoryTransaction) throws -> Result) throws -> Result {
    if isFull { throw DiskFull() }
    var transaction = MemoryTransaction(contents: committed, mustBegin: mustBegin)
    transaction.unreadable = unreadable
    transaction.passesOver = passesOver
    let result = try body(&transaction)
    let failure = powerFails?()
    if failure != nil { lastFailure = failure }
    if failure == .beforeCommit { throw PowerCut() }
    committed = transaction.contents
    mustBegin = transaction.mustBegin
    if syncsCommits { synced = committed }
    if failure == .afterCommit { throw PowerCut() }
    return result
  }

  package func read<Result>(_ body: (MemoryTransaction) throws -> Result) throws -> Result {
    try body(MemoryTransaction(contents: committed, mustBegin: mustBegin))
  }

  /// The machine went down and comes up again.
  func restart() { committed = synced }

  /// The files are put back to an earlier moment.
  ///
  /// - Parameter isNoticed: Whether the mark beside the store shows it.
  func putBack(_ contents: Contents, isNoticed: Bool) {
    (committed, synced) = (contents, contents)
    mustBegin = isNoticed
  }

  var contents: Contents { committed }
  var durableContents: Contents { synced }
}

/// The primitives of a store, in memory.
package struct MemoryTransaction: StoreTransaction {
  var contents: MemoryStore.Contents
  var mustBegin: Bool
  var unreadable: MemoryStore.Row?
  var passesOver = false

  private func check(_ row: MemoryStore.Row) throws { if row == unreadable { throw MemoryStore.Unreadable() } }

  package func record(_ id: RecordID) throws -> RecordState? {
    if passesOver, unreadable == .record(id) { return nil }
    try check(.record(id))
    return contents.records[id]
  }
  package mutating func put(_ record: RecordState) throws { contents.records[record.id] = record }

  package func incarnation() throws -> Incarnation? { mustBegin ? nil : contents.incarnation }
  package mutating func setIncarnation(_ incarnation: Incarnation?) throws {
    (contents.incarnation, mustBegin) = (incarnation, false)
  }

  package func heads(of stream: StreamKey) throws -> [StreamHead] { contents.heads[stream] ?? contents.folded[stream] ?? [] }
  package mutating func setHead(_ head: StreamHead, of stream: StreamKey) throws {
    if contents.heads[stream] == nil, let folded = contents.folded.removeValue(forKey: stream) { contents.heads[stream] = folded }
    var heads = contents.heads[stream] ?? []
    if let index = heads.firstIndex(where: { $0.branch == head.branch }) { heads[index] = head } else { heads.append(head) }
    contents.heads[stream] = heads
  }
  package func openHeads() throws -> [StreamKey: [StreamHead]] { contents.heads }
  package func allHeads(of device: DeviceID, channel: Channel) throws -> [StreamKey: [StreamHead]] {
    contents.heads.merging(contents.folded) { open, _ in open }.filter { $0.key.device == device && $0.key.channel == channel }
  }
  package mutating func fold(_ stream: StreamKey) throws {
    if let heads = contents.heads.removeValue(forKey: stream) { contents.folded[stream] = heads }
  }
  package func foldedOperations() throws -> [DeviceID: UInt64] {
    contents.folded.filter { $0.key.channel.lane != nil }.reduce(into: [:]) { sums, entry in
      sums[entry.key.device, default: 0] += entry.value.reduce(0) { $0 + $1.applied }
    }
  }
  package func closing(of stream: StreamKey) throws -> [StreamCursor] { contents.closings[stream] ?? [] }
  package func openClosings() throws -> [StreamKey: [StreamCursor]] { contents.closings.filter { contents.folded[$0.key] == nil && !$0.value.isEmpty } }
  package mutating func setClosing(_ ends: [StreamCursor], at wall: UInt64, of stream: StreamKey) throws {
    (contents.closings[stream], contents.closedAt[stream]) = (ends, wall)
  }
  package func closedAt(_ stream: StreamKey) throws -> UInt64? { contents.closedAt[stream] }
  package func outlived(_ stream: StreamKey) throws -> UInt64? { contents.outlived[stream] }
  package mutating func noteOutlived(_ stream: StreamKey, at wall: UInt64) throws {
    contents.outlived[stream] = max(wall, contents.outlived[stream] ?? 0)
  }

  package func clock() throws -> HybridClock { contents.clock }
  package mutating func setClock(_ clock: HybridClock) throws { contents.clock = clock }
  package func stateHash() throws -> StateHash { contents.hash }
  package mutating func setStateHash(_ hash: StateHash) throws { contents.hash = hash }

  package mutating func appendPending(_ operation: Operation) throws {
    contents.pending[operation.id.stream.lane, default: []].append(operation)
  }

  package func pending(_ lane: Lane, limit: Int) throws -> [Operation] {
    Array((contents.pending[lane] ?? []).prefix(limit))
  }

  package func pendingCounts() throws -> [Lane: Int] {
    contents.pending.mapValues(\.count).filter { $0.value > 0 }
  }

  package mutating func removePending(_ stream: StreamID, through sequence: UInt64) throws {
    contents.pending[stream.lane]?.removeAll { $0.id.stream == stream && $0.id.sequence <= sequence }
  }

  package func ownProgress(of device: DeviceID) throws -> [Channel: OwnProgress] {
    var progress: [Channel: OwnProgress] = [:]
    for (channel, log) in contents.ownLog {
      let operations = contents.ownOperations[channel] ?? 0
      progress[channel] = OwnProgress(saved: operations, batched: operations, position: UInt64(log.count))
    }
    for (lane, count) in try pendingCounts() { progress[Channel(lane), default: OwnProgress()].saved += UInt64(count) }
    guard let incarnation = try incarnation() else { return progress }
    for channel in progress.keys {
      let stream = StreamKey(device: device, incarnation: incarnation, channel: channel)
      guard let head = try heads(of: stream).first, head.batched > 0, head.batched == head.applied else { continue }
      progress[channel]?.tip = OwnTip(stream: stream, cursor: head.cursor)
    }
    return progress
  }

  package mutating func append(_ batch: StoredBatch, isOwn: Bool) throws {
    contents.batches[batch.stream, default: []].append(batch)
    contents.places[batch.stream, default: []].insert(batch.cursor)
    guard isOwn else { return }
    contents.ownLog[batch.stream.channel, default: []].append(batch)
    contents.ownOperations[batch.stream.channel, default: 0] += batch.count
  }

  package func ownBatches(_ channel: Channel, after position: UInt64, limit: Int) throws -> [(position: UInt64, batch: StoredBatch)] {
    (contents.ownLog[channel] ?? []).enumerated().dropFirst(Int(clamping: position)).prefix(limit).map { (UInt64($0.offset + 1), $0.element) }
  }

  package func place(of hash: [UInt8], in stream: StreamKey, first: UInt64) throws -> UInt64? {
    contents.ownLog[stream.channel]?.firstIndex { $0.stream == stream && $0.first == first && $0.hash == hash }.map { UInt64($0 + 1) }
  }

  package func ownBatch(_ channel: Channel, before position: UInt64) throws -> StoredBatch? {
    (contents.ownLog[channel] ?? []).prefix(Int(clamping: position) - 1).last
  }

  package func batches(of stream: StreamKey, after sequence: UInt64, limit: Int) throws -> [StoredBatch] {
    try check(.batches(stream))
    let later = (contents.batches[stream] ?? []).enumerated().filter { $0.element.first > sequence }
      .sorted { ($0.element.first, $0.offset) < ($1.element.first, $1.offset) }.map(\.element)
    guard limit > 0, let last = later.prefix(limit).last?.first else { return [] }
    return later.enumerated().filter { $0.offset < limit || $0.element.first == last }.map(\.element)
  }

  package func logged(of stream: StreamKey, from first: UInt64, through last: UInt64) throws -> [LoggedBatch] {
    try check(.batches(stream))
    return (contents.batches[stream] ?? []).filter { $0.first >= first && $0.first <= last }
      .map { LoggedBatch(first: $0.first, count: $0.count, hash: $0.hash) }
  }

  package func marks(of stream: StreamKey, at sequence: UInt64) throws -> [UInt64] {
    try check(.batches(stream))
    let filed = (contents.batches[stream] ?? []).filter { $0.first <= sequence && sequence <= $0.last }
      .compactMap { batch in batch.marks.indices.contains(Int(sequence - batch.first)) ? batch.marks[Int(sequence - batch.first)] : nil }
    guard let id = stream.id else { return filed }
    return filed + (contents.pending[id.lane] ?? []).filter { $0.id.stream == id && $0.id.sequence == sequence }.map(\.id.mark)
  }

  package mutating func noteHistory(of record: RecordID, in stream: StreamKey, sequence: UInt64) throws {}

  package mutating func noteEarly(_ batch: StoredBatch, _ operations: [OperationID]) throws {
    for id in operations { contents.early[id] = batch }
  }
  package mutating func removeEarly(_ operations: [OperationID]) throws { for id in operations { contents.early[id] = nil } }
  package func early(of device: DeviceID, _ channel: Channel) throws -> [StoredBatch] {
    contents.early.sorted { $0.key < $1.key }.map(\.value).filter { $0.stream.device == device && $0.stream.channel == channel }
  }
  package func hasEarly(_ operation: OperationID) throws -> Bool { contents.early[operation] != nil }

  package mutating func quarantine(_ operation: Operation) throws { contents.quarantine[operation.id] = operation }
  package func quarantined(dueBy wall: UInt64?) throws -> [Operation] {
    contents.quarantine.values.filter { operation in wall.map { !HybridClock.isFromTheFuture(operation.timestamp, wall: $0) } ?? true }
      .sorted { $0.id < $1.id }
  }
  package func isQuarantined(_ operation: OperationID) throws -> Bool { contents.quarantine[operation] != nil }
  package func nextDue() throws -> UInt64? { contents.quarantine.values.map(\.timestamp.milliseconds).min() }
  package func heldBack() throws -> [StreamKey: UInt64] {
    contents.quarantine.keys.reduce(into: [:]) { first, id in
      let stream = StreamKey(id.stream)
      first[stream] = min(first[stream] ?? .max, id.sequence)
    }
  }
  package mutating func release(_ operation: OperationID) throws { contents.quarantine[operation] = nil }

  package func membership() throws -> [[UInt8]] { contents.membership }
  package func membershipCount() throws -> Int { contents.membership.count }
  package mutating func appendMembership(_ entry: [UInt8]) throws { contents.membership.append(entry) }
  package func syncOperations(onDay day: UInt64) throws -> Int { contents.usage[day] ?? 0 }
  package mutating func countSyncOperation(onDay day: UInt64) throws { contents.usage[day, default: 0] += 1 }
}
