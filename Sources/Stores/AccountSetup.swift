import Causality
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Therapy

/// Makes homes: of a new account, and of a device that joined one. A home is made beside its place, and is there complete
/// or not at all.
package enum AccountSetup {
  /// How a home is to be.
  package struct Choices: Sendable {
    package var deviceName: String
    /// `nil` for a key file that opens the store without one.
    package var passphrase: String?
    package var relay: RelayLocation
    /// Whether a crisis can be raised when the store cannot be opened.
    package var hasEmergencyKey = true

    package init(deviceName: String, passphrase: String?, relay: RelayLocation, hasEmergencyKey: Bool = true) {
      (self.deviceName, self.passphrase, self.relay, self.hasEmergencyKey) = (deviceName, passphrase, relay, hasEmergencyKey)
    }
  }

  /// A home that is complete, and not in its place yet.
  package struct Prepared: Sendable {
    package let ring: KeyRing
    let draft: HomeDraft
    let dataKey: Store.DataKey
    /// Where a newcomer makes itself known once it is in its place, and which relay that is.
    var relay: (place: RelayLocation, identity: UInt64)?

    /// Moves it to its place: from now on the device belongs to the account, whatever becomes of opening it.
    ///
    /// - Parameter isReplacing: What lies there is moved aside.
    /// - Returns: Where that lies now.
    package func place(replacing isReplacing: Bool = false) throws -> String? {
      let aside = try draft.finish(replacing: isReplacing)
      Joining.forget(draft.place)
      // Not before: whoever let it in takes a device that was heard of for one that has its home.
      if let relay { introduce(at: relay.place, relay.identity) }
      return aside
    }

    /// Puts on the relay what makes a newcomer known there, whatever becomes of who let it in. Where that cannot be done now,
    /// whoever exchanges does it, and every crisis.
    private func introduce(at place: RelayLocation, _ identity: UInt64) {
      guard let store = try? open(), let frames = try? store.read({ try $0.introduction }) else { return }
      let tag = BlindTag(of: ring.device, ring.account.sealer)
      let folder = FolderRelay(path: place.folder, account: ring.account.sealer.tags.account, ownTag: tag, meaning: identity)
      try? PatientRelay(folder, named: place.description).deliver(frames, to: RelayStream(tag: tag, channel: .membership))
      store.close()
    }

    package func open() throws -> Store { try Store.open(at: draft.place, dataKey: dataKey) }

    /// Moves it to its place and opens it.
    package func finish() throws -> Store {
      _ = try place()
      return try open()
    }

    package func discard() { draft.discard() }
  }

  /// Looks whether a home can be made in a place, before anything is asked or done.
  ///
  /// - Throws: ``StorageError``.
  package static func check(_ home: HomeFolder, replacing isReplacing: Bool) throws(StorageError) {
    var (place, above) = (stat(), stat())
    if stat(home.path, &place) == 0, stat((home.path as NSString).deletingLastPathComponent, &above) == 0, place.st_dev != above.st_dev {
      throw .mountPoint(home.path)
    }
    switch home.content {
    case .nothing: return
    case .store: if !isReplacing { throw .storeExists(home.path) }
    case .incomplete(let missing): if !isReplacing { throw .incomplete(home.path, missing: missing) }
    case .foreign: throw .notEmpty(home.path)
    }
  }

  /// A new account with this device as its first.
  ///
  /// - Returns: The home, which has to be finished, and the recovery code, which is kept nowhere.
  package static func found(at home: HomeFolder, _ choices: Choices) throws -> (prepared: Prepared, code: RecoveryCode) {
    var random = SystemRandomNumberGenerator()
    let draft = try HomeDraft(at: home)
    do {
      let code = RecoveryCode(entropy: random.bytes(32))
      let root = AccountRoot(code)
      let rootSigning = try root.signingKey
      let account = AccountKeys(
        account: random.bytes(16), rootKey: Array(rootSigning.publicKey.rawRepresentation), tagKey: root.tagKey,
        epochKeys: [EpochKey(epoch: 1, bytes: random.bytes(32))])
      let keys = try DeviceKeys(using: &random)
      let wall = SystemClock.now.wall
      let certificate = DeviceCertificate(
        device: DeviceID(using: &random), name: choices.deviceName, kind: DeviceName.kind(for: choices.deviceName), keys: keys,
        created: wall)
      let entry = try MembershipEntry.signed(
        .found(certificate), signer: nil, deviceSignature: try certificate.signedBy(keys), wall: wall, key: rootSigning)
      let ring = KeyRing(account: account, device: certificate.device, keys: keys)
      // The relay is made first: an account whose relay cannot exist is a trap.
      let place = choices.relay.isPrivate(to: home) ? draft.folder.relay : choices.relay.folder
      let identity = try PatientRelay.make(at: place)
      let dataKey = try make(draft, ring, membership: [entry], filing: [entry], choices, identity)
      return (Prepared(ring: ring, draft: draft, dataKey: dataKey), code)
    } catch {
      draft.discard()
      throw error
    }
  }

  /// The home of a device that was admitted.
  static func make(
    _ draft: HomeDraft, _ ring: KeyRing, membership: [[UInt8]], filing: [[UInt8]], _ choices: Choices, _ identity: UInt64
  ) throws -> Store.DataKey {
    var random = SystemRandomNumberGenerator()
    let url = choices.relay.kept(in: draft.place)
    let kit = choices.hasEmergencyKey
      ? try EmergencyKit(for: ring, record: CrisisState.record(ofAccount: ring.account.account), relay: url, relayIdentity: identity, using: &random)
      : nil
    let emergency = try kit.map { kit in
      try MembershipEntry.signed(.emergency(kit.key), signer: ring.device, wall: SystemClock.now.wall, key: ring.keys.signing)
    }
    var introduction = [[UInt8]]()
    let dataKey = try Store.make(
      in: draft, ring: ring, membership: membership + [emergency].compactMap { $0 }, passphrase: choices.passphrase
    ) { transaction in
      let cutter = BatchCutter(ring: ring)
      for entry in filing + [emergency].compactMap({ $0 }) { try cutter.file(membership: entry, in: &transaction, using: &random) }
      introduction = try transaction.introduction
      try transaction.setRelayPlace(url, identity: identity)
    }
    if let kit {
      try HomeFolder.writePrivate(kit.bytes, to: draft.folder.emergencyKey)
      try EmergencyJournal.keep(introduction, in: draft.folder)
    }
    return dataKey
  }

  /// An account whose devices are all in this process: they need neither an invitation nor a relay in a folder. For the
  /// demo, for measurements and for tests.
  ///
  /// - Parameters:
  ///   - homes: Where each device lies.
  ///   - names: What each is called.
  package static func household(at homes: [HomeFolder], names: [String], hasEmergencyKey: Bool = false) throws -> [Store] {
    var random = SystemRandomNumberGenerator()
    func choices(_ index: Int) -> Choices {
      Choices(deviceName: names[index], passphrase: nil, relay: .inside(homes[index]), hasEmergencyKey: hasEmergencyKey)
    }
    let first = try found(at: homes[0], choices(0)).prepared.finish()
    var members = Members(rootKey: first.ring.account.rootKey, trusted: try first.read { try $0.membership() })
    var rings: [KeyRing] = []
    for name in names.dropFirst() {
      let keys = try DeviceKeys(using: &random)
      let wall = SystemClock.now.wall
      let certificate = DeviceCertificate(device: DeviceID(using: &random), name: name, kind: DeviceName.kind(for: name), keys: keys, created: wall)
      let entry = try MembershipEntry.signed(
        .admit(certificate), signer: first.ring.device, deviceSignature: try certificate.signedBy(keys), wall: wall,
        key: first.ring.keys.signing)
      guard members.accept(entry) == .accepted else { throw SealingError.badMembership }
      try first.write { try $0.appendMembership(entry) }
      rings.append(KeyRing(account: first.ring.account, device: certificate.device, keys: keys))
    }
    return try [first] + rings.enumerated().map { index, ring in
      let draft = try HomeDraft(at: homes[index + 1])
      let key = try make(draft, ring, membership: members.log, filing: members.introduction(of: ring.device), choices(index + 1), 0)
      return try Prepared(ring: ring, draft: draft, dataKey: key).finish()
    }
  }
}
