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

/// Another process of this device exchanges: it is asked to exchange everything, and says when it has.
struct SyncWish {
  var store: Store
  var relay: any Relay
  private var number: UInt64?

  init(store: Store, relay: any Relay) { (self.store, self.relay) = (store, relay) }

  /// Looks; asks at the first call.
  ///
  /// - Throws: ``RelayError`` when there is nothing to exchange with.
  mutating func isMet() throws -> Bool {
    if let number { return try store.read { try $0.syncWishes().met } >= number }
    _ = try relay.survey()
    number = try store.write { try $0.wishForSync() }
    store.pingOthers(except: nil)
    return false
  }
}

/// Exchanges until everything here is sent and everything there is read.
struct ExchangeOnce {
  var store: Store
  var relay: any Relay
  var relayName: String

  /// - Throws: ``SyncTimeout`` when it is not finished in time; local changes are kept.
  func run(timeout: Double) throws {
    let done = DispatchSemaphore(value: 0)
    let failure = Mutex<(any Error)?>(nil)
    let isElsewhere = Mutex(false)
    var observer = ReplicaDriver.Observer()
    observer.exchangedElsewhere = { isElsewhere.withLock { $0 = true } }
    observer.report = { report, _ in
      switch report {
      case .idle(settled: true): done.signal()
      case .relayLost(let error):
        failure.withLock { $0 = error }
        done.signal()
      default: break
      }
    }
    observer.failed = { error in
      failure.withLock { $0 = error }
      done.signal()
    }
    let driver = try ReplicaDriver(store: store, relay: relay, relayName: relayName, tier: .selfHosted, observer: observer)
    driver.start()
    defer { driver.stop(waitingAtMost: 2_000) }
    let deadline = DispatchTime.now() + timeout
    // Should that process end, the driver here takes over.
    var wish = SyncWish(store: store, relay: relay)
    while done.wait(timeout: min(deadline, .now() + 0.02)) == .timedOut {
      if DispatchTime.now() >= deadline { throw SyncTimeout(seconds: timeout) }
      if isElsewhere.withLock({ $0 }), try wish.isMet() { return }
    }
    if let error = failure.withLock({ $0 }) { throw error }
  }
}

struct SyncTimeout: ActionableError {
  var seconds: Double
  var code: String { "sync.timeout" }
  var summary: String { "Not everything was exchanged within \(Int(seconds)) s. Local changes are kept." }
  var remedy: String { "Repeat `fullmind sync` to continue." }
  var exitStatus: ExitStatus { .temporary }
}

/// `fullmind sync`: exchange changes with the relay now, then exit.
struct SyncCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sync", abstract: "Exchange changes with the relay now, then exit.",
    discussion: """
      Sends what this device has and fetches what it lacks. Safe to interrupt and to repeat.

      EXIT STATUS
        0   everything was exchanged
        69  the relay could not be reached; local changes are kept
        75  not finished within --timeout; repeat to continue
      """)
  @OptionGroup var location: Location
  @OptionGroup var output: OutputOptions
  @Option(help: ArgumentHelp("Give up after this many seconds (1-3600).", valueName: "seconds")) var timeout = 60

  func validate() throws {
    guard (1...3_600).contains(timeout) else {
      throw ValidationError("--timeout takes 1 to 3600 seconds, not \(timeout).")
    }
  }

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      let store = try location.openStore()
      let name = try location.relayLocation().description
      try ExchangeOnce(store: store, relay: try location.openRelay(store), relayName: name)
        .run(timeout: Double(timeout))
      let sync = try SnapshotBuilder.fromStore(store, relay: name).sync
      if output.json {
        try Output.json(StatusReport.Sync(sync))
      } else {
        Output.line("Saved here \(sync.saved) · accepted by the relay \(sync.accepted).")
      }
    }
  }
}

/// `fullmind agent`: a headless replica.
struct AgentCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "agent", abstract: "Keep this device in step without a screen.",
    discussion: """
      With --events one JSON object per line goes to standard output: `applied` (record, kind, field, device),
      `crisis` (level, active), `damaged`, `healed`, `forked`, `quarantined`, `relay` (reachable), `admitted`,
      `accepted`, `synced`, `trouble`. Each has `event` and `at_us` (microseconds since 1970). Names and values
      never appear.
      """)
  @OptionGroup var location: Location
  @Flag(help: "Print one JSON object per event.") var events = false
  @Flag(help: "Exit once everything is exchanged.") var untilSynced = false

  func run() throws {
    try Output.reporting {
      let signals = fm_signals_open()
      let store = try location.openStore()
      let relay = try location.openRelay(store)
      let finished = fm_wake_open()
      let untilSynced = untilSynced
      let trouble = Mutex<(any Error)?>(nil)
      let isElsewhere = Mutex(false)
      var observer = ReplicaDriver.Observer()
      observer.exchangedElsewhere = { isElsewhere.withLock { $0 = true } }
      let lines = events ? EventLines(store: store) : nil
      observer.report = { report, _ in
        lines?.print(report)
        if untilSynced, report == .idle(settled: true) { fm_wake_signal(finished) }
      }
      observer.failed = { error in
        lines?.trouble(Output.actionable(error).code)
        trouble.withLock { $0 = error }
        if untilSynced { fm_wake_signal(finished) }
      }
      let driver = try ReplicaDriver(
        store: store, relay: relay, relayName: try location.relayLocation().description, tier: .selfHosted,
        observer: observer)
      driver.start()
      var wish = SyncWish(store: store, relay: relay)
      try wait(signals, finished) { try untilSynced && isElsewhere.withLock { $0 } && wish.isMet() }
      driver.stop(waitingAtMost: 2_000)
      if untilSynced, let error = trouble.withLock({ $0 }) { throw error }
    }
  }

  private func wait(_ signals: Int32, _ finished: Int32, until isDone: () throws -> Bool) rethrows {
    while true {
      var ready: [UInt8] = [0, 0]
      let count = fm_wait([signals, finished], &ready, 2, untilSynced ? 20 : -1)
      if try ready[1] != 0 || isDone() { return }
      guard count > 0 else { continue }
      let number = fm_signal_next(signals)
      if [SIGTERM, SIGINT, SIGHUP, SIGQUIT].contains(number) { return }
      if number == SIGTSTP { kill(getpid(), SIGSTOP) }
    }
  }
}

/// Writes events as JSON lines. Identifiers only: no names, no values.
private struct EventLines: Sendable {
  let store: Store

  func print(_ report: ReplicaReport) {
    let at = SystemClock.wallMicroseconds
    switch report {
    case .applied(let device, let changes):
      var text = ""
      for change in changes {
        text += """
          {"event":"applied","record":"\(change.record)","kind":"\(change.kind.jsonEscaped)",\
          "field":"\(change.field.jsonEscaped)","device":"\(device?.description ?? "")","at_us":\(at)}\n
          """
      }
      Output.write(text)
      if changes.contains(where: { $0.kind == RecordCatalogue.crisis.kind }) { crisis() }
    case .quarantined(let device, let count):
      line("quarantined", at, "\"device\":\"\(device?.description ?? "")\",\"count\":\(count)")
    case .damaged(let stream): line("damaged", at, "\"stream\":\"\(stream.tag.bytes.hexadecimal)/\(stream.channel.rawValue)\"")
    case .healed(let channel): line("healed", at, "\"channel\":\(channel.rawValue)")
    case .forked(let stream): line("forked", at, "\"stream\":\"\(stream.tag.bytes.hexadecimal)/\(stream.channel.rawValue)\"")
    case .ownStreamAhead(let channel): line("rewound", at, "\"channel\":\(channel.rawValue)")
    case .admitted: line("admitted", at, nil)
    case .heard(let device): line("heard", at, "\"device\":\"\(device)\"")
    case .relayLost(let error): line("relay", at, "\"reachable\":false,\"code\":\"\(error.code)\"")
    case .relayFound(let epoch, let isNew): line("relay", at, "\"reachable\":true,\"epoch\":\"\(String(epoch, radix: 16))\",\"wiped\":\(isNew)")
    case .accepted(let channel, let through): line("accepted", at, "\"channel\":\(channel.rawValue),\"through\":\(through)")
    case .idle(let settled): if settled { line("synced", at, nil) }
    }
  }

  func trouble(_ code: String) { line("trouble", SystemClock.wallMicroseconds, "\"code\":\"\(code)\"") }

  private func crisis() {
    guard let state = try? CrisisReport.state(of: store) else { return }
    line(
      "crisis", SystemClock.wallMicroseconds,
      "\"level\":\"\(state.level.name)\",\"active\":\(state.isActive)")
  }

  private func line(_ event: String, _ at: UInt64, _ rest: String?) {
    Output.write("{\"event\":\"\(event)\",\(rest.map { $0 + "," } ?? "")\"at_us\":\(at)}\n")
  }
}

extension String {
  /// For the few places that write JSON without an encoder: kinds and fields of unknown versions.
  var jsonEscaped: String {
    guard contains(where: { $0 == "\"" || $0 == "\\" || $0.unicodeScalars.first.map { $0.value < 32 } ?? false }) else {
      return self
    }
    return unicodeScalars.map { scalar in
      switch scalar {
      case "\"": "\\\""
      case "\\": "\\\\"
      case let control where control.value < 32: "\\u00" + [UInt8(control.value)].hexadecimal
      default: String(scalar)
      }
    }.joined()
  }
}
