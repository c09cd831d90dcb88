import CSystem
import Foundation
import Synchronization

/// Opens once; whoever waits for it waits by the monotonic clock.
///
/// A semaphore of the system waits until a time of day on Linux: a wall clock that is set meanwhile would
/// end the wait at once, or never.
package final class Latch: Sendable {
  private let descriptor = fm_wake_open()
  private let flag = Mutex(false)

  package init() {}
  deinit { if descriptor >= 0 { Foundation.close(descriptor) } }

  package func open() {
    // Flag and descriptor change together: a descriptor that stays readable while it is closed would keep whoever waits
    // busy.
    flag.withLock { isOpen in
      if !isOpen, descriptor >= 0 { fm_wake_signal(descriptor) }
      isOpen = true
    }
  }

  /// Closes it again, for who waits for the next time.
  package func close() {
    flag.withLock { isOpen in
      isOpen = false
      if descriptor >= 0 { fm_wake_clear(descriptor) }
    }
  }

  /// Waits at most so many milliseconds.
  ///
  /// - Returns: Whether it is open.
  package func wait(_ milliseconds: Int) -> Bool {
    let end = SystemClock.now.uptime + UInt64(milliseconds) * 1_000_000
    while !flag.withLock({ $0 }) {
      let now = SystemClock.now.uptime
      guard now < end else { return false }
      // Without a free descriptor it is looked at a thousand times a second.
      var ready: [UInt8] = [0]
      if descriptor < 0 { fm_pause_ms(1) } else { _ = fm_wait([descriptor], &ready, 1, Int32((end - now + 999_999) / 1_000_000)) }
    }
    return true
  }
}

/// Rests this thread between two attempts.
func fmPause(_ milliseconds: Int) { fm_pause_ms(Int32(milliseconds)) }
