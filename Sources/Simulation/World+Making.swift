import Causality
import Crypto
import Relays
import Replica
import Sealing
import Therapy

extension World {
  /// - Parameters:
  ///   - seed: Determines everything.
  ///   - deviceCount: From 2 upwards.
  package init(seed: UInt64, deviceCount: Int = 3, faults: Faults = Faults(), sabotage: Sabotage? = nil) throws {
    random = SeededRandom(seed: seed)
    isPolled = seed.isMultiple(of: 2)
    self.faults = faults
    self.sabotage = sabotage
    let root = try Curve25519.Signing.PrivateKey(rawRepresentation: random.bytes(32))
    let account = AccountKeys(
      account: random.bytes(16), rootKey: Array(root.publicKey.rawRepresentation), tagKey: random.bytes(32),
      epochKeys: [EpochKey(epoch: 1, bytes: random.bytes(32))])
    person = Person(account: account.account, using: &random)
    var members = Members(rootKey: account.rootKey)
    var rings: [KeyRing] = []
    for number in 0..<deviceCount {
      let keys = try DeviceKeys(using: &random)
      let certificate = DeviceCertificate(
        device: DeviceID(using: &random), name: "device \(number)", kind: "laptop", keys: keys, created: 0)
      let signature = try certificate.signedBy(keys)
      let entry =
        try rings.first.map {
          try members.admitting(certificate, deviceSignature: signature, by: $0.device, keys: $0.keys)
        } ?? members.founding(certificate, deviceSignature: signature, root: root)
      _ = try members.accept(entry)
      rings.append(KeyRing(account: account, device: certificate.device, keys: keys))
    }
    for ring in rings { devices.append(try makeDevice(ring, members)) }
    for index in devices.indices { try boot(index) }
    try inviteContacts()
    for index in household.contacts.indices { schedule(index, .read, after: milliseconds(500)) }
    for index in devices.indices {
      schedule(index, .act, after: milliseconds(random.number(0...400)))
      if isPolled { schedule(index, .poll, after: milliseconds(1_000)) }
    }
  }

  mutating func makeDevice(_ ring: KeyRing, _ members: Members) throws -> Device {
    var contents = MemoryStore.Contents()
    contents.membership = members.log
    let store = MemoryStore(contents)
    store.syncsCommits = sabotage != .lazyDisk
    let tag = BlindTag(bytes: ring.account.sealer.tags.device(ring.device))
    let connection = SimulatedConnection(relay.connection(of: tag), seed: random.next())
    connection.faults = faults
    let probes = probes
    connection.met = { probes.count($0) }
    let performer = try EffectPerformer(store: store, relay: connection, ring: ring, incarnation: random.next())
    var device = Device(id: ring.device, ring: ring, store: store, connection: connection, performer: performer)
    device.skewMilliseconds = faults.skewSeconds == 0 ? 0 : random.number(-faults.skewSeconds...faults.skewSeconds) * 1_000
    return device
  }

  mutating func boot(_ index: Int) throws {
    let device = devices[index]
    devices[index].life += 1
    (devices[index].watch, devices[index].crisisHash, devices[index].connectedSince) = (CrisisWatch(), nil, now)
    devices[index].performer = try EffectPerformer(
      store: device.store, relay: device.connection, ring: device.ring, incarnation: random.next())
    devices[index].replica = Replica(
      device: device.id, members: devices[index].performer.tags,
      heads: try device.store.read { try $0.heads(of: device.id) }, remembered: [:], tier: .selfHosted, usedToday: 0,
      now: moment(index))
    try feed(index, .timer)
  }
}
