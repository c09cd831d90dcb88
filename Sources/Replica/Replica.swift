import Causality
import Therapy

/// Everything one replica decides, as a value: events go in, effects come out.
///
/// It opens no file, reads no clock and draws no chance of its own. At most one effect that touches
/// the store or the relay is under way at a time, and the next one is chosen by lane, so that a
/// crisis never waits for more than one step of anything else. What it does next stands in `Replica+Next.swift`, what
/// it learns in `Replica+Outcomes.swift`.
package struct Replica: Sendable {
  package let device: DeviceID
  package internal(set) var outbox: Outbox
  package internal(set) var inbox = Inbox()
  package internal(set) var peers: Peers
  package internal(set) var missing = MissingStreams()
  package internal(set) var carriage = Carriage()
  package var pacing: Pacing
  package internal(set) var relay = RelayState()
  /// How far every stream has come here that is not folded.
  package internal(set) var heads: [StreamKey: [StreamCursor]]
  /// When the next operation is due that is held back, in milliseconds since 1970.
  package internal(set) var nextDue: UInt64?
  /// Lives of this store that are over and not closed yet, and lives of copies that go on.
  package internal(set) var openLives: Int
  package internal(set) var livingCopies: Int
  var tags: [BlindTag: DeviceID] = [:]
  let ownTag: BlindTag
  var presence = PresencePlan()
  var isBusy = false
  /// The effect under way; any other answer is an old one.
  var awaited: ReplicaEffect?
  /// The relay is another one, and whether it is meant is being looked up.
  var isLossUntold = false
  /// Where the lane stood that is being cut.
  var batchedBeforeCut: UInt64 = 0
  var isStopping = false
  var saidGoodbye = false
  var wantsSurvey = true
  var heardDirty = Set<BlindTag>()
  /// Places that others have named and that are not known here, and those that have to be looked up first.
  var unknown: [Witness: [StreamKey: [StreamCursor]]] = [:]
  var toVerify: [Witness: [StreamKey: [StreamCursor]]] = [:]
  /// Presences that could not be read the last time it was tried.
  var unheard = Set<BlindTag>()
  /// Places that were looked up and are in a history here.
  var verified: [StreamKey: Set<StreamCursor>] = [:]
  /// Where others stand in own streams that were sent further, and since when they say so.
  var doubts: [Doubt: (cursor: StreamCursor, since: UInt64, wasCompared: Bool)] = [:]
  var toldMissing: [MissingStreams.Entry] = []
  var toldCopies = 0
  var wasIdle = false
  var stall = Stall()

  package struct RelayState: Sendable, Equatable {
    /// The relay that is meant; `nil` until it was reached in this run.
    package var identity: UInt64?
    package var isReachable = false
    /// Why it could not be used the last time.
    package var problem: RelayError?
    package var retryAt: UInt64?
    /// Wall clock, in milliseconds.
    package var lastExchange: UInt64?
    /// Uptime at which it was last looked through.
    var surveyed: UInt64 = 0
    var backoff = RetryBackoff(highest: 1_000_000_000)
    package init() {}
  }

  /// Somebody lacks what was sent of a stream.
  struct Doubt: Hashable, Sendable {
    var device: DeviceID
    var stream: StreamKey
  }

  struct PresencePlan: Sendable {
    var counter: UInt64 = 0
    /// Uptime from which the next one is due; `nil` when there is nothing to say before the heartbeat.
    var due: UInt64? = 0
    var last: UInt64 = 0
    /// A crisis is confirmed at once.
    var isUrgent = false
    var shown: (activation: OperationID, at: UInt64)?
    var retryAt: UInt64 = 0
    var backoff = RetryBackoff(highest: 5_000_000_000)
  }

  /// What the store says when a replica begins.
  package struct Beginning: Sendable {
    package var members: [BlindTag: DeviceID]
    package var own: OwnReport
    package var heads: [StreamKey: [StreamCursor]]
    /// Where lives ended that are over and not complete here.
    package var closings: [StreamKey: [StreamCursor]] = [:]
    package var remembered: [DeviceID: Peer] = [:]
    package var nextDue: UInt64?
    package var tier = Tier.selfHosted
    package var usedToday = 0
    /// The last presence that this run has written; 0 where it has written none.
    package var counter: UInt64 = 0

    package init(members: [BlindTag: DeviceID], own: OwnReport, heads: [StreamKey: [StreamCursor]]) {
      (self.members, self.own, self.heads) = (members, own, heads)
    }
  }

  /// - Precondition: The device is one of the members.
  package init(device: DeviceID, _ beginning: Beginning, now: Moment) {
    guard let ownTag = beginning.members.first(where: { $0.value == device })?.key else {
      preconditionFailure("a device is a member of its own account")
    }
    self.device = device
    self.ownTag = ownTag
    tags = beginning.members
    outbox = Outbox(own: beginning.own.progress, now: now)
    (openLives, livingCopies) = (beginning.own.openLives, beginning.own.livingCopies)
    heads = beginning.heads
    nextDue = beginning.nextDue
    for (stream, ends) in beginning.closings { toVerify[.closing(stream.device), default: [:]][stream] = ends }
    peers = Peers(remembered: beginning.remembered)
    pacing = Pacing(tier: beginning.tier)
    pacing.usedToday = beginning.usedToday
    // Another run of this device must not be taken for this one when its presence is echoed late.
    presence.counter = max(now.wall, beginning.counter)
  }

  /// A replica before this one was left behind in a call that does not return: the relay is asked again later, and
  /// later still the more calls hang.
  package mutating func isUnanswered(_ problem: RelayError, abandoned: Int, now: Moment) {
    relay.problem = problem
    relay.retryAt = now.uptime &+ UInt64(1 << min(max(0, abandoned - 1), 6)) &* 1_000_000_000
    wantsSurvey = false
  }

  /// The last presence that was written.
  package var presenceCounter: UInt64 { presence.counter }

  /// Every other device.
  package var others: [DeviceID] { Set(tags.values).filter { $0 != device }.sorted() }

  package func device(of tag: BlindTag) -> DeviceID? { tags[tag] }

  /// A member was admitted: its streams can be understood from now on.
  package mutating func learn(_ members: [BlindTag: DeviceID]) {
    tags = members
    inbox.wakeWaiting()
    wantsSurvey = true
  }

  /// Takes in one event and returns what must now be done, in order.
  package mutating func handle(
    _ event: ReplicaEvent, now: Moment, using random: inout some RandomNumberGenerator
  ) -> [ReplicaEffect] {
    take(event, now, &random) + next(now)
  }

  private mutating func take(_ event: ReplicaEvent, _ now: Moment, _ random: inout some RandomNumberGenerator) -> [ReplicaEffect] {
    switch event {
    case .committed(let report):
      stall.progress()
      note(report, now)
      lookUpOwnAgain()
      wasIdle = false
      return []
    case .relayChanged(let streams): relayChanged(streams)
    case .listingChanged: wantsSurvey = true
    case .presenceChanged(let tag): if tag != ownTag { heardDirty.insert(tag) }
    case .surveyed(let survey): return surveyed(survey, now)
    case .examined(let identity, let isOurs): return examined(identity, isOurs, now)
    case .relayFailed(let error): return failed(error, now, &random)
    case .storeFailed: storeFailed(now, &random)
    case .reconciled(let channel, let sent, let healed, let batches, let taken):
      return reconciled(channel, sent, healed, batches, taken, now)
    case .cut(let lane, let report): cut(lane, report, now)
    case .appended(let channel, let sent, _): return appended(channel, sent, now)
    case .read(let stream, let from, let chunk): return read(stream, from, chunk, now)
    case .applied(let stream, let isAtEnd, let outcome): return applied(stream, isAtEnd, outcome, now)
    case .heard(let tag, let presence): return heard(tag, presence, now)
    case .verified(let witness, let unknown): verified(witness, unknown, now)
    case .audited(let stream, let lacks):
      isBusy = false
      carriage.note(lacks, of: stream, now: now.uptime)
    case .carried(let file, let lack, let through, let isAll, let frames):
      return carried(file, lack, through, isAll, frames)
    case .droppedCarried(let channel):
      isBusy = false
      inbox[RelayStream(tag: ownTag, channel: channel, isCarried: true)] = nil
    case .released(let changes, let nextDue): return released(changes, nextDue)
    case .closed(let report):
      isBusy = false
      stall.progress()
      note(report, now)
    case .wrotePresence(let report):
      isBusy = false
      presence.backoff.succeed()
      // What others are told of has to leave, also when the word that it was saved got lost.
      note(report, now)
      if isStopping { saidGoodbye = true }
    case .shown(let activation): shown(activation, now)
    case .timer: break
    case .syncRequested: syncRequested(now)
    case .stopping:
      isStopping = true
      schedulePresence(at: now.uptime)
    }
    return []
  }

  private mutating func syncRequested(_ now: Moment) {
    relay.retryAt = nil
    relay.backoff.succeed()
    presence.retryAt = 0
    wantsSurvey = true
    outbox.compareAll()
    for channel in Channel.all { outbox[channel].retryAt = nil }
    stall.progress()
    schedulePresence(at: now.uptime)
    wasIdle = false
  }

  private mutating func shown(_ activation: OperationID, _ now: Moment) {
    guard presence.shown?.activation != activation else { return }
    presence.shown = (activation, now.uptime)
    // It says since when, so that it need not be in the way of a crisis that others still have to draw.
    schedulePresence(at: max(now.uptime, presence.last &+ Self.confirmationGap))
  }

  /// Takes over how far the store has come.
  mutating func note(_ report: OwnReport, _ now: Moment) {
    outbox.note(report.progress, now: now)
    (openLives, livingCopies) = (report.openLives, report.livingCopies)
    for tip in report.progress.values.compactMap(\.tip) { noteOwn(tip) }
  }

  private mutating func noteOwn(_ tip: OwnTip) {
    var known = heads[tip.stream] ?? []
    guard !known.contains(tip.cursor) else { return }
    // The history that is written now goes on; another one of the same life stays where it ends.
    if let index = known.indices.max(by: { known[$0].sequence < known[$1].sequence }), known.count == 1 || known[index].sequence < tip.cursor.sequence {
      verified[tip.stream, default: []].insert(known[index])
      known[index] = tip.cursor
    } else {
      known.append(tip.cursor)
    }
    heads[tip.stream] = known
  }

  /// Asks for a presence not before a moment; the earliest wish counts.
  mutating func schedulePresence(at uptime: UInt64) {
    presence.due = min(presence.due ?? .max, uptime)
  }

  /// At most 20 confirmations a second.
  static let confirmationGap: UInt64 = 50_000_000

  // MARK: What others may know

  /// Whether everybody who can be told knows that this device is leaving.
  package var hasSaidGoodbye: Bool { saidGoodbye || (isStopping && !relay.isReachable) }

  /// What is being done.
  package var underWay: ReplicaEffect? { isBusy ? awaited : nil }

  /// Nothing is left to send, read or apply; what is missing cannot be had from this relay now.
  package var isSettled: Bool {
    relay.isReachable && !isBusy && !wantsSurvey && heardDirty.isEmpty && toVerify.isEmpty
      && outbox.queues.values.allSatisfy { $0.isComplete && $0.problem == nil }
      && inbox.readings.values.allSatisfy { !$0.isDirty || $0.isWaiting }
      && carriage.isEmpty && openLives == 0
  }

  /// Everything that somebody signed for, as far as this device has heard, is here.
  package var isComplete: Bool { missing.isEmpty && !inbox.isBehind && unheard.isEmpty && !inbox.isUnexplained }

  /// Whether everything about crises that lies on the relay was read by a look that ended after a moment of uptime: who was
  /// asleep may have missed that one is over.
  package func hasReadCrises(since uptime: UInt64) -> Bool {
    if isBusy {
      switch awaited {
      case .survey?: return false
      case .read(let stream, _)?, .apply(let stream, _, _, _)?: if stream.channel == Channel(.crisis) { return false }
      default: break
      }
    }
    return relay.isReachable && relay.surveyed >= uptime && !wantsSurvey
      && inbox.readings.allSatisfy { $0.key.channel != Channel(.crisis) || !$0.value.isDirty || $0.value.isWaiting || $0.value.retryAt != nil }
  }

  /// The time by which it is decided what is from the future: the one that most clocks of the household have.
  package func limit(_ now: Moment) -> UInt64 { peers.clocks.limit(wall: now.wall) }
}
