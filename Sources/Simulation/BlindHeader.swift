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
}
