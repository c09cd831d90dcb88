import Causality
import Foundation
import Relays
import Replica
import Sealing
import Storage

/// Why an enrolment did not come to an end. No account was changed.
package enum EnrolmentError: Error, Sendable, Hashable {
  case expired
  case declined
  /// The other side said that it does not go on.
  case declinedThere
  case interrupted
  case badCode
}

extension EnrolmentError: ActionableError {
  package var code: String {
    switch self {
    case .expired: "join.expired"
    case .declined: "join.declined"
    case .declinedThere: "join.declined-there"
    case .interrupted: "join.interrupted"
    case .badCode: "join.bad-code"
    }
  }
  package var summary: String {
    switch self {
    case .expired: "Nobody answered within five minutes. No device was added."
    case .declined: "The short codes were not confirmed. No device was added."
    case .declinedThere: "The other device has stopped. No device was added."
    case .interrupted: "The other side sent something that does not belong here. No device was added."
    case .badCode: "This invitation code cannot be read. Nothing was changed."
    }
  }
  package var remedy: String {
    switch self {
    case .expired, .declined, .declinedThere:
      "Ask for a new code (“fullmind devices invite” there) and use the same --relay on both devices."
    case .interrupted: "Ask for a new code. If it happens again, somebody may be in the middle: use another relay."
    case .badCode: "Copy it again as “fullmind devices invite” printed it."
    }
  }
  package var exitStatus: ExitStatus {
    switch self {
    case .expired: .temporary
    case .declined, .declinedThere, .interrupted: .noPermission
    case .badCode: .usage
    }
  }
}

/// One side's view of a mailbox.
private struct Mailbox {
  let relay: any Relay
  let code: InvitationCode
  /// By a clock that counts sleep: a code is good for five minutes, not for five minutes of being awake.
  let deadline = SystemClock.bootTime + Limits.invitationLife * 1_000_000
  /// Something lies there that is not whole, or does not open.
  var isUnreadable = false

  /// - Throws: ``EnrolmentError``.
  func checkTime() throws {
    guard SystemClock.bootTime < deadline else { throw isUnreadable ? EnrolmentError.interrupted : .expired }
  }

  /// A message; `nil` while there is none, or only a part of one: services that carry files bring them so.
  mutating func message(_ slot: EnrolmentSlot) throws -> [UInt8]? {
    guard let sealed = try relay.mail(in: code.mailbox, slot: slot.rawValue) else { return nil }
    guard code.isWhole(sealed, slot) else {
      isUnreadable = true
      return nil
    }
    isUnreadable = false
    return sealed
  }

  /// Whether the other side has said that it does not go on.
  func isRefused(_ slot: EnrolmentSlot) throws -> Bool {
    try relay.mail(in: code.mailbox, slot: slot.rawValue).map { code.isRefusal($0, slot) } ?? false
  }

  func put(_ sealed: [UInt8], _ slot: EnrolmentSlot) throws(RelayError) {
    try relay.putMail(sealed, mailbox: code.mailbox, slot: slot.rawValue)
  }

  func refuse(_ slot: EnrolmentSlot) {
    if let refusal = try? code.refusal(slot) { try? put(refusal, slot) }
  }
}

/// The admitting side: offers, waits for the newcomer, admits it once the digits were compared.
///
/// A value driven from outside: ``step()`` looks into the mailbox and returns what there is to show.
package struct Invitation {
  package let code: InvitationCode
  private var side: AdmittingSide
  private var mailbox: Mailbox
  private var isWaitingForRequest = true

  package enum Progress: Sendable, Hashable {
    case waiting
    /// The newcomer is there: compare these digits with its screen.
    case compare(digits: String, name: String)
  }

  /// Draws a code and posts the offer.
  ///
  /// - Throws: ``RelayError``; also where there is no relay.
  package init(store: Store, relay: any Relay, members: Members) throws {
    guard let certificate = members.certificates[store.ring.device] else { throw EnrolmentError.interrupted }
    var random = SystemRandomNumberGenerator()
    code = InvitationCode(using: &random)
    side = AdmittingSide(
      code: code, certificate: certificate, rootKey: store.ring.account.rootKey, using: &random)
    mailbox = Mailbox(relay: relay, code: code)
    _ = try relay.survey()
    try mailbox.put(try side.offer(), .offer)
  }

  /// - Throws: ``EnrolmentError``, ``RelayError``.
  package mutating func step() throws -> Progress {
    do { try mailbox.checkTime() } catch {
      try? mailbox.relay.removeMailbox(code.mailbox)
      throw error
    }
    if try mailbox.isRefused(.refusal) {
      try? mailbox.relay.removeMailbox(code.mailbox)
      throw EnrolmentError.declinedThere
    }
    guard isWaitingForRequest, let request = try mailbox.message(.request) else { return .waiting }
    let answer: (reveal: [UInt8], digits: String)
    do { answer = try side.receive(request: request) } catch is SealingError {
      cancel()
      throw EnrolmentError.interrupted
    }
    try mailbox.put(answer.reveal, .reveal)
    isWaitingForRequest = false
    return .compare(digits: answer.digits, name: side.newcomer?.certificate.name ?? "")
  }

  /// Admits the newcomer: signs it in and keeps the account for it, sealed, in one transaction. The sync leader of this
  /// device sees to it that it gets there; the relay is tried at once.
  ///
  /// - Returns: Whether it lies on the relay already.
  package func admit(_ performer: inout EffectPerformer<Store>) throws -> Bool {
    guard let newcomer = side.newcomer else { throw EnrolmentError.interrupted }
    var random = SystemRandomNumberGenerator()
    let account = performer.ring.account
    var admission: Admission?
    try performer.admit(newcomer.certificate, signature: newcomer.signature, now: SystemClock.now, using: &random) { transaction, membership in
      let kept = Admission(
        device: newcomer.certificate.device, code: code.description, sealed: try side.admission(account, membership: membership))
      try transaction.keepAdmission(kept.bytes, of: kept.device)
      admission = kept
    }
    guard let admission else { return false }
    return (try? mailbox.put(admission.sealed, .admission)) != nil
  }

  /// The device that asks to be let in.
  package var newcomer: DeviceID? { side.newcomer?.certificate.device }

  /// Tells the newcomer that nothing comes of it.
  package func cancel() { mailbox.refuse(.withdrawal) }
}

/// The newcomer's side. What it has drawn and learned is kept in a folder beside its home, so that another run goes on
/// where one was killed: the same device, the same request.
package struct Joining {
  private var side: JoiningSide
  private var mailbox: Mailbox
  private var awaited = EnrolmentSlot.offer
  private let draft: HomeDraft
  private let dataKey: Store.DataKey
  private let choices: AccountSetup.Choices
  private let identity: UInt64

  package enum Progress {
    case waiting
    case compare(digits: String, admittedBy: String)
    /// The home is complete, and has to be finished.
    case admitted(AccountSetup.Prepared)
  }

  private static let file = "joining"

  /// Begins, or goes on with what another run began with this code.
  ///
  /// - Throws: ``EnrolmentError/badCode``, ``RelayError`` where there is no relay, ``StorageError``.
  package init(code: String, at home: HomeFolder, _ choices: AccountSetup.Choices) throws {
    let parsed: InvitationCode
    do { parsed = try InvitationCode(code) } catch { throw EnrolmentError.badCode }
    let folder = FolderRelay(path: choices.relay.folder, account: [], ownTag: nil)
    identity = try PatientRelay.identity(of: folder, at: choices.relay.description)
    let relay = PatientRelay(folder, named: choices.relay.description)
    let key: Store.DataKey
    (draft, key) = try Self.draft(at: home, choices)
    (dataKey, self.choices) = (key, choices)
    mailbox = Mailbox(relay: relay, code: parsed)
    if let bytes = key.kept(Self.file, in: draft), let kept = try? JoiningSide(bytes: bytes) {
      if kept.code == parsed {
        side = kept
        return
      }
      // Nobody goes on with the other code: whoever admits by it takes that back.
      Mailbox(relay: relay, code: kept.code).refuse(.refusal)
    }
    var random = SystemRandomNumberGenerator()
    let keys = try DeviceKeys(using: &random)
    let certificate = DeviceCertificate(
      device: DeviceID(using: &random), name: choices.deviceName, kind: DeviceName.kind(for: choices.deviceName), keys: keys,
      created: SystemClock.now.wall)
    side = try JoiningSide(code: parsed, keys: keys, certificate: certificate, using: &random)
    try key.keep(side.bytes, as: Self.file, in: draft)
  }

  private static func draft(at home: HomeFolder, _ choices: AccountSetup.Choices) throws -> (HomeDraft, Store.DataKey) {
    let draft = try HomeDraft(joiningAt: home)
    do { return (draft, try Store.dataKey(of: draft, passphrase: choices.passphrase)) } catch let error as StorageError {
      switch error {
      case .wrongPassphrase, .passphraseNeeded, .damaged: break
      default: throw error
      }
      // Another run's, with another passphrase: it cannot be gone on with.
      try draft.restart()
      return (draft, try Store.dataKey(of: draft, passphrase: choices.passphrase))
    }
  }

  /// - Throws: ``EnrolmentError``, ``RelayError``, ``StorageError``.
  package mutating func step() throws -> Progress {
    try mailbox.checkTime()
    if try mailbox.isRefused(.withdrawal) {
      try? mailbox.relay.removeMailbox(side.code.mailbox)
      draft.discard()
      throw EnrolmentError.declinedThere
    }
    guard let message = try mailbox.message(awaited) else { return .waiting }
    do {
      switch awaited {
      case .offer:
        let request = try side.receive(offer: message)
        try dataKey.keep(side.bytes, as: Self.file, in: draft)
        do { try mailbox.put(request, .request) } catch .taken {
          guard let there = try mailbox.message(.request), side.isOwn(request: there) else { throw RelayError.taken }
        }
        awaited = .reveal
        return .waiting
      case .reveal:
        let shown = try side.receive(reveal: message)
        awaited = .admission
        return .compare(digits: shown.digits, admittedBy: shown.admittedBy)
      case .admission, .request, .refusal, .withdrawal:
        let (account, members) = try side.receive(admission: message)
        let ring = KeyRing(account: account, device: side.certificate.device, keys: side.keys)
        _ = try AccountSetup.make(draft, ring, membership: members.log, filing: members.introduction(of: ring.device), choices, identity)
        return .admitted(AccountSetup.Prepared(ring: ring, draft: draft, dataKey: dataKey, relay: (choices.relay, identity)))
      }
    } catch is SealingError {
      throw EnrolmentError.interrupted
    }
  }

  /// The home is in its place: nobody has to go on with it any more.
  static func forget(_ home: HomeFolder) { unlink(home.path + "/" + file) }

  /// A store was made meanwhile where this one belongs: whoever admits this device takes that back. What may pass, a full
  /// disk for instance, is gone on with by the next run.
  package func didNotFit(_ error: StorageError) {
    switch error {
    case .storeExists, .notEmpty: refuse()
    default: break
    }
  }

  /// The digits were not the same: whoever admits this device takes that back.
  package func refuse() {
    mailbox.refuse(.refusal)
    draft.discard()
  }
}
