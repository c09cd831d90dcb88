import CSystem
import Causality
import Foundation
import GRDB
import Replica
import Sealing
import Synchronization

/// A store on disk: SQLite in WAL mode, every value sealed.
///
/// Every commit is durable when it returns (`synchronous=FULL`, read back after opening): SQLite
/// syncs the log before it answers. Several processes may open the same store; transactions serialise
/// them. Opening reads a handful of rows, whatever the length of the history.
package final class Store: ReplicaStore, @unchecked Sendable {
  // @unchecked: all access to `queue` goes through GRDB's own serial queue; the rest is immutable.
  package let home: HomeFolder
  package let ring: KeyRing
  package let incarnation: UInt64
  let seals: Seals
  private let queue: DatabaseQueue

  // MARK: Opening

  /// Makes a new store for a device whose keys exist.
  ///
  /// - Parameters:
  ///   - passphrase: `nil` for a key file that opens it without one.
  ///   - membership: The account's entries so far.
  /// - Throws: ``StorageError``; an existing store is never touched.
  package static func create(
    at home: HomeFolder, ring: KeyRing, membership: [[UInt8]], passphrase: String?
  ) throws -> Store {
    guard !FileManager.default.fileExists(atPath: home.dataKey) else { throw StorageError.storeExists(home.path) }
    try home.create()
    var random = SystemRandomNumberGenerator()
    let dataKey = random.bytes(32)
    let keyFile: [UInt8]
    if let passphrase {
      guard !passphrase.isEmpty else { throw StorageError.emptyPassphrase }
      keyFile = try DataKeyFile.protected(dataKey, passphrase: passphrase, using: &random)
    } else {
      keyFile = DataKeyFile.unprotected(dataKey)
    }
    for suffix in ["", "-wal", "-shm"] { unlink(home.database + suffix) }
    try HomeFolder.writePrivate([], to: home.database)
    let seals = Seals(CellSealer(dataKey: dataKey))
    let queue = try open(home)
    try translating(home) {
      try queue.write { database in
        try database.execute(sql: Schema.statements)
        try database.execute(sql: "PRAGMA user_version = \(Schema.version)")
        try database.put(.keyRing, seals.meta.seal(ring.bytes, column: Column.value, row: MetaKey.keyRing.row))
        try database.put(.incarnation, random.bytes(8))
        for entry in membership { try database.append(membership: entry, seals) }
      }
    }
    // The key file comes last: until it is there, there is no store.
    try HomeFolder.writePrivate(keyFile, to: home.dataKey)
    return try Store(home: home, queue: queue, seals: seals)
  }

  /// Opens an existing store.
  ///
  /// - Parameter passphrase: Asked for only when the store needs one.
  /// - Throws: ``StorageError``; nothing is changed.
  package static func open(at home: HomeFolder, passphrase: () throws -> String?) throws -> Store {
    guard home.hasStore else {
      if FileManager.default.fileExists(atPath: home.path), access(home.path, R_OK | X_OK) != 0 {
        throw StorageError.unreadable(home.path, "you may not read it")
      }
      throw StorageError.noStore(home.path)
    }
    let file = try HomeFolder.readFile(home.dataKey)
    let dataKey: [UInt8]
    do {
      let needs = try DataKeyFile.needsPassphrase(file)
      let given = needs ? try passphrase() : nil
      if needs, given == nil { throw StorageError.passphraseNeeded }
      dataKey = try DataKeyFile.open(file, passphrase: given)
    } catch SealingError.wrongPassphrase {
      throw StorageError.wrongPassphrase
    } catch SealingError.emptyPassphrase {
      throw StorageError.emptyPassphrase
    } catch is SealingError {
      throw StorageError.damaged(home.dataKey)
    }
    let seals = Seals(CellSealer(dataKey: dataKey))
    let queue = try open(home)
    try translating(home) { try queue.writeWithoutTransaction { try Schema.bringUp($0, seals, home.database) } }
    return try Store(home: home, queue: queue, seals: seals)
  }

  private static func open(_ home: HomeFolder) throws -> DatabaseQueue {
    var configuration = Configuration()
    configuration.busyMode = .timeout(10)
    configuration.maximumReaderCount = 1
    configuration.label = "store"
    return try translating(home) {
      let queue = try DatabaseQueue(path: home.database, configuration: configuration)
      try queue.writeWithoutTransaction { database in
        // Not by GRDB's `journalMode`: that commits a transaction of its own at each opening, and sets NORMAL;
        // see ARCHITECTURE.md. Both are read back: 2 is FULL.
        let mode = try String.fetchOne(database, sql: "PRAGMA journal_mode = WAL")
        try database.execute(sql: "PRAGMA synchronous = FULL; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY")
        guard mode == "wal", try Int.fetchOne(database, sql: "PRAGMA synchronous") == 2 else {
          throw StorageError.unreadable(home.database, "the disk cannot be made to keep its promises")
        }
      }
      return queue
    }
  }

  private init(home: HomeFolder, queue: DatabaseQueue, seals: Seals) throws {
    self.home = home
    self.queue = queue
    self.seals = seals
    (ring, incarnation) = try Self.translating(home) {
      try queue.unsafeRead { database in
        guard let sealed = try database.value(.keyRing), let incarnation = try database.value(.incarnation),
          incarnation.count == 8
        else { throw StorageError.damaged(home.database) }
        let bytes = try seals.meta.open(sealed, column: Column.value, row: MetaKey.keyRing.row)
        return (try KeyRing(bytes: bytes), UInt64(bigEndianBytes: incarnation))
      }
    }
  }

  // MARK: Transactions

  package func write<Result>(_ body: (inout SQLiteTransaction) throws -> Result) throws -> Result {
    try Self.translating(home) {
      // IMMEDIATE: the write lock is taken before anything is read, so that sequence numbers are
      // drawn from what is really the end of the log, also with other processes at work.
      try queue.writeWithoutTransaction { database in
        try database.transaction("BEGIN IMMEDIATE") {
          var transaction = SQLiteTransaction(database, seals)
          return try body(&transaction)
        }
      }
    }
  }

  package func read<Result>(_ body: (SQLiteTransaction) throws -> Result) throws -> Result {
    try Self.translating(home) {
      try queue.unsafeRead { database in
        try database.transaction("BEGIN DEFERRED") { try body(SQLiteTransaction(database, seals)) }
      }
    }
  }

  /// A number that changes when another process has committed.
  package func dataVersion() throws -> Int {
    try Self.translating(home) {
      try queue.unsafeRead { try Int.fetchOne($0.cachedStatement(sql: "PRAGMA data_version")) ?? 0 }
    }
  }

  /// What `PRAGMA synchronous` reads: 2, or a commit promises too much.
  package func synchronousSetting() throws -> Int {
    try queue.unsafeRead { try Int.fetchOne($0, sql: "PRAGMA synchronous") ?? 0 }
  }

  /// Folds the log into the database early, for a store in memory whose size counts more than its speed.
  package func keepLogSmall() throws {
    try Self.translating(home) {
      try queue.writeWithoutTransaction { try $0.execute(sql: "PRAGMA wal_autocheckpoint = 100") }
    }
  }

  /// Checks the file as SQLite does, and every sealed record.
  package func integrityReport() throws -> [String] {
    try Self.translating(home) {
      try queue.read { try String.fetchAll($0, sql: "PRAGMA quick_check(10)") }.filter { $0 != "ok" }
    }
  }

  package func close() { try? queue.close() }

  private static func translating<Result>(_ home: HomeFolder, _ body: () throws -> Result) throws -> Result {
    do { return try body() } catch let error as DatabaseError {
      throw StorageError(error, file: home.database)
    }
  }

  // MARK: Other processes

  /// Tells the other processes of this store that something was committed.
  package func pingOthers(except own: String?) {
    fm_ping_all(home.sockets, own)
  }
}

/// The sealers of the tables, derived once.
struct Seals: Sendable {
  let cells: CellSealer
  let meta, records, pending, quarantine, membership, peers: TableSealer

  init(_ cells: CellSealer) {
    self.cells = cells
    meta = cells.table("meta")
    records = cells.table("records")
    pending = cells.table("pending")
    quarantine = cells.table("quarantine")
    membership = cells.table("membership")
    peers = cells.table("peers")
  }
}

extension MetaKey {
  var row: [UInt8] { Array(rawValue.utf8) }
}
