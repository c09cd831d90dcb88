/// A hybrid logical timestamp: 48 bits of wall time in milliseconds, 16 bits of counter.
///
/// Ordered by wall time, then counter. Two devices can draw equal timestamps; where a total order is
/// needed the ``OperationID`` breaks the tie. (Kulkarni et al., *Logical Physical Clocks*, 2014.)
package struct Timestamp: Hashable, Sendable, Comparable {
  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// - Parameter milliseconds: Since 1970. What needs more than 48 bits (from the year 10889) counts as the last of them.
  package init(milliseconds: UInt64, counter: UInt16 = 0) {
    rawValue = min(milliseconds, Self.lastMillisecond) << 16 | UInt64(counter)
  }

  private static let lastMillisecond: UInt64 = 1 << 48 - 1

  /// Milliseconds since 1970, as the writer's clock had it.
  package var milliseconds: UInt64 { rawValue >> 16 }
  package var counter: UInt16 { UInt16(truncatingIfNeeded: rawValue) }

  package static let zero = Timestamp(rawValue: 0)
  package static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
}

/// The clock that stamps operations: follows what it has seen, and runs backwards only when it was far ahead.
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
  /// Where the wall clock was once more than ``driftLimit`` ahead of what it is now, the timestamp comes from the
  /// wall again: others would hide for as long whatever is written after that moment. What it replaces, and the
  /// sequence number, keep the order of this device's writes.
  ///
  /// - Parameter wall: Milliseconds since 1970, from this device's clock. May be anything.
  package mutating func stamp(wall: UInt64) -> Timestamp {
    forgetFuture(wall)
    if Timestamp(milliseconds: wall).milliseconds > last.milliseconds {
      last = Timestamp(milliseconds: wall)
    } else {
      // The counter overflows into the milliseconds: 65,536 writes in one of them stay ordered.
      last = Timestamp(rawValue: last.rawValue &+ 1)
    }
    return last
  }

  /// 2024-01-01: nothing was written before there was this program, so that an earlier wall clock is wrong.
  private static let earliest: UInt64 = 1_704_067_200_000

  private mutating func forgetFuture(_ wall: UInt64) {
    guard wall >= Self.earliest, Self.isFromTheFuture(last, wall: wall) else { return }
    last = Timestamp(milliseconds: wall)
  }

  /// Whether a timestamp lies further ahead than ``driftLimit`` and has to wait.
  package static func isFromTheFuture(_ timestamp: Timestamp, wall: UInt64) -> Bool {
    timestamp.milliseconds > wall && timestamp.milliseconds - wall > driftLimit
  }

  /// Follows a timestamp from elsewhere, so that later writes here are ordered after it. One from the future is
  /// not followed: our clock stays right.
  package mutating func observe(_ timestamp: Timestamp, wall: UInt64) {
    forgetFuture(wall)
    if !Self.isFromTheFuture(timestamp, wall: wall) { last = max(last, timestamp) }
  }
}

/// One reading of both clocks of a device.
package struct Moment: Sendable, Hashable {
  /// Milliseconds since 1970; 0 for a clock that is before that. Steps when somebody sets the clock: only for
  /// stamping and showing.
  package var wall: UInt64
  /// Nanoseconds since some start. Never steps: for every duration and deadline.
  package var uptime: UInt64

  package init(wall: UInt64, uptime: UInt64) {
    self.wall = wall
    self.uptime = uptime
  }
}

package let millisecondsPerDay: UInt64 = 86_400_000
