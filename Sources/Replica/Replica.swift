import Causality
import Therapy

/// Everything one replica decides, as a value: events go in, effects come out.
///
/// It opens no file, reads no clock and draws no chance of its own. At most one effect that touches
/// the store or the relay is under way at a time, and the next one is chosen by lane, so that a
/// crisis never waits for more than one step of anything else.
package struct Replica: Sendable {
  package let device: DeviceID
  package private(set) var outbox: Outbox
  package private(set) var inbox = Inbox()
  package private(set) var peers: Peers
  package var pacing: Pacing
  package private(set) var relay = RelayState()
  private var tags: [BlindTag: DeviceID] = [:]
  private let ownTag: BlindTag
  private var presence = PresencePlan()
  private var isBusy = false
  /// The read under way; any other answer to a read is an old one.
  private var awaited: ReplicaEffect?
  /// Where the lane stood that is being cut.
  private var batchedBeforeCut: UInt64 = 0
  private var isStopping = false
  private var saidGoodbye = false
  private var wantsSurvey = true
  private var heardDirty = Set<BlindTag>()
  private var wasIdle = false

  package struct RelayState: Sendable, Equatable {
    package var epoch: UInt64?
    package var isReachable = false
    package var retryAt: UInt64?
    package var lastExchange: UInt64?
    /// Uptime at which it was last looked through.
    var surveyed: UInt64 = 0
    var backoff = RetryBackoff()
    package init() {}
  }

  private struct PresencePlan: Sendable {
    var counter: UInt64 = 0
    /// Uptime from which the next one is due; `nil` when there is nothing to say before the heartbeat.
    var due: UInt64? = 0
    var last: UInt64 = 0
    /// A crisis is confirmed at once.
    var isUrgent = false
    var shown: (activation: OperationID, at: UInt64)?
  }

  /// - Parameters:
  ///   - members: Every device of the account with its name on the relay.
  ///   - remembered: What was known of the others when the program last ran.
  package init(
    device: DeviceID, members: [BlindTag: DeviceID], heads: [Channel: StreamHead],
    remembered: [DeviceID: Peer], tier: Tier, usedToday: Int, now: Moment
  ) {
    guard let ownTag = members.first(where: { $0.value == device })?.key else {
      preconditionFailure("a device is a member of its own account")
    }
    self.device = device
    self.ownTag = ownTag
    tags = members
    outbox = Outbox(heads: heads, now: now)
    peers = Peers(remembered: remembered)
    pacing = Pacing(tier: tier)
    pacing.usedToday = usedToday
    // Another run of this device must not be taken for this one when its presence is echoed late.
    presence.counter = now.wall
  }

  /// Every other device.
  package var others: [DeviceID] { tags.values.filter { $0 != device }.sorted() }

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
    var effects = [ReplicaEffect]()
    switch event {
    case .committed(let heads):
      outbox.note(heads, now: now)
      wasIdle = false
    case .relayChanged(let streams): relayChanged(streams)
    case .listingChanged: wantsSurvey = true
    case .presenceChanged(let tag): if tag != ownTag { heardDirty.insert(tag) }
    case .surveyed(let survey): effects += surveyed(survey, now)
    case .relayFailed(let error): effects += failed(error, now, &random)
    case .reconciled(let channel, let through, let end, let healed, _):
      isBusy = false
      var isNews = false
      if case .reconcile(_, let from, _) = awaited { isNews = from != .start && through > outbox[channel].accepted }
      outbox.didAgree(channel, through: through, end: end)
      if healed { effects.append(.report(.healed(channel))) }
      if isNews { effects.append(.report(.accepted(channel, through: through))) }
    case .ownStreamAhead(let channel):
      effects += [.report(.ownStreamAhead(channel)), .rewind(channel)]
    case .rewound(let channel, let head):
      isBusy = false
      outbox.doubt(channel, .whole)
      outbox.note([channel: head], now: now)
    case .cut(let lane, let through): cut(lane, through, now)
    case .appended(let channel, let through, let end, _):
      isBusy = false
      outbox[channel].accepted = max(outbox[channel].accepted, through)
      outbox[channel].end = end
      outbox[channel].wasOvertaken = false
      relay.lastExchange = now.wall
      effects.append(.report(.accepted(channel, through: through)))
    case .read(let stream, let from, let chunk): effects += read(stream, from, chunk)
    case .applied(let stream, let outcome): effects += applied(stream, outcome, now)
    case .heard(let tag, let presence): effects += heard(tag, presence, now)
    case .wrotePresence(let heads):
      isBusy = false
      // What others are told of has to leave, also when the word that it was saved got lost.
      outbox.note(heads, now: now)
      if isStopping { saidGoodbye = true }
    case .shown(let activation):
      guard presence.shown?.activation != activation else { break }
      presence.shown = (activation, now.uptime)
      // It says since when, so that it need not be in the way of a crisis that others still have to draw.
      schedulePresence(at: max(now.uptime, presence.last + Self.confirmationGap))
    case .timer: break
    case .syncRequested:
      relay.retryAt = nil
      relay.backoff.succeed()
      wantsSurvey = true
      outbox.doubtAll()
      schedulePresence(at: now.uptime)
      wasIdle = false
    case .stopping:
      isStopping = true
      schedulePresence(at: now.uptime)
    }
    return effects + next(now)
  }

  // MARK: What to do next

  /// The most important thing that can be done now, and the moment to wake up for the next.
  private mutating func next(_ now: Moment) -> [ReplicaEffect] {
    if isBusy { return [] }
    if let retryAt = relay.retryAt {
      // Cutting needs no relay: what is cut is in the log and leaves when the relay is back.
      if now.uptime < retryAt { return cutOffline(now) ?? [.wake(at: retryAt)] }
      relay.retryAt = nil
      wantsSurvey = true
    }
    if wantsSurvey {
      wantsSurvey = false
      return busy(.survey)
    }
    for channel in Channel.all {
      if let effect = send(channel, now) { return busy(effect) }
      if channel == Channel(.crisis), presence.isUrgent { return writePresence(now) }
      if !isStopping, let stream = inbox.next({ $0.channel == channel && $0.tag != ownTag }), let reading = inbox[stream] {
        inbox[stream]?.isDirty = false
        return busy(.read(stream, from: reading.position))
      }
    }
    if let tag = heardDirty.min() {
      heardDirty.remove(tag)
      return busy(.readPresence(tag))
    }
    if let due = presence.due, due <= now.uptime { return writePresence(now) }
    return rest(now)
  }

  private mutating func busy(_ effect: ReplicaEffect) -> [ReplicaEffect] {
    isBusy = true
    wasIdle = false
    if case .cut(let lane, _) = effect { batchedBeforeCut = outbox[Channel(lane)].batched }
    awaited = effect
    return [effect]
  }

  /// What a channel of our own has to send, if it may now.
  private mutating func send(_ channel: Channel, _ now: Moment) -> ReplicaEffect? {
    let queue = outbox[channel]
    switch queue.doubt {
    case .whole, .tail:
      outbox.beginComparing(channel)
      return queue.doubt == .whole
        ? .reconcile(channel, from: .start, after: 0) : .reconcile(channel, from: queue.end, after: queue.accepted)
    case .none: break
    }
    if queue.hasUnsent { return .append(channel, after: queue.accepted) }
    return cut(channel, now)
  }

  private mutating func cut(_ channel: Channel, _ now: Moment) -> ReplicaEffect? {
    let queue = outbox[channel]
    guard let lane = channel.lane, queue.pending > 0 else { return nil }
    if lane == .crisis { return .cut(lane, counted: false) }
    guard let at = pacing.nextCut(pending: queue.pending, oldest: queue.oldest, now: now), at <= now.uptime else {
      return nil
    }
    return .cut(lane, counted: true)
  }

  private mutating func cutOffline(_ now: Moment) -> [ReplicaEffect]? {
    outbox[Channel(.crisis)].pending > 0 ? busy(.cut(.crisis, counted: false)) : nil
  }

  private mutating func rest(_ now: Moment) -> [ReplicaEffect] {
    var wake = min(presence.last, relay.surveyed) + Peers.heartbeat
    if let due = presence.due { wake = min(wake, due) }
    for lane in Lane.allCases where outbox[Channel(lane)].pending > 0 {
      let queue = outbox[Channel(lane)]
      if let at = pacing.nextCut(pending: queue.pending, oldest: queue.oldest, now: now) { wake = min(wake, at) }
    }
    if presence.last + Peers.heartbeat <= now.uptime {
      wantsSurvey = true
      return writePresence(now)
    }
    // Notifications get lost, and of a folder that another machine shares none come.
    if relay.surveyed + Peers.heartbeat <= now.uptime { return busy(.survey) }
    if wasIdle { return [.wake(at: wake)] }
    wasIdle = true
    return [.report(.idle(settled: isSettled)), .wake(at: wake)]
  }

  private mutating func writePresence(_ now: Moment) -> [ReplicaEffect] {
    presence.due = nil
    presence.isUrgent = false
    presence.last = now.uptime
    presence.counter += 1
    peers.didWrite(counter: presence.counter, now: now)
    let damaged = inbox.damaged.compactMap { stream in
      tags[stream.tag].map { StreamKey(device: $0, channel: stream.channel) }
    }
    return busy(
      .writePresence(
        PresenceContent(
          counter: presence.counter, damaged: damaged, echoes: peers.echoes(now: now), isLeaving: isStopping,
          shown: presence.shown.map { Presence.Shown(activation: $0.activation, held: now.uptime - $0.at) })))
  }

  /// Asks for a presence not before a moment; the earliest wish counts.
  private mutating func schedulePresence(at uptime: UInt64) {
    presence.due = min(presence.due ?? .max, uptime)
  }

  // MARK: What happened

  private mutating func relayChanged(_ streams: [RelayStream]?) {
    guard let streams else {
      wantsSurvey = true
      outbox.doubtAll()
      return
    }
    for stream in streams {
      if stream.tag == ownTag { outbox.doubt(stream.channel, .tail) } else { inbox.touch(stream) }
    }
  }

  private mutating func surveyed(_ survey: RelaySurvey, _ now: Moment) -> [ReplicaEffect] {
    isBusy = false
    let wasReachable = relay.isReachable
    let isNew = relay.epoch != nil && relay.epoch != survey.epoch
    if isNew || !wasReachable { outbox.doubtAll() }
    // A relay that was restored from a backup, by somebody whom no notification tells of.
    for channel in Channel.all where outbox[channel].isReconciled {
      let end = survey.ownEnds[RelayStream(tag: ownTag, channel: channel)] ?? .start
      if end != outbox[channel].end { outbox.doubt(channel, .tail) }
    }
    relay.epoch = survey.epoch
    (relay.isReachable, relay.surveyed) = (true, now.uptime)
    relay.backoff.succeed()
    relay.lastExchange = now.wall
    inbox.keepOnly(Set(survey.streams))
    for stream in survey.streams where stream.tag != ownTag { inbox.touch(stream) }
    heardDirty.formUnion(survey.presences.filter { $0 != ownTag && tags[$0] != nil })
    if isNew || !wasReachable {
      schedulePresence(at: now.uptime)
      return [.report(.relayFound(epoch: survey.epoch, isNew: isNew))]
    }
    return []
  }

  private mutating func failed(
    _ error: RelayError, _ now: Moment, _ random: inout some RandomNumberGenerator
  ) -> [ReplicaEffect] {
    isBusy = false
    if error == .changed, case .append(let channel, _) = awaited, !outbox[channel].wasOvertaken {
      // Another process of this device was faster: only what follows has to be compared.
      outbox[channel].wasOvertaken = true
      outbox.doubt(channel, .tail)
      return []
    }
    outbox.doubtAll()
    if error == .changed, relay.isReachable {
      // Something else wrote one of our streams; comparing it with the log is all that is needed.
      // Repeated, it is treated like a relay that cannot be reached.
      relay.isReachable = false
      wantsSurvey = true
      return []
    }
    let wait = relay.backoff.fail(using: &random)
    relay.retryAt = now.uptime + wait
    let wasReachable = relay.isReachable || relay.backoff.failures == 1
    relay.isReachable = false
    return wasReachable ? [.report(.relayLost(error))] : []
  }

  private mutating func cut(_ lane: Lane, _ through: UInt64, _ now: Moment) {
    isBusy = false
    let channel = Channel(lane)
    // No progress although something was pending: the store has gone back in time.
    if through <= batchedBeforeCut { outbox[channel].saved = through }
    outbox[channel].batched = max(outbox[channel].batched, through)
    outbox[channel].oldest = now.uptime
    if lane != .crisis { pacing.didCut(now: now) }
  }

  private mutating func read(_ stream: RelayStream, _ from: RelayPosition, _ chunk: RelayChunk) -> [ReplicaEffect] {
    // An answer to an old question: the network repeated or delayed it.
    guard awaited == .read(stream, from: from) else { return [] }
    awaited = nil
    if chunk.frames.isEmpty {
      isBusy = false
      return settle(stream, at: chunk.positions[0], chunk)
    }
    return [.apply(stream, chunk)]
  }

  private mutating func applied(_ stream: RelayStream, _ outcome: ApplyOutcome, _ now: Moment) -> [ReplicaEffect] {
    isBusy = false
    var effects = [ReplicaEffect]()
    let sender = tags[stream.tag]
    let isNewDamage = inbox.note(outcome, of: stream, now: now.uptime)
    relay.lastExchange = now.wall
    if !outcome.changes.isEmpty { effects.append(.report(.applied(sender, outcome.changes))) }
    if outcome.quarantined > 0 { effects.append(.report(.quarantined(sender, outcome.quarantined))) }
    if outcome.end == .forked { effects.append(.report(.forked(stream))) }
    if isNewDamage {
      effects.append(.report(.damaged(stream)))
      schedulePresence(at: now.uptime)
    }
    if outcome.admitted {
      inbox.wakeWaiting()
      wantsSurvey = true
      effects.append(.report(.admitted))
    }
    confirm(stream.channel, outcome, now)
    return effects
  }

  /// Says how far we are: at once for a crisis and when it was quiet, otherwise a few times a second.
  private mutating func confirm(_ channel: Channel, _ outcome: ApplyOutcome, _ now: Moment) {
    guard outcome.hasTaken else { return }
    if channel == Channel(.crisis) { presence.isUrgent = true }
    schedulePresence(at: max(now.uptime, presence.last + Self.confirmationGap))
  }

  /// At most 20 confirmations a second.
  private static let confirmationGap: UInt64 = 50_000_000

  private mutating func settle(_ stream: RelayStream, at position: RelayPosition, _ chunk: RelayChunk) -> [ReplicaEffect] {
    let wasDamaged = inbox[stream]?.isDamaged ?? false
    inbox[stream]?.position = position
    guard chunk.isDamaged else {
      inbox[stream]?.isDamaged = false
      return []
    }
    return inbox.refuse(stream) && !wasDamaged ? [.report(.damaged(stream))] : []
  }

  private mutating func heard(_ tag: BlindTag, _ presence: Presence?, _ now: Moment) -> [ReplicaEffect] {
    isBusy = false
    guard let presence, tags[tag] == presence.device, presence.device != device else { return [] }
    guard peers.hear(presence, own: device, now: now) else { return [] }
    for stream in presence.damaged where stream.device == device {
      outbox.doubt(stream.channel, .whole)
    }
    return [.report(.heard(presence.device))]
  }

  // MARK: What others may know

  /// Whether everybody who can be told knows that this device is leaving.
  package var hasSaidGoodbye: Bool { saidGoodbye || (isStopping && !relay.isReachable) }

  /// Nothing is left to send, read or apply.
  package var isSettled: Bool {
    relay.isReachable && !isBusy && !wantsSurvey && heardDirty.isEmpty && outbox.pendingCount == 0
      && outbox.queues.values.allSatisfy { $0.isReconciled && !$0.hasUnsent }
      && inbox.readings.values.allSatisfy { !$0.isDirty || $0.isWaiting }
  }
}
