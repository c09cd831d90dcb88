import Causality
import ConflictResolution
import Replica
import Storage
import Therapy

extension Actions {
  /// Everything that waits for a decision, also beyond what a snapshot lists: the weightiest first, then the newest.
  ///
  /// - Parameter id: Only of this record.
  package func conflicts(of id: RecordID? = nil) throws -> [Snapshot.Conflict] {
    try store.read { transaction in
      let names = try SnapshotBuilder.names(transaction, SnapshotBuilder.members(try transaction.membership(), store.ring))
      let records = try id.map { [try transaction.record($0)].compactMap { $0 } } ?? transaction.openRecords(limit: .max - 1)
      let found = records.flatMap { SnapshotBuilder.conflicts($0, names) }
      return SnapshotBuilder.ordered(SnapshotBuilder.reviewed(found, try ReviewDuty.reviews(transaction)))
    }
  }
}

extension SnapshotBuilder {
  /// The open conflicts of a record; of one with more than that, so many of them, and how many more there are.
  static func conflicts(_ record: RecordState, _ names: [DeviceID: String]) -> [Snapshot.Conflict] {
    let open = record.openConflicts.sorted { ($1.impact, $0.field) < ($0.impact, $1.field) }
    let more = max(0, open.count - Limits.conflictsPerRecord)
    return open.prefix(Limits.conflictsPerRecord).map { conflict in
      var listed = Snapshot.Conflict(record, conflict, names)
      listed.moreInRecord = more
      return listed
    }
  }

  /// With who was asked about them.
  static func reviewed(_ listed: [Snapshot.Conflict], _ reviews: [ReviewState]) -> [Snapshot.Conflict] {
    let open = reviews.filter { $0.phase != .closed }
    guard !open.isEmpty else { return listed }
    return listed.map { conflict in
      var conflict = conflict
      conflict.review = open.first { $0.record == conflict.record && $0.field == conflict.field }?.words
      return conflict
    }
  }

  /// The weightiest first; of equal ones as the store gave them, the newest first.
  static func ordered(_ conflicts: [Snapshot.Conflict]) -> [Snapshot.Conflict] {
    ConflictImpact.allCases.reversed().flatMap { impact in conflicts.filter { $0.impact == impact } }
  }

  /// What the assistant says about the conflict that somebody looks at; of the others it is not asked.
  func advised(_ listed: [Snapshot.Conflict], _ place: LiveState.Place?, _ live: LiveState, _ transaction: SQLiteTransaction) throws -> [Snapshot.Conflict] {
    guard let place, live.tier.conflictResolution == .assisted,
      let index = listed.firstIndex(where: { $0.record == place.record && $0.field == place.field }),
      let record = try transaction.record(place.record),
      let conflict = record.openConflicts.first(where: { $0.field == place.field })
    else { return listed }
    let policy = try AssistantPolicy(transaction, account: ring.account.account)
    guard policy.mode != .off else { return listed }
    var listed = listed
    listed[index].advice = Assistant(transaction).advice(conflict, in: record, threshold: policy.threshold)
    return listed
  }
}
