import CSystem
import Causality

/// The clocks of this machine.
package enum SystemClock {
  package static var now: Moment { Moment(wall: fm_wall_us() / 1_000, uptime: fm_uptime_ns()) }
  /// Nanoseconds since the machine was started, with the time that it slept.
  package static var bootTime: UInt64 { fm_boottime_ns() }
  /// Microseconds since 1970.
  package static var wallMicroseconds: UInt64 { fm_wall_us() }
}
