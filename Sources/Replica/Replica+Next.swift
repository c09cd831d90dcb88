import Causality
import Therapy

/// What a replica does next.
extension Replica {
  /// The most important thing that can be done now, and the moment to wake up for the next.
  mutating func next(_ now: Moment) -> [ReplicaEffect] {
    if isBusy { return [] }
    if let retryAt = relay.retryAt {
      // Cutting needs no relay: what is cut is in the log and leaves when the relay is back.
      if now.uptime < retryAt { return withoutRelay(now) ?? [.wake(at: retryAt)] }
      relay.retryAt = nil
      wantsSurvey = true
    }
    let isStalled = now.uptime < stall.until
    if wantsSurvey, !isStalled {
      wantsSurvey = false
      return busy(.survey, now)
    }
    if let effect = crisis(now) { return effect }
    if isStalled { return [.wake(at: stall.until)] }
    if let effect = lanes(now) { return effect }
    if let effect = presences(now) { return effect }
    if let effect = chores(now) { return effect }
    return rest(now)
  }

  mutating func busy(_ effect: ReplicaEffect, _ now: Moment) -> [ReplicaEffect] {
    isBusy = true
    wasIdle = false
    stall.count(files: inbox.readings.count, now: now.uptime)
    if case .cut(let lane, _) = effect { batchedBeforeCut = outbox[Channel(lane)].batched }
    awaited = effect
    return [effect]
  }

  /// What others have raised is read first, whatever happens to what this device sends.
  private mutating func crisis(_ now: Moment) -> [ReplicaEffect]? {
    let channel = Channel(.crisis)
    if let effect = reading(of: channel, now) { return effect }
    if let effect = send(channel, now) { return busy(effect, now) }
    if presence.isUrgent, presence.retryAt <= now.uptime { return writePresence(now) }
    return nil
  }

  private mutating func lanes(_ now: Moment) -> [ReplicaEffect]? {
    for channel in Channel.all where channel != Channel(.crisis) {
      if let effect = send(channel, now) { return busy(effect, now) }
      if let effect = reading(of: channel, now) { return effect }
    }
    return nil
  }

  private mutating func reading(of channel: Channel, _ now: Moment) -> [ReplicaEffect]? {
    guard !isStopping else { return nil }
    let stream = inbox.next(now: now.uptime) { $0.channel == channel && ($0.tag != ownTag || $0.isCarried) }
    guard let stream, let reading = inbox[stream] else { return nil }
    inbox[stream]?.isDirty = false
    return busy(.read(stream, from: reading.readsFrom), now)
  }

  private mutating func presences(_ now: Moment) -> [ReplicaEffect]? {
    if let tag = heardDirty.min() {
      heardDirty.remove(tag)
      return busy(.readPresence(tag), now)
    }
    if let (witness, cursors) = toVerify.min(by: { $0.key < $1.key }) {
      toVerify[witness] = nil
      return busy(.verify(witness, cursors), now)
    }
    if let due = presence.due, max(due, presence.retryAt) <= now.uptime { return writePresence(now) }
    return nil
  }

  /// What has to be done when nothing is pressing.
  private mutating func chores(_ now: Moment) -> [ReplicaEffect]? {
    guard !isStopping else { return nil }
    if isDue(now) { return busy(.release(limit: limit(now)), now) }
    // A file that is still being read says nothing about what it lacks.
    if let stream = carriage.takeAudit(where: { !(inbox[$0]?.isDirty ?? false) }) { return busy(.audit(stream, seen(stream)), now) }
    if let (file, lack, due) = nextToCarry(now), due <= now.uptime { return busy(.carry(file, lack), now) }
    if let channel = carriedForNobody { return busy(.dropCarried(channel), now) }
    if openLives > 0, isQuiet, missing.isEmpty { return busy(.closeLives, now) }
    return nil
  }

  /// Nothing waits to be sent or read.
  private var isQuiet: Bool {
    outbox.queues.values.allSatisfy { $0.isComplete } && inbox.readings.values.allSatisfy { !$0.isDirty || $0.isWaiting }
  }

  // MARK: Sending

  /// What a channel of our own has to send, if it may now.
  private mutating func send(_ channel: Channel, _ now: Moment) -> ReplicaEffect? {
    let queue = outbox[channel]
    let isHeld = queue.retryAt.map { $0 > now.uptime } ?? false
    if !isHeld {
      switch queue.needed {
      case .whole, .tail:
        outbox.beginComparing(channel)
        return queue.needed == .whole
          ? .reconcile(channel, from: .start, after: 0, operations: 0)
          : .reconcile(channel, from: queue.end, after: queue.sent, operations: queue.accepted)
      case .none: break
      }
      if queue.hasUnsent { return .append(channel, after: queue.sent, operations: queue.accepted) }
    }
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

  private mutating func withoutRelay(_ now: Moment) -> [ReplicaEffect]? {
    if outbox[Channel(.crisis)].pending > 0 { return busy(.cut(.crisis, counted: false), now) }
    return isDue(now) ? busy(.release(limit: limit(now)), now) : nil
  }

  /// The time of an operation has come that was held back.
  private func isDue(_ now: Moment) -> Bool {
    nextDue.map { !HybridClock.isFromTheFuture(Timestamp(milliseconds: $0), wall: limit(now)) } ?? false
  }

  mutating func writePresence(_ now: Moment) -> [ReplicaEffect] {
    presence.due = nil
    presence.isUrgent = false
    presence.last = now.uptime
    presence.counter += 1
    peers.didWrite(counter: presence.counter, now: now)
    let damaged = inbox.damaged.compactMap { stream in
      tags[stream.tag].map { StreamKey(device: $0, incarnation: Incarnation(rawValue: 0), channel: stream.channel) }
    }
    return busy(
      .writePresence(
        PresenceContent(
          counter: presence.counter, damaged: damaged, echoes: peers.echoes(now: now), isLeaving: isStopping,
          shown: presence.shown.map { Presence.Shown(activation: $0.activation, held: now.uptime &- $0.at) },
          relay: relay.identity ?? 0)), now)
  }

  // MARK: Carrying

  /// What is on the relay of what a device wrote in a channel, in its own file and in those of carriers.
  package func seen(_ stream: RelayStream) -> SeenStreams {
    var seen = inbox[stream]?.seen ?? SeenStreams()
    for (other, reading) in inbox.readings where other.isCarried && other.channel == stream.channel { seen.formUnion(reading.seen) }
    return seen
  }

  private func nextToCarry(_ now: Moment) -> (file: RelayStream, lack: Carriage.Lack, due: UInt64)? {
    func isHere(_ device: DeviceID) -> Bool { peers.state(of: device, now: now.uptime) == .here }
    let rank = others.filter { $0 < device && isHere($0) }.count
    return carriage.next(rank: rank, isHere: { tags[$0].map(isHere) ?? false }, now: now.uptime)
  }

  /// A channel in which this device carries nothing any more that its author's own file lacks.
  private var carriedForNobody: Channel? {
    Channel.all.first { channel in
      let own = RelayStream(tag: ownTag, channel: channel, isCarried: true)
      guard let reading = inbox[own], reading.isRead, !reading.isDirty else { return false }
      let leaves = reading.seen.leaves
      return !leaves.isEmpty && leaves.allSatisfy { stream, ends in
        guard stream.device != device else { return outbox[channel].isComplete }
        guard let tag = tags.first(where: { $0.value == stream.device })?.key,
          let file = inbox[RelayStream(tag: tag, channel: channel)], file.isRead, !file.isDirty, !file.isDamaged
        else { return false }
        return ends.allSatisfy { file.seen.has(stream, $0) }
      }
    }
  }

  // MARK: Resting

  private mutating func rest(_ now: Moment) -> [ReplicaEffect] {
    let told = toldMissing
    let reports = news(now)
    if lookAgain(Set(toldMissing).subtracting(told)) { return reports + next(now) }
    if presence.last &+ Peers.heartbeat <= now.uptime, presence.retryAt <= now.uptime {
      wantsSurvey = true
      return reports + writePresence(now)
    }
    // Notifications get lost, and of a folder that another machine shares none come.
    if relay.surveyed &+ Peers.heartbeat <= now.uptime { return reports + busy(.survey, now) }
    let wake = ReplicaEffect.wake(at: wakeTime(now))
    if wasIdle { return reports + [wake] }
    wasIdle = true
    return reports + [.report(.idle(settled: isSettled, complete: isComplete)), wake]
  }

  /// What has become worth telling by time alone.
  private mutating func news(_ now: Moment) -> [ReplicaEffect] {
    var reports: [ReplicaEffect] = []
    let overdue = missing.overdue(now: now.uptime)
    if overdue != toldMissing {
      toldMissing = overdue
      reports.append(.report(.missing(overdue)))
    }
    if livingCopies > toldCopies { reports.append(.report(.copied(lives: livingCopies))) }
    toldCopies = livingCopies
    return reports
  }

  /// What others have signed for may lie on the relay all the same, where it was passed over: every file that could hold
  /// it is looked through once more, once for each place.
  ///
  /// - Returns: Whether there is something to look at.
  private mutating func lookAgain(_ news: Set<MissingStreams.Entry>) -> Bool {
    for entry in news {
      let channel = entry.stream.channel
      if entry.stream.device == device { outbox.compare(channel, .whole) }
      for (file, reading) in inbox.readings where file.channel == channel && !reading.isDirty {
        if file.isCarried || tags[file.tag] == entry.stream.device { inbox.isAnother(file) }
      }
    }
    return !news.isEmpty
  }

  private mutating func wakeTime(_ now: Moment) -> UInt64 {
    var wake = min(max(presence.last &+ Peers.heartbeat, presence.retryAt), relay.surveyed &+ Peers.heartbeat)
    if let due = presence.due { wake = min(wake, max(due, presence.retryAt)) }
    for (channel, queue) in outbox.queues {
      if let retryAt = queue.retryAt, queue.hasUnsent || !queue.isReconciled { wake = min(wake, retryAt) }
      guard channel.lane != nil, queue.pending > 0 else { continue }
      if let at = pacing.nextCut(pending: queue.pending, oldest: queue.oldest, now: now) { wake = min(wake, at) }
    }
    if let retry = inbox.nextRetry { wake = min(wake, retry) }
    // A clock that is put right is told by nobody.
    if nextDue != nil { wake = min(wake, now.uptime &+ 1_000_000_000) }
    if let (_, _, due) = nextToCarry(now) { wake = min(wake, due) }
    if let due = missing.due(now: now.uptime) { wake = min(wake, due) }
    return max(wake, now.uptime &+ 1_000_000)
  }
}
