import Causality
import Crypto
import Sealing

/// Performs what a ``Replica`` wants done, against a store and a relay.
///
/// The driver of the program and the simulator both use it, so that what is simulated is what runs.
/// It decides nothing that the replica could decide.
package struct EffectPerformer<Store: ReplicaStore> {
  package let store: Store
  package let relay: any Relay
  package private(set) var ring: KeyRing
  package private(set) var members: Members {
    didSet { if members.log.count != oldValue.log.count { tags = Self.tags(of: members, sealer) } }
  }
  /// Every member by its name on the relay.
  package private(set) var tags: [BlindTag: DeviceID]
  package let incarnation: UInt64
  private let sealer: BatchSealer
  private let cutter: BatchCutter
  private let ownTag: BlindTag

  /// Loads the members from the store.
  package init(store: Store, relay: any Relay, ring: KeyRing, incarnation: UInt64) throws {
    self.store = store
    self.relay = relay
    self.ring = ring
    self.incarnation = incarnation
    sealer = ring.account.sealer
    cutter = BatchCutter(ring: ring)
    ownTag = Self.tag(sealer, ring.device)
    var members = Members(rootKey: ring.account.rootKey)
    for entry in try store.read({ try $0.membership() }) { _ = try members.accept(entry) }
    self.members = members
    tags = Self.tags(of: members, sealer)
  }

  private static func tags(of members: Members, _ sealer: BatchSealer) -> [BlindTag: DeviceID] {
    Dictionary(uniqueKeysWithValues: members.devices.map { (tag(sealer, $0), $0) })
  }

  private static func tag(_ sealer: BatchSealer, _ device: DeviceID) -> BlindTag {
    guard let tag = BlindTag(bytes: sealer.tags.device(device)) else { preconditionFailure("16 bytes") }
    return tag
  }

  /// Performs one effect that touches the store or the relay.
  ///
  /// - Returns: The event that answers it; `nil` for effects that are the driver's own (wake, report).
  /// - Throws: What the store throws. What the relay throws becomes an event.
  package mutating func perform(
    _ effect: ReplicaEffect, now: Moment, using random: inout some RandomNumberGenerator
  ) throws -> ReplicaEvent? {
    do {
      switch effect {
      case .survey: return .surveyed(try relay.survey())
      case .reconcile(let channel, let from, let after): return try reconcile(channel, from: from, after: after)
      case .rewind(let channel): return try rewind(channel, now)
      case .cut(let lane, let counted): return try cut(lane, counted: counted, now, &random)
      case .append(let channel, let after): return try append(channel, after: after)
      case .read(let stream, let from): return .read(stream, from: from, try relay.read(stream, from: from))
      case .apply(let stream, let chunk): return .applied(stream, try apply(stream, chunk, now))
      case .readPresence(let tag): return .heard(tag, try presence(of: tag))
      case .writePresence(let content): return try write(content, now, &random)
      case .wake, .report: return nil
      }
    } catch let error as RelayError {
      return .relayFailed(error)
    }
  }

  // MARK: Sending

  /// Seals the next operations of a lane and files the batch, in one transaction.
  package func cut(
    _ lane: Lane, counted: Bool, _ now: Moment, _ random: inout some RandomNumberGenerator
  ) throws -> ReplicaEvent {
    let through = try store.write { transaction in
      let sealed = try cutter.cut(lane, in: &transaction, using: &random)
      if counted, sealed != nil { try transaction.countSyncOperation(onDay: now.wall / millisecondsPerDay) }
      return try transaction.head(StreamKey(device: ring.device, channel: Channel(lane)))?.batched ?? 0
    }
    return .cut(lane, through: through)
  }

  /// Takes over members that another process of this device admitted.
  ///
  /// - Returns: Whether there were any.
  package mutating func reloadMembers() throws -> Bool {
    let log = try store.read { transaction in
      try transaction.membershipCount() > members.log.count ? try transaction.membership() : []
    }
    guard log.count > members.log.count else { return false }
    var grown = members
    for entry in log.dropFirst(members.log.count) { _ = try grown.accept(entry) }
    members = grown
    return true
  }

  /// Signs, files and accepts a membership entry of this device.
  package mutating func admit(
    _ certificate: DeviceCertificate, signature: [UInt8], using random: inout some RandomNumberGenerator
  ) throws {
    let entry = try members.admitting(certificate, deviceSignature: signature, by: ring.device, keys: ring.keys)
    var grown = members
    _ = try grown.accept(entry)
    try store.write { try cutter.file(membership: entry, in: &$0, using: &random) }
    members = grown
  }

  private func append(_ channel: Channel, after: UInt64) throws -> ReplicaEvent {
    let key = StreamKey(device: ring.device, channel: channel)
    let batches = try store.read { try $0.batches(of: key, after: after, limit: Limits.batchesPerApply) }
    let frames = batches.map(\.frame)
    let end = try relay.append(frames, to: RelayStream(tag: ownTag, channel: channel))
    return .appended(channel, through: batches.last?.last ?? after, end: end, sent: SentBatches(frames))
  }

  // MARK: Healing

  /// Compares the relay's copy of an own stream with the log; writes it anew when they differ.
  ///
  /// - Parameters:
  ///   - from: Where they are known to agree.
  ///   - after: The last operation before that.
  private func reconcile(_ channel: Channel, from: RelayPosition, after: UInt64) throws -> ReplicaEvent {
    let stream = RelayStream(tag: ownTag, channel: channel)
    let key = StreamKey(device: ring.device, channel: channel)
    var position = from
    var through = after
    var sent = SentBatches()
    while true {
      let chunk = try relay.read(stream, from: position)
      if from != .start, position == from, chunk.positions[0] != from || chunk.frames.isEmpty {
        // Not another process's append: something before it was changed.
        return try reconcile(channel, from: .start, after: 0)
      }
      let mine = try store.read { try $0.batches(of: key, after: through, limit: chunk.frames.count) }
      var index = 0
      for frame in chunk.frames {
        if index < mine.count, mine[index].frame == frame {
          through = mine[index].last
          index += 1
          if from != .start { sent.add(frame) }
        } else if try isKnown(frame, in: key, through: through) {
          continue
        } else if try isOurs(frame, beyond: key) {
          return .ownStreamAhead(channel)
        } else {
          return try rewrite(stream, key)
        }
      }
      if chunk.isDamaged { return try rewrite(stream, key) }
      position = chunk.positions[chunk.frames.count]
      if chunk.isAtEnd { return .reconciled(channel, through: through, end: position, healed: false, sent: sent) }
    }
  }

  /// A frame that two processes of this device appended both.
  private func isKnown(_ frame: [UInt8], in key: StreamKey, through: UInt64) throws -> Bool {
    guard let header = try? BatchHeader(frame: frame), header.first <= through, header.first > 0 else { return false }
    return try store.read { try $0.batches(of: key, after: header.first - 1, limit: 1) }.first?.frame == frame
  }

  /// A frame that this device sealed, but that this store does not know: the store is an old copy.
  private func isOurs(_ frame: [UInt8], beyond key: StreamKey) throws -> Bool {
    guard let header = try? BatchHeader(frame: frame), isPlaced(header, RelayStream(tag: ownTag, channel: key.channel))
    else { return false }
    let head = try store.read { try $0.head(key) } ?? StreamHead(hash: BatchSealer.noPrevious)
    guard header.first == head.batched + 1, header.previous == head.hash else { return false }
    return (try? sealer.open(frame, signingKey: ring.keys.signing.publicKey)) != nil
  }

  private func rewrite(_ stream: RelayStream, _ key: StreamKey) throws -> ReplicaEvent {
    var frames = [[UInt8]]()
    var through: UInt64 = 0
    while true {
      let page = try store.read { try $0.batches(of: key, after: through, limit: 256) }
      guard let last = page.last else { break }
      frames += page.map(\.frame)
      through = last.last
    }
    let end = try relay.replace(stream, with: frames)
    return .reconciled(stream.channel, through: through, end: end, healed: true, sent: SentBatches(frames))
  }

  /// Takes back what this device once wrote from the relay, and moves what was made since behind it.
  private mutating func rewind(_ channel: Channel, _ now: Moment) throws -> ReplicaEvent {
    let stream = RelayStream(tag: ownTag, channel: channel)
    let key = StreamKey(device: ring.device, channel: channel)
    var position = RelayPosition.start
    while true {
      let chunk = try relay.read(stream, from: position)
      try store.write { transaction in
        try transaction.withLedger { ledger in
          for frame in chunk.frames {
            guard let header = try? BatchHeader(frame: frame) else { return }
            guard try ledger.place(first: header.first, previous: header.previous, in: key) == .next else {
              continue
            }
            guard let opened = try? sealer.open(frame, signingKey: ring.keys.signing.publicKey) else { return }
            guard case .operations(let content) = opened.content, let lane = channel.lane else { continue }
            let identities = OperationCodec.Identities.run(
              stream: StreamID(device: ring.device, lane: lane), first: header.first)
            let operations = try OperationCodec.decode(content, identities)
            try ledger.takeBack(Self.stored(frame, opened, key), operations, wall: now.wall)
          }
        }
      }
      position = chunk.positions[chunk.frames.count]
      if chunk.isAtEnd || chunk.isDamaged { break }
    }
    let head = try store.read { try $0.head(key) }
    return .rewound(channel, head ?? StreamHead(hash: BatchSealer.noPrevious))
  }

  // MARK: Receiving

  private mutating func apply(_ stream: RelayStream, _ chunk: RelayChunk, _ now: Moment) throws -> ApplyOutcome {
    var outcome = ApplyOutcome(
      end: .complete, next: chunk.positions[0], changes: [], quarantined: 0, concurrent: 0, admitted: false)
    guard let device = tags[stream.tag], let signingKey = members.signingKey(of: device) else {
      outcome.end = .waiting
      return outcome
    }
    let key = StreamKey(device: device, channel: stream.channel)
    var grown = members
    try store.write { transaction in
      try transaction.withLedger { ledger in
        outcome.changes += try ledger.releaseDue(wall: now.wall)
        for (index, frame) in chunk.frames.prefix(Limits.batchesPerApply).enumerated() {
          outcome.end = try take(frame, stream, key, signingKey, &ledger, &grown, &outcome, now)
          guard outcome.end == .complete else { return }
          outcome.next = chunk.positions[index + 1]
        }
      }
      for entry in grown.log.dropFirst(members.log.count) { try transaction.appendMembership(entry) }
    }
    outcome.admitted = grown.log.count > members.log.count
    members = grown
    return outcome
  }

  private func take(
    _ frame: [UInt8], _ stream: RelayStream, _ key: StreamKey, _ signingKey: Curve25519.Signing.PublicKey,
    _ ledger: inout Ledger<Store.Transaction>, _ members: inout Members, _ outcome: inout ApplyOutcome, _ now: Moment
  ) throws -> ApplyOutcome.End {
    do {
      let header = try BatchHeader(frame: frame)
      guard isPlaced(header, stream) else { return .damaged }
      let place = try ledger.place(first: header.first, previous: header.previous, in: key)
      if place == .known { return .complete }
      // Everything else has to be authentic before it is believed, also that it forks.
      let opened = try sealer.open(frame, signingKey: signingKey)
      if place == .forked { return .forked }
      if place == .gap { return .damaged }
      return try take(opened, frame, key, &ledger, &members, &outcome, now)
    } catch SealingError.unknownEpoch {
      return .locked
    } catch is SealingError {
      return .damaged
    } catch is CodecError {
      // Authentic, but not readable here: it was made by a newer version.
      return .waiting
    }
  }

  private func take(
    _ opened: OpenedBatch, _ frame: [UInt8], _ key: StreamKey, _ ledger: inout Ledger<Store.Transaction>,
    _ members: inout Members, _ outcome: inout ApplyOutcome, _ now: Moment
  ) throws -> ApplyOutcome.End {
    let batch = Self.stored(frame, opened, key)
    switch (opened.content, key.channel.lane) {
    case (.operations(let content), let lane?):
      let identities = OperationCodec.Identities.run(
        stream: StreamID(device: key.device, lane: lane), first: batch.first)
      let operations = try OperationCodec.decode(content, identities)
      guard UInt64(operations.count) == batch.count, batch.count > 0 else { return .damaged }
      let accepted = try ledger.accept(batch, operations, wall: now.wall)
      outcome.changes += accepted.changes
      outcome.quarantined += accepted.quarantined
      outcome.concurrent += accepted.concurrent
    case (.membership(let content), nil):
      let entries = try MembershipCodec.decode(content)
      guard UInt64(entries.count) == batch.count, batch.count > 0 else { return .damaged }
      for entry in entries { _ = try members.accept(entry) }
      try ledger.fileForeign(batch)
    default: return .damaged
    }
    return .complete
  }

  private func isPlaced(_ header: BatchHeader, _ stream: RelayStream) -> Bool {
    header.channel == stream.channel.rawValue && header.device == stream.tag.bytes
  }

  private static func stored(_ frame: [UInt8], _ opened: OpenedBatch, _ key: StreamKey) -> StoredBatch {
    StoredBatch(
      stream: key, first: opened.header.first, count: opened.count, hash: BatchSealer.hash(of: frame), frame: frame)
  }

  // MARK: Presence

  private func write(
    _ content: PresenceContent, _ now: Moment, _ random: inout some RandomNumberGenerator
  ) throws -> ReplicaEvent {
    let (heads, hash) = try store.read { (try $0.heads(), try $0.stateHash()) }
    let presence = Presence(
      device: ring.device, incarnation: incarnation, counter: content.counter, wall: now.wall,
      heads: heads.mapValues(\.applied), damaged: content.damaged, echoes: content.echoes, stateHash: hash,
      isLeaving: content.isLeaving, shown: content.shown)
    let frame = try sealer.seal(
      .presence(presence.bytes), channel: BatchHeader.presenceChannel, first: content.counter, count: 1,
      previous: BatchSealer.noPrevious, headsDigest: [], from: ring.device, keys: ring.keys, using: &random)
    try relay.putPresence(frame, of: ownTag)
    let own = heads.filter { $0.key.device == ring.device }
    return .wrotePresence(Dictionary(uniqueKeysWithValues: own.map { ($0.key.channel, $0.value) }))
  }

  private func presence(of tag: BlindTag) throws -> Presence? {
    guard
      let frame = try relay.presence(of: tag), let device = tags[tag], let key = members.signingKey(of: device),
      let header = try? BatchHeader(frame: frame), header.channel == BatchHeader.presenceChannel,
      header.device == tag.bytes, let opened = try? sealer.open(frame, signingKey: key),
      case .presence(let content) = opened.content
    else { return nil }
    return Presence(bytes: content)
  }
}
