import Replica
import Sealing

/// A frame about a crisis that one process of a device has read on the relay and the store cannot take, or that it has
/// sealed past the store: the others show it too. Whoever hears it looks whether it is authentic, as with one from the relay.
struct HeardFrame: Sendable {
  /// The file it lies in.
  var file: RelayStream
  /// Sealed and signed.
  var frame: [UInt8]
  /// Whether who tells of it has put it on the relay, or read it there.
  var isAtRelay: Bool

  /// Bytes of a message; a longer frame is not passed on: what is about a crisis is short.
  static let longest = 16_384
  private static let kind = UInt8(ascii: "c")
  private static let tagBytes = 16

  init(file: RelayStream, frame: [UInt8], isAtRelay: Bool) { (self.file, self.frame, self.isAtRelay) = (file, frame, isAtRelay) }

  private static let carried: UInt8 = 1
  private static let atRelay: UInt8 = 2

  /// Kind, channel, and whether it was carried and lies at the relay, 1 byte each; tag; frame. `nil` where that is too long.
  var bytes: [UInt8]? {
    let bytes = [Self.kind, file.channel.rawValue, (file.isCarried ? Self.carried : 0) | (isAtRelay ? Self.atRelay : 0)] + file.tag.bytes + frame
    return bytes.count <= Self.longest ? bytes : nil
  }

  /// - Returns: `nil` for anything else, a ping for instance.
  init?(bytes: some RandomAccessCollection<UInt8>) {
    let bytes = Array(bytes)
    let start = 3 + Self.tagBytes
    guard bytes.count > start, bytes[0] == Self.kind, let channel = Channel(rawValue: bytes[1]), channel.lane == .crisis, bytes[2] <= Self.carried | Self.atRelay,
      let tag = BlindTag(bytes: Array(bytes[3..<start]))
    else { return nil }
    self.init(file: RelayStream(tag: tag, channel: channel, isCarried: bytes[2] & Self.carried != 0), frame: Array(bytes[start...]), isAtRelay: bytes[2] & Self.atRelay != 0)
  }
}
