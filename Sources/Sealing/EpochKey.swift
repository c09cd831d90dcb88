import Causality
import Crypto

/// The key that every live device shares for a while.
package struct EpochKey: Sendable, Hashable {
  package let epoch: UInt32
  package let bytes: [UInt8]

  /// - Precondition: 32 bytes.
  package init(epoch: UInt32, bytes: [UInt8]) {
    precondition(bytes.count == 32, "an epoch key has 32 bytes")
    self.epoch = epoch
    self.bytes = bytes
  }

  /// Commits to the key: no ciphertext can be made to open under two of them.
  package var id: [UInt8] {
    Array(LabelledInput("fullmind/1/epoch key id", epoch.bigEndianBytes, bytes).sha256.prefix(8))
  }
}

/// Names the account and its devices on a relay: stable, and meaningless without the key.
package struct BlindTags: Sendable {
  private let key: SymmetricKey
  package let account: [UInt8]

  package init(tagKey: [UInt8], account: [UInt8]) {
    key = SymmetricKey(data: tagKey)
    self.account = Self.tag(key, "fullmind/1/account tag", account)
  }

  /// 16 bytes.
  package func device(_ device: DeviceID) -> [UInt8] { Self.tag(key, "fullmind/1/device tag", device.bytes) }

  private static func tag(_ key: SymmetricKey, _ label: String, _ name: [UInt8]) -> [UInt8] {
    let code = HMAC<SHA256>.authenticationCode(for: LabelledInput(label, name).bytes, using: key)
    return Array(Array(code).prefix(16))
  }
}
