import CSystem
import Causality
import Foundation
import Synchronization

/// Whether a store follows what it has said.
///
/// A store that was put back from a copy has the numbers that it gave away since before it. So a mark beside the store
/// says how far it had come when it was written last: a store behind its mark has lost its last commits, and a mark
/// that was copied shows it. Who cannot prove that it follows begins another life with its next write, so that no
/// number is ever used twice.
///
/// The mark is 40 bytes: `FMMK` 01 00 00 00, the life, the operations written in all lives, the number of its own file
/// in the file system, and the moment at which the file system says that it was written, in nanoseconds. It is written after
/// each commit and never synced: one that lags behind proves as much.
package final class Continuity: Sendable {
  package enum Verdict: Sendable, Hashable {
    case proved
    /// No mark, and nothing was written: this is the first run.
    case noMark
    /// The mark says more than the store knows.
    case behind
    /// The mark is a copy, another life's, or gone: the database was put back alone, for instance.
    case copied
    /// No mark can be kept: what lies in its place is no file of this user.
    case unusable
  }

  private struct State {
    /// Whether the next write has to begin a life.
    var mustBegin: Bool
    var hasWritten = false
  }
  private let state: Mutex<State>

  init(mustBegin: Bool) { state = Mutex(State(mustBegin: mustBegin)) }

  var mustBegin: Bool {
    get { state.withLock { $0.mustBegin } }
    set { state.withLock { $0.mustBegin = newValue } }
  }

  /// Something was written under a number of this device.
  func wrote() { state.withLock { $0.hasWritten = true } }
  var hasWritten: Bool { state.withLock { $0.hasWritten } }

  private static let magic = Array("FMMK".utf8) + [1, 0, 0, 0]
  private static let size = 40

  /// Compares a mark with what the store knows.
  ///
  /// - Parameters:
  ///   - life: The life that the store says it is in; `nil` when it has none.
  ///   - operations: What this device wrote in all its lives, as the store has it.
  /// - Throws: ``StorageError/unreadable(_:_:)``: it cannot be looked at now, which says nothing of the mark.
  static func look(_ path: String, life: Incarnation?, operations: UInt64) throws(StorageError) -> Verdict {
    for turn in 0..<tries {
      if turn > 0 { fm_pause_ms(pauseBetweenTries) }
      switch glance(path, life: life, operations: operations) {
      case .found(let verdict): return verdict
      case .failed(EIO) where turn == tries - 1: return .unusable
      case .failed: continue
      }
    }
    throw .unreadable(path, "it cannot be looked at now, since this machine has no files or no memory to spare")
  }

  private static let tries = 5
  private static let pauseBetweenTries: Int32 = 5

  private enum Glance {
    case found(Verdict)
    /// Why it could not be looked at, which may pass.
    case failed(Int32)

    /// The machine has no file or no memory to spare, or the disk failed for a moment; anything else is the mark's.
    init(_ reason: Int32) {
      self = [EMFILE, ENFILE, ENOMEM, EINTR, EAGAIN, EIO].contains(reason) ? .failed(reason) : .found(.unusable)
    }
  }

  private static func glance(_ path: String, life: Incarnation?, operations: UInt64) -> Glance {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else {
      let reason = errno
      return reason == ENOENT ? .found(operations == 0 ? .noMark : .copied) : Glance(reason)
    }
    defer { close(descriptor) }
    var (status, bytes) = (stat(), [UInt8](repeating: 0, count: size))
    guard fstat(descriptor, &status) == 0 else { return Glance(errno) }
    guard status.st_mode & S_IFMT == S_IFREG else { return .found(.unusable) }
    let count = pread(descriptor, &bytes, size, 0)
    guard count >= 0 else { return Glance(errno) }
    return .found(compare(Array(bytes[..<count]), status, life: life, operations: operations))
  }

  private static func compare(_ bytes: [UInt8], _ status: stat, life: Incarnation?, operations: UInt64) -> Verdict {
    guard bytes.count == size, Array(bytes[..<8]) == magic else { return operations == 0 ? .noMark : .copied }
    let written = UInt64(bigEndianBytes: bytes[16..<24])
    guard let life, UInt64(bigEndianBytes: bytes[8..<16]) == life.rawValue else { return .copied }
    guard written <= operations else { return .behind }
    let (modified, changed) = times(status)
    let said = UInt64(bigEndianBytes: bytes[32..<40])
    // Whoever copies a file cannot keep both the moment of its last change and that of its content.
    guard UInt64(bigEndianBytes: bytes[24..<32]) == UInt64(status.st_ino), modified == changed, modified >= said,
      modified - said < patience
    else { return .copied }
    return .proved
  }

  /// Between the moment that a mark names and the one at which the file system says that it was written.
  private static let patience: UInt64 = 1_000_000_000

  /// When the content and when anything of a file was changed last, in nanoseconds.
  static func times(_ status: stat) -> (modified: UInt64, changed: UInt64) {
    func nanoseconds(_ time: timespec) -> UInt64 {
      UInt64(clamping: time.tv_sec) &* 1_000_000_000 &+ UInt64(clamping: time.tv_nsec)
    }
    #if os(Linux)
      return (nanoseconds(status.st_mtim), nanoseconds(status.st_ctim))
    #else
      return (nanoseconds(status.st_mtimespec), nanoseconds(status.st_ctimespec))
    #endif
  }

  /// Writes the mark in place. What cannot be written makes the next run begin another life, and nothing worse.
  static func write(_ path: String, life: Incarnation, operations: UInt64) {
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return }
    let first = magic + life.rawValue.bigEndianBytes + operations.bigEndianBytes + UInt64(status.st_ino).bigEndianBytes
    // In one call: whoever reads it meanwhile would take a half of it for a copy.
    let now = fm_file_time_ns()
    guard pwrite(descriptor, first + now.bigEndianBytes, size, 0) == size, fstat(descriptor, &status) == 0 else { return }
    let modified = times(status).modified
    guard modified < now || modified - now >= patience else { return }
    // The files have another clock than this machine, on a share for instance.
    let moment = modified.bigEndianBytes
    _ = pwrite(descriptor, moment, moment.count, off_t(first.count))
  }
}
