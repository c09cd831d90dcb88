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

/// One device's operations in one lane.
package struct StreamID: Hashable, Sendable, Comparable {
  package var device: DeviceID
  package var lane: Lane

  package init(device: DeviceID, lane: Lane) {
    self.device = device
    self.lane = lane
  }

  package static func < (one: Self, other: Self) -> Bool {
    one.lane != other.lane ? one.lane < other.lane : one.device < other.device
  }
}

/// Names one operation: its stream and its gap-free sequence number there, from 1.
package struct OperationID: Hashable, Sendable, Comparable {
  package var stream: StreamID
  package var sequence: UInt64

  package init(stream: StreamID, sequence: UInt64) {
    self.stream = stream
    self.sequence = sequence
  }

  package static func < (one: Self, other: Self) -> Bool {
    one.stream != other.stream ? one.stream < other.stream : one.sequence < other.sequence
  }
}
