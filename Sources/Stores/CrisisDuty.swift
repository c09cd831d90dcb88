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

  /// How often the boards of contacts who were told are read.
  private static let readingGap: UInt64 = 2_000_000_000
  /// How long a duty that could not be done waits.
  private static let retryGap: UInt64 = 1_000_000_000
  private static let closingGap: UInt64 = 5_000_000_000

  /// Uptime at which there is something to do although nothing changes; `nil` while there is not.
  var due: UInt64? { [watch.due, nextReading, nextClosing, lookAt].compactMap { $0 }.min() }

  /// Takes in what has come: what was told leaves the crisis together with its end.
  mutating func note(_ changes: [AppliedChange]) {
    if changes.contains(where: { $0.kind == RecordCatalogue.crisis.kind && $0.field == "told" }) { before.isTold = true }
  }

  /// The crisis may be another one. What has to be done about it has seconds: the processor belongs to
  /// those who still have to draw it.
  mutating func change(_ now: Moment) { lookAt = lookAt ?? now.uptime + Self.calm }
  private static let calm: UInt64 = 60_000_000

  /// What was due could not be done: a full disk, for instance.
  mutating func postpone(_ now: Moment) {
    lookAt = now.uptime + Self.retryGap
    watch.hold(until: now.uptime + Self.retryGap)
    if nextReading != nil { nextReading = now.uptime + Self.readingGap }
    if nextClosing != nil { nextClosing = now.uptime + Self.closingGap }
  }

  struct Result {
    var isActive = false
    /// What another process of this device shows, if that is news.
    var shown: OperationID?
    /// Whether something was written here.
    var hasWritten = false
    var news: [String] = []
  }

  /// Looks at the crisis, and does what is due.
  ///
  /// - Parameter relay: `nil` where another process of this device exchanges: then it only looks.
  /// - Throws: ``StorageError``. A relay that does not answer is asked again later.
  mutating func perform(_ store: Store, _ replica: Replica, relay: (any Relay)?, pingPath: String, _ now: Moment) throws -> Result {
    let actions = Actions(store, patience: DriverLoop.patience)
    let (crisis, contacts) = try store.read { (CrisisState(try $0.record(actions.crisisRecord)), try SafetyPlan.contacts($0)) }
    lookAt = nil
    let kept = try watch.follow(crisis, now) { try store.read { try $0.crisisSeen() }.map(CrisisWatch.Kept.init) }
    if let kept { try store.write(within: DriverLoop.patience) { try $0.setCrisisSeen(kept.activation, wall: kept.wall) } }
    let duties = watch.look(
      crisis, contacts: contacts, own: replica.device, others: replica.others,
      isHere: { replica.peers.state(of: $0, now: now.uptime) == .here }, now: now)
    var result = Result(isActive: crisis.isActive)
    if before.isActive, !crisis.isActive { hasToldNobody = !before.isTold }
    before = (crisis.isActive, crisis.isActive && (before.isTold || !crisis.told.isEmpty))
    guard let relay else {
      // Whoever exchanges does the rest.
      (nextReading, nextClosing) = (nil, nil)
      return result
    }
    if crisis.isActive, let kept = try store.read({ try $0.crisisShown() }), kept != shownElsewhere {
      (shownElsewhere, result.shown) = (kept, kept)
    }
    let outreach = CrisisOutreach(
      ring: store.ring, relay: relay, isPublished: replica.outbox[Channel(.crisis)].isComplete, isPatient: watch.isPatient
    ) { id in try store.read { try $0.hasArrived(id) } }
    for duty in duties {
      do { try perform(duty, outreach, crisis, contacts, actions, pingPath, now, &result) } catch is RelayError {
        watch.postpone(until: now.uptime + Self.retryGap)
      }
    }
    read(contacts, crisis, relay, now, &result)
    // Nobody's crisis waits for a link, and nothing waits for a relay that does not answer.
    if crisis.isActive || !replica.relay.isReachable {
      nextClosing = contacts.contains { !$0.withdrawn.isEmpty } ? now.uptime + Self.closingGap : nil
    } else {
      try close(contacts, relay, actions, pingPath, now, &result)
    }
    return result
  }

  private mutating func perform(
    _ duty: CrisisWatch.Duty, _ outreach: CrisisOutreach, _ crisis: CrisisState, _ contacts: [SafetyPlan.Contact],
    _ actions: Actions, _ pingPath: String, _ now: Moment, _ result: inout Result
  ) throws {
    var random = SystemRandomNumberGenerator()
    switch duty {
    case .tell(let id):
      guard let contact = contacts.first(where: { $0.record == id }) else { return }
      // Also where this fails one of their links may have been told.
      before.isTold = true
      let outcome = try outreach.tell(contact, of: crisis, wall: now.wall, using: &random)
      if outcome == .early { return watch.postpone(until: now.uptime + Self.retryGap) }
      guard try actions.noteTold(id, pinging: pingPath) else { return }
      result.hasWritten = true
      if outcome == .done { result.news.append("an alert lies at the link of \(contact.name)") }
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
      case .early: watch.postpone(until: now.uptime + Self.retryGap)
      case .doneElsewhere:
        watch.noteTaken(stage)
        watch.postpone(until: now.uptime)
      case .done:
        guard try actions.escalate(to: stage, pinging: pingPath) else { return }
        result.hasWritten = true
        result.news.append("nobody has acknowledged the crisis: \(stage.meaning)")
      }
    }
  }

  /// Looks how far the alerts have come.
  private mutating func read(
    _ contacts: [SafetyPlan.Contact], _ crisis: CrisisState, _ relay: any Relay, _ now: Moment, _ result: inout Result
  ) {
    if !crisis.isActive { arrivals = [:] }
    let waiting = contacts.filter { contact in
      guard crisis.told.contains(contact.record), contact.isInvited else { return false }
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
    case .unopened: "nobody has ever opened the link of \(name): please call"
    case .followed: "somebody has opened the link of \(name); the alert is on no screen there yet"
    case .shown: "a screen of \(name) shows that you asked for support"
    case .seen: "\(name) has seen that you asked for support"
    }
  }
}
