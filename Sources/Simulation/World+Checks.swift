import Causality
import ConflictResolution
import Replica
import Sealing
import Therapy

extension World {
  /// Promises that hold at every moment.
  mutating func check() throws {
    for (index, device) in devices.enumerated() {
      let contents = device.replica == nil ? device.store.durableContents : device.store.contents
      for (stream, sequence) in device.acknowledged where !(contents.histories(of: stream).contains { $0.applied >= sequence }) {
        throw Violation(promise: "no acknowledged operation is lost", detail: "device \(index), \(sequence)")
      }
      try checkLog(contents, index)
      try checkPeers(of: index)
      var hash = StateHash()
      for record in contents.records.values { hash.toggle(record.hash) }
      guard hash == contents.hash else {
        throw Violation(promise: "the running state hash is the state's", detail: "device \(index)")
      }
    }
    try checkRelay()
    try checkReach()
  }

  /// Every batch follows another one of its stream, and the heads are where its histories end.
  private func checkLog(_ contents: MemoryStore.Contents, _ index: Int) throws {
    for (stream, batches) in contents.batches {
      var ends = Set([StreamCursor(sequence: 0, hash: noPreviousHash)])
      var followed = Set<StreamCursor>()
      for batch in batches {
        guard let header = BlindHeader(batch.frame) else { throw Violation(promise: "the log holds batches", detail: "device \(index)") }
        let before = StreamCursor(sequence: batch.first - 1, hash: header.previous)
        guard ends.contains(before) else {
          throw Violation(promise: "sequence numbers have no gap", detail: "device \(index)")
        }
        if batch.count > 1 { probes.count(.fullBatch) }
        followed.insert(before)
        ends.insert(batch.cursor)
      }
      let heads = contents.histories(of: stream)
      // Where own operations wait to be cut, a history may end that another one has left already.
      let waiting = Set(heads.filter { $0.applied > $0.batched }.map(\.cursor))
      let leaves = Set(heads.map(\.cursor))
      guard leaves.subtracting(waiting) == ends.subtracting(followed).subtracting(waiting), heads.count == leaves.count else {
        throw Violation(promise: "a cursor is never ahead of what is durable", detail: "device \(index), \(stream.channel.rawValue)")
      }
    }
  }

  /// Nobody believes more of a device than it has durably; of one that was put back others remember more.
  func checkPeers(of index: Int) throws {
    guard let replica = devices[index].replica else { return }
    for device in devices where !device.wasPutBack {
      for (stream, cursors) in replica.peers.all[device.id]?.presence.cursors ?? [:] {
        for cursor in cursors where cursor.sequence > 0 {
          guard device.store.durableContents.has(cursor, in: stream) else {
            throw Violation(promise: "a confirmation is never ahead of what is durable", detail: "device \(index)")
          }
        }
      }
    }
  }

  /// Who says that everything is exchanged and nothing is missing lacks nothing of what it has heard that somebody has.
  func checkComplete(_ index: Int) throws {
    guard let replica = devices[index].replica else { return }
    let contents = devices[index].store.contents
    for (stream, ends) in contents.closings {
      guard ends.allSatisfy({ contents.has($0, in: stream) }) else {
        throw Violation(
          promise: "nobody says up to date who lacks what somebody signed for",
          detail: "device \(index) lacks a part of a life that was closed, in channel \(stream.channel.rawValue)")
      }
    }
    for (device, peer) in replica.peers.all where peer.heard != nil {
      for (stream, cursors) in (devices[index].heard[device] ?? peer.presence).cursors {
        for cursor in cursors where cursor.sequence > 0 && !contents.has(cursor, in: stream) {
          throw Violation(
            promise: "nobody says up to date who lacks what somebody signed for",
            detail: "device \(index) lacks \(cursor.sequence) in channel \(stream.channel.rawValue) that \(device) has")
        }
      }
    }
  }

  /// Who says that nothing waits has what it wrote on the relay that the others read, as far as that kept it.
  func checkSent(_ index: Int) throws {
    guard steps.isMultiple(of: 8), isRelayFaithful, !devices[index].wasPutBack, [.delayedFile].allSatisfy({ probes.all[$0] == nil }) else { return }
    let there = Set(relay.frames)
    for (channel, batches) in devices[index].store.contents.ownLog where !batches.allSatisfy({ there.contains($0.frame) }) {
      throw Violation(promise: "nobody says that everything was sent that is not on the relay", detail: "device \(index), channel \(channel.rawValue)")
    }
  }

  mutating func checkRelay() throws {
    let canary = Array(Person.canary.utf8)
    var everything = relay.everything
    if sabotage == .plainRelay { everything += devices[0].store.contents.records.values.map(\.encoded) }
    for bytes in everything where bytes.contains(canary) {
      throw Violation(promise: "the relay holds sealed bytes only", detail: "a word of the person was found")
    }
  }

  /// A file must not grow by everything at each restore. Single frames may lie there twice: those whose place in the log
  /// came after they lay there. (What a process had under way that was stopped happens twice in this world.)
  func checkGrowth() throws {
    guard probes.all[.stopped] == nil else { return }
    for (stream, count) in relay.repeated.sorted(by: { $0.key < $1.key }) where count > Self.repetitions {
      throw Violation(promise: "what lies on the relay is not sent again", detail: "channel \(stream.channel.rawValue), \(count) frames")
    }
  }

  private static let repetitions = 3

  var agrees: Bool {
    let first = devices[0].store.contents
    guard devices.allSatisfy({ $0.store.contents.hash == first.hash }) else { return false }
    let ends = first.ends
    return devices.allSatisfy { device in
      device.store.contents.ends == ends
        && device.store.contents.pending.values.allSatisfy(\.isEmpty)
        // What was shown across a gap is passed on as well.
        && device.store.contents.early.keys.allSatisfy { id in devices.allSatisfy { $0.store.contents.holds(id) } }
    }
  }

  func checkAgreement() throws {
    let first = devices[0].store.contents
    for (index, device) in devices.enumerated() {
      let contents = device.store.contents
      guard contents.ends == first.ends, contents.pending.values.allSatisfy(\.isEmpty) else {
        throw Violation(
          promise: "all devices hold the same operations in the end", detail: differing(contents, first, at: index))
      }
      guard contents.hash == first.hash else {
        throw Violation(promise: "the same operations give the same state", detail: "device \(index): \(Self.difference(first, contents))")
      }
      try checkCrisis(contents, index)
      for id in written.keys.sorted() where !contents.holds(id) {
        let holders = devices.indices.filter { devices[$0].store.contents.holds(id) }
        throw Violation(
          promise: "no acknowledged operation is lost",
          detail: "held by \(holders), on the relay \(operations(in: Set(relay.frames)).contains(id)); " + stuck(StreamKey(id.stream), id.sequence, at: index))
      }
    }
  }

  /// The first field in which two states differ, for whoever replays the run.
  private static func difference(_ one: MemoryStore.Contents, _ other: MemoryStore.Contents) -> String {
    func short(_ id: OperationID) -> String {
      "\(id.stream.device.low % 100).\(id.stream.incarnation.rawValue % 1_000).\(id.stream.lane.rawValue).\(id.sequence)"
    }
    for (id, record) in one.records.sorted(by: { $0.key < $1.key }) {
      let twin = other.records[id]
      for field in Set(record.fields.map(\.name) + (twin?.fields.map(\.name) ?? [])).sorted() {
        let (here, there) = (record[field]?.dots.map(\.id) ?? [], twin?[field]?.dots.map(\.id) ?? [])
        guard here != there else { continue }
        let (awaited, awaitedThere) = (record[field]?.awaited.map(short) ?? [], twin?[field]?.awaited.map(short) ?? [])
        return "\(record.kind).\(field): \(here.map(short)) awaiting \(awaited), \(there.map(short)) awaiting \(awaitedThere)"
      }
    }
    return "no record"
  }

  private func differing(_ one: MemoryStore.Contents, _ other: MemoryStore.Contents, at index: Int) -> String {
    for (stream, ends) in other.ends.sorted(by: { $0.key < $1.key }) where one.ends[stream] != ends {
      return stuck(stream, ends.map(\.sequence).max() ?? 0, at: index)
    }
    for (stream, ends) in one.ends.sorted(by: { $0.key < $1.key }) where other.ends[stream] != ends {
      return stuck(stream, ends.map(\.sequence).max() ?? 0, at: 0)
    }
    return "device \(index) has not sent everything"
  }

  /// Everything that was acknowledged can be read again from the sealed log of any device, as it was written.
  mutating func checkHistory() throws {
    let index = random.number(0...devices.count - 1)
    let device = devices[index]
    let sealer = device.ring.account.sealer
    var found: [OperationID: UInt64] = [:]
    let early = Dictionary(grouping: Set(device.store.contents.early.values), by: \.stream)
    for (stream, batches) in device.store.contents.batches.merging(early, uniquingKeysWith: { $0 + $1 }) {
      guard let id = stream.id, let keys = device.performer.members.keys(of: stream.device) else { continue }
      for batch in batches {
        guard case .operations(let content) = try sealer.open(batch.frame, keys: keys).content else { continue }
        for operation in try OperationCodec.decode(content, .run(stream: id, first: batch.first)) {
          found[operation.id] = Self.digest(operation)
        }
      }
    }
    for (id, digest) in written where found[id] != digest {
      throw Violation(promise: "nothing that was acknowledged is missing from the history", detail: "device \(index), \(id.sequence)")
    }
  }

  /// What is shown of writes that did not know of each other is the safest of them.
  func checkProvisional() throws {
    for record in devices[0].store.contents.records.values {
      for conflict in record.conflicts where conflict.field != Operation.recordField {
        let dots = record[conflict.field]?.dots ?? []
        let isSafest: Bool
        switch RecordCatalogue.policy(of: conflict.field, kind: record.kind) {
        case .highestRisk, .maximum, .mostSevere:
          isSafest = dots.allSatisfy { ($0.value?.number ?? -.infinity) <= (conflict.chosen?.value?.number ?? -.infinity) }
        case .kept: isSafest = dots.allSatisfy { $0.id == conflict.chosen?.id || conflict.chosen?.isEarlier(than: $0) ?? false }
        case .latest, .multiValue:
          isSafest = dots.allSatisfy { $0.id == conflict.chosen?.id || $0.isEarlier(than: conflict.chosen ?? $0) }
        case .set, .unionList, .counter: isSafest = true
        }
        guard isSafest else { throw Violation(promise: "what is shown is the safest", detail: "\(record.kind).\(conflict.field)") }
      }
    }
  }

  /// What was raised is active until somebody resolves it who had seen it; and then it is not.
  func checkCrisis(_ contents: MemoryStore.Contents, _ index: Int) throws {
    let active = Set(CrisisState(contents.records[person.crisis]).activations.map(\.id))
    guard raised.subtracting(perhapsResolved).isSubset(of: active) else {
      throw Violation(promise: "no activation is lowered by a device that had not seen it", detail: "device \(index)")
    }
    for (id, ended) in resolved where !active.isDisjoint(with: ended) {
      let holders = devices.indices.filter { devices[$0].store.contents.holds(id) }
      throw Violation(
        promise: "a resolution reaches every device",
        detail: "device \(index); held by \(holders), on the relay \(operations(in: Set(relay.frames)).contains(id)); " + stuck(StreamKey(id.stream), id.sequence, at: index))
    }
  }

  /// Where an operation got stuck, for whoever replays the run.
  func stuck(_ stream: StreamKey, _ sequence: UInt64, at index: Int) -> String {
    let device = devices[index]
    let tag = device.performer.tags.first { $0.value == stream.device }?.key
    let reading = tag.flatMap { device.replica?.inbox[RelayStream(tag: $0, channel: stream.channel)] }
    let owners = devices.indices.filter { devices[$0].id == stream.device }.map { owner -> String in
      let queue = devices[owner].replica?.outbox[stream.channel]
      let missing = devices[owner].replica?.missing.all.count ?? 0
      return """
        owner \(owner) position \(queue?.position ?? 0), sent \(queue?.sent ?? 0), compared \(queue?.isReconciled ?? false), \
        reachable \(devices[owner].replica?.relay.isReachable ?? false), missing \(missing)
        """
    }
    return """
      device \(index), channel \(stream.channel.rawValue), life \(stream.incarnation.rawValue % 10_000), has \
      \(device.store.contents.histories(of: stream).map(\.applied)) of \(sequence); reading \
      \(reading.map { "\($0.position.offset), damaged \($0.isDamaged), waiting \($0.isWaiting), gaps \($0.gaps), bad \($0.bad)" } ?? "none"), \
      reachable \(device.replica?.relay.isReachable ?? false), missing \(device.replica?.missing.all.count ?? 0); \(owners.joined(separator: "; ")); \
      \(devices.indices.map { other in heads(of: stream, tag, at: other) }.joined(separator: "; "))
      """
  }

  private func heads(of stream: StreamKey, _ tag: BlindTag?, at index: Int) -> String {
    let (device, heads) = (devices[index], devices[index].store.contents.histories(of: stream))
    let seen = tag.flatMap { device.replica?.seen(RelayStream(tag: $0, channel: stream.channel)).ends(of: stream) } ?? []
    return """
      \(index): heads \(heads.map { "\($0.batched)/\($0.hash[0])" }), seen \(seen.map { "\($0.sequence)/\($0.hash >> 56)" }), \
      reachable \(device.replica?.relay.isReachable ?? false), under way \(device.replica?.underWay.map { "\($0)".prefix(40) } ?? "nothing"), \
      carrying \(device.replica?.carriage.description ?? "-")
      """
  }

  mutating func fold(_ words: UInt64...) {
    for word in words { trace = (trace ^ word) &* 0x0000_0100_0000_01b3 }
  }
}

extension MemoryStore.Contents {
  /// The histories of a stream, folded or not.
  func histories(of stream: StreamKey) -> [StreamHead] { heads[stream] ?? folded[stream] ?? [] }

  /// Where every lane ends, in every history.
  var ends: [StreamKey: Set<StreamCursor>] {
    heads.merging(folded) { open, _ in open }.filter { $0.key.channel.lane != nil }
      .mapValues { Set($0.filter { $0.batched > 0 }.map(\.cursor)) }.filter { !$0.value.isEmpty }
  }

  func has(_ cursor: StreamCursor, in stream: StreamKey) -> Bool { places[stream]?.contains(cursor) ?? false }

  func holds(_ id: OperationID) -> Bool {
    let isFiled = batches[StreamKey(id.stream)]?.contains { batch in
      batch.first <= id.sequence && id.sequence <= batch.last && batch.marks[Int(id.sequence - batch.first)] == id.mark
    }
    return isFiled ?? false || early[id] != nil
  }
}

extension [UInt8] {
  fileprivate func contains(_ needle: [UInt8]) -> Bool {
    guard count >= needle.count, let first = needle.first else { return false }
    return indices.dropLast(needle.count - 1).contains { self[$0] == first && self[$0..<$0 + needle.count].elementsEqual(needle) }
  }
}
