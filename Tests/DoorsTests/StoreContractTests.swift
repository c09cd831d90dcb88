import Causality
import ConflictResolution
import Foundation
import GRDB
import Replica
import Simulation
import Storage
import Stores
import Testing
import Therapy

/// What every store promises, the simulated one too, so that the simulation cannot lie.
@Suite("Store contract")
struct StoreContractTests {
  private static let device = DeviceID(high: 1, low: 2)

  private func drafts(_ count: Int, lane: Lane = .ordinary) -> [Draft] {
    (0..<count).map { Draft(record: RecordID(high: 5, low: UInt64($0 / 3)), kind: "journal", field: "title", mutation: .set(.text("t\($0)")), lane: lane) }
  }

  /// Runs the contract against SQLite and against the simulated disk.
  private func both(_ body: (any ContractStore) throws -> Void) throws {
    let sandbox = try Sandbox()
    try body(Contract(try sandbox.newStore()))
    try body(Contract(MemoryStore()))
  }

  @Test("operations, records, heads, clock and hash come back as they were written")
  func roundTrip() throws {
    try both { store in
      let operations = try store.commit(drafts(10), by: Self.device)
      #expect(operations.map(\.id.sequence) == Array(1...10))
      #expect(try store.pending(.ordinary) == operations)
      #expect(try store.record(RecordID(high: 5, low: 3))?["title"]?.dots.count == 1)
      #expect(try store.heads(StreamKey(operations[0].id.stream)).map(\.applied) == [10])
      #expect(try store.recomputedHash([0, 1, 2, 3].map { RecordID(high: 5, low: $0) }) == store.stateHash())
    }
  }

  @Test("a transaction that throws leaves nothing behind")
  func rollback() throws {
    struct Stop: Error {}
    try both { store in
      _ = try store.commit(drafts(2), by: Self.device)
      let before = try store.stateHash()
      #expect(throws: Stop.self) { try store.commitThenThrow(drafts(5), by: Self.device, Stop()) }
      #expect(try store.stateHash() == before)
      #expect(try store.pending(.ordinary).count == 2)
      #expect(try store.commit(drafts(1), by: Self.device)[0].id.sequence == 3, "no sequence number is skipped")
    }
  }

  @Test("lanes have sequence numbers of their own, and counts without a gap")
  func lanes() throws {
    try both { store in
      _ = try store.commit(drafts(3) + drafts(2, lane: .session), by: Self.device)
      #expect(try store.pendingCounts() == [.ordinary: 3, .session: 2])
      #expect(try store.pending(.session).map(\.id.sequence) == [1, 2])
    }
  }

  @Test("batches come back in order, from a sequence number on")
  func batches() throws {
    try both { store in
      let key = StreamKey(device: Self.device, incarnation: Incarnation(rawValue: 4), channel: Channel(.bulk))
      let written = (0..<5).map { (number: Int) -> StoredBatch in
        let byte = UInt8(number)
        return StoredBatch(stream: key, first: UInt64(number * 4 + 1), count: 4, hash: [UInt8](repeating: byte, count: 32), frame: [byte], marks: [1, 2, 3, UInt64(byte)])
      }
      try store.append(written)
      #expect(try store.batches(key, after: 0, limit: 9) == written)
      #expect(try store.batches(key, after: 5, limit: 2) == Array(written[2...3]))
      #expect(try store.logged(key, from: 5, through: 9).map(\.first) == [5, 9])
      #expect(try store.marks(key, at: 8) == [1] && store.marks(key, at: 21).isEmpty)
    }
  }

  @Test("a frame that lies twice in a file is taken once, also where an own write waits with its number")
  func twice() throws {
    try both { store in
      let key = StreamKey(try store.commit(drafts(1), by: Self.device)[0].id.stream)
      let batch = StoredBatch(stream: key, first: 1, count: 1, hash: [UInt8](repeating: 7, count: 32), frame: [7], marks: [9])
      #expect(try store.fileTwice(batch, previous: noPreviousHash) == 1)
      #expect(try store.logged(key, from: 1, through: 1).count == 1)
    }
  }
}

protocol ContractStore {
  func commit(_ drafts: [Draft], by device: DeviceID) throws -> [Causality.Operation]
  func commitThenThrow(_ drafts: [Draft], by device: DeviceID, _ error: any Error) throws
  func pending(_ lane: Lane) throws -> [Causality.Operation]
  func pendingCounts() throws -> [Lane: Int]
  func record(_ id: RecordID) throws -> RecordState?
  func heads(_ stream: StreamKey) throws -> [StreamHead]
  func logged(_ stream: StreamKey, from: UInt64, through: UInt64) throws -> [LoggedBatch]
  func marks(_ stream: StreamKey, at sequence: UInt64) throws -> [UInt64]
  func stateHash() throws -> StateHash
  func recomputedHash(_ records: [RecordID]) throws -> StateHash
  func append(_ batches: [StoredBatch]) throws
  func batches(_ stream: StreamKey, after: UInt64, limit: Int) throws -> [StoredBatch]
  /// Places a batch twice in one transaction, and files it where it is new.
  func fileTwice(_ batch: StoredBatch, previous: [UInt8]) throws -> Int
}

struct Contract<Store: ReplicaStore>: ContractStore {
  let store: Store
  init(_ store: Store) { self.store = store }

  func commit(_ drafts: [Draft], by device: DeviceID) throws -> [Causality.Operation] {
    var random = SeededRandom(seed: 3)
    return try store.write { transaction in try transaction.withLedger { try $0.commit(drafts, by: device, wall: 1_000, using: &random) } }
  }
  func commitThenThrow(_ drafts: [Draft], by device: DeviceID, _ error: any Error) throws {
    var random = SeededRandom(seed: 3)
    try store.write { transaction in
      _ = try transaction.withLedger { try $0.commit(drafts, by: device, wall: 1_000, using: &random) }
      throw error
    }
  }
  func pending(_ lane: Lane) throws -> [Causality.Operation] { try store.read { try $0.pending(lane, limit: 100) } }
  func pendingCounts() throws -> [Lane: Int] { try store.read { try $0.pendingCounts() } }
  func record(_ id: RecordID) throws -> RecordState? { try store.read { try $0.record(id) } }
  func heads(_ stream: StreamKey) throws -> [StreamHead] { try store.read { try $0.heads(of: stream) } }
  func logged(_ stream: StreamKey, from: UInt64, through: UInt64) throws -> [LoggedBatch] { try store.read { try $0.logged(of: stream, from: from, through: through) } }
  func marks(_ stream: StreamKey, at sequence: UInt64) throws -> [UInt64] { try store.read { try $0.marks(of: stream, at: sequence) } }
  func stateHash() throws -> StateHash { try store.read { try $0.stateHash() } }
  func recomputedHash(_ records: [RecordID]) throws -> StateHash {
    try store.read { transaction in
      var hash = StateHash()
      for id in records { if let record = try transaction.record(id) { hash.toggle(record.hash) } }
      return hash
    }
  }
  func append(_ batches: [StoredBatch]) throws { try store.write { transaction in for batch in batches { try transaction.append(batch, isOwn: false) } } }
  func batches(_ stream: StreamKey, after: UInt64, limit: Int) throws -> [StoredBatch] { try store.read { try $0.batches(of: stream, after: after, limit: limit) } }
  func fileTwice(_ batch: StoredBatch, previous: [UInt8]) throws -> Int {
    try store.write { transaction in
      try transaction.withLedger { ledger in
        var filed = 0
        for _ in 0..<2 {
          let place = try ledger.place(first: batch.first, previous: previous, hash: batch.hash, in: batch.stream)
          guard place != .known else { continue }
          try ledger.file(batch, at: place, isOwn: true)
          filed += 1
        }
        return filed
      }
    }
  }
}

@Suite("Store on disk")
struct StoreTests {
  @Test("a commit is durable: synchronous reads FULL")
  func synchronous() throws {
    let sandbox = try Sandbox()
    #expect(try sandbox.newStore().synchronousSetting() == 2)
    #expect(try Store.open(at: sandbox.home("a")) { nil }.synchronousSetting() == 2)
  }

  @Test("folders are 0700 and files 0600")
  func permissions() throws {
    let sandbox = try Sandbox()
    let store = try sandbox.newStore()
    _ = try Actions(store).add(kind: "journal", ["title=x"])
    for name in try FileManager.default.subpathsOfDirectory(atPath: store.home.path) + [""] {
      let attributes = try FileManager.default.attributesOfItem(atPath: store.home.path + "/" + name)
      let mode = try #require(attributes[.posixPermissions] as? Int)
      #expect(mode & 0o077 == 0, "\(name) \(String(mode, radix: 8))")
    }
  }

  @Test("no word of the person and no name is in any file of the home")
  func sealedAtRest() throws {
    let sandbox = try Sandbox()
    let store = try sandbox.newStore("canary-name")
    for schema in RecordCatalogue.all where schema.isAddedByHand {
      for field in schema.fields where field.content == .text { _ = try Actions(store).add(kind: schema.kind, ["\(field.name)=canary-word"]) }
    }
    try store.write { try $0.remember(Presence(device: store.ring.device, run: 1, counter: 1, wall: 1, cursors: [:], stateHash: StateHash()), heard: 1, roundTrip: nil) }
    for name in try FileManager.default.subpathsOfDirectory(atPath: store.home.path) {
      guard let data = FileManager.default.contents(atPath: store.home.path + "/" + name) else { continue }
      for canary in ["canary-word", "canary-name", "gratitudes", "check-in"] {
        #expect(data.range(of: Data(canary.utf8)) == nil, "\(canary) in \(name)")
      }
    }
  }

  @Test("a store of a newer version is not touched")
  func newerVersion() throws {
    let sandbox = try Sandbox()
    let store = try sandbox.newStore()
    store.close()
    let queue = try DatabaseQueue(path: store.home.database)
    try queue.write { try $0.execute(sql: "PRAGMA user_version = 99") }
    try queue.close()
    #expect(throws: StorageError.newerVersion(store.home.database, found: 99, supported: 11)) { try Store.open(at: store.home) { nil } }
  }

  @Test("a store of a format that was never released is told so, and not touched")
  func olderVersion() throws {
    let sandbox = try Sandbox()
    let store = try sandbox.newStore()
    store.close()
    let queue = try DatabaseQueue(path: store.home.database)
    try queue.write { try $0.execute(sql: "PRAGMA user_version = 2") }
    try queue.close()
    #expect(throws: StorageError.olderVersion(store.home.database, found: 2, supported: 11)) { try Store.open(at: store.home) { nil } }
  }

  @Test("a damaged database, a missing one, and a damaged key are told apart")
  func damage() throws {
    let sandbox = try Sandbox()
    let home = try sandbox.newStore().home
    try Data("not a database, but long enough to be taken for one".utf8).write(to: URL(fileURLWithPath: home.database))
    #expect(throws: StorageError.damaged(home.database)) { try Store.open(at: home) { nil } }
    try Data([1, 2, 3]).write(to: URL(fileURLWithPath: home.dataKey))
    #expect(throws: StorageError.damaged(home.dataKey)) { try Store.open(at: home) { nil } }
    try FileManager.default.removeItem(atPath: home.database)
    #expect(throws: StorageError.incomplete(home.path, missing: home.database)) { try Store.open(at: home) { nil } }
    try FileManager.default.removeItem(atPath: home.path)
    #expect(throws: StorageError.noStore(home.path)) { try Store.open(at: home) { nil } }
  }

  @Test("a passphrase is asked for, and a wrong one opens nothing")
  func passphrase() throws {
    let sandbox = try Sandbox()
    let store = try sandbox.newStore("p", passphrase: "heron")
    #expect(throws: StorageError.wrongPassphrase) { try Store.open(at: store.home) { "crane" } }
    #expect(throws: StorageError.passphraseNeeded) { try Store.open(at: store.home) { nil } }
    #expect(throws: Never.self) { try Store.open(at: store.home) { "heron" } }
  }

  @Test("an existing store is never replaced")
  func exists() throws {
    let sandbox = try Sandbox()
    let home = try sandbox.newStore().home
    let before = try HomeFolder.readFile(home.database)
    #expect(throws: StorageError.storeExists(home.path)) { try sandbox.newStore("a") }
    #expect(try HomeFolder.readFile(home.database) == before)
  }

  @Test("every write to a record stays in its history")
  func history() throws {
    let sandbox = try Sandbox()
    let store = try sandbox.newStore()
    let actions = Actions(store)
    let id = try actions.add(kind: "journal", ["title=one"])
    for title in ["two", "three"] { try actions.set(id, ["title=\(title)"]) }
    try actions.remove(id)
    let writes = try RecordHistory(store).writes(of: id)
    #expect(writes.compactMap(\.mutation.value) == [.text("one"), .text("two"), .text("three")])
    #expect(try store.read { try $0.record(id) }?.isVisible == false)
  }

  @Test("the beginning of an id finds its record")
  func prefixes() throws {
    let sandbox = try Sandbox()
    let actions = Actions(try sandbox.newStore())
    let ids = try (0..<40).map { try actions.add(kind: "journal", ["title=\($0)"]) }
    #expect(try actions.record(beginningWith: String(ids[3].description.prefix(12))).id == ids[3])
    #expect(throws: InputError.unknownRecord) { try actions.record(beginningWith: "zzzz") }
    // The first character has eight values, so that of forty ids some share it.
    let shared = try #require(Dictionary(grouping: ids) { $0.description.prefix(1) }.first { $0.value.count > 1 }?.key)
    #expect(throws: InputError.ambiguous("id")) { try actions.record(beginningWith: String(shared)) }
  }
}
