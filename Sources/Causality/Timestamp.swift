/// A hybrid logical timestamp: 48 bits of wall time in milliseconds, 16 bits of counter.
///
/// Ordered by wall time, then counter. Two devices can draw equal timestamps; where a total order is
/// needed the ``OperationID`` breaks the tie. (Kulkarni et al., *Logical Physical Clocks*, 2014.)
package struct Timestamp: Hashable, Sendable, Comparable {
  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// - Precondition: `milliseconds` fits into 48 bits (until the year 10889).
  package init(milliseconds: UInt64, counter: UInt16 = 0) {
    precondition(milliseconds < 1 << 48, "a wall time of more than 48 bits")
    rawValue = milliseconds << 16 | UInt64(counter)
  }

  /// Milliseconds since 1970, as the writer's clock had it.
  package var milliseconds: UInt64 { rawValue >> 16 }
  package var counter: UInt16 { UInt16(truncatingIfNeeded: rawValue) }

  package static let zero = Timestamp(rawValue: 0)
  package static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
}

/// The clock that stamps operations: never runs backwards, and follows what it has seen.
package struct HybridClock: Sendable, Hashable {
  /// How far ahead of the wall clock a timestamp from elsewhere may be: 5 minutes.
  ///
  /// A later one is quarantined, so that one device with a wrong clock cannot push every other
  /// device's clock into the future.
  package static let driftLimit: UInt64 = 5 * 60 * 1_000

  /// The latest timestamp this clock has drawn or followed.
  package private(set) var last: Timestamp

  package init(last: Timestamp = .zero) { self.last = last }

  /// Draws a timestamp later than every one before it.
  ///
  /// - Parameter wall: Milliseconds since 1970, from this device's clock. May be anything.
  package mutating func stamp(wall: UInt64) -> Timestamp {
    let wall = min(wall, 1 << 48 - 1)
    if wall > last.milliseconds {
      last = Timestamp(milliseconds: wall)
    } else {
      // The counter overflows into the milliseconds: 65,536 writes in one of them stay ordered.
      last = Timestamp(rawValue: last.rawValue + 1)
    }
    return last
  }

  /// Whether a timestamp lies further ahead than ``driftLimit`` and has to wait.
  package static func isFromTheFuture(_ timestamp: Timestamp, wall: UInt64) -> Bool {
    timestamp.milliseconds > wall &+ driftLimit
  }

  /// Follows a timestamp from elsewhere, so that later writes here are ordered after it.
  ///
  /// - Precondition: The timestamp is not from the future; such operations are quarantined first.
  package mutating func observe(_ timestamp: Timestamp, wall: UInt64) {
    precondition(!Self.isFromTheFuture(timestamp, wall: wall), "quarantine before observing")
    last = max(last, timestamp)
  }
}

/// One reading of both clocks of a device.
package struct Moment: Sendable, Hashable {
  /// Milliseconds since 1970. Steps when somebody sets the clock: only for stamping and showing.
  package var wall: UInt64
  /// Nanoseconds since some start. Never steps: for every duration and deadline.
  package var uptime: UInt64

  package init(wall: UInt64, uptime: UInt64) {
    self.wall = wall
    self.uptime = uptime
  }
}

package let millisecondsPerDay: UInt64 = 86_400_000
