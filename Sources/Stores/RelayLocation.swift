import Causality
import Foundation
import Relays
import Replica
import Sealing
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

  // MARK: What a home knows

  /// The folder inside a home: nobody else can reach it.
  package static func inside(_ home: HomeFolder) -> RelayLocation { .folder(home.relay) }

  /// Whether no other device can reach it.
  package func isPrivate(to home: HomeFolder) -> Bool { folder == home.relay }

  /// How a home keeps it; empty for the folder inside, which moves with the home.
  package func kept(in home: HomeFolder) -> String { isPrivate(to: home) ? "" : description }

  /// Reads what a home has kept.
  package init(kept: String, in home: HomeFolder) {
    self = (try? RelayLocation(kept)) ?? .inside(home)
  }

  /// Where the devices of a store meet.
  package static func remembered(by store: Store) throws -> (location: RelayLocation, identity: UInt64?) {
    guard let place = try store.read({ try $0.relayPlace() }) else { return (.inside(store.home), nil) }
    return (RelayLocation(kept: place.url, in: store.home), place.identity)
  }

  /// Keeps where the devices meet from now on, and which relay that is; also for an emergency.
  package func remember(_ identity: UInt64, in store: Store) throws {
    try store.write { transaction in
      if let before = try transaction.relayPlace(), before.identity != identity { try ExchangeStatus.forgetProgress(&transaction) }
      try transaction.setRelayPlace(kept(in: store.home), identity: identity)
    }
    try EmergencyJournal(store.home)?.remember(self, identity)
  }

  /// The relay for this device; nothing is touched.
  package func relay(of store: Store, isTold: Bool? = nil) throws -> FolderRelay {
    relay(of: store, meaning: try Self.remembered(by: store).identity, isTold: isTold)
  }

  /// - Parameter identity: Which relay is meant; `nil` where that is not known yet.
  package func relay(of store: Store, meaning identity: UInt64?, isTold: Bool? = nil) -> FolderRelay {
    let tags = store.ring.account.sealer.tags
    return FolderRelay(
      path: folder, account: tags.account, ownTag: BlindTag(bytes: tags.device(store.ring.device)), meaning: identity,
      isTold: isTold)
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
