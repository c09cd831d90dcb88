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
}
