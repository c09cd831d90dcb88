import Causality
import Replica
import Sealing

/// What a frame says in the clear.
struct BlindHeader {
  var tag: BlindTag
  var channel: Channel
  var incarnation: Incarnation
  var first: UInt64
  var previous: [UInt8]

  init?(_ frame: [UInt8]) {
    guard let header = try? BatchHeader(frame: frame), let tag = BlindTag(bytes: header.device),
      let channel = Channel(rawValue: header.channel)
    else { return nil }
    (self.tag, self.channel, incarnation, first, previous) = (tag, channel, header.incarnation, header.first, header.previous)
  }

  /// A frame as it would lie there if it were sealed with an emergency key that nobody has: it needs no key to be made.
  ///
  /// - Parameter key: 8 bytes that name the key.
  static func underNoKey(_ frame: [UInt8], _ key: [UInt8]) -> [UInt8] {
    var frame = frame
    // The first bit of the incarnation, the epoch, and the name of the key.
    frame[34] |= 0x80
    frame.replaceSubrange(42..<54, with: [255, 255, 255, 255] + key)
    return frame
  }
}
