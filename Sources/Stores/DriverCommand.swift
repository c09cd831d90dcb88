import Causality
import ConflictResolution
import Replica
import Therapy

extension ReplicaDriver {
  /// What the driver tells. Called on its thread; must return quickly.
  package struct Observer: Sendable {
    package var report: @Sendable (ReplicaReport, Moment) -> Void = { _, _ in }
    /// How the crisis stands now, and whether all of it is saved here: whichever process of this device has written it, and
    /// also where the store cannot take it.
    package var crisis: @Sendable (CrisisState, _ isSaved: Bool) -> Void = { _, _ in }
    package var snapshot: (@Sendable (Snapshot) -> Void)?
    package var failed: @Sendable (any Error) -> Void = { _ in }
    /// Something that was asked of the driver could not be done; `nil`: as ``failed``, which is for what it does by itself.
    package var refused: (@Sendable (any Error) -> Void)?
    /// The store takes writes again, after it was told that it does not (``StoreHeldUp``).
    package var accepts: @Sendable () -> Void = {}
    /// Another process of this device exchanges, so that nothing is reported here.
    package var exchangedElsewhere: @Sendable () -> Void = {}
    /// The driver has ended by itself: its store is not there any more.
    package var ended: @Sendable (any Error) -> Void = { _ in }
    /// The store means another relay than this driver uses: a person has said so, in another program.
    package var moved: @Sendable () -> Void = {}
    package init() {}
  }

  /// What others ask of the driver.
  package enum Command: Sendable {
    case commit([Draft])
    /// Runs beside the driver's thread, in the order in which it was sent: a relay that hangs keeps no action.
    case perform(@Sendable (Actions) throws -> Void)
    case offer(RecordID, to: DeviceID)
    /// Like `perform`, ahead of everything that waits.
    case crisis(@Sendable (Actions) throws -> Void)
    /// Something was committed by another thread of this process.
    case noticeCommit
    /// A crisis was raised by another thread of this process, for a key that was pressed at that uptime.
    case noticeCrisis(OperationID, pressed: UInt64)
    /// A step of the crisis path took so many nanoseconds.
    case time(GuaranteedOperation, nanoseconds: UInt64)
    /// An activation is drawn on the screen of this process.
    case shown(OperationID)
    /// Somebody looks at a conflict.
    case look(RecordID, field: String)
    /// Publish a snapshot although nothing has changed.
    case publish
    case sync
    case stop
  }
}
