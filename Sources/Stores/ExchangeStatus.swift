import Causality
import Foundation
import Replica
import Storage

/// What the sync leader knows of its exchange, kept for the other processes of the device, so that all of them show one
/// truth. No names and no values.
package struct ExchangeStatus: Codable, Sendable, Hashable {
  package enum State: String, Codable, Sendable {
    case starting, upToDate, exchanging, waiting, incomplete, offline, strange
    /// Nothing of this device exchanges.
    case resting

    /// As people read it.
    package var word: String {
      switch self {
      case .starting: "starting"
      case .upToDate: "up to date"
      case .exchanging: "exchanging"
      case .waiting: "waiting"
      case .incomplete: "incomplete"
      case .offline: "offline"
      case .strange: "not the relay you had"
      case .resting: "not exchanging"
      }
    }
  }
  package struct Missing: Codable, Sendable, Hashable {
    package var device: String
    package var lane: String
    package var count: UInt64
    package var saidBy: String
    package var isCrisis: Bool

    package init(_ place: CrisisLook.Place) {
      self.init(place.stream, count: place.count, saidBy: place.saidBy, isCrisis: place.isCrisis)
    }

    init(_ stream: StreamKey, count: UInt64, saidBy: DeviceID, isCrisis: Bool) {
      (device, lane) = (stream.device.description, stream.channel.lane?.name ?? "membership")
      (self.count, self.saidBy, self.isCrisis) = (count, saidBy.description, isCrisis)
    }
  }
  package var state: State
  /// The code of what holds it up; empty where nothing does.
  package var code = ""
  package var reason = ""
  package var missing: [Missing] = []
  /// Whether not everything about crises could be read that lies on the relay, or that others have signed for.
  package var isCrisisUnread = false
  package var damagedStreams = 0
  package var failingStreams = 0
  /// Sending alone fails.
  package var sendingProblem = ""
  /// Wall clock, in milliseconds.
  package var lastExchange: UInt64?
  package var relayIdentity: UInt64?
  package var livingCopies = 0
  /// Whose clock is wrong, in words; empty where all agree.
  package var clocks = ""
  /// How much of what was written here lay on the relay when it was last seen, by the number of the channel; `nil` where an
  /// earlier version has said nothing of it.
  private var accepted: [Int: UInt64]?

  package init(state: State) { self.state = state }

  /// What the sync leader has kept, for a process that does not exchange.
  ///
  /// - Parameter isExchanged: Whether a leader is there.
  package init(_ transaction: SQLiteTransaction, saved: UInt64, accepted: UInt64, isExchanged: Bool) {
    let kept = Self.kept(transaction)
    self = kept ?? ExchangeStatus(state: .starting)
    if !isExchanged {
      state = .resting
      let waiting = saved > accepted ? saved - accepted : 0
      if waiting > 0 {
        reason = "\(waiting) \(waiting == 1 ? "change is" : "changes are") saved here and on no relay yet, as far as is known; `fullmind sync` sends \(waiting == 1 ? "it" : "them")"
      } else if kept?.state == .offline || kept?.state == .strange {
        // Nobody tries again by itself.
        reason = "the relay could not be used when it was last tried; `fullmind sync` tries again"
      } else if kept?.state == .waiting || kept?.state == .starting {
        reason = ""
      }
    } else if saved > accepted, state == .upToDate || state == .exchanging {
      (state, reason) = (.waiting, "saved here; another program of this device sends it")
    }
  }

  /// Takes over what a look has just found to be missing, beside what the program that exchanges has kept of it.
  package mutating func note(_ found: [Missing]) {
    let new = found.filter { one in !missing.contains { $0.device == one.device && $0.lane == one.lane } }
    guard !new.isEmpty else { return }
    missing += new
    if state == .upToDate || state == .exchanging { state = .incomplete }
    if reason.isEmpty { reason = "something that other devices have signed for is not here, and not at the relay" }
  }

  /// Whether there is something else to show; when something was exchanged last is told with the next of it.
  func isOtherThan(_ kept: ExchangeStatus?) -> Bool {
    guard var kept else { return true }
    (kept.lastExchange, kept.accepted) = (lastExchange, accepted)
    return kept != self
  }

  var bytes: [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    return (try? encoder.encode(self)).map { Array($0) } ?? []
  }
}

// MARK: What lies on the relay

extension ExchangeStatus {
  mutating func keep(_ progress: [Channel: UInt64]) {
    accepted = Dictionary(uniqueKeysWithValues: progress.map { (Int($0.key.rawValue), $0.value) })
  }

  /// How much of what was written here lay on the relay when it was last seen, also by a program that is over.
  ///
  /// - Throws: What the store throws.
  package static func progress(_ transaction: SQLiteTransaction) throws -> [Channel: UInt64] {
    guard let accepted = kept(transaction)?.accepted else { return try transaction.relayProgress() }
    return accepted.reduce(into: [:]) { progress, entry in
      guard let number = UInt8(exactly: entry.key), let channel = Channel(rawValue: number) else { return }
      progress[channel] = entry.value
    }
  }

  /// The same, with what a replica has seen in this run. What it has compared once is what it found then, also where that
  /// is nothing; of what it has not compared yet it knows nothing.
  static func progress(_ replica: Replica, remembered: [Channel: UInt64]) -> [Channel: UInt64] {
    replica.outbox.queues.reduce(into: remembered) { progress, entry in
      let (channel, queue) = entry
      let isSeen = replica.relay.identity != nil && queue.isCompared
      progress[channel] = isSeen ? queue.accepted : max(queue.accepted, progress[channel] ?? 0)
    }
  }

  /// Another relay is meant: what lay on the one before says nothing about it.
  static func forgetProgress(_ transaction: inout SQLiteTransaction) throws {
    try transaction.setRelayProgress([:])
    guard var status = kept(transaction) else { return }
    status.keep([:])
    try transaction.setLeaderStatus(status.bytes)
  }

  fileprivate static func kept(_ transaction: SQLiteTransaction) -> Self? {
    (try? transaction.leaderStatus()).flatMap { try? JSONDecoder().decode(Self.self, from: Data($0)) }
  }
}

extension ReplicaReport {
  /// Whether it can change how the exchange stands.
  var isAboutExchange: Bool {
    switch self {
    case .applied, .quarantined, .released, .forked, .tookBack, .admitted, .heard, .accepted, .carried: false
    case .damaged, .healed, .copied, .missing, .relayLost, .relayFound, .sendingFailed, .idle: true
    }
  }
}

extension ExchangeStatus {
  /// What a replica knows.
  ///
  /// - Parameters:
  ///   - saved: Operations made here.
  ///   - accepted: Those that lie on the relay.
  init(_ replica: Replica, saved: UInt64, accepted: UInt64, names: [DeviceID: String], now: Moment) {
    self.init(state: .starting)
    (lastExchange, relayIdentity, livingCopies) = (replica.relay.lastExchange, replica.relay.identity, replica.livingCopies)
    (damagedStreams, failingStreams) = (replica.inbox.damaged.count, replica.inbox.failing.count)
    missing = replica.missing.overdue(now: now.uptime).map { entry in
      Missing(entry.stream, count: entry.count, saidBy: entry.saidBy, isCrisis: entry.isCrisis)
    }
    isCrisisUnread = replica.inbox.isCrisisUnread || missing.contains(where: \.isCrisis)
    let failing = replica.outbox.queues.sorted { $0.key < $1.key }.compactMap { $0.value.hasUnsent || !$0.value.isReconciled ? $0.value.problem : nil }.first
    if let failing, failing != .changed { (sendingProblem, code) = (failing.summary, failing.code) }
    clocks = Self.words(replica.peers.clocks.verdict, names)
    (state, reason) = stateAndReason(replica, saved: saved, accepted: accepted, now)
    if let problem = replica.relay.problem, !replica.relay.isReachable { code = problem.code }
  }

  private func stateAndReason(_ replica: Replica, saved: UInt64, accepted: UInt64, _ now: Moment) -> (State, String) {
    if !replica.relay.isReachable {
      guard let problem = replica.relay.problem else { return (.starting, "looking at the relay") }
      if problem.isStrange { return (.strange, "\(problem.summary) \(problem.remedy)") }
      return (.offline, "\(problem.summary) \(problem.remedy)")
    }
    if !sendingProblem.isEmpty { return (.waiting, "what others write is read; \(sendingProblem)") }
    if saved > accepted, let reason = replica.pacing.reason(now: now) { return (.waiting, reason) }
    guard replica.isSettled else { return (.exchanging, "") }
    guard replica.isComplete else {
      let count = missing.reduce(0) { $0 + max(1, $1.count) }
      let what = missing.isEmpty ? "a part of the relay cannot be read" : "\(count) \(count == 1 ? "change" : "changes") that other devices have written \(count == 1 ? "is" : "are") not on the relay"
      return (.incomplete, what)
    }
    return (.upToDate, "")
  }

  /// Whose clock is wrong, in words.
  static func words(_ verdict: HouseholdClocks.Verdict, _ names: [DeviceID: String]) -> String {
    func minutes(_ milliseconds: Int64) -> String {
      let minutes = max(1, (abs(milliseconds) + 30_000) / 60_000)
      return minutes < 120 ? "\(minutes) min" : minutes < 2_880 ? "\(minutes / 60) h" : "\(minutes / 1_440) days"
    }
    func name(_ device: DeviceID) -> String { names[device] ?? "another device" }
    switch verdict {
    case .agree: return ""
    case .ours(let wrong): return "the clock of this device is \(minutes(wrong)) \(wrong > 0 ? "ahead of" : "behind") the others: please set it"
    case .theirs(let device, let wrong): return "the clock of \(name(device)) is \(minutes(wrong)) \(wrong > 0 ? "ahead of" : "behind") the others: please set it"
    case .apart(let device, let apart): return "the clock of \(name(device)) is \(minutes(apart)) \(apart > 0 ? "ahead of" : "behind") this one's: please look which is right"
    }
  }
}

extension Store {
  /// Keeps what a look has just seen to lie on the relay: when the relay is away, it is still known.
  ///
  /// - Parameters:
  ///   - seen: How much of each channel that was looked at lies there.
  ///   - milliseconds: How long a lock of another program is waited for.
  package func keepSeen(_ seen: [Channel: UInt64], within milliseconds: Int) throws {
    let known = try read { try ExchangeStatus.progress($0) }
    guard seen.contains(where: { known[$0.key] ?? 0 != $0.value }) else { return }
    try write(within: milliseconds) { transaction in
      let progress = try ExchangeStatus.progress(transaction).merging(seen) { $1 }
      var status = ExchangeStatus.kept(transaction) ?? ExchangeStatus(state: .starting)
      status.keep(progress)
      try transaction.setLeaderStatus(status.bytes)
    }
  }
}
