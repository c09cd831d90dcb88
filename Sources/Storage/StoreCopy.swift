import Foundation

/// A database and its log in a folder of their own, in memory where there is such a place.
///
/// It holds what the store holds, sealed as it is there. Nobody else can read it, and it is removed with this value at the
/// latest.
final class StoreCopy: Sendable {
  private let folder: String
  var database: String { folder + "/store.db" }

  /// Where a copy can lie, the best first.
  static var places: [String] {
    let own = ProcessInfo.processInfo.environment["XDG_RUNTIME_DIR"].flatMap { $0.hasPrefix("/") ? $0 : nil }
    return [own, "/dev/shm", NSTemporaryDirectory()].compactMap { $0 }
  }

  /// Copies a database and its log. Whether they were changed meanwhile is for the caller to see.
  ///
  /// - Parameter place: The folder in which a new one is made.
  /// - Returns: `nil` where it cannot be read, or not be written there; nothing is left then.
  init?(of database: String, in place: String) {
    folder = "\(place)/fullmind-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    guard mkdir(folder, 0o700) == 0 else { return nil }
    for suffix in ["", "-wal"] where !Self.copy(database + suffix, folder + "/store.db" + suffix) {
      remove()
      return nil
    }
  }

  deinit { remove() }

  func remove() {
    for suffix in ["", "-wal", "-shm"] { unlink(database + suffix) }
    rmdir(folder)
  }

  private static let block = 1 << 20

  private static func copy(_ from: String, _ to: String) -> Bool {
    let source = open(from, O_RDONLY | O_CLOEXEC)
    guard source >= 0 else { return false }
    defer { close(source) }
    let target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard target >= 0 else { return false }
    defer { close(target) }
    var bytes = [UInt8](repeating: 0, count: block)
    while true {
      let count = read(source, &bytes, bytes.count)
      if count == 0 { return true }
      if count < 0, errno == EINTR { continue }
      guard count > 0, HomeFolder.writeAll(Array(bytes[..<count]), to: target) else { return false }
    }
  }

  /// Whether a file begins as a log of SQLite does: what is anything else says nothing, and SQLite would read on without it.
  static func isLog(_ path: String) -> Bool {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 32)
    guard pread(descriptor, &bytes, bytes.count, 0) == bytes.count else { return false }
    return bytes[..<3] == [0x37, 0x7f, 0x06] && (bytes[3] == 0x82 || bytes[3] == 0x83)
  }
}
