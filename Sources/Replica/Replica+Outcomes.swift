import Causality
import Sealing

/// What a replica learns from what was done.
extension Replica {
  // MARK: The relay

  mutating func relayChanged(_ streams: [RelayStream]?) {
    guard let streams else {
      wantsSurvey = true
      outbox.compareAll()
      return
    }
    for stream in streams {
      if stream.tag == ownTag, !stream.isCarried { outbox.compare(stream.channel, .tail) } else { inbox.touch(stream) }
    }
  }

  mutating func surveyed(_ survey: RelaySurvey, _ now: Moment) -> [ReplicaEffect] {
    isBusy = false
    let wasReachable = relay.isReachable
    let isNew = relay.identity != nil && relay.identity != survey.identity
    if isNew || !wasReachable {
      stall.progress()
      outbox.compareAll()
      if isNew { carriage.forget() }
    }
    // A relay that was restored from a backup, by somebody whom no notification tells of.
    for channel in Channel.all where outbox[channel].isReconciled {
      let end = survey.ownEnds[RelayStream(tag: ownTag, channel: channel)] ?? .start
      if end != outbox[channel].end { outbox.compare(channel, .tail) }
    }
    (relay.identity, relay.problem) = (survey.identity, nil)
    (relay.isReachable, relay.surveyed) = (true, now.uptime)
    relay.backoff.succeed()
    relay.lastExchange = now.wall
    let there = Set(survey.streams)
    for stream in inbox.readings.keys where stream.isCarried && !there.contains(stream) { audit(stream) }
    inbox.keepOnly(there)
    for stream in survey.streams where stream.tag != ownTag || stream.isCarried { inbox.touch(stream) }
    heardDirty.formUnion(survey.presences.filter { $0 != ownTag && tags[$0] != nil })
    unheard.formIntersection(survey.presences)
    auditKnown { isNew || !wasReachable || !there.contains($0) }
    guard isNew || !wasReachable else { return [] }
    schedulePresence(at: now.uptime)
    return [.report(.relayFound(identity: survey.identity, isNew: isNew))]
  }

  /// What an author wrote, as far as it is known here, may not be in its file, or there is no file.
  private mutating func auditKnown(_ isInDoubt: (RelayStream) -> Bool) {
    let known = Set(heads.keys.map { KnownFile(device: $0.device, channel: $0.channel) })
    for (tag, member) in tags where member != device {
      for channel in Channel.all where known.contains(KnownFile(device: member, channel: channel)) {
        let file = RelayStream(tag: tag, channel: channel)
        if isInDoubt(file) { carriage.audit(file) }
      }
    }
  }

  /// A file was read from its start: is what its author wrote there? One that was carried concerns every author.
  private mutating func audit(_ stream: RelayStream) {
    guard stream.isCarried else { return carriage.audit(stream) }
    for (tag, member) in tags where member != device { carriage.audit(RelayStream(tag: tag, channel: stream.channel)) }
  }

  private struct KnownFile: Hashable {
    var device: DeviceID
    var channel: Channel
  }

  mutating func examined(_ identity: UInt64, _ isOurs: Bool, _ now: Moment) -> [ReplicaEffect] {
    isBusy = false
    defer { isLossUntold = false }
    guard isOurs else { return relay.problem.map { isLossUntold ? [.report(.relayLost($0))] : [] } ?? [] }
    // Another device of the account uses it: the person has said so there.
    relay.retryAt = nil
    relay.isReachable = false
    wantsSurvey = true
    stall.progress()
    return []
  }

  /// An effect on the relay failed. What concerns one file holds up that file alone.
  mutating func failed(
    _ error: RelayError, _ now: Moment, _ random: inout some RandomNumberGenerator
  ) -> [ReplicaEffect] {
    isBusy = false
    defer { awaited = nil }
    switch awaited {
    case .append(let channel, _, _)?: return sendingFailed(channel, error, now, &random)
    case .reconcile(let channel, _, _, _)?:
      outbox.compare(channel, .whole)
      return sendingFailed(channel, error, now, &random)
    case .read(let stream, _)? where !error.isStrange:
      inbox.didFail(stream, now: now.uptime, using: &random)
      return []
    case .readPresence(let tag)?:
      // The next look at the relay finds it again; until then nobody knows what it says.
      unheard.insert(tag)
      return error.isStrange ? lost(error, now, &random) : []
    case .audit?, .verify?, .dropCarried?: return error.isStrange ? lost(error, now, &random) : []
    case .carry(let file, _)?:
      carriage.postpone(file, now: now.uptime)
      inbox.touch(RelayStream(tag: ownTag, channel: file.channel, isCarried: true))
      return error.isStrange ? lost(error, now, &random) : []
    case .writePresence?:
      presence.due = presence.due ?? now.uptime
      presence.retryAt = now.uptime &+ presence.backoff.fail(using: &random)
      return error.isStrange ? lost(error, now, &random) : []
    default: return lost(error, now, &random)
    }
  }

  private mutating func sendingFailed(
    _ channel: Channel, _ error: RelayError, _ now: Moment, _ random: inout some RandomNumberGenerator
  ) -> [ReplicaEffect] {
    if error.isStrange { return lost(error, now, &random) }
    if error == .changed, !outbox[channel].wasOvertaken {
      // Another process of this device was faster: only what follows has to be compared.
      outbox[channel].wasOvertaken = true
      outbox.compare(channel, .tail)
      return []
    }
    outbox.compare(channel, .whole)
    let isNews = outbox[channel].problem != error
    outbox.didFail(channel, error, isPressing: channel == Channel(.crisis), now: now.uptime, using: &random)
    return isNews && error != .changed ? [.report(.sendingFailed(channel, error))] : []
  }

  /// The relay as a whole cannot be used.
  private mutating func lost(_ error: RelayError, _ now: Moment, _ random: inout some RandomNumberGenerator) -> [ReplicaEffect] {
    let isNews = relay.problem != error || relay.isReachable
    relay.retryAt = now.uptime &+ relay.backoff.fail(using: &random)
    (relay.isReachable, relay.problem) = (false, error)
    outbox.compareAll()
    // Another device may have said that this one is meant: it is lost where that is not so.
    if case .another(_, let identity) = error {
      isLossUntold = isNews || isLossUntold
      return busy(.examine(identity), now)
    }
    isLossUntold = false
    return isNews ? [.report(.relayLost(error))] : []
  }

  /// The store refused: whatever was under way is done again, after a while.
  mutating func storeFailed(_ now: Moment, _ random: inout some RandomNumberGenerator) {
    isBusy = false
    switch awaited {
    case .apply(let stream, _, _, _)?, .read(let stream, _)?: inbox.didFail(stream, isHeldUp: true, now: now.uptime, using: &random)
    case .cut(let lane, _)?:
      outbox.didFail(Channel(lane), outbox[Channel(lane)].problem ?? .changed, isPressing: lane == .crisis, now: now.uptime, using: &random)
    case .reconcile(let channel, _, _, _)?, .append(let channel, _, _)?:
      outbox.compare(channel, .whole)
      outbox.didFail(channel, outbox[channel].problem ?? .changed, isPressing: channel == Channel(.crisis), now: now.uptime, using: &random)
    case .writePresence?:
      presence.due = presence.due ?? now.uptime
      presence.retryAt = now.uptime &+ presence.backoff.fail(using: &random)
    case .verify(let witness, let cursors)?:
      toVerify[witness] = toVerify[witness] ?? cursors
      relay.retryAt = now.uptime &+ relay.backoff.fail(using: &random)
    case .audit(let stream, _)?:
      carriage.audit(stream)
      relay.retryAt = now.uptime &+ relay.backoff.fail(using: &random)
    default: relay.retryAt = now.uptime &+ relay.backoff.fail(using: &random)
    }
    awaited = nil
  }

  // MARK: Sending

  mutating func reconciled(
    _ channel: Channel, _ sent: SentThrough, _ healed: Bool, _ batches: SentBatches, _ taken: ApplyOutcome?, _ now: Moment
  ) -> [ReplicaEffect] {
    isBusy = false
    let isNews = !healed && batches.count > 0 && sent.operations > outbox[channel].accepted
    if sent.position > outbox[channel].sent || healed { stall.progress() }
    outbox.didSend(channel, sent)
    outbox[channel].wasOvertaken = false
    var effects: [ReplicaEffect] = []
    if healed { effects.append(.report(.healed(channel))) }
    if isNews { effects.append(.report(.accepted(channel, through: sent.operations))) }
    if let taken { effects += learned(taken, from: device, now) }
    return effects
  }

  mutating func appended(_ channel: Channel, _ sent: SentThrough, _ now: Moment) -> [ReplicaEffect] {
    isBusy = false
    if sent.position > outbox[channel].sent { stall.progress() }
    outbox.didSend(channel, sent)
    outbox[channel].wasOvertaken = false
    relay.lastExchange = now.wall
    return [.report(.accepted(channel, through: sent.operations))]
  }

  mutating func cut(_ lane: Lane, _ report: OwnReport, _ now: Moment) {
    isBusy = false
    let channel = Channel(lane)
    note(report, now)
    let batched = report.progress[channel]?.batched ?? 0
    // Nothing was pending although something should have been: another process was faster.
    if batched <= batchedBeforeCut { outbox[channel].saved = min(outbox[channel].saved, outbox[channel].batched) } else { stall.progress() }
    outbox[channel].oldest = now.uptime
    if lane != .crisis { pacing.didCut(now: now) }
  }

  // MARK: Receiving

  mutating func read(_ stream: RelayStream, _ from: RelayPosition, _ chunk: RelayChunk, _ now: Moment) -> [ReplicaEffect] {
    // An answer to an old question: the network repeated or delayed it.
    guard awaited == .read(stream, from: from) else { return [] }
    inbox.note(isTorn: chunk.isTorn, stream)
    var chunk = chunk
    let isAnew = from == .start || chunk.positions[0] != from
    if !isAnew, let tail = inbox[stream]?.tail {
      guard let first = chunk.frames.first, UInt64(beginningOf: BatchSealer.hash(of: first)) == tail.hash else {
        (awaited, isBusy) = (nil, false)
        inbox.isAnother(stream)
        return []
      }
      chunk.frames.removeFirst()
      chunk.positions.removeFirst()
    }
    if isAnew, from != .start { inbox.isAnother(stream) }
    guard chunk.frames.isEmpty else {
      let effect = ReplicaEffect.apply(stream, chunk, startedAnew: isAnew, limit: limit(now))
      awaited = effect
      return [effect]
    }
    awaited = nil
    isBusy = false
    let isDamage = inbox.reachedEnd(stream, at: chunk.positions[0], isDamaged: chunk.isDamaged, now: now.uptime)
    if isAnew { audit(stream) }
    if isDamage { schedulePresence(at: now.uptime) }
    return isDamage ? [.report(.damaged(stream))] : []
  }

  mutating func applied(_ stream: RelayStream, _ isAtEnd: Bool, _ outcome: ApplyOutcome, _ now: Moment) -> [ReplicaEffect] {
    isBusy = false
    awaited = nil
    let wasRead = inbox[stream]?.isRead ?? false
    let isDamage = inbox.note(outcome, of: stream, isAtEnd: isAtEnd, now: now.uptime)
    relay.lastExchange = now.wall
    var effects = learned(outcome, from: tags[stream.tag], now)
    if outcome.hasTaken {
      stall.progress()
      if outcome.filed > 0 { inbox.closedGap(in: stream.tag, except: stream) }
    }
    if isAtEnd, outcome.end == .complete, !wasRead || outcome.startedAnew { audit(stream) }
    if isDamage {
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

  /// What follows from batches that came, from whichever file.
  private mutating func learned(_ outcome: ApplyOutcome, from sender: DeviceID?, _ now: Moment) -> [ReplicaEffect] {
    var effects: [ReplicaEffect] = []
    for (stream, cursors) in outcome.heads {
      for old in heads[stream] ?? [] where !cursors.contains(old) { verified[stream, default: []].insert(old) }
      heads[stream] = cursors
    }
    if !outcome.changes.isEmpty { effects.append(.report(.applied(sender, outcome.changes))) }
    if outcome.quarantined > 0 { effects.append(.report(.quarantined(sender, outcome.quarantined))) }
    for stream in outcome.forks { effects.append(.report(.forked(stream))) }
    if outcome.takenBack > 0 { effects.append(.report(.tookBack(outcome.takenBack))) }
    nextDue = outcome.nextDue
    if let own = outcome.own {
      note(own, now)
      for channel in Channel.all where outbox[channel].hasUnsent { outbox.compare(channel, .whole) }
    }
    for (stream, ends) in outcome.closings { toVerify[.closing(stream.device), default: [:]][stream] = ends }
    for stream in outcome.heads.keys {
      // What is further may have passed the place without a stop there.
      if let ends = unknown[.closing(stream.device)]?.removeValue(forKey: stream) { toVerify[.closing(stream.device), default: [:]][stream] = ends }
    }
    if !outcome.heads.isEmpty { updateMissing(now) }
    return effects
  }

  /// Says how far we are: at once for a crisis and when it was quiet, otherwise a few times a second.
  private mutating func confirm(_ channel: Channel, _ outcome: ApplyOutcome, _ now: Moment) {
    guard outcome.hasTaken else { return }
    if channel == Channel(.crisis) { presence.isUrgent = true }
    schedulePresence(at: max(now.uptime, presence.last &+ Self.confirmationGap))
  }

  mutating func released(_ changes: [AppliedChange], _ nextDue: UInt64?) -> [ReplicaEffect] {
    isBusy = false
    self.nextDue = nextDue
    guard !changes.isEmpty else { return [] }
    stall.progress()
    return [.report(.released(changes))]
  }

  mutating func carried(
    _ file: RelayStream, _ lack: Carriage.Lack, _ through: UInt64, _ isAll: Bool, _ frames: [SeenStreams.Frame]
  ) -> [ReplicaEffect] {
    isBusy = false
    let own = RelayStream(tag: ownTag, channel: file.channel, isCarried: true)
    var reading = inbox[own] ?? Inbox.Reading()
    for frame in frames { reading.seen.note(frame) }
    if inbox[own] == nil { (reading.isDirty, reading.isRead) = (false, true) }
    inbox[own] = reading
    carriage.didCarry(lack, of: file, through: through, isAll: isAll)
    if !frames.isEmpty { stall.progress() }
    return isAll && !frames.isEmpty ? [.report(.carried(tags[file.tag]))] : []
  }

  // MARK: What others say

  mutating func heard(_ tag: BlindTag, _ presence: Presence?, _ now: Moment) -> [ReplicaEffect] {
    isBusy = false
    unheard.remove(tag)
    guard let presence, tags[tag] == presence.device, presence.device != device else { return [] }
    let isNewRun = peers.all[presence.device]?.presence.run != presence.run
    guard peers.hear(presence, own: device, now: now) else { return [] }
    // Whoever has just begun knows our clock, and that we are there, only from a presence that is written now.
    if isNewRun { schedulePresence(at: max(now.uptime, self.presence.last &+ Self.confirmationGap)) }
    for stream in presence.damaged where stream.device == device { outbox.compare(stream.channel, .whole) }
    doubt(presence, now)
    let open = presence.cursors.compactMapValues { cursors in cursors.filter { $0.sequence > 0 } }
    var (unsure, beyond): ([StreamKey: [StreamCursor]], [StreamKey: [StreamCursor]]) = ([:], [:])
    for (stream, cursors) in open {
      let here = heads[stream] ?? []
      let last = here.map(\.sequence).max() ?? 0
      for cursor in cursors where !here.contains(cursor) && !(verified[stream]?.contains(cursor) ?? false) {
        if cursor.sequence > last, heads[stream] != nil { beyond[stream, default: []].append(cursor) } else { unsure[stream, default: []].append(cursor) }
      }
    }
    unknown[.presence(presence.device)] = beyond
    toVerify[.presence(presence.device)] = unsure.isEmpty ? nil : unsure
    updateMissing(now)
    return [.report(.heard(presence.device))]
  }

  /// What was sent, and somebody goes on saying that it lacks it: the relay may have lost it and be no shorter, where
  /// something else came after it. The file is compared once for each place at which they stand.
  private mutating func doubt(_ presence: Presence, _ now: Moment) {
    for (stream, cursors) in presence.cursors where stream.device == device {
      let key = Doubt(device: presence.device, stream: stream)
      guard outbox[stream.channel].isComplete, let cursor = cursors.max(by: { $0.sequence < $1.sequence }),
        let sent = heads[stream]?.map(\.sequence).max(), cursor.sequence < sent
      else {
        doubts[key] = nil
        continue
      }
      guard let doubt = doubts[key], doubt.cursor == cursor else {
        doubts[key] = (cursor, now.uptime, false)
        continue
      }
      guard !doubt.wasCompared, now.uptime &- doubt.since >= MissingStreams.patience else { continue }
      doubts[key] = (cursor, doubt.since, true)
      outbox.compare(stream.channel, .whole)
    }
  }

  mutating func verified(_ witness: Witness, _ unknown: [StreamKey: [StreamCursor]], _ now: Moment) {
    isBusy = false
    if case .verify(_, let asked)? = awaited {
      for (stream, cursors) in asked {
        self.unknown[witness]?[stream]?.removeAll { cursors.contains($0) }
        if self.unknown[witness]?[stream]?.isEmpty ?? false { self.unknown[witness]?[stream] = nil }
        for cursor in cursors where !(unknown[stream]?.contains(cursor) ?? false) { remember(cursor, of: stream) }
      }
    }
    for (stream, cursors) in unknown { self.unknown[witness, default: [:]][stream, default: []] += cursors }
    updateMissing(now)
  }

  /// What others have named of this device's own lives may be in the store by now: taken over from the emergency journal.
  mutating func lookUpOwnAgain() {
    for (witness, streams) in unknown {
      for (stream, cursors) in streams where stream.device == device {
        let waiting = toVerify[witness]?[stream] ?? []
        toVerify[witness, default: [:]][stream] = waiting + cursors.filter { !waiting.contains($0) }
      }
    }
  }

  private mutating func remember(_ cursor: StreamCursor, of stream: StreamKey) {
    if verified[stream]?.count ?? 0 > 256 { verified[stream] = [] }
    verified[stream, default: []].insert(cursor)
  }

  private mutating func updateMissing(_ now: Moment) {
    let (known, verified) = (heads, verified)
    missing.update(unknown, heads: { (known[$0] ?? []) + (verified[$0] ?? []) }, now: now.uptime)
  }
}
