import Causality
import ConflictResolution
import Foundation
import GRDB
import Replica
import Sealing
import Therapy

/// The primitives of a store, on SQLite.
package struct SQLiteTransaction: StoreTransaction {
  // Foundation has a type of that name too.
  package typealias Operation = Causality.Operation

  let database: Database
  let seals: Seals
  /// Whether this store follows what it has said.
  let continuity: Continuity
  let writers = WriterNumbers()

  init(_ database: Database, _ seals: Seals, _ continuity: Continuity) {
    self.database = database
    self.seals = seals
    self.continuity = continuity
  }

  // MARK: Records

  package func record(_ id: RecordID) throws -> RecordState? {
    try sealedRecord(id).map { try opened(id, $0) }
  }

  /// A record as it lies in the store; it is sealed anew by every write.
  package func sealedRecord(_ id: RecordID) throws -> [UInt8]? {
    try database.blob("SELECT body FROM records WHERE id = ?", [Data(id.bytes)])
  }

  func opened(_ id: RecordID, _ sealed: [UInt8]) throws -> RecordState {
    try Self.own { try RecordState(id: id, encoded: seals.records.open(sealed, column: Column.body, row: id.bytes)) }
  }

  /// What this store has written and cannot read is damage of this store; what others sent has nothing to do with it.
  static func own<Result>(_ body: () throws -> Result) throws -> Result {
    do { return try body() } catch is SealingError { throw StorageError.damaged("A row of the store") } catch is CodecError {
      throw StorageError.damaged("A row of the store")
    }
  }

  package mutating func put(_ record: RecordState) throws {
    let impact = record.openConflicts.map(\.impact).max().map { Data(seals.cells.lookupHash(Column.impact($0))) }
    let body = seals.records.seal(record.encoded, column: Column.body, row: record.id.bytes)
    try database.run(
      """
      INSERT INTO records (id, kind, latest, flags, body, impact) VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, latest = excluded.latest, flags = excluded.flags,
        body = excluded.body, impact = excluded.impact
      """,
      [
        Data(record.id.bytes), Data(seals.cells.lookupHash(record.kind)), Int64(clamping: record.latest.rawValue),
        record.isVisible ? 2 : 0, Data(body), impact,
      ])
  }

  // MARK: Lives of this store

  package func incarnation() throws -> Incarnation? {
    guard let bytes = try database.value(.incarnation), bytes.count == 8, !continuity.mustBegin else { return nil }
    return Incarnation(rawValue: UInt64(bigEndianBytes: bytes))
  }

  package mutating func setIncarnation(_ incarnation: Incarnation?) throws {
    try database.put(.incarnation, incarnation?.rawValue.bigEndianBytes ?? [])
    continuity.mustBegin = false
  }

  /// What this device wrote in all its lives.
  func ownOperations() throws -> UInt64 {
    let filed = try Int64.fetchOne(database.cachedStatement(sql: "SELECT sum(operations) FROM own")) ?? 0
    let pending = try Int64.fetchOne(
      database.cachedStatement(sql: "SELECT sum(applied - batched) FROM heads WHERE applied > batched")) ?? 0
    return UInt64(clamping: filed + pending)
  }

  // MARK: Clock and hash

  package func clock() throws -> HybridClock {
    guard let bytes = try database.value(.clock), bytes.count == 8 else { return HybridClock() }
    return HybridClock(last: Timestamp(rawValue: UInt64(bigEndianBytes: bytes)))
  }

  package mutating func setClock(_ clock: HybridClock) throws {
    try database.put(.clock, clock.last.rawValue.bigEndianBytes)
  }

  package func stateHash() throws -> StateHash {
    try database.value(.stateHash).flatMap(StateHash.init(bytes:)) ?? StateHash()
  }

  package mutating func setStateHash(_ hash: StateHash) throws { try database.put(.stateHash, hash.bytes) }

  // MARK: Own operations

  package mutating func appendPending(_ operation: Operation) throws {
    let id = operation.id
    let body = seals.pending.seal(OperationCodec.encode([operation], .explicit), column: Column.body, row: id.bytes)
    try database.run(
      "INSERT INTO pending (writer, lane, sequence, mark, body) VALUES (?, ?, ?, ?, ?)",
      [
        try assignedNumber(of: StreamKey(id.stream)), id.stream.lane.rawValue, Int64(bitPattern: id.sequence),
        Int64(bitPattern: id.mark), Data(body),
      ])
    continuity.wrote()
  }

  package func pending(_ lane: Lane, limit: Int) throws -> [Operation] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: """
          SELECT device, incarnation, lane AS channel, sequence, mark, body FROM pending
          JOIN writers ON writers.number = writer WHERE lane = ? ORDER BY pending.number LIMIT ?
          """),
      arguments: [lane.rawValue, limit == .max ? -1 : limit])
    var operations = [Operation]()
    while let row = try rows.next() {
      guard let stream = Self.stream(row)?.id else { continue }
      let id = OperationID(
        stream: stream, sequence: UInt64(bitPattern: row["sequence"] as Int64), mark: UInt64(bitPattern: row["mark"] as Int64))
      operations += try Self.own {
        try OperationCodec.decode(seals.pending.open(Array(row["body"] as Data), column: Column.body, row: id.bytes), .explicit)
      }
    }
    return operations
  }

  package func pendingCounts() throws -> [Lane: Int] {
    // Only what this device wrote is applied before it is in a batch: the heads tell the count.
    let rows = try Row.fetchCursor(
      database.cachedStatement(sql: "SELECT channel, sum(applied - batched) AS count FROM heads WHERE applied > batched GROUP BY channel"))
    var counts: [Lane: Int] = [:]
    while let row = try rows.next() {
      if let lane = Lane(rawValue: row["channel"]) { counts[lane] = Int(row["count"] as Int64) }
    }
    return counts
  }

  package mutating func removePending(_ stream: StreamID, through sequence: UInt64) throws {
    guard let writer = try number(of: StreamKey(stream)) else { return }
    try database.run(
      "DELETE FROM pending WHERE writer = ? AND lane = ? AND sequence <= ?",
      [writer, stream.lane.rawValue, Int64(clamping: sequence)])
  }

  package func ownProgress(of device: DeviceID) throws -> [Channel: OwnProgress] {
    var progress: [Channel: OwnProgress] = [:]
    let rows = try Row.fetchCursor(database.cachedStatement(sql: "SELECT channel, operations, position FROM own"))
    while let row = try rows.next() {
      guard let channel = Channel(rawValue: row["channel"]) else { continue }
      let operations = UInt64(bitPattern: row["operations"] as Int64)
      progress[channel] = OwnProgress(saved: operations, batched: operations, position: UInt64(bitPattern: row["position"] as Int64))
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

  // MARK: The log

  package mutating func append(_ batch: StoredBatch, isOwn: Bool) throws {
    try database.run(
      "INSERT INTO batches (writer, channel, own, first, count, hash, marks, frame) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      [
        try assignedNumber(of: batch.stream), batch.stream.channel.rawValue, isOwn ? 1 : 0,
        Int64(bitPattern: batch.first), Int64(bitPattern: batch.count), Data(batch.hash),
        Data(batch.marks.flatMap(\.bigEndianBytes)), Data(batch.frame),
      ])
    guard isOwn else { return }
    try database.run(
      """
      INSERT INTO own (channel, operations, position) VALUES (?, ?, ?)
      ON CONFLICT (channel) DO UPDATE SET operations = operations + excluded.operations, position = excluded.position
      """, [batch.stream.channel.rawValue, Int64(bitPattern: batch.count), database.lastInsertedRowID])
    continuity.wrote()
  }

  static let batchColumns = "batches.number AS position, device, incarnation, channel, first, count, hash, marks, frame"

  package func ownBatches(_ channel: Channel, after position: UInt64, limit: Int) throws -> [(position: UInt64, batch: StoredBatch)] {
    try batches(
      "own = 1 AND channel = ? AND batches.number > ? ORDER BY batches.number LIMIT ?",
      [channel.rawValue, Int64(clamping: position), limit])
  }

  package func place(of hash: [UInt8], in stream: StreamKey, first: UInt64) throws -> UInt64? {
    guard let writer = try number(of: stream) else { return nil }
    return try UInt64.fetchOne(
      database.cachedStatement(sql: "SELECT number FROM batches WHERE writer = ? AND channel = ? AND first = ? AND hash = ?"),
      arguments: [writer, stream.channel.rawValue, Int64(clamping: first), Data(hash)])
  }

  package func ownBatch(_ channel: Channel, before position: UInt64) throws -> StoredBatch? {
    try batches(
      "own = 1 AND channel = ? AND batches.number < ? ORDER BY batches.number DESC LIMIT 1",
      [channel.rawValue, Int64(clamping: position)]
    ).first?.batch
  }

  package func batches(of stream: StreamKey, after sequence: UInt64, limit: Int) throws -> [StoredBatch] {
    guard limit > 0, let writer = try number(of: stream) else { return [] }
    let page = try batches(
      "writer = ? AND channel = ? AND first > ? ORDER BY first, batches.number LIMIT ?",
      [writer, stream.channel.rawValue, Int64(clamping: sequence), limit])
    guard page.count == limit, let last = page.last else { return page.map(\.batch) }
    let rest = try batches(
      "writer = ? AND channel = ? AND first = ? AND batches.number > ? ORDER BY batches.number",
      [writer, stream.channel.rawValue, Int64(clamping: last.batch.first), Int64(clamping: last.position)])
    return (page + rest).map(\.batch)
  }

  /// Batches that hold a sequence number, in every history.
  package func batches(of stream: StreamKey, holding sequence: UInt64) throws -> [StoredBatch] {
    guard let writer = try number(of: stream) else { return [] }
    return try batches(
      "writer = ? AND channel = ? AND first BETWEEN ? AND ? ORDER BY first, batches.number",
      [writer, stream.channel.rawValue, Int64(clamping: sequence) - Int64(Limits.operationsPerBatch) + 1, Int64(clamping: sequence)]
    ).map(\.batch).filter { $0.last >= sequence }
  }

  func batches(_ condition: String, _ arguments: [any DatabaseValueConvertible]) throws -> [(position: UInt64, batch: StoredBatch)] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: "SELECT \(Self.batchColumns) FROM batches JOIN writers ON writers.number = writer WHERE \(condition)"),
      arguments: StatementArguments(arguments))
    var found: [(position: UInt64, batch: StoredBatch)] = []
    while let row = try rows.next() {
      guard let stream = Self.stream(row) else { continue }
      let batch = StoredBatch(
        stream: stream, first: UInt64(bitPattern: row["first"] as Int64), count: UInt64(bitPattern: row["count"] as Int64),
        hash: Array(row["hash"] as Data), frame: Array(row["frame"] as Data), marks: Self.marks(row["marks"] as Data))
      found.append((UInt64(bitPattern: row["position"] as Int64), batch))
    }
    return found
  }

  static func marks(_ bytes: Data) -> [UInt64] {
    let bytes = Array(bytes)
    return stride(from: 0, to: bytes.count - 7, by: 8).map { UInt64(bigEndianBytes: bytes[$0..<$0 + 8]) }
  }

  package func logged(of stream: StreamKey, from first: UInt64, through last: UInt64) throws -> [LoggedBatch] {
    guard let writer = try number(of: stream) else { return [] }
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: "SELECT first, count, hash FROM batches WHERE writer = ? AND channel = ? AND first BETWEEN ? AND ?"),
      arguments: [writer, stream.channel.rawValue, Int64(clamping: first), Int64(clamping: last)])
    var found = [LoggedBatch]()
    while let row = try rows.next() {
      found.append(
        LoggedBatch(
          first: UInt64(bitPattern: row["first"] as Int64), count: UInt64(bitPattern: row["count"] as Int64),
          hash: Array(row["hash"] as Data)))
    }
    return found
  }

  package func marks(of stream: StreamKey, at sequence: UInt64) throws -> [UInt64] {
    guard let writer = try number(of: stream) else { return [] }
    let last = Int64(clamping: sequence)
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: "SELECT first, marks FROM batches WHERE writer = ? AND channel = ? AND first BETWEEN ? AND ?"),
      arguments: [writer, stream.channel.rawValue, last - Int64(Limits.operationsPerBatch) + 1, last])
    var found = [UInt64]()
    while let row = try rows.next() {
      let marks = Self.marks(row["marks"] as Data)
      let index = Int(last - (row["first"] as Int64))
      if marks.indices.contains(index) { found.append(marks[index]) }
    }
    guard let lane = stream.channel.lane else { return found }
    let pending = try Int64.fetchOne(
      database.cachedStatement(sql: "SELECT mark FROM pending WHERE writer = ? AND lane = ? AND sequence = ?"),
      arguments: [writer, lane.rawValue, last])
    return found + (pending.map { [UInt64(bitPattern: $0)] } ?? [])
  }

  package mutating func noteHistory(of record: RecordID, in stream: StreamKey, sequence: UInt64) throws {
    try database.run(
      "INSERT OR IGNORE INTO history (record, writer, channel, sequence) VALUES (?, ?, ?, ?)",
      [Data(record.bytes), try assignedNumber(of: stream), stream.channel.rawValue, Int64(clamping: sequence)])
  }

  // MARK: What was applied before its turn

  package mutating func noteEarly(_ batch: StoredBatch, _ operations: [OperationID]) throws {
    for id in operations {
      try database.run(
        "INSERT OR IGNORE INTO early (operation, device, channel, count, frame) VALUES (?, ?, ?, ?, ?)",
        [Data(id.bytes), Data(batch.stream.device.bytes), batch.stream.channel.rawValue, Int64(clamping: batch.count), Data(batch.frame)])
    }
  }

  package func early(of device: DeviceID, _ channel: Channel) throws -> [StoredBatch] {
    let rows = try Row.fetchAll(
      database.cachedStatement(sql: "SELECT count, frame FROM early WHERE device = ? AND channel = ? ORDER BY rowid"),
      arguments: [Data(device.bytes), channel.rawValue])
    return rows.compactMap { row in
      let frame = Array(row["frame"] as Data)
      guard let header = try? BatchHeader(frame: frame) else { return nil }
      return StoredBatch(
        stream: StreamKey(device: device, incarnation: header.incarnation, channel: channel), first: header.first,
        count: UInt64(bitPattern: row["count"] as Int64), hash: BatchSealer.hash(of: frame), frame: frame, marks: [])
    }
  }

  package mutating func removeEarly(_ operations: [OperationID]) throws {
    for id in operations { try database.run("DELETE FROM early WHERE operation = ?", [Data(id.bytes)]) }
  }

  package func hasEarly(_ operation: OperationID) throws -> Bool {
    // Nothing else is applied across a gap, and a catch-up asks this of every operation.
    guard operation.stream.lane == .crisis else { return false }
    return try Int.fetchOne(
      database.cachedStatement(sql: "SELECT 1 FROM early WHERE operation = ?"), arguments: [Data(operation.bytes)]) != nil
  }

  // MARK: Membership and usage

  package func membership() throws -> [[UInt8]] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(sql: "SELECT number, entry FROM membership ORDER BY number"))
    var entries = [[UInt8]]()
    while let row = try rows.next() {
      let number: Int64 = row["number"]
      // One that cannot be opened closes nothing: `doctor` tells of it, and it comes again with its stream.
      guard let entry = try? seals.membership.open(Array(row["entry"] as Data), column: Column.entry, row: number.bigEndianBytes)
      else { continue }
      entries.append(entry)
    }
    return entries
  }

  package func membershipCount() throws -> Int {
    try Int.fetchOne(database.cachedStatement(sql: "SELECT count(*) FROM membership")) ?? 0
  }

  package mutating func appendMembership(_ entry: [UInt8]) throws {
    try database.append(membership: entry, seals)
  }

  package func syncOperations(onDay day: UInt64) throws -> Int {
    try Int.fetchOne(
      database.cachedStatement(sql: "SELECT operations FROM usage WHERE day = ?"), arguments: [Int64(clamping: day)]) ?? 0
  }

  package mutating func countSyncOperation(onDay day: UInt64) throws {
    try database.run(
      "INSERT INTO usage (day, operations) VALUES (?, 1) ON CONFLICT (day) DO UPDATE SET operations = operations + 1",
      [Int64(clamping: day)])
  }
}

extension Database {
  /// The disk failed in a commit: its pages may lie in the write-ahead log all the same, and be found by the next opening.
  struct CommitUncertain: Error {
    /// `nil` where the last page was not even written.
    init?(_ error: DatabaseError) {
      guard error.resultCode == .SQLITE_IOERR, error.extendedResultCode != .SQLITE_IOERR_WRITE else { return nil }
    }
  }

  /// Runs a transaction whose own statements are kept prepared too: GRDB's prepare them each time,
  /// which costs more than a small read.
  func transaction<Result>(_ begin: String, _ body: () throws -> Result) throws -> Result {
    try cachedStatement(sql: begin).execute()
    do {
      let result = try body()
      do { try cachedStatement(sql: "COMMIT").execute() } catch let error as DatabaseError { throw CommitUncertain(error) ?? error as any Error }
      return result
    } catch {
      // A full disk may have rolled back already.
      if isInsideTransaction { try? cachedStatement(sql: "ROLLBACK").execute() }
      throw error
    }
  }

  /// Runs a statement that is kept prepared.
  func run(_ sql: String, _ arguments: [(any DatabaseValueConvertible)?]) throws {
    let statement = try cachedStatement(sql: sql)
    statement.setUncheckedArguments(StatementArguments(arguments))
    try statement.execute()
  }

  func blob(_ sql: String, _ arguments: [(any DatabaseValueConvertible)?]) throws -> [UInt8]? {
    try Data.fetchOne(cachedStatement(sql: sql), arguments: StatementArguments(arguments)).map { Array($0) }
  }

  func value(_ key: MetaKey) throws -> [UInt8]? {
    try blob("SELECT value FROM meta WHERE key = ?", [key.rawValue])
  }

  func put(_ key: MetaKey, _ value: [UInt8]) throws {
    try run(
      "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
      [key.rawValue, Data(value)])
  }

  func append(membership entry: [UInt8], _ seals: Seals) throws {
    let number = try (Int64.fetchOne(self, sql: "SELECT max(number) FROM membership") ?? 0) + 1
    let sealed = seals.membership.seal(entry, column: Column.entry, row: number.bigEndianBytes)
    try run("INSERT INTO membership (number, entry) VALUES (?, ?)", [number, Data(sealed)])
  }
}
