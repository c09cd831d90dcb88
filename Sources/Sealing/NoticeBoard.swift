import Causality
import Crypto
import Foundation
import WireFormat

/// What somebody without an account is given: 128 random bits, which name a place on the relay and open what
/// lies there — the alerts of a crisis, or one question. They open nothing else.
package struct SecretLink: Sendable, Hashable, CustomStringConvertible {
  let secret: Identifier<SecretLink>

  package init(using random: inout some RandomNumberGenerator) { secret = .init(using: &random) }

  /// Reads a link with or without its dashes; `nil` for anything else.
  package init?(_ text: String) {
    guard let secret = Identifier<SecretLink>(grouped: text) else { return nil }
    self.secret = secret
  }

  /// 26 characters in groups: `xxxxx-xxxxx-…`.
  package var description: String { secret.grouped }
}

/// A short message on a board. It names a person at most, and never anything that was written.
package struct Notice: Sendable, Hashable {
  /// The account puts up `opened`, `alert`, `stage`, `ended` and `closed`; whoever follows the link `following`, `shown` and `seen`.
  package enum Kind: UInt32, Sendable { case opened = 1, alert, stage, seen, following, shown, ended, closed }
  package var kind: Kind
  /// Wall clock, in milliseconds, of whoever put it up.
  package var wall: UInt64
  /// What the reader knows the person as.
  package var person = ""
  /// Blinded activations, 8 bytes each.
  package var marks: Set<[UInt8]> = []
  /// Sealed for the account; see ``NoticeSubject``. The same bytes at two links are the same event, whatever the clocks say:
  /// they begin with chance.
  package var about: [UInt8] = []
  package var stage: UInt32 = 0

  package init(kind: Kind, wall: UInt64) { (self.kind, self.wall) = (kind, wall) }
}

/// A place on a relay where notices are put up, each under a number of its own.
package struct NoticeBoard: Sendable {
  /// The board's name on the relay, in hexadecimal.
  package let name: String
  private let key: SymmetricKey
  private let markKey: SymmetricKey

  private init(_ secret: SymmetricKey, _ label: String) {
    name = LabelledInput("fullmind/1/\(label) board").derive(from: secret, length: 16).bytes.hexadecimal
    key = LabelledInput("fullmind/1/\(label) notice").derive(from: secret)
    markKey = LabelledInput("fullmind/1/\(label) mark").derive(from: secret)
  }

  /// The board that the person and one contact share.
  package init(_ link: SecretLink) { self.init(SymmetricKey(data: link.secret.bytes), "alert") }

  /// The board that the devices of an account share.
  package init(_ account: AccountKeys) { self.init(SymmetricKey(data: account.tagKey), "account") }

  /// The same activation has the same mark on this board, and another on every other.
  package func mark(_ activation: OperationID) -> [UInt8] {
    Array(HMAC<SHA256>.authenticationCode(for: activation.bytes, using: markKey).prefix(8))
  }

  /// Every notice has the same size, whatever it says.
  package func seal(_ notice: Notice, number: UInt64, using random: inout some RandomNumberGenerator) -> [UInt8] {
    var wire = WireNotice()
    wire.kind = notice.kind.rawValue
    wire.atMs = notice.wall
    wire.person = notice.person
    wire.marks = notice.marks.sorted { $0.lexicographicallyPrecedes($1) }.map { Data($0) }
    wire.about = Data(notice.about)
    wire.stage = notice.stage
    return Self.seal(wire.encoded, padded: Limits.noticeBytes, key, number.bigEndianBytes, &random)
  }

  /// - Returns: `nil` for bytes that were not sealed for this board and this number.
  package func open(_ sealed: [UInt8], number: UInt64) -> Notice? {
    guard let bytes = Self.open(sealed, key, number.bigEndianBytes), let wire = try? WireNotice(serializedBytes: bytes),
      let kind = Notice.Kind(rawValue: wire.kind), wire.marks.count <= Limits.noticeActivations,
      wire.person.count <= Limits.personCharacters
    else { return nil }
    var notice = Notice(kind: kind, wall: wire.atMs)
    notice.person = wire.person
    notice.marks = Set(wire.marks.map { Array($0) })
    notice.about = Array(wire.about)
    notice.stage = wire.stage
    return notice
  }

  /// Length (2 bytes), content, zeros; then sealed with a random nonce.
  static func seal(
    _ content: [UInt8], padded size: Int, _ key: SymmetricKey, _ context: [UInt8],
    _ random: inout some RandomNumberGenerator
  ) -> [UInt8] {
    precondition(content.count + 2 <= size, "what goes into a notice is limited before")
    let padding = [UInt8](repeating: 0, count: size - 2 - content.count)
    guard let nonce = try? ChaChaPoly.Nonce(data: random.bytes(12)),
      let box = try? ChaChaPoly.seal(
        UInt16(content.count).bigEndianBytes + content + padding, using: key, nonce: nonce, authenticating: context)
    else { preconditionFailure("ChaCha20-Poly1305 does not fail on values in memory") }
    return [UInt8](box.combined)
  }

  static func open(_ sealed: [UInt8], _ key: SymmetricKey, _ context: [UInt8]) -> [UInt8]? {
    guard let box = try? ChaChaPoly.SealedBox(combined: sealed),
      let opened = try? ChaChaPoly.open(box, using: key, authenticating: context)
    else { return nil }
    let padded = [UInt8](opened)
    guard padded.count >= 2 else { return nil }
    let count = Int(UInt16(bigEndianBytes: padded[..<2]))
    return count + 2 <= padded.count ? Array(padded[2..<2 + count]) : nil
  }
}

/// What a notice is about, for the devices of the account: which of them put it up, and activations.
package struct NoticeSubject: Sendable, Hashable {
  package var device: DeviceID
  package var activations: [OperationID]

  package init(device: DeviceID, activations: [OperationID]) {
    (self.device, self.activations) = (device, Array(activations.prefix(Limits.noticeActivations)))
  }

  private static let label: [UInt8] = Array("fullmind/1/subject".utf8)
  private static func key(_ account: AccountKeys) -> SymmetricKey {
    LabelledInput("fullmind/1/notice subject").derive(from: SymmetricKey(data: account.tagKey))
  }
  /// Bytes before sealing: so many activations at most, 43 bytes each.
  private static let bytes = 560

  package func sealed(_ account: AccountKeys, using random: inout some RandomNumberGenerator) -> [UInt8] {
    var wire = WireActivations()
    wire.device = Data(device.bytes)
    wire.operations = activations.map { Data($0.bytes) }
    return NoticeBoard.seal(wire.encoded, padded: Self.bytes, Self.key(account), Self.label, &random)
  }

  /// - Returns: `nil` for bytes that no device of this account sealed.
  package init?(_ sealed: [UInt8], _ account: AccountKeys) {
    guard let bytes = NoticeBoard.open(sealed, Self.key(account), Self.label),
      let wire = try? WireActivations(serializedBytes: bytes), let device = DeviceID(bytes: wire.device)
    else { return nil }
    let activations = wire.operations.compactMap { OperationID(bytes: Array($0)) }.filter { $0.stream.lane == .crisis }
    self.init(device: device, activations: activations)
  }
}
