import Foundation

/// The files of one store. Folders are 0700, files 0600.
package struct HomeFolder: Sendable, Hashable {
  package let path: String

  package init(path: String) { self.path = Self.absolute(path) }

  /// A path from the root, without `~`, `.` and `..`. Links stay links.
  package static func absolute(_ path: String) -> String {
    let full = path.hasPrefix("~") ? (path as NSString).expandingTildeInPath : path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
    var parts: [Substring] = []
    for part in full.split(separator: "/") where part != "." {
      if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return parts.isEmpty ? "/" : parts.reduce("") { "\($0)/\($1)" }
  }

  package var database: String { path + "/store.db" }
  package var dataKey: String { path + "/data.key" }
  /// Held by the process that exchanges with the relay.
  package var exchangeLock: String { path + "/exchange.lock" }
  /// Held for a moment by whoever appends to the relay.
  package var relay: String { path + "/relay" }
  /// A socket per process, pinged after each commit.
  package var sockets: String { path + "/live" }

  /// Whether there is a store. A folder without a key file is not one.
  package var hasStore: Bool {
    FileManager.default.fileExists(atPath: dataKey) && FileManager.default.fileExists(atPath: database)
  }

  /// Makes the folder, readable by nobody else.
  ///
  /// - Throws: ``StorageError/unreadable(_:_:)``.
  package func create() throws(StorageError) {
    for folder in [path, sockets] {
      do {
        try FileManager.default.createDirectory(
          atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      } catch { throw .unreadable(folder, "it cannot be created") }
      chmod(folder, 0o700)
    }
  }

  /// Writes a file that nobody else can read, completely or not at all.
  package static func writePrivate(_ bytes: [UInt8], to path: String) throws(StorageError) {
    let temporary = path + ".new"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .unreadable(path, "it cannot be written") }
    defer { close(descriptor) }
    let written = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    guard written == bytes.count else {
      unlink(temporary)
      throw errno == ENOSPC ? .diskFull(path) : .unreadable(path, "it cannot be written")
    }
    guard fsync(descriptor) == 0, rename(temporary, path) == 0 else {
      unlink(temporary)
      throw .unreadable(path, "it cannot be written")
    }
  }

  package static func readFile(_ path: String) throws(StorageError) -> [UInt8] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw .unreadable(path, "it cannot be read")
    }
    return Array(data)
  }
}
