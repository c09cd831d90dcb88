import ArgumentParser
import CSystem
import Causality
import Foundation
import Replica
import Storage
import Stores
import Synchronization
import Therapy

/// `fullmind practice`: a guided practice in lines of text; the dashboard has it as a picture.
struct PracticeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "practice", abstract: "Start a practice: breathing or body-scan.",
    discussion: """
      Runs here, stage by stage, until it is done, handed off, or interrupted (^C pauses it). With --start it
      only begins the session and prints its id, for a dashboard or another device to go on with.
      """)
  @OptionGroup var location: Location
  @Argument(help: "breathing or body-scan.") var name: String
  @Flag(help: "Begin the session, print its id, and return.") var start = false

  func run() throws {
    try Output.reporting {
      guard let practice = Practice.all.first(where: { $0.name == name }) else {
        throw InputError.invalid(
          "There is no practice “\(name)”. Nothing was started.",
          remedy: "Use \(Practice.all.map(\.name).joined(separator: " or ")).")
      }
      let signals = start ? -1 : fm_signals_open()
      let actions = location.actions(try location.openStore())
      let id = try actions.startSession(practice.name)
      if start { return Output.line(id.description) }
      try guide(practice, id, actions, signals)
    }
  }

  private func guide(_ practice: Practice, _ id: RecordID, _ actions: Actions, _ signals: Int32) throws {
    Output.note("Session \(id). ^C pauses it; `fullmind handoff \(id) --to DEVICE` moves it.")
    let began = SystemClock.now.uptime
    var stage = -1
    while true {
      let elapsed = Double(SystemClock.now.uptime - began) / 1e9
      let current = practice.stage(at: elapsed)
      if elapsed >= practice.seconds {
        _ = try actions.progress(id, to: practice.seconds, phase: .finished)
        return Output.line("Done. \(Int(practice.seconds)) seconds for yourself.")
      }
      if current.index != stage {
        stage = current.index
        Output.line("\(practice.stages[stage].name) — \(Int(practice.stages[stage].seconds)) s. Breathe in for 4, out for 4.")
      }
      guard try actions.progress(id, to: elapsed) else { return Output.line("The session goes on on your other device.") }
      if wait(signals, 1_000) {
        _ = try actions.progress(id, to: elapsed, phase: .paused)
        return Output.line("Paused after \(Int(elapsed)) s. It can be taken up again for 24 hours.")
      }
    }
  }

  /// Waits; `true` when the person interrupted.
  private func wait(_ signals: Int32, _ milliseconds: Int32) -> Bool {
    var ready: [UInt8] = [0]
    _ = fm_wait([signals], &ready, 1, milliseconds)
    return ready[0] != 0 && [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(fm_signal_next(signals))
  }
}

/// `fullmind sessions`: what runs where.
struct SessionsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sessions", abstract: "List sessions: what runs where, and how far it has come.",
    subcommands: [List.self], defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List sessions, newest first.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let sessions = try StatusReport.snapshot(location).sessions
        if output.json { return try Output.json(["sessions": sessions.map(Row.init)]) }
        if sessions.isEmpty { Output.hint("No sessions yet. `fullmind practice breathing` begins one.") }
        for session in sessions {
          let offer = session.offeredTo.map { ", offered to \($0)" } ?? ""
          Output.line("\(session.id)  \(session.type) \(session.phase) on \(session.owner)\(offer), \(Int(session.elapsed)) of \(Int(session.seconds)) s")
        }
      }
    }

    private struct Row: Encodable {
      var id, type, state, owner: String
      var ownedHere: Bool
      var elapsed_s, seconds: Double
      var offeredTo: String?
      init(_ session: Snapshot.Session) {
        (id, type, state, owner) = (session.id.description, session.type, session.phase, session.owner)
        (ownedHere, elapsed_s, seconds, offeredTo) = (session.isOwn, session.elapsed, session.seconds, session.offeredTo)
      }
    }
  }
}

/// `fullmind handoff`: move a session to another device.
struct HandoffCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "handoff", abstract: "Move a session to another device.",
    discussion: """
      The other device takes it up when it sees the offer, within 120 seconds; until its receipt is back the
      session stays here.

      EXIT STATUS
        0   the other device has it
        75  offered, but no receipt within --wait seconds; it stays here until then
      """)
  @OptionGroup var location: Location
  @Argument(help: "The session's id, or its beginning.") var session: String
  @Option(help: ArgumentHelp("The device's name or the beginning of its id.", valueName: "device")) var to: String
  @Option(help: ArgumentHelp("How long to wait for the receipt (0-120).", valueName: "seconds")) var wait = 10

  func run() throws {
    try Output.reporting {
      let store = try location.openStore()
      let actions = location.actions(store)
      let target = try StatusReport.device(named: to, in: store)
      guard target != actions.device else {
        throw InputError.invalid("The session is to go to this very device. Nothing was changed.", remedy: "Name another device.")
      }
      let id = try actions.record(beginningWith: session).id
      // Before anything is offered: an answer may be here at once.
      let news = StoreNews(store.home)
      try actions.offer(id, to: target, elapsed: nil)
      let deadline = SystemClock.now.uptime + UInt64(max(0, min(wait, 120))) * 1_000_000_000
      guard try !hasReceipt(in: store, by: deadline, news, isThere: { try actions.session(id)?.owner == target }) else { return }
      throw HandoffPending(clocks: try SnapshotBuilder.fromStore(store, relay: "").sync.status.clocks)
    }
  }

  /// Waits for the receipt, and says that it is there. Where no other program of this device exchanges, one driver does it
  /// from here for the whole wait.
  private func hasReceipt(in store: Store, by deadline: UInt64, _ news: StoreNews, isThere: () throws -> Bool) throws -> Bool {
    var driver: ReplicaDriver?
    // Who is out of time takes no more of it.
    defer { driver?.stop(waitingAtMost: SystemClock.now.uptime >= deadline ? 200 : 2_000) }
    while true {
      if try isThere() {
        Output.line("“\(to)” has the session.")
        return true
      }
      let now = SystemClock.now.uptime
      guard now < deadline else { return false }
      // Where the devices meet elsewhere it goes on there.
      if news.takeMoved() {
        driver?.stop(waitingAtMost: 200)
        driver = nil
      }
      if driver == nil, !store.home.isExchanged { driver = try? exchange(store, news) }
      news.wait(nanoseconds: deadline - now)
    }
  }

  private func exchange(_ store: Store, _ news: StoreNews) throws -> ReplicaDriver {
    var observer = ReplicaDriver.Observer()
    observer.report = { report, _ in
      switch report {
      case .applied, .released: news.tell()
      default: break
      }
    }
    if location.relay == nil { observer.moved = { news.noteMoved() } }
    let driver = try ReplicaDriver(
      store: store, relay: try location.openRelay(store), relayName: try location.relayLocation(store).description, tier: .selfHosted,
      observer: observer)
    driver.start()
    return driver
  }
}

/// Wakes whoever waits for something to come into the store: this process may take it in, or another one that pings.
private final class StoreNews: Sendable {
  private let wake = fm_wake_open()
  /// -1 where nobody can ping.
  private let ping: Int32
  private let path: String
  private let hasMoved = Mutex(false)

  init(_ home: HomeFolder) {
    mkdir(home.sockets, 0o700)
    path = home.sockets + "/\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
    ping = fm_ping_open(path)
  }

  deinit {
    if wake >= 0 { close(wake) }
    guard ping >= 0 else { return }
    close(ping)
    unlink(path)
  }

  /// Something has come.
  func tell() { fm_wake_signal(wake) }

  /// The devices meet elsewhere now.
  func noteMoved() {
    hasMoved.withLock { $0 = true }
    tell()
  }

  /// Whether they do since this was asked last.
  func takeMoved() -> Bool {
    hasMoved.withLock { hasMoved in
      defer { hasMoved = false }
      return hasMoved
    }
  }

  /// Milliseconds after which it is looked all the same: a ping may get lost.
  private static let gap: UInt64 = 500
  /// Milliseconds between two looks where nobody can ping.
  private static let blindGap: UInt64 = 50

  /// Waits for news, at most so long; what came since the last wait ends it at once.
  func wait(nanoseconds: UInt64) {
    let descriptors = [wake, ping].filter { $0 >= 0 }
    let gap = descriptors.count < 2 ? Self.blindGap : Self.gap
    var ready = [UInt8](repeating: 0, count: 2)
    _ = fm_wait(descriptors, &ready, Int32(descriptors.count), Int32(min(nanoseconds / 1_000_000 + 1, gap)))
    if wake >= 0 { fm_wake_clear(wake) }
    var message = [UInt8](repeating: 0, count: 64)
    while ping >= 0, fm_ping_next(ping, &message, message.count) >= 0 {}
  }
}

struct HandoffPending: ActionableError {
  /// What is known of clocks that disagree: a receipt from the future is held back.
  var clocks: String
  var code: String { "handoff.pending" }
  var summary: String { "The session is offered; no receipt of the other device has come yet. Until one does it stays here." }
  var remedy: String {
    guard clocks.isEmpty else { return "Set the clock that is wrong: \(clocks)." }
    return "Check that an agent or a dashboard runs on both devices; the offer stands for 120 s."
  }
  var exitStatus: ExitStatus { .temporary }
}
