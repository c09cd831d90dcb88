import CSystem
import Causality
import Foundation
import GRDB
import GRDBSQLite
import Replica
import Sealing
import Synchronization

/// A store on disk: SQLite in WAL mode, every value sealed.
///
/// Every commit is durable when it returns (`synchronous=FULL`, read back after opening): SQLite
/// syncs the log before it answers. Several processes may open the same store; transactions serialise
/// them. Opening reads a handful of rows, whatever the length of the history.
package final class Store: ReplicaStore, @unchecked Sendable {
  // @unchecked: all access to the database goes through GRDB's own serial queue; the rest is immutable or locked.
  package let home: HomeFolder
  package let ring: KeyRing
  let seals: Seals
  private let connection: StoreConnection
  /// The files that were opened: others may be put in their place meanwhile.
  private let files: StoreFiles
  /// The opening at which this process found that the store follows its mark: what is opened again may be another state.
  private let proved = Mutex<Int?>(nil)
  /// How long a lock of another program is waited for, in seconds.
  static let patience: TimeInterval = 10
  private static let millisecondsOfOneTry = 20
  private static let pauseBetweenTries: Int32 = 3

  // MARK: Making

  /// Makes a new store for a device whose keys exist, in a folder beside its place.
  ///
  /// - Parameters:
  ///   - passphrase: `nil` for a key file that opens it without one.
  ///   - membership: The account's entries so far.
  ///   - begin: Runs in the first transaction.
  /// - Returns: The key that opens it, for ``open(at:dataKey:)`` once it is in its place.
  /// - Throws: ``StorageError``; nothing that exists was touched.
  package static func make(
    in draft: HomeDraft, ring: KeyRing, membership: [[UInt8]], passphrase: String?,
    _ begin: (inout SQLiteTransaction) throws -> Void = { _ in }
  ) throws -> DataKey {
    let home = draft.folder
    let dataKey = try dataKey(of: draft, passphrase: passphrase)
    for suffix in ["", "-wal", "-shm"] { unlink(home.database + suffix) }
    try HomeFolder.writePrivate([], to: home.database)
    let seals = Seals(CellSealer(dataKey: dataKey.bytes))
    let queue = try translating(home) { try StoreConnection.writable(home) }
    defer { try? queue.close() }
    try translating(home) {
      try queue.write { database in
        try database.execute(sql: Schema.statements)
        try database.execute(sql: "PRAGMA user_version = \(Schema.version)")
        try database.put(.keyRing, seals.meta.seal(ring.bytes, column: Column.value, row: MetaKey.keyRing.row))
        for entry in membership { try database.append(membership: entry, seals) }
        var transaction = SQLiteTransaction(database, seals, Continuity(mustBegin: false))
        try begin(&transaction)
        if let life = try transaction.incarnation() { Continuity.write(home.mark, life: life, operations: try transaction.ownOperations()) }
      }
    }
    return dataKey
  }

  /// The key of a home that is being made; drawn once, also where another run goes on with it.
  ///
  /// - Throws: ``StorageError``, also for a passphrase that does not open the key that is there.
  package static func dataKey(of draft: HomeDraft, passphrase: String?) throws -> DataKey {
    let home = draft.folder
    if access(home.dataKey, F_OK) == 0 { return try key(of: home) { passphrase } }
    var random = SystemRandomNumberGenerator()
    let dataKey = DataKey(bytes: random.bytes(32))
    if let passphrase {
      guard !DataKeyFile.normalised(passphrase).isEmpty else { throw StorageError.emptyPassphrase }
      try HomeFolder.writePrivate(try DataKeyFile.protected(dataKey.bytes, passphrase: passphrase, using: &random), to: home.dataKey)
    } else {
      try HomeFolder.writePrivate(DataKeyFile.unprotected(dataKey.bytes), to: home.dataKey)
    }
    return dataKey
  }

  // MARK: Opening

  /// The key of a store that is being made.
  package struct DataKey: Sendable {
    let bytes: [UInt8]
    private var seal: TableSealer { CellSealer(dataKey: bytes).table("draft") }

    /// Keeps something in a home that is being made.
    package func keep(_ content: [UInt8], as name: String, in draft: HomeDraft) throws(StorageError) {
      try HomeFolder.writePrivate(seal.seal(content, column: Column.value, row: Array(name.utf8)), to: draft.folder.path + "/" + name)
    }

    /// What was kept; `nil` where there is nothing that this key opens.
    package func kept(_ name: String, in draft: HomeDraft) -> [UInt8]? {
      guard let sealed = try? HomeFolder.readFile(draft.folder.path + "/" + name) else { return nil }
      return try? seal.open(sealed, column: Column.value, row: Array(name.utf8))
    }
  }

  /// Opens an existing store.
  ///
  /// - Parameter passphrase: Asked for only when the store needs one.
  /// - Throws: ``StorageError``; nothing is changed.
  package static func open(at home: HomeFolder, passphrase: () throws -> String?) throws -> Store {
    switch home.content {
    case .store: break
    case .incomplete(let missing): throw StorageError.incomplete(home.path, missing: missing)
    case .nothing, .foreign:
      if FileManager.default.fileExists(atPath: home.path), access(home.path, R_OK | X_OK) != 0 {
        throw StorageError.unreadable(home.path, "you may not read it")
      }
      if home.content == .nothing, let aside = home.movedAside { throw StorageError.movedAside(home.path, to: aside) }
      throw StorageError.noStore(home.path)
    }
    return try open(at: home, dataKey: try key(of: home, passphrase: passphrase))
  }

  private static func key(of home: HomeFolder, passphrase: () throws -> String?) throws -> DataKey {
    let file = try HomeFolder.readFile(home.dataKey)
    do {
      let needs = try DataKeyFile.needsPassphrase(file)
      let given = needs ? try passphrase() : nil
      if needs, given == nil { throw StorageError.passphraseNeeded }
      return DataKey(bytes: try DataKeyFile.open(file, passphrase: given))
    } catch SealingError.wrongPassphrase {
      throw StorageError.wrongPassphrase
    } catch SealingError.emptyPassphrase {
      throw StorageError.emptyPassphrase
    } catch is SealingError {
      throw StorageError.damaged(home.dataKey)
    }
  }

  package static func open(at home: HomeFolder, dataKey: DataKey) throws -> Store {
    let seals = Seals(CellSealer(dataKey: dataKey.bytes))
    return try Store(home: home, connection: try translating(home) { try StoreConnection(home) }, seals: seals)
  }

  /// Whether this device cannot write the files of the store now: what is read is as it was saved, and a write fails with
  /// what is in its way. The next write tries again.
  package var isReadOnly: Bool { connection.isReadOnly }

  private init(home: HomeFolder, connection: StoreConnection, seals: Seals) throws {
    self.home = home
    self.connection = connection
    self.seals = seals
    guard let files = StoreFiles(home) else { throw StorageError.unreadable(home.database, "it is gone") }
    self.files = files
    ring = try Self.translating(home) {
      try connection.unsafeRead { database in
        guard let sealed = try database.value(.keyRing) else { throw StorageError.damaged(home.database) }
        guard let bytes = try? seals.meta.open(sealed, column: Column.value, row: MetaKey.keyRing.row) else {
          throw StorageError.otherKey(home.path)
        }
        return try KeyRing(bytes: bytes)
      }
    }
    try Self.translating(home) { try connection.unsafeRead { try files.follow($0) } }
  }

  deinit { settle() }

  // MARK: Its files

  /// Whether the files that were opened are still those of their names, and whole: what is written into deleted ones is
  /// lost. Waits for no transaction, as long as the log has not become shorter.
  package var isInPlace: Bool {
    switch files.look() {
    case .whole: true
    case .replaced: false
    case .shorter: (try? connection.unsafeRead { files.areInPlace($0) }) ?? false
    }
  }

  /// Before the end: the log is folded into the database only where both are those that this connection wrote.
  private func settle() {
    guard files.areWritten else { return }
    try? connection.unsafeRead { files.settle($0) }
  }

  /// Whether this store follows what it has said; see ``Continuity``.
  package func continuity() throws -> Continuity.Verdict {
    try answering {
      try connection.unsafeRead { try verdict($0, looks: Self.looks) }
    }
  }

  private static let looks = 4

  /// - Parameter looks: Another process may commit, and write its mark, between the look at the one and at the other.
  private func verdict(_ database: Database, looks: Int) throws -> Continuity.Verdict {
    let transaction = SQLiteTransaction(database, seals, Continuity(mustBegin: false))
    var looks = looks
    while true {
      let found = try Continuity.look(home.mark, life: try transaction.incarnation(), operations: try transaction.ownOperations())
      looks -= 1
      guard looks > 0, found == .behind || found == .copied else { return found }
      fm_pause_ms(1)
    }
  }

  // MARK: Transactions

  /// Runs a transaction that may write.
  ///
  /// - Parameter milliseconds: How long a lock of another program is waited for; `nil` for ten seconds.
  /// - Throws: ``StorageError``, and what `body` throws; then nothing was changed.
  package func write<Result>(within milliseconds: Int?, _ body: (inout SQLiteTransaction) throws -> Result) throws -> Result {
    let end = fm_uptime_ns() &+ UInt64(milliseconds ?? Int(Self.patience * 1_000)) * 1_000_000
    while true {
      var hasBegun = false
      do { return try writeOnce { hasBegun = true; return try body(&$0) } } catch StorageError.locked(let path) {
        // Between the tries other threads of this process read: a lock holds up who writes, and nobody else.
        guard !hasBegun, fm_uptime_ns() < end else { throw StorageError.locked(path) }
        fm_pause_ms(Self.pauseBetweenTries)
      }
    }
  }

  /// One try, that waits for a lock of another program only for a moment.
  private func writeOnce<Result>(_ body: (inout SQLiteTransaction) throws -> Result) throws -> Result {
    try answering {
      // What lies in its place now is not opened instead.
      guard isInPlace else { throw StorageError.replaced(home.path) }
      return try connection.write { database in
        try files.follow(database)
        Self.wait(Self.millisecondsOfOneTry, database)
        // IMMEDIATE: the write lock is taken before anything is read, so that sequence numbers are
        // drawn from what is really the end of the log, also with other processes at work.
        defer { Self.wait(Int(Self.patience * 1_000), database) }
        var written: (life: Incarnation, operations: UInt64)?
        let result = try database.transaction("BEGIN IMMEDIATE") {
          // Nobody else changes the log now.
          try files.mustBeInPlace(database)
          let continuity = try continuity(database, looks: Self.looks)
          var transaction = SQLiteTransaction(database, seals, continuity)
          let result = try body(&transaction)
          if continuity.hasWritten, let life = try transaction.incarnation() { written = (life, try transaction.ownOperations()) }
          try files.mustBeInPlace(database)
          return result
        }
        // What went into files that have no name any more is not saved, and nothing is said of it in the mark.
        try files.mustBeInPlace(database)
        if let written {
          Continuity.write(home.mark, life: written.life, operations: written.operations)
          proved.withLock { $0 = connection.openings }
        }
        files.fold(database)
        return result
      }
    }
  }

  /// Looks once in each run whether the store follows its mark, inside the transaction that writes.
  private func continuity(_ database: Database, looks: Int) throws -> Continuity {
    let opening = connection.openings
    if proved.withLock({ $0 }) == opening { return Continuity(mustBegin: false) }
    let isProved = try verdict(database, looks: looks) == .proved
    if isProved { proved.withLock { $0 = opening } }
    return Continuity(mustBegin: !isProved)
  }

  /// Sets how long SQLite waits for a lock of another program.
  private static func wait(_ milliseconds: Int, _ database: Database) {
    sqlite3_busy_timeout(database.sqliteConnection, Int32(clamping: milliseconds))
  }

  package func read<Result>(_ body: (SQLiteTransaction) throws -> Result) throws -> Result { try read(within: nil, body) }

  /// As ``read(_:)``, for who cannot wait.
  package func read<Result>(within milliseconds: Int?, _ body: (SQLiteTransaction) throws -> Result) throws -> Result {
    try answering {
      try connection.unsafeRead { database in
        if let milliseconds { Self.wait(milliseconds, database) }
        defer { if milliseconds != nil { Self.wait(Int(Self.patience * 1_000), database) } }
        return try database.transaction("BEGIN DEFERRED") {
          try body(SQLiteTransaction(database, seals, try continuity(database, looks: 1)))
        }
      }
    }
  }

  /// A number that changes when another process has committed.
  package func dataVersion() throws -> Int {
    try answering {
      let version = try connection.unsafeRead { try Int.fetchOne($0.cachedStatement(sql: "PRAGMA data_version")) ?? 0 }
      // One that was opened again counts from the beginning.
      return version &+ connection.openings &* 1_000_000_007
    }
  }

  /// What `PRAGMA synchronous` reads: 2, or a commit promises too much.
  package func synchronousSetting() throws -> Int {
    try connection.unsafeRead { try Int.fetchOne($0, sql: "PRAGMA synchronous") ?? 0 }
  }

  /// Folds the log into the database early, for a store in memory whose size counts more than its speed.
  package func checkpointOften() throws { files.foldOften() }

  /// Checks the file as SQLite does. The sealed records are checked by opening each.
  package func integrityReport() throws -> [String] {
    try Self.translating(home) {
      try connection.unsafeRead { try String.fetchAll($0, sql: "PRAGMA quick_check(10)") }.filter { $0 != "ok" }
    }
  }

  package func close() {
    settle()
    connection.close()
  }

  /// As ``translating(_:_:)``; where the files are other ones by now, that is what is in the way.
  private func answering<Result>(_ body: () throws -> Result) throws -> Result {
    do { return try Self.translating(home, body) } catch let error as StorageError {
      throw isInPlace ? error : StorageError.replaced(home.path)
    }
  }

  private static func translating<Result>(_ home: HomeFolder, _ body: () throws -> Result) throws -> Result {
    do { return try body() } catch let error as DatabaseError {
      throw StorageError(error, file: home.database)
    } catch is Database.CommitUncertain {
      throw StorageError.uncertain(home.database)
    }
  }

  // MARK: Other processes

  /// Tells the other processes of this store that something was committed.
  package func pingOthers(except own: String?) { home.pingOthers(except: own) }
}

extension HomeFolder {
  /// Tells the processes of a home that something has changed. Needs no store.
  package func pingOthers(except own: String?) { tellOthers([UInt8(ascii: "!")], except: own) }

  /// As ``pingOthers(except:)``, with a message of theirs.
  package func tellOthers(_ message: [UInt8], except own: String?) { fm_ping_all(sockets, own, message, message.count) }
}

/// The sealers of the tables, derived once.
final class Seals: Sendable {
  let cells: CellSealer
  let meta, records, pending, quarantine, membership, peers, admissions: TableSealer

  init(_ cells: CellSealer) {
    self.cells = cells
    meta = cells.table("meta")
    records = cells.table("records")
    pending = cells.table("pending")
    quarantine = cells.table("quarantine")
    membership = cells.table("membership")
    peers = cells.table("peers")
    admissions = cells.table("admissions")
  }
}

extension MetaKey {
  var row: [UInt8] { Array(rawValue.utf8) }
}
