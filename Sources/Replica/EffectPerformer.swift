import Causality
import Crypto
import Foundation
import Sealing

/// Performs what a ``Replica`` wants done, against a store and a relay.
///
/// The driver of the program and the simulator both use it, so that what is simulated is what runs.
/// It decides nothing that the replica could decide. How bytes from elsewhere are taken in stands in
/// `EffectPerformer+Receiving.swift`, how own ones are compared in `EffectPerformer+Sending.swift`.
package struct EffectPerformer<Store: ReplicaStore> {
  package let store: Store
  package let relay: any Relay
  package private(set) var ring: KeyRing
  package internal(set) var members: Members { didSet { tags = Self.tags(of: members, ring.device, sealer) } }
  /// Every member by its name on the relay.
  package private(set) var tags: [BlindTag: DeviceID]
  /// Drawn anew by every run.
  package let run: UInt64
  /// Is told which relay is meant from now on, so that it is kept.
  package var adopting: (UInt64) throws -> Void = { _ in }
  let sealer: BatchSealer
  let cutter: BatchCutter
  package let ownTag: BlindTag
  /// How long a lock of the store is waited for, in milliseconds: who exchanges also has to hear.
  package static var patience: Int { 1_000 }
  /// Of what is about a crisis; it is tried again at once, and shown meanwhile.
  static var crisisPatience: Int { 200 }
  /// What was heard last from each device, with what it was sealed in: most looks find the same again.
  private var heard: [BlindTag: (frame: [UInt8], key: Data, presence: Presence)] = [:]
  /// Entries in the store when the members were read.
  var entryCount: Int

  /// Loads the members from the store.
  package init(store: Store, relay: any Relay, ring: KeyRing, run: UInt64) throws {
    self.store = store
    self.relay = relay
    self.ring = ring
    self.run = run
    sealer = ring.account.sealer
    cutter = BatchCutter(ring: ring)
    ownTag = BlindTag(of: ring.device, sealer)
    let (entries, count) = try store.read { (try $0.membership(), try $0.membershipCount()) }
    members = Members(rootKey: ring.account.rootKey, trusted: entries)
    entryCount = count
    tags = Self.tags(of: members, ring.device, sealer)
  }

  /// This device has its name there also where its admission was taken back: it goes on with what it has.
  static func tags(of members: Members, _ own: DeviceID, _ sealer: BatchSealer) -> [BlindTag: DeviceID] {
    Dictionary((members.devices + [own]).map { (BlindTag(of: $0, sealer), $0) }, uniquingKeysWith: { first, _ in first })
  }

  /// What the store says when a replica begins.
  package func beginning() throws -> Replica.Beginning {
    try store.read { transaction in
      var beginning = Replica.Beginning(
        members: tags, own: try transaction.ownReport(of: ring),
        heads: try transaction.openHeads().mapValues { $0.map(\.cursor) })
      beginning.nextDue = try transaction.nextDue()
      beginning.closings = try transaction.openClosings()
      return beginning
    }
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
      case .examine(let identity): return .examined(identity, isOurs: try examine(identity))
      case .reconcile(let channel, let from, let after, let operations):
        return try reconcile(channel, from: from, SentThrough(position: after, operations: operations, end: from), now)
      case .cut(let lane, let counted): return try cut(lane, counted: counted, now, &random)
      case .append(let channel, let after, let operations): return try append(channel, after: after, operations, now)
      case .read(let stream, let from): return .read(stream, from: from, try relay.read(stream, from: from))
      case .apply(let stream, let chunk, let startedAnew, let limit):
        return try apply(stream, chunk, startedAnew: startedAnew, limit: limit)
      case .readPresence(let tag): return .heard(tag, try presence(of: tag))
      case .verify(let witness, let cursors): return .verified(witness, unknown: try unknown(among: cursors))
      case .audit(let stream, let seen): return .audited(stream, try lacks(of: stream, seen))
      case .carry(let file, let lack): return try carry(file, lack)
      case .dropCarried(let channel):
        try relay.replace(RelayStream(tag: ownTag, channel: channel, isCarried: true), with: [])
        return .droppedCarried(channel)
      case .release(let limit): return try release(limit)
      case .closeLives: return .closed(try closeLives(now, &random))
      case .writePresence(let content): return try write(content, now, &random)
      case .wake, .report: return nil
      }
    } catch let error as RelayError {
      return .relayFailed(error)
    }
  }

  // MARK: The own log

  /// Seals the next operations of a lane and files the batch, in one transaction.
  package func cut(
    _ lane: Lane, counted: Bool, _ now: Moment, _ random: inout some RandomNumberGenerator
  ) throws -> ReplicaEvent {
    let report = try store.write(within: Self.patience) { transaction in
      let sealed = try cutter.cut(lane, in: &transaction, using: &random)
      if counted, sealed != nil { try transaction.countSyncOperation(onDay: now.wall / millisecondsPerDay) }
      return try transaction.ownReport(of: ring)
    }
    return .cut(lane, report)
  }

  /// Takes over members that another part of this device admitted or heard of: another process, or another thread.
  ///
  /// - Returns: Whether there were any.
  package mutating func reloadMembers() throws -> Bool {
    guard let news = try store.read({ try news(of: $0) }) else { return false }
    take(news)
    return true
  }

  /// Entries of the membership log; `nil` where they are known here.
  package func news(of transaction: Store.Transaction) throws -> [[UInt8]]? {
    try transaction.membershipCount() == entryCount ? nil : try transaction.membership()
  }

  package mutating func take(_ membership: [[UInt8]]) {
    entryCount = membership.count
    members = Members(rootKey: ring.account.rootKey, trusted: membership)
  }

  private func release(_ limit: UInt64) throws -> ReplicaEvent {
    try store.write(within: Self.patience) { transaction in
      let changes = try transaction.withLedger { try $0.releaseDue(wall: limit) }
      return .released(changes, nextDue: try transaction.nextDue())
    }
  }

  /// Signs that lives of this store are over, so that nobody has to be told any more how far they have come.
  private func closeLives(_ now: Moment, _ random: inout some RandomNumberGenerator) throws -> OwnReport {
    try store.write(within: Self.patience) { transaction in
      guard let current = try transaction.incarnation() else { return try transaction.ownReport(of: ring) }
      // One that goes on after it was closed belongs to a copy that is alive: it is not closed again.
      let lives = try transaction.openLives(of: ring, except: current).filter { $0.value.state == .open }
      for (incarnation, life) in lives.sorted(by: { $0.key < $1.key }) {
        guard life.streams.allSatisfy({ $0.value.allSatisfy { $0.applied == $0.batched } }) else { continue }
        let ends = life.streams.sorted { $0.key < $1.key }.flatMap { key, heads in
          heads.filter { $0.batched > 0 }.map { Closing.Stream(channel: key.channel.rawValue, sequence: $0.batched, hash: $0.hash) }
        }
        let closing = Closing(incarnation: incarnation, streams: ends)
        let entry = try MembershipEntry.signed(
          .close(closing), signer: ring.device, wall: now.wall, key: ring.keys.signing)
        try cutter.file(membership: entry, in: &transaction, using: &random)
        try transaction.withLedger { try $0.close(closing, of: ring.device, at: now.wall) }
      }
      return try transaction.ownReport(of: ring)
    }
  }

  // MARK: Which relay is meant

  /// Whether another device of the account uses this relay.
  private mutating func examine(_ identity: UInt64) throws -> Bool {
    let survey = try relay.surveyStranger()
    guard survey.identity == identity else { return false }
    for tag in survey.presences where tag != ownTag {
      guard let presence = try presence(of: tag), presence.relay == identity else { continue }
      try adopting(identity)
      relay.adopt(identity)
      return true
    }
    return false
  }

  // MARK: Presence

  private func write(
    _ content: PresenceContent, _ now: Moment, _ random: inout some RandomNumberGenerator
  ) throws -> ReplicaEvent {
    let (heads, hash, waiting, own) = try store.read {
      (try $0.openHeads(), try $0.stateHash(), try $0.heldBack(), try $0.ownReport(of: ring))
    }
    let presence = Presence(
      device: ring.device, run: run, counter: content.counter, wall: now.wall,
      cursors: heads.mapValues { $0.map(\.cursor) }, damaged: content.damaged, heldBack: waiting,
      echoes: content.echoes, stateHash: hash, isLeaving: content.isLeaving, shown: content.shown, relay: content.relay)
    let frame = try sealer.seal(
      .presence(presence.bytes), channel: BatchHeader.presenceChannel, incarnation: Incarnation(rawValue: 0),
      first: content.counter, count: 1, previous: noPreviousHash, headsDigest: [], from: ring.device, keys: ring.keys,
      using: &random)
    try relay.putPresence(frame, of: ownTag)
    return .wrotePresence(own)
  }

  mutating func presence(of tag: BlindTag) throws(RelayError) -> Presence? {
    guard let frame = try relay.presence(of: tag), let device = tags[tag], let keys = members.keys(of: device) else { return nil }
    if let known = heard[tag], known.frame == frame, known.key == keys.signing.rawRepresentation { return known.presence }
    guard
      let header = try? BatchHeader(frame: frame), header.channel == BatchHeader.presenceChannel,
      header.device == tag.bytes, let opened = try? sealer.open(frame, keys: keys),
      case .presence(let content) = opened.content, let presence = Presence(bytes: content), presence.device == device
    else { return nil }
    heard[tag] = (frame, keys.signing.rawRepresentation, presence)
    return presence
  }

  // MARK: What others say of streams

  func unknown(among cursors: [StreamKey: [StreamCursor]]) throws -> [StreamKey: [StreamCursor]] {
    try store.read { transaction in
      try cursors.compactMapValues { $0 }.reduce(into: [:]) { unknown, entry in
        let missing = try entry.value.filter { try !transaction.knows($0, in: entry.key) }
        if !missing.isEmpty { unknown[entry.key] = missing }
      }
    }
  }

  // MARK: Carrying

  private func lacks(of file: RelayStream, _ seen: SeenStreams) throws -> [Carriage.Lack] {
    guard let device = tags[file.tag] else { return [] }
    return try store.read { transaction in
      let early = try transaction.early(of: device, file.channel).filter { $0.first > 0 && !seen.holds($0.stream, $0.cursor) }
      return try early.map { Carriage.Lack(stream: $0.stream, after: $0.first - 1, isEarly: true) } + transaction.allHeads(of: device, channel: file.channel).compactMap { stream, heads in
        guard let head = heads.first(where: { $0.batched > 0 && !seen.has(stream, $0.cursor) }) else { return nil }
        // Of two histories each needs what it began with: they are carried together, and once.
        guard heads.count == 1 else { return Carriage.Lack(stream: stream, after: 0) }
        let shared = try seen.ends(of: stream).filter { try transaction.knows($0, in: stream) }
        return Carriage.Lack(stream: stream, after: shared.map(\.sequence).filter { $0 < head.batched }.max() ?? 0)
      }
    }
  }

  private func carry(_ file: RelayStream, _ lack: Carriage.Lack) throws -> ReplicaEvent {
    let own = RelayStream(tag: ownTag, channel: file.channel, isCarried: true)
    let limit = Limits.batchesPerApply
    let batches = try store.read { transaction in
      guard lack.isEarly, let device = tags[file.tag] else { return try transaction.batches(of: lack.stream, after: lack.after, limit: limit) }
      return try transaction.early(of: device, file.channel).filter { $0.stream == lack.stream && $0.first == lack.after + 1 }
    }
    guard let last = batches.last else { return .carried(file, lack, through: lack.after, isAll: true, frames: []) }
    let end = try relay.append(batches.map(\.frame), to: own)
    let frames = batches.compactMap { SeenStreams.Frame(of: $0) }
    let isFull = end.offset > Limits.carriedBytes
    return .carried(file, lack, through: last.first, isAll: lack.isEarly || batches.count < limit || isFull, frames: frames)
  }
}

extension BlindTag {
  /// A device's name on the relay.
  package init(of device: DeviceID, _ sealer: BatchSealer) {
    guard let tag = BlindTag(bytes: sealer.tags.device(device)) else { preconditionFailure("16 bytes") }
    self = tag
  }
}

extension SeenStreams.Frame {
  /// The place that a batch follows, and its own end; `nil` for bytes without a header.
  init?(of batch: StoredBatch) {
    guard let header = try? BatchHeader(frame: batch.frame) else { return nil }
    self.init(stream: batch.stream, after: Self.after(header), end: batch.cursor)
  }

  static func after(_ header: BatchHeader) -> StreamCursor {
    header.first > 1 ? StreamCursor(sequence: header.first - 1, hash: header.previous) : StreamCursor(sequence: 0, hash: 0)
  }
}
