import Causality
import Crypto
import Foundation

/// The private keys of this device. Made here, never exported.
package struct DeviceKeys: Sendable {
  package let signing: Curve25519.Signing.PrivateKey
  package let agreement: XWingMLKEM768X25519.PrivateKey

  package init(signing: Curve25519.Signing.PrivateKey, agreement: XWingMLKEM768X25519.PrivateKey) {
    self.signing = signing
    self.agreement = agreement
  }

  /// Makes new keys.
  package init(using random: inout some RandomNumberGenerator) throws {
    signing = try .init(rawRepresentation: random.bytes(32))
    agreement = try .init(seedRepresentation: random.bytes(32), publicKey: nil)
  }

  /// Reads keys back from their 32-byte seeds.
  package init(signingSeed: [UInt8], agreementSeed: [UInt8]) throws {
    signing = try .init(rawRepresentation: signingSeed)
    agreement = try .init(seedRepresentation: agreementSeed, publicKey: nil)
  }

  package var signingSeed: [UInt8] { Array(signing.rawRepresentation) }
  package var agreementSeed: [UInt8] { Array(agreement.seedRepresentation) }
}

extension Curve25519.Signing.PublicKey {
  /// Reads a public key, refusing what no honest device makes.
  ///
  /// The library accepts low-order points and encodings that are not canonical; under such a key one
  /// signature can hold for many messages. (Chalkias et al., *Taming the many EdDSAs*, 2020.)
  ///
  /// - Throws: ``SealingError/unacceptableKey``.
  package init(admitting bytes: [UInt8]) throws(SealingError) {
    guard bytes.count == 32, !Self.isUnacceptable(bytes), let key = try? Self(rawRepresentation: bytes) else {
      throw .unacceptableKey
    }
    self = key
  }

  private static func isUnacceptable(_ bytes: [UInt8]) -> Bool {
    var y = bytes
    y[31] &= 0x7F
    // Little-endian: compare from the most significant byte.
    let isCanonical = y.reversed().lexicographicallyPrecedes(fieldPrime.reversed())
    return !isCanonical || lowOrderOrdinates.contains(y)
  }

  /// 2^255 − 19.
  private static let fieldPrime: [UInt8] = [0xED] + Array(repeating: 0xFF, count: 30) + [0x7F]

  /// The y coordinates of the eight points whose order divides 8.
  private static let lowOrderOrdinates: [[UInt8]] = [
    Array(repeating: 0, count: 32),
    [1] + Array(repeating: 0, count: 31),
    [0xEC] + Array(repeating: 0xFF, count: 30) + [0x7F],
    hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
  ]

  private static func hex(_ text: String) -> [UInt8] {
    guard let bytes = [UInt8](hexadecimal: text) else { preconditionFailure("a constant of this file") }
    return bytes
  }
}
