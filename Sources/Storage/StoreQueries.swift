import Causality
import ConflictResolution
import Foundation
import GRDB
import Replica
import Sealing
import Therapy

/// What the stores and the faces ask for, beyond what a replica needs.
extension SQLiteTransaction {
  /// The latest records of a kind that are visible, newest first.
  package func records(kind: String?, limit: Int) throws -> [RecordState] {
    if let kind {
      return try records(
        "SELECT id, body FROM records WHERE kind = ? AND flags & 2 ORDER BY latest DESC LIMIT ?",
        [Data(seals.cells.lookupHash(kind)), limit])
    }
    return try records("SELECT id, body FROM records WHERE flags & 2 ORDER BY latest DESC LIMIT ?", [limit])
  }

  /// Every record of a kind that is visible: for what safety depends on there is no newest few.
  package func allRecords(kind: String) throws -> [RecordState] { try records(kind: kind, limit: -1) }

  /// As ``allRecords(kind:)``, without those that cannot be read any more.
  package func readableRecords(kind: String) throws -> [RecordState] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(sql: "SELECT id, body FROM records WHERE kind = ? AND flags & 2 ORDER BY latest DESC"),
      arguments: [Data(seals.cells.lookupHash(kind))])
    var found = [RecordState]()
    while let row = try rows.next() {
      guard let id = RecordID(bytes: Array(row["id"] as Data)), let record = try? opened(id, Array(row["body"] as Data)) else { continue }
      found.append(record)
    }
    return found
  }

  /// Which activation this device has had since when, in milliseconds since 1970.
  package func crisisSeen() throws -> (activation: OperationID, wall: UInt64)? {
    guard let bytes = try database.value(.crisisSeen), bytes.count == OperationID.byteCount + 8,
      let activation = OperationID(bytes: bytes.dropLast(8))
    else { return nil }
    return (activation, UInt64(bigEndianBytes: bytes.suffix(8)))
  }

  package mutating func setCrisisSeen(_ activation: OperationID, wall: UInt64) throws {
    try database.put(.crisisSeen, activation.bytes + wall.bigEndianBytes)
  }

  /// The activation that a screen of this device shows; kept for the process that exchanges.
  package func crisisShown() throws -> OperationID? { try database.value(.crisisShown).flatMap { OperationID(bytes: $0) } }

  package mutating func setCrisisShown(_ activation: OperationID) throws { try database.put(.crisisShown, activation.bytes) }

  /// How many times processes of this device have requested that everything is exchanged, and how many of those
  /// requests the process that exchanges has completed.
  package func syncRequests() throws -> (made: UInt64, completed: UInt64) {
    guard let bytes = try database.value(.syncRequests), bytes.count == 16 else { return (0, 0) }
    return (UInt64(bigEndianBytes: bytes[..<8]), UInt64(bigEndianBytes: bytes[8...]))
  }

  /// Writes something new, to find out whether that can be done.
  package mutating func tryWriting() throws {
    try database.put(.tried, UInt64.random(in: 0 ... .max).bigEndianBytes)
  }

  /// - Returns: The number of the request.
  package mutating func requestSync() throws -> UInt64 {
    let (made, completed) = try syncRequests()
    try database.put(.syncRequests, (made + 1).bigEndianBytes + completed.bigEndianBytes)
    return made + 1
  }

  package mutating func completeSyncRequests(through number: UInt64) throws {
    try database.put(.syncRequests, try syncRequests().made.bigEndianBytes + number.bigEndianBytes)
  }

  /// The records with something for the person to decide: the weightiest first, of equal ones the newest.
  package func openRecords(limit: Int) throws -> [RecordState] {
    var open: [RecordState] = []
    for impact in ConflictImpact.allCases.reversed() where open.count < limit {
      open += try records(
        "SELECT id, body FROM records WHERE impact = ? ORDER BY latest DESC LIMIT ?",
        [Data(seals.cells.lookupHash(Column.impact(impact))), limit - open.count])
    }
    return open
  }

  /// How many records have something for the person to decide, and which of them was written least lately.
  package func openRecordSummary() throws -> (count: Int, oldest: Timestamp?) {
    let row = try Row.fetchOne(database.cachedStatement(sql: "SELECT count(*) AS count, min(latest) AS oldest FROM records WHERE impact IS NOT NULL"))
    return (row?["count"] ?? 0, (row?["oldest"] as Int64?).map { Timestamp(rawValue: UInt64(clamping: $0)) })
  }

  package func quarantinedCount() throws -> Int {
    try Int.fetchOne(database.cachedStatement(sql: "SELECT count(*) FROM quarantine")) ?? 0
  }

  /// Records whose identifier begins with these characters; at most two, to tell "one" from "several".
  package func records(beginningWith prefix: String) throws -> [RecordState] {
    if let id = RecordID(prefix) { return try record(id).map { [$0] } ?? [] }
    let low = prefix.lowercased().padding(toLength: 26, withPad: "0", startingAt: 0)
    let high = prefix.lowercased().padding(toLength: 26, withPad: "z", startingAt: 0)
    guard prefix.count < 26, let first = RecordID(low), let last = RecordID(high) else { return [] }
    return try records(
      "SELECT id, body FROM records WHERE id BETWEEN ? AND ? LIMIT 2", [Data(first.bytes), Data(last.bytes)])
  }

  private func records(_ sql: String, _ arguments: [(any DatabaseValueConvertible)?]) throws -> [RecordState] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(sql: sql), arguments: StatementArguments(arguments))
    var records = [RecordState]()
    while let row = try rows.next() {
      guard let id = RecordID(bytes: row["id"] as Data) else { continue }
      records.append(try opened(id, Array(row["body"] as Data)))
    }
    return records
  }

  /// The batches (and pending operations) that touched a record, in the order of this device's log.
  package func historyPlaces(of record: RecordID) throws -> [(stream: StreamKey, sequence: UInt64)] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: "SELECT device, incarnation, channel, sequence FROM history JOIN writers ON number = writer WHERE record = ?"),
      arguments: [Data(record.bytes)])
    var places: [(StreamKey, UInt64)] = []
    while let row = try rows.next() {
      if let stream = Self.stream(row) { places.append((stream, UInt64(bitPattern: row["sequence"] as Int64))) }
    }
    return places
  }

  /// Calls `body` with every record, visible or not.
  package func forEachRecord(_ body: (RecordState) throws -> Void) throws {
    let rows = try Row.fetchCursor(database, sql: "SELECT id, body FROM records")
    while let row = try rows.next() {
      guard let id = RecordID(bytes: row["id"] as Data) else { continue }
      try body(try opened(id, Array(row["body"] as Data)))
    }
  }

  // MARK: What the exchanging process remembers for the others

  /// How far the relay has accepted each own lane.
  package func relayProgress() throws -> [Channel: UInt64] {
    guard let bytes = try database.value(.relayProgress) else { return [:] }
    var progress: [Channel: UInt64] = [:]
    for start in stride(from: 0, to: bytes.count - 8, by: 9) {
      if let channel = Channel(rawValue: bytes[start]) {
        progress[channel] = UInt64(bigEndianBytes: bytes[start + 1..<start + 9])
      }
    }
    return progress
  }

  package mutating func setRelayProgress(_ progress: [Channel: UInt64]) throws {
    let bytes = progress.sorted { $0.key < $1.key }.flatMap { [$0.key.rawValue] + $0.value.bigEndianBytes }
    try database.put(.relayProgress, bytes)
  }

  /// What the other devices last said, with our clock when we heard it.
  package func rememberedPeers() throws -> [(presence: Presence, heard: UInt64, roundTrip: UInt64?)] {
    let rows = try Row.fetchCursor(
      database.cachedStatement(
        sql: "SELECT device AS id, heard, round_trip, body FROM peers ORDER BY device"))
    var peers: [(Presence, UInt64, UInt64?)] = []
    while let row = try rows.next() {
      let body = try seals.peers.open(
        Array(row["body"] as Data), column: Column.body, row: Array(row["id"] as Data))
      guard let presence = Presence(bytes: body) else { continue }
      peers.append((presence, UInt64(clamping: row["heard"] as Int64), (row["round_trip"] as Int64?).map { UInt64(clamping: $0) }))
    }
    return peers
  }

  package mutating func remember(_ presence: Presence, heard: UInt64, roundTrip: UInt64?) throws {
    let body = seals.peers.seal(presence.bytes, column: Column.body, row: presence.device.bytes)
    try database.run(
      """
      INSERT INTO peers (device, heard, round_trip, body) VALUES (?, ?, ?, ?)
      ON CONFLICT (device) DO UPDATE SET heard = excluded.heard, round_trip = excluded.round_trip, body = excluded.body
      """,
      [Data(presence.device.bytes), Int64(clamping: heard), roundTrip.map { Int64(clamping: $0) }, Data(body)])
  }

  // MARK: Admissions that a newcomer may not have read yet

  /// What this device has admitted and not heard of yet, sealed as it was kept.
  package func admissions() throws -> [(device: DeviceID, bytes: [UInt8])] {
    let rows = try Row.fetchCursor(database.cachedStatement(sql: "SELECT device, body FROM admissions ORDER BY device"))
    var found: [(DeviceID, [UInt8])] = []
    while let row = try rows.next() {
      guard let device = DeviceID(bytes: row["device"] as Data) else { continue }
      found.append((device, try seals.admissions.open(Array(row["body"] as Data), column: Column.body, row: device.bytes)))
    }
    return found
  }

  package mutating func keepAdmission(_ bytes: [UInt8], of device: DeviceID) throws {
    let body = seals.admissions.seal(bytes, column: Column.body, row: device.bytes)
    try database.run("INSERT OR REPLACE INTO admissions (device, body) VALUES (?, ?)", [Data(device.bytes), Data(body)])
  }

  package mutating func removeAdmission(of device: DeviceID) throws {
    try database.run("DELETE FROM admissions WHERE device = ?", [Data(device.bytes)])
  }

  // MARK: Which relay is meant

  /// Where the devices of the account meet, and which relay that is; `nil` before it was ever reached.
  package func relayPlace() throws -> (url: String, identity: UInt64)? {
    guard let sealed = try database.value(.relay),
      let bytes = try? seals.meta.open(sealed, column: Column.value, row: MetaKey.relay.row), bytes.count >= 8
    else { return nil }
    return (String(decoding: bytes[8...], as: UTF8.self), UInt64(bigEndianBytes: bytes[..<8]))
  }

  package mutating func setRelayPlace(_ url: String, identity: UInt64) throws {
    let bytes = identity.bigEndianBytes + Array(url.utf8)
    try database.put(.relay, seals.meta.seal(bytes, column: Column.value, row: MetaKey.relay.row))
  }

  // MARK: What the sync leader says of itself

  package func leaderStatus() throws -> [UInt8]? {
    try database.value(.leader).flatMap { try? seals.meta.open($0, column: Column.value, row: MetaKey.leader.row) }
  }

  package mutating func setLeaderStatus(_ bytes: [UInt8]) throws {
    try database.put(.leader, seals.meta.seal(bytes, column: Column.value, row: MetaKey.leader.row))
  }

  // MARK: What this device keeps for itself, sealed

  package enum Keepsake: String, Sendable {
    /// Counts of decisions.
    case decisions
    /// What the assistant has learned here.
    case assistant
  }

  package func kept(_ what: Keepsake) throws -> [UInt8]? { try sealed(what).map { try open($0, what) } }

  /// As it lies in the store: equal while nothing has changed.
  package func sealed(_ what: Keepsake) throws -> [UInt8]? {
    try database.blob("SELECT value FROM meta WHERE key = ?", [what.rawValue])
  }

  private func open(_ sealed: [UInt8], _ what: Keepsake) throws -> [UInt8] {
    try seals.meta.open(sealed, column: Column.value, row: Array(what.rawValue.utf8))
  }

  package mutating func keep(_ bytes: [UInt8], as what: Keepsake) throws {
    let sealed = seals.meta.seal(bytes, column: Column.value, row: Array(what.rawValue.utf8))
    try database.run(
      "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
      [what.rawValue, Data(sealed)])
  }

  // MARK: Measurements

  package func measurement(_ operation: String, _ mode: String) throws -> [UInt8]? {
    try database.blob("SELECT body FROM measurements WHERE operation = ? AND mode = ?", [operation, mode])
  }

  package mutating func setMeasurement(_ operation: String, _ mode: String, _ body: [UInt8]) throws {
    try database.run(
      """
      INSERT INTO measurements (operation, mode, body) VALUES (?, ?, ?)
      ON CONFLICT (operation, mode) DO UPDATE SET body = excluded.body
      """, [operation, mode, Data(body)])
  }
}
