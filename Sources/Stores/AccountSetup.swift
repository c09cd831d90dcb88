import Causality
import Foundation
import Relays
import Replica
import Sealing
import Storage

/// Makes accounts, and lets devices in.
package enum AccountSetup {
  /// A new account with this device as its first.
  ///
  /// - Returns: The store, and the recovery code, which is kept nowhere.
  package static func create(
    at home: HomeFolder, deviceName: String, passphrase: String?
  ) throws -> (store: Store, code: RecoveryCode) {
    var random = SystemRandomNumberGenerator()
    return try create(at: home, deviceName: deviceName, passphrase: passphrase, using: &random)
  }

  static func create(
    at home: HomeFolder, deviceName: String, passphrase: String?, using random: inout some RandomNumberGenerator
  ) throws -> (store: Store, code: RecoveryCode) {
    let code = RecoveryCode(entropy: random.bytes(32))
    let root = AccountRoot(code)
    let rootSigning = try root.signingKey
    let account = AccountKeys(
      account: random.bytes(16), rootKey: Array(rootSigning.publicKey.rawRepresentation), tagKey: root.tagKey,
      epochKeys: [EpochKey(epoch: 1, bytes: random.bytes(32))])
    let keys = try DeviceKeys(using: &random)
    let certificate = DeviceCertificate(
      device: DeviceID(using: &random), name: deviceName, kind: DeviceName.kind(for: deviceName), keys: keys,
      created: SystemClock.now.wall)
    let entry = try Members(rootKey: account.rootKey).founding(
      certificate, deviceSignature: try certificate.signedBy(keys), root: rootSigning)
    let ring = KeyRing(account: account, device: certificate.device, keys: keys)
    let store = try Store.create(at: home, ring: ring, membership: [entry], passphrase: passphrase)
    return (store, code)
  }

  /// Makes the folder relay of an account for this device.
  package static func relay(_ location: RelayLocation, ring: KeyRing, isTold: Bool? = nil) throws -> FolderRelay {
    switch location {
    case .folder(let path):
      let tags = ring.account.sealer.tags
      return try FolderRelay(path: path, account: tags.account, ownTag: BlindTag(bytes: tags.device(ring.device)), isTold: isTold)
    }
  }
}

/// Why an enrolment did not come to an end. No account was changed.
package enum EnrolmentError: Error, Sendable, Hashable {
  case expired
  case declined
  case interrupted
  case badCode
}

extension EnrolmentError: ActionableError {
  package var code: String {
    switch self {
    case .expired: "join.expired"
    case .declined: "join.declined"
    case .interrupted: "join.interrupted"
    case .badCode: "join.bad-code"
    }
  }
  package var summary: String {
    switch self {
    case .expired: "Nobody answered within five minutes. No device was added."
    case .declined: "The short codes were not confirmed. No device was added."
    case .interrupted: "The other side sent something that does not belong here. No device was added."
    case .badCode: "This invitation code cannot be read. Nothing was changed."
    }
  }
  package var remedy: String {
    switch self {
    case .expired, .declined: "Ask for a new code with `fullmind devices invite` and use the same --relay on both devices."
    case .interrupted: "Ask for a new code. If it happens again, somebody may be in the middle: use another relay."
    case .badCode: "Copy it again as `fullmind devices invite` printed it."
    }
  }
  package var exitStatus: ExitStatus {
    switch self {
    case .expired: .temporary
    case .declined, .interrupted: .noPermission
    case .badCode: .usage
    }
  }
}

/// The admitting side: offers, waits for the newcomer, admits it once the digits were compared.
///
/// A value driven from outside: ``step(now:)`` looks into the mailbox and returns what there is to show.
package struct Invitation {
  package let code: InvitationCode
  private var side: AdmittingSide
  private let relay: any Relay
  private let deadline: UInt64
  private var isWaitingForRequest = true

  package enum Progress: Sendable, Hashable {
    case waiting
    /// The newcomer is there: compare these digits with its screen.
    case compare(digits: String, name: String)
  }

  /// Draws a code and posts the offer.
  package init(store: Store, relay: any Relay, members: Members) throws {
    guard let certificate = members.certificates[store.ring.device] else { throw EnrolmentError.interrupted }
    var random = SystemRandomNumberGenerator()
    code = InvitationCode(using: &random)
    side = AdmittingSide(
      code: code, certificate: certificate, rootKey: store.ring.account.rootKey, using: &random)
    self.relay = relay
    deadline = SystemClock.now.uptime + Limits.invitationLife * 1_000_000
    try relay.putMail(try side.offer(), mailbox: code.mailbox, slot: EnrolmentSlot.offer.rawValue)
  }

  /// - Throws: ``EnrolmentError``; the mailbox is gone then.
  package mutating func step() throws -> Progress {
    guard SystemClock.now.uptime < deadline else {
      cancel()
      throw EnrolmentError.expired
    }
    guard isWaitingForRequest,
      let request = try relay.mail(in: code.mailbox, slot: EnrolmentSlot.request.rawValue)
    else { return .waiting }
    let answer: (reveal: [UInt8], digits: String)
    do { answer = try side.receive(request: request) } catch is SealingError {
      cancel()
      throw EnrolmentError.interrupted
    }
    isWaitingForRequest = false
    try relay.putMail(answer.reveal, mailbox: code.mailbox, slot: EnrolmentSlot.reveal.rawValue)
    return .compare(digits: answer.digits, name: side.newcomer?.certificate.name ?? "")
  }

  /// Admits the newcomer: signs it in, and seals the account to it.
  package func admit(_ performer: inout EffectPerformer<Store>) throws -> DeviceCertificate {
    guard let newcomer = side.newcomer else { preconditionFailure("admission comes after the request") }
    var random = SystemRandomNumberGenerator()
    try performer.admit(newcomer.certificate, signature: newcomer.signature, using: &random)
    let admission = try side.admission(performer.ring.account, membership: performer.members.log)
    try relay.putMail(admission, mailbox: code.mailbox, slot: EnrolmentSlot.admission.rawValue)
    return newcomer.certificate
  }

  package func cancel() { try? relay.removeMailbox(code.mailbox) }
}

/// The newcomer's side.
package struct Joining {
  private var side: JoiningSide
  private let relay: any Relay
  private let deadline: UInt64
  private var awaited = EnrolmentSlot.offer

  package enum Progress {
    case waiting
    case compare(digits: String, admittedBy: String)
    case admitted(KeyRing, Members)
  }

  package init(code: String, deviceName: String, relay: any Relay) throws {
    var random = SystemRandomNumberGenerator()
    let parsed: InvitationCode
    do { parsed = try InvitationCode(code) } catch { throw EnrolmentError.badCode }
    let keys = try DeviceKeys(using: &random)
    let certificate = DeviceCertificate(
      device: DeviceID(using: &random), name: deviceName, kind: DeviceName.kind(for: deviceName), keys: keys,
      created: SystemClock.now.wall)
    side = try JoiningSide(code: parsed, keys: keys, certificate: certificate, using: &random)
    self.relay = relay
    deadline = SystemClock.now.uptime + Limits.invitationLife * 1_000_000
  }

  /// - Throws: ``EnrolmentError``.
  package mutating func step() throws -> Progress {
    guard SystemClock.now.uptime < deadline else { throw EnrolmentError.expired }
    let mailbox = side.code.mailbox
    guard let message = try relay.mail(in: mailbox, slot: awaited.rawValue) else { return .waiting }
    do {
      switch awaited {
      case .offer:
        let request = try side.receive(offer: message)
        try relay.putMail(request, mailbox: mailbox, slot: EnrolmentSlot.request.rawValue)
        awaited = .reveal
        return .waiting
      case .reveal:
        let shown = try side.receive(reveal: message)
        awaited = .admission
        return .compare(digits: shown.digits, admittedBy: shown.admittedBy)
      case .admission, .request:
        let (account, members) = try side.receive(admission: message)
        try? relay.removeMailbox(mailbox)
        return .admitted(
          KeyRing(account: account, device: side.certificate.device, keys: side.keys), members)
      }
    } catch is SealingError {
      throw EnrolmentError.interrupted
    }
  }
}
