/// Why something sealed was not accepted. Nothing was read from it, and nothing changed.
package enum SealingError: Error, Sendable, Hashable {
  /// Shorter, longer or differently built than this version writes.
  case malformed
  /// A suite byte that this version does not know.
  case unknownSuite(UInt8)
  /// Sealed for another account.
  case otherAccount
  /// Sealed under an epoch key that this device does not have (yet).
  case unknownEpoch(UInt32)
  /// The bytes were changed, or sealed under another key.
  case notAuthentic
  /// The signature is not the device's.
  case badSignature
  /// A public key that no honest device makes (low order or not canonical).
  case unacceptableKey
  /// The passphrase does not open the key file.
  case wrongPassphrase
  /// An empty passphrase protects nothing.
  case emptyPassphrase
  /// The recovery words: a wrong word, count or checksum.
  case badRecoveryCode
  /// The invitation code is mistyped, used up, or older than five minutes.
  case badInvitation
  /// What the other side revealed is not what it had committed to.
  case commitmentBroken
  /// The newcomer is not among the members of the account that was sealed to it.
  case badMembership
  /// A statement about the membership that a newer version made.
  case unknownChange
}
