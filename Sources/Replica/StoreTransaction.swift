import Causality
import ConflictResolution
import Sealing

/// How far one history of a stream has come on this device.
package struct StreamHead: Hashable, Sendable {
  /// The last operation that was applied here; for the own device, the last one made.
  package var applied: UInt64 = 0
  /// The last operation that is in a batch.
  package var batched: UInt64 = 0
  /// The hash of the last batch.
  package var hash: [UInt8]
  /// 0 for the history that came first; for another one, the beginning of the hash of the batch with which it parts.
  package var branch: UInt64 = 0

  package init(applied: UInt64 = 0, batched: UInt64 = 0, hash: [UInt8] = noPreviousHash, branch: UInt64 = 0) {
    (self.applied, self.batched, self.hash, self.branch) = (applied, batched, hash, branch)
  }

  /// What other devices are told: what is in no batch yet concerns nobody else.
  package var cursor: StreamCursor { StreamCursor(sequence: batched, hash: hash) }
}

package let noPreviousHash = [UInt8](repeating: 0, count: 32)

/// How far a stream has come, and in which history: numbers alone say nothing where two histories share them.
package struct StreamCursor: Hashable, Sendable {
  package var sequence: UInt64
  /// The first 8 bytes of the hash of the batch that ends there.
  package var hash: UInt64

  package init(sequence: UInt64, hash: UInt64) { (self.sequence, self.hash) = (sequence, hash) }

  package init(sequence: UInt64, hash: [UInt8]) {
    self.init(sequence: sequence, hash: UInt64(beginningOf: hash))
  }
}

extension UInt64 {
  /// The first 8 bytes of a hash.
  package init(beginningOf hash: [UInt8]) { self.init(bigEndianBytes: hash.prefix(8)) }
}

/// One channel of one device, in one life of its store.
package struct StreamKey: Hashable, Sendable, Comparable {
  package var device: DeviceID
  package var incarnation: Incarnation
  package var channel: Channel

  package init(device: DeviceID, incarnation: Incarnation, channel: Channel) {
    (self.device, self.incarnation, self.channel) = (device, incarnation, channel)
  }

  package init(_ stream: StreamID) {
    self.init(device: stream.device, incarnation: stream.incarnation, channel: Channel(stream.lane))
  }

  /// The stream of operations; `nil` for membership.
  package var id: StreamID? { channel.lane.map { StreamID(device: device, incarnation: incarnation, lane: $0) } }

  package static func < (one: Self, other: Self) -> Bool {
    if one.channel != other.channel { return one.channel < other.channel }
    return one.device != other.device ? one.device < other.device : one.incarnation < other.incarnation
  }
}

/// A sealed batch as it lies in the log.
package struct StoredBatch: Hashable, Sendable {
  package var stream: StreamKey
  package var first: UInt64
  package var count: UInt64
  package var hash: [UInt8]
  package var frame: [UInt8]
  /// The marks of its operations, in order; empty for membership.
  package var marks: [UInt64]
  package var last: UInt64 { first &+ count &- 1 }
  package var cursor: StreamCursor { StreamCursor(sequence: last, hash: hash) }

  package init(stream: StreamKey, first: UInt64, count: UInt64, hash: [UInt8], frame: [UInt8], marks: [UInt64]) {
    (self.stream, self.first, self.count, self.hash, self.frame) = (stream, first, count, hash, frame)
    self.marks = marks
  }
}

/// One batch of the log, without its frame.
package struct LoggedBatch: Hashable, Sendable {
  package var first: UInt64
  package var count: UInt64
  package var hash: [UInt8]
  package var last: UInt64 { first &+ count &- 1 }

  package init(first: UInt64, count: UInt64, hash: [UInt8]) { (self.first, self.count, self.hash) = (first, count, hash) }
}

/// What this device has written in one channel, in all lives of its store together.
package struct OwnProgress: Hashable, Sendable {
  /// Operations made.
  package var saved: UInt64 = 0
  /// Operations in batches.
  package var batched: UInt64 = 0
  /// The place of the last batch in the log; grows with each.
  package var position: UInt64 = 0
  /// How far the stream has come that is written now; `nil` before the first write of this life, or while something
  /// of it is in no batch yet.
  package var tip: OwnTip?

  package init(saved: UInt64 = 0, batched: UInt64 = 0, position: UInt64 = 0, tip: OwnTip? = nil) {
    (self.saved, self.batched, self.position, self.tip) = (saved, batched, position, tip)
  }
}

/// A place in a stream of this device.
package struct OwnTip: Hashable, Sendable {
  package var stream: StreamKey
  package var cursor: StreamCursor
  package init(stream: StreamKey, cursor: StreamCursor) { (self.stream, self.cursor) = (stream, cursor) }
}

/// The primitives of a store inside one transaction: all of it becomes durable, or none.
///
/// The rules that use them are in ``Ledger``; SQLite and the simulated disk both implement them and
/// pass the same contract tests.
package protocol StoreTransaction {
  func record(_ id: RecordID) throws -> RecordState?
  mutating func put(_ record: RecordState) throws

  // MARK: Lives of this store

  /// The life that writes now; `nil` when the next write has to begin one.
  func incarnation() throws -> Incarnation?
  mutating func setIncarnation(_ incarnation: Incarnation?) throws

  // MARK: Streams

  /// The histories of a stream, the one that came first at the beginning; none of a stream that is not known.
  func heads(of stream: StreamKey) throws -> [StreamHead]
  /// Opens the stream again where it was folded.
  mutating func setHead(_ head: StreamHead, of stream: StreamKey) throws
  /// Of every stream that is not folded.
  func openHeads() throws -> [StreamKey: [StreamHead]]
  /// A stream that is closed and complete is told to nobody and counted no more.
  mutating func fold(_ stream: StreamKey) throws
  /// Of every stream of a device in a channel, folded ones too.
  func allHeads(of device: DeviceID, channel: Channel) throws -> [StreamKey: [StreamHead]]
  /// Operations in folded streams, by their author.
  func foldedOperations() throws -> [DeviceID: UInt64]
  /// The ends that a closing names for a stream.
  func closing(of stream: StreamKey) throws -> [StreamCursor]
  /// The same for every stream that is not folded.
  func openClosings() throws -> [StreamKey: [StreamCursor]]
  /// - Parameter wall: When that was signed, in milliseconds since 1970.
  mutating func setClosing(_ ends: [StreamCursor], at wall: UInt64, of stream: StreamKey) throws
  /// When the end of a stream was signed for the first time.
  func closedAt(_ stream: StreamKey) throws -> UInt64?
  /// The time of the last write that was made after the stream was closed.
  func outlived(_ stream: StreamKey) throws -> UInt64?
  mutating func noteOutlived(_ stream: StreamKey, at wall: UInt64) throws

  func clock() throws -> HybridClock
  mutating func setClock(_ clock: HybridClock) throws
  func stateHash() throws -> StateHash
  mutating func setStateHash(_ hash: StateHash) throws

  // MARK: Own operations

  /// Own operations that are in no batch yet.
  mutating func appendPending(_ operation: Operation) throws
  /// In the order in which they were made.
  func pending(_ lane: Lane, limit: Int) throws -> [Operation]
  func pendingCounts() throws -> [Lane: Int]
  mutating func removePending(_ stream: StreamID, through sequence: UInt64) throws
  /// How far this device has come, by channel.
  func ownProgress(of device: DeviceID) throws -> [Channel: OwnProgress]

  // MARK: The log

  /// - Parameter isOwn: Whether this device wrote it.
  mutating func append(_ batch: StoredBatch, isOwn: Bool) throws
  /// The own batches of a channel after a place in the log, in its order; each with its place.
  func ownBatches(_ channel: Channel, after position: UInt64, limit: Int) throws -> [(position: UInt64, batch: StoredBatch)]
  /// The place in the log of a batch with this content.
  func place(of hash: [UInt8], in stream: StreamKey, first: UInt64) throws -> UInt64?
  /// The last own batch of a channel before a place in the log.
  func ownBatch(_ channel: Channel, before position: UInt64) throws -> StoredBatch?
  /// Batches of a stream that begin after a sequence number, in order; all histories of it.
  ///
  /// - Parameter limit: How many; those that begin with one number are never parted, so that may be more.
  func batches(of stream: StreamKey, after sequence: UInt64, limit: Int) throws -> [StoredBatch]
  /// The batches of a stream that begin with one of these numbers, without their frames.
  func logged(of stream: StreamKey, from first: UInt64, through last: UInt64) throws -> [LoggedBatch]
  /// The marks of all operations with this number, in whichever history, in the log and pending.
  func marks(of stream: StreamKey, at sequence: UInt64) throws -> [UInt64]

  /// Remembers that a batch (or a pending operation) touched a record, for its history.
  mutating func noteHistory(of record: RecordID, in stream: StreamKey, sequence: UInt64) throws

  // MARK: What was applied before its turn

  /// Writes of a crisis lane that were applied across a gap, and whose batch is not filed.
  mutating func noteEarly(_ batch: StoredBatch, _ operations: [OperationID]) throws
  mutating func removeEarly(_ operations: [OperationID]) throws
  func hasEarly(_ operation: OperationID) throws -> Bool
  /// Their batches, of one author: nobody else may have them.
  func early(of device: DeviceID, _ channel: Channel) throws -> [StoredBatch]

  // MARK: Quarantine

  mutating func quarantine(_ operation: Operation) throws
  /// Those whose time has come, or all of them.
  ///
  /// - Parameter wall: Milliseconds since 1970; a timestamp up to ``HybridClock/driftLimit`` later counts as come.
  func quarantined(dueBy wall: UInt64?) throws -> [Operation]
  func isQuarantined(_ operation: OperationID) throws -> Bool
  /// When the next of them is due, in milliseconds since 1970; `nil` when none waits.
  func nextDue() throws -> UInt64?
  /// The first number of each stream that waits.
  func heldBack() throws -> [StreamKey: UInt64]
  mutating func release(_ operation: OperationID) throws

  // MARK: Membership and usage

  func membership() throws -> [[UInt8]]
  mutating func appendMembership(_ entry: [UInt8]) throws
  /// Changes with every entry.
  func membershipCount() throws -> Int

  /// Sync operations counted on a day (days since 1970).
  func syncOperations(onDay day: UInt64) throws -> Int
  mutating func countSyncOperation(onDay day: UInt64) throws
}

/// A store that runs transactions, one at a time.
package protocol ReplicaStore: AnyObject {
  associatedtype Transaction: StoreTransaction

  /// Runs `body`; commits durably when it returns, rolls back when it throws.
  ///
  /// - Parameter milliseconds: How long a lock of another program is waited for; `nil` for as long as a person waits.
  func write<Result>(within milliseconds: Int?, _ body: (inout Transaction) throws -> Result) throws -> Result
  func read<Result>(_ body: (Transaction) throws -> Result) throws -> Result
}

extension ReplicaStore {
  /// As ``write(within:_:)``, for who can wait.
  package func write<Result>(_ body: (inout Transaction) throws -> Result) throws -> Result { try write(within: nil, body) }
}

extension StoreTransaction {
  /// Whether a place of a stream is in one of its histories here.
  package func knows(_ cursor: StreamCursor, in stream: StreamKey) throws -> Bool {
    let widest = UInt64(Limits.operationsPerBatch)
    let from = cursor.sequence > widest ? cursor.sequence - widest + 1 : 1
    return try logged(of: stream, from: from, through: cursor.sequence).contains {
      $0.last == cursor.sequence && UInt64(beginningOf: $0.hash) == cursor.hash
    }
  }

  /// Whether an operation was applied here: its number is known, it is the one of that mark, and it does not wait.
  package func hasArrived(_ id: OperationID) throws -> Bool {
    let stream = StreamKey(id.stream)
    let isCovered = try heads(of: stream).contains { id.sequence <= $0.applied }
    guard try (isCovered && marks(of: stream, at: id.sequence).contains(id.mark)) || hasEarly(id) else { return false }
    return try !isQuarantined(id)
  }
}
