import Causality
import Foundation
import WireFormat

/// All keys of this device, as they lie sealed in its store.
package struct KeyRing: Sendable {
  package var account: AccountKeys
  package var device: DeviceID
  package var keys: DeviceKeys

  package init(account: AccountKeys, device: DeviceID, keys: DeviceKeys) {
    self.account = account
    self.device = device
    self.keys = keys
  }

  package var bytes: [UInt8] {
    var wire = WireKeyRing()
    wire.account = Data(account.account)
    wire.rootKey = Data(account.rootKey)
    wire.tagKey = Data(account.tagKey)
    wire.epochKeys = account.epochKeys.map { $0.wire }
    wire.device = Data(device.bytes)
    wire.signingKey = Data(keys.signingSeed)
    wire.agreementSeed = Data(keys.agreementSeed)
    return wire.encoded
  }

  package init(bytes: [UInt8]) throws {
    let wire = try WireKeyRing(serializedBytes: bytes)
    guard let device = DeviceID(bytes: wire.device), !wire.epochKeys.isEmpty else {
      throw SealingError.malformed
    }
    account = AccountKeys(
      account: Array(wire.account), rootKey: Array(wire.rootKey), tagKey: Array(wire.tagKey),
      epochKeys: try wire.epochKeys.map { try EpochKey($0) })
    self.device = device
    keys = try DeviceKeys(signingSeed: Array(wire.signingKey), agreementSeed: Array(wire.agreementSeed))
  }
}
