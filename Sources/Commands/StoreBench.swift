import CSystem
import Causality
import Crypto
import Foundation
import GRDBSQLite
import Relays
import Replica
import Sealing
import Storage
import Stores
import Therapy

/// Durable changes and verified applies per second, beside raw SQLite in the same folder.
enum StoreBench {
  private static let operations = 64 * 400

  static func run() throws -> [BenchRow] {
    try inFolder { folder in
      let floor = RawSQLite(folder)
      let (single, grouped) = (try floor.perSecond(rows: 1_500, perTransaction: 1), try floor.perSecond(rows: 60_000, perTransaction: 100))
      let applyFloor = try floor.perSecond(rows: 60_000, perTransaction: 1_000)
      let household = try AccountSetup.household(at: ["a", "b"].map { HomeFolder(path: folder + "/" + $0) }, names: ["a", "b"])
      let source = household[0]
      let alone = try AccountSetup.household(at: [HomeFolder(path: folder + "/c")], names: ["c"])[0]
      var rows = [BenchRow]()
      rows.append(
        BenchRow(
          name: "local durable change, one by one", value: try local(alone, count: 1_500, group: 1), unit: "operations/s",
          floor: single, note: "sealed, filed, and committed each on its own, synchronous=FULL"))
      rows.append(
        BenchRow(
          name: "local durable change, in groups of 100", value: try local(source, count: 30_000, group: 100),
          unit: "operations/s", floor: grouped, note: "aim 25000"))
      rows += try applying(source, household[1], single: single, batched: applyFloor)
      rows.append(BenchRow(name: "memory of this process", value: Double(fm_resident_bytes()) / 1_048_576, unit: "MiB", note: "after all of the above"))
      return rows
    }
  }

  private static func inFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
    let folder = NSTemporaryDirectory() + "/fullmind-bench-\(getpid())"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    return try body(folder)
  }

  /// A check-in with eight fields: what people write most.
  static func checkIn(_ id: RecordID, _ number: Int) -> [Draft] {
    let fields: [(String, Mutation)] = [
      ("part", .set(.text("evening"))), ("mood", .set(.integer(Int64(number % 11)))), ("sleep", .set(.integer(7))),
      ("energy", .set(.integer(5))), ("anxiety", .set(.integer(3))), ("emotions", .add(.text("calm"))),
      ("gratitudes", .add(.text("the sun"))), ("learning", .set(.text("rest is work too"))),
    ]
    return fields.map { Draft(record: id, kind: "check-in", field: $0.0, mutation: $0.1, lane: .ordinary) }
  }

  private static func drafts(_ count: Int) -> [Draft] {
    var random = SystemRandomNumberGenerator()
    var drafts = [Draft]()
    drafts.reserveCapacity(count + 8)
    while drafts.count < count { drafts += checkIn(RecordID(using: &random), drafts.count) }
    return drafts
  }

  private static func local(_ store: Store, count: Int, group: Int) throws -> Double {
    let drafts = drafts(count)
    return Double(count) / (try BenchClock.seconds { try commit(drafts.prefix(count), to: store, group: group) })
  }

  /// Writes operations in groups; what is larger than a batch is left for the exchanging process to cut.
  private static func commit(_ drafts: ArraySlice<Draft>, to store: Store, group: Int) throws {
    let actions = Actions(store)
    for start in stride(from: 0, to: drafts.count, by: group) { _ = try actions.commit(Array(drafts.dropFirst(start).prefix(group))) }
  }

  static func fill(_ store: Store, count: Int) throws { try commit(drafts(count).prefix(count), to: store, group: 1_000) }

  /// Cuts what is pending, then applies it on a second device.
  private static func applying(_ source: Store, _ target: Store, single: Double, batched: Double) throws -> [BenchRow] {
    var random = SystemRandomNumberGenerator()
    let memory = MemoryRelay()
    let now = SystemClock.now
    var sender = try performer(source, memory)
    var receiver = try performer(target, memory)
    let cutting = try BenchClock.seconds {
      while try source.read({ try $0.pendingCounts()[.ordinary] ?? 0 }) > 0 {
        _ = try sender.perform(.cut(.ordinary, counted: true), now: now, using: &random)
      }
    }
    let batches = try source.read { try $0.ownBatches(Channel(.ordinary), after: 0, limit: .max - 1) }.map(\.batch)
    let total = batches.reduce(0) { $0 + $1.count }
    let full = batches.filter { $0.count == 64 }
    let bytes = full.reduce(0) { $0 + $1.frame.count }
    let sealedBytes = Double(bytes) / Double(max(1, full.count * 64))
    guard let tag = receiver.tags.first(where: { $0.value == source.ring.device })?.key else { return [] }
    let stream = RelayStream(tag: tag, channel: Channel(.ordinary))
    let seconds = try BenchClock.seconds {
      for start in stride(from: 0, to: batches.count, by: Limits.batchesPerApply) {
        let frames = batches[start..<min(start + Limits.batchesPerApply, batches.count)].map(\.frame)
        _ = try receiver.perform(.apply(stream, chunk(frames), startedAnew: false, limit: now.wall), now: now, using: &random)
      }
    }
    let applied = try target.read { try $0.allHeads(of: source.ring.device, channel: Channel(.ordinary)) }.values.joined()
    guard applied.reduce(0, { $0 + $1.applied }) == total else { throw StorageError.damaged("the benchmark's store") }
    let alone = try oneByOne(source, target, &sender, &receiver, stream)
    return [
      BenchRow(name: "sealed and filed", value: Double(total) / cutting, unit: "operations/s", note: "batches of at most 64, one durable commit each"),
      BenchRow(name: "verified durable apply, in batches of 64", value: Double(total) / seconds, unit: "operations/s", floor: batched, note: "aim 100000"),
      BenchRow(name: "verified durable apply, one by one", value: alone, unit: "operations/s", floor: single, note: "one signature and one commit each"),
      BenchRow(name: "sealed bytes per operation", value: sealedBytes, unit: "B", note: "at 64 per batch, aim 40"),
    ]
  }

  private static func oneByOne(
    _ source: Store, _ target: Store, _ sender: inout EffectPerformer<Store>, _ receiver: inout EffectPerformer<Store>,
    _ stream: RelayStream
  ) throws -> Double {
    var random = SystemRandomNumberGenerator()
    let (now, count) = (SystemClock.now, 1_000)
    let before = try source.read { try $0.ownProgress(of: source.ring.device)[Channel(.ordinary)]?.position ?? 0 }
    for draft in drafts(count).prefix(count) {
      _ = try Actions(source).commit([draft])
      _ = try sender.perform(.cut(.ordinary, counted: true), now: now, using: &random)
    }
    let batches = try source.read { try $0.ownBatches(Channel(.ordinary), after: before, limit: count) }.map(\.batch)
    let seconds = try BenchClock.seconds {
      for batch in batches {
        _ = try receiver.perform(.apply(stream, chunk([batch.frame]), startedAnew: false, limit: now.wall), now: now, using: &random)
      }
    }
    return Double(batches.count) / seconds
  }

  private static func chunk(_ frames: [[UInt8]]) -> RelayChunk {
    RelayChunk(
      frames: frames, positions: (0...frames.count).map { RelayPosition(generation: 1, offset: UInt64($0)) },
      isAtEnd: true, isDamaged: false)
  }

  private static func performer(_ store: Store, _ memory: MemoryRelay) throws -> EffectPerformer<Store> {
    let tag = BlindTag(bytes: store.ring.account.sealer.tags.device(store.ring.device))
    return try EffectPerformer(
      store: store, relay: memory.connection(of: tag), ring: store.ring, run: 1)
  }

  // MARK: Opening

  /// Opening reads no history: a hundred times as many operations must open as fast.
  static func runOpen() throws -> [BenchRow] {
    try inFolder { folder in
      let times = try [1_000, 100_000].map { count in
        let home = HomeFolder(path: folder + "/\(count)")
        let store = try AccountSetup.household(at: [home], names: ["a"])[0]
        try fill(store, count: count)
        store.close()
        let samples = try (0..<30).map { _ in
          try BenchClock.seconds {
            let opened = try Store.open(at: home) { nil }
            _ = try SnapshotBuilder.fromStore(opened, relay: "")
            opened.close()
          } * 1_000
        }
        return BenchClock.percentile(samples, 0.5)
      }
      return [
        BenchRow(name: "open and first snapshot, 1,000 operations", value: times[0], unit: "ms", note: "p50 of 30"),
        BenchRow(name: "open and first snapshot, 100,000 operations", value: times[1], unit: "ms", floor: times[0], note: "beside 1,000"),
      ]
    }
  }
}

/// The least SQLite can do in the same folder: rows of about 200 bytes, synchronous=FULL.
private struct RawSQLite {
  private let path: String
  init(_ folder: String) { path = folder + "/floor.db" }

  func perSecond(rows: Int, perTransaction: Int) throws -> Double {
    for suffix in ["", "-wal", "-shm"] { unlink(path + suffix) }
    var database: OpaquePointer?
    var statement: OpaquePointer?
    guard sqlite3_open(path, &database) == SQLITE_OK else { throw StorageError.unreadable(path, "it cannot be opened") }
    defer { sqlite3_close(database) }
    sqlite3_exec(database, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (id BLOB, a, b, c, body BLOB)", nil, nil, nil)
    sqlite3_prepare_v2(database, "INSERT INTO t VALUES (?, 1, 2, 3, ?)", -1, &statement, nil)
    defer { sqlite3_finalize(statement) }
    let (id, body) = ([UInt8](repeating: 1, count: 16), [UInt8](repeating: 2, count: 150))
    let seconds = BenchClock.seconds {
      for row in 0..<rows {
        if row % perTransaction == 0 { sqlite3_exec(database, "BEGIN IMMEDIATE", nil, nil, nil) }
        sqlite3_bind_blob(statement, 1, id, 16, nil)
        sqlite3_bind_blob(statement, 2, body, 150, nil)
        sqlite3_step(statement)
        sqlite3_reset(statement)
        if row % perTransaction == perTransaction - 1 { sqlite3_exec(database, "COMMIT", nil, nil, nil) }
      }
    }
    return Double(rows) / seconds
  }
}
