import Causality
import Sealing
import Therapy

/// Taking in bytes from elsewhere: placed by what their headers say, believed once they are authentic.
extension EffectPerformer {
  mutating func apply(_ stream: RelayStream, _ chunk: RelayChunk, startedAnew: Bool, limit: UInt64) throws -> ReplicaEvent {
    var outcome = ApplyOutcome(next: chunk.positions[0])
    outcome.startedAnew = startedAnew
    if tags[stream.tag] == nil {
      guard try introduce(chunk.frames, from: stream) else {
        outcome.end = .waiting
        outcome.isUnexplained = isUnexplained(chunk.frames, in: stream)
        return .applied(stream, isAtEnd: chunk.isAtEnd, outcome)
      }
      (outcome.admitted, outcome.introduced) = (true, true)
    }
    let frames = Array(chunk.frames.prefix(Limits.batchesPerApply))
    try take(frames, from: stream, limit: limit, &outcome)
    outcome.next = chunk.positions[frames.count]
    if let last = frames.last {
      outcome.tail = Inbox.Reading.Tail(position: chunk.positions[frames.count - 1], hash: UInt64(beginningOf: BatchSealer.hash(of: last)))
    }
    if chunk.isDamaged, frames.count == chunk.frames.count { outcome.bad += 1 }
    return .applied(stream, isAtEnd: chunk.isAtEnd && frames.count == chunk.frames.count, outcome)
  }

  /// Authentic writes about the crisis in frames of a file, without the store: it may be locked.
  ///
  /// Where they belong in their streams is not looked at. An activation counts across a gap, and what takes one back
  /// names it.
  package func glance(_ frames: [[UInt8]], from file: RelayStream) -> [Operation] {
    let intake = Intake<Store.Transaction>(
      file: file, tags: tags, sealer: sealer, ring: ring, limit: 0, current: nil, members: members, outcome: ApplyOutcome(next: .start))
    return frames.flatMap(intake.glance)
  }

  /// Takes frames in, in one transaction; what cannot be taken is counted.
  ///
  /// - Parameter file: The file of the relay that they lie in, or would lie in.
  package mutating func take(_ frames: [[UInt8]], from file: RelayStream, limit: UInt64, _ outcome: inout ApplyOutcome) throws {
    let (sealer, ring, before, entryCount) = (sealer, ring, members, entryCount)
    let (result, members, count) = try store.write(within: file.channel.lane == .crisis ? Self.crisisPatience : Self.patience) { transaction -> (ApplyOutcome, Members, Int) in
      // Another part of this device may have admitted somebody since the members were read.
      let count = try transaction.membershipCount()
      let known = count == entryCount ? before : Members(rootKey: ring.account.rootKey, trusted: try transaction.membership())
      var work = Intake<Store.Transaction>(
        file: file, tags: count == entryCount ? tags : Self.tags(of: known, ring.device, sealer), sealer: sealer, ring: ring, limit: limit,
        current: try transaction.incarnation(), members: known, outcome: outcome)
      if count != entryCount { work.outcome.admitted = true }
      try transaction.withLedger { ledger in
        work.outcome.changes += try ledger.releaseDue(wall: limit)
        for frame in frames { try work.take(frame, &ledger) }
      }
      for entry in work.newEntries { try transaction.appendMembership(entry) }
      if work.tookOwnLife { try transaction.setIncarnation(nil) }
      try work.conclude(transaction)
      return (work.outcome, work.members, count + work.newEntries.count)
    }
    outcome = result
    if outcome.admitted { (self.members, self.entryCount) = (members, count) }
  }
}

/// One transaction's work on frames of a file.
private struct Intake<Transaction: StoreTransaction> {
  let file: RelayStream
  let tags: [BlindTag: DeviceID]
  let sealer: BatchSealer
  let ring: KeyRing
  /// The crisis record of the account.
  let crisis: RecordID
  private var own: DeviceID { ring.device }
  let limit: UInt64
  /// The life of this store that writes now.
  let current: Incarnation?
  var members: Members
  var outcome: ApplyOutcome
  var newEntries: [[UInt8]] = []
  /// Something was written in this very life that this store does not know.
  var tookOwnLife = false
  private var touched = Set<StreamKey>()
  private var known: [StreamKey: [UInt64: [LoggedBatch]]] = [:]

  init(
    file: RelayStream, tags: [BlindTag: DeviceID], sealer: BatchSealer, ring: KeyRing, limit: UInt64,
    current: Incarnation?, members: Members, outcome: ApplyOutcome
  ) {
    (self.file, self.tags, self.sealer, self.ring) = (file, tags, sealer, ring)
    (crisis, self.limit, self.current) = (CrisisState.record(ofAccount: ring.account.account), limit, current)
    (self.members, self.outcome) = (members, outcome)
  }

  /// Who wrote a frame: in a device's own file nobody else.
  private func author(_ header: BatchHeader) -> DeviceID? {
    guard header.channel == file.channel.rawValue, let tag = BlindTag(bytes: header.device) else { return nil }
    return file.isCarried || tag == file.tag ? tags[tag] : nil
  }

  func glance(_ frame: [UInt8]) -> [Operation] {
    guard let header = try? BatchHeader(frame: frame), let author = author(header), let keys = members.keys(of: author),
      let stream = StreamKey(device: author, incarnation: header.incarnation, channel: file.channel).id,
      let opened = try? sealer.open(frame, keys: keys), case .operations(let content) = opened.content,
      let operations = try? OperationCodec.decode(content, .run(stream: stream, first: header.first))
    else { return [] }
    return operations.filter { $0.record == crisis && (!opened.isEmergency || mayBeSaidInEmergency($0)) }
  }

  mutating func take(_ frame: [UInt8], _ ledger: inout Ledger<Transaction>) throws {
    guard let header = try? BatchHeader(frame: frame), let author = author(header), let keys = members.keys(of: author) else {
      outcome.bad += 1
      return
    }
    let key = StreamKey(device: author, incarnation: header.incarnation, channel: file.channel)
    let hash = BatchSealer.hash(of: frame)
    if let batch = try logged(header.first, hash, key, ledger.transaction) {
      return note(header, last: batch.last, hash, key)
    }
    let place = try ledger.place(first: header.first, previous: header.previous, hash: hash, in: key)
    if place == .known { return }
    // Everything else has to be authentic before it is believed, also that it forks.
    let (opened, content): (OpenedBatch, Content)
    do {
      opened = try sealer.open(frame, keys: keys)
      content = try self.content(of: opened, key)
    } catch SealingError.unknownEpoch {
      return outcome.locked += 1
    } catch is SealingError {
      return outcome.bad += 1
    } catch is CodecError {
      // Authentic, but not readable here: it was made by a newer version.
      return outcome.newer += 1
    }
    // From here on whatever fails is about this store: the whole transaction fails, and the frame is read again.
    let batch = StoredBatch(stream: key, first: header.first, count: opened.count, hash: hash, frame: frame, marks: [])
    try take(content, opened, batch, at: place, &ledger)
  }

  /// What stands in a batch.
  private enum Content {
    case operations([Operation])
    case membership([[UInt8]])
    /// It does not belong where it stands.
    case misplaced
  }

  private func content(of opened: OpenedBatch, _ key: StreamKey) throws -> Content {
    let first = opened.header.first
    guard first > 0 else { return .misplaced }
    guard opened.count > 0, opened.count <= UInt64(Limits.operationsPerBatch), first < Limits.sequences else {
      throw CodecError.columnsDisagree
    }
    switch (opened.content, key.id) {
    case (.operations(let content), let stream?):
      let operations = try OperationCodec.decode(content, .run(stream: stream, first: first))
      guard UInt64(operations.count) == opened.count else { throw CodecError.columnsDisagree }
      return opened.isEmergency && !operations.allSatisfy(mayBeSaidInEmergency) ? .misplaced : .operations(operations)
    case (.membership(let content), nil): return .membership(try MembershipCodec.decode(content))
    default: return .misplaced
    }
  }

  /// A batch that is in the log, without asking for each one alone.
  private mutating func logged(_ first: UInt64, _ hash: [UInt8], _ key: StreamKey, _ transaction: Transaction) throws -> LoggedBatch? {
    if known[key]?[first] == nil {
      let last = try transaction.heads(of: key).map(\.batched).max() ?? 0
      guard first > 0, first <= last else { return nil }
      let page = try transaction.logged(of: key, from: first, through: first &+ 2_048)
      known[key] = Dictionary(grouping: page, by: \.first)
    }
    return known[key]?[first]?.first { $0.hash == hash }
  }

  private mutating func note(_ header: BatchHeader, last: UInt64, _ hash: [UInt8], _ key: StreamKey) {
    outcome.seen.append(SeenStreams.Frame(stream: key, after: SeenStreams.Frame.after(header), end: StreamCursor(sequence: last, hash: hash)))
  }

  private mutating func take(
    _ content: Content, _ opened: OpenedBatch, _ batch: StoredBatch, at place: Ledger<Transaction>.Place, _ ledger: inout Ledger<Transaction>
  ) throws {
    switch content {
    case .operations(let operations):
      var batch = batch
      batch.marks = operations.map(\.id.mark)
      if place == .gap { return try takeEarly(batch, operations, &ledger) }
      let accepted = try ledger.accept(batch, operations, at: place, isOwn: batch.stream.device == own, wall: limit)
      outcome.changes += accepted.changes
      outcome.quarantined += accepted.quarantined
      outcome.concurrent += accepted.concurrent
    case .membership(let entries):
      if place == .gap {
        outcome.gaps += 1
        return
      }
      for entry in entries { try take(membership: entry, of: batch.stream.device, &ledger) }
      if batch.stream.device == own {
        try ledger.noteOutlived(batch.stream, at: entries.compactMap { try? MembershipEntry(bytes: $0).wall }.max())
      }
      try ledger.file(batch, at: place, isOwn: batch.stream.device == own)
    case .misplaced:
      outcome.bad += 1
      return
    }
    filed(opened.header, batch, at: place)
  }

  private mutating func filed(_ header: BatchHeader, _ batch: StoredBatch, at place: Ledger<Transaction>.Place) {
    outcome.filed += 1
    touched.insert(batch.stream)
    known[batch.stream]?[batch.first, default: []].append(LoggedBatch(first: batch.first, count: batch.count, hash: batch.hash))
    note(header, last: batch.last, batch.hash, batch.stream)
    if place == .fork, !outcome.forks.contains(batch.stream) { outcome.forks.append(batch.stream) }
    guard batch.stream.device == own, !batch.stream.incarnation.isEmergency else { return }
    outcome.takenBack += 1
    if batch.stream.incarnation == current { tookOwnLife = true }
  }

  /// What raises a crisis is shown across a gap.
  private mutating func takeEarly(_ batch: StoredBatch, _ operations: [Operation], _ ledger: inout Ledger<Transaction>) throws {
    outcome.gaps += 1
    let isActivation = operations.allSatisfy { operation in
      guard case .add = operation.mutation else { return false }
      return operation.record == crisis && operation.field == "active" && operation.replaces.isEmpty
    }
    guard file.channel.lane == .crisis, isActivation else { return }
    outcome.changes += try ledger.acceptEarly(batch, operations)
  }

  /// An emergency key raises a crisis, and takes back what it raised. It can do nothing else.
  private func mayBeSaidInEmergency(_ operation: Operation) -> Bool {
    guard operation.record == crisis, operation.field == "active" else { return false }
    switch operation.mutation {
    case .add: return operation.replaces.isEmpty
    case .remove:
      let device = operation.id.stream.device
      return operation.replaces.allSatisfy { $0.stream.device == device && $0.stream.incarnation.isEmergency }
    case .set, .erase, .restore: return false
    }
  }

  private mutating func take(membership bytes: [UInt8], of author: DeviceID, _ ledger: inout Ledger<Transaction>) throws {
    guard let entry = try? MembershipEntry(bytes: bytes), entry.signer == author || entry.introduces else { return }
    let before = members.log.count
    guard members.accept(bytes) == .accepted else { return }
    if case .close(let closing) = entry.change {
      outcome.closings.merge(closing.ends(of: author)) { _, new in new }
      return try ledger.close(closing, of: author, at: entry.wall)
    }
    // With it whatever waited for its signer.
    newEntries += members.log.dropFirst(before)
    outcome.admitted = true
  }

  /// Notes what is durable once the transaction commits.
  mutating func conclude(_ transaction: Transaction) throws {
    for stream in touched { outcome.heads[stream] = try transaction.heads(of: stream).map(\.cursor) }
    if touched.contains(where: { $0.device == own }) { outcome.own = try transaction.ownReport(of: ring) }
    outcome.nextDue = try transaction.nextDue()
  }
}
