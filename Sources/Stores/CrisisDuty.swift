import Causality
import Crisis
import Foundation
import Replica
import Storage
import Therapy

/// What the exchanging process does in a crisis beyond carrying it: takes stages, and tells the people
/// whom the person agreed to tell.
struct CrisisDuty: Sendable {
  private(set) var watch = CrisisWatch()
  /// When the crisis is looked at because it may be another one; `nil` when it was.
  private var lookAt: UInt64? = 0
  /// How far the alerts have come with those to whom one was put up, as their side says.
  private(set) var arrivals: [RecordID: CrisisOutreach.Arrival] = [:]
  private var nextReading: UInt64?
  /// When it is tried again to say that links were taken back; `nil` when none waits for that.
  private var nextClosing: UInt64?
  private var shownElsewhere: OperationID?
  /// Whether a crisis was active at the last look, and whether anybody was told of it since it is.
  private var before = (isActive: false, isTold: false)
  /// A crisis is over of which nobody was told, as far as is known; the boards are looked at before that is said.
  private var hasToldNobody = false
  /// Who was told without the store having it yet: it may be locked, or the disk full.
  private var unsaved: [RecordID: Unsaved] = [:]
  /// Stages that this device has taken and that the store does not have yet.
  private var unsavedStages: Set<EscalationStage> = []
  /// What has to be kept of the moment at which this device first had the crisis.
  private var unkept: CrisisWatch.Kept?
  /// When it is tried again to write that; `nil` when nothing waits.
  private var nextNoting: UInt64?
  private var hasBeenRefused = false
  /// Whether the person has said so of this crisis, and somebody is left to be told.
  private var isSaidNow = false
  /// What was raised past the store, and was put on the relay or read there.
  private var atRelay: Set<OperationID> = []
  /// Uptime at which something fell due about which the relay is looked at once more, and since which the look counts.
  private var awaited: (first: UInt64, since: UInt64)?
  /// Whether this process puts up what is due; uptime of the last look, and of the alerts that it found to be due later.
  private var isTrying = false
  private var lookedAt: UInt64 = 0
  private var alertsAt: UInt64 = 0

  private struct Unsaved: Sendable {
    /// By the clock of this device, in milliseconds.
    var wall: UInt64
    var activations: [OperationID]
  }

  /// What a look depends on beside the store.
  struct Surroundings {
    /// What is written about the crisis and not in the store: it counts all the same.
    var glimpse: CrisisGlimpse
    /// `nil` where this process asks no relay.
    var relay: (any Relay)?
    /// Whether this process exchanges. Another one only does what the person asks for at its screen.
    var isLeader: Bool
    var pingPath: String
  }

  /// How often the boards of contacts who were told are read.
  private static let readingGap: UInt64 = 2_000_000_000
  /// How long a duty that could not be done waits.
  private static let retryGap: UInt64 = 1_000_000_000
  private static let closingGap: UInt64 = 5_000_000_000
  /// Milliseconds that writing down what was done may wait for a lock: it is tried again.
  private static let notePatience = 50

  /// Uptime at which there is something to do although nothing changes; `nil` while there is not.
  var due: UInt64? { [watch.due, nextReading, nextClosing, nextNoting, lookAt].compactMap { $0 }.min() }

  /// Whether the person at the screen of this process waits for somebody to be told.
  var asksNow: Bool { isSaidNow || watch.hasSaidNow }

  /// Takes in what has come: what was told leaves the crisis together with its end.
  mutating func note(_ changes: [AppliedChange]) {
    if changes.contains(where: { $0.kind == RecordCatalogue.crisis.kind && $0.field == "told" }) { before.isTold = true }
  }

  /// An activation was raised on this device, for a key that was pressed at that uptime.
  mutating func noteRaised(_ activation: OperationID, at pressed: UInt64) { watch.noteRaised(activation, at: pressed) }

  /// These were put on the relay, or read there, whether the store has them or not.
  mutating func noteAtRelay(_ operations: [Causality.Operation]) { atRelay.formUnion(operations.map(\.id)) }

  /// The person does not want to wait: it holds for these activations until everybody is told.
  mutating func sayNow(_ activations: Set<OperationID>, _ now: Moment) {
    watch.sayNow(activations)
    lookAt = now.uptime
  }

  /// The crisis may be another one. What has to be done about it has seconds: the processor belongs to
  /// those who still have to draw it.
  mutating func change(_ now: Moment) { lookAt = lookAt ?? now.uptime + Self.calm }
  private static let calm: UInt64 = 60_000_000

  /// What was due could not be done: a full disk, for instance.
  mutating func postpone(_ now: Moment) {
    isTrying = false
    lookAt = now.uptime + Self.retryGap
    watch.hold(until: now.uptime + Self.retryGap)
    if nextReading != nil { nextReading = now.uptime + Self.readingGap }
    if nextClosing != nil { nextClosing = now.uptime + Self.closingGap }
    if nextNoting != nil { nextNoting = now.uptime + Self.retryGap }
  }

  struct Result {
    var isActive = false
    /// What another process of this device shows, if that is news.
    var shown: OperationID?
    /// Whether something was written here.
    var hasWritten = false
    /// Whether the store took something, also what leaves this device never.
    var hasNoted = false
    /// Whether the relay has to be looked at before anybody is told.
    var wantsLook = false
    /// Why the store did not take what was done.
    var refusal: (any Error)?
    var news: [String] = []
  }

  /// Looks at the crisis, and does what is due. Whom it has told it knows, also while the store cannot be written.
  ///
  /// - Throws: ``StorageError`` where the store cannot be read. A relay that does not answer is asked again later.
  mutating func perform(_ store: Store, _ replica: Replica, _ around: Surroundings, _ now: Moment) throws -> Result {
    let actions = Actions(store, patience: Self.notePatience)
    let (crisis, contacts, remembered) = try store.read { transaction in
      let record = try around.glimpse.over(transaction.record(actions.crisisRecord), hasArrived: transaction.hasArrived)
      let remembered = try around.isLeader ? [:] : SnapshotBuilder.peers(transaction.rememberedPeers())
      return (CrisisState(record), try SafetyPlan.contacts(transaction), remembered)
    }
    lookAt = nil
    if !watch.isAbout(crisis) { unsavedStages = [] }
    if let kept = try watch.follow(crisis, now, kept: { try store.read { try $0.crisisSeen() }.map(CrisisWatch.Kept.init) }) { unkept = kept }
    forget(crisis, actions.crisisRecord)
    let duties = watch.look(
      crisis, contacts: contacts, told: Set(unsaved.keys), own: replica.device, others: replica.others,
      isHere: { Self.isHere($0, replica, around.isLeader ? nil : remembered, now) }, now: now)
    (lookedAt, alertsAt) = (now.uptime, now.uptime + (watch.alert.milliseconds ?? 0) * 1_000_000)
    isSaidNow = watch.isSaidNow(crisis) && !watch.alert.now.isEmpty
    var result = Result(isActive: crisis.isActive)
    if before.isActive, !crisis.isActive { hasToldNobody = !before.isTold }
    before = (crisis.isActive, crisis.isActive && (before.isTold || !crisis.told.isEmpty))
    guard let relay = around.relay, around.isLeader || isSaidNow else {
      // Whoever exchanges does the rest.
      (nextReading, nextClosing, isTrying) = (nil, nil, false)
      write(store, actions, around.pingPath, now, &result)
      return result
    }
    if around.isLeader, crisis.isActive, let kept = try store.read({ try $0.crisisShown() }), kept != shownElsewhere {
      (shownElsewhere, result.shown) = (kept, kept)
    }
    let beside = Set(around.glimpse.operations.map(\.id))
    let outreach = CrisisOutreach(
      ring: store.ring, relay: relay, isPublished: isSaidNow || isPublished(crisis, beside, replica), isPatient: watch.isPatient
    ) { id in try beside.contains(id) || store.read { try $0.hasArrived(id) } }
    isTrying = true
    let isLookedAt = mayTell(duties, crisis, replica, now, &result)
    for duty in duties where around.isLeader || duty.isTelling {
      guard isLookedAt || !isNews(duty, crisis) else { continue }
      do { try perform(duty, outreach, crisis, contacts, actions.crisisRecord, now, &result) } catch is RelayError {
        isTrying = false
        watch.postpone(until: now.uptime + Self.retryGap)
      }
    }
    write(store, actions, around.pingPath, now, &result)
    guard around.isLeader else { return result }
    read(contacts, crisis, relay, now, &result)
    // Nobody's crisis waits for a link, and nothing waits for a relay that does not answer.
    if crisis.isActive || !replica.relay.isReachable {
      nextClosing = contacts.contains { !$0.withdrawn.isEmpty } ? now.uptime + Self.closingGap : nil
    } else {
      try close(contacts, relay, actions, around.pingPath, now, &result)
    }
    return result
  }

  /// Whether it is known that what is due is still meant: by a look at the relay that ended after it fell due, for a
  /// process may have been asleep when it was taken back elsewhere. What the person says now at this screen waits for
  /// nothing, and a relay that does not answer keeps it waiting for a moment only.
  private mutating func mayTell(
    _ duties: [CrisisWatch.Duty], _ crisis: CrisisState, _ replica: Replica, _ now: Moment, _ result: inout Result
  ) -> Bool {
    guard duties.contains(where: { isNews($0, crisis) }), !isSaidNow else {
      awaited = nil
      return true
    }
    // One that was away may have forgotten, or learned, anything meanwhile.
    let (isReachable, before) = (replica.relay.isReachable, awaited)
    let (first, since) = (before?.first ?? now.uptime, isReachable ? before?.since ?? now.uptime : now.uptime)
    let patience = isReachable ? Self.lookPatience : Self.awayPatience
    if replica.hasReadCrises(since: since) || now.uptime >= first + patience { return true }
    result.wantsLook = isReachable && before?.since != since
    awaited = (first, since)
    watch.postpone(until: now.uptime + Self.lookGap)
    return false
  }

  /// Nanoseconds.
  private static let lookPatience: UInt64 = 3_000_000_000
  private static let awayPatience: UInt64 = 30_000_000_000
  private static let lookGap: UInt64 = 50_000_000

  /// Whether it tells somebody something that is not known there.
  private func isNews(_ duty: CrisisWatch.Duty, _ crisis: CrisisState) -> Bool {
    switch duty {
    case .tell(let contact): !crisis.told.contains(contact) && unsaved[contact] == nil
    case .take: true
    case .end: false
    }
  }

  /// Whether a device can be expected to take its turn. Every process of this device goes by what the one that exchanges
  /// has heard, so that all of them count the same.
  ///
  /// - Parameter remembered: What was kept of that, for a process that does not exchange.
  private static func isHere(_ device: DeviceID, _ replica: Replica, _ remembered: [DeviceID: Peer]?, _ now: Moment) -> Bool {
    guard let remembered else { return replica.peers.state(of: device, now: now.uptime) == .here }
    guard let peer = remembered[device], !peer.presence.isLeaving else { return false }
    return now.wall < peer.heardWall + Peers.hereFor / 1_000_000
  }

  /// Whether what this device has raised lies on the relay: nobody is told of what is not there.
  ///
  /// - Parameter beside: What the store does not have yet.
  private func isPublished(_ crisis: CrisisState, _ beside: Set<OperationID>, _ replica: Replica) -> Bool {
    crisis.activations.map(\.id).filter { $0.stream.device == replica.device }.allSatisfy { id in
      atRelay.contains(id) || !beside.contains(id) && replica.outbox[Channel(.crisis)].isComplete
    }
  }

  /// What the store has by now, and what was done about another crisis.
  private mutating func forget(_ crisis: CrisisState, _ record: RecordID) {
    let active = Set(crisis.activations.map(\.id))
    unsaved = unsaved.filter { entry in
      !crisis.telling(entry.key, record: record).isEmpty && !active.isDisjoint(with: entry.value.activations)
    }
    unsavedStages.subtract(crisis.stages)
    if !crisis.isActive { (unsavedStages, unkept, atRelay) = ([], nil, []) }
  }

  private mutating func perform(
    _ duty: CrisisWatch.Duty, _ outreach: CrisisOutreach, _ crisis: CrisisState, _ contacts: [SafetyPlan.Contact], _ record: RecordID,
    _ now: Moment, _ result: inout Result
  ) throws {
    var random = SystemRandomNumberGenerator()
    switch duty {
    case .tell(let id):
      guard let contact = contacts.first(where: { $0.record == id }) else { return }
      // Also where this fails one of their links may have been told.
      before.isTold = true
      let outcome = try outreach.tell(contact, of: crisis, wall: now.wall, using: &random)
      // Nobody reads a link that was taken back: nothing is on its way there.
      if outcome == .closed { isTrying = false }
      if outcome == .early || outcome == .closed { return watch.postpone(until: now.uptime + Self.retryGap) }
      let ids = crisis.activations.map(\.id)
      let isNews = !crisis.telling(id, record: record).isEmpty && unsaved[id]?.activations != ids
      if isNews { unsaved[id] = Unsaved(wall: unsaved[id]?.wall ?? now.wall, activations: ids) }
      if isNews, outcome == .done { result.news.append("an alert lies at the link of \(contact.name)") }
    case .end:
      var problem: RelayError?
      for contact in contacts where contact.isInvited {
        // One link that fails keeps it from nobody else.
        do {
          guard try outreach.end(contact, in: crisis, wall: now.wall, using: &random) else { continue }
        } catch let error as RelayError {
          problem = error
          continue
        }
        hasToldNobody = false
        result.news.append("that it is over lies at the link of \(contact.name)")
      }
      if let problem { throw problem }
      watch.didEnd()
      if hasToldNobody { result.news.append("the crisis is over; as far as this device knows, none of your contacts was told of it") }
      hasToldNobody = false
    case .take(let stage):
      switch try outreach.take(stage, of: crisis, wall: now.wall, using: &random) {
      case .early, .closed: watch.postpone(until: now.uptime + Self.retryGap)
      case .doneElsewhere:
        watch.noteTaken(stage)
        watch.postpone(until: now.uptime)
      case .done:
        // What follows from it does not wait for the store.
        watch.noteTaken(stage)
        watch.postpone(until: now.uptime)
        if unsavedStages.insert(stage).inserted { result.news.append("nobody has acknowledged the crisis: \(stage.meaning)") }
      }
    }
  }

  /// Writes down what was done; what the store refuses is tried again.
  private mutating func write(_ store: Store, _ actions: Actions, _ pingPath: String, _ now: Moment, _ result: inout Result) {
    do {
      if let kept = unkept {
        try store.write(within: Self.notePatience) { try $0.setCrisisSeen(kept.activation, wall: kept.wall) }
        result.hasNoted = true
      }
      unkept = nil
      for id in Array(unsaved.keys) {
        guard try actions.noteTold(id, pinging: pingPath) else { continue }
        (result.hasWritten, result.hasNoted) = (true, true)
      }
      for stage in unsavedStages.sorted() {
        guard try actions.escalate(to: stage, pinging: pingPath) else { continue }
        (result.hasWritten, result.hasNoted) = (true, true)
      }
      hasBeenRefused = false
    } catch {
      // A commit of another process takes a moment: what is refused twice is told.
      if hasBeenRefused { result.refusal = error }
      hasBeenRefused = true
    }
    nextNoting = unkept != nil || !unsaved.isEmpty || !unsavedStages.isEmpty ? now.uptime + Self.retryGap : nil
  }

  /// Looks how far the alerts have come.
  private mutating func read(
    _ contacts: [SafetyPlan.Contact], _ crisis: CrisisState, _ relay: any Relay, _ now: Moment, _ result: inout Result
  ) {
    if !crisis.isActive { arrivals = [:] }
    let waiting = contacts.filter { contact in
      guard crisis.told.contains(contact.record) || unsaved[contact.record] != nil, contact.isInvited else { return false }
      if case .seen? = arrivals[contact.record] { return false }
      return true
    }
    guard !waiting.isEmpty else { return nextReading = nil }
    guard now.uptime >= nextReading ?? 0 else { return }
    nextReading = now.uptime + Self.readingGap
    for contact in waiting {
      guard let arrival = try? CrisisOutreach.arrival(with: contact, of: crisis, on: relay), arrival != arrivals[contact.record] else { continue }
      arrivals[contact.record] = arrival
      result.news.append(Self.words(arrival, contact.name))
    }
  }

  /// Says at links that were taken back that they are: whoever follows one would wait for nothing.
  private mutating func close(
    _ contacts: [SafetyPlan.Contact], _ relay: any Relay, _ actions: Actions, _ pingPath: String, _ now: Moment, _ result: inout Result
  ) throws {
    let waiting = contacts.filter { !$0.withdrawn.isEmpty }
    guard !waiting.isEmpty else { return nextClosing = nil }
    guard now.uptime >= nextClosing ?? 0 else { return }
    nextClosing = now.uptime + Self.closingGap
    var random = SystemRandomNumberGenerator()
    for contact in waiting {
      do { try CrisisOutreach.close(contact, on: relay, wall: now.wall, using: &random) } catch { continue }
      try actions.noteClosed(contact, pinging: pingPath)
      result.hasWritten = true
      result.news.append("the link of \(contact.name) was taken back; that stands there now")
    }
  }

  private static func words(_ arrival: CrisisOutreach.Arrival, _ name: String) -> String {
    switch arrival {
    case .unopened: "no opening of the link of \(name) is known here: please call"
    case .followed: "somebody has opened the link of \(name); the alert is on no screen there yet"
    case .shown: "a screen of \(name) shows that you asked for support"
    case .seen: "\(name) has seen that you asked for support"
    }
  }
}

extension CrisisDuty {
  /// What the contacts learn of the crisis, and when: counted at this very moment, from the last look.
  func tellings(_ contacts: [SafetyPlan.Contact], _ crisis: CrisisState, _ now: Moment) -> [Snapshot.CrisisStatus.Telling] {
    contacts.compactMap { contact in
      telling(contact, crisis, now).map { Snapshot.CrisisStatus.Telling(name: contact.name, phone: contact.phone, state: $0) }
    }
  }

  /// `nil` for a contact that is never told. That an alert is being put up is said where this process does it now; where
  /// its time has come and it does not, no time is left.
  private func telling(_ contact: SafetyPlan.Contact, _ crisis: CrisisState, _ now: Moment) -> Snapshot.CrisisStatus.Telling.State? {
    let saved = crisis.tellings.first { $0.contact == contact.record }?.timestamp.milliseconds
    if let told = saved ?? unsaved[contact.record]?.wall { return .told(told, arrivals[contact.record]) }
    guard crisis.level >= .severe else { return nil }
    if contact.isUndecided, contact.consent == .never || !contact.isInvited { return .undecided }
    guard contact.consent != .never else { return nil }
    if !contact.isInvited { return .notInvited }
    guard watch.isAbout(crisis) else { return contact.consent == .prompt ? .later(Self.left(crisis, now)) : .unanswered }
    if watch.alert.later.contains(contact.record) { return .later((alertsAt - min(alertsAt, now.uptime)) / 1_000_000) }
    if watch.alert.now.contains(contact.record) { return isTrying ? .now : .later(0) }
    return contact.consent == .prompt ? .later(Self.left(crisis, now)) : .unanswered
  }

  /// Milliseconds that are left by the stamp of a crisis that is not looked at yet.
  private static func left(_ crisis: CrisisState, _ now: Moment) -> UInt64 {
    guard let since = crisis.since else { return 0 }
    let gone = now.wall > since ? now.wall - since : 0
    return CrisisAlert.undoMilliseconds - min(CrisisAlert.undoMilliseconds, gone)
  }

  /// What happens next by itself, counted at this very moment.
  func step(_ now: Moment) -> CrisisEscalation.Step {
    guard case .wait(let stage, let milliseconds) = watch.step, now.uptime > lookedAt else { return watch.step }
    return .wait(stage, milliseconds: milliseconds - min(milliseconds, (now.uptime - lookedAt) / 1_000_000))
  }
}

extension CrisisWatch.Duty {
  /// Whether it tells a contact.
  fileprivate var isTelling: Bool { if case .tell = self { true } else { false } }
}
