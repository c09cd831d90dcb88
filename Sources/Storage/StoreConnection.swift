import CSystem
import Foundation
import GRDB
import GRDBSQLite
import Synchronization

/// The connection to the file of a store.
///
/// SQLite makes two files beside a database before it reads a first row of it, and a full disk or a folder that this user
/// may not write lets it make none. Where no log holds anything, the database says all there is: it is then read as a file
/// that nobody changes. Where a log is left, of a program that was killed for instance, the two are read from a copy in
/// memory. Whether somebody changed them is looked at around each read, so that an answer is never made of two states.
final class StoreConnection: Sendable {
  private struct State: Sendable {
    var queue: DatabaseQueue
    /// How the file was when it was opened for reading alone; `nil` where it can be written.
    var seen: Look?
    var openings = 0
  }

  private let home: HomeFolder
  private let state: Mutex<State>

  /// How long another program is waited for where a file is opened once more, in seconds: a try of a write.
  private static let again: TimeInterval = 0.02

  /// Opens a store for writing, or for reading alone where its device cannot write.
  ///
  /// - Throws: ``StorageError`` and `DatabaseError`: why it cannot be written.
  init(_ home: HomeFolder) throws {
    let (queue, seen) = try Self.opened(home, Store.patience)
    self.home = home
    state = Mutex(State(queue: queue, seen: seen))
  }

  var isReadOnly: Bool { state.withLock { $0.seen != nil } }
  /// How often it was opened once more.
  var openings: Int { state.withLock { $0.openings } }

  func close() { try? state.withLock { $0.queue }.close() }

  // MARK: Opening

  /// A database that is written with every promise kept.
  static func writable(_ home: HomeFolder, patience: TimeInterval = Store.patience) throws -> DatabaseQueue {
    var configuration = Configuration()
    configuration.busyMode = .timeout(patience)
    configuration.maximumReaderCount = 1
    configuration.label = "store"
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

  /// The same for a store that is there, of whatever version.
  private static func current(_ home: HomeFolder, _ patience: TimeInterval) throws -> DatabaseQueue {
    let queue = try writable(home, patience: patience)
    try queue.writeWithoutTransaction { database in
      // Until it is known that the files are those of this connection its log is folded by nobody.
      fm_store_fold_at_close(database.sqliteConnection, 0)
      try Schema.migrate(database, home.database)
      sqlite3_busy_timeout(database.sqliteConnection, Int32(Store.patience * 1_000))
    }
    return queue
  }

  private static func opened(_ home: HomeFolder, _ patience: TimeInterval) throws -> (DatabaseQueue, Look?) {
    do { return (try current(home, patience), nil) } catch let problem as DatabaseError {
      guard mayReadAlone(problem), let look = Look(home.database) else { throw problem }
      if look.isAll, let queue = try? readable(home), Look(home.database) == look { return (queue, look) }
      guard let found = copied(home) else { throw problem }
      return found
    }
  }

  private static let copies = 4
  private static let pauseBetweenCopies: Int32 = 25

  /// A copy of the database and its log, as they were at one moment; nothing is made beside them, and what the copy lies in
  /// is gone as soon as it is open.
  ///
  /// - Returns: `nil` where there is no log that says anything, where they are written all the time, or where nothing has
  ///   room for a copy.
  private static func copied(_ home: HomeFolder) -> (DatabaseQueue, Look?)? {
    for turn in 0..<copies {
      if turn > 0 { fm_pause_ms(pauseBetweenCopies) }
      guard let look = Look(home.database), look.hasLogAlone, StoreCopy.isLog(home.database + "-wal") else { return nil }
      // The clock of a file system has coarse ticks: of two changes in one of them only the first shows.
      guard look.isSettled(at: fm_file_time_ns()) else { continue }
      for folder in StoreCopy.places {
        guard let copy = StoreCopy(of: home.database, in: folder) else { continue }
        guard Look(home.database) == look else { break }
        if let queue = try? readable(copy, home) { return (queue, look) }
      }
    }
    return nil
  }

  /// SQLite reads on from what it has opened, so that nothing of the copy is left when this process ends, however it does.
  private static func readable(_ copy: StoreCopy, _ home: HomeFolder) throws -> DatabaseQueue {
    defer { copy.remove() }
    return try readable(copy.database, home)
  }

  /// Whether what is in the way is in the way of writing only.
  private static func mayReadAlone(_ problem: DatabaseError) -> Bool {
    switch problem.resultCode {
    case .SQLITE_FULL, .SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_IOERR, .SQLITE_PERM: true
    default: false
    }
  }

  /// The database as a file that nobody changes: nothing is made beside it.
  private static func readable(_ home: HomeFolder) throws -> DatabaseQueue {
    guard let path = home.database.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) else {
      throw StorageError.unreadable(home.database, "it cannot be opened")
    }
    return try readable("file://\(path)?mode=ro&immutable=1", home)
  }

  private static func readable(_ path: String, _ home: HomeFolder) throws -> DatabaseQueue {
    var configuration = Configuration()
    configuration.readonly = true
    configuration.maximumReaderCount = 1
    configuration.label = "store"
    let queue = try DatabaseQueue(path: path, configuration: configuration)
    try queue.unsafeRead { database in
      try database.execute(sql: "PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY")
      // One of an older version cannot be made into one of this: that writes.
      try Schema.migrate(database, home.database)
    }
    return queue
  }

  // MARK: Using it

  /// Reads; where the file was changed meanwhile that nobody was to change, there is no answer.
  ///
  /// - Throws: ``StorageError/locked(_:)`` then, and what `body` throws.
  func unsafeRead<Result>(_ body: (Database) throws -> Result) throws -> Result {
    let (queue, seen) = try reading()
    guard let seen else { return try queue.unsafeRead(body) }
    let answer: Swift.Result<Result, any Error> = Swift.Result { try queue.unsafeRead(body) }
    if let now = Look(home.database), seen.isChanged(now) { throw StorageError.locked(home.database) }
    return try answer.get()
  }

  /// Writes, without a transaction.
  ///
  /// - Throws: What is in the way where the file still cannot be written, and what `body` throws.
  func write<Result>(_ body: (Database) throws -> Result) throws -> Result {
    let queue = try state.withLock { state -> DatabaseQueue in
      guard let seen = state.seen else { return state.queue }
      let queue: DatabaseQueue
      do { queue = try Self.current(home, Self.again) } catch let problem as DatabaseError where problem.resultCode == .SQLITE_CANTOPEN {
        throw StorageError.unreadable(home.database, "it cannot be written")
      }
      try Self.take(queue, nil, seen, &state, home)
      return queue
    }
    return try queue.writeWithoutTransaction(body)
  }

  /// What is to be read from: the file as it was, or opened once more where it is another one by now.
  private func reading() throws -> (DatabaseQueue, Look?) {
    try state.withLock { state -> (DatabaseQueue, Look?) in
      guard let seen = state.seen, let now = Look(home.database), seen.isChanged(now) else { return (state.queue, state.seen) }
      let (queue, look) = try Self.opened(home, Self.again)
      try Self.take(queue, look, seen, &state, home)
      return (queue, look)
    }
  }

  private static func take(_ queue: DatabaseQueue, _ look: Look?, _ before: Look, _ state: inout State, _ home: HomeFolder) throws {
    guard let now = Look(home.database), before.isSameFile(now) else { throw StorageError.replaced(home.path) }
    (state.queue, state.seen) = (queue, look)
    state.openings += 1
  }
}

/// What shows whether a database was changed.
private struct Look: Equatable, Sendable {
  private let device, node, modified: UInt64
  private let size, log: Int64
  /// Of the log, where it holds anything.
  private let logNode, logModified: UInt64
  private let hasJournal: Bool

  /// - Returns: `nil` where there is no file.
  init?(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    (device, node, size) = (UInt64(status.st_dev), UInt64(status.st_ino), Int64(status.st_size))
    modified = Continuity.times(status).modified
    var beside = stat()
    log = stat(path + "-wal", &beside) == 0 ? Int64(beside.st_size) : 0
    (logNode, logModified) = log > 0 ? (UInt64(beside.st_ino), Continuity.times(beside).modified) : (0, 0)
    hasJournal = access(path + "-journal", F_OK) == 0
  }

  /// Whether the database alone says everything.
  var isAll: Bool { log == 0 && !hasJournal }
  /// Whether the database and its log together say everything.
  var hasLogAlone: Bool { log > 0 && !hasJournal }

  private static let tick: UInt64 = 20_000_000

  /// Whether a change after this look would show, by the clock of the file system in nanoseconds.
  func isSettled(at now: UInt64) -> Bool {
    let last = max(modified, logModified)
    return last > now || now - last > Self.tick
  }

  func isSameFile(_ other: Look) -> Bool { (device, node) == (other.device, other.node) }
  func isChanged(_ now: Look) -> Bool { isSameFile(now) && self != now }
}
