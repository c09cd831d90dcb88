import CSystem
import Causality
import ConflictResolution
import Crisis
import Dashboard
import Foundation
import Replica
import Storage
import Stores
import Synchronization
import Terminal
import Therapy

/// Raising, taking back, resolving and telling, from the keys of the dashboard.
extension DashboardHost {
  /// Neither the driver nor a relay that hangs can hold this up: a queue of its own, a courier of its own.
  func crisis(_ body: @escaping @Sendable (Actions) throws -> Void) {
    crisisQueue.async { [self] in
      let (store, courier, household, watched) = state.withLock { ($0.store, $0.courier, $0.household, $0.watched) }
      guard let store = household?.devices[watched].store ?? store else { return send(.crisis(body)) }
      do {
        try body(Actions(store, courier: household == nil ? courier : nil))
        // It shares our connection, so that without a ping nothing would tell it of the commit.
        driver?.send(.noticeCommit)
      } catch { notices.post(.tell(Self.words(error))) }
    }
  }

  /// Raises and resolves for the device that is looked at, whether its store can be opened or not.
  func raiser(_ update: @escaping @Sendable (CrisisDelivery) -> Void) -> CrisisRaiser {
    let (store, household, watched) = state.withLock { ($0.store, $0.household, $0.watched) }
    if let device = household?.devices[watched] {
      return CrisisRaiser(home: device.store.home, store: device.store, relay: { device.relay }, update: update)
    }
    let (location, remembered) = (location, state.withLock { $0.journal })
    return CrisisRaiser(home: location.homeFolder, store: store, remembered: remembered, relay: {
      let named = (try? location.namedRelay()) ?? nil
      if let journal = EmergencyJournal(location.homeFolder) ?? remembered { return journal.relay(at: named) }
      return try? store.map { try location.openRelay($0) }
    }, update: update)
  }

  /// Raised: saved and on its way before anything else is even looked at; timed from the key.
  func raise(_ level: CrisisLevel, _ source: String) {
    let (pressed, wall) = (SystemClock.now.uptime, SystemClock.wallMicroseconds)
    let isTimed = Mutex(false)
    let box = Mutex<CrisisRaiser?>(nil)
    let raiser = raiser { [self] delivery in
      notices.post(.crisis(delivery))
      guard delivery.disk.isDone, let raiser = box.withLock({ $0 }), let id = raiser.operation else { return }
      let isFirst = isTimed.withLock { flag in
        defer { flag = true }
        return !flag
      }
      guard isFirst else { return }
      send(.noticeCrisis(id, pressed: pressed))
      let saved = raiser.savedAt ?? wall
      send(.time(.crisisDurable, nanoseconds: (saved > wall ? saved - wall : 0) * 1_000))
    }
    box.withLock { $0 = raiser }
    state.withLock { state in
      state.raisers.append((raiser, pressed))
      // Whoever raises one does not want it to be over.
      (state.unresolved, state.resolutions) = (nil, state.resolutions + 1)
    }
    // The screen comes first: sealing and sending would take its processor. A terminal that hangs is not waited for.
    // Ended before it begins, it does nothing.
    drawn.close()
    let thread = Thread { [self] in
      _ = drawn.wait(Self.pictureMayTake)
      raiser.raise(level, source: source)
    }
    thread.name = "crisis"
    thread.qualityOfService = .userInteractive
    thread.start()
  }

  /// Milliseconds.
  private static let pictureMayTake = 5

  /// Ends what the person has seen. What the store does not take, or does not have yet, goes on: that is said, and it is
  /// tried again.
  ///
  /// - Parameter words: What is said once it is so.
  func resolve(_ words: String) {
    let (number, known, old) = state.withLock { state in
      (state.unresolved, state.resolutions) = (nil, state.resolutions + 1)
      return (state.resolutions, Set(state.followed?.activations.map(\.id) ?? []), state.raisers.map(\.raiser))
    }
    crisisQueue.async { [self] in
      let raiser = raiser { _ in }
      let isStillMeant = state.withLock { state in
        // Whoever raised another one since does not want it to be over.
        guard state.resolutions == number else { return false }
        // What was raised and is still being tried is not tried any more.
        state.raisers.removeAll { entry in old.contains { $0 === entry.raiser } }
        state.raisers.append((raiser, 0))
        return true
      }
      guard isStillMeant else { return }
      for old in old { old.end() }
      let (raised, hasLanded) = (old.flatMap(\.frames), old.contains { $0.delivery.disk.isDone || $0.delivery.relay.isDone })
      let there = activeInStore()
      let asked = known.union(there ?? [])
      do {
        let resolution = try raiser.resolve(raised: raised)
        driver?.send(.noticeCommit)
        let own = watchedStore?.ring.device ?? state.withLock { $0.device }
        var isTakenBack = false
        if case .takenBack = resolution { isTakenBack = true }
        let rest = goingOn(among: isTakenBack ? asked.filter { $0.stream.device != own } : asked)
        guard rest.isEmpty else {
          let delivery = isTakenBack ? raiser.outcome(within: 900) : CrisisDelivery()
          let isDone = delivery.disk.isDone || delivery.relay.isDone
          return goOn(rest, words, number, refusal(), after: isDone ? "What was raised here is taken back. " : "")
        }
        switch resolution {
        case .nothing: notices.post(.resolved(nothingActive(raised), isOver: true))
        case .nothingHere:
          notices.post(.resolved(nothingActive(raised) ?? "No crisis was active here; what other devices raised is not known.", isOver: true))
        case .resolved(let change):
          let away = "Resolved here; your other devices learn of it once it lies at the relay. Be kind to yourself today."
          notices.post(.resolved(change.isAtRelay || state.withLock { $0.household != nil } ? words : away, isOver: true))
        case .takenBack:
          tellTakenBack(raiser, hasLanded, "What was raised on this device is taken back\(others(isRead: there != nil))", words)
        }
      } catch {
        let rest = goingOn(among: asked)
        if rest.isEmpty { couldNotTakeBack(error) } else { goOn(rest, words, number, error) }
      }
    }
  }

  /// What is said where nothing was left to end. Without a store that is of what was raised here alone; `nil` with one.
  private func nothingActive(_ raised: [[UInt8]]) -> String? {
    guard watchedStore == nil else { return nil }
    let wasRaised = !raised.isEmpty || state.withLock { !$0.seen.isEmpty }
    return "\(wasRaised ? "What was raised here was over already" : "Nothing that was raised here was active"); whether others raised one is not known."
  }

  /// What is known of others, after the words that what was raised here is taken back.
  private func others(isRead: Bool) -> String {
    if isRead { return "; no other crisis is known here. Be kind to yourself today." }
    let isLost = state.withLock { $0.problem != nil }
    return isLost ? ". The store cannot be used now, so what other devices raised is not known." : ". What other devices raised is not known."
  }

  /// The store of the device that is looked at.
  private var watchedStore: Store? { state.withLock { $0.household?.devices[$0.watched].store ?? $0.store } }

  /// What the store has as active; `nil` where it does not say so in time.
  private func activeInStore() -> Set<OperationID>? {
    guard let store = watchedStore else { return nil }
    let attempt = Attempt {
      (try? store.read(within: 200) { CrisisState(try $0.record(Actions(store).crisisRecord)) }).map { Set($0.activations.map(\.id)) }
    }
    return attempt.answer(within: 200).flatMap { $0 }
  }

  /// Those of these activations that are not known to be over: by the store, and by the driver where the store does not
  /// have them.
  private func goingOn(among asked: Set<OperationID>) -> Set<OperationID> {
    let followed = state.withLock { $0.followed?.activations.map(\.id) }
    let beside = followed.map { asked.intersection($0) } ?? asked
    guard !asked.isEmpty, let store = watchedStore else { return beside }
    let attempt = Attempt { () -> Set<OperationID>? in
      try? store.read(within: 200) { transaction in
        let active = CrisisState(try transaction.record(Actions(store).crisisRecord)).activations.map(\.id)
        var open = asked.intersection(active)
        for id in beside where !open.contains(id) {
          if try !transaction.hasArrived(id) { open.insert(id) }
        }
        return open
      }
    }
    return attempt.answer(within: 300).flatMap { $0 } ?? beside
  }

  /// Why the store takes nothing now; `nil` where it does.
  private func refusal() -> (any Error)? {
    guard let store = watchedStore else { return state.withLock { $0.problem } }
    let attempt = Attempt { store.obstacle(within: 100) }
    guard let answer = attempt.answer(within: 300) else { return StorageError.locked(store.home.database) }
    return answer
  }

  /// Says that it goes on, and why; and tries again.
  private func goOn(_ rest: Set<OperationID>, _ words: String, _ number: Int, _ error: (any Error)?, after done: String = "") {
    let isStillMeant = state.withLock { state in
      guard state.resolutions == number else { return false }
      state.unresolved = Unresolved(number: number, words: words, activations: rest)
      return true
    }
    guard isStillMeant else { return }
    notices.post(.resolved(done + Self.goesOn(error), isOver: false))
    tryAgain(number)
  }

  static func goesOn(_ error: (any Error)?) -> String {
    guard let error else { return "It goes on: this device has not saved it yet; it is ended as soon as it has." }
    return switch error as? StorageError {
    case .locked?: "It goes on: the store is held by another program; it is ended as soon as that is over."
    case .diskFull?: "It goes on: the disk is full; it is ended as soon as there is room."
    default: "It goes on: it could not be saved yet; it is ended as soon as it can be."
    }
  }

  /// Milliseconds between attempts to end what goes on.
  private static let resolvingGap = 500

  private func tryAgain(_ number: Int) {
    // Not on the queue of the crisis keys: none of them waits for a lock.
    queue.asyncAfter(deadline: .now() + .milliseconds(Self.resolvingGap)) { [self] in
      guard let asked = state.withLock({ $0.unresolved?.number == number ? $0.unresolved : nil }) else { return }
      let hasWritten = end(goingOn(among: asked.activations))
      guard goingOn(among: asked.activations).isEmpty else { return tryAgain(number) }
      let isStillMeant = state.withLock { state in
        guard state.unresolved?.number == number else { return false }
        state.unresolved = nil
        return true
      }
      guard isStillMeant else { return }
      if isActive(besides: Array(asked.activations)) {
        return notices.post(.resolved("What you had seen is over. Another crisis goes on.", isOver: false))
      }
      notices.post(.resolved(hasWritten ? asked.words : "It is over.", isOver: true))
    }
  }

  /// - Returns: Whether something was written.
  private func end(_ open: Set<OperationID>) -> Bool {
    guard !open.isEmpty, let store = watchedStore else { return false }
    let courier = state.withLock { $0.household == nil ? $0.courier : nil }
    guard let change = try? Actions(store, courier: courier, patience: 250).withdrawCrisis(Array(open)) else { return false }
    driver?.send(.noticeCommit)
    return !change.operation.replaces.isEmpty
  }

  /// Milliseconds by which the key may come later here than on the screen.
  private static let undoSlack: UInt64 = 2_000

  /// Takes back what was raised here while that can be done, and nothing else.
  func takeBack(_ words: String) {
    let now = SystemClock.now.uptime
    let recent = state.withLock { state in
      (state.unresolved, state.resolutions) = (nil, state.resolutions + 1)
      return state.raisers.filter { now < $0.pressed + UInt64(CrisisAlert.undoMilliseconds + Self.undoSlack) * 1_000_000 }.map(\.raiser)
    }
    crisisQueue.async { [self] in
      let raiser = raiser { _ in }
      state.withLock { state in
        state.raisers.removeAll { entry in recent.contains { $0 === entry.raiser } }
        state.raisers.append((raiser, 0))
      }
      for old in recent { old.end() }
      let hasLanded = recent.contains { $0.delivery.disk.isDone || $0.delivery.relay.isDone }
      do {
        guard try raiser.takeBack(recent) else {
          guard !recent.isEmpty else { return notices.post(.resolved(nothingActive([]), isOver: true)) }
          // Raised in the store alone, and that is gone.
          if hasLanded, watchedStore == nil, recent.allSatisfy(\.frames.isEmpty) {
            return notices.post(.resolved("It could not be taken back: the store in which it was raised cannot be used now.", isOver: false))
          }
          let nothing = hasLanded ? "It was over already." : "Taken back: nothing of it had been saved or sent."
          return notices.post(.resolved(nothing + another(besides: recent), isOver: true))
        }
        tellTakenBack(raiser, hasLanded, words + another(besides: recent), words)
        driver?.send(.noticeCommit)
      } catch { couldNotTakeBack(error) }
    }
  }

  private func another(besides taken: [CrisisRaiser]) -> String {
    isActive(besides: taken.compactMap(\.operation)) ? " Another crisis is still active." : ""
  }

  /// Whether the store knows of a crisis that is none of these. One that another program holds is not waited for.
  private func isActive(besides taken: [OperationID]) -> Bool {
    guard let store = state.withLock({ $0.household?.devices[$0.watched].store ?? $0.store }) else { return false }
    let attempt = Attempt {
      (try? store.read(within: 200) { CrisisState(try $0.record(Actions(store).crisisRecord)) })?.activations.contains { !taken.contains($0.id) }
    }
    return attempt.answer(within: 200).flatMap { $0 } ?? false
  }

  private func tellTakenBack(_ raiser: CrisisRaiser, _ hasLanded: Bool, _ done: String, _ words: String) {
    let delivery = raiser.outcome(within: 900)
    let isDone = delivery.disk.isDone || delivery.relay.isDone
    notices.post(.resolved(
      isDone
        ? done
        : hasLanded
          ? "It could not be taken back yet: neither the disk nor the relay takes it. It is tried again."
          : "\(words) It had reached nobody: neither the disk nor the relay can be used now.", isOver: isDone || !hasLanded))
  }

  private func couldNotTakeBack(_ error: any Error) {
    notices.post(.resolved("It could not be ended yet. \(Self.words(error))", isOver: false))
  }

  /// The driver remembers it until they are told: a store that is held and a relay that is away keep it from nobody.
  func tellContacts(of activations: Set<OperationID>) {
    let driver = state.withLock { state in
      state.saidNow = activations
      return state.household.map { $0.devices[state.watched].driver } ?? state.driver
    }
    driver?.tellNow(of: activations)
  }

  func showHistory() throws {
    let (store, household, watched) = state.withLock { ($0.store, $0.household, $0.watched) }
    guard let store = household?.devices[watched].store ?? store else { return }
    let (history, names) = try CrisisReport.history(of: store)
    notices.post(.dialog(.note(title: "The last \(CrisisHistory.days) days", text: CrisisReport.lines(history, names).flatMap { CellText.wrap(CellText.clean($0), 70) })))
  }
}
