import ArgumentParser
import Causality
import Foundation
import GRDB
import Sealing
import Storage

/// The one door through which commands speak.
enum Output {
  /// Writes to standard output; a reader that went away is no error.
  static func write(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let written = bytes.withUnsafeBytes { Foundation.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
      if written <= 0 { return }
      bytes = bytes.dropFirst(written)
    }
  }

  static func line(_ text: String) { write(text + "\n") }

  static func json(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    line(String(decoding: try encoder.encode(value), as: UTF8.self))
  }

  /// Tells something that is no result, on standard error.
  static func note(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }

  /// Runs a command; turns its error into words, a code and an exit status.
  static func reporting(asJSON: Bool = false, _ body: () throws -> Void) throws {
    do { try body() } catch let error as ExitCode { throw error } catch {
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

  /// Every error a person meets, as one they can act on.
  static func actionable(_ error: any Error) -> any ActionableError {
    switch error {
    case let error as any ActionableError: error
    case is SealingError, is CodecError: StorageError.damaged("The store")
    case let error as DatabaseError: StorageError(error, file: "The store")
    default: UnexpectedError(type: String(describing: type(of: error)))
    }
  }
}

/// An error nobody thought of. It names its type and nothing else, for the rest may be private.
struct UnexpectedError: ActionableError {
  var type: String
  var code: String { "internal.unexpected" }
  var summary: String { "Something unexpected happened (\(type)). Everything saved before is intact." }
  var remedy: String { "Run `fullmind doctor`, and report what it prints." }
  var exitStatus: ExitStatus { .software }
}
