import Causality
import Foundation
import Replica
import Sealing
import Storage

/// Every write to a record, opened again from the sealed log.
package struct RecordHistory {
  private let store: Store
  private let sealer: BatchSealer

  package init(_ store: Store) {
    self.store = store
    sealer = store.ring.account.sealer
  }

  /// Oldest first, by timestamp.
  ///
  /// - Complexity: O(batches that touched the record).
  package func writes(of record: RecordID) throws -> [Causality.Operation] {
    var writes: [OperationID: Causality.Operation] = [:]
    try store.read { transaction in
      let members = SnapshotBuilder.members(try transaction.membership(), store.ring)
      for lane in Lane.allCases {
        for operation in try transaction.pending(lane, limit: .max) where operation.record == record {
          writes[operation.id] = operation
        }
      }
      for place in try transaction.historyPlaces(of: record) {
        guard let stream = place.stream.id, let keys = members.keys(of: place.stream.device) else { continue }
        for batch in try transaction.batches(of: place.stream, holding: place.sequence) {
          guard case .operations(let content) = try sealer.open(batch.frame, keys: keys).content else { continue }
          for operation in try OperationCodec.decode(content, .run(stream: stream, first: batch.first))
          where operation.record == record { writes[operation.id] = operation }
        }
      }
    }
    return writes.values.sorted { ($0.timestamp, $0.id) < ($1.timestamp, $1.id) }
  }
}
