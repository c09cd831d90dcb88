import Causality
import ConflictResolution
import Replica
import Therapy

extension ReplicaDriver {
  /// What the driver tells. Called on its thread; must return quickly.
  package struct Observer: Sendable {
    package var report: @Sendable (ReplicaReport, Moment) -> Void = { _, _ in }
    package var snapshot: (@Sendable (Snapshot) -> Void)?
    package var failed: @Sendable (any Error) -> Void = { _ in }
    /// Another process of this device exchanges, so that nothing is reported here.
    package var exchangedElsewhere: @Sendable () -> Void = {}
    package init() {}
  }

  /// What others ask of the driver. Crisis drafts are performed before anything else that waits.
  package enum Command: Sendable {
    case commit([Draft])
    /// Runs on the driver's thread, for actions that read before they write.
    case perform(@Sendable (Actions) throws -> Void)
    case admit(Invitation)
    case offer(RecordID, to: DeviceID)
    /// Like `perform`, ahead of everything that waits.
    case crisis(@Sendable (Actions) throws -> Void)
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

extension ReplicaDriver.Command {
  var isCrisis: Bool {
    switch self {
    case .crisis: true
    case .commit(let drafts): drafts.contains { $0.lane == .crisis }
    default: false
    }
  }
}
