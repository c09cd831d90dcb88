import Causality
import Crypto
import Foundation
import Sealing
import Testing

/// Test data nobody here wrote; beside the checkout.
enum Vectors {
  static func read(_ path: String) -> Data? {
    var folder = URL(fileURLWithPath: #filePath)
    for _ in 0..<5 {
      folder.deleteLastPathComponent()
      let file = folder.appendingPathComponent("shared/vectors/\(path)")
      if let data = try? Data(contentsOf: file) { return data }
    }
    return nil
  }
}

@Suite("Sealing")
struct SealingTests {
  static func account(_ random: inout SeededRandom) throws -> (AccountKeys, DeviceKeys, DeviceID) {
    let root = try Curve25519.Signing.PrivateKey(rawRepresentation: random.bytes(32))
    let account = AccountKeys(
      account: random.bytes(16), rootKey: Array(root.publicKey.rawRepresentation), tagKey: random.bytes(32),
      epochKeys: [EpochKey(epoch: 1, bytes: random.bytes(32))])
    return (account, try DeviceKeys(using: &random), DeviceID(using: &random))
  }

  @Test("recovery words agree with the published vectors")
  func recoveryWords() throws {
    guard let data = Vectors.read("bip39/vectors.json") else { return }
    let json = try #require(try JSONSerialization.jsonObject(with: data) as? [String: [[String]]])
    let vectors = try #require(json["english"]).filter { $0[0].count == 64 }
    #expect(vectors.count >= 8)
    for vector in vectors {
      let code = RecoveryCode(entropy: try #require([UInt8](hexadecimal: vector[0])))
      #expect(code.words == vector[1])
      #expect(try RecoveryCode(words: vector[1].uppercased()) == code)
    }
  }

  @Test("a wrong word, a missing word, and a wrong order are noticed")
  func wrongWords() throws {
    var random = SeededRandom(seed: 5)
    let words = RecoveryCode(entropy: random.bytes(32)).words.split(separator: " ").map(String.init)
    #expect(throws: SealingError.badRecoveryCode) { try RecoveryCode(words: words.dropLast().joined(separator: " ")) }
    #expect(throws: SealingError.badRecoveryCode) { try RecoveryCode(words: (["zzzz"] + words.dropFirst()).joined(separator: " ")) }
  }

  @Test("a sealed batch opens, and any changed byte keeps it shut")
  func tampering() throws {
    var random = SeededRandom(seed: 6)
    let (account, keys, device) = try Self.account(&random)
    let sealer = account.sealer
    let content = Array("the person's words".utf8)
    let frame = try sealer.seal(
      .operations(content), channel: 3, incarnation: Incarnation(rawValue: 9), first: 1, count: 1, previous: BatchSealer.noPrevious, headsDigest: [], from: device,
      keys: keys, using: &random)
    let opened = try sealer.open(frame, keys: MemberKeys(signing: keys.signing.publicKey))
    guard case .operations(content) = opened.content else { throw SealingError.malformed }
    #expect(frame.count == BatchHeader.byteCount + 256 + 16, "padded to a fixed size")
    for index in frame.indices {
      var changed = frame
      changed[index] ^= 1
      #expect(throws: SealingError.self, "byte \(index)") { try sealer.open(changed, keys: MemberKeys(signing: keys.signing.publicKey)) }
    }
    for length in [0, 1, 125, 126, frame.count - 1] {
      #expect(throws: SealingError.self) { try sealer.open(Array(frame.prefix(length)), keys: MemberKeys(signing: keys.signing.publicKey)) }
    }
    let stranger = try DeviceKeys(using: &random)
    #expect(throws: SealingError.badSignature) { try sealer.open(frame, keys: MemberKeys(signing: stranger.signing.publicKey)) }
    let (other, _, _) = try Self.account(&random)
    #expect(throws: SealingError.otherAccount) { try other.sealer.open(frame, keys: MemberKeys(signing: keys.signing.publicKey)) }
  }

  @Test("padding wastes at most a third, from 256 bytes on")
  func padding() {
    for length in 1...70_000 {
      let size = Padding.size(for: length)
      #expect(size >= length)
      if length > 256 { #expect(size * 2 <= length * 3) }
    }
  }

  @Test("a value sealed at rest opens only in its own place")
  func cells() throws {
    let sealer = CellSealer(dataKey: Array(repeating: 7, count: 32))
    let (table, other) = (sealer.table("records"), sealer.table("peers"))
    let sealed = table.seal([1, 2, 3], column: 1, row: [9])
    #expect(try table.open(sealed, column: 1, row: [9]) == [1, 2, 3])
    #expect(throws: SealingError.notAuthentic) { try table.open(sealed, column: 2, row: [9]) }
    #expect(throws: SealingError.notAuthentic) { try table.open(sealed, column: 1, row: [8]) }
    #expect(throws: SealingError.notAuthentic) { try table.open(sealed, column: 1, row: [9], version: 2) }
    #expect(throws: SealingError.notAuthentic) { try other.open(sealed, column: 1, row: [9]) }
  }

  @Test("the key file opens with its passphrase and no other")
  func keyFile() throws {
    var random = SeededRandom(seed: 7)
    let key = random.bytes(32)
    let file = try DataKeyFile.protected(key, passphrase: "correct horse", using: &random)
    #expect(try DataKeyFile.needsPassphrase(file))
    #expect(try DataKeyFile.open(file, passphrase: "correct horse") == key)
    #expect(throws: SealingError.wrongPassphrase) { try DataKeyFile.open(file, passphrase: "Correct horse") }
    #expect(throws: SealingError.emptyPassphrase) { try DataKeyFile.open(file, passphrase: "") }
    #expect(throws: SealingError.emptyPassphrase) { try DataKeyFile.protected(key, passphrase: "", using: &random) }
    #expect(try DataKeyFile.open(DataKeyFile.unprotected(key), passphrase: nil) == key)
    #expect(throws: SealingError.malformed) { try DataKeyFile.open([1, 2, 3], passphrase: nil) }
  }

  @Test("public keys of low order and non-canonical ones are refused")
  func unacceptableKeys() throws {
    let p: [UInt8] = [0xED] + Array(repeating: 0xFF, count: 30) + [0x7F]
    var bad: [[UInt8]] = [Array(repeating: 0, count: 32), [1] + Array(repeating: 0, count: 31), p, Array(repeating: 0xFF, count: 32)]
    bad += bad.map { key in
      var key = key
      key[31] |= 0x80
      return key
    }
    for key in bad { #expect(throws: SealingError.unacceptableKey) { try Curve25519.Signing.PublicKey(admitting: key) } }
    let good = Curve25519.Signing.PrivateKey().publicKey
    #expect(throws: Never.self) { try Curve25519.Signing.PublicKey(admitting: Array(good.rawRepresentation)) }
  }
}

@Suite("Enrolment and membership")
struct EnrolmentTests {
  @Test("a newcomer is let in; both sides see the same digits")
  func enrolment() throws {
    var scene = try Scene(seed: 1)
    var joining = try scene.newcomer()
    let request = try joining.receive(offer: try scene.admitting.offer())
    let (reveal, digits) = try scene.admitting.receive(request: request)
    let shown = try joining.receive(reveal: reveal)
    #expect(shown.digits == digits)
    #expect(digits.filter(\.isNumber).count == 12)
    let newcomer = try #require(scene.admitting.newcomer)
    let entry = try scene.entry(.admit(newcomer.certificate), newcomer.signature)
    #expect(scene.members.accept(entry) == .accepted)
    let (account, members) = try joining.receive(admission: try scene.admitting.admission(scene.account, membership: scene.members.log))
    #expect(account.tagKey == scene.account.tagKey)
    #expect(members.devices.count == 2)
  }

  @Test("somebody in the middle gives different digits or breaks the commitment")
  func inTheMiddle() throws {
    var scene = try Scene(seed: 2)
    var attacker = try Scene(seed: 3, code: scene.code)
    var joining = try scene.newcomer()
    let request = try joining.receive(offer: try scene.admitting.offer())
    _ = try scene.admitting.receive(request: request)
    let (forged, _) = try attacker.admitting.receive(request: request)
    #expect(throws: SealingError.commitmentBroken) { try joining.receive(reveal: forged) }
  }

  @Test("without the code nothing in the mailbox can be read")
  func otherCode() throws {
    var scene = try Scene(seed: 4)
    let offer = try scene.admitting.offer()
    var random = SeededRandom(seed: 99)
    scene.code = InvitationCode(using: &random)
    var joining = try scene.newcomer()
    #expect(throws: SealingError.notAuthentic) { try joining.receive(offer: offer) }
  }

  @Test("an entry of a stranger is refused, one whose signer is not known waits for it, and none closes anything")
  func membership() throws {
    var scene = try Scene(seed: 5)
    var random = SeededRandom(seed: 50)
    let stranger = try DeviceKeys(using: &random)
    let certificate = DeviceCertificate(device: DeviceID(using: &random), name: "x", kind: "laptop", keys: stranger, created: 0)
    let signature = try certificate.signedBy(stranger)
    let good = try scene.entry(.admit(certificate), signature)
    let forged = try MembershipEntry.signed(.admit(certificate), signer: scene.device, deviceSignature: signature, wall: 1, key: stranger.signing)
    #expect(scene.members.accept(forged) == .refused)
    #expect(scene.members.accept(good) == .accepted)
    #expect(scene.members.accept(good) == .known, "again is harmless")
    #expect(scene.members.devices.count == 2)
    var later = Members(rootKey: scene.account.rootKey)
    #expect(later.accept(good) == .waiting)
    #expect(later.accept(scene.founding) == .accepted)
    #expect(later.devices == scene.members.devices, "it waited for its signer")
    // What a store has kept is taken as it is; what does not fit is left out.
    #expect(Members(rootKey: scene.account.rootKey, trusted: [[1, 2, 3], good, forged, scene.founding]).devices == scene.members.devices)
  }

  @Test("of two devices that admit at the same time both count, in any order; two admit one newcomer: once")
  func atOnce() throws {
    var scene = try Scene(seed: 6)
    var random = SeededRandom(seed: 60)
    let entries = try (0..<3).map { _ in
      let keys = try DeviceKeys(using: &random)
      let certificate = DeviceCertificate(device: DeviceID(using: &random), name: "x", kind: "laptop", keys: keys, created: 0)
      return try scene.entry(.admit(certificate), try certificate.signedBy(keys))
    }
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
      var members = Members(rootKey: scene.account.rootKey)
      for index in order { _ = members.accept(entries[index]) }
      _ = members.accept(scene.founding)
      #expect(members.devices.count == 4)
    }
    for entry in entries + entries { _ = scene.members.accept(entry) }
    #expect(scene.members.devices.count == 4)
  }

  @Test("what an admitter takes back is a member no more, in any order; nobody else can take it back")
  func retracted() throws {
    let scene = try Scene(seed: 7)
    var random = SeededRandom(seed: 70)
    let keys = try DeviceKeys(using: &random)
    let certificate = DeviceCertificate(device: DeviceID(using: &random), name: "x", kind: "laptop", keys: keys, created: 0)
    let admitted = try scene.entry(.admit(certificate), try certificate.signedBy(keys))
    let back = try scene.entry(.retract(certificate.device), [])
    let revenge = try MembershipEntry.signed(.retract(scene.device), signer: certificate.device, wall: 1, key: keys.signing)
    for order in [[scene.founding, admitted, back], [back, admitted, scene.founding], [admitted, back, scene.founding]] {
      var members = Members(rootKey: scene.account.rootKey)
      for entry in order { _ = members.accept(entry) }
      #expect(members.devices == [scene.device])
      #expect(members.keys(of: certificate.device) != nil, "what it wrote can be read")
    }
    var members = Members(rootKey: scene.account.rootKey)
    for entry in [scene.founding, admitted, revenge] { _ = members.accept(entry) }
    #expect(members.devices.count == 2)
  }

  @Test("whom a device lets in that was taken back belongs to the account no more than it does, whoever passes that on")
  func admittedByOneTakenBack() throws {
    let scene = try Scene(seed: 7)
    var random = SeededRandom(seed: 71)
    func newcomer(_ name: String) throws -> (certificate: DeviceCertificate, keys: DeviceKeys) {
      let keys = try DeviceKeys(using: &random)
      return (DeviceCertificate(device: DeviceID(using: &random), name: name, kind: "laptop", keys: keys, created: 0), keys)
    }
    let (first, second) = (try newcomer("first"), try newcomer("second"))
    let admitted = try scene.entry(.admit(first.certificate), try first.certificate.signedBy(first.keys))
    let back = try scene.entry(.retract(first.certificate.device), [])
    let further = try MembershipEntry.signed(
      .admit(second.certificate), signer: first.certificate.device, deviceSignature: try second.certificate.signedBy(second.keys), wall: 2,
      key: first.keys.signing)
    for order in [[scene.founding, admitted, further, back], [back, further, admitted, scene.founding], [further, scene.founding, back, admitted]] {
      var members = Members(rootKey: scene.account.rootKey)
      for entry in order { _ = members.accept(entry) }
      #expect(members.devices == [scene.device])
      #expect(members.introduction(of: second.certificate.device).isEmpty, "it has no chain that stands")
    }
    // Another device lets it in as well: one chain that stands is enough.
    var members = Members(rootKey: scene.account.rootKey)
    let again = try scene.entry(.admit(second.certificate), try second.certificate.signedBy(second.keys))
    for entry in [scene.founding, admitted, further, back, again] { _ = members.accept(entry) }
    #expect(Set(members.devices) == [scene.device, second.certificate.device])
    #expect(members.introduction(of: second.certificate.device) == [scene.founding, again])
    var stranger = Members(rootKey: [UInt8](repeating: 7, count: 32))
    for entry in members.introduction(of: second.certificate.device) { #expect(stranger.accept(entry) != .accepted) }
    #expect(stranger.devices.isEmpty, "another root believes none of it")
  }

  struct Scene {
    var code: InvitationCode
    var account: AccountKeys
    var keys: DeviceKeys
    var device: DeviceID
    var members: Members
    var admitting: AdmittingSide
    var random: SeededRandom
    let founding: [UInt8]

    func entry(_ change: MembershipEntry.Change, _ deviceSignature: [UInt8]) throws -> [UInt8] {
      try MembershipEntry.signed(change, signer: device, deviceSignature: deviceSignature, wall: 1, key: keys.signing)
    }

    init(seed: UInt64, code: InvitationCode? = nil) throws {
      random = SeededRandom(seed: seed)
      self.code = code ?? InvitationCode(using: &random)
      let root = AccountRoot(RecoveryCode(entropy: random.bytes(32)))
      let signing = try root.signingKey
      account = AccountKeys(
        account: random.bytes(16), rootKey: Array(signing.publicKey.rawRepresentation), tagKey: root.tagKey,
        epochKeys: [EpochKey(epoch: 1, bytes: random.bytes(32))])
      keys = try DeviceKeys(using: &random)
      device = DeviceID(using: &random)
      let certificate = DeviceCertificate(device: device, name: "laptop", kind: "laptop", keys: keys, created: 1)
      members = Members(rootKey: account.rootKey)
      founding = try MembershipEntry.signed(
        .found(certificate), signer: nil, deviceSignature: try certificate.signedBy(keys), wall: 1, key: signing)
      _ = members.accept(founding)
      admitting = AdmittingSide(code: self.code, certificate: certificate, rootKey: account.rootKey, using: &random)
    }

    mutating func newcomer() throws -> JoiningSide {
      let keys = try DeviceKeys(using: &random)
      let certificate = DeviceCertificate(device: DeviceID(using: &random), name: "phone", kind: "phone", keys: keys, created: 2)
      return try JoiningSide(code: code, keys: keys, certificate: certificate, using: &random)
    }
  }
}
