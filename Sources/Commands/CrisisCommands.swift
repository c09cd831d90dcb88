import ArgumentParser
import Causality
import ConflictResolution
import Crisis
import Foundation
import Replica
import Storage
import Stores
import Synchronization
import Therapy

/// A home that is to be replaced holds a crisis, or its end, that nobody else may have.
struct CrisisWaits: ActionableError {
  var code: String { "crisis.not-sent" }
  var summary: String { "A crisis that was raised or taken back here has not reached the relay. Nothing was changed." }
  var remedy: String { "Repeat this when the relay can be reached; on another device, “fullmind crisis activate” raises one at once." }
  var exitStatus: ExitStatus { .temporary }
}

/// What another device has raised is on the relay, and not in the store.
struct CrisisNotTakenIn: ActionableError {
  var code: String { "crisis.not-taken-in" }
  var summary: String { "A crisis is active that the store of this device has not taken in yet: it goes on." }
  var remedy: String { "Repeat this after `fullmind sync`; `fullmind doctor` says what holds it up." }
  var exitStatus: ExitStatus { .temporary }
}

/// `fullmind crisis`: help, whatever else is broken.
struct CrisisCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "crisis", abstract: "Raise or resolve a crisis; show help lines.",
    subcommands: [Activate.self, Acknowledge.self, Resolve.self, Status.self, History.self, Card.self], defaultSubcommand: Card.self)

  struct Activate: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "activate", abstract: "Raise a crisis on every device of yours, now.",
      discussion: """
        From severe upward, contacts whom you invited are told 10 seconds later: this command waits for that where there are
        any (^C leaves it to a dashboard or agent; `fullmind crisis resolve` takes everything back).
        """)
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "mild, moderate, severe or emergency.") var level = "severe"
    @Flag(help: "Tell invited contacts at once.") var now = false
    @Option(help: ArgumentHelp("Go on trying for so many seconds where neither this disk nor the relay takes it (1-3600).", valueName: "seconds")) var timeout = 60

    func validate() throws {
      guard (1...3_600).contains(timeout) else { throw ValidationError("--timeout takes 1 to 3600 seconds, not \(timeout).") }
    }

    func run() throws {
      guard let level = CrisisLevel(name: level), level > .none else {
        // Somebody who mistypes a level in a crisis still gets help first.
        if !output.json { CrisisReport.printCard() }
        return try Output.reporting(asJSON: output.json) {
          throw InputError.invalid(
            "There is no level “\(self.level)”. Nothing was raised.",
            remedy: "Use mild, moderate, severe or emergency.")
        }
      }
      if !output.json { CrisisReport.printCard() }
      try Output.reporting(asJSON: output.json) {
        let home = location.homeFolder
        // Neither a passphrase, a lock nor a damaged file stands between a person and this.
        let hasJournal = EmergencyJournal(home) != nil
        let store = hasJournal ? nil : try location.openStore(tellsPutBack: false)
        let raiser = CrisisReport.raiser(location, store)
        raiser.raise(level, source: "person")
        let delivery = try follow(raiser)
        if output.json {
          try Output.json(
            CrisisReport(
              level: level.name, active: true, since: SystemClock.now.wall, savedAt_us: raiser.savedAt,
              atRelay: delivery.isAtRelay, word: delivery.word.rawValue))
        }
        guard let opened = store ?? (try? location.openQuietly()) else {
          if !output.json, level >= .severe { Output.hint("Your contacts are told by a program that can open the store: `fullmind` or an agent, here or on another device of yours.") }
          return
        }
        try tell(level, raiser.operation, delivery, opened)
      }
    }

    /// Milliseconds within which it is durable or sent, or something is said.
    private static let first = 1_000

    /// Says how far it has come, as it becomes known; goes on until the disk or the relay has it.
    private func follow(_ raiser: CrisisRaiser) throws -> CrisisDelivery {
      let end = SystemClock.now.uptime + UInt64(timeout) * 1_000_000_000
      var delivery = raiser.outcome(within: Self.first)
      // A program that reads JSON gets one object, in the end; whoever sees the terminal knows at once.
      if !output.json { Output.line(delivery.text) } else if !delivery.disk.isDone, !delivery.relay.isDone { Output.note(delivery.text) }
      while !delivery.disk.isDone, !delivery.relay.isDone {
        guard SystemClock.now.uptime < end else {
          guard output.json else { throw CrisisNotSaved() }
          try Output.json(CrisisReport(level: level, active: true, since: nil, atRelay: false, word: delivery.word.rawValue))
          throw ExitCode(CrisisNotSaved().exitStatus.rawValue)
        }
        let before = delivery.word
        delivery = raiser.outcome(within: 200)
        if !output.json, delivery.word != before { Output.line(delivery.text) }
      }
      raiser.end()
      return delivery
    }

    /// The contacts, when the time to take it back is over; a dashboard or agent may be faster.
    private func tell(_ level: CrisisLevel, _ raised: OperationID?, _ delivery: CrisisDelivery, _ store: Store) throws {
      let contacts = try store.read { try SafetyPlan.contacts($0) }.filter { $0.isInvited && $0.consent == .prompt }
      guard level >= .severe, !contacts.isEmpty else { return }
      let names = contacts.map(\.name).joined(separator: ", ")
      // Who reads JSON is not kept waiting: it is said who tells them.
      guard now || !output.json else { return Output.note("\(names): told by a dashboard or an agent, or by `fullmind sync` from 10 s on.") }
      if !now {
        let condition = delivery.relay.isDone ? "" : ", if the relay can be reached by then"
        Output.hint("\(names): an alert goes out in 10 s\(condition). `fullmind crisis resolve`, here or on any device, takes it back.")
        Thread.sleep(forTimeInterval: Double(CrisisAlert.undoMilliseconds) / 1_000)
        // It may have been taken back on another device: then nobody is told.
        try? ExchangeOnce(store: store, relay: try location.openRelay(store), relayName: "").run(timeout: 5)
      }
      let relay = try location.patientRelay(store)
      // What others have told, and what of it is over, comes first: it may be the same crisis.
      _ = CrisisReport.takeIn(location, store)
      do { _ = try Actions(store).tellNow(relay) } catch is RelayError {}
      guard !output.json else { return }
      let state = try CrisisReport.state(of: store)
      if !state.isActive {
        // What no disk took is not known to be over only because it is not in the store.
        guard let raised, try store.read({ try $0.hasArrived(raised) }) else {
          return Output.line("\(names): not told, because the crisis could not be saved on this device. Please call.")
        }
        let names = try CrisisReport.history(of: store).0.entries.first?.told.compactMap { id in contacts.first { $0.record == id }?.name } ?? []
        return Output.line(names.isEmpty ? "Taken back. Nobody was told." : "Taken back. An alert had been put up for \(names.joined(separator: ", ")).")
      }
      let told = contacts.filter { state.told.contains($0.record) }
      let untold = contacts.filter { !state.told.contains($0.record) }.map(\.name).joined(separator: ", ")
      if !untold.isEmpty {
        Output.hint("\(untold): not told yet. Please call; `fullmind sync` tells them once the relay can be reached, and a dashboard or an agent does it by itself.")
      }
      let end = SystemClock.now.uptime + Self.answered
      for contact in told { Output.line("\(contact.name): \(Self.arrival(contact, state, relay, until: end))") }
    }

    /// Nanoseconds for which it is waited until a contact's screen has the alert: it looks once a second.
    private static let answered: UInt64 = 2_500_000_000

    private static func arrival(_ contact: SafetyPlan.Contact, _ state: CrisisState, _ relay: any Relay, until end: UInt64) -> String {
      while true {
        let arrival = try? CrisisOutreach.arrival(with: contact, of: state, on: relay)
        switch arrival {
        case .shown?: return "a screen there shows it."
        case .seen?: return "has seen it."
        case .unopened?: return "an alert lies at the link, which nobody has ever opened. Please call."
        case .followed?, nil:
          guard SystemClock.now.uptime < end else { return "an alert lies at the link; it is on no screen there yet." }
          Thread.sleep(forTimeInterval: 0.1)
        }
      }
    }
  }

  struct Acknowledge: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "acknowledge", abstract: "Say that you have seen the crisis at this device.")
    @OptionGroup var location: Location

    func run() throws {
      try Output.reporting {
        let store = try location.openStore(tellsPutBack: false)
        if try location.actions(store).acknowledgeCrisis() != nil {
          return Output.line("Acknowledged on this device; your other devices see that.")
        }
        let known = try CrisisReport.known(location, store).state
        guard known.acknowledgement(by: store.ring.device, record: Actions(store).crisisRecord) == nil else { throw CrisisNotTakenIn() }
        Output.line("There is nothing to acknowledge.")
      }
    }
  }

  struct Resolve: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "resolve", abstract: "Resolve the crisis that this device has seen.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Flag(help: "Do not ask.") var yes = false
    /// Milliseconds after which it is said what is known.
    private static let mayTake = 1_500

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        // What waits in the journal goes out with its withdrawal.
        let opened = Result { try location.openStore(sendsJournal: false, tellsPutBack: false) }
        let store = try? opened.get()
        if let store, let state = try? CrisisReport.state(of: store) {
          // From 30 s after the activation on there is no second question. (DOMAIN.md.)
          let age = SystemClock.now.wall &- (state.since ?? 0)
          if state.isActive, !yes, age < 30_000, isatty(STDIN_FILENO) == 1 {
            Output.write("Is it over for now? [y/N] ")
            guard ["y", "yes"].contains((readLine() ?? "").lowercased()) else { return }
          }
        }
        let raiser = CrisisReport.raiser(location, store)
        let began = SystemClock.now.uptime
        var problem: (any Error)?
        if case .failure(let error) = opened { problem = error }
        var resolution = try raiser.resolve(instead: problem)
        if resolution.hasSeenRelay, let store, try CrisisReport.known(location, store).state.isActive {
          // Another device has raised it, and no program has brought it here yet.
          _ = CrisisReport.takeIn(location, store)
          guard case .resolved(let all) = try raiser.resolve() else { throw CrisisNotTakenIn() }
          resolution = .resolved(all)
        }
        switch resolution {
        case .nothing: try report(store, nil, "No crisis is active.", looksAtRelay: true)
        case .nothingHere: try report(store, nil, Status.unknown)
        case .resolved(let change):
          defer { if change.isAtRelay { endAlerts(store) } }
          try report(store, change, change.isAtRelay ? "Resolved. Be kind to yourself today." : "Resolved here. The relay cannot be reached; your other devices learn of it when it is back. Be kind to yourself today.")
        case .takenBack:
          // The store and the relay may both have been waited for already.
          let taken = Int((SystemClock.now.uptime - began) / 1_000_000)
          let delivery = raiser.outcome(within: max(300, Self.mayTake - taken))
          guard delivery.disk.isDone || delivery.relay.isDone else { throw CrisisNotSaved() }
          raiser.end()
          // Another device's goes on: that is no success.
          if let store, delivery.relay.isDone, let known = try? CrisisReport.known(location, store).state, known.isActive, !output.json {
            Output.line("What was raised on this device is taken back. Another crisis goes on that was raised on another device.")
            throw CrisisNotTakenIn()
          }
          let text = "What was raised on this device is taken back\(delivery.relay.isDone ? "" : " here; your other devices learn of it when the relay can be reached"). The store cannot be used now, so what other devices raised is not known."
          if output.json {
            let known = store.flatMap { try? delivery.relay.isDone ? CrisisReport.known(location, $0).state : CrisisReport.state(of: $0) }
            return try Output.json(
              CrisisReport(
                level: Self.level(known, isComplete: delivery.relay.isDone), active: known?.isActive ?? false, since: known?.since, savedAt_us: raiser.savedAt,
                atRelay: delivery.relay.isDone))
          }
          Output.line(text)
        }
      }
    }

    /// Those who were told learn that it is over; where the relay cannot be used, from whichever program exchanges next.
    private func endAlerts(_ store: Store?) {
      guard let store, let relay = try? location.patientRelay(store), let ended = try? Actions(store).tellEnded(relay) else { return }
      if !output.json, !ended.isEmpty { Output.line("That it is over lies at the link of \(ended.joined(separator: ", ")).") }
    }

    /// - Parameter looksAtRelay: A relay that did not answer is not asked once more.
    private func report(_ store: Store?, _ change: Actions.CrisisChange?, _ text: String, looksAtRelay: Bool = false) throws {
      guard output.json, let store else { return Output.line(text) }
      let after = try looksAtRelay ? CrisisReport.known(location, store).state : CrisisReport.state(of: store)
      try Output.json(
        CrisisReport(
          level: Self.level(after, isComplete: looksAtRelay || change != nil), active: after.isActive, since: after.since,
          savedAt_us: change?.saved, atRelay: change?.isAtRelay))
    }

    /// That nothing is active is said where the relay was looked at, too.
    private static func level(_ state: CrisisState?, isComplete: Bool) -> String {
      guard let state, state.isActive || isComplete else { return "unknown" }
      return state.level.name
    }
  }

  struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "status", abstract: "Say whether a crisis is active.")
    static let unknown = "No crisis is known on this device. The relay cannot be reached, so what other devices raised is not known."
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        var (state, sawRelay): (CrisisState, Bool)
        do {
          let store = try location.openStore(tellsPutBack: false)
          (state, sawRelay) = try CrisisReport.known(location, store)
        } catch {
          // The store cannot be opened: what was raised on this device is known all the same.
          guard let journal = EmergencyJournal(location.homeFolder), journal.isActive,
            journal.isActive(with: CrisisReport.raiser(location, nil).sent() ?? [])
          else { throw error }
          if output.json { return try Output.json(CrisisReport(level: "unknown", active: true, since: nil)) }
          Output.line("A crisis was raised on this device. The store cannot be opened, so whether it is over is not known.")
          return
        }
        if output.json {
          try Output.json(
            CrisisReport(
              level: state.isActive || sawRelay ? state.level.name : "unknown", active: state.isActive, since: state.since,
              acknowledgedBy: state.acknowledgements.map(\.device.description), stages: state.stages.map(\.rawValue).sorted()))
        } else {
          Output.line(
            state.isActive ? "A crisis is active: \(state.level.name), acknowledged on \(state.acknowledgements.count) devices."
              : sawRelay ? "No crisis is active." : Self.unknown)
        }
      }
    }
  }

  struct History: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "history", abstract: "List the crises of the last 90 days.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let store = try location.openStore(tellsPutBack: false)
        let known = try CrisisReport.known(location, store)
        if try known.state != CrisisReport.state(of: store), !CrisisReport.takeIn(location, store), known.state.isActive {
          Output.note("A crisis is active that this device has not taken in yet: it is not in this list.")
        }
        if !known.sawRelay { Output.note("The relay cannot be reached: what other devices raised may not be in this list.") }
        let (history, names) = try CrisisReport.history(of: store)
        if output.json { return try Output.json(["crises": history.entries.map { Row($0, names) }]) }
        for line in CrisisReport.lines(history, names) { Output.line(line) }
      }
    }

    private struct Row: Encodable {
      var level, source, device: String
      var raised_ms: UInt64
      var resolved_ms: UInt64?
      var acknowledgements: Int
      var stages: [Int]
      var told: Int

      init(_ entry: CrisisHistory.Entry, _ names: [DeviceID: String]) {
        (level, source, device) = (entry.level.name, entry.source, names[entry.activation.stream.device] ?? "a device")
        (raised_ms, resolved_ms, acknowledgements) = (entry.raised, entry.resolved?.at, entry.acknowledged.count)
        (stages, told) = (entry.stages.map(\.rawValue).sorted(), entry.told.count)
      }
    }
  }

  struct Card: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "card", abstract: "Show help lines. Needs no store, no network and no terminal.")
    @OptionGroup var location: Location
    @Option(help: "The region: US, CA, GB, DE …") var region: String?

    func run() { CrisisReport.printCard(region: region, home: location.homeFolder) }
  }
}

/// Neither this disk nor the relay took what was to be said.
struct CrisisNotSaved: ActionableError {
  var code: String { "crisis.only-this-screen" }
  var summary: String { "Only this screen knows: neither this disk nor the relay could be written." }
  var remedy: String { "Please do not wait for it: call one of the numbers above, or somebody near you. Then try again." }
  var exitStatus: ExitStatus { .temporary }
}
