import Causality
import Foundation
import GRDB

/// Why durable state could not be read or changed.
///
/// Cases carry what a person needs in order to act, and nothing private: no values, no keys.
package enum StorageError: Error, Sendable, Hashable {
  case noStore(String)
  /// There is none, and beside its place lies what was moved aside there.
  case movedAside(String, to: String)
  case storeExists(String)
  /// A folder with other files in it.
  case notEmpty(String)
  /// A folder at which a drive is mounted: nothing can be exchanged with it as a whole.
  case mountPoint(String)
  /// One of the two files of a store is gone or empty.
  case incomplete(String, missing: String)
  /// The key file is not the one of this database.
  case otherKey(String)
  /// The files were deleted or replaced while the program ran.
  case replaced(String)
  case olderVersion(String, found: Int, supported: Int)
  case unreadable(String, String)
  case diskFull(String)
  /// The disk failed while a change was made durable.
  case uncertain(String)
  /// Another process kept the write lock for the whole waiting time.
  case locked(String)
  case newerVersion(String, found: Int, supported: Int)
  case damaged(String)
  case wrongPassphrase
  case passphraseNeeded
  case emptyPassphrase
  case helpAsPassphrase
}

extension StorageError: ActionableError {
  package var code: String {
    switch self {
    case .noStore: "storage.no-store"
    case .movedAside: "storage.moved-aside"
    case .storeExists: "storage.store-exists"
    case .notEmpty: "storage.not-empty"
    case .mountPoint: "storage.mount-point"
    case .incomplete: "storage.incomplete"
    case .otherKey: "storage.other-key"
    case .replaced: "storage.replaced"
    case .olderVersion: "storage.older-version"
    case .unreadable: "storage.unreadable"
    case .diskFull: "storage.disk-full"
    case .uncertain: "storage.uncertain"
    case .locked: "storage.locked"
    case .newerVersion: "storage.newer-version"
    case .damaged: "storage.damaged"
    case .wrongPassphrase: "storage.wrong-passphrase"
    case .passphraseNeeded: "storage.passphrase-needed"
    case .emptyPassphrase: "storage.empty-passphrase"
    case .helpAsPassphrase: "storage.help-as-passphrase"
    }
  }

  package var summary: String {
    switch self {
    case .noStore(let path): "There is no store in \(path). Nothing was changed."
    case .movedAside(let path, let aside): "There is no store in \(path). What was there lies in \(aside): it was moved aside, and nothing of it was deleted."
    case .storeExists(let path): "There is a store in \(path) already. It was not touched."
    case .mountPoint(let path): "A drive is mounted at \(path), and a home is put in its place as a whole. Nothing was made."
    case .notEmpty(let path): "\(path) is a file, or holds other files. Nothing was changed in it."
    case .incomplete(let path, let missing): "There was a store in \(path), but \(missing) is gone, empty or no file. Nothing was changed."
    case .otherKey(let path): "In \(path) the key file and the database do not belong together. Nothing was changed."
    case .replaced(let path):
      "The files in \(path) were deleted or replaced while this program ran. Nothing more is saved by it; what it had sent before comes back from the relay."
    case .olderVersion(let path, let found, let supported):
      "\(path) has format \(found), which was never released; this version reads from \(supported) on. It was not changed."
    case .unreadable(let path, let why): "\(path): \(why). Nothing was changed."
    case .diskFull(let path):
      "The change was not saved: the disk with \(path) is full. Everything saved before is intact."
    case .uncertain(let path):
      "The disk with \(path) failed while the change was being saved: it may be there, or not. Everything saved before is intact."
    case .locked(let path):
      "The change was not saved: another program holds \(path). Nothing was lost."
    case .newerVersion(let path, let found, let supported):
      "\(path) has format \(found); this version reads up to \(supported). It was not changed."
    case .damaged(let path): "\(path) is damaged. It was not changed."
    case .wrongPassphrase: "This passphrase does not open the store. Nothing was changed."
    case .passphraseNeeded: "The store is protected by a passphrase. Nothing was changed."
    case .emptyPassphrase: "An empty passphrase protects nothing. Nothing was changed."
    case .helpAsPassphrase: "A passphrase cannot begin with “!”: where it is asked for, that key calls for help. Nothing was changed."
    }
  }

  /// Why what comes from elsewhere cannot be saved now; `nil` where that is no obstacle that passes.
  package var obstacle: String? {
    switch self {
    case .locked(let path): "another program holds \(path)"
    case .diskFull(let path): "the disk with \(path) is full"
    default: nil
    }
  }

  package var remedy: String {
    switch self {
    case .noStore: "If one was there, mount its drive or name its folder with --home. Otherwise start one with `fullmind init --device NAME`, or join with `fullmind join CODE --device NAME --relay folder:PATH`."
    case .movedAside(let path, let aside):
      "`\(Self.putBack(aside, to: path))` puts it back; then repeat. To begin anew instead: `fullmind init --device NAME --replace`, or join with `fullmind join CODE --device NAME --relay folder:PATH --replace`; both leave it where it lies."
    case .storeExists: "Use another --home, or go on with this store. `--replace` moves it aside first."
    case .mountPoint(let path): "Choose a folder in it, for instance --home \(path)/fullmind."
    case .notEmpty: "Choose an empty folder, or one that does not exist yet."
    case .incomplete(_, let missing):
      "Put \(missing) back where it was. If it is lost, `fullmind join CODE --device NAME --relay folder:PATH --replace` on this device, with a code of another one, brings back everything that had left this device. What was written only here stays in the old folder, which is kept aside, and can be read again if \(missing) is found."
    case .otherKey:
      "Put the files back that belong together, or join again: `fullmind join CODE --device NAME --relay folder:PATH --replace` keeps the old folder aside."
    case .replaced: "Start it again: it then opens the files that are there now."
    case .olderVersion: "Start anew: `fullmind init --device NAME --replace` keeps the old folder aside."
    case .unreadable(let path, _): "Check that \(path) exists and that you may read and write it; or use another --home."
    case .diskFull: "Free some space, then repeat. `fullmind crisis card` works in any case."
    case .uncertain: "Look whether it is there (`fullmind record list`) before you enter it again, and check the disk: `fullmind doctor`."
    case .locked: "Close the other program, then repeat."
    case .newerVersion: "Install the newer version of fullmind on this device too."
    case .damaged:
      "Restore a backup, or join again: `fullmind join CODE --device NAME --relay folder:PATH --replace`, with a code of another device, keeps the old folder aside. `fullmind crisis card` works in any case."
    case .wrongPassphrase: "Try again; or join anew with a code of another device: `fullmind join CODE --device NAME --relay folder:PATH --replace`."
    case .passphraseNeeded: "Give it with --passphrase-file FILE, or run the command in a terminal."
    case .emptyPassphrase: "Choose one, or use --no-passphrase and read what that means."
    case .helpAsPassphrase: "Choose one that begins with anything else."
    }
  }

  package var exitStatus: ExitStatus {
    switch self {
    case .noStore, .movedAside: .noInput
    case .storeExists, .notEmpty, .mountPoint: .cannotCreate
    case .incomplete, .otherKey: .dataError
    case .replaced: .temporary
    case .olderVersion: .config
    case .unreadable: .noPermission
    case .diskFull, .uncertain: .ioError
    case .locked: .temporary
    case .newerVersion: .config
    case .damaged: .dataError
    case .wrongPassphrase, .passphraseNeeded, .emptyPassphrase, .helpAsPassphrase: .noPermission
    }
  }

  /// The command that gives a folder the name that it had; what lies under that name is kept.
  private static func putBack(_ aside: String, to path: String) -> String {
    func quoted(_ path: String) -> String { "'" + path.replacing("'", with: "'\\''") + "'" }
    let isOccupied = access(path, F_OK) == 0
    return (isOccupied ? "mv \(quoted(path)) \(quoted(path + ".empty")) && " : "") + "mv \(quoted(aside)) \(quoted(path))"
  }

  /// Whether there is no room for even a few pages beside a file.
  private static func isFull(_ file: String) -> Bool {
    var status = statvfs()
    guard statvfs(file, &status) == 0 else { return false }
    return UInt64(status.f_bavail) * UInt64(status.f_frsize) < 65_536
  }

  /// Translates what SQLite reports; arguments never get into it.
  package init(_ error: DatabaseError, file: String) {
    switch error.resultCode {
    case .SQLITE_FULL: self = .diskFull(file)
    case .SQLITE_BUSY, .SQLITE_LOCKED: self = .locked(file)
    case .SQLITE_CORRUPT, .SQLITE_NOTADB: self = .damaged(file)
    // SQLite reports an error of the disk when it cannot make its files larger.
    case .SQLITE_IOERR: self = Self.isFull(file) ? .diskFull(file) : .unreadable(file, "the disk reports an error")
    case .SQLITE_READONLY, .SQLITE_PERM: self = .unreadable(file, "it cannot be written")
    default: self = .unreadable(file, "it cannot be opened")
    }
  }
}
