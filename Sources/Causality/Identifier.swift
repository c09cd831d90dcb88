/// A random 128-bit name.
///
/// `Tag` keeps kinds of names apart: a device cannot be passed where a record is wanted.
package struct Identifier<Tag>: Hashable, Sendable, Comparable {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Draws a new identifier.
  package init(using random: inout some RandomNumberGenerator) {
    self.init(high: random.next(), low: random.next())
  }

  /// Reads 16 bytes, most significant first; `nil` when `bytes` has another length.
  package init?(bytes: some Collection<UInt8>) {
    guard bytes.count == Self.byteCount else { return nil }
    self.init(high: UInt64(bigEndianBytes: bytes.prefix(8)), low: UInt64(bigEndianBytes: bytes.dropFirst(8)))
  }

  package static var byteCount: Int { 16 }

  /// 16 bytes, most significant first.
  package var bytes: [UInt8] { high.bigEndianBytes + low.bigEndianBytes }

  package static func < (one: Self, other: Self) -> Bool {
    one.high != other.high ? one.high < other.high : one.low < other.low
  }
}

package enum DeviceTag {}
package enum RecordTag {}

/// Names a device of the account.
package typealias DeviceID = Identifier<DeviceTag>

/// Names a record: a check-in, an assessment, a session …
package typealias RecordID = Identifier<RecordTag>

extension Identifier: CustomStringConvertible {
  /// 26 characters of Crockford's base 32, lower case: the form people see and type.
  package var description: String {
    var text = [UInt8](repeating: 0, count: 26)
    var (high, low) = (high, low)
    for place in 1...26 {
      text[26 - place] = Self.alphabet[Int(low & 31)]
      low = low >> 5 | high << 59
      high >>= 5
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// Reads what ``description`` wrote; tolerates upper case. `nil` for anything else.
  package init?(_ text: some StringProtocol) {
    let characters = Array(text.lowercased().utf8)
    guard characters.count == 26 else { return nil }
    var (high, low): (UInt64, UInt64) = (0, 0)
    for (offset, character) in characters.enumerated() {
      guard let digit = Self.alphabet.firstIndex(of: character) else { return nil }
      if offset == 0, digit > 7 { return nil }
      high = high << 5 | low >> 59
      low = low << 5 | UInt64(digit)
    }
    self.init(high: high, low: low)
  }

  /// ``description`` in groups of five, for what people copy by hand: `xxxxx-xxxxx-…`.
  package var grouped: String {
    let characters = Array(description)
    return stride(from: 0, to: characters.count, by: 5)
      .map { String(characters[$0..<min($0 + 5, characters.count)]) }.joined(separator: "-")
  }

  /// Reads ``grouped``, with or without its dashes and with any spaces; `nil` for anything else.
  package init?(grouped text: String) {
    self.init(text.filter { $0 != "-" && !$0.isWhitespace })
  }

  private static var alphabet: [UInt8] { crockfordAlphabet }
}

/// Crockford's base 32: no i, l, o, u. (Crockford, *Base 32*, 2019.)
package let crockfordAlphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)

extension FixedWidthInteger {
  /// The bytes of this integer, most significant first.
  package var bigEndianBytes: [UInt8] { withUnsafeBytes(of: bigEndian) { Array($0) } }

  /// Reads an integer from exactly as many bytes as it has, most significant first.
  package init(bigEndianBytes bytes: some Collection<UInt8>) {
    precondition(bytes.count == Self.bitWidth / 8, "the caller has checked the length")
    var value: Self = 0
    withUnsafeMutableBytes(of: &value) { $0.copyBytes(from: bytes) }
    self.init(bigEndian: value)
  }
}
