import Causality
import Foundation
import Replica

/// Files that are put in place as a whole.
extension FolderRelay {
  // MARK: Files

  /// Puts a file in place as a whole, where nobody else has put one.
  ///
  /// - Returns: Whether it was put there by this call.
  func putOnce(_ bytes: [UInt8], at path: String) throws(RelayError) -> Bool {
    let temporary = "\(path).\(getpid())-\(UInt32.random(in: 0 ... .max)).new"
    try write(bytes, to: temporary)
    defer { unlink(temporary) }
    if link(temporary, path) == 0 { return true }
    // A file system without hard links: whoever makes the name first has it all the same.
    if [EPERM, EOPNOTSUPP, EMLINK, ENOSYS].contains(errno) {
      let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
      if descriptor >= 0 {
        Foundation.close(descriptor)
        guard rename(temporary, path) == 0 else { throw .unreachable(path) }
        return true
      }
    }
    guard errno == EEXIST else { throw errno == ENOSPC ? .full : .unreachable(path) }
    return false
  }

  func replaceFile(_ path: String, with bytes: [UInt8]) throws(RelayError) {
    // Several processes of one device may write it: each has a temporary name of its own.
    let temporary = "\(path).\(getpid())-\(UInt32.random(in: 0 ... .max)).new"
    try write(bytes, to: temporary)
    guard rename(temporary, path) == 0 else {
      let isFull = errno == ENOSPC
      unlink(temporary)
      throw isFull ? .full : .unreachable(path)
    }
  }

  func write(_ bytes: [UInt8], to path: String) throws(RelayError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw errno == ENOSPC ? .full : .unreachable(path) }
    defer { Foundation.close(descriptor) }
    do { try LogFile.write(bytes, to: descriptor, path) } catch {
      unlink(path)
      throw error
    }
    finish(path)
  }

  /// - Returns: `nil` for a file that is not there, or that is larger than it may be.
  func contents(_ path: String, limit: Int) throws(RelayError) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw .unreachable(path)
    }
    defer { Foundation.close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, Int(status.st_size) <= limit else { return nil }
    guard let bytes = LogFile.bytes(of: descriptor, at: 0, count: Int(status.st_size)) else { throw .unreachable(path) }
    return bytes
  }

  // MARK: Boards

  package func putNotice(_ sealed: [UInt8], board: String, number: UInt64) throws(RelayError) -> Bool {
    try check()
    guard number <= Limits.notices else { return false }
    try makeFolder(root + "/boards")
    try makeFolder(root + "/boards/" + board)
    return try putOnce(sealed, at: root + "/boards/\(board)/\(number)")
  }

  package func notices(on board: String, after number: UInt64) throws(RelayError) -> [RelayNotice] {
    try check()
    let folder = root + "/boards/" + board
    // Anybody who may write there can make any name: a number that nobody counts up to is no notice.
    let numbers = (try names(in: folder) ?? []).compactMap { name in
      UInt64(name).flatMap { "\($0)" == name && $0 <= Limits.notices ? $0 : nil }
    }
    var notices = [RelayNotice]()
    for number in numbers.filter({ $0 > number }).sorted() {
      // A link, a socket or a file of somebody else is none either: it keeps nobody from those that are.
      guard let sealed = (try? contents(folder + "/\(number)", limit: Limits.frameBytes)) ?? nil else { continue }
      notices.append(RelayNotice(number: number, sealed: sealed))
    }
    return notices
  }
}
