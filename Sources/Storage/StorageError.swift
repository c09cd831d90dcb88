import Causality
import Foundation
import GRDB

/// Why durable state could not be read or changed.
///
/// Cases carry what a person needs in order to act, and nothing private: no values, no keys.
package enum StorageError: Error, Sendable, Hashable {
  case noStore(String)
  case storeExists(String)
  case unreadable(String, String)
  case diskFull(String)
  /// Another process kept the write lock for the whole waiting time.
  case locked(String)
  case newerVersion(String, found: Int, supported: Int)
  case damaged(String)
  case wrongPassphrase
  case passphraseNeeded
  case emptyPassphrase
}

extension StorageError: ActionableError {
  package var code: String {
    switch self {
    case .noStore: "storage.no-store"
    case .storeExists: "storage.store-exists"
    case .unreadable: "storage.unreadable"
    case .diskFull: "storage.disk-full"
    case .locked: "storage.locked"
    case .newerVersion: "storage.newer-version"
    case .damaged: "storage.damaged"
    case .wrongPassphrase: "storage.wrong-passphrase"
    case .passphraseNeeded: "storage.passphrase-needed"
    case .emptyPassphrase: "storage.empty-passphrase"
    }
  }

  package var summary: String {
    switch self {
    case .noStore(let path): "There is no store in \(path). Nothing was changed."
    case .storeExists(let path): "There is a store in \(path) already. It was not touched."
    case .unreadable(let path, let why): "\(path): \(why). Nothing was changed."
    case .diskFull(let path):
      "The change was not saved: the disk with \(path) is full. Everything saved before is intact."
    case .locked(let path):
      "The change was not saved: another program held \(path) for 10 seconds. Nothing was lost."
    case .newerVersion(let path, let found, let supported):
      "\(path) has format \(found); this version reads up to \(supported). It was not changed."
    case .damaged(let path): "\(path) is damaged. It was not changed."
    case .wrongPassphrase: "This passphrase does not open the store. Nothing was changed."
    case .passphraseNeeded: "The store is protected by a passphrase. Nothing was changed."
    case .emptyPassphrase: "An empty passphrase protects nothing. Nothing was changed."
    }
  }

  package var remedy: String {
    switch self {
    case .noStore: "Start one with `fullmind init --device NAME`, or join with `fullmind join CODE --device NAME`."
    case .storeExists: "Use another --home, or go on with this store."
    case .unreadable(let path, _): "Check that \(path) exists and that you may read and write it; or use another --home."
    case .diskFull: "Free some space, then repeat. `fullmind crisis card` works in any case."
    case .locked: "Close the other program, then repeat."
    case .newerVersion: "Install the newer version of fullmind on this device too."
    case .damaged:
      "Keep the folder as it is, and join again from another device, or restore a backup. `fullmind crisis card` works in any case."
    case .wrongPassphrase: "Try again; or join anew from another device."
    case .passphraseNeeded: "Give it with --passphrase-file FILE, or run the command in a terminal."
    case .emptyPassphrase: "Choose one, or use --no-passphrase and read what that means."
    }
  }

  package var exitStatus: ExitStatus {
    switch self {
    case .noStore: .noInput
    case .storeExists: .cannotCreate
    case .unreadable: .noPermission
    case .diskFull: .ioError
    case .locked: .temporary
    case .newerVersion: .config
    case .damaged: .dataError
    case .wrongPassphrase, .passphraseNeeded, .emptyPassphrase: .noPermission
    }
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
