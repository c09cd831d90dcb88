import Causality
import Foundation
import Logging
import Replica
import Storage

/// What a store that refuses is said to be.
extension DriverLoop {
  /// Says that the store refused: once, and again when it is something else, or still so after a while.
  func refused(_ error: any Error) {
    let (now, code) = (SystemClock.now, (error as? any ActionableError)?.code ?? "unexpected")
    if let refusal, refusal.code == code, now.uptime < refusal.until { return }
    refusal = (code, now.uptime + Self.refusalGap)
    log.error("store refused", metadata: ["code": "\(code)"])
    guard let obstacle = (error as? StorageError)?.obstacle else {
      observer.failed(error)
      return live.add(.warning, "\((error as? any ActionableError)?.summary ?? "The store could not be used.") It is tried again", now)
    }
    let held = ArrivalsHeldUp(code: code, obstacle: obstacle)
    observer.failed(held)
    live.add(.warning, held.summary, now)
  }
}

/// Nothing that the person did was refused: what has come from elsewhere waits.
private struct ArrivalsHeldUp: ActionableError {
  let code: String
  let obstacle: String
  var summary: String { "What comes from your other devices cannot be saved here now: \(obstacle). It is tried again." }
  var remedy: String { "Nothing is lost; what is about a crisis is shown all the same." }
  var exitStatus: ExitStatus { .temporary }
}
