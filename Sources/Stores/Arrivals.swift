import Causality
import Replica
import Storage
import Therapy

/// What this device does by itself with changes that have just arrived: takes up a session that was handed
/// to it, merges texts whose edits do not touch each other, and lets the assistant decide where it may.
///
/// What is to be done is noted in ``PendingOffers`` and ``PendingLooks`` before it is tried, and stays there until it was
/// done or is not to be done any more: what the store refuses is tried again.
enum Arrivals {
  /// Something to do by itself about a field that other writes have met.
  struct FieldDuty: Hashable, Comparable, Sendable {
    /// Texts are merged before the assistant looks at what is left.
    enum Act: Int, Sendable { case merge, assist }
    var act: Act
    var record: RecordID
    var field: String

    init(_ act: Act, _ change: AppliedChange) { (self.act, record, field) = (act, change.record, change.field) }
    static func < (one: Self, other: Self) -> Bool {
      (one.act.rawValue, one.record, one.field) < (other.act.rawValue, other.record, other.field)
    }
  }

  /// How many fields wait at most for a store that refuses: a conflict beyond them stays open for the person to decide.
  static let waitingFields = 256

  /// What came of a round.
  struct Outcome {
    /// Whether something was written here.
    var hasWritten = false
    /// What was refused; that the store takes nothing at the moment counts before anything else. It is tried again.
    var refusal: (any Error)?

    /// Whether the store takes nothing at the moment, so that whatever follows would be refused as well.
    var isStoreHeld: Bool { (refusal as? StorageError)?.obstacle != nil }

    mutating func refuse(_ error: any Error) { if !isStoreHeld { refusal = error } }
  }

  /// Notes what is to be done about these changes, and does it.
  static func settle(_ changes: [AppliedChange], _ store: Store, pingPath: String, _ clocks: HouseholdClocks, _ live: inout LiveState) -> Outcome {
    let now = SystemClock.now.uptime
    let sessions = Set(changes.filter { $0.kind == RecordCatalogue.session.kind }.map(\.record))
    if !sessions.isEmpty {
      live.offers.insert(sessions, now: now)
      // Whoever waits in another process for the receipt of a session that it has handed over sees it at once.
      store.pingOthers(except: pingPath)
    }
    // Merging texts is a feature of a tier; keeping both versions is not.
    // And almost nothing that arrives meets other writes: a long catch-up must not look at every text.
    if live.hasMetOthers, live.tier.conflictResolution != .basic {
      live.fieldDuties.insert(Set(changes.filter(isText).map { FieldDuty(.merge, $0) }).sorted(), now: now)
      if live.tier.conflictResolution == .assisted {
        let decidable = changes.filter { ConflictRule.isForAssistant(kind: $0.kind, field: $0.field) }
        live.fieldDuties.insert(Set(decidable.map { FieldDuty(.assist, $0) }).sorted(), now: now)
      }
    }
    return resume(store, pingPath: pingPath, clocks, &live)
  }

  /// Does what is due.
  static func resume(_ store: Store, pingPath: String, _ clocks: HouseholdClocks, _ live: inout LiveState) -> Outcome {
    var outcome = Outcome()
    let now = SystemClock.now.uptime
    if live.offers.isDue(now) {
      takeOffers(store, pingPath: pingPath, clocks, &live, &outcome)
      live.offers.endRound(now: SystemClock.now.uptime)
    }
    if live.fieldDuties.isDue(now) {
      if !outcome.isStoreHeld { settleFields(store, &live, &outcome) }
      live.fieldDuties.endRound(now: SystemClock.now.uptime)
    }
    return outcome
  }

  // MARK: Sessions

  private static func takeOffers(
    _ store: Store, pingPath: String, _ clocks: HouseholdClocks, _ live: inout LiveState, _ outcome: inout Outcome
  ) {
    if live.offers.mustSearch {
      do { live.offers.didSearch(try openOffers(store), now: SystemClock.now.uptime) } catch { outcome.refuse(error) }
    }
    // One that cannot be read or taken keeps none of the others.
    for id in live.offers.sessions where !outcome.isStoreHeld {
      do {
        let (finding, hasTaken) = try takeOffer(id, store, pingPath: pingPath, clocks, &live)
        live.offers.note(id, finding)
        outcome.hasWritten = hasTaken || outcome.hasWritten
      } catch { outcome.refuse(error) }
    }
  }

  /// Takes up a session where it is handed to this device.
  private static func takeOffer(
    _ id: RecordID, _ store: Store, pingPath: String, _ clocks: HouseholdClocks, _ live: inout LiveState
  ) throws -> (PendingOffers.Finding, hasTaken: Bool) {
    let (actions, own) = (Actions(store, patience: DriverLoop.patience), store.ring.device)
    guard let session = try actions.session(id) else { return (.ended, hasTaken: false) }
    live.sessionChanged(session, own: own)
    guard let offer = session.openOffer(to: own) else { return (.ended, hasTaken: false) }
    // The age of an offer is counted by the clock that stamped it.
    let wall = clocks.wall(of: offer.writer, SystemClock.now.wall)
    guard session.isOffered(to: own, wall: wall) else {
      let late = PendingOffers.Offer(writer: offer.writer, timestamp: offer.timestamp, offset: clocks.offsets[offer.writer])
      return (.late(late), hasTaken: false)
    }
    return (.ended, hasTaken: try actions.take(id, wall: wall, pinging: pingPath))
  }

  /// The sessions that the store offers to this device, and when each was.
  private static func openOffers(_ store: Store) throws -> [RecordID: Timestamp] {
    let own = store.ring.device
    let sessions = try store.read { try $0.readableRecords(kind: RecordCatalogue.session.kind) }.compactMap(SessionState.init)
    return Dictionary(uniqueKeysWithValues: sessions.compactMap { session in
      session.openOffer(to: own).map { (session.id, $0.timestamp) }
    })
  }

  // MARK: Fields

  private static func settleFields(_ store: Store, _ live: inout LiveState, _ outcome: inout Outcome) {
    let actions = Actions(store, patience: DriverLoop.patience)
    for duty in live.fieldDuties.items.sorted() where !outcome.isStoreHeld {
      do {
        outcome.hasWritten = try perform(duty, actions, &live) || outcome.hasWritten
        live.fieldDuties.end(duty)
      } catch is InputError {
        // Something arrived meanwhile: then its author decides.
        live.fieldDuties.end(duty)
      } catch { outcome.refuse(error) }
    }
  }

  /// - Returns: Whether something was written here.
  private static func perform(_ duty: FieldDuty, _ actions: Actions, _ live: inout LiveState) throws -> Bool {
    let began = SystemClock.now.uptime
    guard try isOurs(duty, actions.store) else { return false }
    switch duty.act {
    case .merge:
      guard try actions.mergeTexts(duty.record, field: duty.field) else { return false }
      live.measurements.record(.settledByMerge, .normal, nanoseconds: SystemClock.now.uptime - began)
    case .assist:
      guard try actions.assist(duty.record, field: duty.field) else { return false }
      live.measurements.record(.settledByAssistant, .normal, nanoseconds: SystemClock.now.uptime - began)
    }
    return true
  }

  private static func isText(_ change: AppliedChange) -> Bool {
    RecordCatalogue[change.kind]?[change.field].map { $0.content == .text && $0.policy == .multiValue } ?? false
  }

  /// One of the two authors settles it, always the same one, so that the two do not answer each other.
  private static func isOurs(_ duty: FieldDuty, _ store: Store) throws -> Bool {
    let dots = try store.read { try $0.record(duty.record) }?[duty.field]?.dots ?? []
    return dots.count == 2 && dots.map(\.id.stream.device).min() == store.ring.device
  }
}

extension SessionState {
  /// What offers it to a device that could take it up; however old it is.
  fileprivate func openOffer(to device: DeviceID) -> Offer? {
    guard let offer, offer.device == device, owner != device, isOpen else { return nil }
    return offer
  }
}
