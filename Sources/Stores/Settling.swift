import Replica
import Storage

/// When the process that exchanges may say that everything is exchanged, and to whom: to itself, and to other
/// processes of this device that have wished for it. Used by the driver's thread alone.
struct Settling {
  /// Everything was sent and read; what follows from it (answers to take up, a stage of a crisis) may be left to do.
  private(set) var isSettled = false
  /// Others may have wished for an exchange since it was looked.
  private var mayHaveWishes = true
  private var taken: UInt64 = 0
  private var met: UInt64 = 0

  mutating func observe(_ report: ReplicaReport) {
    switch report {
    case .idle(let settled): isSettled = settled
    case .relayLost: isSettled = false
    default: break
    }
  }

  /// Something was written here or elsewhere, or is to be exchanged again.
  mutating func disturb() { (isSettled, mayHaveWishes) = (false, true) }

  /// - Returns: Whether another process wants everything exchanged from now on.
  mutating func takeWishes(_ store: Store) throws -> Bool {
    guard mayHaveWishes else { return false }
    mayHaveWishes = false
    let made: UInt64
    (made, met) = try store.read { try $0.syncWishes() }
    guard made > max(met, taken) else { return false }
    (taken, isSettled) = (made, false)
    return true
  }

  /// It is told: those who wait for it go on.
  mutating func tell(_ store: Store) throws {
    isSettled = false
    guard taken > met else { return }
    try store.write { try $0.meetSyncWishes(through: taken) }
    met = taken
  }
}
