import Causality
import Crisis
import Stores
import Therapy

/// What the person pressed.
package enum Key: Sendable, Hashable {
  case character(Character)
  case control(Character)
  case enter, escape, tab, backTab, backspace, delete
  case up, down, left, right, home, end, pageUp, pageDown
  case click(row: Int, column: Int)
  case wheel(row: Int, column: Int, isUp: Bool)
}

/// What the person wants done. The stores do it; the screen does not wait.
package indirect enum Intent: Sendable, Hashable {
  /// Something is written; ``DashboardState/saved(problem:)`` is told what came of it, in the order of these intents.
  case save(Intent)
  case activateCrisis(level: CrisisLevel, source: String)
  case acknowledgeCrisis
  /// What is said once it is so.
  case resolveCrisis(String)
  /// Take back what was raised at this screen in the last seconds, and nothing else.
  case takeBackCrisis(String)
  /// Tell the contacts without waiting until it can no longer be taken back.
  /// Of these activations, which were on the screen.
  case tellContacts([OperationID])
  case crisisHistory
  /// An activation was drawn on this screen.
  case crisisShown(String)
  /// A step of the crisis path took so long.
  case time(GuaranteedOperation, nanoseconds: UInt64)
  case sync
  case startPractice(String)
  case saveProgress(session: String, elapsed: Double, phase: String?)
  case handOff(session: String, device: String)
  case add(kind: String, assignments: [String])
  case editPlan(assignments: [String])
  case remove(record: String)
  case resolve(record: String, field: String, keeping: OperationID)
  case resolveBy(ConflictMethod, record: String, field: String)
  case resolveWith(record: String, field: String, text: String)
  case resolveAll(type: String)
  /// Let others decide a conflict.
  case ask(names: [String], person: String, record: String, field: String)
  /// A conflict is on the screen: what does the assistant say?
  case look(record: String, field: String)
  case invite
  case admit
  case cancelInvitation
  case start(deviceName: String)
  /// The recovery code of a new account was read, or not.
  case confirmStart(Bool)
  case join(code: String, deviceName: String, relay: String)
  /// Try again to open the store.
  case reopen
  /// Open the store with this passphrase.
  case unlock(String)
  case demo
  case network(String)
  case watch(Int)
  case suspend
  /// The program goes on after it was suspended.
  case resumed
  case quit
}
