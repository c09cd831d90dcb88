import Causality

/// Which frames files hold, as the histories that they make.
///
/// A frame counts once everything before it is there: what follows a hole is of no use to whoever has not what fell
/// out of it.
package struct SeenStreams: Hashable, Sendable {
  /// One frame: the place it follows, and the one where it ends.
  package struct Frame: Hashable, Sendable {
    package var stream: StreamKey
    package var after: StreamCursor
    package var end: StreamCursor
    package init(stream: StreamKey, after: StreamCursor, end: StreamCursor) { (self.stream, self.after, self.end) = (stream, after, end) }
  }

  private struct Histories: Hashable, Sendable {
    /// Every place up to which everything is there, as the hash of the frame that ends there.
    var places = Set<UInt64>()
    var ends: [StreamCursor] = []
    /// Frames whose predecessor has not been seen, by the hash that they follow.
    var loose: [UInt64: [Frame]] = [:]

    mutating func note(_ frame: Frame) {
      guard frame.after.sequence == 0 || places.contains(frame.after.hash) else {
        if !(loose[frame.after.hash]?.contains(frame) ?? false) { loose[frame.after.hash, default: []].append(frame) }
        return
      }
      var attached = [frame]
      while let next = attached.popLast() {
        guard places.insert(next.end.hash).inserted else { continue }
        if let index = ends.firstIndex(of: next.after) { ends[index] = next.end } else { ends.append(next.end) }
        attached += loose.removeValue(forKey: next.end.hash) ?? []
      }
    }

    mutating func formUnion(_ other: Histories) {
      for end in other.ends where !places.contains(end.hash) { ends.append(end) }
      ends.removeAll { other.places.contains($0.hash) && !other.ends.contains($0) }
      places.formUnion(other.places)
      let waiting = Array(loose.values.joined()) + other.loose.values.joined()
      loose = [:]
      for frame in waiting where !places.contains(frame.end.hash) { note(frame) }
    }
  }

  private var histories: [StreamKey: Histories] = [:]

  package init() {}

  package mutating func note(_ frame: Frame) { histories[frame.stream, default: Histories()].note(frame) }

  /// Also what another file holds.
  package mutating func formUnion(_ other: SeenStreams) {
    for (stream, histories) in other.histories { self.histories[stream, default: Histories()].formUnion(histories) }
  }

  /// Where the histories of a stream end, as far as they have no hole.
  package func ends(of stream: StreamKey) -> [StreamCursor] { histories[stream]?.ends ?? [] }

  /// Whether the frame that ends at a place is there, also behind a hole.
  package func holds(_ stream: StreamKey, _ cursor: StreamCursor) -> Bool {
    has(stream, cursor) || histories[stream]?.loose.values.contains { $0.contains { $0.end == cursor } } ?? false
  }

  /// Whether everything up to a place is there.
  package func has(_ stream: StreamKey, _ cursor: StreamCursor) -> Bool { histories[stream]?.places.contains(cursor.hash) ?? false }

  /// The end of every history, and of every frame that follows a hole.
  package var leaves: [(stream: StreamKey, ends: [StreamCursor])] {
    histories.map { stream, histories in (stream, histories.ends + histories.loose.values.joined().map(\.end)) }
  }
}

/// How far the files of the other devices have been read from the relay.
package struct Inbox: Sendable {
  package struct Reading: Hashable, Sendable {
    package var position = RelayPosition.start
    /// The last frame before the position, where it begins and the beginning of its hash: a relay that went back in
    /// time and grew again has another one there.
    var tail: Tail?
    /// Something may lie behind `position`.
    package var isDirty = true
    /// What could not be used was looked at from the start once more, and is damage.
    package var isDamaged = false
    /// Since the reading began at the start: frames that were not authentic, and frames whose predecessor has not come.
    package var bad = 0
    package var gaps = 0
    /// After a problem the file was read from its start once more: a relay that went back in time and grew again has
    /// other bytes at a position than it had.
    package var hasRestarted = false
    /// Since the reading began at the start: frames under a key that is not known. What follows them is read all the same.
    package var locked = 0
    /// What follows needs something that has not come yet (a member, a newer program).
    package var isWaiting = false
    /// It is of a device that has not introduced itself, or sealed with a key that has not come: what it says is not known.
    package var isUnexplained = false
    /// It ends in the middle of something: whoever writes it, or carries it here, is not done.
    package var isTorn = false
    /// Uptime since which a key is missing.
    package var lockedSince: UInt64?
    /// How far each stream was seen in this file: the end of each of its histories.
    package var seen = SeenStreams()
    /// Whether it was read to its end since it began.
    package var isRead = false
    /// It was this store that could not take what was read; the file is as good as it was.
    package var isHeldUp = false
    /// Uptime before which it is not read again; a failure costs this file alone.
    package var retryAt: UInt64?
    var backoff = RetryBackoff()

    package struct Tail: Hashable, Sendable {
      var position: RelayPosition
      var hash: UInt64
    }

    package init() {}

    /// Where the next read begins: one frame is read again, to be known.
    var readsFrom: RelayPosition { tail?.position ?? position }
  }

  package private(set) var readings: [RelayStream: Reading] = [:]

  package init() {}

  package subscript(stream: RelayStream) -> Reading? {
    get { readings[stream] }
    set { readings[stream] = newValue }
  }

  /// Notes that a file exists or has changed.
  package mutating func touch(_ stream: RelayStream) {
    var reading = readings[stream] ?? Reading()
    // What could not be opened lies behind the position.
    if reading.isWaiting { Self.restart(&reading) }
    reading.isDirty = true
    reading.isWaiting = false
    readings[stream] = reading
  }

  /// Forgets files that are no longer on the relay, so that they are read anew when they return.
  package mutating func keepOnly(_ streams: Set<RelayStream>) {
    for stream in readings.keys where !streams.contains(stream) { readings[stream] = nil }
  }

  /// Begins a file at its start.
  private static func restart(_ reading: inout Reading) {
    (reading.position, reading.tail, reading.isDirty, reading.bad, reading.gaps, reading.locked) = (.start, nil, true, 0, 0, 0)
    (reading.seen, reading.isRead) = (SeenStreams(), false)
  }

  /// What came of applying what was read; only now, for the transaction has committed: an earlier move would skip
  /// operations after a crash.
  ///
  /// - Returns: Whether the file proved to be damaged, which was not known.
  package mutating func note(_ outcome: ApplyOutcome, of stream: RelayStream, isAtEnd: Bool, now: UInt64) -> Bool {
    // Taken out, for what was seen in a long file is not to be copied for one more frame.
    var reading = readings.removeValue(forKey: stream) ?? Reading()
    let wasDamaged = reading.isDamaged
    // Something came while it was read: it is read on.
    let wasTouched = reading.isDirty
    if outcome.startedAnew { (reading.bad, reading.gaps, reading.locked, reading.seen, reading.isRead) = (0, 0, 0, SeenStreams(), false) }
    if outcome.hasTaken {
      reading.hasRestarted = false
      reading.backoff.succeed()
    }
    reading.retryAt = nil
    reading.position = outcome.next
    reading.tail = outcome.tail ?? reading.tail
    reading.bad += outcome.bad
    reading.gaps += outcome.gaps
    for frame in outcome.seen { reading.seen.note(frame) }
    reading.locked += outcome.locked
    if reading.locked > 0 { reading.lockedSince = reading.lockedSince ?? now }
    reading.isWaiting = outcome.end == .waiting
    reading.isUnexplained = outcome.isUnexplained || reading.locked > 0
    reading.isDirty = outcome.end == .complete
    if outcome.end == .complete, isAtEnd {
      reading.isDirty = wasTouched
      reading.isRead = true
      settle(&reading, hasTaken: outcome.hasTaken, isCarried: stream.isCarried, now)
    }
    readings[stream] = reading
    return reading.isDamaged && !wasDamaged
  }

  /// The end of a file was reached: was all of it good?
  private func settle(_ reading: inout Reading, hasTaken: Bool, isCarried: Bool, _ now: UInt64) {
    if reading.locked == 0 { reading.lockedSince = nil }
    guard reading.bad + reading.gaps + reading.locked > 0 else {
      (reading.isDamaged, reading.hasRestarted) = (false, false)
      return
    }
    // What was taken since may have closed a gap: then the rest of the file is good.
    if hasTaken, reading.gaps > 0 { return Self.restart(&reading) }
    // Keys come with the membership, before what is sealed under them: one that does not come is none. With it the file is
    // read from its start.
    if let since = reading.lockedSince, now &- since < Peers.heartbeat { return }
    if reading.hasRestarted {
      // Who carries puts up what it has; what lies before may be nowhere.
      reading.isDamaged = reading.bad + reading.locked > 0 || !isCarried
    } else {
      Self.restart(&reading)
      reading.hasRestarted = true
    }
  }

  /// Another frame lies where this file was read last: it is read from its start.
  mutating func isAnother(_ stream: RelayStream) {
    var reading = readings[stream] ?? Reading()
    Self.restart(&reading)
    readings[stream] = reading
  }

  /// Nothing lies at the position.
  ///
  /// - Parameter isDamaged: What lies there cannot be a frame.
  /// - Returns: Whether that is damage that was not known.
  mutating func reachedEnd(_ stream: RelayStream, at position: RelayPosition, isDamaged: Bool, now: UInt64) -> Bool {
    var reading = readings[stream] ?? Reading()
    let wasDamaged = reading.isDamaged
    let wasTouched = reading.isDirty
    // The file is shorter than it was, or was written anew: what was seen in it before says nothing.
    if position != reading.position {
      (reading.seen, reading.tail, reading.bad, reading.gaps, reading.locked) = (SeenStreams(), nil, 0, 0, 0)
      reading.isUnexplained = false
    }
    (reading.position, reading.isDirty, reading.retryAt, reading.isRead) = (position, wasTouched, nil, true)
    if isDamaged { reading.bad += 1 }
    settle(&reading, hasTaken: false, isCarried: stream.isCarried, now)
    readings[stream] = reading
    return reading.isDamaged && !wasDamaged
  }

  /// Reading failed: the others go on.
  ///
  /// - Parameter isHeldUp: The store was at fault, and not the file.
  mutating func didFail(_ stream: RelayStream, isHeldUp: Bool = false, now: UInt64, using random: inout some RandomNumberGenerator) {
    var reading = readings[stream] ?? Reading()
    reading.isHeldUp = isHeldUp
    var wait = reading.backoff.fail(using: &random)
    if stream.channel == Channel(.crisis) { wait = min(wait, 500_000_000) }
    reading.retryAt = now &+ wait
    reading.isDirty = true
    readings[stream] = reading
  }

  /// Whatever waited may go on: a member or a key has come.
  package mutating func wakeWaiting() {
    for (stream, reading) in readings where reading.isWaiting || reading.locked > 0 {
      readings[stream]?.isWaiting = false
      if var waiting = readings[stream] {
        Self.restart(&waiting)
        readings[stream] = waiting
      }
    }
  }

  /// A stream went on by way of another file: what follows a gap in this one may be good now.
  mutating func closedGap(in device: BlindTag, except stream: RelayStream) {
    for (other, reading) in readings where other != stream && reading.gaps > 0 && !reading.isDirty && (other.tag == device || other.isCarried) {
      var again = reading
      Self.restart(&again)
      readings[other] = again
    }
  }

  /// The file to read next: crisis first, then membership, then by lane.
  ///
  /// - Parameter now: Uptime; what failed a moment ago is left alone.
  package func next(now: UInt64, _ isWanted: (RelayStream) -> Bool) -> RelayStream? {
    var best: RelayStream?
    for (stream, reading) in readings where reading.isDirty && !reading.isWaiting && isWanted(stream) {
      guard reading.retryAt.map({ $0 <= now }) ?? true else { continue }
      if best.map({ stream < $0 }) ?? true { best = stream }
    }
    return best
  }

  /// When the next file that failed is tried again.
  var nextRetry: UInt64? { readings.values.filter(\.isDirty).compactMap(\.retryAt).min() }

  /// Notes whether a file of the crisis lane ends in the middle of something, where it was read last.
  mutating func note(isTorn: Bool, _ stream: RelayStream) {
    guard stream.channel == Channel(.crisis), (readings[stream]?.isTorn ?? false) != isTorn else { return }
    readings[stream, default: Reading()].isTorn = isTorn
  }

  /// Whether something lies there of which nobody here knows who wrote it, or what is said about a crisis.
  var isUnexplained: Bool { readings.values.contains { $0.isUnexplained || $0.isTorn } }

  /// Whether a file of the crisis lane could not be read, or not to its end.
  package var isCrisisUnread: Bool {
    readings.contains { stream, reading in
      stream.channel == Channel(.crisis) && (reading.isTorn || reading.isUnexplained || reading.isDamaged || reading.isDirty && reading.retryAt != nil && !reading.isHeldUp)
    }
  }

  package var damaged: [RelayStream] { readings.filter { $0.value.isDamaged }.keys.sorted() }

  /// Files that could not be read the last time it was tried.
  package var failing: [RelayStream] { readings.filter { $0.value.retryAt != nil && $0.value.isDirty && !$0.value.isHeldUp }.keys.sorted() }

  /// Whether something was read, or was about to be, that has not come into the store.
  var isBehind: Bool { readings.values.contains { $0.retryAt != nil && $0.isDirty } }
}
