import Causality
import Crypto

/// 32 random bytes as 24 words: the root of an account. (BIP-39, 2013, English list; no passphrase.)
package struct RecoveryCode: Sendable, Hashable {
  package let entropy: [UInt8]

  /// - Precondition: 32 bytes.
  package init(entropy: [UInt8]) {
    precondition(entropy.count == 32, "a recovery code stands for 32 bytes")
    self.entropy = entropy
  }

  /// The 24 words, separated by single spaces.
  package var words: String {
    let bits = (entropy + [checksum]).flatMap { byte in (0..<8).map { byte >> (7 - $0) & 1 } }
    return stride(from: 0, to: 264, by: 11)
      .map { start in Self.list[bits[start..<start + 11].reduce(0) { $0 << 1 | Int($1) }] }
      .joined(separator: " ")
  }

  /// Reads 24 words; tolerates upper case and any white space.
  ///
  /// - Throws: ``SealingError/badRecoveryCode``.
  package init(words: String) throws(SealingError) {
    let indexes = words.lowercased().split(whereSeparator: \.isWhitespace).map { Self.index[String($0)] }
    guard indexes.count == 24 else { throw .badRecoveryCode }
    var bits = [UInt8]()
    for index in indexes {
      guard let index else { throw .badRecoveryCode }
      bits += (0..<11).map { UInt8(index >> (10 - $0) & 1) }
    }
    let bytes = stride(from: 0, to: 264, by: 8).map { bits[$0..<$0 + 8].reduce(0) { $0 << 1 | $1 } }
    self.init(entropy: Array(bytes.prefix(32)))
    guard checksum == bytes[32] else { throw .badRecoveryCode }
  }

  /// For 256 bits of entropy the checksum is 8 bits long.
  private var checksum: UInt8 { Array(SHA256.hash(data: entropy))[0] }

  private static let list = String(decoding: PackageResources.bip39_english_txt, as: UTF8.self)
    .split(separator: "\n").map(String.init)
  private static let index = Dictionary(uniqueKeysWithValues: zip(list, list.indices))
}

/// What the recovery code derives. It signs the first device; it is not kept on any device.
package struct AccountRoot: Sendable {
  private let secret: SymmetricKey

  package init(_ code: RecoveryCode) { secret = SymmetricKey(data: code.entropy) }

  /// Signs the first device, and later the admins' succession.
  package var signingKey: Curve25519.Signing.PrivateKey {
    get throws {
      try .init(rawRepresentation: LabelledInput("fullmind/1/root signing").derive(from: secret).bytes)
    }
  }

  /// Names devices and the account on a relay without saying who they are.
  package var tagKey: [UInt8] { LabelledInput("fullmind/1/tags").derive(from: secret).bytes }
}
