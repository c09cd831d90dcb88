import Causality
import Crypto
import Foundation
import WireFormat

/// A device as the account knows it. Names and kinds shown to people live in records; these are the
/// ones it joined with.
package struct DeviceCertificate: Sendable, Hashable {
  package var device: DeviceID
  package var name: String
  package var kind: String
  package var signingKey: [UInt8]
  package var agreementKey: [UInt8]
  /// Milliseconds since 1970, by the device's own clock.
  package var created: UInt64

  package init(device: DeviceID, name: String, kind: String, keys: DeviceKeys, created: UInt64) {
    self.device = device
    self.name = name
    self.kind = kind
    signingKey = Array(keys.signing.publicKey.rawRepresentation)
    agreementKey = Array(keys.agreement.publicKey.rawRepresentation)
    self.created = created
  }

  /// - Throws: ``SealingError/malformed``, ``SealingError/unacceptableKey``.
  package init(bytes: [UInt8]) throws(SealingError) {
    guard
      let wire = try? WireDeviceCertificate(serializedBytes: bytes), wire.version == 1,
      let device = DeviceID(bytes: wire.device), wire.name.utf8.count <= 4 * Limits.deviceNameCharacters,
      wire.kind.utf8.count <= Limits.nameBytes, wire.agreementKey.count == 1_216
    else { throw .malformed }
    _ = try Curve25519.Signing.PublicKey(admitting: Array(wire.signingKey))
    self.device = device
    name = wire.name
    kind = wire.kind
    signingKey = Array(wire.signingKey)
    agreementKey = Array(wire.agreementKey)
    created = wire.createdMs
  }

  package var bytes: [UInt8] {
    var wire = WireDeviceCertificate()
    wire.version = 1
    wire.device = Data(device.bytes)
    wire.name = name
    wire.kind = kind
    wire.signingKey = Data(signingKey)
    wire.agreementKey = Data(agreementKey)
    wire.createdMs = created
    return wire.encoded
  }

  /// Proof that the device holds its key and wants exactly this certificate.
  package func signedBy(_ keys: DeviceKeys) throws -> [UInt8] {
    Array(try keys.signing.signature(for: LabelledInput("fullmind/1/device", bytes).bytes))
  }

  func isSignedByItself(_ signature: [UInt8]) -> Bool {
    guard let key = try? Curve25519.Signing.PublicKey(admitting: signingKey) else { return false }
    return key.isValidSignature(signature, for: LabelledInput("fullmind/1/device", bytes).bytes)
  }
}

/// One signed statement about who belongs to the account.
package struct MembershipEntry: Sendable, Hashable {
  package enum Change: Sendable, Hashable {
    /// The first device; signed by the root.
    case found(DeviceCertificate)
    case admit(DeviceCertificate)
    /// A life of the signer's store is over.
    case close(Closing)
    /// What opens what the signer writes in an emergency.
    case emergency(EmergencyKey)
    /// The signer takes back that it admitted a device.
    case retract(DeviceID)
  }
  package var change: Change
  /// `nil` for the root.
  package var signer: DeviceID?
  /// Wall clock of the signer, in milliseconds.
  package var wall: UInt64
  /// As it was signed.
  package let bytes: [UInt8]
  private let signature: [UInt8]
  private let deviceSignature: [UInt8]
  private let signedBytes: [UInt8]

  /// Reads an entry; whether it is authentic is checked against the keys of its signer.
  ///
  /// - Throws: ``SealingError/malformed``, ``SealingError/unacceptableKey``, ``SealingError/unknownChange``.
  package init(bytes: [UInt8]) throws(SealingError) {
    guard let wire = try? WireMembershipEntry(serializedBytes: bytes) else { throw .malformed }
    guard wire.version == 1 else { throw .unknownChange }
    signer = wire.signer.isEmpty ? nil : DeviceID(bytes: wire.signer)
    guard wire.signer.isEmpty || signer != nil else { throw .malformed }
    switch wire.change {
    case .found(let bytes)?: change = .found(try DeviceCertificate(bytes: Array(bytes)))
    case .admit(let bytes)?: change = .admit(try DeviceCertificate(bytes: Array(bytes)))
    case .close(let bytes)?: change = .close(try Closing(bytes: Array(bytes)))
    case .emergency(let bytes)?: change = .emergency(try EmergencyKey(bytes: Array(bytes)))
    case .retract(let bytes)?:
      guard let device = DeviceID(bytes: bytes) else { throw .malformed }
      change = .retract(device)
    case nil: throw .unknownChange
    }
    wall = wire.atMs
    self.bytes = bytes
    (signature, deviceSignature, signedBytes) = (Array(wire.signature), Array(wire.deviceSignature), wire.signedBytes)
  }

  /// Whether it says by itself who belongs to the account: it counts whoever passes it on.
  package var introduces: Bool {
    switch change {
    case .found, .admit: true
    case .close, .emergency, .retract: false
    }
  }

  /// Whether it was signed with this key, and, where it admits a device, by that device as well.
  func isAuthentic(_ key: Curve25519.Signing.PublicKey) -> Bool {
    switch change {
    case .found(let certificate), .admit(let certificate):
      guard certificate.isSignedByItself(deviceSignature) else { return false }
    case .close, .emergency, .retract: break
    }
    return key.isValidSignature(signature, for: signedBytes)
  }

  /// Signs a statement.
  ///
  /// - Parameters:
  ///   - signer: `nil` for the root.
  ///   - deviceSignature: Of the device that is admitted; empty for other statements.
  package static func signed(
    _ change: Change, signer: DeviceID?, deviceSignature: [UInt8] = [], wall: UInt64, key: Curve25519.Signing.PrivateKey
  ) throws -> [UInt8] {
    var wire = WireMembershipEntry()
    wire.version = 1
    switch change {
    case .found(let certificate): wire.found = Data(certificate.bytes)
    case .admit(let certificate): wire.admit = Data(certificate.bytes)
    case .close(let closing): wire.close = Data(closing.bytes)
    case .emergency(let key): wire.emergency = Data(key.bytes)
    case .retract(let device): wire.retract = Data(device.bytes)
    }
    wire.signer = Data(signer?.bytes ?? [])
    wire.deviceSignature = Data(deviceSignature)
    wire.atMs = wall
    wire.signature = try key.signature(for: wire.signedBytes)
    return wire.encoded
  }

  package static func == (one: Self, other: Self) -> Bool { one.bytes == other.bytes }
  package func hash(into hasher: inout Hasher) { hasher.combine(bytes) }
}

/// The streams of a life of a store that is over, each with its last batch.
package struct Closing: Sendable, Hashable {
  package struct Stream: Sendable, Hashable {
    package var channel: UInt8
    package var sequence: UInt64
    /// Of the batch that ends there, 32 bytes.
    package var hash: [UInt8]
    package init(channel: UInt8, sequence: UInt64, hash: [UInt8]) {
      (self.channel, self.sequence, self.hash) = (channel, sequence, hash)
    }
  }
  package var incarnation: Incarnation
  package var streams: [Stream]

  package init(incarnation: Incarnation, streams: [Stream]) { (self.incarnation, self.streams) = (incarnation, streams) }

  init(bytes: [UInt8]) throws(SealingError) {
    guard let wire = try? WireClosing(serializedBytes: bytes), wire.streams.count <= Limits.closedStreams,
      wire.streams.allSatisfy({ $0.hash.count == 32 && $0.channel < 256 && $0.sequence > 0 })
    else { throw .malformed }
    incarnation = Incarnation(rawValue: wire.incarnation)
    streams = wire.streams.map { Stream(channel: UInt8($0.channel), sequence: $0.sequence, hash: Array($0.hash)) }
  }

  var bytes: [UInt8] {
    var wire = WireClosing()
    wire.incarnation = incarnation.rawValue
    wire.streams = streams.map { stream in
      var wire = WireClosedStream()
      (wire.channel, wire.sequence, wire.hash) = (UInt32(stream.channel), stream.sequence, Data(stream.hash))
      return wire
    }
    return wire.encoded
  }
}

/// The devices of an account: a set of signed statements, of which each counts once its signer belongs to the account.
///
/// The root admits the first device; admitted devices admit further ones. The order of arrival decides nothing: a
/// statement whose signer is not known yet waits for it. A device that its admitter takes back belongs to the account
/// no more, in any order of arrival.
package struct Members: Sendable {
  package enum Verdict: Sendable, Hashable {
    case accepted
    /// It was accepted before, or says what its signer has said before.
    case known
    /// Its signer is not known yet.
    case waiting
    /// It is not authentic, or says what its signer may not say.
    case refused
  }

  /// Public key of the account root.
  package let rootKey: [UInt8]
  package private(set) var certificates: [DeviceID: DeviceCertificate] = [:]
  /// All accepted entries that have to be kept, in the order of acceptance; closings are not among them.
  package private(set) var log: [[UInt8]] = []
  private var known = Set<[UInt8]>()
  private var waiting: [MembershipEntry] = []
  private var keys: [DeviceID: MemberKeys] = [:]
  /// Several devices may have let in the same one.
  private var graph = AdmissionGraph()

  package init(rootKey: [UInt8]) { self.rootKey = rootKey }

  /// Takes back the entries that a store had accepted; one that does not fit is left out, and closes nothing.
  ///
  /// - Parameter trusted: Entries that were checked before they were kept, and sealed since.
  package init(rootKey: [UInt8], trusted: [[UInt8]]) {
    self.init(rootKey: rootKey)
    for bytes in trusted { _ = accept(bytes, isTrusted: true) }
  }

  /// Everybody, in the order of their identifiers: each is found by the admissions that stand, from the root on, however
  /// many lie between.
  package var devices: [DeviceID] { graph.standing.keys.sorted() }

  /// What opens and proves what a device writes; also of one that was taken back, whose words are kept.
  package func keys(of device: DeviceID) -> MemberKeys? { keys[device] }

  /// Whether a device has admitted another one and has not taken it back: then it can.
  ///
  /// Others may have admitted it as well. Whether it belongs to the account is what ``devices`` says.
  package func hasAdmitted(_ device: DeviceID, by admitter: DeviceID) -> Bool { graph.hasAdmitted(device, by: admitter) }

  /// The entries by which a device belongs to the account, the first device's first: who knows the root believes them.
  ///
  /// A newcomer writes them at the beginning of its own membership stream, so that it is known wherever it is read, also
  /// to who has forgotten its admission, or never heard of it. Of a chain that is longer than what is read there these are
  /// the last ones: then who reads them has to know the device that the first of them names. One place is left for the
  /// newcomer's emergency key.
  package func introduction(of device: DeviceID) -> [[UInt8]] { Array(graph.chain(to: device).suffix(Limits.introducedBy - 1)) }

  /// Whether the device has said with which key it writes in an emergency.
  package func hasEmergencyKey(_ device: DeviceID) -> Bool { !(keys[device]?.emergency.isEmpty ?? true) }

  /// Entries that wait for their signers.
  package var waitingCount: Int { waiting.count }

  /// Takes in one entry. Entries that were accepted before are ignored.
  package mutating func accept(_ bytes: [UInt8]) -> Verdict { accept(bytes, isTrusted: false) }

  private mutating func accept(_ bytes: [UInt8], isTrusted: Bool) -> Verdict {
    guard !known.contains(bytes) else { return .known }
    guard let entry = try? MembershipEntry(bytes: bytes) else { return .refused }
    let verdict = accept(entry, isTrusted)
    if verdict == .waiting, waiting.count < Limits.waitingEntries, !waiting.contains(entry) { waiting.append(entry) }
    guard verdict == .accepted else { return verdict }
    var hasProgress = true
    while hasProgress {
      let before = waiting
      waiting = before.filter { accept($0, isTrusted) == .waiting }
      hasProgress = waiting.count < before.count
    }
    return .accepted
  }

  private mutating func accept(_ entry: MembershipEntry, _ isTrusted: Bool) -> Verdict {
    let key: Curve25519.Signing.PublicKey
    if let signer = entry.signer {
      guard let known = keys[signer] else { return .waiting }
      key = known.signing
    } else {
      guard let root = try? Curve25519.Signing.PublicKey(admitting: rootKey) else { return .refused }
      key = root
    }
    guard isTrusted || entry.isAuthentic(key) else { return .refused }
    switch (entry.change, entry.signer) {
    case (.found(let certificate), nil): return admit(certificate, by: nil, entry, isTrusted)
    case (.admit(let certificate), let signer?): return admit(certificate, by: signer, entry, isTrusted)
    case (.emergency(let key), let signer?):
      let isNew = !(keys[signer]?.emergency.contains(key) ?? false)
      guard !isNew || keys[signer]?.emergency.count ?? 0 < Limits.emergencyKeys else { return .refused }
      if isNew { keys[signer]?.emergency.append(key) }
      return keep(entry, isNew: isNew, isTrusted)
    case (.retract(let device), let signer?): return keep(entry, isNew: graph.retract(device, by: signer), isTrusted)
    case (.close, _?): return .accepted
    default: return .refused
    }
  }

  private mutating func admit(
    _ certificate: DeviceCertificate, by signer: DeviceID?, _ entry: MembershipEntry, _ isTrusted: Bool
  ) -> Verdict {
    if let before = certificates[certificate.device] {
      // Two devices admitted the same newcomer: either is enough. Another device under its name is none.
      guard before == certificate else { return .refused }
    } else {
      guard let key = try? Curve25519.Signing.PublicKey(admitting: certificate.signingKey) else { return .refused }
      certificates[certificate.device] = certificate
      keys[certificate.device] = MemberKeys(signing: key)
    }
    return keep(entry, isNew: graph.admit(certificate.device, by: signer, entry.bytes), isTrusted)
  }

  /// What a signer says again is kept nowhere, so that nobody can make the log longer by saying it; what a store has kept
  /// of it stays.
  private mutating func keep(_ entry: MembershipEntry, isNew: Bool, _ isTrusted: Bool) -> Verdict {
    guard isNew || isTrusted else { return .known }
    known.insert(entry.bytes)
    log.append(entry.bytes)
    return .accepted
  }
}

extension WireMembershipEntry {
  /// What the signer signs: every field but the signature, with its length.
  fileprivate var signedBytes: [UInt8] {
    let (kind, content): (UInt8, Data) =
      switch change {
      case .found(let bytes)?: (1, bytes)
      case .admit(let bytes)?: (2, bytes)
      case .close(let bytes)?: (3, bytes)
      case .emergency(let bytes)?: (4, bytes)
      case .retract(let bytes)?: (5, bytes)
      case nil: (0, Data())
      }
    return LabelledInput(
      "fullmind/1/membership", version.bigEndianBytes, [kind], Array(content), Array(signer), Array(deviceSignature),
      atMs.bigEndianBytes
    ).bytes
  }
}
