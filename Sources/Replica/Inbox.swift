import Causality

/// How far the streams of the other devices have been read from the relay.
package struct Inbox: Sendable {
  package struct Reading: Hashable, Sendable {
    package var position = RelayPosition.start
    /// Something may lie behind `position`.
    package var isDirty = true
    /// A frame at `position` was not acceptable; reading goes on when the stream changes.
    package var isDamaged = false
    /// What follows needs something that has not come yet (a member, an epoch key).
    package var isWaiting = false
  }

  package private(set) var readings: [RelayStream: Reading] = [:]

  package init() {}

  package subscript(stream: RelayStream) -> Reading? {
    get { readings[stream] }
    set { readings[stream] = newValue }
  }

  /// Notes that a stream exists or has changed.
  package mutating func touch(_ stream: RelayStream) {
    var reading = readings[stream] ?? Reading()
    reading.isDirty = true
    readings[stream] = reading
  }

  /// Forgets streams that are no longer on the relay, so that they are read anew when they return.
  package mutating func keepOnly(_ streams: Set<RelayStream>) {
    for stream in readings.keys where !streams.contains(stream) { readings[stream] = nil }
  }

  /// Whatever waited may go on: a member or a key has come.
  package mutating func wakeWaiting() {
    for (stream, reading) in readings where reading.isWaiting {
      readings[stream]?.isWaiting = false
      readings[stream]?.isDirty = !reading.isDamaged || reading.isDirty
    }
  }

  /// The stream to read next: crisis first, then membership, then by lane.
  package func next(_ isWanted: (RelayStream) -> Bool) -> RelayStream? {
    var best: RelayStream?
    for (stream, reading) in readings where reading.isDirty && !reading.isWaiting && isWanted(stream) {
      if best.map({ stream < $0 }) ?? true { best = stream }
    }
    return best
  }

  package var damaged: [RelayStream] { readings.filter { $0.value.isDamaged }.keys.sorted() }
}
