import Replica
import Sealing

/// A frame about a crisis that one process of a device has read on the relay and the store cannot take, or that it has
/// sealed past the store: the others show it too. Whoever hears it looks whether it is authentic, as with one from the relay.
struct HeardFrame: Sendable {
  /// The file it lies in.
  var file: RelayStream
  /// Sealed and signed.
  var frame: [UInt8]

  /// Bytes of a message; a longer frame is not passed on: what is about a crisis is short.
  static let longest = 16_384
  private static let kind = UInt8(ascii: "c")
  private static let tagBytes = 16

  init(file: RelayStream, frame: [UInt8]) { (self.file, self.frame) = (file, frame) }

  /// Kind, channel and whether it was carried, 1 byte each; tag; frame. `nil` where that is too long.
  var bytes: [UInt8]? {
    let bytes = [Self.kind, file.channel.rawValue, file.isCarried ? 1 : 0] + file.tag.bytes + frame
    return bytes.count <= Self.longest ? bytes : nil
  }

  /// - Returns: `nil` for anything else, a ping for instance.
  init?(bytes: some RandomAccessCollection<UInt8>) {
    let bytes = Array(bytes)
    let start = 3 + Self.tagBytes
    guard bytes.count > start, bytes[0] == Self.kind, let channel = Channel(rawValue: bytes[1]), channel.lane == .crisis, bytes[2] < 2,
      let tag = BlindTag(bytes: Array(bytes[3..<start]))
    else { return nil }
    self.init(file: RelayStream(tag: tag, channel: channel, isCarried: bytes[2] == 1), frame: Array(bytes[start...]))
  }
}
