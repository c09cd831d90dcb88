import Causality
import Crisis
import Relays
import Replica
import Sealing
import Therapy

/// What goes wrong around the devices.
extension World {
  mutating func stir() throws {
    if images.count < 4, random.happens(permille: 10) { images.append(relay.image) }
    try stirRelay()
    let index = random.number(0...devices.count - 1)
    stirConnection(index)
    try stirHome(index)
  }

  private mutating func stirRelay() throws {
    if random.happens(permille: faults.wipes) {
      relay.wipe()
      probes.count(.wiped)
      disturb()
      forgetWhatNobodyHas()
      // Somebody finds that the relay is lost, and says on one device that the new one is meant.
      schedule(random.number(0...devices.count - 1), .adopt, after: milliseconds(random.number(200...4_000)))
    }
    if let image = images.first, random.happens(permille: faults.rollbacks) {
      relay.restore(image)
      probes.count(.rolledBack)
      disturb()
      forgetWhatNobodyHas()
    }
    if random.happens(permille: faults.damage), let stream = relay.streams.randomElement(using: &random),
      relay.damage(stream, frame: random.number(0...99), byte: random.number(0...9_999))
    {
      probes.count(.damaged)
      disturb()
      forgetWhatNobodyHas()
      notifyAll(.stream(stream))
    }
    if random.happens(permille: faults.junk), let account = devices.first?.ring.account {
      let boards = household.contacts.map { NoticeBoard($0.link) } + [NoticeBoard(account)]
      let bytes = random.happens(permille: 300) ? nil : random.bytes(random.number(0...200))
      relay.litter(boards[random.number(0...boards.count - 1)].name, ahead: UInt64(random.number(1...3)), bytes)
      probes.count(.junk)
    }
    if random.happens(permille: faults.keyless),
      let stream = relay.streams.filter({ $0.channel == Channel(.crisis) && !$0.isCarried }).randomElement(using: &random),
      let frame = relay.frame(stream, random.number(0...99))
    {
      let junk = (0..<random.number(1...20)).map { _ in BlindHeader.underNoKey(frame, random.bytes(8)) }
      relay.slip(junk, into: stream, atFront: random.happens(permille: 500))
      probes.count(.keyless)
      notifyAll(.stream(stream))
    }
    if random.happens(permille: faults.delayedFiles), let stream = relay.streams.randomElement(using: &random),
      let show = relay.hold(stream, back: random.number(1...3))
    {
      probes.count(.delayedFile)
      disturb()
      heldFiles += 1
      schedule(0, .release(stream, show), after: milliseconds(random.number(200...6_000)))
    }
  }

  private mutating func stirConnection(_ index: Int) {
    guard devices[index].partitionEnds < now else { return }
    if devices[index].connection.isPartitioned { devices[index].connectedSince = now }
    devices[index].connection.isPartitioned = false
    if random.happens(permille: faults.partitions) {
      devices[index].connection.isPartitioned = true
      devices[index].connectedSince = .max
      devices[index].partitionEnds = now + milliseconds(random.number(500...6_000))
      probes.count(.partition)
    }
    if random.happens(permille: faults.unmounts), !devices[index].connection.isAway {
      // The folder is empty, or another relay lies there.
      devices[index].connection.isAway = true
      devices[index].connectedSince = .max
      probes.count(.unmounted)
      schedule(index, .back, after: milliseconds(random.number(300...5_000)))
    }
  }

  private mutating func stirHome(_ index: Int) throws {
    if devices[index].images.count < 3, random.happens(permille: 25) {
      devices[index].images.append(
        StoreImage(
          contents: devices[index].store.durableContents, journal: devices[index].journal, acknowledged: devices[index].acknowledged,
          relay: relay.image, identity: relay.identity))
    }
    if random.happens(permille: faults.enrolments) { try enrol(index) }
    // Until it has answered the newcomer nobody else knows of it.
    guard devices[index].admitting == nil else { return }
    if random.happens(permille: faults.putBacks), let image = devices[index].images.randomElement(using: &random) {
      try putBack(index, image)
    }
    if random.happens(permille: faults.clones), devices.count < 5, devices[index].admitting == nil { try clone(index) }
    if random.happens(permille: faults.stops), devices[index].replica != nil, devices[index].stoppedUntil <= now { try stop(index) }
    if random.happens(permille: faults.fullDisks) {
      devices[index].store.isFull.toggle()
    } else if devices[index].store.isFull, random.happens(permille: 200) {
      devices[index].store.isFull = false
    }
    stirRows(index)
    if random.happens(permille: faults.takeIns) { try takeIn(index) }
    if random.happens(permille: faults.clockJumps), faults.skewSeconds > 0 {
      devices[index].skewMilliseconds = random.number(-faults.skewSeconds...faults.skewSeconds) * 1_000
      probes.count(.clockJump)
    }
  }

  /// A record or the rows of a stream are damaged, and readable again after a while, as they are when the disk was at fault.
  private mutating func stirRows(_ index: Int) {
    if devices[index].unreadableUntil <= now { devices[index].store.unreadable = nil }
    guard random.happens(permille: faults.unreadableRows) else { return }
    let contents = devices[index].store.contents
    let records = contents.records.keys.sorted().map { MemoryStore.Row.record($0) }
    let rows = random.happens(permille: 600) ? records : contents.batches.keys.sorted().map { .batches($0) }
    guard let row = rows.randomElement(using: &random) else { return }
    devices[index].store.unreadable = row
    devices[index].unreadableUntil = now + milliseconds(random.number(500...6_000))
    devices[index].connectedSince = max(devices[index].unreadableUntil, devices[index].connectedSince)
  }

  /// A command takes in what others have put on the relay about a crisis; the process that exchanges may hear of it or not.
  private mutating func takeIn(_ index: Int) throws {
    guard devices[index].replica != nil else { return }
    let connection = devices[index].connection.another(seed: random.next())
    guard var performer = try? EffectPerformer(store: devices[index].store, relay: connection, ring: devices[index].ring, run: random.next())
    else { return }
    var hasChanged = false
    armPowerCut(index)
    do {
      for tag in performer.tags.keys.sorted() where tag != performer.ownTag {
        for isCarried in [false, true] {
          let file = RelayStream(tag: tag, channel: Channel(.crisis), isCarried: isCarried)
          guard let frames = try? connection.frames(in: file), !frames.isEmpty else { continue }
          var outcome = ApplyOutcome(next: .start)
          try performer.take(frames, from: file, limit: moment(index).wall, &outcome)
          hasChanged = hasChanged || !outcome.changes.isEmpty
        }
      }
    } catch is PowerCut { return powerCut(index) } catch is MemoryStore.DiskFull {} catch is MemoryStore.Unreadable {}
    guard hasChanged else { return }
    probes.count(.takenIn)
    guard random.happens(permille: 700), devices[index].stoppedUntil <= now else { return }
    try feed(index, .committed(devices[index].store.read { try $0.ownReport(of: devices[index].ring) }))
  }

  // MARK: Idle

  /// What a rule that never forgets takes for a loop.
  static let loop = 1_500

  /// Nobody does anything for ten minutes; then a crisis is raised, and is everywhere as quickly as ever.
  mutating func idle() throws {
    guard random.happens(permille: faults.idleWorlds) else { return }
    let end = now + 600_000_000_000
    try pass(until: end)
    probes.count(.idle)
    guard devices.allSatisfy({ $0.replica != nil }) else { return }
    for index in devices.indices { devices[index].connectedSince = end }
    let level = CrisisLevel.severe
    try commit([CrisisState.activation(level, source: "person", record: person.crisis)], on: random.number(0...devices.count - 1))
    try pass(until: now + 2 * crisisBound)
  }

  private mutating func pass(until end: UInt64) throws {
    while let (at, entry) = queue.pop() {
      if at > end { return queue.push(entry, at: at) }
      now = max(now, at)
      if case .act = entry.item { continue }
      try step(entry.device, entry.item)
      if !household.underWay.isEmpty { try checkReach() }
    }
  }

  // MARK: Newcomers

  /// Lets one device in, or two at once on two devices.
  private mutating func enrol(_ index: Int) throws {
    guard devices.count < 6 else { return }
    var admitters = [index]
    if random.happens(permille: 500) { admitters.append(random.number(0...devices.count - 1)) }
    if admitters.count == 2 { probes.count(.enrolledTwice) }
    for admitter in admitters where devices[admitter].admitting == nil && devices[admitter].replica != nil { try admit(by: admitter) }
  }

  private mutating func admit(by index: Int) throws {
    armPowerCut(index)
    let keys = try DeviceKeys(using: &random)
    let certificate = DeviceCertificate(device: DeviceID(using: &random), name: "newcomer", kind: "phone", keys: keys, created: 0)
    do {
      _ = try devices[index].performer.admit(certificate, signature: try certificate.signedBy(keys), now: moment(index), using: &random) { _, _ in }
    } catch is PowerCut { return powerCut(index) } catch is MemoryStore.DiskFull { return } catch is MemoryStore.Unreadable { return }
    probes.count(.enrolled)
    devices[index].admitting = certificate.device
    let tags = devices[index].performer.tags
    devices[index].replica?.learn(tags)
    try feed(index, .committed(devices[index].store.read { try $0.ownReport(of: devices[index].ring) }))
    schedule(index, .begin(KeyRing(account: devices[index].ring.account, device: certificate.device, keys: keys)), after: milliseconds(500))
  }

  /// A device that was let in begins. Who let it in may not have said so on the relay yet, and may forget it at once: the
  /// newcomer makes itself known.
  mutating func begin(_ ring: KeyRing, admittedBy index: Int) throws {
    devices[index].admitting = nil
    let members = devices[index].performer.members
    let (kit, emergency) = try emergency(ring)
    devices.append(try makeDevice(ring, members, kit))
    let place = devices.count - 1
    try devices[place].store.write { transaction in
      try transaction.appendMembership(emergency)
      let cutter = BatchCutter(ring: ring)
      for entry in members.introduction(of: ring.device) + [emergency] { try cutter.file(membership: entry, in: &transaction, using: &random) }
    }
    devices[place].introduction = try devices[place].store.read { try $0.ownBatches(.membership, after: 0, limit: Limits.introducedBy).map(\.batch.frame) }
    schedule(place, .act, after: milliseconds(random.number(0...400)))
    if isPolled { schedule(place, .poll, after: milliseconds(1_000)) }
    guard random.happens(permille: 400) else { return try boot(place) }
    // Its first exchange is cut short: it is raised from, and exchanges later.
    probes.count(.beganLate)
    try actPastStore(place)
    schedule(place, .restart, after: milliseconds(random.number(500...4_000)))
    if random.happens(permille: 500), faults.putBacks > 0, let image = devices[index].images.randomElement(using: &random) { try putBack(index, image) }
  }

  // MARK: Homes

  /// The files of a device are put back to an earlier moment, sometimes with the relay.
  mutating func putBack(_ index: Int, _ image: StoreImage) throws {
    let withRelay = random.happens(permille: 300) && image.identity == relay.identity
    // A mark shows most copies; a machine that is put back as a whole shows nothing.
    let isNoticed = random.happens(permille: 600)
    if !isNoticed { mayFork = true }
    let provesNothing = isNoticed && sabotage != .reusesNumbers
    probes.count(isNoticed ? .putBack : .putBackUnnoticed)
    if withRelay {
      relay.restore(image.relay)
      probes.count(.putBackWithRelay)
      disturb()
    }
    devices[index].store.putBack(image.contents, isNoticed: provesNothing)
    (devices[index].acknowledged, devices[index].journal, devices[index].unkept) = (image.acknowledged, image.journal, [])
    devices[index].wasPutBack = true
    forgetWhatNobodyHas()
    devices[index].replica = nil
    devices[index].connectedSince = .max
    devices[index].run += 1
    schedule(index, .restart, after: milliseconds(random.number(0...3_000)))
  }

  /// A home is copied, and both are used.
  mutating func clone(_ index: Int) throws {
    let isNoticed = random.happens(permille: 500)
    if !isNoticed { mayFork = true }
    probes.count(.cloned)
    var copy = try makeDevice(devices[index].ring, devices[index].performer.members, devices[index].emergency.kit)
    copy.journal = devices[index].journal
    copy.store.putBack(devices[index].store.durableContents, isNoticed: isNoticed)
    copy.acknowledged = devices[index].acknowledged
    copy.wasPutBack = true
    devices[index].wasPutBack = true
    devices.append(copy)
    try boot(devices.count - 1)
    schedule(devices.count - 1, .act, after: milliseconds(random.number(0...400)))
    if isPolled { schedule(devices.count - 1, .poll, after: milliseconds(1_000)) }
  }

  /// What was acknowledged, and is neither in a store nor on the relay any more, cannot come back; nor can what
  /// follows it in its stream.
  mutating func forgetWhatNobodyHas() {
    guard mayLose || devices.contains(where: \.wasPutBack) else { return }
    var frames = Set(relay.frames)
    var known = Set<OperationID>()
    for device in devices {
      let contents = device.store.durableContents
      known.formUnion(contents.pending.values.flatMap { $0.map(\.id) })
      known.formUnion(contents.early.keys)
      frames.formUnion(device.journal + device.unkept)
      for batches in contents.batches.values { frames.formUnion(batches.map(\.frame)) }
    }
    known.formUnion(operations(in: frames))
    written = written.filter { known.contains($0.key) }
    raised.formIntersection(known)
    household.underWay.removeAll { !known.contains($0.id) }
    resolved = resolved.filter { known.contains($0.key) }
  }

  private func operations(in frame: [UInt8], _ keys: MemberKeys, _ stream: StreamID, _ first: UInt64, _ sealer: BatchSealer) -> [OperationID]? {
    if let known = opened.value[frame] { return known }
    guard case .operations(let content)? = try? sealer.open(frame, keys: keys).content,
      let operations = try? OperationCodec.decode(content, .run(stream: stream, first: first))
    else { return nil }
    opened.value[frame] = operations.map(\.id)
    return opened.value[frame]
  }

  /// The operations in frames that can be opened, and that everything is there for which they follow.
  func operations(in frames: Set<[UInt8]>) -> Set<OperationID> {
    var streams: [StreamKey: [StreamCursor: [(frame: [UInt8], first: UInt64, hash: [UInt8])]]] = [:]
    let sealer = devices[0].ring.account.sealer
    for frame in frames {
      guard let header = BlindHeader(frame), let owner = devices.first(where: { BlindTag(of: $0.id, sealer) == header.tag }) else { continue }
      let key = StreamKey(device: owner.id, incarnation: header.incarnation, channel: header.channel)
      let before = StreamCursor(sequence: header.first - 1, hash: header.previous)
      streams[key, default: [:]][before, default: []].append((frame, header.first, BatchSealer.hash(of: frame)))
    }
    var found = Set<OperationID>()
    for (key, followers) in streams {
      guard let id = key.id, let keys = devices.compactMap({ $0.performer.members.keys(of: key.device) }).first else { continue }
      var ends = [StreamCursor(sequence: 0, hash: noPreviousHash)]
      while let end = ends.popLast() {
        for next in followers[end] ?? [] {
          guard let operations = operations(in: next.frame, keys, id, next.first, sealer) else { continue }
          found.formUnion(operations)
          ends.append(StreamCursor(sequence: next.first + UInt64(operations.count) - 1, hash: next.hash))
        }
      }
    }
    return found
  }

  /// The sync leader of a device is stopped, in the middle of what it does; another process leads after a while.
  private mutating func stop(_ index: Int) throws {
    guard let replica = devices[index].replica else { return }
    probes.count(.stopped)
    devices[index].stoppedUntil = now + milliseconds(random.number(2_000...6_000))
    devices[index].connectedSince = .max
    devices[index].run += 1
    devices[index].connection = devices[index].connection.another(seed: random.next())
    if let effect = replica.underWay {
      schedule(index, .late(devices[index].performer, effect), after: milliseconds(random.number(1_000...9_000)))
    }
    schedule(index, .restart, after: devices[index].stoppedUntil - now)
  }

  /// Which relay is meant from now on is said on one device; the others hear of it from that one.
  mutating func adoptRelay() throws {
    // Nobody believes a device that it does not know: the person has to say so there as well.
    let first = random.number(0...devices.count - 1)
    let unknowing = devices.indices.filter { devices[$0].performer.tags.values.allSatisfy { $0 != devices[first].id } }
    for index in [first] + unknowing {
      devices[index].connection.adopt(relay.identity)
      if devices[index].replica != nil { try feed(index, .syncRequested) }
    }
    probes.count(.relayAdopted)
  }
}
