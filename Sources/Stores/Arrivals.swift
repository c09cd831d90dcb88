import Causality
import Replica
import Storage
import Therapy

/// What this device does by itself with changes that have just arrived: takes up a session that was handed
/// to it, and merges texts whose edits do not touch each other.
enum Arrivals {
  /// - Returns: Whether something was written here.
  static func settle(_ changes: [AppliedChange], _ store: Store, pingPath: String, _ live: inout LiveState) throws -> Bool {
    let actions = Actions(store)
    var hasWritten = false
    for id in Set(changes.filter { $0.kind == RecordCatalogue.session.kind }.map(\.record)).sorted() {
      guard let session = try actions.session(id) else { continue }
      live.sessionChanged(session, own: store.ring.device)
      guard session.isOffered(to: store.ring.device, wall: SystemClock.now.wall) else { continue }
      _ = try actions.commit(session.taking(by: store.ring.device), pinging: pingPath)
      hasWritten = true
    }
    // Merging texts is a feature of a tier; keeping both versions is not.
    // And almost nothing that arrives meets other writes: a long catch-up must not look at every text.
    guard live.hasMetOthers, live.tier.conflictResolution != .basic else { return hasWritten }
    for text in Set(changes.compactMap(Text.init)).sorted(by: { ($0.record, $0.field) < ($1.record, $1.field) }) {
      if try mergeIsOurs(text, store), try actions.mergeTexts(text.record, field: text.field) {
        live.conflicts.noteMerged()
        hasWritten = true
      }
    }
    return hasWritten
  }

  private struct Text: Hashable {
    var record: RecordID
    var field: String

    init?(_ change: AppliedChange) {
      guard let schema = RecordCatalogue[change.kind]?[change.field], schema.content == .text, schema.policy == .multiValue else { return nil }
      (record, field) = (change.record, change.field)
    }
  }

  /// One of the two authors merges, always the same one, so that the two do not answer each other.
  private static func mergeIsOurs(_ text: Text, _ store: Store) throws -> Bool {
    let dots = try store.read { try $0.record(text.record) }?[text.field]?.dots ?? []
    return dots.count == 2 && dots.map(\.id.stream.device).min() == store.ring.device
  }
}
