import Causality
import Replica
import Storage
import Therapy

/// What this device does by itself with changes that have just arrived: takes up a session that was handed
/// to it, merges texts whose edits do not touch each other, and lets the assistant decide where it may.
enum Arrivals {
  /// - Returns: Whether something was written here.
  static func settle(_ changes: [AppliedChange], _ store: Store, pingPath: String, _ clocks: HouseholdClocks, _ live: inout LiveState) throws -> Bool {
    let actions = Actions(store, patience: DriverLoop.patience)
    let sessions = Set(changes.filter { $0.kind == RecordCatalogue.session.kind }.map(\.record))
    var hasWritten = try takeOffers(of: sessions, store, pingPath: pingPath, clocks, &live)
    // Merging texts is a feature of a tier; keeping both versions is not.
    // And almost nothing that arrives meets other writes: a long catch-up must not look at every text.
    guard live.hasMetOthers, live.tier.conflictResolution != .basic else { return hasWritten }
    for text in Set(changes.filter(isText).map(Place.init)).sorted() {
      let began = SystemClock.now.uptime
      guard try isOurs(text, store), try actions.mergeTexts(text.record, field: text.field) else { continue }
      live.measurements.record(.settledByMerge, .normal, nanoseconds: SystemClock.now.uptime - began)
      hasWritten = true
    }
    guard live.tier.conflictResolution == .assisted else { return hasWritten }
    for place in Set(changes.filter { ConflictRule.isForAssistant(kind: $0.kind, field: $0.field) }.map(Place.init)).sorted() {
      let began = SystemClock.now.uptime
      guard try isOurs(place, store), try actions.assist(place.record, field: place.field) else { continue }
      live.measurements.record(.settledByAssistant, .normal, nanoseconds: SystemClock.now.uptime - began)
      hasWritten = true
    }
    return hasWritten
  }

  /// Takes up sessions that were handed to this device. One that looks too old is looked at again with everything that is
  /// heard: the clock that stamped it may not be known yet.
  ///
  /// - Returns: Whether something was written here.
  static func takeOffers(
    of sessions: Set<RecordID>, _ store: Store, pingPath: String, _ clocks: HouseholdClocks, _ live: inout LiveState
  ) throws -> Bool {
    let (actions, own) = (Actions(store, patience: DriverLoop.patience), store.ring.device)
    var hasWritten = false
    for id in sessions.sorted() {
      live.lateOffers.remove(id)
      guard let session = try actions.session(id) else { continue }
      live.sessionChanged(session, own: own)
      // The age of an offer is counted by the clock that stamped it.
      let wall = clocks.wall(of: session.offer?.writer, SystemClock.now.wall)
      guard session.isOffered(to: own, wall: wall) else {
        if session.offer?.device == own, session.owner != own, session.isOpen { live.lateOffers.insert(id) }
        continue
      }
      hasWritten = try actions.take(id, wall: wall, pinging: pingPath) || hasWritten
    }
    return hasWritten
  }

  private struct Place: Hashable, Comparable {
    var record: RecordID
    var field: String

    init(_ change: AppliedChange) { (record, field) = (change.record, change.field) }
    static func < (one: Self, other: Self) -> Bool { (one.record, one.field) < (other.record, other.field) }
  }

  private static func isText(_ change: AppliedChange) -> Bool {
    RecordCatalogue[change.kind]?[change.field].map { $0.content == .text && $0.policy == .multiValue } ?? false
  }

  /// One of the two authors settles it, always the same one, so that the two do not answer each other.
  private static func isOurs(_ place: Place, _ store: Store) throws -> Bool {
    let dots = try store.read { try $0.record(place.record) }?[place.field]?.dots ?? []
    return dots.count == 2 && dots.map(\.id.stream.device).min() == store.ring.device
  }
}
