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

/// What is active cannot be ended here: it is on the relay and not in the store, or the store takes nothing.
struct CrisisNotTakenIn: ActionableError {
  /// Why nothing can be saved here; `nil` where something can.
  var obstacle: String?

  init(_ store: Store) { obstacle = CrisisReport.obstacle(to: store) }

  var code: String { "crisis.not-taken-in" }
  var summary: String {
    guard let obstacle else { return "A crisis is active that the store of this device has not taken in yet: it goes on." }
    return "A crisis is active that cannot be ended in the store of this device now: it goes on. Nothing can be saved here: \(obstacle)."
  }
  var remedy: String {
    guard obstacle != nil else { return "Repeat this after `fullmind sync`; `fullmind doctor` says what holds it up." }
    return "Mend that, then repeat this; or say it on the device that raised it. `fullmind doctor` says what holds it up."
  }
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
    @Option(help: ArgumentHelp("Go on trying for so many seconds where the disk or the relay does not take it (1-3600).", valueName: "seconds")) var timeout = 60

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
        // Where it goes is known before anything is raised.
        _ = try location.namedRelay()
        let home = location.homeFolder
        // Neither a passphrase, a lock nor a damaged file stands between a person and this.
        let hasJournal = EmergencyJournal(home) != nil
        let store = hasJournal ? nil : try location.openStore(tellsPutBack: false)
        let raiser = CrisisReport.raiser(location, store)
        let budget = TimeBudget(seconds: timeout)
        raiser.raise(level, source: "person")
        let delivery = try follow(raiser, budget)
        if output.json {
          var report = CrisisReport()
          (report.level, report.active, report.since) = (level.name, true, SystemClock.now.wall)
          (report.savedAt_us, report.atRelay, report.word) = (raiser.savedAt, delivery.isAtRelay, delivery.word.rawValue)
          try Output.json(report)
        }
        let readable = store ?? (try? location.openToRead())
        // Known also when the relay is away later. Who is to be told at once waits for nothing.
        func keepSeen() { if let readable, delivery.relay.isDone { CrisisReport.keepSeen(location, readable) } }
        if !now { keepSeen() }
        defer { if now { keepSeen() } }
        guard level >= .severe else {
          if now { say("Nobody outside your devices is told of a \(level.name) crisis, also with --now: contacts are told from severe upward. If it is more than that: `fullmind crisis activate severe`, or please call.") }
          return
        }
        guard let opened = readable else {
          return say("This command tells none of your contacts: the store cannot be opened here. Please call them. A dashboard or an agent that can open it tells them; whether one runs is not known.")
        }
        // It is raised, whatever becomes of telling: that is no error of this command.
        do {
          try AlertTelling(location: location, output: output, store: opened)
            .tell(now: now, raised: raiser.operation, delivery, budget)
        } catch {
          say("Whether your contacts are told is not known: \(Output.actionable(error).summary) Please call.")
        }
      }
    }

    /// Where one JSON object is printed, on standard error.
    private func say(_ words: String) { if output.json { Output.note(words) } else { Output.hint(words) } }

    /// Milliseconds within which it is durable or sent, or something is said.
    private static let first = 1_000

    /// Says how far it has come, as it becomes known; goes on until the disk or the relay has it.
    private func follow(_ raiser: CrisisRaiser, _ budget: TimeBudget) throws -> CrisisDelivery {
      var delivery = raiser.outcome(within: Self.first)
      // A program that reads JSON gets one object, in the end; whoever sees the terminal knows at once.
      // That something still tries is said only where it does.
      let isTold = delivery.disk.isDone || delivery.relay.isDone || !budget.isSpent
      if !output.json { if isTold { Output.line(delivery.text) } } else if !delivery.disk.isDone, !delivery.relay.isDone, isTold { Output.note(delivery.text) }
      while !delivery.disk.isDone, !delivery.relay.isDone {
        guard !budget.isSpent else {
          guard output.json else { throw CrisisNotSaved() }
          var report = CrisisReport()
          (report.level, report.active, report.atRelay, report.word) = (level, true, false, delivery.word.rawValue)
          try Output.json(report)
          Output.note("\(CrisisNotSaved().summary) \(CrisisNotSaved.called) `fullmind crisis card` has the numbers.")
          throw ExitCode(CrisisNotSaved().exitStatus.rawValue)
        }
        let before = delivery.word
        delivery = raiser.outcome(within: 200)
        if !output.json, delivery.word != before { Output.line(delivery.text) }
      }
      raiser.end()
      return delivery
    }
  }

  struct Acknowledge: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "acknowledge", abstract: "Say that you have seen the crisis at this device.")
    @OptionGroup var location: Location

    func run() throws {
      try Output.reporting {
        let store = try location.openStore(tellsPutBack: false)
        if let change = try location.actions(store).acknowledgeCrisis() {
          let others = change.isAtRelay ? "your other devices see that as soon as they look" : "your other devices learn of it once it is at the relay, which takes fullmind running here"
          return Output.line("Acknowledged on this device; \(others).")
        }
        let known = try CrisisReport.known(location, store)
        guard known.state.acknowledgement(by: store.ring.device, record: Actions(store).crisisRecord) == nil else { throw CrisisNotTakenIn(store) }
        Output.line(known.state.isActive || known.sawAll ? "There is nothing to acknowledge." : known.look.unknown)
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
        var resolution: CrisisRaiser.Resolution
        do { resolution = try raiser.resolve(instead: problem) } catch {
          // Nothing of this device is left to be taken back, and the store refuses: what is active can be read all the same.
          guard let store, let known = try? CrisisReport.known(location, store) else { throw error }
          if known.state.isActive { throw CrisisNotTakenIn(store) }
          resolution = known.sawAll ? .nothing : .nothingHere
        }
        // What other devices raised is known where all of the relay could be looked at.
        var (sawAll, unknown) = (false, Status.unknown)
        if resolution.hasSeenRelay, let store {
          let known = try CrisisReport.known(location, store)
          (sawAll, unknown) = (known.sawAll, known.look.unknown)
          if known.state.isActive {
            // Another device has raised it, and no program has brought it here yet.
            CrisisReport.takeIn(location, store)
            guard case .resolved(let all)? = try? raiser.resolve() else { throw CrisisNotTakenIn(store) }
            resolution = .resolved(all)
          }
        }
        switch resolution {
        case .nothing, .nothingHere: try report(store, nil, sawAll ? "No crisis is active." : unknown, isComplete: sawAll)
        case .resolved(let change):
          defer {
            if change.isAtRelay {
              endAlerts(store)
              if let store { CrisisReport.keepSeen(location, store) }
            }
          }
          try report(
            store, change,
            change.isAtRelay ? "Resolved. Be kind to yourself today." : "Resolved here. It is not known to be at the relay yet; your other devices learn of it once it is, which takes fullmind running here. Be kind to yourself today.",
            isComplete: sawAll)
        case .takenBack:
          // The store and the relay may both have been waited for already.
          let taken = Int((SystemClock.now.uptime - began) / 1_000_000)
          let delivery = raiser.outcome(within: max(300, Self.mayTake - taken))
          guard delivery.disk.isDone || delivery.relay.isDone else { throw CrisisNotSaved() }
          raiser.end()
          try reportTakenBack(store, raiser, isSent: delivery.relay.isDone)
        }
      }
    }

    /// Words depend on what could be looked at beside what was raised here.
    private func reportTakenBack(_ store: Store?, _ raiser: CrisisRaiser, isSent: Bool) throws {
      // A relay that did not take it is not waited for once more.
      var known = isSent ? store.flatMap { store in try? CrisisReport.known(location, store) } : nil
      // What was raised here is taken back, also where that could not be read again.
      if let store, let state = known?.state, state.isActive, state.activations.allSatisfy({ $0.id.stream.device == store.ring.device }) { known = nil }
      if output.json {
        var report = CrisisReport(known?.state, isComplete: known?.sawAll ?? false)
        (report.savedAt_us, report.atRelay) = (raiser.savedAt, isSent)
        try Output.json(report)
      }
      // Another device's goes on: that is no success.
      if let store, let known, known.state.isActive {
        if !output.json { Output.line("What was raised on this device is taken back. Another crisis goes on that was raised on another device.") }
        let problem = CrisisNotTakenIn(store)
        guard output.json else { throw problem }
        throw ExitCode(problem.exitStatus.rawValue)
      }
      guard !output.json else { return }
      let others = if let known {
        !known.sawAll ? "Not everything at the relay could be looked at, so what other devices raised is not known."
          : isSent ? "No crisis is active." : "No other crisis is known."
      } else { isSent ? "The store cannot be used now, so what other devices raised is not known." : "What other devices raised is not known." }
      Output.line("What was raised on this device is taken back\(isSent ? "" : " here; your other devices learn of it when the relay can be reached"). \(others)")
    }

    /// Those who were told learn that it is over; where the relay cannot be used, from whichever program exchanges next.
    private func endAlerts(_ store: Store?) {
      guard let store, let relay = try? location.patientRelay(store), let ended = try? Actions(store).tellEnded(relay) else { return }
      if !output.json, !ended.isEmpty { Output.line("That it is over lies at the link of \(ended.joined(separator: ", ")).") }
    }

    /// - Parameter isComplete: Whether what other devices raised could be looked at.
    private func report(_ store: Store?, _ change: Actions.CrisisChange?, _ text: String, isComplete: Bool) throws {
      guard output.json else { return Output.line(text) }
      var report = CrisisReport(try store.map { try CrisisReport.state(of: $0) }, isComplete: isComplete)
      (report.savedAt_us, report.atRelay) = (change?.saved, change?.isAtRelay)
      try Output.json(report)
    }
  }

  struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "status", abstract: "Say whether a crisis is active.")
    static let unknown = "No crisis is known on this device. The relay cannot be reached, so what other devices raised is not known."
    /// Behind one that is active.
    private static let doubt = " That is what this device knows: not everything at the relay could be looked at, so whether it is over elsewhere is not known."
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let known: CrisisReport.Known
        do { known = try CrisisReport.known(location, try location.openStore(tellsPutBack: false)) } catch {
          // The store cannot be opened: what was raised on this device is known all the same.
          guard let journal = EmergencyJournal(location.homeFolder), journal.isActive,
            journal.isActive(with: CrisisReport.raiser(location, nil).sent() ?? [])
          else {
            // Of a home that is there: that it has no store says nothing of crises either.
            if !output.json, access(location.homeFolder.path, F_OK) == 0 { Output.line("Whether a crisis is active is not known: the store cannot be used.") }
            throw error
          }
          if output.json {
            var report = CrisisReport()
            (report.active, report.raisedHere) = (true, true)
            return try Output.json(report)
          }
          Output.line("A crisis was raised on this device. The store cannot be opened, so whether it is over is not known.")
          return
        }
        let state = known.state
        if output.json {
          var report = CrisisReport(state, isComplete: known.sawAll)
          (report.acknowledgedBy, report.stages) = (state.acknowledgements.map(\.device.description), state.stages.map(\.rawValue).sorted())
          try Output.json(report)
        } else {
          Output.line(
            state.isActive
              ? "A crisis is active: \(state.level.name), acknowledged on \(state.acknowledgements.count) devices.\(known.sawAll ? "" : Self.doubt)"
              : known.sawAll ? "No crisis is active." : known.look.unknown)
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
        let look = CrisisReport.look(location, store)
        if try CrisisReport.isBeside(look, store) {
          CrisisReport.takeIn(location, store)
          // What lies beside the store counts, whoever holds the store.
          if try CrisisReport.isBeside(look, store) { Output.note("Not all of it is saved in the store of this device yet; this list has what lies beside it and at the relay.") }
        }
        if !look.isAll { Output.note("\(look.isReached ? "Not everything about crises could be read at the relay" : "The relay cannot be reached"): what other devices raised may not be in this list.") }
        let (history, names) = try CrisisReport.history(of: store, beside: look)
        if output.json { return try Output.json(Rows(crises: history.entries.map { Row($0, names) }, complete: look.isAll)) }
        for line in CrisisReport.lines(history, names) { Output.line(line) }
      }
    }

    private struct Rows: Encodable {
      var crises: [Row]
      /// Whether everything that other devices raised could be looked at.
      var complete: Bool
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
  var summary: String { "Only this screen knows: neither this disk nor the relay could be written, and it is not tried any more." }
  var remedy: String { "Please do not wait for it: call one of the numbers above, or somebody near you. Then try again." }
  /// Where no numbers stand above.
  static let called = "Please call somebody near you; then try again."
  var exitStatus: ExitStatus { .temporary }
}
