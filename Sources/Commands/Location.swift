import ArgumentParser
import Causality
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Stores
import Therapy

/// Where the store and the relay are: the options that every command takes.
struct Location: ParsableArguments, Sendable {
  @Option(help: ArgumentHelp("The folder of the store (or FULLMIND_HOME).", valueName: "dir"))
  var home: String?

  @Option(help: ArgumentHelp("Where devices meet: folder:PATH. The one remembered by the store, else a folder in it.", valueName: "url"))
  var relay: String?

  @Option(help: ArgumentHelp("A file with the passphrase in its first line.", valueName: "file"))
  var passphraseFile: String?

  func validate() throws {
    guard let home else { return }
    if home.isEmpty { throw ValidationError("--home takes a folder; it was empty.") }
    Invocation.home.withLock { $0 = home }
  }

  var homeFolder: HomeFolder { Self.homeFolder(home) }

  /// The folder that was named, or the one the environment or the system suggests.
  static func homeFolder(_ home: String?) -> HomeFolder {
    let named = Environment["FULLMIND_HOME"].flatMap { $0.isEmpty ? nil : $0 }
    return HomeFolder(path: home ?? named ?? Environment.folder("XDG_DATA_HOME", else: ".local/share"))
  }

  /// The relay for a home that is being made: the one that was named, or a folder inside the home.
  func chosenRelay() throws -> RelayLocation { try namedRelay() ?? .inside(homeFolder) }

  func namedRelay() throws -> RelayLocation? { try relay.map { try RelayLocation($0) } }

  /// Where the devices of a store meet: as named, or as the store remembers.
  func relayLocation(_ store: Store) throws -> RelayLocation {
    try namedRelay() ?? RelayLocation.remembered(by: store).location
  }

  /// Opens the store; asks for the passphrase when it needs one and there is a terminal.
  ///
  /// - Parameters:
  ///   - sendsJournal: Whether what was raised past a store that cannot be opened is sent from here.
  ///   - tellsPutBack: Whether it is said that the home was put back: not to who asks for help.
  func openStore(sendsJournal: Bool = true, tellsPutBack: Bool = true) throws -> Store {
    let store: Store
    do { store = try Store.open(at: homeFolder) { try passphrase(prompt: "Passphrase: ") } } catch {
      if sendsJournal { CrisisReport.sendJournal(homeFolder) }
      throw error
    }
    // Before anything is written: afterwards the store follows. On standard error, for who reads the answer.
    if tellsPutBack, let words = PutBack.words(try? store.continuity()) { Output.note("note: \(words).") }
    // A crisis that was raised past the store; a program that runs takes it over as well.
    _ = try? store.takeOverJournal(within: 50)
    return store
  }

  /// Opens the store without asking anything: one that needs a passphrase stays closed where no file names it.
  func openQuietly(with typed: String? = nil) throws -> Store {
    let (store, refusal) = try opened(with: typed)
    if let refusal, !store.isReadOnly { throw refusal }
    return store
  }

  /// As ``openQuietly(with:)``; where nothing can be written, what waits in the journal is read beside the store.
  func openToRead() throws -> Store { try opened(with: nil).store }

  private func opened(with typed: String?) throws -> (store: Store, refusal: (any Error)?) {
    let store = try Store.open(at: homeFolder) { try typed ?? (passphraseFile == nil ? nil : passphrase(prompt: "")) }
    do { try store.takeOverJournal(within: 1_000) } catch { return (store, error) }
    return (store, nil)
  }

  /// What the person does, taken to the relay at once. A relay that cannot be used is no obstacle.
  func actions(_ store: Store) -> Actions {
    // Asked before anything is saved: the courier would wait for the transaction that saves.
    let relay = Result { try openRelay(store) }
    return Actions(store, courier: Courier { try relay.get() })
  }

  /// The relay for a command that asks it itself: every call has an end.
  func patientRelay(_ store: Store) throws -> PatientRelay {
    PatientRelay(try openRelay(store), named: try relayLocation(store).description)
  }

  /// The relay for a driver or a courier, which leave behind a thread that hangs.
  func openRelay(_ store: Store) throws -> FolderRelay {
    let known = try RelayLocation.remembered(by: store)
    return (try namedRelay() ?? known.location).relay(of: store, meaning: known.identity)
  }

  /// A passphrase for a store that is being made: one that nobody can type again would close it for good.
  func newPassphrase(prompt: String) throws -> String {
    guard let passphrase = try passphrase(prompt: prompt) else { throw PassphraseNotChosen.notAsked }
    guard !passphrase.isEmpty else { throw StorageError.emptyPassphrase }
    guard !passphrase.hasPrefix("!") else { throw StorageError.helpAsPassphrase }
    if passphraseFile == nil, getpass("Once more: ").map({ String(cString: $0) }) != passphrase { throw PassphraseNotChosen.differ }
    return passphrase
  }

  /// The passphrase from the file, or typed without echo; `nil` when there is neither.
  func passphrase(prompt: String) throws -> String? {
    if let passphraseFile {
      let bytes = try HomeFolder.readFile(HomeFolder.absolute(passphraseFile))
      // Some editors begin a text with a mark of its byte order, which nobody has typed.
      let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
      guard let text = String(validating: bytes.starts(with: mark) ? bytes.dropFirst(mark.count) : bytes[...], as: UTF8.self) else {
        throw InputError.notText("The passphrase in the file")
      }
      return text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).first.map(String.init) ?? ""
    }
    guard isatty(STDIN_FILENO) == 1, isatty(STDERR_FILENO) == 1 else { return nil }
    // Where no account is yet, there is nobody to tell.
    Output.note(EmergencyJournal(homeFolder) == nil ? "! and Enter: help now." : "! and Enter: help now, and your devices are told.")
    while true {
      guard let answer = getpass(prompt.replacing(": ", with: " (! for help): ")) else { return nil }
      let typed = String(cString: answer)
      guard typed == "!" else { return typed }
      // Whoever cannot think of the passphrase now needs something else first.
      CrisisReport.raiseAtPrompt(self)
    }
  }
}

/// Adds `--json` to commands that have something to read.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Print one JSON object.")
  var json = false
}
