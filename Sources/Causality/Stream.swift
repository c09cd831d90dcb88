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

/// How far each stream has been applied without a gap: an exact version vector.
package struct Cursors: Hashable, Sendable {
  private var heads: [StreamID: UInt64] = [:]

  package init() {}

  /// The last sequence number applied; 0 when nothing of the stream is known.
  package subscript(stream: StreamID) -> UInt64 {
    get { heads[stream] ?? 0 }
    set { heads[stream] = newValue == 0 ? nil : newValue }
  }

  package func contains(_ operation: OperationID) -> Bool { operation.sequence <= self[operation.stream] }

  /// All streams with at least one operation, in order.
  package var streams: [(stream: StreamID, sequence: UInt64)] {
    heads.map { ($0.key, $0.value) }.sorted { $0.stream < $1.stream }
  }

  /// How many operations these cursors cover.
  package var operationCount: UInt64 { heads.values.reduce(0, +) }

  /// How many operations of `other` are missing here.
  package func missing(from other: Cursors) -> UInt64 {
    other.heads.reduce(0) { $0 + ($1.value > self[$1.key] ? $1.value - self[$1.key] : 0) }
  }
}
