import Crypto

/// A digest of everything a replica shows, independent of the order in which it arrived.
///
/// It is the exclusive or of the SHA-256 digests of all live writes, so that one write more or less
/// changes it in constant time. Replicas that hold the same operations have the same state hash.
package struct StateHash: Hashable, Sendable {
  private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

  /// The hash of the empty state: all zeros.
  package init() {}

  /// Reads 32 bytes; `nil` when there are more or fewer.
  package init?(bytes: [UInt8]) {
    guard bytes.count == 32 else { return nil }
    words = bytes.withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self) }
  }

  package var bytes: [UInt8] { withUnsafeBytes(of: words) { Array($0) } }

  /// Adds what was absent, takes out what was present.
  package mutating func toggle(_ other: StateHash) {
    words.0 ^= other.words.0
    words.1 ^= other.words.1
    words.2 ^= other.words.2
    words.3 ^= other.words.3
  }

  /// The digest of one write: of where and when it was made, and of what it wrote, but for its mark, which is
  /// the beginning of this digest.
  ///
  /// - Parameters:
  ///   - id: The mark is not looked at.
  ///   - value: `nil` for a write that takes something away.
  ///   - covers: What it takes away; empty for a write with a value.
  package init(
    of id: OperationID, at timestamp: Timestamp, value: Value?, covers: [OperationID], field: String, record: RecordID
  ) {
    var hasher = SHA256()
    hasher.update(Self.label)
    hasher.update(record)
    hasher.update(field)
    hasher.updateUnmarked(id)
    hasher.update(timestamp.rawValue)
    let value = value?.canonicalBytes ?? []
    hasher.update(UInt64(value.count))
    value.withUnsafeBytes { hasher.update(bufferPointer: $0) }
    for id in covers {
      hasher.updateUnmarked(id)
      hasher.update(id.mark)
    }
    words = hasher.finalize().withUnsafeBytes {
      $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self)
    }
  }

  private static let label = "fullmind/2/state"

  /// The first 8 bytes, as a number: the mark of the write that this is the digest of.
  package var mark: UInt64 { UInt64(bigEndian: words.0) }

  package static func == (one: Self, other: Self) -> Bool { one.words == other.words }
  package func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

extension StateHash: CustomStringConvertible {
  /// 64 hexadecimal digits.
  package var description: String { bytes.hexadecimal }
}

extension SHA256 {
  fileprivate mutating func update(_ integer: UInt64) {
    withUnsafeBytes(of: integer.bigEndian) { update(bufferPointer: $0) }
  }

  fileprivate mutating func update<Tag>(_ identifier: Identifier<Tag>) {
    update(identifier.high)
    update(identifier.low)
  }

  fileprivate mutating func update(_ text: String) {
    var text = text
    update(UInt64(text.utf8.count))
    text.withUTF8 { update(bufferPointer: UnsafeRawBufferPointer($0)) }
  }

  fileprivate mutating func updateUnmarked(_ id: OperationID) {
    update(id.stream.device)
    update(id.stream.incarnation.rawValue)
    update(UInt64(id.stream.lane.rawValue))
    update(id.sequence)
  }
}
