import ArgumentParser
import CSystem
import Causality
import Dashboard
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Stores
import Therapy

/// `fullmind init`: a new account, with this device as its first.
struct InitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init", abstract: "Start an account on this device; prints the recovery code once.",
    discussion: """
      The recovery code is kept for recovering the account when every device is lost; no command of this version
      takes it yet. It is printed once and kept nowhere: write it down on paper, and keep it.

      With a passphrase the store can be opened only by who knows it. With --no-passphrase whoever can read
      the files of this device can read the store.
      """)

  @OptionGroup var location: Location
  @OptionGroup var output: OutputOptions
  @Option(help: ArgumentHelp("What to call this device.", valueName: "name")) var device: String
  @Flag(help: "Protect the store with a key file instead of a passphrase.") var noPassphrase = false
  @Flag(help: "No key for emergencies: a crisis can then only be raised while the store can be opened.") var noEmergencyKey = false
  @Flag(help: "Move a store that is there aside, and start anew.") var replace = false

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      let name = try DeviceName.checked(device)
      let (home, relay) = (location.homeFolder, try location.chosenRelay())
      try AccountSetup.check(home, replacing: replace)
      // What lies aside is sent by nobody: a crisis that waits there goes first, where it can.
      if replace { CrisisReport.sendJournal(home) }
      let choices = AccountSetup.Choices(
        deviceName: name, passphrase: try chosenPassphrase(), relay: relay, hasEmergencyKey: !noEmergencyKey)
      let (prepared, code) = try AccountSetup.found(at: home, choices)
      let account = String(RecordID(bytes: prepared.ring.account.account)?.description ?? "")
      do { try show(code, account, prepared.ring.device) } catch {
        prepared.discard()
        throw error
      }
      let aside: String?
      do { aside = try prepared.place(replacing: replace) } catch {
        prepared.discard()
        throw CodeIsVoid(cause: Output.actionable(error))
      }
      if let aside { Output.note("What was there lies in \(aside) now.") }
      if output.json { return }
      Output.line("")
      Output.line("Account \(account.suffix(8)) is ready; this device is “\(name)”.")
      if !noEmergencyKey { sayEmergencyKey() }
      if relay.isPrivate(to: home) {
        Output.line("Devices meet in a folder inside this home, which no other device can reach:")
        Output.hint("`fullmind relay make folder:PATH` makes one that all of them can.")
      }
      Output.hint("Next: `fullmind` opens the dashboard, `fullmind devices invite` adds another device.")
    }
  }

  private struct Created: Encodable { var account, device, recoveryCode: String }

  /// The code counts as shown when it went out: until then there is no account.
  private func show(_ code: RecoveryCode, _ account: String, _ device: DeviceID) throws {
    if output.json {
      try Output.json(Created(account: account, device: device.description, recoveryCode: code.words))
    } else {
      Output.line("Your recovery code. It is shown once and kept nowhere; write it on paper:")
      for (index, row) in code.words.split(separator: " ").chunks(of: 6).enumerated() {
        Output.line("  \(index * 6 + 1 < 10 ? " " : "")\(index * 6 + 1)  " + row.joined(separator: " "))
      }
    }
    guard Output.failure == 0 else { throw CodeNotShown() }
    if !output.json { try checkByReentry(code) }
  }

  private func chosenPassphrase() throws -> String? {
    if noPassphrase { return nil }
    return try location.newPassphrase(prompt: "Choose a passphrase: ")
  }

  /// At a terminal, two of the words are asked back: a code nobody wrote down is no code.
  private func checkByReentry(_ code: RecoveryCode) throws {
    guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 else { return }
    let words = code.words.split(separator: " ").map(String.init)
    // ^C ends it as an answer would: with a word, and with nothing left behind.
    let signals = fm_signals_open()
    for number in [Int.random(in: 1...12), Int.random(in: 13...24)] {
      while true {
        Output.write("Word \(number)? ")
        var ready: [UInt8] = [0, 0]
        _ = fm_wait([signals, STDIN_FILENO], &ready, 2, -1)
        guard ready[0] == 0 else {
          Output.line("")
          throw CodeNotShown()
        }
        guard let answer = readLine() else { throw CodeNotShown() }
        if answer.trimmingCharacters(in: .whitespaces).lowercased() == words[number - 1] { break }
        Output.line("That is not word \(number). Look at your paper again.")
      }
    }
  }
}

/// What lies outside of the passphrase is said where it is put there.
private func sayEmergencyKey() {
  Output.line("A crisis can be raised here even when the store cannot be opened: a key for that alone lies beside it,")
  Output.line("outside of the passphrase. Who takes it can raise a crisis in your name, and read nothing.")
}

/// The recovery code did not get out, or nobody has read it.
struct CodeNotShown: ActionableError {
  var code: String { "init.code-not-shown" }
  var summary: String { "The recovery code was not shown, or nobody said that it is on paper. No account was made." }
  var remedy: String { "Run `fullmind init` again, where its output can be read." }
  var exitStatus: ExitStatus { .ioError }
}

/// The recovery code was shown, and the account that it opens could not be put in its place.
struct CodeIsVoid: ActionableError {
  var cause: any ActionableError
  var code: String { cause.code }
  var summary: String { "No account was made: the 24 words that were shown open nothing. Cross them out. \(cause.summary)" }
  var remedy: String { cause.remedy }
  var exitStatus: ExitStatus { cause.exitStatus }
}

/// Why a store that is being made got no passphrase.
enum PassphraseNotChosen: ActionableError {
  case differ
  /// There is neither a file nor a terminal.
  case notAsked

  var code: String {
    switch self {
    case .differ: "init.passphrases-differ"
    case .notAsked: "init.passphrase-not-chosen"
    }
  }
  var summary: String {
    switch self {
    case .differ: "The two passphrases are not the same. Nothing was made."
    case .notAsked: "No passphrase was chosen, and there is no terminal to ask for one. Nothing was made."
    }
  }
  var remedy: String {
    switch self {
    case .differ: "Try again, and type the same one twice."
    case .notAsked: "Give it with --passphrase-file FILE, do without one with --no-passphrase, or run the command in a terminal."
    }
  }
  var exitStatus: ExitStatus { .usage }
}

/// `fullmind join`: this device joins an account that exists.
struct JoinCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "join", abstract: "Join an account with an invitation code.",
    discussion: """
      Both devices show a short code of 12 digits. Compare them: they are equal only when nobody is in the
      middle. Both devices must use the same --relay.

      EXIT STATUS
        0   this device belongs to the account
        64  the code cannot be read
        75  nobody answered within five minutes
        77  the short codes were not confirmed
      """)

  @Argument(help: "The code that `fullmind devices invite` printed.") var code: String
  @OptionGroup var location: Location
  @OptionGroup var output: OutputOptions
  @Option(help: ArgumentHelp("What to call this device.", valueName: "name")) var device: String
  @Flag(help: "Accept the short code without asking (for scripts).") var yes = false
  @Flag(help: "Protect the store with a key file instead of a passphrase.") var noPassphrase = false
  @Flag(help: "No key for emergencies: a crisis can then only be raised while the store can be opened.") var noEmergencyKey = false
  @Flag(help: "Move a store that is there aside, and join anew.") var replace = false

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      let name = try DeviceName.checked(device)
      let home = location.homeFolder
      try AccountSetup.check(home, replacing: replace)
      // What lies aside is sent by nobody: a crisis that waits there goes first.
      if replace, !CrisisReport.sendJournal(home) { throw CrisisWaits() }
      do { _ = try InvitationCode(code) } catch { throw EnrolmentError.badCode }
      guard let relay = try location.namedRelay() ?? (replace ? remembered(by: home) : nil) else { throw RelayNotNamed() }
      // Looked at before anybody is asked for a passphrase.
      do throws(RelayError) { _ = try PatientRelay.identity(of: FolderRelay(path: relay.folder, account: [], ownTag: nil), at: relay.description) } catch {
        throw NoMeetingPlace(relay: relay.description, code: error.code)
      }
      let choices = AccountSetup.Choices(
        deviceName: name, passphrase: try chosenPassphrase(), relay: relay, hasEmergencyKey: !noEmergencyKey)
      var joining = try Joining(code: code, at: home, choices)
      let prepared = try waitForAdmission(&joining)
      do {
        if let aside = try prepared.place(replacing: replace) { Output.note("What was there lies in \(aside) now.") }
      } catch let error as StorageError {
        joining.didNotFit(error)
        throw error
      }
      if output.json {
        let account = RecordID(bytes: prepared.ring.account.account)?.description ?? ""
        try Output.json(Joined(account: account, device: prepared.ring.device.description))
      } else {
        Output.line("This device is “\(name)” and belongs to the account now.")
        if !noEmergencyKey { sayEmergencyKey() }
      }
      // It belongs to the account whatever becomes of the first exchange.
      do {
        let store = try prepared.open()
        try ExchangeOnce(store: store, relay: try location.openRelay(store), relayName: relay.description).run(timeout: 30)
      } catch {
        Output.note("Not everything is here yet: \(Output.actionable(error).summary) `fullmind sync` goes on.")
      }
    }
  }

  private struct Joined: Encodable { var account, device: String }

  /// Where the devices met of the store that is replaced, as far as that can be read.
  private func remembered(by home: HomeFolder) -> RelayLocation? {
    let place = EmergencyJournal(home)?.location ?? (try? location.openQuietly()).flatMap { try? RelayLocation.remembered(by: $0).location }
    return place.flatMap { $0.isPrivate(to: home) ? nil : $0 }
  }

  /// Nothing of another device lies where it was said that the devices meet.
  struct NoMeetingPlace: ActionableError {
    var relay: String
    var code: String
    var summary: String { "No relay can be read at \(relay), so this is not where the other device meets, or it cannot be reached from here. Nothing was changed." }
    var remedy: String { "Mount its drive, or give the --relay that “fullmind relay show” prints on the other device." }
    var exitStatus: ExitStatus { .unavailable }
  }

  /// Where the devices meet has to be said: a folder inside a home that does not exist yet is no meeting place.
  struct RelayNotNamed: ActionableError {
    var code: String { "join.relay-not-named" }
    var summary: String { "Where the devices meet was not said. Nothing was changed." }
    var remedy: String { "Give the same --relay that the other device uses: “fullmind relay show” there prints it." }
    var exitStatus: ExitStatus { .usage }
  }

  private func chosenPassphrase() throws -> String? {
    // Scripts that accept the short code unseen have decided about the key file as well.
    if noPassphrase || (yes && location.passphraseFile == nil) { return nil }
    return try location.newPassphrase(prompt: "Choose a passphrase for this device: ")
  }

  private func waitForAdmission(_ joining: inout Joining) throws -> AccountSetup.Prepared {
    while true {
      switch try joining.step() {
      case .waiting: Thread.sleep(forTimeInterval: mailboxGap)
      case .compare(let digits, let admittedBy):
        do { try confirmShortCode(digits, with: "on “\(CellText.clean(admittedBy))”", yes: yes) } catch {
          joining.refuse()
          throw error
        }
      case .admitted(let prepared): return prepared
      }
    }
  }
}

/// Seconds between looks into a mailbox: for people, a blink.
let mailboxGap = 0.05

/// Asks whether both screens show the same digits.
private func confirmShortCode(_ digits: String, with other: String, yes: Bool) throws {
  Output.note("Short code: \(digits)   (it must be the same \(other))")
  if yes { return }
  Output.ask("Is it the same? [y/N] ")
  guard let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else { throw EnrolmentError.declined }
}

/// `fullmind devices`: who belongs to the account.
struct DevicesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "devices", abstract: "List, invite and rename devices.",
    subcommands: [List.self, Invite.self, Rename.self], defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the devices of the account.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let snapshot = try StatusReport.snapshot(location)
        if output.json {
          try Output.json(DeviceList(devices: snapshot.devices.map(StatusReport.Device.init)))
        } else {
          for line in StatusText.devices(snapshot) { Output.line(line) }
        }
      }
    }
    private struct DeviceList: Encodable { var devices: [StatusReport.Device] }
  }

  struct Invite: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "invite", abstract: "Print an invitation code and let the device that uses it in.",
      discussion: "Prints the code alone on standard output, then waits for the newcomer, at most five minutes.")
    @OptionGroup var location: Location
    @Flag(help: "Accept the short code without asking (for scripts).") var yes = false

    func run() throws {
      try Output.reporting {
        let store = try location.openStore()
        let (place, relay) = (try location.relayLocation(store), try location.patientRelay(store))
        guard !place.isPrivate(to: store.home) else { throw RelayIsPrivate() }
        var performer = try EffectPerformer(store: store, relay: relay, ring: store.ring, run: 0)
        var invitation = try Invitation(store: store, relay: relay, members: performer.members)
        Output.line(invitation.code.description)
        guard Output.failure == 0 else { throw OutputError() }
        Output.note("Waiting for the new device: fullmind join \(invitation.code) --device NAME --relay \(Invocation.quoted(place.description))")
        while true {
          guard case .compare(let digits, let name) = try invitation.step() else {
            Thread.sleep(forTimeInterval: mailboxGap)
            continue
          }
          do { try confirmShortCode(digits, with: "on “\(CellText.clean(name))”", yes: yes) } catch {
            invitation.cancel()
            throw error
          }
          break
        }
        let isSent = try invitation.admit(&performer)
        store.pingOthers(except: nil)
        Output.note(isSent ? "Admitted. Waiting until the new device is heard of…" : "Admitted. The relay cannot be used now: whichever program of this device exchanges next hands the account over.")
        guard isSent, let newcomer = invitation.newcomer else { return }
        try waitUntilHeard(of: newcomer, store, try location.openRelay(store), place)
      }
    }

    /// Nothing is said of the newcomer that it has not said itself.
    private func waitUntilHeard(of newcomer: DeviceID, _ store: Store, _ relay: FolderRelay, _ place: RelayLocation) throws {
      let end = SystemClock.now.uptime + 20_000_000_000
      while SystemClock.now.uptime < end {
        // Where no other process of this device exchanges, the others learn of the newcomer from us.
        try? ExchangeOnce(store: store, relay: relay, relayName: place.description).run(timeout: 5)
        let devices = try SnapshotBuilder.fromStore(store, relay: "").devices
        guard let device = devices.first(where: { $0.id == newcomer }) else { throw EnrolmentError.declinedThere }
        if device.isHeardOf { return Output.note("The new device belongs to the account, and was heard of.") }
        Thread.sleep(forTimeInterval: 0.2)
      }
      Output.note("It is admitted and was not heard of yet. `fullmind devices list` shows when it was. If “fullmind join” was ended there, the same command goes on.")
    }
  }

  /// No other device can reach a folder inside this home.
  struct RelayIsPrivate: ActionableError {
    var code: String { "relay.private" }
    var summary: String { "The relay is a folder inside this home: no other device can reach it. Nobody was invited." }
    var remedy: String { "Make one that all devices can reach: `fullmind relay make folder:PATH`, then invite again." }
    var exitStatus: ExitStatus { .config }
  }

  struct Rename: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "rename", abstract: "Give a device another name.")
    @OptionGroup var location: Location
    @Argument(help: "Its name or the beginning of its id.") var device: String
    @Argument(help: "The new name.") var name: String

    func run() throws {
      try Output.reporting {
        let store = try location.openStore()
        let name = try DeviceName.checked(name)
        let target = try StatusReport.device(named: device, in: store)
        try location.actions(store).rename(target, to: name)
      }
    }
  }
}

extension Array {
  /// Consecutive pieces of at most `size` elements.
  func chunks(of size: Int) -> [[Element]] {
    stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min($0 + size, count)]) }
  }
}
