import CSystem
import Causality
import ConflictResolution
import Foundation
import Replica
import Sealing
import Storage
import Therapy

/// What a device does by itself: crisis, reviews, newcomers.
extension DriverLoop {
  // MARK: Crisis

  /// The other devices learn that it is on a screen here, from whichever process exchanges.
  func show(_ activation: OperationID) throws {
    if isLeader { return events.insert(.shown(activation), at: 0) }
    // Nothing that the person did is refused where the store is held: it is tried again.
    live.unshown = activation
    tellShown()
  }

  func tellShown() {
    guard let activation = live.unshown else { return }
    guard !isLeader else {
      live.unshown = nil
      return events.insert(.shown(activation), at: 0)
    }
    do {
      try store.write(within: 50) { try $0.setCrisisShown(activation) }
      live.unshown = nil
      accepted()
      store.pingOthers(except: peers.path)
    } catch {
      refused(error)
      live.probeAt = SystemClock.now.uptime + 1_000_000_000
    }
  }

  /// What the store could not take in about a crisis is shown all the same.
  func glance(at effect: ReplicaEffect) {
    guard case .apply(let stream, let chunk, _, _) = effect, stream.channel.lane == .crisis else { return }
    glimpse(performer.glance(chunk.frames, from: stream))
    // At every attempt: one of them may have begun meanwhile. A socket takes ten messages or so at once.
    let beside = Set(live.glimpse.operations.map(\.id))
    peers.passOn(chunk.frames.filter { performer.glance([$0], from: stream).contains { beside.contains($0.id) } }.suffix(8), from: stream)
  }

  /// Another process of this device has told of these frames.
  func glance(at heard: [HeardFrame], from file: RelayStream) {
    glimpse(performer.glance(heard.map(\.frame), from: file))
    let sent = heard.filter(\.isAtRelay).map(\.frame)
    if !sent.isEmpty { live.duty.noteAtRelay(performer.glance(sent, from: file)) }
  }

  /// What is written about the crisis and not in the store counts until it is.
  private func glimpse(_ operations: [Causality.Operation]) {
    guard live.glimpse.take(operations) else { return }
    followCrisis()
    guard !live.glimpse.operations.isEmpty else { return }
    (crisisIsNews, needsPublishing) = (true, true)
    live.duty.change(SystemClock.now)
    guard operations.contains(where: { $0.id.stream.device != store.ring.device }) else { return }
    live.add(.alarm, "something about a crisis has come: it is shown, and this device saves it as soon as its store can be written", SystemClock.now)
  }

  /// Tells how the crisis stands, whichever process of this device has written it, and also where the store cannot take it.
  func followCrisis() {
    do {
      if let crisis = try store.read(crisisNews) { tell(crisis) }
    } catch { refused(error) }
  }

  /// How the crisis stands in the store and beside it.
  ///
  /// - Returns: `nil` where nothing of it was written since it was looked last.
  func crisisNews(in transaction: SQLiteTransaction) throws -> (followed: FollowedCrisis, glimpse: CrisisGlimpse)? {
    let record = CrisisState.record(ofAccount: store.ring.account.account)
    let sealed = try transaction.sealedRecord(record)
    if live.glimpse.operations.isEmpty, driver.shared.withLock({ $0.handedOn.followed?.sealed == .some(sealed) && $0.handedOn.followed?.isSaved == true }) { return nil }
    var glimpse = live.glimpse
    try glimpse.forget(where: transaction.hasArrived)
    let state = CrisisState(try glimpse.over(transaction.record(record), hasArrived: transaction.hasArrived))
    return (FollowedCrisis(state: state, isSaved: glimpse.operations.isEmpty, sealed: sealed), glimpse)
  }

  func tell(_ crisis: (followed: FollowedCrisis, glimpse: CrisisGlimpse)) {
    live.glimpse = crisis.glimpse
    let before = driver.shared.withLock { shared in
      defer { shared.handedOn.followed = crisis.followed }
      return shared.handedOn.followed
    }
    guard let before, before.state != crisis.followed.state || before.isSaved != crisis.followed.isSaved else { return }
    observer.crisis(crisis.followed.state, crisis.followed.isSaved)
  }

  func crisisChanged(_ changes: [AppliedChange]) {
    (crisisIsNews, needsPublishing) = (true, true)
    followCrisis()
    live.duty.change(SystemClock.now)
    live.duty.note(changes)
    live.acknowledged(changes, SystemClock.now)
    if !live.isCrisisActive { store.noteEmergenciesOver() }
    if changes.contains(where: { PlanCard.kinds.contains($0.kind) }) { PlanCard.refresh(store) }
  }

  /// What was raised by the emergency journal comes into the store; while that cannot be written it goes to the relay
  /// from here.
  func takeOverJournal(_ now: Moment) {
    guard let due = journalDue, due <= now.uptime else { return }
    journalDue = nil
    do {
      let changes = try store.takeOverJournal(within: 50)
      guard !changes.isEmpty else { return }
      accepted()
      crisisChanged(changes)
      committed(SystemClock.now)
      store.pingOthers(except: peers.path)
    } catch {
      // A commit of another process takes a moment: what is refused twice is told.
      if !live.glimpse.operations.isEmpty { refused(error) }
      journalDue = now.uptime + Self.journalGap
      guard let journal = EmergencyJournal(store.home), let file = journal.file else { return }
      let record = CrisisState.record(ofAccount: store.ring.account.account)
      glimpse(journal.operations.filter { $0.record == record })
      guard isLeader else { return }
      let frames = journal.frames.filter { !deliveredJournal.contains($0) }
      let relay = driver.relay
      guard !frames.isEmpty, (try? driver.watched(generation, keeping: live, { try relay.deliver(frames, to: file) })) != nil else { return }
      deliveredJournal.formUnion(frames)
      live.duty.noteAtRelay(frames.flatMap(journal.operations(in:)))
    }
  }

  /// Takes stages and tells people, where this process exchanges; elsewhere it tells those whom the person at its screen
  /// wants to be told now.
  func doCrisisDuty(_ now: Moment) {
    probe(now)
    guard let due = live.duty.due, due <= now.uptime else { return }
    do {
      let relay = (isLeader || live.duty.asksNow) && !driver.isHanging ? performer.relay : nil
      let around = CrisisDuty.Surroundings(
        glimpse: live.glimpse, relay: relay, isLeader: isLeader, pingPath: peers.path)
      let result = try relay == nil
        ? live.doCrisisDuty(store, replica, around, now)
        : driver.watched(generation, keeping: live) { try live.doCrisisDuty(store, replica, around, now) }
      guard let result else { return }
      if result.wantsLook { events.append(.listingChanged) }
      if let refusal = result.refusal { refused(refusal) }
      if result.hasNoted { accepted() }
      // Whom it has told, and how long the others have, is decided here.
      if result.isActive || !result.news.isEmpty { needsPublishing = true }
      if let shown = result.shown { events.insert(.shown(shown), at: 0) }
      if result.hasWritten { committed(now) }
    } catch {
      live.duty.postpone(now)  // a full disk, for instance
      refused(error)
    }
  }

  /// Looks whether a store that was held can be written again.
  private func probe(_ now: Moment) {
    guard let due = live.probeAt, due <= now.uptime else { return }
    live.probeAt = now.uptime + 1_000_000_000
    guard refusal != nil || live.unshown != nil else { return live.probeAt = nil }
    guard store.obstacle(within: 0) == nil else { return }
    tellShown()
    accepted()
  }

  /// Looks again at what has come and waits: the store may have refused it, or a clock was not known.
  func resumeArrivals() {
    guard let due = live.arrivalsDue, due <= SystemClock.now.uptime else { return }
    conclude(Arrivals.resume(store, pingPath: peers.path, replica.peers.clocks, &live))
  }

  /// What came of it is noticed here; what was refused is said, and has its time at which it is tried again.
  func conclude(_ outcome: Arrivals.Outcome) {
    if outcome.hasWritten {
      accepted()
      committed(SystemClock.now)
    }
    if let refusal = outcome.refusal { refused(refusal) }
  }

  /// Looks for answers of those who were asked about a conflict.
  func doReviews(_ now: Moment) {
    guard let due = live.reviews.due, due <= now.uptime else { return }
    do {
      let relay = isLeader && !driver.isHanging ? performer.relay : nil
      let hasWritten = try relay == nil
        ? live.review(store, replica, nil, peers.path, now)
        : driver.watched(generation, keeping: live) { try live.review(store, replica, relay, peers.path, now) }
      if hasWritten ?? false { committed(now) }
    } catch {
      observer.failed(error)
    }
    needsPublishing = true
  }

  // MARK: Newcomers

  func follow(_ kept: [[UInt8]], _ now: Moment) {
    admissions.follow(kept.compactMap { Admission(bytes: $0) }, now: now.uptime)
  }

  /// Sees admissions through that were begun here.
  func doAdmissions(_ now: Moment) {
    guard isLeader, replica.relay.isReachable, !driver.isHanging else { return }
    let steps = admissions.look(now: now.uptime) { device in
      replica.peers.all[device] != nil || replica.heads.keys.contains { $0.device == device }
    }
    for step in steps {
      do {
        let outcome = try driver.watched(generation, keeping: live) { try AdmissionStep(store: store, relay: driver.relay).perform(step, &performer, now, &random) }
        guard let outcome, outcome != .waiting else { continue }
        let admission = step.admission
        admissions.didEnd(admission.device)
        if outcome == .refused {
          live.add(.alarm, "\(names[admission.device] ?? "the new device") has refused, or its digits were not the same: it was not added. Let it in again, and compare the digits on both screens", now)
        }
        if outcome == .refusedAndStays {
          live.add(.alarm, "\(names[admission.device] ?? "the new device") has refused, or its digits were not the same; another device of yours has let it in too, so that it still belongs. If that was not you, look at `fullmind devices list`", now)
        }
        learnMembers()
        committed(now)
      } catch {
          if !(error is RelayError) { observer.failed(error) }
      }
    }
  }
}
