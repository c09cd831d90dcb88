import CSystem
import Causality
import ConflictResolution
import Crisis
import Foundation
import Replica
import Sealing
import Storage
import Synchronization
import Therapy

/// Drives one replica: a thread that sleeps until something happens, performs what the rules decide,
/// and publishes what there is to see. Of several processes over one store one exchanges with the
/// relay; the others watch the store, and one of them takes over when the first ends.
package final class ReplicaDriver: @unchecked Sendable {
  // @unchecked: everything below `commands` is touched by the driver's own thread alone, between
  // `start()` and the end of `run()`; `commands` is behind its lock and `finished` is a gate.

  package let store: Store
  private let observer: Observer
  private let relayName: String
  private let commands = Mutex<[Command]>([])
  private let finished = Gate()
  private let wake = fm_wake_open()

  private var performer: EffectPerformer<Store>
  private var replica: Replica
  private var random = SystemRandomNumberGenerator()
  private var events: [ReplicaEvent] = [.timer]
  private var watch: (any RelayWatch)?
  private var siblings: Siblings
  private var (wakeAt, pollAt): (UInt64, UInt64) = (0, 0)
  private var isStopping = false
  private var stopBy: UInt64 = .max
  private var live: LiveState
  private var flush = FlushPlan()
  private var givingWay = GivingWay()
  private var lastPublished: UInt64 = 0
  private var needsPublishing = true
  private var crisisIsNews = false
  private var settling = Settling()

  /// How often commits of other processes are looked for when they cannot ping.
  private static let blindPoll: UInt64 = 500_000_000
  /// How often a relay that cannot tell of changes is asked.
  private static let slowPoll: UInt64 = 2_000_000_000

  package init(store: Store, relay: any Relay, relayName: String, tier: Tier, observer: Observer) throws {
    self.store = store
    self.observer = observer
    self.relayName = relayName
    siblings = Siblings(store)
    performer = try EffectPerformer(
      store: store, relay: relay, ring: store.ring, incarnation: UInt64.random(in: 0 ... .max, using: &random))
    let now = SystemClock.now
    let device = store.ring.device
    let tags = performer.tags
    (replica, live) = try store.read { transaction in
      // An old round trip is no measurement of this run.
      let peers = try SnapshotBuilder.peers(transaction.rememberedPeers()).mapValues { peer in
        var peer = peer
        peer.roundTrip = nil
        return peer
      }
      let replica = Replica(
        device: device, members: tags,
        heads: try transaction.heads(of: device), remembered: peers, tier: tier,
        usedToday: try transaction.syncOperations(onDay: now.wall / millisecondsPerDay), now: now)
      return (replica, try LiveState(tier: tier, transaction))
    }
  }

  deinit { close(wake) }

  // MARK: From other threads

  /// Starts the thread.
  package func start() {
    let thread = Thread { self.run() }
    thread.name = "replica"
    thread.stackSize = 2 << 20
    thread.start()
  }

  package func send(_ command: Command) {
    commands.withLock { commands in
      if command.isCrisis { commands.insert(command, at: 0) } else { commands.append(command) }
    }
    fm_wake_signal(wake)
  }

  /// Asks the driver to say goodbye and waits for it, at most so many milliseconds.
  package func stop(waitingAtMost milliseconds: Int) {
    send(.stop)
    _ = finished.wait(milliseconds)
  }

  // MARK: The loop

  /// Runs until told to stop.
  package func run() {
    siblings.open()
    while true {
      let now = SystemClock.now
      drain(now)
      if isStopping, isDone(now) { break }
      if !isExchanging, now.uptime >= siblings.nextTry { takeOver(now) }
      publishIfDue(now)
      if isExchanging, !events.isEmpty {
        if let rest = givingWay.rest(SystemClock.now.uptime) {
          wait(Int32((rest + 999_999) / 1_000_000))
          givingWay.end()
          continue
        }
        step(events.removeFirst(), SystemClock.now)
        continue
      }
      if !isExchanging { events = [] }
      // A ping that got lost is made up for here, where nothing waits.
      if noticeCommits(now, wasPinged: false) { continue }
      doCrisisDuty(now)
      if !live.isCrisisActive { doReviews(now) }
      settle(now)
      // What was just written leaves at once.
      if isExchanging, !events.isEmpty { continue }
      flushIfDue(now)
      sleep()
    }
    // Nothing new to keep: then nothing is written, and quitting does not wait for the disk.
    if flush.isDirty || live.measurements.hasChanged || live.hasProgress { remember(SystemClock.now) }
    siblings.end()
    finished.open()
  }

  private var isExchanging: Bool { siblings.isExchanging }

  private func isDone(_ now: Moment) -> Bool {
    !isExchanging || now.uptime >= stopBy || (events.isEmpty && replica.hasSaidGoodbye)
  }

  private func sleep() {
    let now = SystemClock.now.uptime
    var until = wakeAt
    if !isExchanging { until = siblings.nextTry }
    // Without a socket (a path too long for one) nobody can ping: look at the data version instead.
    if siblings.ping < 0 { until = min(until, now + Self.blindPoll) }
    if watch == nil, isExchanging { until = min(until, pollAt) }
    if needsPublishing, observer.snapshot != nil { until = min(until, lastPublished + publishGap) }
    if flush.isDirty { until = min(until, flush.due(inCrisis: live.isCrisisActive)) }
    if isStopping { until = min(until, stopBy) }
    if let due = live.due { until = min(until, due) }
    let milliseconds = until <= now ? 0 : Int32(min((until - now + 999_999) / 1_000_000, 60_000))
    wait(milliseconds)
    if watch == nil, isExchanging, SystemClock.now.uptime >= pollAt {
      pollAt = SystemClock.now.uptime + Self.slowPoll
      events.append(.listingChanged)
    }
    if isExchanging, SystemClock.now.uptime >= wakeAt { events.append(.timer) }
  }

  /// Waits for news, at most so long.
  private func wait(_ milliseconds: Int32) {
    let descriptors = [wake, siblings.ping, watch?.descriptor ?? -1].filter { $0 >= 0 }
    var ready = [UInt8](repeating: 0, count: descriptors.count)
    _ = fm_wait(descriptors, &ready, Int32(descriptors.count), milliseconds)
  }

  /// Collects what has happened: commands, commits of other processes, changes on the relay.
  private func drain(_ now: Moment) {
    fm_wake_clear(wake)
    for command in commands.withLock({ commands in
      defer { commands = [] }
      return commands
    }) { perform(command, now) }
    if siblings.wasPinged() { _ = noticeCommits(now, wasPinged: true) }
    // Ahead of the answer that is there already: the replica must know of a crisis before it chooses
    // what to do next, or the steps of a long catch-up would follow one another for seconds.
    events.insert(contentsOf: (watch?.changes() ?? []).map(ReplicaEvent.init), at: 0)
  }

  private func perform(_ command: Command, _ now: Moment) {
    do {
      switch command {
      case .commit(let drafts):
        _ = try Actions(store).commit(drafts, pinging: siblings.path)
        committed(now)
      case .noticeCrisis(let activation, let pressed):
        live.noteRaised(activation, at: pressed)
        committed(now)
      case .time(let operation, let nanoseconds): live.time(operation, nanoseconds: nanoseconds, now)
      case .shown(let activation): try show(activation)
      case .publish: needsPublishing = true
      case .look(let record, let field): (live.looked, needsPublishing) = (LiveState.Place(record: record, field: field), true)
      case .perform(let body), .crisis(let body):
        try body(Actions(store))
        committed(now)
      case .admit(let invitation):
        _ = try invitation.admit(&performer)
        learnMembers()
        committed(now)
      case .offer(let session, let target):
        try Actions(store).offer(session, to: target, elapsed: nil)
        live.offering(session, now: now)
        committed(now)
      case .sync: events.append(.syncRequested)
      case .stop:
        isStopping = true
        watch?.end()
        stopBy = now.uptime + 1_000_000_000
        events.append(.stopping)
      }
    } catch {
      observer.failed(error)
    }
  }

  /// Looks for commits that this thread did not make itself.
  ///
  /// The ping tells of them at once; the data version, of those whose ping was lost.
  ///
  /// - Returns: Whether there were any.
  private func noticeCommits(_ now: Moment, wasPinged: Bool) -> Bool {
    guard siblings.haveCommitted() || wasPinged else { return false }
    do {
      if try performer.reloadMembers() { learnMembers() }
      committed(now)
    } catch { observer.failed(error) }
    return true
  }

  private func learnMembers() {
    replica.learn(performer.tags)
    knownNames = nil
  }

  private func committed(_ now: Moment) {
    needsPublishing = true
    settling.disturb()
    do {
      let heads = try store.read { try $0.heads(of: store.ring.device) }
      events.insert(.committed(heads), at: 0)
      live.noteOwnWrites(heads, now: now)
      live.changed(now)
    } catch { observer.failed(error) }
  }

  private func step(_ event: ReplicaEvent, _ now: Moment) {
    if case .applied(_, let outcome) = event, outcome.admitted { replica.learn(performer.tags) }
    flush.observe(event, replica.peers.all)
    live.observe(event)
    let effects = replica.handle(event, now: now, using: &random)
    if case .heard(_, let presence?) = event { live.heard(presence, replica, now: now) }
    for effect in effects {
      switch effect {
      case .wake(let at): wakeAt = at
      case .report(let report): tell(report, now)
      default: perform(effect)
      }
    }
    if !effects.isEmpty { needsPublishing = true }
  }

  private func perform(_ effect: ReplicaEffect) {
    let began = SystemClock.now
    do {
      let answer = try performer.perform(effect, now: began, using: &random)
      givingWay.note(effect, inCrisis: live.isCrisisActive, began: began.uptime, now: SystemClock.now.uptime)
      guard let answer else { return }
      if case .applied(_, let outcome) = answer {
        try live.applied(outcome, nanoseconds: SystemClock.now.uptime - began.uptime, in: store)
      }
      events.insert(answer, at: 0)
    } catch {
      // The store refused (a full disk, a lock held for too long): nothing was half done. The replica
      // backs off as for a relay that fails, and tries again.
      observer.failed(error)
      events.insert(.relayFailed(.unreachable(store.home.database)), at: 0)
    }
  }

  private func tell(_ report: ReplicaReport, _ now: Moment) {
    settling.observe(report)
    if report != .idle(settled: true) { observer.report(report, now) }
    live.note(report, replica, names: names, now: now)
    if case .applied(_, let changes) = report {
      do {
        if try Arrivals.settle(changes, store, pingPath: siblings.path, &live) { committed(SystemClock.now) }
      } catch { observer.failed(error) }
      if changes.contains(where: { $0.kind == RecordCatalogue.review.kind }) { live.reviews.change(now) }
      if changes.contains(where: { $0.id.stream.lane == .crisis }) { crisisChanged(changes) }
      if changes.contains(where: { $0.kind == RecordCatalogue.device.kind }) { knownNames = nil }
    }
    if case .admitted = report { knownNames = nil }
  }

  // MARK: Crisis

  /// The other devices learn that it is on a screen here, from whichever process exchanges.
  private func show(_ activation: OperationID) throws {
    if isExchanging { return events.insert(.shown(activation), at: 0) }
    try store.write { try $0.setCrisisShown(activation) }
    store.pingOthers(except: siblings.path)
  }

  private func crisisChanged(_ changes: [AppliedChange]) {
    (crisisIsNews, needsPublishing) = (true, true)
    live.duty.change(SystemClock.now)
    live.acknowledged(changes, SystemClock.now)
    if changes.contains(where: { PlanCard.kinds.contains($0.kind) }) { PlanCard.refresh(store) }
  }

  /// Takes stages and tells people, where this process exchanges.
  private func doCrisisDuty(_ now: Moment) {
    guard let due = live.duty.due, due <= now.uptime else { return }
    do {
      let result = try live.doCrisisDuty(store, replica, isExchanging ? performer.relay : nil, siblings.path, now)
      if !result.news.isEmpty { needsPublishing = true }
      if let shown = result.shown { events.insert(.shown(shown), at: 0) }
      if result.hasWritten { committed(now) }
    } catch {
      live.duty.change(now)  // a full disk, for instance
      observer.failed(error)
    }
  }

  /// Looks for answers of those who were asked about a conflict.
  private func doReviews(_ now: Moment) {
    guard let due = live.reviews.due, due <= now.uptime else { return }
    do { if try live.review(store, replica, isExchanging ? performer.relay : nil, siblings.path, now) { committed(now) } } catch { observer.failed(error) }
    needsPublishing = true
  }

  // MARK: One exchanging process

  private func takeOver(_ now: Moment) {
    live.isExchanging = siblings.takeOver(now.uptime)
    live.changed(now)
    guard isExchanging else { return observer.exchangedElsewhere() }
    watch = performer.relay.watch()
    do {
      if try performer.reloadMembers() { replica.learn(performer.tags) }
      events.insert(.committed(try store.read { try $0.heads(of: store.ring.device) }), at: 0)
    } catch { observer.failed(error) }
  }

  /// Tells that everything is exchanged, once the duties that follow from it have had their turn.
  private func settle(_ now: Moment) {
    guard isExchanging, events.isEmpty else { return }
    do {
      if try settling.takeWishes(store) { events.append(.syncRequested) }
      guard settling.isSettled, live.isCrisisActive || !live.reviews.isExpected(now) else { return }
      try settling.tell(store)
      observer.report(.idle(settled: true), now)
    } catch { observer.failed(error) }
  }

  // MARK: What there is to see

  /// In a crisis what is not about it is shown a little less often.
  private var publishGap: UInt64 { (live.isCrisisActive ? 3 : 1) * 1_000_000_000 / UInt64(Limits.framesPerSecond) }
  private var knownNames: [DeviceID: String]?
  private var names: [DeviceID: String] {
    if let knownNames { return knownNames }
    let names = (try? store.read { try SnapshotBuilder.names($0, performer.members) }) ?? [:]
    knownNames = names
    return names
  }

  private func publishIfDue(_ now: Moment) {
    // A crisis is drawn at once, also in the middle of a long catch-up.
    guard needsPublishing, let publish = observer.snapshot, crisisIsNews || now.uptime >= lastPublished + publishGap else { return }
    (needsPublishing, crisisIsNews) = (false, false)
    lastPublished = now.uptime
    let builder = SnapshotBuilder(ring: store.ring, members: performer.members, relay: relayName)
    do {
      publish(try store.read {
        try live.refresh($0)
        return try builder.build($0, live: live, replica: isExchanging ? replica : nil, now: now)
      })
    } catch { observer.failed(error) }
  }

  private func flushIfDue(_ now: Moment) {
    guard flush.isDirty || live.measurements.hasChanged || live.hasProgress, isExchanging,
      now.uptime >= flush.due(inCrisis: live.isCrisisActive)
    else {
      if live.measurements.hasChanged || live.hasProgress { flush.isDirty = isExchanging }
      return
    }
    remember(now)
  }

  /// Keeps what other processes of this device, and the next run, want to know.
  private func remember(_ now: Moment) {
    guard isExchanging else { return }
    live.hasProgress = false
    let presences = flush.take(now: now.uptime)
    let measurements = live.measurements.takeChanged()
    let progress = replica.outbox.queues.mapValues(\.accepted)
    let peers = replica.peers.all
    var tally = live.conflicts
    do {
      try store.write { transaction in
        for (device, presence) in presences.sorted(by: { $0.key < $1.key }) {
          try transaction.remember(
            presence, heard: peers[device]?.heardWall ?? now.wall, roundTrip: peers[device]?.roundTrip)
        }
        for measurement in measurements {
          try transaction.setMeasurement(measurement.operation, measurement.mode, measurement.bytes)
        }
        try transaction.setRelayProgress(progress)
        try tally.keep(&transaction)
      }
      live.conflicts = tally
      if !presences.isEmpty || !measurements.isEmpty { store.pingOthers(except: siblings.path) }
    } catch { observer.failed(error) }
  }
}
