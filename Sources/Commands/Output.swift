import ArgumentParser
import CSystem
import Causality
import Foundation
import GRDB
import Sealing
import Storage
import Synchronization

/// The one door through which commands speak.
enum Output {
  private static let problem = Mutex<Int32>(0)

  /// What went wrong when something was written last, as `errno` says it; 0 while all is well.
  static var failure: Int32 { problem.withLock { $0 } }

  /// Writes to standard output.
  ///
  /// - Returns: Whether all of it went out.
  @discardableResult
  static func write(_ text: String) -> Bool { write(text, to: STDOUT_FILENO) }

  private static func write(_ text: String, to descriptor: Int32) -> Bool {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let written = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
      if written < 0, errno == EINTR { continue }
      if written < 0, errno == EAGAIN {
        fm_pause_ms(5)
        continue
      }
      if written <= 0 {
        let reason = written == 0 ? ENOSPC : errno
        if descriptor == STDOUT_FILENO { problem.withLock { $0 = reason } }
        return false
      }
      bytes = bytes.dropFirst(written)
    }
    return true
  }

  static func line(_ text: String) { write(text + "\n") }

  static func json(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    line(String(decoding: try encoder.encode(value), as: UTF8.self))
  }

  /// Words of this program, with commands as they have to be typed here.
  static func hint(_ text: String) { line(Invocation.here(text)) }

  /// Tells something that is no result, on standard error.
  static func note(_ text: String) { _ = write(Invocation.here(text) + "\n", to: STDERR_FILENO) }

  /// Asks something on standard error, without an end of the line.
  static func ask(_ text: String) { _ = write(text, to: STDERR_FILENO) }

  /// Runs a command; turns its error into words, a code and an exit status.
  static func reporting(asJSON: Bool = false, _ body: () throws -> Void) throws {
    do {
      try body()
      // A reader that went away has read enough; what could not be written is no success.
      if failure != 0, failure != EPIPE { throw OutputError() }
    } catch let error as ExitCode { throw error } catch {
      let actionable = actionable(error)
      if asJSON {
        try? json(
          ErrorObject(
            error: .init(code: actionable.code, summary: actionable.summary, remedy: actionable.remedy)))
      }
      note("error: \(actionable.summary)\n  try: \(actionable.remedy)\n code: \(actionable.code)")
      throw ExitCode(actionable.exitStatus.rawValue)
    }
  }

  private struct ErrorObject: Encodable {
    struct Content: Encodable { var code, summary, remedy: String }
    var error: Content
  }

  /// Every error a person meets, as one they can act on here.
  static func actionable(_ error: any Error) -> any ActionableError { PastableError(known(error)) }

  private static func known(_ error: any Error) -> any ActionableError {
    switch error {
    case let error as any ActionableError: error
    case is SealingError, is CodecError: StorageError.damaged("The store")
    case let error as DatabaseError: StorageError(error, file: "The store")
    default: UnexpectedError(type: String(describing: type(of: error)))
    }
  }
}

/// An error whose commands can be typed as they stand.
private struct PastableError: ActionableError {
  var code, summary, remedy: String
  var exitStatus: ExitStatus

  init(_ error: any ActionableError) {
    (code, exitStatus) = (error.code, error.exitStatus)
    (summary, remedy) = (Invocation.here(error.summary), Invocation.here(error.remedy))
  }
}

/// Standard output cannot be written.
struct OutputError: ActionableError {
  var code: String { "output.unwritable" }
  var summary: String { "The answer could not be written. What was saved before is intact." }
  var remedy: String { "Free space where the output goes, or send it elsewhere; then repeat." }
  var exitStatus: ExitStatus { .ioError }
}

/// An error nobody thought of. It names its type and nothing else, for the rest may be private.
struct UnexpectedError: ActionableError {
  var type: String
  var code: String { "internal.unexpected" }
  var summary: String { "Something unexpected happened (\(type)). Everything saved before is intact." }
  var remedy: String { "Run `fullmind doctor`, and report what it prints." }
  var exitStatus: ExitStatus { .software }
}
