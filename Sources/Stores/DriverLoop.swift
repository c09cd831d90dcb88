import CSystem
import Causality
import ConflictResolution
import Foundation
import Logging
import Replica
import Sealing
import Storage
import Therapy

/// One thread of a driver: waits, collects what has happened, lets the rules decide, performs.
final class DriverLoop {
  let driver: ReplicaDriver
  let generation: Int
  var performer: EffectPerformer<Store>
  var replica: Replica
  var random = SystemRandomNumberGenerator()
  var events: [ReplicaEvent] = [.timer]
  var watch: (any RelayWatch)?
  var echoes = OwnEchoes()
  /// What has changed on the relay and is no event yet.
  var heard: [RelayChange] = []
  /// What the store refused with last, and how long that is not said again.
  var refusal: (code: String, until: UInt64)?
  static let refusalGap: UInt64 = 30_000_000_000
  /// Another process has said that it wrote.
  var isPinged = false
  var (wakeAt, pollAt, lookAt): (UInt64, UInt64, UInt64) = (0, 0, 0)
  var isStopping = false
  var stopBy: UInt64 = .max
  var live: LiveState
  var flush = FlushPlan()
  var givingWay = GivingWay()
  var lastPublished: UInt64 = 0
  var needsPublishing = true
  var crisisIsNews = false
  var requests = SyncRequests()
  var admissions = AdmissionDuty()
  /// Uptime at which the emergency journal is taken over; `nil` when it is in the store.
  var journalDue: UInt64? = 0
  var deliveredJournal = Set<[UInt8]>()
  var knownNames: [DeviceID: String]?
  let log: Logger
  /// Whether it was looked who leads.
  var hasLooked = false
  /// What the other processes were told of the exchange.
  var keptStatus: ExchangeStatus?
  /// How much of what was written here lies on the relay, as far as it was ever seen.
  var progress: [Channel: UInt64]

  var store: Store { driver.store }
  var observer: ReplicaDriver.Observer { driver.observer }
  var peers: PeerProcesses { driver.peers }

  /// How often commits of other processes are looked for when they cannot ping.
  static let blindPoll: UInt64 = 500_000_000
  /// How often a relay that cannot tell of changes is asked.
  static let slowPoll: UInt64 = 2_000_000_000
  /// How often it is looked whether the store is still in its place.
  static let placeGap: UInt64 = 200_000_000
  /// How long a lock of the store is waited for, in milliseconds: others have to be heard meanwhile.
  static let patience = EffectPerformer<Store>.patience
  /// How much later than its time a duty of a crisis is done in a long catch-up: what is shown goes first.
  static let dutyPatience: UInt64 = 1_000_000_000
  /// How long the journal waits before it is tried again to take it over.
  static let journalGap: UInt64 = 200_000_000

  /// - Parameter problem: Why the thread before was left behind.
  init(_ driver: ReplicaDriver, generation: Int, after problem: RelayError?) throws {
    (self.driver, self.generation, log) = (driver, generation, HomeLog.logger(driver.store.home))
    let store = driver.store
    var random = SystemRandomNumberGenerator()
    var performer = try EffectPerformer(store: store, relay: driver.relay, ring: store.ring, run: random.next())
    let name = driver.relayName
    performer.adopting = { try DriverLoop.adopt($0, at: name, in: store) }
    self.performer = performer
    let now = SystemClock.now
    let before = driver.shared.withLock { shared in
      defer { shared.handedOn.live = nil }
      return shared.handedOn
    }
    live = try before.live ?? store.read { try LiveState(tier: driver.tier, $0) }
    progress = try store.read { try ExchangeStatus.progress($0) }
    replica = try Self.replica(of: driver, performer, now)
    if let problem {
      log.error("relay does not answer", metadata: ["code": "\(problem.code)"])
      replica.isUnanswered(problem, abandoned: driver.shared.withLock { $0.abandoned }, now: now)
    }
    let (admissions, meant) = try store.read { (try $0.admissions(), try $0.relayPlace()) }
    // Nothing is asked of an old place before it is looked whether it is meant: it may hang.
    follow(meant, now)
    follow(admissions.map(\.bytes), now)
    followCrisis()
    if let problem, before.lost != problem { tell(.relayLost(problem), now) }
  }

  /// A replica that knows what the store knows.
  ///
  /// - Parameter before: The one of this run that it follows.
  private static func replica(
    of driver: ReplicaDriver, _ performer: EffectPerformer<Store>, after before: Replica? = nil, _ now: Moment
  ) throws -> Replica {
    var beginning = try performer.beginning()
    (beginning.tier, beginning.counter) = (driver.tier, before?.presenceCounter ?? 0)
    (beginning.remembered, beginning.usedToday) = try driver.store.read { transaction in
      // An old round trip is no measurement of this run.
      let remembered = try SnapshotBuilder.peers(transaction.rememberedPeers()).mapValues { peer in
        var peer = peer
        peer.roundTrip = nil
        return peer
      }
      return (remembered, try transaction.syncOperations(onDay: now.wall / millisecondsPerDay))
    }
    return Replica(device: driver.store.ring.device, beginning, now: now)
  }

  // MARK: The loop

  /// Runs until told to stop, or until it is left behind.
  func run() {
    greet()
    while driver.isCurrent(generation) {
      let now = SystemClock.now
      guard isInPlace(now) else { break }
      drain(now)
      if isStopping, isDone(now) { break }
      if peers.look(now: now.uptime) || !hasLooked { leadershipChanged(now) }
      publishIfDue(now)
      if isLeader, !events.isEmpty {
        if let rest = givingWay.rest(SystemClock.now.uptime) {
          wait(Int32((rest + 999_999) / 1_000_000))
          givingWay.end()
          continue
        }
        // Nor do they wait for the end of a long catch-up.
        takeOverJournal(now)
        if let due = live.duty.due, due &+ Self.dutyPatience <= now.uptime { doCrisisDuty(now) }
        step(events.removeFirst(), SystemClock.now)
        continue
      }
      if !isLeader { events = [] }
      tellRest(now)
      // A ping that got lost is made up for here, where nothing waits.
      if noticeCommits(now, wasPinged: false) { continue }
      takeOverJournal(now)
      doCrisisDuty(now)
      if !live.isCrisisActive { doReviews(now) }
      doAdmissions(now)
      // One that was left behind in one of these changes nothing, and takes no news from the one that goes on.
      guard driver.isCurrent(generation) else { return }
      resumeArrivals()
      completeRequests(now)
      // What was just written leaves at once.
      if isLeader, !events.isEmpty { continue }
      flushIfDue(now)
      sleep()
    }
    guard driver.isCurrent(generation) else { return }
    tellRest(SystemClock.now)
    // Nothing new to keep: then nothing is written, and quitting does not wait for the disk.
    if flush.isDirty || live.measurements.hasChanged || live.hasProgress { remember(SystemClock.now) }
    watch?.end()
  }

  var isLeader: Bool { peers.isLeader }

  func isDone(_ now: Moment) -> Bool {
    !isLeader || now.uptime >= stopBy || (events.isEmpty && replica.hasSaidGoodbye)
  }

  /// A store that was deleted or replaced under this program is not the person's any more.
  func isInPlace(_ now: Moment) -> Bool {
    guard now.uptime >= lookAt else { return true }
    lookAt = now.uptime + Self.placeGap
    if store.isInPlace { return true }
    observer.ended(StorageError.replaced(store.home.path))
    return false
  }

  /// Says once what was found when the store was opened.
  func greet() {
    let now = SystemClock.now
    store.renewEmergencyPlace()
    guard generation == 0 else { return }
    do {
      if try store.mendEmergencyKey() {
        live.add(.notable, "the key for emergencies was lost: there is a new one, and your other devices are told of it", now)
        committed(now)
      }
    } catch { live.add(.alarm, Store.emergencyKeyProblem(error), now) }
    if !performer.members.devices.contains(store.ring.device) {
      live.add(.alarm, "this device does not belong to the account: its admission was taken back. What it has stays here; join again to share it", now)
    }
    let verdict = try? store.continuity()
    if let verdict, verdict != .proved { log.notice("opened", metadata: ["follows": "\(verdict)"]) }
    if let words = PutBack.words(verdict) { live.add(verdict == .copied ? .notable : .alarm, words, now) }
  }

  func perform(_ command: ReplicaDriver.Command, _ now: Moment) {
    switch command {
    case .commit, .perform, .crisis: break  // beside this thread
    case .noticeCommit: committed(now)
    case .noticeCrisis(let activation, let pressed):
      live.noteRaised(activation, at: pressed)
      journalDue = now.uptime
      committed(now)
    case .time(let operation, let nanoseconds): live.time(operation, nanoseconds: nanoseconds, now)
    case .shown(let activation): do { try show(activation) } catch { observer.failed(error) }
    case .publish: needsPublishing = true
    case .look(let record, let field): (live.looked, needsPublishing) = (LiveState.Place(record: record, field: field), true)
    case .offer(let session, _): live.offering(session, now: now)
    case .sync: events.append(.syncRequested)
    case .stop:
      isStopping = true
      stopBy = now.uptime + 1_000_000_000
      events.append(.stopping)
    }
  }

  /// Looks for commits that this thread did not make itself.
  ///
  /// The ping tells of them at once; the data version, of those whose ping was lost.
  ///
  /// - Returns: Whether there were any.
  func noticeCommits(_ now: Moment, wasPinged: Bool) -> Bool {
    guard peers.haveCommitted() || wasPinged else { return false }
    committed(now)
    return true
  }

  func learnMembers() {
    replica.learn(performer.tags)
    knownNames = nil
  }

  /// Something was committed, by whichever thread or process: everything that is kept here beside the store is read again.
  func committed(_ now: Moment) {
    needsPublishing = true
    requests.disturb()
    do {
      let (membership, admissions, report, place, crisis) = try store.read { transaction in
        // A crisis that cannot be read keeps nothing else from being noticed.
        (
          try performer.news(of: transaction), try transaction.admissions(), try transaction.ownReport(of: store.ring),
          try transaction.relayPlace(), Swift.Result { try crisisNews(in: transaction) }
        )
      }
      switch crisis {
      case .success(let news?): tell(news)
      case .success(nil): break
      case .failure(let error): refused(error)
      }
      follow(place, now)
      if let membership {
        performer.take(membership)
        learnMembers()
      }
      follow(admissions.map(\.bytes), now)
      events.insert(.committed(report), at: 0)
      live.noteOwnWrites(report, now: now)
      live.changed(now)
    } catch { refused(error) }
  }

  func step(_ event: ReplicaEvent, _ now: Moment) {
    if let outcome = event.outcome, outcome.admitted { replica.learn(performer.tags) }
    flush.observe(event, replica.peers.all)
    live.observe(event)
    let effects = replica.handle(event, now: now, using: &random)
    if case .heard(_, let presence?) = event {
      live.heard(presence, replica, now: now)
      if live.offers.learn(replica.peers.clocks, now: now.uptime) { resumeArrivals() }
    }
    for effect in effects {
      switch effect {
      case .wake(let at): wakeAt = at
      case .report(let report) where event.isAmidOthers:
        takeIn(report, now)
        driver.shared.withLock { $0.handedOn.untold.append(report) }
      case .report(let report): tell(report, now)
      default:
        // What was just learned of a crisis is on the screen before anything else is done.
        if crisisIsNews { publishIfDue(SystemClock.now) }
        if effect.isOrdinary { tellRest(now) }
        perform(effect)
      }
    }
    if !effects.isEmpty { needsPublishing = true }
  }

  func perform(_ effect: ReplicaEffect) {
    let began = SystemClock.now
    do {
      // What touches the store alone is not left behind: another thread would wait for the same store, and what came
      // of it would be told by nobody.
      let answer: ReplicaEvent??
      if effect.usesRelay {
        driver.lookOut()
        answer = try driver.watched(generation, keeping: live) { try performer.perform(effect, now: began, using: &random) }
      } else {
        answer = .some(try performer.perform(effect, now: began, using: &random))
      }
      // Left behind meanwhile: another thread has taken over.
      guard let answer else { return }
      givingWay.note(effect, inCrisis: live.isCrisisActive, began: began.uptime, now: SystemClock.now.uptime)
      guard let event = answer else { return }
      if case .applied(_, let isAtEnd, let outcome) = event {
        // It is in the store: whatever cannot be counted now is told all the same.
        do { try live.applied(outcome, nanoseconds: SystemClock.now.uptime - began.uptime, in: store) } catch { refused(error) }
        // What has come is told in this very turn where nothing more of its file waits; in a long catch-up it is first
        // looked whether a crisis has come.
        if isAtEnd { return step(event, SystemClock.now) }
      }
      events.insert(event, at: 0)
    } catch let error as RelayError {
      events.insert(.relayFailed(error), at: 0)
    } catch {
      // The store refused (a full disk, a lock held for too long): nothing was half done. The replica waits and
      // tries again; the relay has nothing to do with it.
      guard driver.isCurrent(generation) else { return }
      glance(at: effect)
      refused(error)
      events.insert(.storeFailed, at: 0)
    }
  }

  /// Tells what has waited until it was looked whether a crisis has come.
  private func tellRest(_ now: Moment) {
    let reports = driver.shared.withLock { shared in
      defer { shared.handedOn.untold = [] }
      return shared.handedOn.untold
    }
    for report in reports { announce(report, now) }
  }

  func tell(_ report: ReplicaReport, _ now: Moment) {
    announce(report, now)
    takeIn(report, now)
  }

  private func announce(_ report: ReplicaReport, _ now: Moment) {
    if case .idle = report {} else { observer.report(report, now) }
    log.note(report)
    live.note(report, replica, names: names, now: now)
  }

  /// What follows from what has come.
  private func takeIn(_ report: ReplicaReport, _ now: Moment) {
    requests.observe(report)
    switch report {
    case .relayLost(let error): driver.shared.withLock { $0.handedOn.lost = error }
    case .relayFound:
      driver.shared.withLock { $0.handedOn.lost = nil }
      // It may be another one, on which nothing was seen.
      if let kept = try? store.read({ try ExchangeStatus.progress($0) }) { progress = kept }
    case .applied(_, let changes), .released(let changes): arrived(changes, now)
    case .admitted: knownNames = nil
    default: break
    }
    // The other processes of this device show the same.
    if report.isAboutExchange, isLeader, status(now).isOtherThan(keptStatus) { flush.isDirty = true }
  }

  /// How the exchange stands.
  func status(_ now: Moment) -> ExchangeStatus {
    progress = ExchangeStatus.progress(replica, remembered: progress)
    let queues = replica.outbox.queues.filter { $0.key.lane != nil }
    let (saved, accepted) = queues.reduce((UInt64(0), UInt64(0))) { sum, entry in
      (sum.0 + entry.value.saved, sum.1 + min(entry.value.saved, progress[entry.key] ?? 0))
    }
    var status = ExchangeStatus(replica, saved: saved, accepted: accepted, names: names, now: now)
    status.keep(progress)
    return status
  }

  func arrived(_ changes: [AppliedChange], _ now: Moment) {
    conclude(Arrivals.settle(changes, store, pingPath: peers.path, replica.peers.clocks, &live))
    if changes.contains(where: { $0.kind == RecordCatalogue.review.kind }) { live.reviews.change(now) }
    if changes.contains(where: { $0.id.stream.lane == .crisis }) { crisisChanged(changes) }
    if changes.contains(where: { $0.kind == RecordCatalogue.device.kind }) { knownNames = nil }
  }

  // MARK: One sync leader

  func leadershipChanged(_ now: Moment) {
    live.isExchanging = isLeader
    live.changed(now)
    log.info(isLeader ? "leads" : "follows")
    defer { hasLooked = true }
    guard isLeader else {
      watch?.end()
      watch = nil
      return observer.exchangedElsewhere()
    }
    driver.lookOut()
    watch = (try? driver.watched(generation, keeping: live) { performer.relay.watch() } ?? nil) ?? nil
    // Another process has exchanged meanwhile: what is in the store is further than what was known here.
    if hasLooked { do { replica = try Self.replica(of: driver, performer, after: replica, now) } catch { refused(error) } }
    events = [.timer, .syncRequested] + (isStopping ? [.stopping] : [])
    committed(now)
  }

  /// Tells that everything is exchanged, once the duties that follow from it have had their turn.
  func completeRequests(_ now: Moment) {
    guard isLeader, events.isEmpty else { return }
    do {
      if try requests.takeRequests(store) { events.append(.syncRequested) }
      guard requests.isSettled, live.isCrisisActive || !live.reviews.isExpected(now) else { return }
      // Whoever asked reads what is missing, and what is wrong, from there.
      if status(now).isOtherThan(keptStatus) { remember(now) }
      try requests.complete(store)
      observer.report(.idle(settled: true, complete: requests.isComplete), now)
    } catch { refused(error) }
  }
}
