import ArgumentParser
import Causality
import Foundation
import Relays
import Sealing
import Storage
import Stores

/// Where the store and the relay are: the options that every command takes.
struct Location: ParsableArguments, Sendable {
  @Option(help: ArgumentHelp("The folder of the store (or FULLMIND_HOME).", valueName: "dir"))
  var home: String?

  @Option(help: ArgumentHelp("Where devices meet: folder:PATH. The one remembered by the store, else a folder in it.", valueName: "url"))
  var relay: String?

  @Option(help: ArgumentHelp("A file with the passphrase in its first line.", valueName: "file"))
  var passphraseFile: String?

  var homeFolder: HomeFolder { Self.homeFolder(home) }

  /// The folder that was named, or the one the environment or the system suggests.
  static func homeFolder(_ home: String?) -> HomeFolder {
    HomeFolder(path: home ?? Environment["FULLMIND_HOME"] ?? Environment.folder("XDG_DATA_HOME", else: ".local/share"))
  }

  func relayLocation() throws -> RelayLocation {
    try relay.map { try RelayLocation($0) } ?? RelayLocation.remembered(in: homeFolder)
  }

  /// Opens the store; asks for the passphrase when it needs one and there is a terminal.
  func openStore() throws -> Store {
    try Store.open(at: homeFolder) { try passphrase(prompt: "Passphrase: ") }
  }

  /// What the person does, taken to the relay at once. A relay that cannot be used is no obstacle.
  func actions(_ store: Store) -> Actions {
    let location = self
    return Actions(store, courier: Courier { try location.openRelay(store) })
  }

  func openRelay(_ store: Store) throws -> FolderRelay {
    try AccountSetup.relay(try relayLocation(), ring: store.ring)
  }

  /// The passphrase from the file, or typed without echo; `nil` when there is neither.
  func passphrase(prompt: String) throws -> String? {
    if let passphraseFile {
      let text = String(decoding: try HomeFolder.readFile(HomeFolder.absolute(passphraseFile)), as: UTF8.self)
      return text.split(separator: "\n", omittingEmptySubsequences: false).first.map(String.init) ?? ""
    }
    guard isatty(STDIN_FILENO) == 1, isatty(STDERR_FILENO) == 1 else { return nil }
    while true {
      let typed = String(cString: getpass(prompt.replacing(": ", with: " (! for help): ")))
      guard typed == "!" else { return typed }
      // Whoever cannot think of the passphrase now needs something else first.
      CrisisReport.printCard(home: homeFolder)
    }
  }
}

/// Adds `--json` to commands that have something to read.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Print one JSON object.")
  var json = false
}
