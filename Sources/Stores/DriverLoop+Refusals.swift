import CSystem
import Causality
import Foundation
import Logging
import Replica
import Storage

/// What a store that refuses is said to be.
extension DriverLoop {
  /// Says that the store refused: once, and again when it is something else, or still so after a while.
  func refused(_ error: any Error) {
    if case StorageError.replaced = error {
      // The files are looked at before the next sleep: that ends this run.
      lookAt = 0
      fm_wake_signal(driver.wake)
    }
    let (now, code) = (SystemClock.now, (error as? any ActionableError)?.code ?? "unexpected")
    if let refusal, refusal.code == code, now.uptime < refusal.until { return }
    refusal = (code, now.uptime + Self.refusalGap)
    needsPublishing = true
    log.error("store refused", metadata: ["code": "\(code)"])
    guard let obstacle = (error as? StorageError)?.obstacle else {
      observer.failed(error)
      return live.add(.warning, "\((error as? any ActionableError)?.summary ?? "The store could not be used.") It is tried again", now)
    }
    let held = StoreHeldUp(code: code, obstacle: obstacle)
    live.probeAt = now.uptime + 1_000_000_000
    observer.failed(held)
    live.add(.warning, held.summary, now)
  }

  /// The store has taken a write: what was said of it before is so no more.
  func accepted() {
    live.probeAt = nil
    if refusal != nil {
      (refusal, needsPublishing) = (nil, true)
      observer.accepts()
    }
    tellShown()
  }
}

/// Nothing that the person did was refused: the store takes nothing at the moment, and what waits for it is tried again.
package struct StoreHeldUp: ActionableError {
  package let code: String
  /// In words that follow "because".
  package let obstacle: String
  package var summary: String { "The store of this device cannot be written now: \(obstacle). It is tried again." }
  package var remedy: String { "What was saved before is intact; what is about a crisis is shown all the same." }
  package var exitStatus: ExitStatus { .temporary }
}
