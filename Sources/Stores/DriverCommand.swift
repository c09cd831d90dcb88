import Causality
import ConflictResolution
import Replica
import Therapy

extension ReplicaDriver {
  /// What others ask of the driver. Crisis drafts are performed before anything else that waits.
  package enum Command: Sendable {
    case commit([Draft])
    /// Runs on the driver's thread, for actions that read before they write.
    case perform(@Sendable (Actions) throws -> Void)
    case admit(Invitation)
    case offer(RecordID, to: DeviceID)
    /// Like `perform`, ahead of everything that waits.
    case crisis(@Sendable (Actions) throws -> Void)
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
