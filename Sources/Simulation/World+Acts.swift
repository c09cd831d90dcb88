import Causality
import Crypto
import Replica
import Therapy

extension World {
  mutating func act(_ index: Int) throws {
    guard devices[index].replica != nil else { return }
    if random.happens(permille: devices[index].store.isFull ? 500 : faults.pastStore) { return try actPastStore(index) }
    armPowerCut(index)
    try commit(person.act(on: devices[index].store.contents, using: &random), on: index)
  }

  /// The person settles what waits, on every device before it knows of what was decided on the others.
  mutating func decide() throws {
    for index in devices.indices { try commit(person.decide(on: devices[index].store.contents, using: &random), on: index) }
  }

  mutating func commit(_ drafts: [Draft], on index: Int) throws {
    let wall = moment(index).wall
    for draft in drafts where draft.field == "active" { perhapsResolved.formUnion(draft.replaces ?? []) }
    do {
      let id = devices[index].id
      let operations = try devices[index].store.write { transaction in
        try transaction.withLedger { try $0.commit(drafts, by: id, wall: wall, using: &random) }
      }
      for operation in operations {
        devices[index].acknowledged[StreamKey(operation.id.stream)] = operation.id.sequence
        try remember(operation)
        noteCrisis(operation)
        try noteDecision(operation)
      }
      if random.happens(permille: 300) { try deliverAsSibling(index) }
      try feed(index, .committed(devices[index].store.read { try $0.ownReport(of: devices[index].ring) }))
    } catch is PowerCut { powerCut(index) } catch is MemoryStore.DiskFull {} catch is MemoryStore.Unreadable {}
  }

  private mutating func noteCrisis(_ operation: Operation) {
    guard operation.kind == RecordCatalogue.crisis.kind, operation.field == "active" else { return }
    if case .add = operation.mutation {
      raised.insert(operation.id)
      let others = devices.indices.filter { devices[$0].id != operation.id.stream.device }
      household.underWay.append((operation.id, now, Set(others)))
    } else { resolved[operation.id] = operation.replaces }
  }

  private mutating func noteDecision(_ operation: Operation) throws {
    guard let decision = operation.decision else { return }
    let isAssisted = decision.method == ConflictMethod.assistant.rawValue
    probes.count(isAssisted ? .assisted : .decided)
    if !decided.isDisjoint(with: operation.replaces) { probes.count(.decidedApart) }
    decided.formUnion(operation.replaces)
    guard !isAssisted || ConflictRule.isForAssistant(kind: operation.kind, field: operation.field) else {
      throw Violation(promise: "the assistant keeps out of what is about safety", detail: "\(operation.kind).\(operation.field)")
    }
  }

  /// What a process does that saves but does not exchange: it cuts what it saved, and appends that to
  /// the relay itself. The exchanging process learns of it from the relay, or not at all.
  mutating func deliverAsSibling(_ index: Int) throws {
    let device = devices[index]
    guard let tag = device.performer.tags.first(where: { $0.value == device.id })?.key else { return }
    for lane in Lane.allCases {
      let departure = try device.store.write { transaction -> (StoredBatch, [UInt8]?)? in
        guard let batch = try BatchCutter(ring: device.ring).cut(lane, in: &transaction, using: &random) else { return nil }
        let position = try transaction.ownProgress(of: device.id)[batch.stream.channel]?.position ?? 0
        return (batch, try transaction.ownBatch(batch.stream.channel, before: position)?.frame)
      }
      guard let (batch, previous) = departure else { continue }
      let stream = RelayStream(tag: tag, channel: batch.stream.channel)
      guard (try? device.connection.appendNext(batch.frame, after: previous, to: stream)) == true else { continue }
      probes.count(.siblingAppend)
      notify(from: index)
      if isCalm || !random.happens(permille: faults.lostNotifications) {
        schedule(index, .event(.relayChanged([stream]), run: device.run), after: delay())
      }
    }
  }

  mutating func remember(_ operation: Operation) throws {
    let id = operation.id
    if let mark = numbers[id.stream, default: [:]].updateValue(id.mark, forKey: id.sequence), mark != id.mark, !mayFork {
      throw Violation(promise: "a sequence number is never used twice", detail: "\(id)")
    }
    written[id] = Self.digest(operation)
  }

  static func digest(_ operation: Operation) -> UInt64 {
    let bytes = OperationCodec.encode([operation], .explicit)
    return Array(SHA256.hash(data: bytes)).prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
  }
}
