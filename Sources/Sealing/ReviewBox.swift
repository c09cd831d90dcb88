import Causality
import Crypto
import Foundation
import WireFormat

/// What a reviewer is shown of a conflict: its versions, and nothing else of the account.
package struct ReviewQuestion: Sendable, Hashable {
  package struct Version: Sendable, Hashable {
    package var value: String
    /// Wall clock of the device that wrote it, in milliseconds.
    package var wall: UInt64
    package var consequence: String
    package init(value: String, wall: UInt64, consequence: String) { (self.value, self.wall, self.consequence) = (value, wall, consequence) }
  }
  /// Who asks, by the name that the reviewer knows.
  package var person: String
  package var subject: String
  package var meanwhile: String
  package var versions: [Version]

  package init(person: String, subject: String, meanwhile: String, versions: [Version]) {
    (self.person, self.subject, self.meanwhile, self.versions) = (person, subject, meanwhile, versions)
  }
}

/// A mailbox on the relay with one question and one answer, which the link names and opens.
package struct ReviewBox: Sendable {
  package static let question: UInt8 = 1
  package static let answer: UInt8 = 2
  /// The mailbox's name on the relay, in hexadecimal.
  package let mailbox: String
  private let key: SymmetricKey

  package init(_ link: SecretLink) {
    let secret = SymmetricKey(data: link.secret.bytes)
    mailbox = LabelledInput("fullmind/1/review mailbox").derive(from: secret, length: 16).bytes.hexadecimal
    key = LabelledInput("fullmind/1/review mail").derive(from: secret)
  }

  /// - Returns: `nil` when the versions are longer than can be asked about.
  package func seal(_ question: ReviewQuestion, using random: inout some RandomNumberGenerator) -> [UInt8]? {
    var wire = WireReviewQuestion()
    (wire.person, wire.subject, wire.meanwhile) = (question.person, question.subject, question.meanwhile)
    wire.versions = question.versions.map { version in
      var wire = WireReviewVersion()
      (wire.value, wire.atMs, wire.consequence) = (version.value, version.wall, version.consequence)
      return wire
    }
    let bytes = wire.encoded
    guard let size = Limits.reviewBytes.first(where: { bytes.count + 2 <= $0 }) else { return nil }
    return NoticeBoard.seal(bytes, padded: size, key, [Self.question], &random)
  }

  package func question(_ sealed: [UInt8]) -> ReviewQuestion? {
    guard let bytes = NoticeBoard.open(sealed, key, [Self.question]), let wire = try? WireReviewQuestion(serializedBytes: bytes),
      !wire.versions.isEmpty, wire.versions.count <= Limits.listedVersions
    else { return nil }
    return ReviewQuestion(
      person: wire.person, subject: wire.subject, meanwhile: wire.meanwhile,
      versions: wire.versions.map { .init(value: $0.value, wall: $0.atMs, consequence: $0.consequence) })
  }

  /// The answer: the number of the version that is to be kept, from 1.
  package func seal(keeping number: Int, using random: inout some RandomNumberGenerator) -> [UInt8] {
    NoticeBoard.seal(UInt64(number).bigEndianBytes, padded: 64, key, [Self.answer], &random)
  }

  package func answer(_ sealed: [UInt8]) -> Int? {
    guard let bytes = NoticeBoard.open(sealed, key, [Self.answer]), bytes.count == 8 else { return nil }
    return Int(exactly: UInt64(bigEndianBytes: bytes))
  }
}
