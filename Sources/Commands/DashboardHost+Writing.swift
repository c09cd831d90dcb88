import CSystem
import Causality
import ConflictResolution
import Crisis
import Dashboard
import Foundation
import Replica
import Sealing
import Storage
import Stores
import Synchronization
import Terminal
import Therapy

/// What the dashboard writes, and what it says of it.
extension DashboardHost {
  /// What an intent writes; `nil` for one that writes nothing.
  func write(for intent: Intent) -> (@Sendable (Actions) throws -> Void)? {
    switch intent {
    case .add(let kind, let assignments): return { _ = try $0.add(kind: kind, assignments) }
    case .editPlan(let assignments): return { try $0.editPlan(assignments) }
    case .remove(let record):
      guard let id = RecordID(record) else { return nil }
      return { try $0.remove(id) }
    case .resolve(let record, let field, let version): return settling(record, field) { try $0.resolve($1, field: field, keeping: version) }
    case .resolveBy(let method, let record, let field): return settling(record, field) { try $0.resolve($1, field: field, by: method) }
    case .resolveWith(let record, let field, let text): return settling(record, field) { try $0.resolve($1, field: field, with: text) }
    case .resolveAll(let type): return { _ = try $0.resolveAll(type: type) }
    case .saveProgress(let session, let elapsed, let phase): return progress(session, elapsed, phase)
    default: return nil
    }
  }

  private func progress(_ session: String, _ elapsed: Double, _ phase: String?) -> (@Sendable (Actions) throws -> Void)? {
    guard let id = RecordID(session) else { return nil }
    return { _ = try $0.progress(id, to: elapsed, phase: phase.flatMap(SessionState.Phase.init(rawValue:))) }
  }

  /// Settles what was written apart. An answer that calls for help offers it, whichever way it came to be there.
  private func settling(
    _ record: String, _ field: String, _ body: @escaping @Sendable (Actions, RecordID) throws -> Void
  ) -> (@Sendable (Actions) throws -> Void)? {
    guard let id = RecordID(record) else { return nil }
    let notices = notices
    return { actions in
      try body(actions, id)
      guard RecordState.isAnswer(field), let offer = try actions.offer(of: id) else { return }
      notices.post(.tell("Because \(offer.reason.text): ! shows help lines and tells your devices."))
    }
  }

  /// Writes, and says what came of it: after it is so.
  func save(_ intent: Intent) {
    // One after the other: what came of each is told in the order in which it was asked for.
    saves.async { [self] in
      // A store that went away may be back, or another one may lie in its place.
      if state.withLock({ $0.problem != nil }) { reopen() }
      saveNow(intent)
    }
  }

  /// Milliseconds after which the next one has its turn although this one has not ended.
  private static let longest = 15_000

  private func saveNow(_ intent: Intent) {
    let notices = notices
    if let problem = state.withLock({ $0.problem }) { return notices.post(.saved(problem: Self.words(problem))) }
    guard let write = write(for: intent) else { return notices.post(.saved(problem: "What was meant is not there any more.")) }
    let done = Latch()
    send(.perform { actions in
      defer { done.open() }
      do {
        try write(actions)
        notices.post(.saved(problem: nil))
      } catch { notices.post(.saved(problem: Self.words(error))) }
    })
    _ = done.wait(Self.longest)
  }

  /// What happened, what was kept, what to do, and the code.
  static func words(_ error: any Error) -> String {
    let actionable = Output.actionable(error)
    return "\(actionable.summary) \(actionable.remedy) (\(actionable.code))"
  }
}

/// A store that cannot be used, or that meets the others elsewhere.
extension DashboardHost {
  /// The store cannot be used any more: it is let go of, and that is shown instead of what was known of it.
  func lose(_ problem: any Error) {
    let driver = state.withLock { state in
      defer { (state.store, state.driver, state.courier, state.latest, state.problem) = (nil, nil, nil, nil, problem) }
      return state.driver
    }
    // What it held of the home, its lock among it, is free for the next one.
    driver?.stop(waitingAtMost: 0)
    notices.post(.problem(Self.lines(problem)))
    lookAfterStore()
  }

  /// Opens the store again.
  ///
  /// - Parameters:
  ///   - passphrase: As the person typed it; `nil` for a store that needs none, or whose file is named.
  ///   - isAsked: Whether the person asked for it: otherwise the same problem is not told again.
  func reopen(with passphrase: String? = nil, isAsked: Bool = true) {
    // Asked twice it is opened once.
    reopening.sync {
      guard let before = state.withLock({ $0.problem }) else { return }
      do {
        let store = try location.openQuietly(with: passphrase)
        let first = try Self.firstPicture(store, try location.relayLocation(store).description)
        // What was raised here may have ended meanwhile, as the journal knows by now.
        look()
        state.withLock { ($0.store, $0.latest, $0.problem) = (store, first, nil) }
        notices.post(.found)
        snapshots.put(first)
        try drive(store)
      } catch {
        let isKnown = state.withLock { $0.problem != nil } && Self.isSame(error, before)
        if isAsked || !isKnown { lose(error) }
      }
    }
  }

  /// Whether a problem says nothing new: a passphrase is asked for once, whatever came of the last one.
  private static func isSame(_ problem: any Error, _ before: any Error) -> Bool {
    lines(problem) == lines(before) || needsPerson(problem) && needsPerson(before)
  }

  private static func needsPerson(_ problem: any Error) -> Bool {
    switch problem as? StorageError {
    case .passphraseNeeded?, .wrongPassphrase?, .emptyPassphrase?: true
    default: false
    }
  }

  // MARK: Looking after it

  /// Milliseconds between looks beside the store, and between attempts to open it: longer after each.
  private static let lookGap = 1_000
  private static let openGaps = 1_000...10_000
  /// Whatever takes time is done so rarely that it is one part in so many.
  private static let share = 100
  /// Looks during which the files of a store have to be at rest: who copies one there is not disturbed.
  private static let restingLooks = 2

  /// While there is no store: looks what lies beside it, and opens it as soon as that can be done without the person. On a
  /// thread of its own, which ends when there is one.
  func lookAfterStore() {
    let isFirst = state.withLock { state in
      defer { state.isLooking = true }
      return !state.isLooking
    }
    guard isFirst else { return }
    let thread = Thread { [self] in
      // Whoever has just found a problem has just tried.
      var (gap, next) = (Self.openGaps.lowerBound, SystemClock.now.uptime + UInt64(Self.openGaps.lowerBound) * 1_000_000)
      var (marks, resting) = (self.marks, 0)
      while true {
        let began = SystemClock.now.uptime
        look()
        let took = Int(clamping: (SystemClock.now.uptime - began) / 1_000_000)
        let current = self.marks
        if current == marks { resting += 1 } else {
          // Something has changed there: it is worth trying soon.
          (marks, resting, gap, next) = (current, 0, Self.openGaps.lowerBound, min(next, began))
        }
        if resting >= Self.restingLooks, SystemClock.now.uptime >= next {
          let start = SystemClock.now.uptime
          reopen(isAsked: false)
          let now = SystemClock.now.uptime
          gap = min(gap * 2, Self.openGaps.upperBound)
          // A passphrase from a file costs the time that it is to cost.
          let isCostly = location.passphraseFile != nil
          next = now + max(UInt64(gap) * 1_000_000, isCostly ? (now - start) * UInt64(Self.share) : 0)
          // What the attempt itself has left there is no change.
          marks = self.marks
        }
        let mustGoOn = state.withLock { state in
          state.isLooking = state.problem != nil && state.household == nil && !state.isEnding
          return state.isLooking
        }
        guard mustGoOn else { return }
        fm_pause_ms(Int32(clamping: max(Self.lookGap, min(took * Self.share, Self.openGaps.upperBound))))
      }
    }
    thread.name = "without a store"
    thread.start()
  }

  /// What the files of a store look like from outside; the same while nobody writes them or puts others in their place.
  private var marks: [Int] {
    let home = location.homeFolder
    return [home.path, home.database, home.dataKey].flatMap { path -> [Int] in
      var status = stat()
      guard stat(path, &status) == 0 else { return [-1] }
      #if canImport(Darwin)
      let times = [status.st_mtimespec, status.st_ctimespec]
      #else
      let times = [status.st_mtim, status.st_ctim]
      #endif
      return [Int(truncatingIfNeeded: status.st_ino), Int(truncatingIfNeeded: status.st_size)] + times.flatMap { [Int($0.tv_sec), Int($0.tv_nsec)] }
    }
  }

  /// Looks whether what was raised on this device is known to be over. What is still being sealed or taken back is not
  /// judged.
  private func look() {
    let (raisers, seen, known, decisions) = state.withLock { ($0.raisers, $0.seen, $0.journal, $0.resolutions) }
    let found = EmergencyJournal(location.homeFolder)
    // Another home may lie in its place: it says nothing of what was raised here.
    let isOther = known.map { known in found.map { $0.kit.device != known.kit.device } ?? true } ?? false
    guard let journal = isOther ? known : found else { return }
    let isSettled = raisers.allSatisfy { entry in
      let delivery = entry.raiser.delivery
      if entry.pressed > 0 { return !entry.raiser.frames.isEmpty || delivery.word == .noWay }
      return entry.raiser.operation == nil || delivery.disk.isDone || delivery.relay.isDone
    }
    guard isSettled else { return }
    let here = journal.frames
    let isRaised = journal.isActive(with: seen + raisers.flatMap(\.raiser.frames))
    state.withLock { state in
      if isRaised {
        let new = Set(here).subtracting(state.seen)
        state.seen += new
      }
      state.beside = Beside(isRaised: isRaised, decisions: decisions, look: (state.beside?.look ?? 0) + 1)
    }
  }

  // MARK: Elsewhere

  /// Seconds between attempts to go on in another place, at most.
  private static let longestDrivingGap = 10

  /// The devices meet elsewhere now: another driver goes on there, over the same store. Nobody else looks after this
  /// device while there is none, so that it is tried until there is one.
  func goOnElsewhere() {
    guard let driver = state.withLock({ $0.driver }) else { return }
    queue.async { [self] in
      driver.stop(waitingAtMost: 1_000)
      goOnElsewhere(instead: driver, attempt: 0)
    }
  }

  private func goOnElsewhere(instead old: ReplicaDriver, attempt: Int) {
    let problem = reopening.sync { () -> (any Error)? in
      // One that was lost, or opened again, meanwhile has a driver, or gets one.
      guard let store = state.withLock({ $0.driver === old ? $0.store : nil }) else { return nil }
      guard store.isInPlace else {
        lose(StorageError.replaced(store.home.path))
        return nil
      }
      do { try drive(store) } catch { return error }
      notices.post(.tell("Your devices meet elsewhere now; this program goes on there."))
      return nil
    }
    guard let problem else { return }
    if attempt == 0 {
      notices.post(.tell("Your devices meet elsewhere now. This program cannot go on there yet; it is tried again. \(Self.words(problem))"))
    }
    let seconds = min(1 << min(attempt, 8), Self.longestDrivingGap)
    queue.asyncAfter(deadline: .now() + .seconds(seconds)) { [self] in goOnElsewhere(instead: old, attempt: attempt + 1) }
  }
}
