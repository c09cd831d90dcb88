import Foundation
import Replica
import Storage

/// What is said of a home that was put back from a copy, or copied.
package enum PutBack {
  /// How the store stands before its next write.
  ///
  /// - Returns: `nil` where there is nothing to tell.
  package static func words(_ verdict: Continuity.Verdict?) -> String? {
    switch verdict {
    case .proved, .noMark, nil: nil
    case .behind: "this store has lost its last changes here: what other devices and the relay have of them comes back, and what is written from now on begins a new life; no number is used twice"
    case .copied: "this home was put back or copied, or its files were given other rights or links, since it was used last: what is written from now on begins a new life; no number is used twice"
    case .unusable: "the mark of this home (the file “mark” in it) cannot be used: each run begins a new life. Move that file away, or give it back to this user; the next write makes it anew"
    }
  }

  /// What is said afterwards, as long as ``isRecent(_:now:)``.
  ///
  /// - Parameter wall: When the life before was closed, in milliseconds since 1970.
  package static func words(closed wall: UInt64) -> String {
    let formatter = DateFormatter()
    formatter.dateFormat = "yyyy-MM-dd HH:mm"
    let moment = formatter.string(from: Date(timeIntervalSince1970: Double(wall) / 1_000))
    return "this home was put back or copied, or its files were given other rights or links, which was noticed on \(moment): a new life began, and what the relay and other devices have of the one before comes back"
  }

  /// A week, for who looks seldom.
  package static func isRecent(_ wall: UInt64, now: UInt64) -> Bool { wall &+ OpenLife.copyIsMissed > now }
}
