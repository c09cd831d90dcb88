import Foundation
import Synchronization

/// Something that is done on a thread of its own, which may be left behind: a lock or a folder may hold it for long.
package final class Attempt<Answer: Sendable>: Sendable {
  private let done = Latch()
  private let found = Mutex<Answer?>(nil)
  private let began = SystemClock.now.uptime

  package init(_ body: @escaping @Sendable () -> Answer) {
    Thread.detachNewThread { [self] in
      let answer = body()
      found.withLock { $0 = answer }
      done.open()
    }
  }

  /// - Parameter milliseconds: Since it began.
  /// - Returns: `nil` where it takes longer.
  package func answer(within milliseconds: Int) -> Answer? {
    let gone = Int(clamping: (SystemClock.now.uptime - began) / 1_000_000)
    return done.wait(max(0, milliseconds - gone)) ? found.withLock { $0 } : nil
  }
}
