import Causality
import Crypto
import Foundation
import WireFormat

/// What a person carries from the admitting device to the newcomer: 128 random bits.
///
/// It names a mailbox on the relay and seals the messages in it; it is not what makes the newcomer
/// trusted — the compared short code is.
package struct InvitationCode: Sendable, Hashable, CustomStringConvertible {
  private let secret: Identifier<InvitationCode>

  package init(using random: inout some RandomNumberGenerator) { secret = .init(using: &random) }

  /// Reads a code with or without its dashes.
  ///
  /// - Throws: ``SealingError/badInvitation``.
  package init(_ text: String) throws(SealingError) {
    guard let secret = Identifier<InvitationCode>(grouped: text) else { throw .badInvitation }
    self.secret = secret
  }

  /// 26 characters in groups: `xxxxx-xxxxx-…`.
  package var description: String { secret.grouped }

  /// The mailbox's name on the relay, in hexadecimal.
  package var mailbox: String {
    LabelledInput("fullmind/1/mailbox").derive(from: key, length: 16).bytes.hexadecimal
  }

  private var key: SymmetricKey { SymmetricKey(data: secret.bytes) }

  func seal(_ message: [UInt8], slot: EnrolmentSlot) throws -> [UInt8] {
    [UInt8](try ChaChaPoly.seal(message, using: mailKey, authenticating: [slot.rawValue]).combined)
  }

  func open(_ sealed: [UInt8], slot: EnrolmentSlot) throws(SealingError) -> [UInt8] {
    guard
      let box = try? ChaChaPoly.SealedBox(combined: sealed),
      let message = try? ChaChaPoly.open(box, using: mailKey, authenticating: [slot.rawValue])
    else { throw .notAuthentic }
    return [UInt8](message)
  }

  private var mailKey: SymmetricKey { LabelledInput("fullmind/1/mail").derive(from: key) }
}

/// The messages of an enrolment, in order. Each lies in a slot of the mailbox, and whoever comes first has the slot.
package enum EnrolmentSlot: UInt8, Sendable, CaseIterable {
  case offer = 1, request, reveal, admission
  /// The newcomer does not go on: whoever admitted it takes that back.
  case refusal
  /// The admitting device does not go on.
  case withdrawal
}

/// The account as a newcomer receives it.
package struct AccountKeys: Sendable {
  package var account: [UInt8]
  package var rootKey: [UInt8]
  package var tagKey: [UInt8]
  package var epochKeys: [EpochKey]

  package init(account: [UInt8], rootKey: [UInt8], tagKey: [UInt8], epochKeys: [EpochKey]) {
    self.account = account
    self.rootKey = rootKey
    self.tagKey = tagKey
    self.epochKeys = epochKeys
  }

  package var sealer: BatchSealer {
    BatchSealer(tags: BlindTags(tagKey: tagKey, account: account), epochKeys: epochKeys)
  }
}

/// The digits both screens show: derived from everything both sides revealed.
///
/// The admitting device commits to its part before it sees the newcomer's, so that somebody in the
/// middle has one guess in 10^12. (Vaudenay, *Secure Communications over Insecure Channels*, 2005.)
private func shortCode(_ parts: LabelledInput) -> String {
  let number = parts.sha256.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) } % 1_000_000_000_000
  let digits = String(number)
  let padded = Array(String(repeating: "0", count: 12 - digits.count) + digits)
  return stride(from: 0, to: 12, by: 4).map { String(padded[$0..<$0 + 4]) }.joined(separator: " ")
}

/// The admitting side of an enrolment.
package struct AdmittingSide: Sendable {
  package let code: InvitationCode
  private let certificate: DeviceCertificate
  private let rootKey: [UInt8]
  private let nonce: [UInt8]
  package private(set) var newcomer: (certificate: DeviceCertificate, signature: [UInt8])?

  package init(
    code: InvitationCode, certificate: DeviceCertificate, rootKey: [UInt8],
    using random: inout some RandomNumberGenerator
  ) {
    self.code = code
    self.certificate = certificate
    self.rootKey = rootKey
    nonce = random.bytes(32)
  }

  private var revealed: [UInt8] {
    var wire = WireJoinReveal()
    wire.certificate = Data(certificate.bytes)
    wire.nonce = Data(nonce)
    wire.rootKey = Data(rootKey)
    return wire.encoded
  }

  /// The first message: a commitment to what will be revealed.
  package func offer() throws -> [UInt8] {
    var wire = WireJoinOffer()
    wire.commitment = Data(LabelledInput("fullmind/1/commitment", revealed).sha256)
    return try code.seal(wire.encoded, slot: .offer)
  }

  /// Takes the newcomer's request; returns the reveal to post and the digits to compare.
  ///
  /// - Throws: ``SealingError``; the enrolment stays where it was.
  package mutating func receive(request: [UInt8]) throws -> (reveal: [UInt8], digits: String) {
    let message = try code.open(request, slot: .request)
    guard let wire = try? WireJoinRequest(serializedBytes: message), wire.nonce.count == 32 else {
      throw SealingError.malformed
    }
    let newcomer = try DeviceCertificate(bytes: Array(wire.certificate))
    guard newcomer.isSignedByItself(Array(wire.deviceSignature)) else { throw SealingError.badSignature }
    self.newcomer = (newcomer, Array(wire.deviceSignature))
    let digits = shortCode(LabelledInput("fullmind/1/short code", revealed, message))
    return (try code.seal(revealed, slot: .reveal), digits)
  }

  /// Seals the account to the newcomer, after the person compared the digits.
  ///
  /// - Parameter membership: With the entry that admits the newcomer.
  /// - Throws: What the library throws for a key to which nothing can be sealed; then it is not admitted.
  package func admission(_ keys: AccountKeys, membership: [[UInt8]]) throws -> [UInt8] {
    guard let newcomer else { preconditionFailure("admission comes after the request") }
    var content = WireAdmissionContent()
    content.account = Data(keys.account)
    content.rootKey = Data(keys.rootKey)
    content.tagKey = Data(keys.tagKey)
    content.membership = membership.map { Data($0) }
    content.epochKeys = keys.epochKeys.map { $0.wire }
    let recipient = try XWingMLKEM768X25519.PublicKey(rawRepresentation: newcomer.certificate.agreementKey)
    var sender = try HPKE.Sender(
      recipientKey: recipient, ciphersuite: .suite1, info: Data(admissionLabel(newcomer.certificate.device)))
    var wire = WireAdmission()
    wire.sealed = try sender.seal(content.encoded)
    wire.encapsulated = sender.encapsulatedKey
    return try code.seal(wire.encoded, slot: .admission)
  }
}

/// The newcomer's side of an enrolment. It can be kept and gone on with: the same request, from the same device.
package struct JoiningSide: Sendable {
  package let code: InvitationCode
  package let keys: DeviceKeys
  package let certificate: DeviceCertificate
  private let requestMessage: [UInt8]
  private var commitment: [UInt8]?
  private var rootKey: [UInt8]?

  /// Everything that has to be kept; it holds the private keys of the device.
  package var bytes: [UInt8] {
    var wire = WireJoining()
    wire.code = code.description
    wire.signingSeed = Data(keys.signingSeed)
    wire.agreementSeed = Data(keys.agreementSeed)
    wire.request = Data(requestMessage)
    wire.commitment = Data(commitment ?? [])
    wire.rootKey = Data(rootKey ?? [])
    return wire.encoded
  }

  /// Takes up what was kept.
  package init(bytes: [UInt8]) throws {
    let wire = try WireJoining(serializedBytes: bytes)
    let request = try WireJoinRequest(serializedBytes: Array(wire.request))
    code = try InvitationCode(wire.code)
    keys = try DeviceKeys(signingSeed: Array(wire.signingSeed), agreementSeed: Array(wire.agreementSeed))
    certificate = try DeviceCertificate(bytes: Array(request.certificate))
    requestMessage = Array(wire.request)
    commitment = wire.commitment.isEmpty ? nil : Array(wire.commitment)
    rootKey = wire.rootKey.isEmpty ? nil : Array(wire.rootKey)
  }

  package init(
    code: InvitationCode, keys: DeviceKeys, certificate: DeviceCertificate,
    using random: inout some RandomNumberGenerator
  ) throws {
    self.code = code
    self.keys = keys
    self.certificate = certificate
    var wire = WireJoinRequest()
    wire.certificate = Data(certificate.bytes)
    wire.nonce = Data(random.bytes(32))
    wire.deviceSignature = Data(try certificate.signedBy(keys))
    requestMessage = wire.encoded
  }

  /// Takes the offer; returns the request to post.
  package mutating func receive(offer: [UInt8]) throws -> [UInt8] {
    let message = try code.open(offer, slot: .offer)
    guard let wire = try? WireJoinOffer(serializedBytes: message), wire.commitment.count == 32 else {
      throw SealingError.malformed
    }
    commitment = Array(wire.commitment)
    return try code.seal(requestMessage, slot: .request)
  }

  /// Whether a message that lies in the mailbox is this device's own request.
  package func isOwn(request sealed: [UInt8]) -> Bool { (try? code.open(sealed, slot: .request)) == requestMessage }

  /// Takes the reveal; returns the digits to compare and the name of the admitting device.
  ///
  /// - Throws: ``SealingError/commitmentBroken`` when it is not what was committed to.
  package mutating func receive(reveal: [UInt8]) throws -> (digits: String, admittedBy: String) {
    let message = try code.open(reveal, slot: .reveal)
    guard LabelledInput("fullmind/1/commitment", message).sha256 == commitment else {
      throw SealingError.commitmentBroken
    }
    guard let wire = try? WireJoinReveal(serializedBytes: message) else { throw SealingError.malformed }
    rootKey = Array(wire.rootKey)
    let admitting = try DeviceCertificate(bytes: Array(wire.certificate))
    return (
      shortCode(LabelledInput("fullmind/1/short code", message, requestMessage)), admitting.name
    )
  }

  /// Opens the account.
  ///
  /// - Throws: ``SealingError``; in particular when the account's root is not the one that was compared.
  package func receive(admission: [UInt8]) throws -> (keys: AccountKeys, members: Members) {
    let message = try code.open(admission, slot: .admission)
    guard let wire = try? WireAdmission(serializedBytes: message) else { throw SealingError.malformed }
    var recipient = try HPKE.Recipient(
      privateKey: keys.agreement, ciphersuite: .suite1, info: Data(admissionLabel(certificate.device)),
      encapsulatedKey: wire.encapsulated)
    let opened = try recipient.open(wire.sealed)
    guard let content = try? WireAdmissionContent(serializedBytes: Array(opened)) else {
      throw SealingError.malformed
    }
    guard Array(content.rootKey) == rootKey else { throw SealingError.commitmentBroken }
    var members = Members(rootKey: Array(content.rootKey))
    for entry in content.membership { _ = members.accept(Array(entry)) }
    guard members.certificates[certificate.device] == certificate else { throw SealingError.badMembership }
    let keys = AccountKeys(
      account: Array(content.account), rootKey: Array(content.rootKey), tagKey: Array(content.tagKey),
      epochKeys: try content.epochKeys.map { try EpochKey($0) })
    return (keys, members)
  }
}

extension InvitationCode {
  /// The message by which one side says that it does not go on.
  package func refusal(_ slot: EnrolmentSlot) throws -> [UInt8] { try seal(WireJoinRefusal().encoded, slot: slot) }

  /// Whether a message in such a slot is one that the other side put there.
  package func isRefusal(_ sealed: [UInt8], _ slot: EnrolmentSlot) -> Bool { (try? open(sealed, slot: slot)) != nil }

  /// Whether a message is whole: a service that carries files may show the beginning of one first.
  package func isWhole(_ sealed: [UInt8], _ slot: EnrolmentSlot) -> Bool { (try? open(sealed, slot: slot)) != nil }
}

private func admissionLabel(_ device: DeviceID) -> [UInt8] {
  LabelledInput("fullmind/1/admission", device.bytes).bytes
}

extension HPKE.Ciphersuite {
  /// X-Wing, HKDF-SHA256, ChaCha20-Poly1305.
  fileprivate static let suite1 = HPKE.Ciphersuite(
    kem: .XWingMLKEM768X25519, kdf: .HKDF_SHA256, aead: .chaChaPoly)
}

extension EpochKey {
  package var wire: WireEpochKeyEntry {
    var wire = WireEpochKeyEntry()
    wire.epoch = epoch
    wire.key = Data(bytes)
    return wire
  }

  package init(_ wire: WireEpochKeyEntry) throws(SealingError) {
    guard wire.key.count == 32 else { throw .malformed }
    self.init(epoch: wire.epoch, bytes: Array(wire.key))
  }
}
