import Causality

/// How far the streams of the other devices have been read from the relay.
package struct Inbox: Sendable {
  package struct Reading: Hashable, Sendable {
    package var position = RelayPosition.start
    /// Something may lie behind `position`.
    package var isDirty = true
    /// A frame at `position` was not acceptable; reading goes on when the stream changes.
    package var isDamaged = false
    /// After damage the stream was read from its start once more: a relay that went back in time and
    /// grew again has other bytes at a position than it had.
    package var hasRestarted = false
    /// What follows needs something that has not come yet (a member, an epoch key).
    package var isWaiting = false
    /// Uptime since which nothing was taken because a key is missing.
    package var lockedSince: UInt64?
  }

  package private(set) var readings: [RelayStream: Reading] = [:]

  package init() {}

  package subscript(stream: RelayStream) -> Reading? {
    get { readings[stream] }
    set { readings[stream] = newValue }
  }

  /// Notes that a stream exists or has changed.
  package mutating func touch(_ stream: RelayStream) {
    var reading = readings[stream] ?? Reading()
    reading.isDirty = true
    reading.isWaiting = false
    readings[stream] = reading
  }

  /// Forgets streams that are no longer on the relay, so that they are read anew when they return.
  package mutating func keepOnly(_ streams: Set<RelayStream>) {
    for stream in readings.keys where !streams.contains(stream) { readings[stream] = nil }
  }

  /// What came of applying what was read; only now, for the transaction has committed: an earlier move would skip
  /// operations after a crash.
  ///
  /// - Returns: Whether what lies at the position is damage that was not known of.
  mutating func note(_ outcome: ApplyOutcome, of stream: RelayStream, now: UInt64) -> Bool {
    var reading = readings[stream] ?? Reading()
    let wasDamaged = reading.isDamaged
    if !outcome.changes.isEmpty || outcome.quarantined > 0 { reading.hasRestarted = false }
    if outcome.hasTaken { reading.lockedSince = nil }
    if outcome.end == .locked { reading.lockedSince = reading.lockedSince ?? now }
    // Keys come with the membership, before what is sealed under them: one that does not come is none.
    let isStuck = outcome.end == .locked && now - (reading.lockedSince ?? now) >= Peers.heartbeat
    reading.position = outcome.next
    reading.isDamaged = outcome.end == .forked
    reading.isWaiting = outcome.end == .waiting || (outcome.end == .locked && !isStuck)
    reading.isDirty = outcome.end == .complete
    readings[stream] = reading
    return (outcome.end == .damaged || isStuck) && refuse(stream) && !wasDamaged
  }

  /// What lies at the position cannot be used.
  ///
  /// - Returns: Whether that is damage: it is looked at from the start once before it is called so.
  package mutating func refuse(_ stream: RelayStream) -> Bool {
    var reading = readings[stream] ?? Reading()
    let isDamage = reading.hasRestarted
    if isDamage {
      reading.isDamaged = true
    } else {
      reading.hasRestarted = true
      reading.isDirty = true
      reading.position = .start
    }
    readings[stream] = reading
    return isDamage
  }

  /// Whatever waited may go on: a member or a key has come.
  package mutating func wakeWaiting() {
    for (stream, reading) in readings where reading.isWaiting {
      readings[stream]?.isWaiting = false
      readings[stream]?.isDirty = !reading.isDamaged || reading.isDirty
    }
  }

  /// The stream to read next: crisis first, then membership, then by lane.
  package func next(_ isWanted: (RelayStream) -> Bool) -> RelayStream? {
    var best: RelayStream?
    for (stream, reading) in readings where reading.isDirty && !reading.isWaiting && isWanted(stream) {
      if best.map({ stream < $0 }) ?? true { best = stream }
    }
    return best
  }

  package var damaged: [RelayStream] { readings.filter { $0.value.isDamaged }.keys.sorted() }
}
