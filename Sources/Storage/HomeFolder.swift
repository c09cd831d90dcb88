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
  /// How far the store had come when it was written last: see ``Continuity``.
  package var mark: String { path + "/mark" }
  /// Held by the process that exchanges with the relay.
  package var exchangeLock: String { path + "/exchange.lock" }
  /// What the process that exchanges says of itself, twice a minute at least and whenever it is asked.
  package var leader: String { path + "/leader" }
  package var relay: String { path + "/relay" }
  /// A socket per process, pinged after each commit.
  package var sockets: String { path + "/live" }
  /// The emergency key, and the journals of crises that the store may not have yet.
  package var emergency: String { path + "/emergency" }
  package var emergencyKey: String { emergency + "/key" }
  /// What happened, without anything private.
  package var log: String { path + "/log.txt" }
  package var earlierLog: String { path + "/log.1.txt" }

  /// What lies in a folder.
  package enum Content: Sendable, Hashable {
    case nothing
    /// Both files of a store.
    case store
    /// A file of a store is gone or empty, or both are and what lay beside them is there: what it needs is named.
    case incomplete(missing: String)
    /// Files of somebody else.
    case foreign
  }

  package var content: Content {
    let (key, data) = (Self.size(dataKey), Self.size(database))
    if let key, let data, key > 0, data > 0 { return .store }
    if key == nil, data == nil {
      var status = stat()
      if stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFDIR { return .foreign }
      if access(mark, F_OK) == 0 || access(emergencyKey, F_OK) == 0 { return .incomplete(missing: database) }
      let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
      // What a contact's side keeps is no store, and is not in the way of one.
      return names.allSatisfy { $0 == "following" } ? .nothing : .foreign
    }
    return .incomplete(missing: (key ?? 0) == 0 ? dataKey : database)
  }

  private static func size(_ path: String) -> Int? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    // A folder, or anything else in its place, is no file of a store.
    return status.st_mode & S_IFMT == S_IFREG ? Int(status.st_size) : 0
  }

  /// Whether there is a store, or what is left of one: nothing is made in its place.
  package var hasStore: Bool {
    switch content {
    case .store, .incomplete: true
    case .nothing, .foreign: false
    }
  }

  /// Makes the folder, readable by nobody else.
  ///
  /// - Throws: ``StorageError/unreadable(_:_:)``.
  package func create() throws(StorageError) {
    for folder in [path, sockets, emergency] {
      do {
        try FileManager.default.createDirectory(
          atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      } catch { throw .unreadable(folder, "it cannot be created") }
      chmod(folder, 0o700)
    }
  }

  /// Writes a file that nobody else can read, completely or not at all.
  ///
  /// - Parameter modified: When its content is to count as changed, in nanoseconds since 1970; `nil` for now.
  package static func writePrivate(_ bytes: [UInt8], to path: String, modified: UInt64? = nil) throws(StorageError) {
    let temporary = "\(path).\(getpid())-\(UInt32.random(in: 0 ... .max)).new"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw errno == ENOSPC ? .diskFull(path) : .unreadable(path, "it cannot be written") }
    let isWritten = writeAll(bytes, to: descriptor) && fsync(descriptor) == 0
    let problem = errno
    if let modified { date(descriptor, modified) }
    close(descriptor)
    guard isWritten, rename(temporary, path) == 0 else {
      let reason = isWritten ? errno : problem
      unlink(temporary)
      throw reason == ENOSPC ? .diskFull(path) : .unreadable(path, "it cannot be written")
    }
    syncFolder(of: path)
  }

  private static func date(_ descriptor: Int32, _ modified: UInt64) {
    var time = timespec()
    time.tv_sec = numericCast(modified / 1_000_000_000)
    time.tv_nsec = numericCast(modified % 1_000_000_000)
    let times = [time, time]
    _ = futimens(descriptor, times)
  }

  /// Writes all bytes, whatever interrupts; `errno` says why not.
  package static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if written < 0, errno == EINTR { continue }
      // A disk that is full takes a part first, and says so with the next call.
      if written <= 0 {
        if written == 0 { errno = ENOSPC }
        return false
      }
      rest = rest.dropFirst(written)
    }
    return true
  }

  /// Makes what was renamed or made in a folder durable.
  package static func syncFolder(of path: String) {
    let folder = (path as NSString).deletingLastPathComponent
    let descriptor = open(folder.isEmpty ? "." : folder, O_RDONLY | O_CLOEXEC | O_DIRECTORY)
    guard descriptor >= 0 else { return }
    _ = fsync(descriptor)
    close(descriptor)
  }

  package static func readFile(_ path: String) throws(StorageError) -> [UInt8] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw .unreadable(path, "it cannot be read")
    }
    return Array(data)
  }
}
