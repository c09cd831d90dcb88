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
      let change = rings.isEmpty ? MembershipEntry.Change.found(certificate) : .admit(certificate)
      let entry = try MembershipEntry.signed(
        change, signer: rings.first?.device, deviceSignature: signature, wall: 0, key: rings.first?.keys.signing ?? root)
      _ = members.accept(entry)
      rings.append(KeyRing(account: account, device: certificate.device, keys: keys))
    }
    var kits: [EmergencyKit] = []
    for ring in rings {
      let (kit, entry) = try emergency(ring)
      _ = members.accept(entry)
      kits.append(kit)
    }
    for (ring, kit) in zip(rings, kits) { devices.append(try makeDevice(ring, members, kit)) }
    for index in devices.indices { try boot(index) }
    try inviteContacts()
    for index in household.contacts.indices { schedule(index, .read, after: milliseconds(500)) }
    for index in devices.indices {
      schedule(index, .act, after: milliseconds(random.number(0...400)))
      if isPolled { schedule(index, .poll, after: milliseconds(1_000)) }
    }
  }

  /// With what a device writes past its store, and the entry that says so.
  mutating func emergency(_ ring: KeyRing) throws -> (EmergencyKit, [UInt8]) {
    let kit = try EmergencyKit(for: ring, record: person.crisis, relay: "", relayIdentity: relay.identity, using: &random)
    return (kit, try MembershipEntry.signed(.emergency(kit.key), signer: ring.device, wall: 0, key: ring.keys.signing))
  }

  mutating func makeDevice(_ ring: KeyRing, _ members: Members, _ kit: EmergencyKit) throws -> Device {
    var contents = MemoryStore.Contents()
    contents.membership = members.log
    let store = MemoryStore(contents)
    (store.syncsCommits, store.passesOver) = (sabotage != .lazyDisk, sabotage == .passesOverDamage)
    let tag = BlindTag(bytes: ring.account.sealer.tags.device(ring.device))
    let connection = SimulatedConnection(relay.connection(of: tag, meaning: relay.identity), seed: random.next())
    connection.faults = isCalm ? nil : faults
    let probes = probes
    connection.met = { probes.count($0) }
    let performer = try EffectPerformer(store: store, relay: connection, ring: ring, run: random.next())
    var device = Device(
      id: ring.device, ring: ring, store: store, connection: connection, performer: performer, emergency: EmergencyWriter(kit))
    device.skewMilliseconds = isCalm || faults.skewSeconds == 0 ? 0 : random.number(-faults.skewSeconds...faults.skewSeconds) * 1_000
    return device
  }

  mutating func boot(_ index: Int) throws {
    let device = devices[index]
    devices[index].run += 1
    devices[index].journalIsDue = true
    (devices[index].watch, devices[index].seen, devices[index].connectedSince) = (CrisisWatch(), nil, now)
    devices[index].effects = 0
    let performer = try EffectPerformer(
      store: device.store, relay: device.connection, ring: device.ring, run: random.next())
    devices[index].performer = performer
    devices[index].replica = Replica(device: device.id, try performer.beginning(), now: moment(index))
    try feed(index, .timer)
  }
}
