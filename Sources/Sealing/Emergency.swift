import Causality
import Crypto
import Foundation
import WireFormat

/// What the other devices need to open and believe what a device writes in an emergency.
package struct EmergencyKey: Sendable, Hashable {
  /// Ed25519, 32 bytes.
  package let signingKey: [UInt8]
  /// 32 bytes.
  package let sealing: [UInt8]

  init(signingKey: [UInt8], sealing: [UInt8]) { (self.signingKey, self.sealing) = (signingKey, sealing) }

  /// - Throws: ``SealingError/malformed``, ``SealingError/unacceptableKey``.
  package init(bytes: [UInt8]) throws(SealingError) {
    guard let wire = try? WireEmergencyKey(serializedBytes: bytes), wire.sealingKey.count == 32 else { throw .malformed }
    _ = try Curve25519.Signing.PublicKey(admitting: Array(wire.signingKey))
    self.init(signingKey: Array(wire.signingKey), sealing: Array(wire.sealingKey))
  }

  package var bytes: [UInt8] {
    var wire = WireEmergencyKey()
    wire.signingKey = Data(signingKey)
    wire.sealingKey = Data(sealing)
    return wire.encoded
  }

  /// Names the key in a header: no ciphertext can be made to open under two of them.
  var id: [UInt8] { Array(LabelledInput("fullmind/1/emergency key id", sealing).sha256.prefix(8)) }

  var signing: Curve25519.Signing.PublicKey {
    // Checked when it was read; a key that is none opens nothing.
    guard let key = try? Curve25519.Signing.PublicKey(rawRepresentation: signingKey) else {
      preconditionFailure("an emergency key is checked before it is kept")
    }
    return key
  }
}

/// All that is needed to raise a crisis when nothing else can be opened: it lies beside the store, outside of the
/// passphrase. Whoever has it can raise a crisis in the name of this device and take that one back, and nothing else.
package struct EmergencyKit: Sendable {
  package let accountTag: [UInt8]
  package let deviceTag: [UInt8]
  package let device: DeviceID
  /// The crisis record of the account.
  package let record: RecordID
  private let signing: Curve25519.Signing.PrivateKey
  private let sealing: [UInt8]
  /// Where the devices of the account meet.
  package var relay: String
  package var relayIdentity: UInt64

  /// Makes new keys.
  package init(
    for ring: KeyRing, record: RecordID, relay: String, relayIdentity: UInt64, using random: inout some RandomNumberGenerator
  ) throws {
    let tags = ring.account.sealer.tags
    (accountTag, deviceTag, device) = (tags.account, tags.device(ring.device), ring.device)
    (self.record, self.relay, self.relayIdentity) = (record, relay, relayIdentity)
    signing = try .init(rawRepresentation: random.bytes(32))
    sealing = random.bytes(32)
  }

  /// What the other devices are told, in a signed entry.
  package var key: EmergencyKey { EmergencyKey(signingKey: Array(signing.publicKey.rawRepresentation), sealing: sealing) }

  /// Whether it is a kit of this very device; one that a copied folder brought along is none.
  package func belongs(to ring: KeyRing) -> Bool {
    device == ring.device && accountTag == ring.account.sealer.tags.account
  }

  package var bytes: [UInt8] {
    var wire = WireEmergencyHome()
    wire.accountTag = Data(accountTag)
    wire.deviceTag = Data(deviceTag)
    wire.device = Data(device.bytes)
    wire.record = Data(record.bytes)
    wire.signingSeed = signing.rawRepresentation
    wire.sealingKey = Data(sealing)
    wire.relay = relay
    wire.relayIdentity = relayIdentity
    return wire.encoded
  }

  /// - Throws: ``SealingError/malformed``.
  package init(bytes: [UInt8]) throws(SealingError) {
    guard let wire = try? WireEmergencyHome(serializedBytes: bytes), wire.accountTag.count == 16, wire.deviceTag.count == 16,
      let device = DeviceID(bytes: wire.device), let record = RecordID(bytes: wire.record), wire.sealingKey.count == 32,
      let signing = try? Curve25519.Signing.PrivateKey(rawRepresentation: wire.signingSeed)
    else { throw .malformed }
    (accountTag, deviceTag, self.device, self.record) = (Array(wire.accountTag), Array(wire.deviceTag), device, record)
    (self.signing, sealing) = (signing, Array(wire.sealingKey))
    (relay, relayIdentity) = (wire.relay, wire.relayIdentity)
  }

  /// Signs and seals operations of the emergency journal.
  package func seal(
    _ operations: [UInt8], incarnation: Incarnation, first: UInt64, count: UInt64, previous: [UInt8],
    using random: inout some RandomNumberGenerator
  ) throws -> [UInt8] {
    let header = BatchHeader(
      channel: Lane.crisis.rawValue, account: accountTag, device: deviceTag, incarnation: incarnation,
      epoch: BatchHeader.emergencyEpoch, keyID: key.id, first: first, previous: previous)
    return try BatchSealer.seal(
      .operations(operations), header, count: count, headsDigest: [], secret: SymmetricKey(data: sealing),
      signing: signing, using: &random)
  }

  /// Opens what this device wrote in its emergency journal.
  ///
  /// - Throws: ``SealingError``.
  package func open(_ frame: [UInt8]) throws(SealingError) -> OpenedBatch {
    let header = try BatchHeader(frame: frame)
    guard header.account == accountTag, header.device == deviceTag else { throw .otherAccount }
    guard header.epoch == BatchHeader.emergencyEpoch else { throw .unknownEpoch(header.epoch) }
    return try BatchSealer.open(frame, header, emergency: [key])
  }
}

/// What is done next where a device has no key for emergencies: its secret is durable before anybody is told of it, and as
/// long as one waits to get into its place no other is signed. However often a step fails, the signed log grows once.
package enum EmergencyKeyStep: Sendable {
  /// There is one, or the person did not want one.
  case nothing
  /// Make a kit, and write it beside its place.
  case make
  /// A kit lies beside its place: tell the other devices of it, in a signed entry.
  case announce(EmergencyKit)
  /// They are told: put it in its place.
  case place(EmergencyKit)
  /// The others take no further key of this device: ``Limits/emergencyKeys``.
  case usedUp

  /// - Parameters:
  ///   - pending: The kit of this device that lies beside its place.
  ///   - announced: Keys that the device has told the others of; none where the person did not want one.
  package init(pending: EmergencyKit?, announced: [EmergencyKey]) {
    if announced.isEmpty {
      self = .nothing
    } else if let pending, announced.contains(pending.key) {
      self = .place(pending)
    } else if announced.count >= Limits.emergencyKeys {
      self = .usedUp
    } else {
      self = pending.map(Self.announce) ?? .make
    }
  }
}
