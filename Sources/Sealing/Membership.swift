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

/// The devices of an account: a log of signed entries, hash-chained per signer.
///
/// The root admits the first device; admitted devices admit further ones. An entry is accepted only
/// when its signer was admitted before and it follows the signer's previous entry.
package struct Members: Sendable {
  /// Public key of the account root.
  package let rootKey: [UInt8]
  package private(set) var certificates: [DeviceID: DeviceCertificate] = [:]
  /// All accepted entries, in the order of acceptance.
  package private(set) var log: [[UInt8]] = []
  private var keys: [DeviceID: Curve25519.Signing.PublicKey] = [:]
  private var chains: [DeviceID?: (number: UInt64, hash: [UInt8])] = [:]

  package init(rootKey: [UInt8]) { self.rootKey = rootKey }

  /// Everybody, in the order of their identifiers.
  package var devices: [DeviceID] { certificates.keys.sorted() }

  package func signingKey(of device: DeviceID) -> Curve25519.Signing.PublicKey? { keys[device] }

  /// Takes in one entry. Entries that were accepted before are ignored.
  ///
  /// - Returns: Whether it was new.
  /// - Throws: ``SealingError``; the members are as before.
  package mutating func accept(_ entry: [UInt8]) throws(SealingError) -> Bool {
    guard !log.contains(entry) else { return false }
    guard let wire = try? WireMembershipEntry(serializedBytes: entry), wire.version == 1 else {
      throw .malformed
    }
    let signer = wire.signer.isEmpty ? nil : DeviceID(bytes: wire.signer)
    let certificate = try admitted(by: wire, signer: signer)
    let chain = chains[signer] ?? (0, [])
    guard wire.number == chain.number + 1, Array(wire.previous) == chain.hash else { throw .badMembership }
    guard certificates[certificate.device] == nil else { throw .badMembership }
    keys[certificate.device] = try Curve25519.Signing.PublicKey(admitting: certificate.signingKey)
    certificates[certificate.device] = certificate
    chains[signer] = (wire.number, LabelledInput("fullmind/1/member chain", entry).sha256)
    log.append(entry)
    return true
  }

  /// Checks both signatures and returns the certificate that the entry admits.
  private func admitted(by wire: WireMembershipEntry, signer: DeviceID?) throws(SealingError)
    -> DeviceCertificate
  {
    let certificate: DeviceCertificate
    let signerKey: Curve25519.Signing.PublicKey
    switch (wire.change, signer) {
    case (.found(let bytes)?, nil):
      certificate = try DeviceCertificate(bytes: Array(bytes))
      signerKey = try .init(admitting: rootKey)
    case (.admit(let bytes)?, let signer?):
      certificate = try DeviceCertificate(bytes: Array(bytes))
      guard let key = keys[signer] else { throw .badMembership }
      signerKey = key
    default: throw .badMembership
    }
    guard certificate.isSignedByItself(Array(wire.deviceSignature)) else { throw .badSignature }
    guard signerKey.isValidSignature(wire.signature, for: wire.signedBytes) else { throw .badSignature }
    return certificate
  }

  /// Makes the entry by which the root admits the first device.
  package func founding(
    _ certificate: DeviceCertificate, deviceSignature: [UInt8], root: Curve25519.Signing.PrivateKey
  ) throws -> [UInt8] {
    var wire = WireMembershipEntry()
    wire.found = Data(certificate.bytes)
    return try complete(wire, signer: nil, deviceSignature: deviceSignature, key: root)
  }

  /// Makes the entry by which one device admits another.
  package func admitting(
    _ certificate: DeviceCertificate, deviceSignature: [UInt8], by signer: DeviceID, keys: DeviceKeys
  ) throws -> [UInt8] {
    var wire = WireMembershipEntry()
    wire.admit = Data(certificate.bytes)
    return try complete(wire, signer: signer, deviceSignature: deviceSignature, key: keys.signing)
  }

  private func complete(
    _ wire: WireMembershipEntry, signer: DeviceID?, deviceSignature: [UInt8], key: Curve25519.Signing.PrivateKey
  ) throws -> [UInt8] {
    var wire = wire
    let chain = chains[signer] ?? (0, [])
    wire.version = 1
    wire.number = chain.number + 1
    wire.previous = Data(chain.hash)
    wire.signer = Data(signer?.bytes ?? [])
    wire.deviceSignature = Data(deviceSignature)
    wire.signature = try key.signature(for: wire.signedBytes)
    return wire.encoded
  }
}

extension WireMembershipEntry {
  /// What the signer signs: every field but the signature, with its length.
  fileprivate var signedBytes: [UInt8] {
    let (kind, certificate): (UInt8, Data) =
      switch change {
      case .found(let bytes)?: (1, bytes)
      case .admit(let bytes)?: (2, bytes)
      case nil: (0, Data())
      }
    return LabelledInput(
      "fullmind/1/membership", version.bigEndianBytes, number.bigEndianBytes, Array(previous), [kind],
      Array(certificate), Array(signer), Array(deviceSignature)
    ).bytes
  }
}
