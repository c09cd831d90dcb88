import Causality
import ConflictResolution
import Crisis
import Relays
import Replica
import Sealing
import Storage
import Therapy

/// A crisis, and whom it is told to.
extension Actions {
  /// Raises a crisis: durable first, then on the relay from this very process, whoever else is busy.
  package func activateCrisis(_ level: CrisisLevel, source: String) throws -> CrisisChange {
    let saved = try saving { try save([CrisisState.activation(level, source: source, record: crisisRecord)], in: &$0) }
    guard let change = CrisisChange(saved) else { preconditionFailure("a draft makes an operation") }
    return change
  }

  /// Resolves every activation that this device has seen; `nil` when there is none.
  package func resolveCrisis() throws -> CrisisChange? {
    try changeCrisis { $0.isActive ? $0.resolution(record: crisisRecord) : [] }
  }

  /// Says that the person has seen the crisis at this device; `nil` when there is nothing to say.
  package func acknowledgeCrisis() throws -> CrisisChange? {
    try changeCrisis { $0.acknowledgement(by: device, record: crisisRecord).map { [$0] } ?? [] }
  }

  package func crisisState() throws -> CrisisState { CrisisState(try store.read { try $0.record(crisisRecord) }) }

  /// Takes a stage, unless another device has meanwhile.
  ///
  /// - Returns: Whether it was taken here.
  package func escalate(to stage: EscalationStage, pinging own: String?) throws -> Bool {
    try !deciding(pinging: own) {
      CrisisState(try $0.record(crisisRecord)).escalation(to: stage, record: crisisRecord)
    }.operations.isEmpty
  }

  /// Notes that a contact was told.
  ///
  /// - Returns: Whether there was something to note.
  package func noteTold(_ contact: RecordID, pinging own: String?) throws -> Bool {
    try !deciding(pinging: own) {
      CrisisState(try $0.record(crisisRecord)).telling(contact, record: crisisRecord)
    }.operations.isEmpty
  }

  /// At links that were taken back stands now that they are.
  package func noteClosed(_ contact: SafetyPlan.Contact, pinging own: String?) throws {
    _ = try deciding(pinging: own) { transaction in
      guard let record = try transaction.record(contact.record), record.isVisible else { return [] }
      // Another program, or another device, may have noted it already.
      let waiting = SafetyPlan.Contact(record).withdrawn.filter(contact.withdrawn.contains)
      guard !waiting.isEmpty else { return [] }
      return try RecordCatalogue.contact.drafts(
        from: waiting.map { "withdrawn-=\($0)" }, record: contact.record, current: record)
    }
  }

  /// What a look at the links of contacts has found, and done.
  package struct Told: Sendable {
    /// Those at whose link an alert of what is active was read in this very look.
    package fileprivate(set) var contacts: [SafetyPlan.Contact] = []
    /// Those of them of whom nobody knew that they were told, or at whose link it had been lost: it was put up again.
    package fileprivate(set) var news: [SafetyPlan.Contact] = []
    /// Whether the store knows of all of them; who exchanges looks at a link before it tells again.
    package fileprivate(set) var isNoted = true

    /// Of those for whom something was done.
    package var names: [String] { news.map(\.name) }
  }

  /// Tells whom the person agreed on, without waiting until it can no longer be taken back.
  ///
  /// - Parameter glimpse: What lies beside a store that can be read and cannot be written.
  /// - Returns: Those who were told, as their links show it now; who was not reached is told later by the exchanging process.
  ///   That they were is a write like any other: it is sent by the courier, or by the next exchange.
  /// - Throws: ``StorageError``, ``RelayError`` where no link could be looked at.
  package func tellNow(_ relay: any Relay, beside glimpse: CrisisGlimpse = CrisisGlimpse()) throws -> Told {
    try tell(relay, beside: glimpse, isDue: true)
  }

  /// Looks at the link of everybody who is to be told, and of everybody who was: a relay that was wiped, rolled back or damaged
  /// has forgotten it, and what is written here about it is no evidence of what lies there.
  ///
  /// - Parameter isDue: Whether those are told who were not told yet.
  private func tell(_ relay: any Relay, beside glimpse: CrisisGlimpse, isDue: Bool) throws -> Told {
    let (crisis, contacts) = try store.read {
      (CrisisState(try glimpse.over($0.record(crisisRecord), hasArrived: $0.hasArrived)), try SafetyPlan.contacts($0))
    }
    let beside = Set(glimpse.operations.map(\.id))
    let decision = CrisisAlert.decide(
      level: crisis.level, elapsed: 0, saidNow: isDue, rank: 0, isUnanswered: crisis.stages.contains(.family),
      agreed: contacts.agreed, told: crisis.told)
    let before = crisis.told
    let meant = contacts.filter { contact in
      if decision.now.contains(contact.record) { return true }
      return crisis.level >= .severe && contact.isInvited && contact.consent != .never && before.contains(contact.record)
    }
    let store = store
    let outreach = CrisisOutreach(ring: store.ring, relay: relay, isPublished: true, isPatient: true) { id in
      try beside.contains(id) || store.read { try $0.hasArrived(id) }
    }
    var random = SystemRandomNumberGenerator()
    var told = Told()
    var problem: (any Error)?
    for contact in meant where !contact.links.isEmpty {
      // One who cannot be told, or of whom that cannot be noted, keeps nobody else from it.
      let telling: CrisisOutreach.Telling
      do { telling = try outreach.alert(contact, of: crisis, wall: SystemClock.now.wall, using: &random) } catch {
        problem = error
        continue
      }
      guard telling.outcome != .early, telling.outcome != .closed else { continue }
      // Where it is known no lock is waited for.
      if !crisis.telling(contact.record, record: crisisRecord).isEmpty, (try? noteTold(contact.record, pinging: nil)) != true {
        told.isNoted = false
      }
      // It may have been told there as over, which has not arrived here.
      guard telling.lies else { continue }
      told.contacts.append(contact)
      if telling.isNew || !before.contains(contact.record) { told.news.append(contact) }
    }
    if told.contacts.isEmpty, let problem { throw problem }
    return told
  }

  /// How much this device has written by now, in each channel: an exchange that begins later takes all of it along.
  package func written() throws -> [Channel: UInt64] {
    try store.read { try $0.ownProgress(of: device) }.filter { $0.key.lane != nil }.mapValues(\.saved)
  }

  /// Whether everything that this device wrote about crises and whom to tell lies at the relay, as far as is known.
  ///
  /// - Parameter seen: How much of each channel was seen to lie there.
  package func isCrisisSent(seen: [Channel: UInt64]) throws -> Bool {
    let channel = Channel(.crisis)
    let (saved, kept) = try store.read { (try $0.ownProgress(of: device)[channel]?.saved ?? 0, try $0.relayProgress()[channel] ?? 0) }
    return max(kept, seen[channel] ?? 0) >= saved
  }

  /// Tells the contacts of whom it is time, as a program that exchanges does: by a command that ends.
  ///
  /// Whoever was told of it before is told again where that was lost.
  ///
  /// - Returns: The names of those who were told now.
  package func tellDue(_ relay: any Relay) throws -> [String] {
    guard let crisis = try crisisState().leading, crisis.level >= .severe else { return [] }
    let isDue = SystemClock.now.wall > crisis.timestamp.milliseconds + CrisisAlert.undoMilliseconds
    return try tell(relay, beside: CrisisGlimpse(), isDue: isDue).names
  }

  /// Takes back activations, and nothing else.
  package func withdrawCrisis(_ activations: [OperationID]) throws -> CrisisChange? {
    try changeCrisis { state in
      let active = state.activations.map(\.id).filter(activations.contains)
      return active.isEmpty ? [] : [CrisisState.withdrawal(of: active, record: crisisRecord)]
    }
  }

  /// Tells those who were told of a crisis that it is over.
  ///
  /// - Returns: The names of those at whose link that was put up now; the exchanging process goes on with the others.
  /// - Throws: ``StorageError``; ``RelayError`` where it could be put up nowhere.
  package func tellEnded(_ relay: any Relay) throws -> [String] {
    let (crisis, contacts) = try store.read { (CrisisState(try $0.record(crisisRecord)), try SafetyPlan.contacts($0)) }
    let store = store
    let outreach = CrisisOutreach(ring: store.ring, relay: relay, isPublished: true, isPatient: true) { id in
      try store.read { try $0.hasArrived(id) }
    }
    var random = SystemRandomNumberGenerator()
    var (names, problem) = ([String](), RelayError?.none)
    for contact in contacts where contact.isInvited {
      do {
        if try outreach.end(contact, in: crisis, wall: SystemClock.now.wall, using: &random) { names.append(contact.name) }
      } catch let error as RelayError { problem = error }
    }
    if names.isEmpty, let problem { throw problem }
    return names
  }

  /// A change of the crisis, and how far it has come.
  package struct CrisisChange {
    package var operation: Causality.Operation
    /// Microseconds since 1970 at which it was durable here.
    package var saved: UInt64
    /// Whether it lies on the relay; otherwise the exchanging process takes it there.
    package var isAtRelay: Bool

    init?(_ saved: Saved) {
      guard let operation = saved.operations.first else { return nil }
      (self.operation, self.saved, isAtRelay) = (operation, saved.at, false)
      if case .delivered = saved.outcome { isAtRelay = true }
    }
  }

  /// Where there is nothing to change no lock is waited for; whether there is, is decided where it is written.
  private func changeCrisis(_ drafts: (CrisisState) -> [Draft]) throws -> CrisisChange? {
    guard try !drafts(crisisState()).isEmpty else { return nil }
    return CrisisChange(try deciding { drafts(CrisisState(try $0.record(crisisRecord))) })
  }
}
