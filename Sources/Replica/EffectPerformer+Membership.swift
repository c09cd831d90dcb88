import Causality
import Sealing

/// Who belongs to the account: what decides is read in the transaction that writes.
extension EffectPerformer {
  /// Signs a newcomer in, and keeps for it what it has to be given.
  ///
  /// - Parameter seal: Seals the account to the newcomer, with the entries that it is given. What cannot be sealed
  ///   admits nobody.
  package mutating func admit(
    _ certificate: DeviceCertificate, signature: [UInt8], now: Moment, using random: inout some RandomNumberGenerator,
    keeping keep: (inout Store.Transaction, [[UInt8]]) throws -> Void
  ) throws {
    try store.write { transaction in
      let entry = try MembershipEntry.signed(
        .admit(certificate), signer: ring.device, deviceSignature: signature, wall: now.wall, key: ring.keys.signing)
      var members = Members(rootKey: ring.account.rootKey, trusted: try transaction.membership())
      guard members.accept(entry) == .accepted else { throw SealingError.badMembership }
      try keep(&transaction, members.log)
      try cutter.file(membership: entry, in: &transaction, using: &random)
      try transaction.appendMembership(entry)
    }
    _ = try reloadMembers()
  }

  /// Takes back that this device admitted another one.
  ///
  /// - Returns: Whether there was something to take back.
  package mutating func retract(
    _ device: DeviceID, now: Moment, using random: inout some RandomNumberGenerator,
    keeping keep: (inout Store.Transaction) throws -> Void
  ) throws -> Bool {
    let isDone = try store.write { transaction in
      let members = Members(rootKey: ring.account.rootKey, trusted: try transaction.membership())
      try keep(&transaction)
      guard members.devices.contains(device), members.admitter(of: device) == ring.device else { return false }
      let entry = try MembershipEntry.signed(.retract(device), signer: ring.device, wall: now.wall, key: ring.keys.signing)
      try cutter.file(membership: entry, in: &transaction, using: &random)
      try transaction.appendMembership(entry)
      return true
    }
    _ = try reloadMembers()
    return isDone
  }
}
