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
    state.withLock { $0.raisers.append((raiser, pressed)) }
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

  /// - Parameter words: What is said once it is so.
  func resolve(_ words: String) {
    crisisQueue.async { [self] in
      let raiser = raiser { _ in }
      let (raised, hasLanded) = state.withLock { state in
        // What was raised and is still being tried is not tried any more.
        for old in state.raisers { old.raiser.end() }
        let hasLanded = state.raisers.contains { $0.raiser.delivery.disk.isDone || $0.raiser.delivery.relay.isDone }
        defer { state.raisers = [(raiser, 0)] }
        return (state.raisers.flatMap(\.raiser.frames), hasLanded)
      }
      do {
        switch try raiser.resolve(raised: raised) {
        case .nothing, .nothingHere: notices.post(.resolved(nil, isOver: true))
        case .resolved(let change):
          let away = "Resolved here; your other devices learn of it when the relay can be reached. Be kind to yourself today."
          notices.post(.resolved(change.isAtRelay || state.withLock { $0.household != nil } ? words : away, isOver: true))
        case .takenBack: tellTakenBack(raiser, hasLanded, "\(words) What was raised here is taken back; other devices may show another one.", words)
        }
        driver?.send(.noticeCommit)
      } catch { couldNotTakeBack(error) }
    }
  }

  /// Milliseconds by which the key may come later here than on the screen.
  private static let undoSlack: UInt64 = 2_000

  /// Takes back what was raised here while that can be done, and nothing else.
  func takeBack(_ words: String) {
    let now = SystemClock.now.uptime
    crisisQueue.async { [self] in
      let raiser = raiser { _ in }
      let recent = state.withLock { state in
        let recent = state.raisers.filter { now < $0.pressed + UInt64(CrisisAlert.undoMilliseconds + Self.undoSlack) * 1_000_000 }.map(\.raiser)
        state.raisers.removeAll { entry in recent.contains { $0 === entry.raiser } }
        state.raisers.append((raiser, 0))
        return recent
      }
      for old in recent { old.end() }
      let hasLanded = recent.contains { $0.delivery.disk.isDone || $0.delivery.relay.isDone }
      do {
        guard try raiser.takeBack(recent) else {
          let nothing = "Taken back: nothing of it had been saved or sent.\(another(besides: recent))"
          return notices.post(.resolved(recent.isEmpty ? nil : nothing, isOver: true))
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

  func tellContacts() {
    let relay = state.withLock { state in state.household.map { $0.devices[state.watched].relay as any Relay } }
    slowly { [self] in
      let (store, household, watched) = state.withLock { ($0.store, $0.household, $0.watched) }
      guard let store = household?.devices[watched].store ?? store else { return }
      _ = try Actions(store).tellNow(try relay ?? location.openRelay(store))
      driver?.send(.noticeCommit)
    }
  }

  func showHistory() throws {
    let (store, household, watched) = state.withLock { ($0.store, $0.household, $0.watched) }
    guard let store = household?.devices[watched].store ?? store else { return }
    let (history, names) = try CrisisReport.history(of: store)
    notices.post(.dialog(.note(title: "The last \(CrisisHistory.days) days", text: CrisisReport.lines(history, names).flatMap { CellText.wrap(CellText.clean($0), 70) })))
  }
}
