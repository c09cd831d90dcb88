import CSystem
import Foundation
import GRDB
import GRDBSQLite
import Synchronization

/// The files that a store has open: the database, its log, and the index of the log.
///
/// Whoever puts a backup in place may leave the database the file that it was, and delete or cut what lies beside it. What
/// is written then goes into a log that has no name any more; and SQLite, by itself, would fold that log into the database
/// at the end, over what others have saved since, and delete theirs. So the log is folded by this type alone, during the
/// run and at the end, and only where all three are the files of their names, and the log has all that its index names.
final class StoreFiles: Sendable {
  private struct Beside: Sendable {
    let log, index: FileState
    /// How long the log was at the last look, in bytes.
    var length: Int64
  }

  enum Look: Sendable {
    case whole
    /// The log is shorter than it was: cut, or folded by another program.
    case shorter
    case replaced
  }

  private let folder, database, log, index: String
  private let opened: FileState
  /// What lies beside the database; `nil` where this process cannot write it, and after it was closed.
  private let beside = Mutex<Beside?>(nil)
  /// From how many pages on the log is folded into the database.
  private let foldsAt = Mutex<UInt32>(1_000)
  /// As many bytes as an index has that was read.
  private static let leastIndex: Int64 = 32_768

  /// - Returns: `nil` where there is no database.
  init?(_ home: HomeFolder) {
    guard let opened = FileState(home.database) else { return nil }
    (folder, database, log, index) = (home.path, home.database, home.database + "-wal", home.database + "-shm")
    self.opened = opened
  }

  /// Whether there is a connection that may fold the log.
  var areWritten: Bool { beside.withLock { $0 != nil } }

  /// Takes over from SQLite when the log is folded, once there is a connection that can write.
  ///
  /// - Throws: ``StorageError/replaced(_:)`` where what lies beside the database is not what was opened.
  func follow(_ connection: Database) throws {
    guard !areWritten, let handle = connection.sqliteConnection, sqlite3_db_readonly(handle, "main") == 0 else { return }
    fm_store_fold_at_close(handle, 0)
    sqlite3_wal_autocheckpoint(handle, 0)
    guard let log = FileState(self.log), let index = FileState(self.index), fm_holds_file(self.log) != 0, fm_holds_file(self.index) != 0
    else { throw StorageError.replaced(folder) }
    beside.withLock { $0 = Beside(log: log, index: index, length: 0) }
  }

  /// Looks at names and sizes alone.
  func look() -> Look {
    guard let now = FileState(database), now.isSame(opened) else { return .replaced }
    return beside.withLock { known -> Look in
      guard let before = known else { return .whole }
      guard let log = FileState(self.log), log.isSame(before.log), let index = FileState(self.index), index.isSame(before.index),
        index.size >= Self.leastIndex
      else { return .replaced }
      guard log.size >= before.length else { return .shorter }
      known = Beside(log: before.log, index: before.index, length: log.size)
      return .whole
    }
  }

  /// As ``look()``, and whether the log has all the pages that its index names.
  func areInPlace(_ connection: Database) -> Bool {
    guard look() != .replaced else { return false }
    guard areWritten else { return true }
    // Twice: another program may fold the log, and cut it, between the look at the index and the one at the log.
    for _ in 0..<2 {
      let least = fm_store_log(connection.sqliteConnection).bytes
      guard let size = FileState(log)?.size else { return false }
      guard size < least else {
        remember(length: size)
        return true
      }
    }
    return false
  }

  private func remember(length: Int64) {
    beside.withLock { known in
      guard var now = known else { return }
      now.length = length
      known = now
    }
  }

  /// - Throws: ``StorageError/replaced(_:)``
  func mustBeInPlace(_ connection: Database) throws {
    guard areInPlace(connection) else { throw StorageError.replaced(folder) }
  }

  func foldOften() { foldsAt.withLock { $0 = 100 } }

  /// Folds a long log into the database. What is in the way is so for the next one as well, and nothing is lost by it.
  func fold(_ connection: Database) {
    guard areWritten, fm_store_log(connection.sqliteConnection).pages >= foldsAt.withLock({ $0 }), areInPlace(connection) else { return }
    sqlite3_wal_checkpoint_v2(connection.sqliteConnection, nil, SQLITE_CHECKPOINT_PASSIVE, nil, nil)
  }

  /// Before a connection is closed: SQLite may fold the log where it is the one that was written.
  func settle(_ connection: Database) {
    if areInPlace(connection) { fm_store_fold_at_close(connection.sqliteConnection, 1) }
    beside.withLock { $0 = nil }
  }
}

/// Which file has a name, and how long it is.
private struct FileState: Sendable {
  private let device, node: UInt64
  let size: Int64

  /// - Returns: `nil` where there is none.
  init?(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    (device, node, size) = (UInt64(status.st_dev), UInt64(status.st_ino), Int64(status.st_size))
  }

  func isSame(_ other: FileState) -> Bool { (device, node) == (other.device, other.node) }
}
