import Causality
import Crypto

/// The bytes of everything that is signed, hashed or derived: a label, then parts with their lengths.
///
/// The label keeps uses apart; the lengths keep neighbouring parts apart. Layout: the label as UTF-8,
/// a zero byte, then for each part its length in bytes (32 bits, big-endian) and the part.
package struct LabelledInput: Sendable {
  package private(set) var bytes: [UInt8]

  package init(_ label: String, _ parts: [UInt8]...) {
    bytes = Array(label.utf8) + [0]
    for part in parts { bytes += UInt32(part.count).bigEndianBytes + part }
  }

  package var sha256: [UInt8] { Array(SHA256.hash(data: bytes)) }

  /// Derives `length` bytes from a secret (HKDF-SHA256, RFC 5869) with this input as `info`.
  package func derive(from secret: SymmetricKey, salt: [UInt8] = [], length: Int = 32) -> SymmetricKey {
    HKDF<SHA256>.deriveKey(inputKeyMaterial: secret, salt: salt, info: bytes, outputByteCount: length)
  }
}

extension SymmetricKey {
  package var bytes: [UInt8] { withUnsafeBytes { Array($0) } }
}

extension RandomNumberGenerator {
  /// Draws `count` bytes.
  package mutating func bytes(_ count: Int) -> [UInt8] {
    var bytes = [UInt8]()
    bytes.reserveCapacity(count + 7)
    while bytes.count < count { bytes += (next() as UInt64).bigEndianBytes }
    return Array(bytes.prefix(count))
  }
}
