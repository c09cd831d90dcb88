import Causality
import Foundation
import GRDB
import Replica

/// What waits for its time, and what was applied before its turn.
extension SQLiteTransaction {
  // MARK: Quarantine

  package mutating func quarantine(_ operation: Operation) throws {
    let id = operation.id
    let body = seals.quarantine.seal(OperationCodec.encode([operation], .explicit), column: Column.body, row: id.bytes)
    try database.run(
      "INSERT OR IGNORE INTO quarantine (operation, writer, channel, sequence, due, body) VALUES (?, ?, ?, ?, ?, ?)",
      [
        Data(id.bytes), try assignedNumber(of: StreamKey(id.stream)), id.stream.lane.rawValue, Int64(bitPattern: id.sequence),
        Int64(operation.timestamp.milliseconds), Data(body),
      ])
  }

  package func quarantined(dueBy wall: UInt64?) throws -> [Operation] {
    let latest = wall.map { Int64(clamping: $0) > .max - Int64(HybridClock.driftLimit) ? .max : Int64(clamping: $0) + Int64(HybridClock.driftLimit) } ?? .max
    let rows = try Row.fetchCursor(
      database.cachedStatement(sql: "SELECT operation, body FROM quarantine WHERE due <= ? ORDER BY due"), arguments: [latest])
    var operations = [Operation]()
    while let row = try rows.next() {
      operations += try Self.own {
        try OperationCodec.decode(
          seals.quarantine.open(Array(row["body"] as Data), column: Column.body, row: Array(row["operation"] as Data)), .explicit)
      }
    }
    return operations
  }

  package func isQuarantined(_ operation: OperationID) throws -> Bool {
    try Int.fetchOne(
      database.cachedStatement(sql: "SELECT 1 FROM quarantine WHERE operation = ?"), arguments: [Data(operation.bytes)]) != nil
  }

  package func nextDue() throws -> UInt64? {
    try Int64.fetchOne(database.cachedStatement(sql: "SELECT min(due) FROM quarantine")).map { UInt64(clamping: $0) }
  }

  package func heldBack() throws -> [StreamKey: UInt64] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: """
          SELECT device, incarnation, channel, min(sequence) AS sequence FROM quarantine
          JOIN writers ON number = writer GROUP BY writer, channel
          """))
    var first: [StreamKey: UInt64] = [:]
    while let row = try rows.next() {
      if let stream = Self.stream(row) { first[stream] = UInt64(bitPattern: row["sequence"] as Int64) }
    }
    return first
  }

  package mutating func release(_ operation: OperationID) throws {
    try database.run("DELETE FROM quarantine WHERE operation = ?", [Data(operation.bytes)])
  }
}
