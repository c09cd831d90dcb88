import Causality
import Foundation
import Relays
import Replica
import Sealing
import Simulation
import Storage
import Stores
import Therapy

/// A folder of a test's own, gone at its end.
final class Sandbox {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "fullmind-test-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func home(_ name: String) -> HomeFolder { HomeFolder(path: path + "/" + name) }

  func newStore(_ name: String = "a", passphrase: String? = nil, hasEmergencyKey: Bool = true) throws -> Store {
    let choices = AccountSetup.Choices(
      deviceName: name, passphrase: passphrase, relay: .inside(home(name)), hasEmergencyKey: hasEmergencyKey)
    return try AccountSetup.found(at: home(name), choices).prepared.finish()
  }

  var relayPath: String { path + "/relay" }

  /// The relay of this test for a device; made where it is not there yet.
  func relay(_ store: Store, isTold: Bool? = nil) throws -> FolderRelay {
    _ = try FolderRelay.make(at: relayPath)
    return FolderRelay(path: relayPath, account: store.ring.account.sealer.tags.account, ownTag: store.tag, isTold: isTold)
  }

  /// A second device of the same account, admitted without a relay.
  func join(_ first: Store, _ name: String) throws -> Store {
    var random = SystemRandomNumberGenerator()
    let relay = MemoryRelay().connection(of: nil)
    var performer = try EffectPerformer(store: first, relay: relay, ring: first.ring, run: 1)
    let keys = try DeviceKeys(using: &random)
    let certificate = DeviceCertificate(device: DeviceID(using: &random), name: name, kind: "phone", keys: keys, created: 1)
    try performer.admit(certificate, signature: try certificate.signedBy(keys), now: SystemClock.now, using: &random) { _, _ in }
    let ring = KeyRing(account: first.ring.account, device: certificate.device, keys: keys)
    let draft = try HomeDraft(at: home(name))
    let key = try Store.make(in: draft, ring: ring, membership: performer.members.log, passphrase: nil)
    try draft.finish(replacing: false)
    return try Store.open(at: home(name), dataKey: key)
  }
}

extension Store {
  var tag: BlindTag {
    guard let tag = BlindTag(bytes: ring.account.sealer.tags.device(ring.device)) else { preconditionFailure("16 bytes") }
    return tag
  }

  func stateHash() throws -> String { try read { try $0.stateHash().description } }
}

/// Waits until something is so; a generous deadline means "it hangs".
func eventually(within seconds: Double = 20, _ condition: () throws -> Bool) rethrows -> Bool {
  let deadline = Date().addingTimeInterval(seconds)
  while Date() < deadline {
    if try condition() { return true }
    Thread.sleep(forTimeInterval: 0.01)
  }
  return false
}
