import Causality
import Foundation
import Storage

/// Where a relay lies, as given with `--relay`.
package enum RelayLocation: Sendable, Hashable, CustomStringConvertible {
  case folder(String)

  /// Reads `folder:PATH`.
  ///
  /// - Throws: ``RelayLocationError``.
  package init(_ text: String) throws(RelayLocationError) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, !parts[1].isEmpty else { throw .malformed }
    switch parts[0] {
    case "folder":
      self = .folder(HomeFolder.absolute(parts[1]))
    case "nats": throw .notBuiltIn("nats")
    default: throw .unknownScheme
    }
  }

  /// The folder it lies in.
  package var folder: String {
    switch self {
    case .folder(let path): path
    }
  }

  package var description: String {
    switch self {
    case .folder(let path): "folder:\(path)"
    }
  }

  /// The location a home remembers, or the folder inside it.
  package static func remembered(in home: HomeFolder) -> RelayLocation {
    let text = (try? HomeFolder.readFile(home.path + "/relay.url")).map { String(decoding: $0, as: UTF8.self) }
    let remembered = text?.split(whereSeparator: \.isNewline).first.flatMap { try? RelayLocation(String($0)) }
    return remembered ?? .folder(home.relay)
  }

  package func remember(in home: HomeFolder) throws {
    try HomeFolder.writePrivate(Array((description + "\n").utf8), to: home.path + "/relay.url")
  }
}

package enum RelayLocationError: Error, Sendable, Hashable {
  case malformed, unknownScheme
  case notBuiltIn(String)
}

extension RelayLocationError: ActionableError {
  package var code: String {
    switch self {
    case .malformed: "relay.malformed-url"
    case .unknownScheme: "relay.unknown-scheme"
    case .notBuiltIn: "relay.not-built-in"
    }
  }
  package var summary: String {
    switch self {
    case .malformed: "The relay's URL could not be read. Nothing was changed."
    case .unknownScheme: "There is no relay of this kind. Nothing was changed."
    case .notBuiltIn(let scheme): "This program was built without \(scheme) relays. Nothing was changed."
    }
  }
  package var remedy: String { "Give a folder that all your devices can reach: --relay folder:PATH." }
  package var exitStatus: ExitStatus { .usage }
}
