import Causality
import ConflictResolution
import Foundation
import GRDB
import Replica
import Sealing
import Therapy

/// Where the streams end, and those that are over.
extension SQLiteTransaction {
  // MARK: Heads

  package func heads(of stream: StreamKey) throws -> [StreamHead] {
    guard let writer = try number(of: stream) else { return [] }
    let open = try heads("heads", writer, stream.channel)
    return open.isEmpty ? try heads("folded", writer, stream.channel) : open
  }

  func heads(_ table: String, _ writer: Int64, _ channel: Channel) throws -> [StreamHead] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: "SELECT branch, applied, batched, hash FROM \(table) WHERE writer = ? AND channel = ? ORDER BY branch != 0"),
      arguments: [writer, channel.rawValue])
    var heads = [StreamHead]()
    while let row = try rows.next() { heads.append(Self.head(row)) }
    return heads
  }

  static func head(_ row: Row) -> StreamHead {
    StreamHead(
      applied: UInt64(bitPattern: row["applied"] as Int64), batched: UInt64(bitPattern: row["batched"] as Int64),
      hash: Array(row["hash"] as Data), branch: UInt64(bitPattern: row["branch"] as Int64))
  }

  package mutating func setHead(_ head: StreamHead, of stream: StreamKey) throws {
    let writer = try assignedNumber(of: stream)
    let key: [any DatabaseValueConvertible] = [writer, stream.channel.rawValue, Int64(bitPattern: head.branch)]
    let values: [any DatabaseValueConvertible] = [
      Int64(bitPattern: head.applied), Int64(bitPattern: head.batched), Data(head.hash),
    ]
    try database.run(
      "UPDATE heads SET applied = ?, batched = ?, hash = ? WHERE writer = ? AND channel = ? AND branch = ?", values + key)
    guard database.changesCount == 0 else { return }
    try unfold(stream, writer)
    try database.run(
      """
      INSERT INTO heads (writer, channel, branch, applied, batched, hash) VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT (writer, channel, branch) DO UPDATE SET applied = excluded.applied, batched = excluded.batched,
        hash = excluded.hash
      """, key + values)
  }

  package func openHeads() throws -> [StreamKey: [StreamHead]] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: """
          SELECT device, incarnation, channel, branch, applied, batched, hash FROM heads
          JOIN writers ON number = writer ORDER BY branch != 0
          """))
    return try Self.heads(rows)
  }

  package func allHeads(of device: DeviceID, channel: Channel) throws -> [StreamKey: [StreamHead]] {
    var heads: [StreamKey: [StreamHead]] = [:]
    for table in ["heads", "folded"] {
      let rows = try Row.fetchCursor(
        database.cachedStatement(
          sql: """
            SELECT device, incarnation, channel, branch, applied, batched, hash FROM writers
            JOIN \(table) ON number = writer WHERE device = ? AND channel = ? ORDER BY branch != 0
            """), arguments: [Data(device.bytes), channel.rawValue])
      heads.merge(try Self.heads(rows)) { open, _ in open }
    }
    return heads
  }

  static func heads(_ rows: RowCursor) throws -> [StreamKey: [StreamHead]] {
    var heads: [StreamKey: [StreamHead]] = [:]
    while let row = try rows.next() {
      guard let stream = stream(row) else { continue }
      heads[stream, default: []].append(head(row))
    }
    return heads
  }

  static func stream(_ row: Row) -> StreamKey? {
    guard let device = DeviceID(bytes: row["device"] as Data), let channel = Channel(rawValue: row["channel"]) else { return nil }
    let incarnation = Incarnation(rawValue: UInt64(bitPattern: row["incarnation"] as Int64))
    return StreamKey(device: device, incarnation: incarnation, channel: channel)
  }

  func number(of stream: StreamKey) throws -> Int64? {
    let writer = Writer(stream)
    if let number = writers.numbers[writer] { return number }
    let number = try Int64.fetchOne(
      database.cachedStatement(sql: "SELECT number FROM writers WHERE device = ? AND incarnation = ?"),
      arguments: [Data(stream.device.bytes), Int64(bitPattern: stream.incarnation.rawValue)])
    if let number { writers.numbers[writer] = number }
    return number
  }

  func assignedNumber(of stream: StreamKey) throws -> Int64 {
    if let number = try number(of: stream) { return number }
    try database.run(
      "INSERT INTO writers (device, incarnation) VALUES (?, ?)",
      [Data(stream.device.bytes), Int64(bitPattern: stream.incarnation.rawValue)])
    let number = database.lastInsertedRowID
    writers.numbers[Writer(stream)] = number
    return number
  }

  // MARK: Streams that are closed

  package mutating func fold(_ stream: StreamKey) throws {
    guard let writer = try number(of: stream) else { return }
    try move(stream, writer, from: "heads", to: "folded", sign: 1)
  }

  mutating func unfold(_ stream: StreamKey, _ writer: Int64) throws {
    let isFolded = try Int.fetchOne(
      database.cachedStatement(sql: "SELECT count(*) FROM folded WHERE writer = ? AND channel = ?"),
      arguments: [writer, stream.channel.rawValue]) ?? 0
    if isFolded > 0 { try move(stream, writer, from: "folded", to: "heads", sign: -1) }
  }

  func move(_ stream: StreamKey, _ writer: Int64, from: String, to: String, sign: Int64) throws {
    let count = try Int64.fetchOne(
      database.cachedStatement(sql: "SELECT sum(applied) FROM \(from) WHERE writer = ? AND channel = ?"),
      arguments: [writer, stream.channel.rawValue]) ?? 0
    let key: [any DatabaseValueConvertible] = [writer, stream.channel.rawValue]
    try database.run("INSERT OR REPLACE INTO \(to) SELECT * FROM \(from) WHERE writer = ? AND channel = ?", key)
    try database.run("DELETE FROM \(from) WHERE writer = ? AND channel = ?", key)
    guard stream.channel.lane != nil else { return }
    try database.run(
      """
      INSERT INTO totals (device, channel, folded) VALUES (?, ?, ?)
      ON CONFLICT (device, channel) DO UPDATE SET folded = folded + excluded.folded
      """, [Data(stream.device.bytes), stream.channel.rawValue, sign * count])
  }

  package func foldedOperations() throws -> [DeviceID: UInt64] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(sql: "SELECT device, sum(folded) AS folded FROM totals GROUP BY device"))
    var folded: [DeviceID: UInt64] = [:]
    while let row = try rows.next() {
      if let device = DeviceID(bytes: row["device"] as Data) { folded[device] = UInt64(clamping: row["folded"] as Int64) }
    }
    return folded
  }

  package func closing(of stream: StreamKey) throws -> [StreamCursor] {
    guard let writer = try number(of: stream) else { return [] }
    let rows = try Row.fetchCursor(
      database.cachedStatement(sql: "SELECT sequence, hash FROM closings WHERE writer = ? AND channel = ?"),
      arguments: [writer, stream.channel.rawValue])
    var ends = [StreamCursor]()
    while let row = try rows.next() {
      ends.append(StreamCursor(sequence: UInt64(bitPattern: row["sequence"] as Int64), hash: UInt64(bitPattern: row["hash"] as Int64)))
    }
    return ends
  }

  package func openClosings() throws -> [StreamKey: [StreamCursor]] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: """
          SELECT device, incarnation, channel, sequence, hash FROM closings JOIN writers ON number = closings.writer
          WHERE NOT EXISTS (SELECT 1 FROM folded WHERE folded.writer = closings.writer AND folded.channel = closings.channel)
          """))
    var closings: [StreamKey: [StreamCursor]] = [:]
    while let row = try rows.next() {
      guard let stream = Self.stream(row) else { continue }
      let end = StreamCursor(sequence: UInt64(bitPattern: row["sequence"] as Int64), hash: UInt64(bitPattern: row["hash"] as Int64))
      closings[stream, default: []].append(end)
    }
    return closings
  }

  /// When the newest earlier life of a device was closed, in milliseconds since 1970; what was raised in an emergency is none.
  package func lastClosing(of device: DeviceID) throws -> UInt64? {
    try Int64.fetchOne(
      database.cachedStatement(
        sql: "SELECT max(wall) FROM closings JOIN writers ON number = closings.writer WHERE device = ? AND incarnation & ? = 0"),
      arguments: [Data(device.bytes), Int64(bitPattern: Incarnation.emergencyBit)]).map { UInt64(bitPattern: $0) }
  }

  package func closedAt(_ stream: StreamKey) throws -> UInt64? { try wall("closings", stream) }
  package func outlived(_ stream: StreamKey) throws -> UInt64? { try wall("outlived", stream) }

  private func wall(_ table: String, _ stream: StreamKey) throws -> UInt64? {
    guard let writer = try number(of: stream) else { return nil }
    return try Int64.fetchOne(
      database.cachedStatement(sql: "SELECT max(wall) FROM \(table) WHERE writer = ? AND channel = ?"),
      arguments: [writer, stream.channel.rawValue]).map { UInt64(bitPattern: $0) }
  }

  package mutating func noteOutlived(_ stream: StreamKey, at wall: UInt64) throws {
    let wall = max(wall, try outlived(stream) ?? 0)
    try database.run(
      "INSERT OR REPLACE INTO outlived (writer, channel, wall) VALUES (?, ?, ?)",
      [try assignedNumber(of: stream), stream.channel.rawValue, Int64(bitPattern: wall)])
  }

  package mutating func setClosing(_ ends: [StreamCursor], at wall: UInt64, of stream: StreamKey) throws {
    let writer = try assignedNumber(of: stream)
    // One that is closed again with more than before: what was said last holds.
    try database.run("DELETE FROM closings WHERE writer = ? AND channel = ?", [writer, stream.channel.rawValue])
    for end in ends {
      try database.run(
        "INSERT OR IGNORE INTO closings (writer, channel, sequence, hash, wall) VALUES (?, ?, ?, ?, ?)",
        [writer, stream.channel.rawValue, Int64(bitPattern: end.sequence), Int64(bitPattern: end.hash), Int64(bitPattern: wall)])
    }
  }
}

/// The numbers of writers that a transaction has looked up: each of its rows asks for one, and none changes or goes.
final class WriterNumbers {
  var numbers: [Writer: Int64] = [:]
}

/// A life of a device, whatever the channel.
struct Writer: Hashable {
  let device: DeviceID
  let incarnation: Incarnation

  init(_ stream: StreamKey) { (device, incarnation) = (stream.device, stream.incarnation) }
}
