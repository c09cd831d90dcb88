import Causality
import ConflictResolution

/// How far one stream has come on this device.
package struct StreamHead: Hashable, Sendable {
  /// The last operation that was applied here; for the own device, the last one made.
  package var applied: UInt64 = 0
  /// The last operation that is in a batch.
  package var batched: UInt64 = 0
  /// The hash of the last batch.
  package var hash: [UInt8]

  package init(applied: UInt64 = 0, batched: UInt64 = 0, hash: [UInt8]) {
    self.applied = applied
    self.batched = batched
    self.hash = hash
  }
}

/// One channel of one device.
package struct StreamKey: Hashable, Sendable, Comparable {
  package var device: DeviceID
  package var channel: Channel

  package init(device: DeviceID, channel: Channel) {
    self.device = device
    self.channel = channel
  }

  package init(_ stream: StreamID) { self.init(device: stream.device, channel: Channel(stream.lane)) }

  package static func < (one: Self, other: Self) -> Bool {
    one.channel != other.channel ? one.channel < other.channel : one.device < other.device
  }
}

/// A sealed batch as it lies in the log.
package struct StoredBatch: Hashable, Sendable {
  package var stream: StreamKey
  package var first: UInt64
  package var count: UInt64
  package var hash: [UInt8]
  package var frame: [UInt8]
  package var last: UInt64 { first + count - 1 }

  package init(stream: StreamKey, first: UInt64, count: UInt64, hash: [UInt8], frame: [UInt8]) {
    (self.stream, self.first, self.count, self.hash, self.frame) = (stream, first, count, hash, frame)
  }
}

/// The primitives of a store inside one transaction: all of it becomes durable, or none.
///
/// The rules that use them are in ``Ledger``; SQLite and the simulated disk both implement them and
/// pass the same contract tests.
package protocol StoreTransaction {
  func record(_ id: RecordID) throws -> RecordState?
  mutating func put(_ record: RecordState) throws

  func head(_ stream: StreamKey) throws -> StreamHead?
  mutating func setHead(_ head: StreamHead, of stream: StreamKey) throws
  func heads() throws -> [StreamKey: StreamHead]

  func clock() throws -> HybridClock
  mutating func setClock(_ clock: HybridClock) throws
  func stateHash() throws -> StateHash
  mutating func setStateHash(_ hash: StateHash) throws

  /// Own operations that are in no batch yet.
  mutating func appendPending(_ operation: Operation) throws
  /// In order of sequence.
  func pending(_ lane: Lane, limit: Int) throws -> [Operation]
  func pendingCounts() throws -> [Lane: Int]
  mutating func removePending(_ lane: Lane, through sequence: UInt64) throws

  mutating func append(_ batch: StoredBatch) throws
  /// The last batch before a sequence number.
  func batch(of stream: StreamKey, before sequence: UInt64) throws -> StoredBatch?
  /// The first batches after a sequence number, in order.
  func batches(of stream: StreamKey, after sequence: UInt64, limit: Int) throws -> [StoredBatch]

  /// Remembers that a batch (or a pending operation) touched a record, for its history.
  mutating func noteHistory(of record: RecordID, in stream: StreamKey, sequence: UInt64) throws

  mutating func quarantine(_ operation: Operation) throws
  func quarantined() throws -> [Operation]
  mutating func release(_ operation: OperationID) throws

  func membership() throws -> [[UInt8]]
  func membershipCount() throws -> Int
  mutating func appendMembership(_ entry: [UInt8]) throws

  /// Sync operations counted on a day (days since 1970).
  func syncOperations(onDay day: UInt64) throws -> Int
  mutating func countSyncOperation(onDay day: UInt64) throws
}

extension StoreTransaction {
  /// The heads of one device, by channel.
  package func heads(of device: DeviceID) throws -> [Channel: StreamHead] {
    let own = try heads().filter { $0.key.device == device }
    return Dictionary(uniqueKeysWithValues: own.map { ($0.key.channel, $0.value) })
  }
}

/// A store that runs transactions, one at a time.
package protocol ReplicaStore: AnyObject {
  associatedtype Transaction: StoreTransaction

  /// Runs `body`; commits durably when it returns, rolls back when it throws.
  func write<Result>(_ body: (inout Transaction) throws -> Result) throws -> Result
  func read<Result>(_ body: (Transaction) throws -> Result) throws -> Result
}
