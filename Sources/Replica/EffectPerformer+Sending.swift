import Causality
import Sealing

/// Sending what this device wrote, and comparing it with what the relay has of it.
///
/// An own file on the relay is a bag of frames, each found by its hash. What it has and the log lacks is taken back
/// before anything is written over it: this store may be an older copy of itself, or one of two.
extension EffectPerformer {
  mutating func append(_ channel: Channel, after position: UInt64, _ operations: UInt64, _ now: Moment) throws -> ReplicaEvent {
    let stream = RelayStream(tag: ownTag, channel: channel)
    let batches = try store.read { try $0.ownBatches(channel, after: position, limit: Limits.batchesPerApply) }
    let frames = batches.map(\.batch.frame)
    guard let end = try appendUnlessBusy(frames, to: stream) else {
      // Nobody's lock holds up a crisis; what lies there now is compared.
      try relay.appendAnyway(frames, to: stream)
      return try reconcile(channel, from: .start, SentThrough(position: 0, operations: 0, end: .start), now)
    }
    var sent = SentThrough(position: position, operations: operations, end: end)
    for batch in batches { sent.pass(batch) }
    return .appended(channel, sent, sent: SentBatches(frames))
  }

  /// - Returns: `nil` for a crisis lane that somebody else holds.
  private func appendUnlessBusy(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) -> RelayPosition? {
    do { return try relay.append(frames, to: stream) } catch {
      guard case .busy = error, stream.channel == Channel(.crisis) else { throw error }
      return nil
    }
  }

  /// Compares the relay's copy of an own file with the log.
  ///
  /// - Parameters:
  ///   - from: Where they are known to agree.
  ///   - before: How far that is.
  mutating func reconcile(_ channel: Channel, from: RelayPosition, _ before: SentThrough, _ now: Moment) throws -> ReplicaEvent {
    let stream = RelayStream(tag: ownTag, channel: channel)
    var comparison = Comparison(sent: before)
    var position = from
    while true {
      let chunk = try relay.read(stream, from: position)
      if from != .start, position == from, chunk.positions[0] != from || chunk.frames.isEmpty {
        // Not another process's append: something before it was changed.
        return try reconcile(channel, from: .start, SentThrough(position: 0, operations: 0, end: .start), now)
      }
      try compare(chunk.frames, channel, countsSent: from != .start, &comparison)
      if chunk.isDamaged { comparison.isDamaged = true }
      position = chunk.positions[chunk.frames.count]
      if chunk.isAtEnd { break }
    }
    comparison.sent.end = position
    if from == .start, channel.lane == .crisis { comparison.early = try early(channel).filter { !comparison.lost.contains($0) } }
    return try conclude(comparison, channel, stream, now)
  }

  private struct Comparison {
    /// How far the log lies on the relay without a gap.
    var sent: SentThrough
    /// Batches of the log that lie there before their turn, by hash: their places in the log.
    var ahead: [[UInt8]: UInt64] = [:]
    /// Frames that this device sealed, and that its log does not have.
    var lost: [[UInt8]] = []
    /// Own frames that were applied across a gap, and that the relay has lost: they are in nobody's log.
    var early: [[UInt8]] = []
    var isDamaged = false
    var counted = SentBatches()
  }

  private func compare(_ frames: [[UInt8]], _ channel: Channel, countsSent: Bool, _ comparison: inout Comparison) throws {
    guard !frames.isEmpty else { return }
    try store.read { log in
      var next = try log.ownBatches(channel, after: comparison.sent.position, limit: frames.count)[...]
      for frame in frames {
        if let batch = next.first, batch.batch.frame == frame {
          comparison.sent.pass(batch)
          next = next.dropFirst()
          if countsSent { comparison.counted.add(frame) }
        } else if let place = try place(of: frame, channel, log) {
          if place > comparison.sent.position { comparison.ahead[BatchSealer.hash(of: frame)] = place }
        } else if isOurs(frame, channel) {
          comparison.lost.append(frame)
        } else {
          comparison.isDamaged = true
        }
        // What lay there before its turn may have it now.
        while let batch = next.first, comparison.ahead.removeValue(forKey: batch.batch.hash) != nil {
          comparison.sent.pass(batch)
          next = next.dropFirst()
        }
      }
    }
  }

  private func early(_ channel: Channel) throws -> [[UInt8]] {
    try store.read { try $0.early(of: ring.device, channel) }.filter { $0.first > 0 }.map(\.frame)
  }

  private func isLogged(_ frame: [UInt8], _ channel: Channel) throws -> Bool {
    try store.read { try place(of: frame, channel, $0) } != nil
  }

  /// Where the log has a frame.
  private func place(of frame: [UInt8], _ channel: Channel, _ log: Store.Transaction) throws -> UInt64? {
    guard let header = try? BatchHeader(frame: frame), header.first > 0 else { return nil }
    let key = StreamKey(device: ring.device, incarnation: header.incarnation, channel: channel)
    return try log.place(of: BatchSealer.hash(of: frame), in: key, first: header.first)
  }

  /// A frame that this device sealed.
  private func isOurs(_ frame: [UInt8], _ channel: Channel) -> Bool {
    guard let header = try? BatchHeader(frame: frame), header.channel == channel.rawValue, header.device == ownTag.bytes,
      let keys = members.keys(of: ring.device)
    else { return false }
    return (try? sealer.open(frame, keys: keys)) != nil
  }

  private mutating func conclude(
    _ comparison: Comparison, _ channel: Channel, _ stream: RelayStream, _ now: Moment
  ) throws -> ReplicaEvent {
    var (comparison, lost) = (comparison, comparison.lost)
    if comparison.isDamaged {
      for frame in try relay.salvage(stream) where isOurs(frame, channel) {
        if try !isLogged(frame, channel), !lost.contains(frame) { lost.append(frame) }
      }
    }
    var taken: ApplyOutcome?
    if !lost.isEmpty {
      var outcome = ApplyOutcome(next: comparison.sent.end)
      for start in stride(from: 0, to: lost.count, by: Limits.batchesPerApply) {
        try take(Array(lost[start..<min(start + Limits.batchesPerApply, lost.count)]), from: stream, limit: now.wall, &outcome)
      }
      taken = outcome
    }
    guard comparison.isDamaged || !comparison.early.isEmpty else {
      try store.read { log in
        for frame in lost { comparison.ahead[BatchSealer.hash(of: frame)] = try place(of: frame, channel, log) }
      }
      guard try fill(&comparison, channel, stream) else {
        return try reconcile(channel, from: .start, SentThrough(position: 0, operations: 0, end: .start), now)
      }
      return .reconciled(channel, comparison.sent, healed: false, sent: comparison.counted, taken: taken)
    }
    let kept = try (lost + comparison.early).filter { try !isLogged($0, channel) }
    return try rewrite(channel, stream, keeping: kept, taken: taken)
  }

  /// Puts what the relay lacks before frames that lie there ahead of their turn.
  ///
  /// A store that was an older copy of itself writes before it takes back what the relay has: its write comes first in
  /// the log. To send everything behind it again would make the file longer by all of it at every restore.
  ///
  /// - Returns: Whether nobody else wrote meanwhile.
  private func fill(_ comparison: inout Comparison, _ channel: Channel, _ stream: RelayStream) throws -> Bool {
    let through = comparison.ahead.values.max() ?? 0
    while comparison.sent.position < through {
      let page = try store.read {
        try $0.ownBatches(channel, after: comparison.sent.position, limit: Limits.batchesPerApply).filter { $0.position <= through }
      }
      guard !page.isEmpty else { break }
      let missing = page.filter { comparison.ahead[$0.batch.hash] == nil }.map(\.batch.frame)
      if !missing.isEmpty {
        guard let end = try appendUnlessBusy(missing, to: stream) else {
          try relay.appendAnyway(missing, to: stream)
          return false
        }
        comparison.sent.end = end
        for frame in missing { comparison.counted.add(frame) }
      }
      for batch in page { comparison.sent.pass(batch) }
    }
    return true
  }

  /// Writes an own file anew from the log.
  ///
  /// - Parameter kept: Frames of this device that lay there and have no place in the log yet.
  private func rewrite(_ channel: Channel, _ stream: RelayStream, keeping kept: [[UInt8]], taken: ApplyOutcome?) throws -> ReplicaEvent {
    var frames = [[UInt8]]()
    var sent = SentThrough(position: 0, operations: 0, end: .start)
    while true {
      let page = try store.read { try $0.ownBatches(channel, after: sent.position, limit: 256) }
      guard !page.isEmpty else { break }
      frames += page.map(\.batch.frame)
      for batch in page { sent.pass(batch) }
    }
    sent.end = try relay.replace(stream, with: frames + kept)
    return .reconciled(channel, sent, healed: true, sent: SentBatches(frames), taken: taken)
  }
}
