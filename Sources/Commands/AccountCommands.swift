import ArgumentParser
import Causality
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
      The recovery code is the only way back into the account when every device is lost. It is printed once
      and kept nowhere: write it down on paper.

      With a passphrase the store can be opened only by who knows it. With --no-passphrase whoever can read
      the files of this device can read the store.
      """)

  @OptionGroup var location: Location
  @OptionGroup var output: OutputOptions
  @Option(help: ArgumentHelp("What to call this device.", valueName: "name")) var device: String
  @Flag(help: "Protect the store with a key file instead of a passphrase.") var noPassphrase = false

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      let name = try DeviceName.checked(device)
      let relay = try location.relayLocation()
      let passphrase = try chosenPassphrase()
      let home = location.homeFolder
      if home.hasStore { throw StorageError.storeExists(home.path) }
      // The relay is looked at first: an account whose relay cannot exist is a trap.
      if case .folder(let path) = relay, path != home.relay {
        _ = try FolderRelay(path: path, account: [], ownTag: nil)
      }
      let (store, code) = try AccountSetup.create(at: home, deviceName: name, passphrase: passphrase)
      try relay.remember(in: home)
      let account = String(RecordID(bytes: store.ring.account.account)?.description ?? "")
      if output.json {
        try Output.json(
          Created(account: account, device: store.ring.device.description, recoveryCode: code.words))
        return
      }
      Output.line("Account \(account.suffix(8)) is ready; this device is “\(name)”.")
      Output.line("")
      Output.line("Your recovery code. It is shown once and kept nowhere; write it on paper:")
      for (index, row) in code.words.split(separator: " ").chunks(of: 6).enumerated() {
        Output.line("  \(index * 6 + 1 < 10 ? " " : "")\(index * 6 + 1)  " + row.joined(separator: " "))
      }
      try checkByReentry(code)
      Output.line("")
      Output.line("Next: `fullmind` opens the dashboard, `fullmind devices invite` adds another device.")
    }
  }

  private struct Created: Encodable { var account, device, recoveryCode: String }

  private func chosenPassphrase() throws -> String? {
    if noPassphrase { return nil }
    guard let passphrase = try location.passphrase(prompt: "Choose a passphrase: ") else {
      throw StorageError.passphraseNeeded
    }
    guard !passphrase.isEmpty else { throw StorageError.emptyPassphrase }
    if location.passphraseFile == nil, String(cString: getpass("Once more: ")) != passphrase {
      throw StorageError.wrongPassphrase
    }
    return passphrase
  }

  /// At a terminal, two of the words are asked back: a code nobody wrote down is no code.
  private func checkByReentry(_ code: RecoveryCode) throws {
    guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 else { return }
    let words = code.words.split(separator: " ").map(String.init)
    for number in [Int.random(in: 1...12), Int.random(in: 13...24)] {
      while true {
        Output.write("Word \(number)? ")
        guard let answer = readLine() else { return }
        if answer.trimmingCharacters(in: .whitespaces).lowercased() == words[number - 1] { break }
        Output.line("That is not word \(number). Look at your paper again.")
      }
    }
  }
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

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      let name = try DeviceName.checked(device)
      let home = location.homeFolder
      if home.hasStore { throw StorageError.storeExists(home.path) }
      do { _ = try InvitationCode(code) } catch { throw EnrolmentError.badCode }
      let relayLocation = try location.relayLocation()
      let path = relayLocation.folder
      let relay = try FolderRelay(path: path, account: [], ownTag: nil)
      let passphrase = try chosenPassphrase()
      var joining = try Joining(code: code, deviceName: name, relay: relay)
      let (ring, members) = try waitForAdmission(&joining)
      let store = try Store.create(at: home, ring: ring, membership: members.log, passphrase: passphrase)
      try relayLocation.remember(in: home)
      try ExchangeOnce(store: store, relay: try location.openRelay(store), relayName: relayLocation.description)
        .run(timeout: 30)
      if output.json {
        let account = RecordID(bytes: ring.account.account)?.description ?? ""
        try Output.json(Joined(account: account, device: ring.device.description))
      } else {
        Output.line("This device is “\(name)” and belongs to the account now.")
      }
    }
  }

  private struct Joined: Encodable { var account, device: String }

  private func chosenPassphrase() throws -> String? {
    // Scripts that accept the short code unseen have decided about the key file as well.
    if noPassphrase || (yes && location.passphraseFile == nil) { return nil }
    guard let passphrase = try location.passphrase(prompt: "Choose a passphrase for this device: ") else {
      throw StorageError.passphraseNeeded
    }
    guard !passphrase.isEmpty else { throw StorageError.emptyPassphrase }
    return passphrase
  }

  private func waitForAdmission(_ joining: inout Joining) throws -> (KeyRing, Members) {
    while true {
      switch try joining.step() {
      case .waiting: Thread.sleep(forTimeInterval: mailboxGap)
      case .compare(let digits, let admittedBy):
        try confirmShortCode(digits, with: "on “\(admittedBy)”", yes: yes)
      case .admitted(let ring, let members): return (ring, members)
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
  FileHandle.standardError.write(Data("Is it the same? [y/N] ".utf8))
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
        let relay = try location.openRelay(store)
        var performer = try EffectPerformer(
          store: store, relay: relay, ring: store.ring, incarnation: store.incarnation)
        var invitation = try Invitation(store: store, relay: relay, members: performer.members)
        Output.line(invitation.code.description)
        Output.note("Waiting for the new device: fullmind join \(invitation.code) --device NAME --relay \(try location.relayLocation())")
        while true {
          guard case .compare(let digits, let name) = try invitation.step() else {
            Thread.sleep(forTimeInterval: mailboxGap)
            continue
          }
          do { try confirmShortCode(digits, with: "on “\(name)”", yes: yes) } catch {
            invitation.cancel()
            throw error
          }
          _ = try invitation.admit(&performer)
          break
        }
        store.pingOthers(except: nil)
        // Where no other process of this device exchanges, the others must learn of the newcomer from us.
        try ExchangeOnce(store: store, relay: relay, relayName: "").run(timeout: 10)
        Output.note("The new device belongs to the account now.")
      }
    }
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
