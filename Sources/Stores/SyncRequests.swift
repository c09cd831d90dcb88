import Replica
import Storage

/// When the sync leader may say that everything is exchanged, and to whom: to itself, and to other
/// processes of this device that have requested it. Used by the driver's thread alone.
struct SyncRequests {
  /// Everything was sent and read; what follows from it (answers to take up, a stage of a crisis) may be left to do.
  private(set) var isSettled = false
  /// Whether nothing is missing that others have signed for.
  private(set) var isComplete = false
  /// Others may have requested an exchange since it was looked.
  private var mayHaveRequests = true
  private var taken: UInt64 = 0
  private var completed: UInt64 = 0

  mutating func observe(_ report: ReplicaReport) {
    switch report {
    case .idle(let settled, let complete): (isSettled, isComplete) = (settled, complete)
    case .relayLost: isSettled = false
    default: break
    }
  }

  /// Something was written here or elsewhere, or is to be exchanged again.
  mutating func disturb() { (isSettled, mayHaveRequests) = (false, true) }

  /// - Returns: Whether another process wants everything exchanged from now on.
  mutating func takeRequests(_ store: Store) throws -> Bool {
    guard mayHaveRequests else { return false }
    let made: UInt64
    (made, completed) = try store.read { try $0.syncRequests() }
    mayHaveRequests = false
    guard made > max(completed, taken) else { return false }
    (taken, isSettled) = (made, false)
    return true
  }

  /// Completes the requests that were taken.
  mutating func complete(_ store: Store) throws {
    if taken > completed {
      try store.write(within: DriverLoop.patience) { try $0.completeSyncRequests(through: taken) }
      completed = taken
    }
    isSettled = false
  }
}
