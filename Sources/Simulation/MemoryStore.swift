import Causality
import ConflictResolution
import Replica

/// A simulated power cut: everything that was not synced is gone, and so is the process.
struct PowerCut: Error {}

/// A store on a simulated disk.
///
/// A commit is synced before it returns, as the real store's is. The disk can be told to lose power
/// in the middle of a commit — before or after it became durable — or, to prove that the checks
/// notice, to lie about syncing.
package final class MemoryStore: ReplicaStore {
  package struct Contents: Sendable {
    var records: [RecordID: RecordState] = [:]
    var heads: [StreamKey: StreamHead] = [:]
    var clock = HybridClock()
    var hash = StateHash()
    var pending: [Lane: [Operation]] = [:]
    var batches: [StreamKey: [StoredBatch]] = [:]
    var quarantine: [OperationID: Operation] = [:]
    var membership: [[UInt8]] = []
    var usage: [UInt64: Int] = [:]
    package init() {}
  }

  private var committed: Contents
  /// What a power cut leaves.
  private var synced: Contents
  /// Whether commits are synced, as they must be.
  var syncsCommits = true
  /// Decides at each commit whether the power goes.
  var powerFails: (() -> PowerFailure?)?

  private(set) var lastFailure: PowerFailure?

  enum PowerFailure { case beforeCommit, afterCommit }

  package init(_ contents: Contents = Contents()) {
    committed = contents
    synced = contents
  }

  package func write<Result>(_ body: (inout MemoryTransaction) throws -> Result) throws -> Result {
    var transaction = MemoryTransaction(contents: committed)
    let result = try body(&transaction)
    let failure = powerFails?()
    if failure != nil { lastFailure = failure }
    if failure == .beforeCommit { throw PowerCut() }
    committed = transaction.contents
    if syncsCommits { synced = committed }
    if failure == .afterCommit { throw PowerCut() }
    return result
  }

  package func read<Result>(_ body: (MemoryTransaction) throws -> Result) throws -> Result {
    try body(MemoryTransaction(contents: committed))
  }

  /// The machine went down and comes up again.
  func restart() { committed = synced }

  var contents: Contents { committed }
  var durableContents: Contents { synced }
}

/// The primitives of a store, in memory.
package struct MemoryTransaction: StoreTransaction {
  var contents: MemoryStore.Contents

  package func record(_ id: RecordID) throws -> RecordState? { contents.records[id] }
  package mutating func put(_ record: RecordState) throws { contents.records[record.id] = record }
  package func head(_ stream: StreamKey) throws -> StreamHead? { contents.heads[stream] }
  package mutating func setHead(_ head: StreamHead, of stream: StreamKey) throws { contents.heads[stream] = head }
  package func heads() throws -> [StreamKey: StreamHead] { contents.heads }
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

  package mutating func removePending(_ lane: Lane, through sequence: UInt64) throws {
    contents.pending[lane]?.removeAll { $0.id.sequence <= sequence }
  }

  package mutating func append(_ batch: StoredBatch) throws { contents.batches[batch.stream, default: []].append(batch) }

  package func batch(of stream: StreamKey, before sequence: UInt64) throws -> StoredBatch? {
    contents.batches[stream]?.last { $0.first < sequence }
  }

  package func batches(of stream: StreamKey, after sequence: UInt64, limit: Int) throws -> [StoredBatch] {
    Array((contents.batches[stream] ?? []).drop { $0.first <= sequence }.prefix(limit))
  }

  package mutating func noteHistory(of record: RecordID, in stream: StreamKey, sequence: UInt64) throws {}

  package mutating func quarantine(_ operation: Operation) throws { contents.quarantine[operation.id] = operation }
  package func quarantined() throws -> [Operation] { contents.quarantine.values.sorted { $0.id < $1.id } }
  package mutating func release(_ operation: OperationID) throws { contents.quarantine[operation] = nil }
  package func membership() throws -> [[UInt8]] { contents.membership }
  package func membershipCount() throws -> Int { contents.membership.count }
  package mutating func appendMembership(_ entry: [UInt8]) throws { contents.membership.append(entry) }
  package func syncOperations(onDay day: UInt64) throws -> Int { contents.usage[day] ?? 0 }
  package mutating func countSyncOperation(onDay day: UInt64) throws { contents.usage[day, default: 0] += 1 }
}
