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
    let sent = SentThrough(
      position: batches.last?.position ?? position, operations: operations + batches.reduce(0) { $0 + $1.batch.count }, end: end)
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
    /// Frames of the log that lie there before their turn.
    var ahead: [[UInt8]: (position: UInt64, count: UInt64)] = [:]
    /// Frames that this device sealed, and that its log does not have.
    var lost: [[UInt8]] = []
    /// Own frames that were applied across a gap, and that the relay has lost: they are in nobody's log.
    var early: [[UInt8]] = []
    var isDamaged = false
    var counted = SentBatches()
  }

  private func compare(_ frames: [[UInt8]], _ channel: Channel, countsSent: Bool, _ comparison: inout Comparison) throws {
    guard !frames.isEmpty else { return }
    var mine = try store.read { try $0.ownBatches(channel, after: comparison.sent.position, limit: frames.count + comparison.ahead.count) }[...]
    for frame in frames {
      if let next = mine.first, next.batch.frame == frame {
        comparison.sent.position = next.position
        comparison.sent.operations += next.batch.count
        mine = mine.dropFirst()
        if countsSent { comparison.counted.add(frame) }
      } else if let known = mine.first(where: { $0.batch.frame == frame }) {
        comparison.ahead[BatchSealer.hash(of: frame)] = (known.position, known.batch.count)
      } else if try isLogged(frame, channel) {
        continue
      } else if isOurs(frame, channel) {
        comparison.lost.append(frame)
      } else {
        comparison.isDamaged = true
      }
      // What lay there before its turn may have it now.
      while let next = mine.first, comparison.ahead[next.batch.hash] != nil {
        comparison.sent.position = next.position
        comparison.sent.operations += next.batch.count
        mine = mine.dropFirst()
      }
    }
  }

  private func early(_ channel: Channel) throws -> [[UInt8]] {
    try store.read { try $0.early(of: ring.device, channel) }.filter { $0.first > 0 }.map(\.frame)
  }

  private func isLogged(_ frame: [UInt8], _ channel: Channel) throws -> Bool {
    guard let header = try? BatchHeader(frame: frame), header.first > 0 else { return false }
    let key = StreamKey(device: ring.device, incarnation: header.incarnation, channel: channel)
    let hash = BatchSealer.hash(of: frame)
    return try store.read { try $0.logged(of: key, from: header.first, through: header.first) }.contains { $0.hash == hash }
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
    guard comparison.isDamaged || !comparison.lost.isEmpty || !comparison.early.isEmpty else {
      return .reconciled(channel, comparison.sent, healed: false, sent: comparison.counted, taken: nil)
    }
    var lost = comparison.lost
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
      return .reconciled(channel, comparison.sent, healed: false, sent: comparison.counted, taken: taken)
    }
    let kept = try (lost + comparison.early).filter { try !isLogged($0, channel) }
    return try rewrite(channel, stream, keeping: kept, taken: taken)
  }

  /// Writes an own file anew from the log.
  ///
  /// - Parameter kept: Frames of this device that lay there and have no place in the log yet.
  private func rewrite(_ channel: Channel, _ stream: RelayStream, keeping kept: [[UInt8]], taken: ApplyOutcome?) throws -> ReplicaEvent {
    var frames = [[UInt8]]()
    var sent = SentThrough(position: 0, operations: 0, end: .start)
    while true {
      let page = try store.read { try $0.ownBatches(channel, after: sent.position, limit: 256) }
      guard let last = page.last else { break }
      frames += page.map(\.batch.frame)
      sent.position = last.position
      sent.operations += page.reduce(0) { $0 + $1.batch.count }
    }
    sent.end = try relay.replace(stream, with: frames + kept)
    return .reconciled(channel, sent, healed: true, sent: SentBatches(frames), taken: taken)
  }
}
