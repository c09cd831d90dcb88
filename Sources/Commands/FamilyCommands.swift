import ArgumentParser
import CSystem
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
        let contacts = try store.read { try SafetyPlan.contacts($0) }
        let relay = contacts.contains(where: \.isInvited) ? try? location.patientRelay(store) : nil
        let rows = contacts.map { Row($0, isOpened: FamilyCommand.isOpened($0, relay)) }
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
      /// Whether somebody has opened the link; absent where that is not known.
      var opened: Bool?

      init(_ contact: SafetyPlan.Contact, isOpened: Bool?) {
        (id, name, alert, invited) = (contact.record.description, contact.name, contact.consent.rawValue, contact.isInvited)
        (undecided, opened) = (contact.isUndecided, isOpened)
      }

      var words: String {
        guard invited else { return "" }
        return switch opened {
        case true?: "; somebody follows the link"
        case false?: "; NOBODY HAS OPENED THE LINK YET: nobody would read an alert"
        case nil: "; whether somebody has opened the link is not known: the relay cannot be read now"
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
        Output.hint("Give the link to \(contact.name) alone. Nobody has opened it yet: `fullmind family list` shows when somebody has.")
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

  struct Follow: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "follow", abstract: "Be told when somebody who invited you asks for support.",
      discussion: """
        Needs no account. Without a link it follows every link that was given before. Stays until it is interrupted;
        Enter says that you have seen the alert, and the other person sees that.
        """)
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "The link you were given.") var link: String?
    @Flag(help: "Print what is new, then exit.") var once = false
    @Flag(help: "With --once: say that you have seen it.") var seen = false

    /// One of the links, and how far what came by it has been answered.
    private struct Followed {
      var following: AlertFollowing
      /// Alerts that nobody here has said to have seen.
      var open: [Notice] = []
      /// Alerts that were told here, which the other side does not know yet.
      var shown: [Notice] = []
      var isKnown = false
      /// Why nothing can be heard.
      var problem: RelayError?
      /// Why nothing can be answered.
      var unsaid: RelayError?
      /// Whether what was read is kept on this machine, and why it is not.
      var isKept = true
      var obstacle: StorageError?
      var name: String { FamilyCommand.name(following.reader) }
      var place: String { following.relay.description }

      var failure: (any Error)? {
        if let problem { return FollowingError.unheard(problem, at: place) }
        if let unsaid { return FollowingError.unsaid(unsaid, at: place) }
        return obstacle
      }
    }

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        var followed = try followed()
        let signals = fm_signals_open()
        if !once, !output.json {
          for one in followed { Output.line("Following \(one.name). ^C ends it.") }
        }
        while true {
          // Each link by itself: one relay that is away keeps nothing of another one from the screen.
          for index in followed.indices { try look(&followed[index]) }
          if once {
            if seen { confirm(&followed) }
            if let failure = followed.lazy.compactMap(\.failure).first { throw failure }
            return
          }
          guard followed.contains(where: { !$0.following.reader.isClosed }) else { return }
          var ready: [UInt8] = [0, 0]
          // Nothing tells of changes on a relay that belongs to somebody else: it is looked at every second.
          _ = fm_wait([signals, STDIN_FILENO], &ready, isatty(STDIN_FILENO) == 1 ? 2 : 1, 1_000)
          if ready[0] != 0, [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(fm_signal_next(signals)) { return }
          if ready[1] == 1, readLine() != nil { confirm(&followed) }
        }
      }
    }

    private func followed() throws -> [Followed] {
      guard let text = link else {
        let all = AlertFollowing.all(in: location.homeFolder)
        for path in all.unreadable { Output.note("\(path) cannot be read: that link is not followed. Give it again: fullmind family follow LINK --relay folder:PATH") }
        guard !all.followed.isEmpty else {
          throw InputError.invalid("No link is followed here yet.", remedy: "Give the link you got: fullmind family follow LINK --relay folder:PATH")
        }
        // A link that was taken back is named where there is no other.
        let open = all.followed.filter { !$0.reader.isClosed }
        if open.isEmpty { for one in all.followed { Output.note(CrisisAlert.closedText(person: FamilyCommand.name(one.reader))) } }
        return (open.isEmpty ? all.followed : open).map { Followed(following: $0) }
      }
      guard let link = SecretLink(text) else {
        throw InputError.invalid("This is not a link. Nothing was changed.", remedy: "It has 26 letters and digits in six groups.")
      }
      guard var one = AlertFollowing(link, relay: try location.namedRelay(), home: location.homeFolder).map({ Followed(following: $0) }) else { throw FamilyCommand.relayNotNamed }
      // A mistyped link would be silent for ever: it has to be found once.
      if one.following.reader.person == nil {
        let news: [AlertReader.News]
        do throws(RelayError) { news = try one.following.read() } catch { throw FollowingError.unheard(error, at: one.place) }
        guard one.following.reader.person != nil else {
          throw InputError.invalid(
            "Nobody is found under this link at \(one.following.relay). Nothing was changed.",
            remedy: "Compare the link with the one you were given, and name the relay with --relay.")
        }
        try tell(news, &one)
        guard Output.failure == 0 else { throw OutputError() }
      }
      one.isKept = false
      keep(&one)
      return [one]
    }

    /// A relay that cannot be reached is looked at again, and that is said: nothing is heard meanwhile.
    private func look(_ one: inout Followed) throws {
      do { try hear(&one) } catch let error as RelayError {
        if one.problem != error, !once { Output.note(FollowingError.unheard(error, at: one.place).meanwhile(one.name)) }
        one.problem = error
        return keep(&one)
      }
      if one.problem != nil { Output.note("\(one.place) can be reached again.") }
      one.problem = nil
      do throws(RelayError) {
        try answer(&one)
        one.unsaid = nil
      } catch {
        if one.unsaid != error, !once { Output.note(FollowingError.unsaid(error, at: one.place).meanwhile(one.name)) }
        one.unsaid = error
      }
    }

    private func hear(_ one: inout Followed) throws {
      let before = one.following.reader
      if !one.isKnown, !before.isClosed { try recall(&one) }
      try tell(try one.following.read(), &one)
      // After it was told: a crash in between tells it twice, and never not at all; what could not be written was not.
      guard Output.failure == 0 else { throw OutputError() }
      if one.following.reader != before { one.isKept = false }
      keep(&one)
    }

    /// A disk that is full, or that may not be written, ends nothing: it is followed from memory, and tried again.
    private func keep(_ one: inout Followed) {
      guard !one.isKept else { return }
      do throws(StorageError) { try one.following.save() } catch {
        if one.obstacle != error, !once {
          let obstacle = error.obstacle ?? "the folder \(location.homeFolder.path) cannot be written"
          Output.note("What was read of \(one.name) cannot be kept: \(obstacle). It is heard all the same, and tried again every second.")
        }
        one.obstacle = error
        return
      }
      if one.obstacle != nil { Output.note("What was read of \(one.name) is kept now.") }
      (one.isKept, one.obstacle) = (true, nil)
    }

    /// What an earlier run has told and nobody has answered is still open: said once more, quietly.
    private func recall(_ one: inout Followed) throws(RelayError) {
      for alert in try one.following.unanswered() where !one.open.contains(alert) {
        one.open.append(alert)
        guard !output.json, !once else { continue }
        Output.line("\(Self.clock(alert.wall))  Still open: \(CrisisAlert.text(person: one.name))")
        if isatty(STDIN_FILENO) == 1 { Output.line("         Enter says that you have seen this.") }
      }
    }

    /// The other side learns that somebody follows, and what is on this screen.
    private func answer(_ one: inout Followed) throws(RelayError) {
      guard !one.following.reader.isClosed else { return }
      if !one.isKnown { try one.following.follow() }
      one.isKnown = true
      while let alert = one.shown.first {
        try one.following.confirm(alert, as: .shown)
        one.shown.removeFirst()
      }
    }

    private func tell(_ news: [AlertReader.News], _ one: inout Followed) throws {
      for item in news {
        switch item {
        case .alert(let alert):
          try tell("alert", alert, CrisisAlert.text(person: one.name))
          if !output.json, !once, isatty(STDIN_FILENO) == 1 { Output.line("         Enter says that you have seen this.") }
          one.open.append(alert)
          if Output.failure == 0 { one.shown.append(alert) }
        case .ended(let notice):
          try tell("ended", notice, CrisisAlert.endedText(person: one.name))
          one.open.removeAll { $0.marks.isSubset(of: one.following.reader.over) }
        case .closed(let notice):
          try tell("closed", notice, CrisisAlert.closedText(person: one.name))
          (one.open, one.shown) = ([], [])
        }
      }
    }

    private func tell(_ event: String, _ notice: Notice, _ text: String) throws {
      if output.json { return try Output.json(Report(event: event, at_ms: notice.wall, text: text)) }
      Output.line("\(event == "alert" ? "\u{7}" : "")\(Self.clock(notice.wall))  \(text)")
    }

    private struct Report: Encodable { var event: String; var at_ms: UInt64; var text: String }

    private func confirm(_ followed: inout [Followed]) {
      var count = 0
      for index in followed.indices { count += confirm(&followed[index]) }
      guard count == 0, !output.json else { return }
      if followed.allSatisfy({ $0.problem == nil && $0.open.isEmpty }) {
        Output.line("         Nothing has come that was not answered.")
      } else if !once {
        Output.line("         Nothing could be answered now: press Enter again later.")
      }
    }

    /// - Returns: How many alerts were answered.
    private func confirm(_ one: inout Followed) -> Int {
      var count = 0
      do throws(RelayError) {
        while let alert = one.open.first {
          try one.following.confirm(alert, as: .seen)
          one.open.removeFirst()
          count += 1
          if !output.json { Output.line("         Said. \(one.name)'s devices show it when they look.") }
        }
      } catch { one.unsaid = error }
      return count
    }

    private static func clock(_ wall: UInt64) -> String {
      let formatter = DateFormatter()
      formatter.dateFormat = "HH:mm:ss"
      return formatter.string(from: Date(timeIntervalSince1970: Double(wall) / 1_000))
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

  /// Whether somebody has opened the link of a contact; `nil` where that is not known, or nobody was given one.
  static func isOpened(_ contact: SafetyPlan.Contact, _ relay: (any Relay)?) -> Bool? {
    guard contact.isInvited, let relay, (try? relay.survey()) != nil else { return nil }
    return (try? CrisisOutreach.arrival(with: contact, of: nil, on: relay)).map { $0 != .unopened }
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
