import ArgumentParser
import Causality
import Crisis
import Dashboard
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Stores
import Therapy

/// `fullmind family`: whom a crisis is told to, and the other side of it.
struct FamilyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "family", abstract: "Choose who is told of a crisis; follow somebody who chose you.",
    discussion: """
      Contacts are records: `fullmind record add contact name=Ben phone=123`. Being a contact shares nothing.
      An invited contact learns one thing: that you asked for support. From severe upward, once per crisis, and
      not before 10 seconds have passed or you said so.
      """,
    subcommands: [List.self, Invite.self, Grant.self, Withdraw.self, Follow.self], defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List contacts, and what each may learn.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let store = try location.openStore()
        // What another device has changed about whom to tell may lie at the relay already.
        CrisisReport.takeIn(location, store)
        let contacts = try store.read { try SafetyPlan.contacts($0) }
        if (try? store.read { try $0.allRecords(kind: RecordCatalogue.contact.kind) }) == nil {
          Output.note("A contact is not in this list because its row is damaged: it is told of nothing. `fullmind doctor` says what to do.")
        }
        let relay = contacts.contains(where: \.isInvited) ? try? location.patientRelay(store) : nil
        let rows = contacts.map { Row($0, LinkState($0, relay)) }
        if output.json { return try Output.json(["contacts": rows]) }
        if contacts.isEmpty { Output.hint("No contacts yet. `fullmind record add contact name=Ben phone=123` adds one.") }
        for (contact, row) in zip(contacts, rows) {
          Output.line("\(contact.record)  \(contact.name)  \(FamilyCommand.describe(contact))\(row.words)")
        }
      }
    }

    private struct Row: Encodable {
      var id, name, alert: String
      var invited: Bool
      /// Whether devices have said different things of the alert, and nobody has decided.
      var undecided: Bool
      /// What the relay shows of the link; absent where there is none.
      var link: LinkState?
      /// That somebody has opened the link; absent where no opening is known.
      var opened: Bool?

      init(_ contact: SafetyPlan.Contact, _ link: LinkState) {
        (id, name, alert, invited) = (contact.record.description, contact.name, contact.consent.rawValue, contact.isInvited)
        undecided = contact.isUndecided
        guard invited else { return }
        (self.link, opened) = (link, link == .opened ? true : nil)
      }

      var words: String {
        switch link {
        case .opened?: "; somebody follows the link"
        case .unknown?: "; NO OPENING OF THE LINK IS KNOWN HERE: perhaps nobody would read an alert"
        case .takenBack?: "; THE LINK WAS TAKEN BACK on another device of yours: nobody is told there"
        case .unread?: "; whether somebody has opened the link is not known: the relay cannot be read now"
        case nil: ""
        }
      }
    }
  }

  struct Invite: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "invite", abstract: "Let a contact be told when you ask for support.",
      discussion: """
        Prints a link for that contact alone. Whoever has it learns from now on that you asked for support, under the name you
        give here, and nothing else: no text, no score, no place. `fullmind family withdraw` makes it useless.
        """)
    @OptionGroup var location: Location
    @Argument(help: "The contact's name, or the beginning of its id.") var contact: String
    @Option(name: .customLong("as"), help: "The name the contact knows you by.") var person: String
    @Flag(help: "Only when nobody acknowledges on your own devices.") var unanswered = false

    func run() throws {
      try Output.reporting {
        let person = try ShortName.checked(person, "name", limit: Limits.personCharacters)
        let store = try location.openStore()
        let contact = try FamilyCommand.contact(contact, in: store)
        var random = SystemRandomNumberGenerator()
        let link = SecretLink(using: &random)
        try CrisisOutreach.open(link, person: person, on: try location.patientRelay(store), wall: SystemClock.now.wall, using: &random)
        let consent = unanswered ? AlertConsent.unanswered : .prompt
        try location.actions(store).set(contact.record, ["links+=\(link)", "person=\(person)", "alert=\(consent.rawValue)"])
        Output.line("Once \(contact.name) follows this link, an alert says that \(person) asked for support, \(FamilyCommand.moment(consent)).")
        if try CrisisReport.state(of: store).level >= .severe, consent == .prompt {
          Output.line("A crisis is active now: the first of your devices that exchanges with the relay puts an alert at this link too.")
        }
        Output.line("On \(contact.name)'s machine, where the same relay can be reached:")
        Output.line("")
        Output.line("  fullmind family follow \(link) --relay \(Invocation.quoted(try location.relayLocation(store).description))")
        Output.line("")
        Output.hint("Give the link to \(contact.name) alone. `fullmind family list` shows when somebody has opened it.")
        Output.hint("`fullmind family withdraw` takes it back.")
      }
    }
  }

  struct Grant: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "grant", abstract: "Choose when an invited contact is told.")
    @OptionGroup var location: Location
    @Argument(help: "The contact's name, or the beginning of its id.") var contact: String
    @Argument(help: "yes (after 10 seconds), unanswered (when nobody acknowledges), or no.") var alert: String

    func run() throws {
      try Output.reporting {
        guard let consent = AlertConsent(rawValue: alert) else {
          throw InputError.invalid("“\(alert)” is no choice. Nothing was changed.", remedy: "Use yes, unanswered or no.")
        }
        let store = try location.openStore()
        let contact = try FamilyCommand.contact(contact, in: store)
        try location.actions(store).set(contact.record, ["alert=\(consent.rawValue)"])
        Output.line("\(contact.name): told \(FamilyCommand.moment(consent)).")
      }
    }
  }

  struct Withdraw: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "withdraw", abstract: "Take a contact's link back. The contact stays in your plan.")
    @OptionGroup var location: Location
    @Argument(help: "The contact's name, or the beginning of its id.") var contact: String

    func run() throws {
      try Output.reporting {
        let store = try location.openStore()
        let contact = try FamilyCommand.contact(contact, in: store)
        let actions = location.actions(store)
        try actions.set(contact.record, contact.links.flatMap { ["links-=\($0)", "withdrawn+=\($0)"] } + ["alert=no"])
        var random = SystemRandomNumberGenerator()
        let withdrawn = try FamilyCommand.contact(contact.record.description, in: store)
        do {
          try CrisisOutreach.close(withdrawn, on: try location.patientRelay(store), wall: SystemClock.now.wall, using: &random)
          try actions.noteClosed(withdrawn, pinging: nil)
          Output.line("\(contact.name) learns nothing any more. The contact stays in your plan.")
        } catch is RelayError {
          Output.line("\(contact.name) is told nothing by this device any more. The contact stays in your plan.")
          Output.note("The relay cannot be used now: whoever follows the link does not know yet that it was taken back. The first of your devices that reaches the relay says it there.")
        }
      }
    }
  }

  /// Where the other side meets has to be said.
  static let relayNotNamed = InputError.invalid(
    "Where the person's devices meet was not said. Nothing was changed.", remedy: "Name it with --relay folder:PATH, as it stands beside the link.")

  // MARK: Words

  static func name(_ reader: AlertReader) -> String {
    // Whoever has the link can put up a notice: what it says must not disturb the terminal.
    reader.person.map(CellText.clean).flatMap { $0.isEmpty ? nil : $0 } ?? "Somebody who trusts you"
  }

  static func moment(_ consent: AlertConsent) -> String {
    switch consent {
    case .never: "of nothing"
    case .unanswered: "when nobody acknowledges on your own devices"
    case .prompt: "10 seconds after you raised a severe crisis, or when you say now"
    }
  }

  static func describe(_ contact: SafetyPlan.Contact) -> String {
    let known = switch (contact.consent, contact.isInvited) {
    case (.never, _): "in your plan; told of nothing"
    case (let consent, false): "agreed (told \(moment(consent))), but not invited: `fullmind family invite` makes a link"
    case (let consent, _): "told \(moment(consent))"
    }
    guard contact.isUndecided else { return known }
    return "YOUR DEVICES SAY DIFFERENT THINGS; until you decide (`fullmind conflicts show \(contact.record)`): \(known)"
  }

  /// What the relay shows of the link of a contact. What it does not show is not known: it may have been wiped.
  enum LinkState: String, Encodable {
    case opened
    /// No opening is known.
    case unknown
    /// It was taken back, on another device.
    case takenBack = "taken-back"
    /// The relay cannot be read now.
    case unread

    init(_ contact: SafetyPlan.Contact, _ relay: (any Relay)?) {
      self = .unread
      guard contact.isInvited, let relay, (try? relay.survey()) != nil else { return }
      guard let isTakenBack = try? CrisisOutreach.isTakenBack(contact, on: relay),
        let arrival = try? CrisisOutreach.arrival(with: contact, of: nil, on: relay)
      else { return }
      self = isTakenBack ? .takenBack : arrival == .unopened ? .unknown : .opened
    }
  }

  /// A contact by its name, or by the beginning of its identifier.
  static func contact(_ text: String, in store: Store) throws -> SafetyPlan.Contact {
    let contacts = try store.read { try SafetyPlan.contacts($0) }
    let named = contacts.filter { $0.name.lowercased() == text.lowercased() }
    let found = named.isEmpty ? contacts.filter { $0.record.description.hasPrefix(text.lowercased()) } : named
    guard let contact = found.first else {
      throw InputError.invalid("There is no contact “\(text)”. Nothing was changed.", remedy: "See `fullmind family list`.")
    }
    guard found.count == 1 else { throw InputError.ambiguous("contact") }
    return contact
  }
}
