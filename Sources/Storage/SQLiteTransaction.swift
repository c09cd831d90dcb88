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

  init(_ database: Database, _ seals: Seals) {
    self.database = database
    self.seals = seals
  }

  // MARK: Records

  package func record(_ id: RecordID) throws -> RecordState? {
    let row = Data(id.bytes)
    guard let sealed = try database.blob("SELECT body FROM records WHERE id = ?", [row]) else { return nil }
    return try opened(id, sealed)
  }

  func opened(_ id: RecordID, _ sealed: [UInt8]) throws -> RecordState {
    let body = try seals.records.open(sealed, column: Column.body, row: id.bytes)
    return try RecordState(id: id, encoded: body)
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
        Data(record.id.bytes), Data(seals.cells.lookupHash(record.kind)), Int64(record.latest.rawValue),
        record.isVisible ? 2 : 0, Data(body), impact,
      ])
  }

  // MARK: Heads

  package func head(_ stream: StreamKey) throws -> StreamHead? {
    guard let device = try number(of: stream.device) else { return nil }
    return try Row.fetchOne(
      database.cachedStatement(sql: "SELECT applied, batched, hash FROM heads WHERE device = ? AND channel = ?"),
      arguments: [device, stream.channel.rawValue]
    ).map(Self.head)
  }

  private static func head(_ row: Row) -> StreamHead {
    StreamHead(
      applied: UInt64(row["applied"] as Int64), batched: UInt64(row["batched"] as Int64),
      hash: Array(row["hash"] as Data))
  }

  package mutating func setHead(_ head: StreamHead, of stream: StreamKey) throws {
    try database.run(
      """
      INSERT INTO heads (device, channel, applied, batched, hash) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (device, channel) DO UPDATE SET applied = excluded.applied, batched = excluded.batched,
        hash = excluded.hash
      """,
      [
        try assignedNumber(of: stream.device), stream.channel.rawValue, Int64(head.applied), Int64(head.batched),
        Data(head.hash),
      ])
  }

  package func heads() throws -> [StreamKey: StreamHead] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: "SELECT id, channel, applied, batched, hash FROM heads JOIN devices ON number = device"))
    var heads: [StreamKey: StreamHead] = [:]
    while let row = try rows.next() {
      guard let device = DeviceID(bytes: row["id"] as Data), let channel = Channel(rawValue: row["channel"]) else {
        continue
      }
      heads[StreamKey(device: device, channel: channel)] = Self.head(row)
    }
    return heads
  }

  private func number(of device: DeviceID) throws -> Int64? {
    try Int64.fetchOne(
      database.cachedStatement(sql: "SELECT number FROM devices WHERE id = ?"), arguments: [Data(device.bytes)])
  }

  private func assignedNumber(of device: DeviceID) throws -> Int64 {
    if let number = try number(of: device) { return number }
    try database.run("INSERT INTO devices (id) VALUES (?)", [Data(device.bytes)])
    return database.lastInsertedRowID
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
    let (lane, sequence) = (operation.id.stream.lane, operation.id.sequence)
    let body = seals.pending.seal(
      OperationCodec.encode([operation], .explicit), column: Column.body, row: Self.row(lane, sequence))
    try database.run(
      "INSERT INTO pending (lane, sequence, body) VALUES (?, ?, ?)", [lane.rawValue, Int64(sequence), Data(body)])
  }

  package func pending(_ lane: Lane, limit: Int) throws -> [Operation] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(sql: "SELECT sequence, body FROM pending WHERE lane = ? ORDER BY sequence LIMIT ?"),
      arguments: [lane.rawValue, limit == .max ? -1 : limit])
    var operations = [Operation]()
    while let row = try rows.next() {
      let sequence = UInt64(row["sequence"] as Int64)
      let body = try seals.pending.open(
        Array(row["body"] as Data), column: Column.body, row: Self.row(lane, sequence))
      operations += try OperationCodec.decode(body, .explicit)
    }
    return operations
  }

  package func pendingCounts() throws -> [Lane: Int] {
    // What is pending has no gap, so that the ends tell the count: nothing is read in between.
    var counts: [Lane: Int] = [:]
    for lane in Lane.allCases {
      let row = try Row.fetchOne(
        database.cachedStatement(
          sql: """
            SELECT (SELECT sequence FROM pending WHERE lane = ?1 ORDER BY sequence LIMIT 1) AS first,
              (SELECT sequence FROM pending WHERE lane = ?1 ORDER BY sequence DESC LIMIT 1) AS last
            """), arguments: [lane.rawValue])
      if let first = row?["first"] as Int64?, let last = row?["last"] as Int64? { counts[lane] = Int(last - first) + 1 }
    }
    return counts
  }

  package mutating func removePending(_ lane: Lane, through sequence: UInt64) throws {
    try database.run(
      "DELETE FROM pending WHERE lane = ? AND sequence <= ?",
      [lane.rawValue, Int64(clamping: sequence)])
  }

  private static func row(_ lane: Lane, _ sequence: UInt64) -> [UInt8] { [lane.rawValue] + sequence.bigEndianBytes }

  // MARK: The log

  package mutating func append(_ batch: StoredBatch) throws {
    try database.run(
      "INSERT INTO batches (device, channel, first, count, hash, frame) VALUES (?, ?, ?, ?, ?, ?)",
      [
        try assignedNumber(of: batch.stream.device), batch.stream.channel.rawValue, Int64(batch.first),
        Int64(batch.count), Data(batch.hash), Data(batch.frame),
      ])
  }

  package func batches(of stream: StreamKey, after sequence: UInt64, limit: Int) throws -> [StoredBatch] {
    guard limit > 0, let device = try number(of: stream.device) else { return [] }
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: """
          SELECT first, count, hash, frame FROM batches WHERE device = ? AND channel = ? AND first > ?
          ORDER BY first LIMIT ?
          """),
      arguments: [device, stream.channel.rawValue, Int64(sequence), limit])
    var batches = [StoredBatch]()
    while let row = try rows.next() { batches.append(Self.batch(row, stream)) }
    return batches
  }

  package func batch(of stream: StreamKey, before sequence: UInt64) throws -> StoredBatch? {
    guard let device = try number(of: stream.device) else { return nil }
    return try Row.fetchOne(
      database.cachedStatement(
        sql: """
          SELECT first, count, hash, frame FROM batches WHERE device = ? AND channel = ? AND first < ?
          ORDER BY first DESC LIMIT 1
          """),
      arguments: [device, stream.channel.rawValue, Int64(sequence)]
    ).map { Self.batch($0, stream) }
  }

  private static func batch(_ row: Row, _ stream: StreamKey) -> StoredBatch {
    StoredBatch(
      stream: stream, first: UInt64(row["first"] as Int64), count: UInt64(row["count"] as Int64),
      hash: Array(row["hash"] as Data), frame: Array(row["frame"] as Data))
  }

  package mutating func noteHistory(of record: RecordID, in stream: StreamKey, sequence: UInt64) throws {
    try database.run(
      "INSERT OR IGNORE INTO history (record, device, channel, sequence) VALUES (?, ?, ?, ?)",
      [Data(record.bytes), try assignedNumber(of: stream.device), stream.channel.rawValue, Int64(sequence)])
  }

  // MARK: Quarantine

  package mutating func quarantine(_ operation: Operation) throws {
    let device = try assignedNumber(of: operation.id.stream.device)
    let body = seals.quarantine.seal(
      OperationCodec.encode([operation], .explicit), column: Column.body, row: Self.row(operation.id))
    try database.run(
      "INSERT INTO quarantine (device, lane, sequence, body) VALUES (?, ?, ?, ?)",
      [device, operation.id.stream.lane.rawValue, Int64(operation.id.sequence), Data(body)])
  }

  package func quarantined() throws -> [Operation] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: "SELECT id, lane, sequence, body FROM quarantine JOIN devices ON number = device"))
    var operations = [Operation]()
    while let row = try rows.next() {
      guard let device = DeviceID(bytes: row["id"] as Data), let lane = Lane(rawValue: row["lane"]) else { continue }
      let id = OperationID(
        stream: StreamID(device: device, lane: lane), sequence: UInt64(row["sequence"] as Int64))
      let body = try seals.quarantine.open(Array(row["body"] as Data), column: Column.body, row: Self.row(id))
      operations += try OperationCodec.decode(body, .explicit)
    }
    return operations
  }

  package mutating func release(_ operation: OperationID) throws {
    guard let device = try number(of: operation.stream.device) else { return }
    try database.run(
      "DELETE FROM quarantine WHERE device = ? AND lane = ? AND sequence = ?",
      [device, operation.stream.lane.rawValue, Int64(operation.sequence)])
  }

  private static func row(_ id: OperationID) -> [UInt8] {
    id.stream.device.bytes + row(id.stream.lane, id.sequence)
  }

  // MARK: Membership and usage

  package func membership() throws -> [[UInt8]] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(sql: "SELECT number, entry FROM membership ORDER BY number"))
    var entries = [[UInt8]]()
    while let row = try rows.next() {
      let number: Int64 = row["number"]
      entries.append(
        try seals.membership.open(
          Array(row["entry"] as Data), column: Column.entry, row: number.bigEndianBytes))
    }
    return entries
  }

  package func membershipCount() throws -> Int {
    try Int.fetchOne(database.cachedStatement(sql: "SELECT max(number) FROM membership")) ?? 0
  }

  package mutating func appendMembership(_ entry: [UInt8]) throws {
    try database.append(membership: entry, seals)
  }

  package func syncOperations(onDay day: UInt64) throws -> Int {
    try Int.fetchOne(
      database.cachedStatement(sql: "SELECT operations FROM usage WHERE day = ?"), arguments: [Int64(day)]) ?? 0
  }

  package mutating func countSyncOperation(onDay day: UInt64) throws {
    try database.run(
      "INSERT INTO usage (day, operations) VALUES (?, 1) ON CONFLICT (day) DO UPDATE SET operations = operations + 1",
      [Int64(day)])
  }
}

extension Database {
  /// Runs a transaction whose own statements are kept prepared too: GRDB's prepare them each time,
  /// which costs more than a small read.
  func transaction<Result>(_ begin: String, _ body: () throws -> Result) throws -> Result {
    try cachedStatement(sql: begin).execute()
    do {
      let result = try body()
      try cachedStatement(sql: "COMMIT").execute()
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
