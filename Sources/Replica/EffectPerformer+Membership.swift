import Causality
import Sealing

/// Who belongs to the account: what decides is read in the transaction that writes.
extension EffectPerformer {
  /// Signs a newcomer in, and keeps for it what it has to be given. One that this device has let in before is given it again.
  ///
  /// - Parameter keep: Seals the account to the newcomer, with the entries that it is given. What cannot be sealed
  ///   admits nobody.
  /// - Throws: ``SealingError/badMembership`` where the newcomer would be no member all the same: this device was taken
  ///   back, or has taken the newcomer back before.
  package mutating func admit(
    _ certificate: DeviceCertificate, signature: [UInt8], now: Moment, using random: inout some RandomNumberGenerator,
    keeping keep: (inout Store.Transaction, [[UInt8]]) throws -> Void
  ) throws {
    try store.write { transaction in
      let entry = try MembershipEntry.signed(
        .admit(certificate), signer: ring.device, deviceSignature: signature, wall: now.wall, key: ring.keys.signing)
      var members = Members(rootKey: ring.account.rootKey, trusted: try transaction.membership())
      let verdict = members.accept(entry)
      guard verdict == .accepted || verdict == .known, members.devices.contains(certificate.device),
        members.hasAdmitted(certificate.device, by: ring.device)
      else { throw SealingError.badMembership }
      try keep(&transaction, members.log)
      guard verdict == .accepted else { return }
      try cutter.file(membership: entry, in: &transaction, using: &random)
      try transaction.appendMembership(entry)
    }
    _ = try reloadMembers()
  }

  /// Takes back that this device admitted another one, whoever else admitted it and who was first.
  ///
  /// - Returns: Whether the other one belongs to the account no more by that: not where there was nothing to take back, nor
  ///   while the admission of another device stands.
  package mutating func retract(
    _ device: DeviceID, now: Moment, using random: inout some RandomNumberGenerator,
    keeping keep: (inout Store.Transaction) throws -> Void
  ) throws -> Bool {
    let isOut = try store.write { transaction in
      var members = Members(rootKey: ring.account.rootKey, trusted: try transaction.membership())
      try keep(&transaction)
      guard members.hasAdmitted(device, by: ring.device) else { return false }
      let entry = try MembershipEntry.signed(.retract(device), signer: ring.device, wall: now.wall, key: ring.keys.signing)
      guard members.accept(entry) == .accepted else { return false }
      try cutter.file(membership: entry, in: &transaction, using: &random)
      try transaction.appendMembership(entry)
      return !members.devices.contains(device)
    }
    _ = try reloadMembers()
    return isOut
  }
}
