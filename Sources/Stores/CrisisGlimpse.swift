import Causality
import ConflictResolution
import Replica
import Therapy

/// Writes about the crisis that were read on the relay and that the store could not take: it is locked, or the disk is
/// full. They count on the screen until it has them.
package struct CrisisGlimpse: Sendable, Hashable {
  package private(set) var operations: [Operation] = []

  package init(_ found: [Operation] = []) { _ = take(found) }

  /// - Returns: Whether there is anything new among them.
  mutating func take(_ found: [Operation]) -> Bool {
    let known = Set(operations.map(\.id))
    let new = found.filter { !known.contains($0.id) }
    // What takes something back comes after it, whatever the clocks say.
    operations = (operations + new).sorted {
      ($0.replaces.isEmpty ? 0 : 1, $0.timestamp, $0.id) < ($1.replaces.isEmpty ? 0 : 1, $1.timestamp, $1.id)
    }
    return !new.isEmpty
  }

  /// Whatever the store has by now.
  mutating func forget(where hasArrived: (OperationID) throws -> Bool) rethrows {
    operations = try operations.filter { try !hasArrived($0.id) }
  }

  /// The crisis as it is with them.
  ///
  /// - Parameter record: As the store has it.
  package func over(_ record: RecordState?, hasArrived: (OperationID) throws -> Bool) rethrows -> RecordState? {
    var record = record
    for operation in operations where try !hasArrived(operation.id) {
      var (state, hash) = (record ?? RecordState(id: operation.record, kind: operation.kind), StateHash())
      state.apply(operation, hasArrived: { _ in true }, hash: &hash)
      record = state
    }
    return record
  }
}

/// How the crisis stood when it was looked last.
struct FollowedCrisis: Sendable {
  var state: CrisisState
  /// Whether the store has all of it.
  var isSaved: Bool
  /// The record as it lay in the store: written anew it reads otherwise, whatever it says.
  var sealed: [UInt8]?
}
