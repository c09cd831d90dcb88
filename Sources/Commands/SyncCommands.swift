import ArgumentParser
import CSystem
import Causality
import Foundation
import Relays
import Replica
import Storage
import Stores
import Synchronization
import Therapy

/// `fullmind sync`: exchange changes with the relay now, then exit.
struct SyncCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sync", abstract: "Exchange changes with the relay now, then exit.",
    discussion: """
      Sends what this device has and fetches what it lacks. Safe to interrupt and to repeat.

      EXIT STATUS
        0   everything was exchanged
        69  the relay could not be reached, or is not the one that this device had; local changes are kept
        75  not finished within --timeout, or the relay lacks what other devices have written, or holds something about
            a crisis that cannot be read; repeat to continue
      """)
  @OptionGroup var location: Location
  @OptionGroup var output: OutputOptions
  @OptionGroup var limit: TimeLimit

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      let store = try location.openStore()
      let name = try location.relayLocation(store).description
      let sync = try exchange(store, name)
      if output.json {
        try Output.json(StatusReport.Sync(sync))
      } else {
        let isPrivate = try location.relayLocation(store).isPrivate(to: store.home)
        Output.line("Saved here \(sync.saved) · at the relay \(sync.accepted) · on \(sync.confirmedOn) of \(sync.others) other devices.")
        if sync.quarantined > 0 {
          Output.line("\(sync.quarantined) of other devices \(sync.quarantined == 1 ? "is" : "are") kept and not shown until due: a clock was ahead when \(sync.quarantined == 1 ? "it was" : "they were") written.")
        }
        if isPrivate { Output.hint("The relay is a folder inside this home: no other device can reach it. `fullmind relay make folder:PATH` makes one that they can.") }
      }
    }
  }

  /// How often it is exchanged at most: what follows from an exchange is written after it, and exchanged by the next.
  private static let rounds = 3

  /// Exchanges until nothing is written any more that an exchange has not taken along.
  ///
  /// - Returns: How it stands after the last write.
  /// - Throws: As ``ExchangeOnce/run(timeout:)``; ``SyncUnsent``.
  private func exchange(_ store: Store, _ name: String) throws -> Snapshot.Sync {
    let actions = location.actions(store)
    let end = SystemClock.now.uptime + UInt64(limit.timeout) * 1_000_000_000
    var isAll = false
    var lacking: SyncMissing?
    for round in 1...Self.rounds where !isAll {
      let before = try actions.written()
      let now = SystemClock.now.uptime
      let left = end > now ? Double(end - now) / 1e9 : 0
      let once = ExchangeOnce(store: store, relay: try location.openRelay(store), relayName: name, isProved: lacking == nil)
      // Who waits for an alert is told all the same: what others have raised may never come.
      do { try once.run(timeout: round == 1 ? Double(limit.timeout) : max(2, left)) } catch let error as SyncMissing {
        guard lacking == nil else { throw error }
        lacking = error
      }
      // The last exchange is followed by no write of this command.
      if round < Self.rounds { tellOthers(actions, PatientRelay(try location.openRelay(store), named: name)) }
      isAll = try actions.written() == before
    }
    if let lacking { throw lacking }
    let seen = CrisisReport.look(location, store).sent
    // Where others write all the time, what this command has written itself is looked for.
    guard try isAll || actions.isCrisisSent(seen: seen) else { throw SyncUnsent() }
    return try SnapshotBuilder.fromStore(store, relay: name, sent: seen).sync
  }

  /// Whoever waits for an alert, or for its end, is told by the first program that can.
  private func tellOthers(_ actions: Actions, _ relay: PatientRelay) {
    do {
      let told = try actions.tellDue(relay)
      if !told.isEmpty { Output.note("An alert lies at the link of \(told.joined(separator: ", ")).") }
      let ended = try actions.tellEnded(relay)
      if !ended.isEmpty { Output.note("That it is over lies at the link of \(ended.joined(separator: ", ")).") }
    } catch {
      Output.note("Not everybody could be told who is to learn of a crisis, or of its end: \(Output.actionable(error).summary) If it matters now, please call.")
    }
  }
}

/// Something about a crisis was written while it was exchanged, and is not known to be sent.
struct SyncUnsent: ActionableError {
  var code: String { "sync.unsent" }
  var summary: String { "Something about a crisis, or about whom to tell of one, is saved here and is not known to be at the relay." }
  var remedy: String { "Repeat `fullmind sync` to send it." }
  var exitStatus: ExitStatus { .temporary }
}

/// How long an exchange may take that has an end.
struct TimeLimit: ParsableArguments {
  @Option(help: ArgumentHelp("An exchange that has an end is given up after this many seconds (1-3600).", valueName: "seconds")) var timeout = 60

  func validate() throws {
    guard (1...3_600).contains(timeout) else {
      throw ValidationError("--timeout takes 1 to 3600 seconds, not \(timeout).")
    }
  }
}

/// `fullmind agent`: a headless replica.
struct AgentCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "agent", abstract: "Keep this device in step without a screen.",
    discussion: """
      With --events one JSON object per line goes to standard output: `applied` (record, kind, field, device),
      `crisis` (level, active, saved), `damaged`, `healed`, `forked`, `tookBack`, `copied`, `carried`, `missing`, `quarantined`,
      `released`, `relay` (reachable), `sending`, `admitted`, `accepted`, `synced` (complete), `trouble`, `ended`. Each has
      `event` and `at_us` (microseconds since 1970). Names and values never appear. A reader that is too slow loses
      events, and is told how many: `dropped`.
      """)
  @OptionGroup var location: Location
  @Flag(help: "Print one JSON object per event.") var events = false
  @Flag(help: "Exit once everything is exchanged.") var untilSynced = false
  @OptionGroup var limit: TimeLimit

  private struct State {
    var trouble: (any Error)?
    /// Why the relay cannot be used; `nil` while it can.
    var lost: RelayError?
    var ended: (any Error)?
    var isElsewhere = false
    /// The devices meet elsewhere now.
    var isMoved = false
  }

  func run() throws {
    try Output.reporting {
      let signals = fm_signals_open()
      let lines = events ? EventLines() : nil
      guard let store = try opened(signals, lines) else { return }
      let finished = fm_wake_open()
      let untilSynced = untilSynced
      let state = Mutex(State())
      var observer = ReplicaDriver.Observer()
      observer.exchangedElsewhere = { state.withLock { $0.isElsewhere = true } }
      observer.report = { report, _ in
        lines?.print(report)
        if case .relayLost(let error) = report { state.withLock { $0.lost = error } }
        if case .relayFound = report { state.withLock { $0.lost = nil } }
        if untilSynced, case .idle(settled: true, _) = report { fm_wake_signal(finished) }
      }
      observer.crisis = { state, isSaved in lines?.crisis(state, isSaved: isSaved) }
      observer.failed = { error in
        lines?.trouble(Output.actionable(error).code)
        state.withLock { $0.trouble = error }
        if untilSynced { fm_wake_signal(finished) }
      }
      observer.ended = { error in
        lines?.ended(Output.actionable(error).code)
        state.withLock { $0.ended = error }
        fm_wake_signal(finished)
      }
      if location.relay == nil {
        observer.moved = {
          state.withLock { $0.isMoved = true }
          fm_wake_signal(finished)
        }
      }
      let deadline = untilSynced ? SystemClock.now.uptime + UInt64(limit.timeout) * 1_000_000_000 : .max
      var isEnding = false
      repeat {
        state.withLock { $0.isMoved = false }
        fm_wake_clear(finished)
        let relay = try location.openRelay(store)
        let driver = try ReplicaDriver(
          store: store, relay: relay, relayName: try location.relayLocation(store).description, tier: .selfHosted,
          observer: observer)
        driver.start()
        var request = SyncRequest(store: store, relay: relay, named: try location.relayLocation(store).description)
        isEnding = try wait(driver, signals, finished) {
          if SystemClock.now.uptime >= deadline {
            let reason = SyncTimeout.reason(in: store, isElsewhere: state.withLock { $0.isElsewhere })
            let late = SyncTimeout(seconds: Double(limit.timeout), reason: reason)
            state.withLock { $0.ended = $0.ended ?? $0.lost ?? late }
            return true
          }
          return try untilSynced && state.withLock { $0.isElsewhere } && request.isComplete()
        }
        driver.stop(waitingAtMost: SystemClock.now.uptime >= deadline ? 200 : 2_000)
        // Where the devices meet elsewhere it goes on there.
      } while !isEnding && state.withLock { $0.isMoved }
      lines?.end()
      let last = state.withLock { $0 }
      if let ended = last.ended { throw ended }
      if untilSynced, let error = last.trouble { throw error }
    }
  }

  /// Opens the store. A service that is started on a full disk, or beside a program that holds the store, goes on by
  /// itself as soon as it can.
  ///
  /// - Returns: `nil` where somebody wants the program to end.
  private func opened(_ signals: Int32, _ lines: EventLines?) throws -> Store? {
    var told: String?
    while true {
      do { return try location.openStore() } catch let error as StorageError {
        guard !untilSynced, let obstacle = error.obstacle else { throw error }
        if told != error.code {
          Output.note("The store cannot be opened now: \(obstacle). Nothing is heard or sent meanwhile, but for what was raised here in a crisis. It is tried again every second.")
          lines?.trouble(error.code)
        }
        told = error.code
        var ready: [UInt8] = [0]
        if fm_wait([signals], &ready, 1, 1_000) > 0, [SIGTERM, SIGINT, SIGHUP, SIGQUIT].contains(fm_signal_next(signals)) { return nil }
      }
    }
  }

  /// - Returns: Whether somebody wants the program to end.
  private func wait(
    _ driver: ReplicaDriver, _ signals: Int32, _ finished: Int32, until isDone: () throws -> Bool
  ) rethrows -> Bool {
    while true {
      var ready: [UInt8] = [0, 0]
      let count = fm_wait([signals, finished], &ready, 2, untilSynced ? 20 : -1)
      if try ready[1] != 0 || isDone() { return false }
      guard count > 0 else { continue }
      let number = fm_signal_next(signals)
      if [SIGTERM, SIGINT, SIGHUP, SIGQUIT].contains(number) { return true }
      guard number == SIGTSTP else { continue }
      // Another process of this device exchanges while this one is stopped.
      driver.suspend()
      kill(getpid(), SIGSTOP)
      driver.resume()
    }
  }
}
