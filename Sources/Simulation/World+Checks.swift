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
      for (stream, sequence) in device.acknowledged where (contents.heads[stream]?.applied ?? 0) < sequence {
        throw Violation(promise: "no acknowledged operation is lost", detail: "device \(index), \(sequence)")
      }
      for (stream, batches) in contents.batches {
        var next: UInt64 = 1
        for batch in batches {
          guard batch.first == next else {
            throw Violation(promise: "sequence numbers have no gap", detail: "device \(index)")
          }
          if batch.count > 1 { probes.count(.fullBatch) }
          next = batch.last + 1
        }
        guard next - 1 == contents.heads[stream]?.batched ?? 0 else {
          throw Violation(promise: "a cursor is never ahead of what is durable", detail: "device \(index)")
        }
      }
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

  /// Nobody believes more of a device than it has durably.
  func checkPeers(of index: Int) throws {
    guard let replica = devices[index].replica else { return }
    for device in devices {
      for (stream, sequence) in replica.peers.all[device.id]?.heads ?? [:] {
        guard sequence <= device.store.durableContents.heads[stream]?.applied ?? 0 else {
          throw Violation(promise: "a confirmation is never ahead of what is durable", detail: "device \(index)")
        }
      }
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

  var agrees: Bool {
    let first = devices[0].store.contents
    return devices.allSatisfy { device in
      device.store.contents.hash == first.hash && device.store.contents.heads.filter(\.key.isLane) == first.heads.filter(\.key.isLane)
        && device.store.contents.pending.values.allSatisfy(\.isEmpty)
    }
  }

  func checkAgreement() throws {
    let first = devices[0].store.contents
    for (index, device) in devices.enumerated() {
      let contents = device.store.contents
      let behind = first.heads.filter { $0.key.isLane && contents.heads[$0.key] != $0.value }
      guard behind.isEmpty, contents.pending.values.allSatisfy(\.isEmpty) else {
        throw Violation(promise: "all devices hold the same operations in the end", detail: "device \(index)")
      }
      guard contents.hash == first.hash else {
        throw Violation(promise: "the same operations give the same state", detail: "device \(index)")
      }
      try checkCrisis(contents, index)
      for owner in devices {
        for (stream, sequence) in owner.acknowledged where contents.heads[stream]?.applied ?? 0 < sequence {
          throw Violation(
            promise: "no acknowledged operation is lost", detail: stuck(stream, sequence, owner, at: index))
        }
      }
    }
  }

  /// Everything that was acknowledged can be read again from the sealed log of any device, as it was written.
  mutating func checkHistory() throws {
    let index = random.number(0...devices.count - 1)
    let device = devices[index]
    let sealer = device.ring.account.sealer
    var found: [OperationID: UInt64] = [:]
    for (stream, batches) in device.store.contents.batches {
      guard let lane = stream.channel.lane, let key = device.performer.members.signingKey(of: stream.device) else { continue }
      for batch in batches {
        guard case .operations(let content) = try sealer.open(batch.frame, signingKey: key).content else { continue }
        let identities = OperationCodec.Identities.run(stream: StreamID(device: stream.device, lane: lane), first: batch.first)
        for operation in try OperationCodec.decode(content, identities) { found[operation.id] = Self.digest(operation) }
      }
    }
    for owner in devices {
      for (stream, last) in owner.acknowledged {
        guard let lane = stream.channel.lane else { continue }
        for sequence in 1...last {
          let id = OperationID(stream: StreamID(device: stream.device, lane: lane), sequence: sequence)
          guard let digest = found[id], written[id].map({ $0 == digest }) ?? true else {
            throw Violation(promise: "nothing that was acknowledged is missing from the history", detail: "device \(index), \(sequence)")
          }
        }
      }
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
    guard active.isDisjoint(with: resolved) else {
      throw Violation(promise: "a resolution reaches every device", detail: "device \(index)")
    }
  }

  /// Where an operation got stuck, for whoever replays the run.
  func stuck(_ stream: StreamKey, _ sequence: UInt64, _ owner: Device, at index: Int) -> String {
    let device = devices[index]
    let tag = device.performer.tags.first { $0.value == stream.device }?.key
    let reading = tag.flatMap { device.replica?.inbox[RelayStream(tag: $0, channel: stream.channel)] }
    let queue = owner.replica?.outbox[stream.channel]
    return """
      device \(index), channel \(stream.channel.rawValue), has \(device.store.contents.heads[stream]?.applied ?? 0) \
      of \(sequence); reading \(reading.map { "\($0.position.offset), damaged \($0.isDamaged), waiting \($0.isWaiting)" } ?? "none"); \
      owner batched \(queue?.batched ?? 0), accepted \(queue?.accepted ?? 0), reconciled \(queue?.isReconciled ?? false), \
      reachable \(owner.replica?.relay.isReachable ?? false)
      """
  }

  mutating func fold(_ words: UInt64...) {
    for word in words { trace = (trace ^ word) &* 0x0000_0100_0000_01b3 }
  }
}

extension StreamKey {
  fileprivate var isLane: Bool { channel.lane != nil }
}

extension [UInt8] {
  fileprivate func contains(_ needle: [UInt8]) -> Bool {
    guard count >= needle.count, let first = needle.first else { return false }
    return indices.dropLast(needle.count - 1).contains { self[$0] == first && self[$0..<$0 + needle.count].elementsEqual(needle) }
  }
}
