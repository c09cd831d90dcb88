import Causality
import Foundation
import Relays
import Replica
import Storage
import Stores
import Synchronization
import Therapy

/// Another process of this device exchanges: it is requested to exchange everything, and says when it has.
struct SyncRequest {
  let store: Store
  let relay: any Relay
  private let name: String
  private var number: UInt64?
  /// Whether there is something to exchange with: a folder that hangs holds up nobody.
  private var looking: Attempt<Result<RelaySurvey, RelayError>>?
  private var began = SystemClock.now.uptime

  init(store: Store, relay: any Relay, named name: String) { (self.store, self.relay, self.name) = (store, relay, name) }

  /// Looks; requests once the relay has answered. Waits for nothing.
  ///
  /// - Throws: ``RelayError`` when there is nothing to exchange with.
  mutating func isComplete() throws -> Bool {
    if let number { return try store.read { try $0.syncRequests().completed } >= number }
    if looking == nil {
      began = SystemClock.now.uptime
      looking = Attempt { [relay] in
        do throws(RelayError) { return .success(try relay.survey()) } catch { return .failure(error) }
      }
    }
    guard let answer = looking?.answer(within: 0) else {
      if SystemClock.now.uptime - began > UInt64(PatientRelay.patience) * 1_000_000 { throw RelayError.unanswered(name) }
      return false
    }
    _ = try answer.get()
    number = try store.write { try $0.requestSync() }
    store.pingOthers(except: nil)
    return false
  }
}

/// Exchanges until everything here is sent and everything there is read.
struct ExchangeOnce: Sendable {
  let store: Store
  let relay: any Relay
  let relayName: String
  /// Whether it is looked at the end for what others have signed for and for what cannot be read, also where this run has
  /// brought no news of it; that is waited for a moment.
  var isProved = false

  private struct State {
    var isElsewhere = false
    var failure: (any Error)?
    /// Why sending alone fails, as far as this process sends.
    var sending: [Channel: RelayError] = [:]
    /// Uptime at which nothing was left to do for the first time.
    var settledAt: UInt64?
    var isComplete = false
  }

  /// How long changes are waited for that others have signed for, in nanoseconds.
  private static let missingPatience: UInt64 = 6_000_000_000

  /// - Throws: ``SyncTimeout``, ``SyncMissing``, ``RelayError``, ``StorageError``; local changes are kept.
  func run(timeout: Double) throws {
    let state = Mutex(State())
    let news = Latch()
    var observer = ReplicaDriver.Observer()
    observer.exchangedElsewhere = {
      state.withLock { $0.isElsewhere = true }
      news.open()
    }
    observer.report = { report, moment in
      switch report {
      case .idle(settled: true, let isComplete):
        state.withLock { ($0.settledAt, $0.isComplete) = ($0.settledAt ?? moment.uptime, isComplete) }
      case .relayLost(let error): state.withLock { $0.failure = error }
      case .sendingFailed(let channel, let error): state.withLock { $0.sending[channel] = error }
      case .accepted(let channel, _): state.withLock { $0.sending[channel] = nil }
      default: return
      }
      news.open()
    }
    observer.failed = { error in
      state.withLock { $0.failure = error }
      news.open()
    }
    observer.ended = observer.failed
    let driver = try ReplicaDriver(store: store, relay: relay, relayName: relayName, tier: .selfHosted, observer: observer)
    driver.start()
    let deadline = SystemClock.now.uptime + UInt64(timeout * 1e9)
    // Who is out of time takes no more of it.
    defer { driver.stop(waitingAtMost: SystemClock.now.uptime >= deadline ? 200 : 2_000) }
    // Should that process end, the driver here takes over.
    var request = SyncRequest(store: store, relay: relay, named: relayName)
    var proof = ExchangeProof(store: store, relay: relay)
    /// - Returns: Whether nothing is left. Throws what is left once it was waited for.
    func isProven(_ now: UInt64) throws -> Bool {
      guard isProved else { return true }
      switch proof.look(now: now) {
      case .all: return true
      case .left(let left, let since):
        guard now < min(deadline, since + Self.missingPatience) else { throw left }
        return false
      }
    }
    while true {
      _ = news.wait(20)
      news.close()
      let now = SystemClock.now.uptime
      let current = state.withLock { $0 }
      if let error = current.failure { throw error }
      let isRead = try current.settledAt != nil && current.isComplete && status().damagedStreams == 0
      if isRead {
        if try isProven(now) { return }
        continue
      }
      if let settledAt = current.settledAt, now >= min(deadline, settledAt + Self.missingPatience) {
        throw SyncMissing(try status().missing)
      }
      if current.isElsewhere, try request.isComplete() {
        let status = try status()
        guard status.state != .incomplete else { throw SyncMissing(status.missing) }
        if try isProven(now) { return }
        continue
      }
      if now >= deadline {
        let status = try? status()
        let problem = current.sending.min { $0.key < $1.key }?.value
        throw SyncTimeout(
          seconds: timeout, unusable: status.map { $0.damagedStreams + $0.failingStreams } ?? 0,
          reason: problem?.summary ?? SyncTimeout.reason(in: store, isElsewhere: current.isElsewhere))
      }
    }
  }

  private func status() throws -> ExchangeStatus { try SnapshotBuilder.fromStore(store, relay: relayName).sync.status }
}

/// Compares what is here after an exchange with what others have signed for, and looks whether all about crises could be
/// read: a presence that was known before brings no news.
private struct ExchangeProof {
  let store: Store
  let relay: any Relay
  /// What was left at the first look. What others sign for later belongs to the next exchange.
  private var first: Set<CrisisLook.Place>?
  private var last: (verdict: Verdict, at: UInt64)?
  private var began: UInt64?
  /// Nanoseconds between two looks.
  private static let gap: UInt64 = 250_000_000

  init(store: Store, relay: any Relay) { (self.store, self.relay) = (store, relay) }

  enum Verdict {
    case all
    /// Since when, by the uptime.
    case left(SyncMissing, since: UInt64)
  }

  mutating func look(now: UInt64) -> Verdict {
    if let last, now < last.at + Self.gap { return last.verdict }
    let found = CrisisReport.look(store) { [relay] in relay }
    // Where it could not be looked, nothing is known to be all.
    let missing = found.missing.intersection(first ?? found.missing)
    if found.isReached { first = first ?? found.missing }
    let since = began ?? now
    began = since
    let isAll = found.isReached && missing.isEmpty && found.unread.isEmpty
    let verdict = isAll ? Verdict.all : .left(SyncMissing(missing, unread: found.unread, in: store), since: since)
    last = (verdict, SystemClock.now.uptime)
    return verdict
  }
}

struct SyncTimeout: ActionableError {
  var seconds: Double
  var code: String { "sync.timeout" }
  /// Files on the relay that are damaged, or that cannot be read.
  var unusable = 0
  /// What holds it up, in sentences; empty where that is not known.
  var reason = ""
  var summary: String {
    let files = unusable == 0 ? "" : " \(unusable) \(unusable == 1 ? "file on the relay is damaged or cannot be read" : "files on the relay are damaged or cannot be read")."
    return "Not everything was exchanged within \(Int(seconds)) s.\(files)\(reason.isEmpty ? "" : " \(reason)") Local changes are kept."
  }
  var remedy: String {
    if unusable > 0 { return "`fullmind doctor` says what is wrong with the files, and what to do." }
    return reason.isEmpty ? "Repeat `fullmind sync` to continue." : "`fullmind doctor` looks at it, and says what to do; then repeat `fullmind sync`."
  }
  var exitStatus: ExitStatus { .temporary }

  /// What the program that exchanges has kept of why it does not get on, or what keeps the store from taking anything.
  static func reason(in store: Store, isElsewhere: Bool) -> String {
    let kept = try? store.read { ExchangeStatus($0, saved: 0, accepted: 0, isExchanged: true) }
    if let problem = kept?.sendingProblem, !problem.isEmpty { return sentence(problem) }
    // Whoever reads may do so beside another program that writes, and on a full disk; only writing shows it.
    if let obstacle = (store.obstacle(within: 200) as? StorageError)?.obstacle { return "Nothing can be saved here: \(obstacle)." }
    // A relay that was away earlier is of no matter to whoever has reached it now.
    guard let kept, isElsewhere || ![.offline, .strange].contains(kept.state) else { return "" }
    return sentence(kept.reason)
  }

  private static func sentence(_ words: String) -> String {
    words.isEmpty ? "" : "\(words.prefix(1).uppercased())\(words.dropFirst())\(words.hasSuffix(".") ? "" : ".")"
  }
}

/// Everything that the relay has was exchanged, and it lacks what others have signed for.
struct SyncMissing: ActionableError {
  var missing: [ExchangeStatus.Missing]
  /// Names of devices whose crisis file cannot be read to its end.
  var unread: [String] = []

  init(_ missing: [ExchangeStatus.Missing]) { self.missing = missing }

  init(_ missing: Set<CrisisLook.Place>, unread: Set<DeviceID>, in store: Store) {
    let names = (try? SnapshotBuilder.names(of: store)) ?? [:]
    self.unread = unread.map { names[$0] ?? "a device" }.sorted()
    // Of one stream the furthest place is told.
    let furthest = Dictionary(grouping: missing, by: \.stream).values.compactMap { places in places.max { $0.count < $1.count } }
    self.missing = furthest.sorted { $0.stream < $1.stream }.map { ExchangeStatus.Missing($0) }
  }

  var code: String { "sync.missing" }
  var summary: String {
    let count = missing.reduce(0) { $0 + max(1, $1.count) }
    let torn = unread.isEmpty ? "" : " What \(unread.joined(separator: ", ")) wrote about a crisis could not all be read: the file at the relay is damaged, or ends in the middle of something."
    if missing.isEmpty, !torn.isEmpty { return "What is here was sent.\(torn)" }
    if missing.isEmpty { return "What is here was sent. Not everything at the relay could be read: a part of it cannot be opened, or is of a device that nobody here knows." }
    let what = "\(count) \(count == 1 ? "change" : "changes") of other devices"
    let crisis = missing.contains(where: \.isCrisis) ? " One of them is about a crisis." : ""
    return "What is here was sent. \(what) could not be had: the relay does not have \(count == 1 ? "it" : "them").\(crisis)\(torn)"
  }
  var remedy: String {
    if missing.isEmpty, !unread.isEmpty {
      return "Repeat this: it may be on its way. If it stays so, `fullmind sync` on \(unread.joined(separator: ", ")), then here. Until then it is not known here what was raised there: if it matters now, please call."
    }
    return missing.isEmpty ? "`fullmind sync` on your other devices, then here again: a device makes itself known when it exchanges. `fullmind doctor` looks at the relay." : "Start fullmind on a device that has \(missing.count == 1 ? "it" : "them"), with the same relay; it puts there what the relay lacks. `fullmind status` names what is missing."
  }
  var exitStatus: ExitStatus { .temporary }
}
