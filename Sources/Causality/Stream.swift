/// The priority of a change on its way to the other devices; lower raw values go first.
///
/// Each lane of a device is a stream of its own, with its own sequence numbers and hash chain, so
/// that nothing in one lane can hold up another.
package enum Lane: UInt8, Sendable, CaseIterable, Comparable {
  case crisis, session, assessment, ordinary, bulk

  package static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }

  /// The word people see.
  package var name: String {
    switch self {
    case .crisis: "crisis"
    case .session: "session"
    case .assessment: "assessment"
    case .ordinary: "ordinary"
    case .bulk: "bulk"
    }
  }
}

/// One life of a device's store, drawn at random when it writes for the first time.
///
/// A store that cannot prove that it follows what it has said (it was restored, copied, or lost its last
/// commits) begins another one, so that a sequence number is never used twice.
package struct Incarnation: Hashable, Sendable, Comparable {
  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static let emergencyBit: UInt64 = 1 << 63

  /// Draws a life of a store.
  package init(using random: inout some RandomNumberGenerator) { rawValue = random.next() & ~Self.emergencyBit }

  /// Draws a life of an emergency journal: what is written in it is sealed with the emergency key of the device.
  package static func emergency(using random: inout some RandomNumberGenerator) -> Incarnation {
    Incarnation(rawValue: random.next() | emergencyBit)
  }

  package var isEmergency: Bool { rawValue & Self.emergencyBit != 0 }

  package static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
}

/// One device's operations in one lane, in one life of its store.
package struct StreamID: Hashable, Sendable, Comparable {
  package var device: DeviceID
  package var incarnation: Incarnation
  package var lane: Lane

  package init(device: DeviceID, incarnation: Incarnation, lane: Lane) {
    (self.device, self.incarnation, self.lane) = (device, incarnation, lane)
  }

  package static func < (one: Self, other: Self) -> Bool {
    if one.lane != other.lane { return one.lane < other.lane }
    return one.device != other.device ? one.device < other.device : one.incarnation < other.incarnation
  }
}

/// Names one write: its stream, its gap-free sequence number there, from 1, and its mark.
///
/// The mark is the beginning of a digest of what was written. Two histories of a cloned store can use one number
/// for two writes: the mark keeps them apart, so that whatever refers to a write means that one.
package struct OperationID: Hashable, Sendable, Comparable {
  package var stream: StreamID
  package var sequence: UInt64
  package var mark: UInt64

  package init(stream: StreamID, sequence: UInt64, mark: UInt64) {
    (self.stream, self.sequence, self.mark) = (stream, sequence, mark)
  }

  package static func < (one: Self, other: Self) -> Bool {
    if one.stream != other.stream { return one.stream < other.stream }
    return one.sequence != other.sequence ? one.sequence < other.sequence : one.mark < other.mark
  }

  /// Bytes of ``bytes``.
  package static let byteCount = 41

  /// The device (16), the incarnation (8), the lane (1), the sequence number (8) and the mark (8).
  package var bytes: [UInt8] {
    stream.device.bytes + stream.incarnation.rawValue.bigEndianBytes + [stream.lane.rawValue]
      + sequence.bigEndianBytes + mark.bigEndianBytes
  }

  /// Reads ``bytes``; `nil` for anything else.
  package init?(bytes: some RandomAccessCollection<UInt8>) {
    let bytes = Array(bytes)
    guard bytes.count == Self.byteCount, let device = DeviceID(bytes: bytes[..<16]), let lane = Lane(rawValue: bytes[24]) else {
      return nil
    }
    let incarnation = Incarnation(rawValue: UInt64(bigEndianBytes: bytes[16..<24]))
    self.init(
      stream: StreamID(device: device, incarnation: incarnation, lane: lane),
      sequence: UInt64(bigEndianBytes: bytes[25..<33]), mark: UInt64(bigEndianBytes: bytes[33...]))
  }
}

extension OperationID {
  /// How entries of records name a write: `DEVICE.INCARNATION.LANE.SEQUENCE.MARK`, without spaces.
  package var name: String {
    let incarnation = String(stream.incarnation.rawValue, radix: 16)
    return "\(stream.device).\(incarnation).\(stream.lane.rawValue).\(sequence).\(String(mark, radix: 16))"
  }

  /// Reads ``name``; `nil` for anything else.
  package init?(name: some StringProtocol) {
    let parts = String(name).utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map { Substring($0) }
    guard parts.count == 5, let device = DeviceID(parts[0]), let incarnation = UInt64(parts[1], radix: 16),
      let lane = UInt8(parts[2]).flatMap(Lane.init), let sequence = UInt64(parts[3]), sequence > 0,
      let mark = UInt64(parts[4], radix: 16)
    else { return nil }
    let stream = StreamID(device: device, incarnation: Incarnation(rawValue: incarnation), lane: lane)
    self.init(stream: stream, sequence: sequence, mark: mark)
  }
}
