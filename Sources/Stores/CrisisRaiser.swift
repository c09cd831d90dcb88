import Causality
import Crisis
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Synchronization
import Therapy

/// Raises a crisis by every way at once: into the emergency journal, onto the relay, and then into the store. No way waits
/// for another, and what fails is tried again until both the disk and the relay have it.
package final class CrisisRaiser: Sendable {
  private struct State {
    var delivery = CrisisDelivery()
    var savedAt: UInt64?
    var operation: OperationID?
    var isOver = false
    /// What this raiser carries, and the journal that sealed it.
    var frames: [[UInt8]] = []
    var journal: EmergencyJournal?
  }
  private let home: HomeFolder
  /// `nil` where the store cannot be opened, or not yet.
  private let store: Store?
  private let relay: @Sendable () -> (any Relay)?
  /// As it was when the program began: a home may be moved away under it.
  private let remembered: EmergencyJournal?
  private let state = Mutex(State())
  private let changed = Latch()
  private let telling = Mutex(())
  private let update: @Sendable (CrisisDelivery) -> Void

  /// - Parameters:
  ///   - remembered: The emergency journal as it was known before, should the home be gone.
  ///   - relay: The relay in whose crisis lane this device writes; asked for on a thread of its own.
  ///   - update: Is told of everything that becomes known, on any thread.
  package init(
    home: HomeFolder, store: Store?, remembered: EmergencyJournal? = nil, relay: (@Sendable () -> (any Relay)?)? = nil,
    update: @escaping @Sendable (CrisisDelivery) -> Void = { _ in }
  ) {
    (self.home, self.store, self.remembered, self.update) = (home, store, remembered, update)
    self.relay = relay ?? { (EmergencyJournal(home) ?? remembered)?.relay() }
  }

  private var journal: EmergencyJournal? { EmergencyJournal(home) ?? remembered }

  /// How far it has come.
  package var delivery: CrisisDelivery { state.withLock { $0.delivery } }
  /// Microseconds since 1970 at which it was durable here.
  package var savedAt: UInt64? { state.withLock { $0.savedAt } }
  package var operation: OperationID? { state.withLock { $0.operation } }
  private var sealing: EmergencyJournal? { state.withLock { $0.journal } }

  /// Begins; returns at once.
  ///
  /// - Returns: Whether there is any way: without an emergency key and without a store only this screen knows.
  @discardableResult
  package func raise(_ level: CrisisLevel, source: String) -> Bool {
    // It was taken back before it began.
    guard !isOver else { return false }
    if let journal, let entry = try? journal.activation(level, source: source, wall: SystemClock.now.wall) {
      carry([entry], journal)
      return true
    }
    guard let store else {
      note { $0.disk = .failed(code: CrisisDelivery.noKey) }
      note { $0.relay = .failed(code: CrisisDelivery.noKey) }
      return false
    }
    // The person did not want an emergency key: the store is the only way.
    let relay = relay
    run {
      let courier = Courier {
        guard let relay = relay() else { throw RelayError.unreachable("") }
        return relay
      }
      while !self.isOver {
        do {
          let actions = Actions(store, courier: courier)
          let change = try actions.activateCrisis(level, source: source)
          // It was taken back while the store was waited for.
          if self.isOver { _ = try actions.withdrawCrisis([change.operation.id]) }
          self.saved(change.operation.id, at: change.saved)
          return self.note { $0.relay = change.isAtRelay ? .done : .failed(code: "relay.unreachable") }
        } catch {
          self.note { ($0.disk, $0.relay) = (.failed(code: (error as? any ActionableError)?.code ?? "storage"), .failed(code: "crisis.not-sealed")) }
          self.pause()
        }
      }
    }
    sayWhenOverdue()
    return true
  }

  /// What became of resolving.
  package enum Resolution: Sendable {
    /// Nothing is active, as far as this device and the relay know.
    case nothing
    /// Nothing is active here, and the relay could not be looked at.
    case nothingHere
    /// Every activation that this device has seen.
    case resolved(Actions.CrisisChange)
    /// The store cannot be used: what was raised on this device is taken back. What other devices raised is not known.
    case takenBack

    /// Whether the relay has just answered.
    package var hasSeenRelay: Bool {
      switch self {
      case .nothing: true
      case .resolved(let change): change.isAtRelay
      case .nothingHere, .takenBack: false
      }
    }
  }

  /// Milliseconds for which a lock of another program is waited for, when there is another way.
  private static let patience = 500

  /// Frames that were raised by this raiser, wherever they are by now.
  package var frames: [[UInt8]] { state.withLock { $0.frames } }

  /// Resolves what this device knows of; where the store cannot be used, takes back what was raised here.
  ///
  /// - Parameters:
  ///   - problem: Why there is no store.
  ///   - raised: Frames of raisers of this program, which no disk may have taken.
  /// - Throws: ``StorageError`` where nothing can be done.
  package func resolve(instead problem: (any Error)? = nil, raised: [[UInt8]] = []) throws -> Resolution {
    var problem = problem
    // What no disk took is known to this program, or to the relay, which is asked while the store is.
    let lookup = Self.lookup(journal, relay)
    if let store {
      switch resolved(in: store) {
      case .success(let change?)?: return .resolved(change)
      case .success(nil)?: break
      case .failure(let error)?: problem = error
      case nil: problem = StorageError.locked(home.database)
      }
    }
    let sent = lookup.answer(within: Self.relayMayTake) ?? nil
    if try withdraw(raised + (sent ?? []), known: store.flatMap { problem == nil ? $0 : nil }) { return .takenBack }
    if let problem { throw problem }
    return sent == nil ? .nothingHere : .nothing
  }

  private static func lookup(_ journal: EmergencyJournal?, _ relay: @escaping @Sendable () -> (any Relay)?) -> Attempt<[[UInt8]]?> {
    Attempt { journal.flatMap { journal in relay().flatMap { try? journal.sent($0) } } }
  }

  /// What this device sealed in an emergency and that lies on the relay; `nil` where it cannot be read now.
  package func sent() -> [[UInt8]]? { Self.lookup(journal, relay).answer(within: Self.relayMayTake) ?? nil }

  /// Resolves in the store, on a thread that may be left behind: a lock of another program may hold it for long.
  private func resolved(in store: Store) -> Result<Actions.CrisisChange?, any Error>? {
    let relay = relay
    let hasJournal = journal != nil
    let attempt = Attempt {
      Result {
        try store.takeOverJournal(within: Self.patience)
        let courier = Courier {
          guard let relay = relay() else { throw RelayError.unreachable("") }
          return relay
        }
        let change = try Actions(store, courier: courier, patience: hasJournal ? Self.patience : nil).resolveCrisis()
        store.noteEmergenciesOver()
        return change
      }
    }
    return attempt.answer(within: hasJournal ? Self.storeMayTake : 60_000)
  }

  /// Milliseconds.
  private static let storeMayTake = 1_500
  private static let relayMayTake = 1_000

  /// Takes back what was raised here by this way, where the store cannot.
  ///
  /// - Parameters:
  ///   - more: Frames that do not lie in the journal.
  ///   - store: One that can be asked what has ended already.
  /// - Returns: Whether there was something.
  package func withdraw(_ more: [[UInt8]] = [], known store: Store? = nil) throws -> Bool {
    guard let journal else { return false }
    var entries = try journal.withdrawal(with: more, wall: SystemClock.now.wall)
    if let store {
      // What the store has taken over and resolved is over.
      entries = try store.read { transaction in try entries.filter { try !$0.operation.replaces.contains { try transaction.hasArrived($0) } } }
    }
    guard !entries.isEmpty else { return false }
    carry(entries, journal)
    return true
  }

  /// Takes back what other raisers of this program have raised, and nothing else.
  ///
  /// - Returns: Whether there was something; it goes on as ``delivery`` says.
  package func takeBack(_ raised: [CrisisRaiser]) throws -> Bool {
    let ids = raised.compactMap(\.operation)
    // What is over is over; what has not arrived in the store is not known to be. Whoever else waits for a lock holds up
    // the store's queue as well: it is not waited for.
    let ended = store.flatMap { store in
      Attempt {
        try? store.read(within: Self.patience) { transaction in
          let active = CrisisState(try transaction.record(Actions(store).crisisRecord)).activations.map(\.id)
          return try ids.filter { try transaction.hasArrived($0) && !active.contains($0) }
        }
      }.answer(within: Self.patience) ?? nil
    }
    let open = ids.filter { !(ended ?? []).contains($0) }
    guard !open.isEmpty else { return false }
    // Another home may lie in its place by now.
    if let journal = raised.compactMap(\.sealing).last ?? journal {
      let entries = try journal.withdrawal(with: raised.flatMap(\.frames), wall: SystemClock.now.wall).filter { entry in
        entry.operation.replaces.contains(where: open.contains)
      }
      guard !entries.isEmpty else { return false }
      carry(entries, journal)
      return true
    }
    guard let store else { return false }
    let relay = relay
    let courier = Courier {
      guard let relay = relay() else { throw RelayError.unreachable("") }
      return relay
    }
    guard let change = try Actions(store, courier: courier).withdrawCrisis(open) else { return false }
    saved(change.operation.id, at: change.saved)
    note { $0.relay = change.isAtRelay ? .done : .failed(code: "relay.unreachable") }
    return true
  }

  private func carry(_ entries: [EmergencyJournal.Entry], _ journal: EmergencyJournal) {
    state.withLock { ($0.operation, $0.frames, $0.journal) = (entries.first?.operation.id, entries.map(\.frame), journal) }
    note { ($0.disk, $0.relay) = (.underWay, .underWay) }
    if journal.location.isPrivate(to: home) { note { $0.isRelayPrivate = true } }
    // Every screen of this device shows it, whatever the disk and the relay do.
    tellScreens(entries.map(\.frame), journal, isAtRelay: false)
    let (home, store, relay) = (home, store, relay)
    run { self.keep(entries, journal, home, store) }
    run { self.send(entries, journal, relay) }
    sayWhenOverdue()
  }

  private func tellScreens(_ frames: [[UInt8]], _ journal: EmergencyJournal, isAtRelay: Bool) {
    guard let file = journal.file else { return }
    for frame in frames { HeardFrame(file: file, frame: frame, isAtRelay: isAtRelay).bytes.map { home.tellOthers($0, except: nil) } }
  }

  private func sayWhenOverdue() {
    run {
      fmPause(Self.overdue)
      self.note { $0.isOverdue = !$0.disk.isDone && !$0.relay.isDone }
    }
  }

  /// Milliseconds after which what is still under way counts as not done.
  private static let overdue = 900

  private func run(_ body: @escaping @Sendable () -> Void) {
    let thread = Thread { body() }
    thread.name = "crisis"
    thread.qualityOfService = .userInteractive
    thread.start()
  }

  /// Milliseconds between attempts.
  private static let gap = 200

  private func keep(_ entries: [EmergencyJournal.Entry], _ journal: EmergencyJournal, _ home: HomeFolder, _ store: Store?) {
    var rest = entries[...]
    while let entry = rest.first, !isOver {
      do {
        try journal.keep(entry)
        rest = rest.dropFirst()
      } catch {
        note { $0.disk = .failed(code: (error as? any ActionableError)?.code ?? "storage") }
        // Where the journal cannot be written the store may be.
        if let store, (try? Self.take(entries.map(\.frame), into: store)) != nil { break }
        pause()
      }
    }
    guard !isOver else { return }
    saved(entries.first?.operation.id, at: SystemClock.wallMicroseconds)
    // Whoever exchanges for this device, and every screen of it, learns of it now.
    home.pingOthers(except: nil)
    if (try? store?.takeOverJournal(within: 250)) != nil { home.pingOthers(except: nil) }
  }

  private static func take(_ frames: [[UInt8]], into store: Store) throws {
    let relay = FolderRelay(path: "/nowhere", account: [], ownTag: nil)
    var performer = try EffectPerformer(store: store, relay: relay, ring: store.ring, run: 0)
    var outcome = ApplyOutcome(next: .start)
    let file = RelayStream(tag: BlindTag(of: store.ring.device, store.ring.account.sealer), channel: Channel(.crisis))
    try performer.take(frames, from: file, limit: SystemClock.now.wall, &outcome)
  }

  private func send(_ entries: [EmergencyJournal.Entry], _ journal: EmergencyJournal, _ relay: () -> (any Relay)?) {
    guard let file = journal.file else { return }
    let frames = entries.map(\.frame)
    var isPut = false
    while !isOver {
      do throws(RelayError) {
        guard let relay = relay() else { throw .unreachable(journal.kit.relay) }
        // Nothing has to be read before it is there; sent is said when others can read it.
        if !isPut { try relay.appendAnyway(frames, to: file) }
        isPut = true
        try relay.complete(frames, after: [], in: file)
        // Who tells the contacts waits for that.
        tellScreens(frames, journal, isAtRelay: true)
        // Where that fails those who know this device read it all the same.
        let isIntroduced = (try? journal.introduce(to: relay)) != nil
        // What was raised before and never got there goes along: who exchanges may be stopped. Nothing is opened for it,
        // which would take longer the more there is.
        try? relay.deliver(journal.frames.filter(journal.isOwn), to: file)
        let isSeen = (try? relay.survey())?.presences.contains { $0 != file.tag } ?? true
        return note { ($0.isRelayUnseen, $0.relay) = (!isSeen || !isIntroduced, .done) }
      } catch {
        note { $0.relay = .failed(code: error.code) }
        pause()
      }
    }
  }

  private func pause() { fmPause(Self.gap) }

  private var isOver: Bool { state.withLock { $0.isOver } }

  /// Nothing more is tried; threads that hang are left behind.
  package func end() { state.withLock { $0.isOver = true } }

  private func saved(_ operation: OperationID?, at moment: UInt64) {
    state.withLock { ($0.savedAt, $0.operation) = ($0.savedAt ?? moment, operation ?? $0.operation) }
    note { $0.disk = .done }
  }

  private func note(_ change: (inout CrisisDelivery) -> Void) {
    let isNews = state.withLock { state in
      let before = state.delivery
      change(&state.delivery)
      return state.delivery != before
    }
    // Told in order: the last that is told is how it stands.
    if isNews { telling.withLock { _ in update(delivery) } }
    changed.open()
  }

  /// Waits until both ways have done what they can, at most so many milliseconds.
  ///
  /// - Returns: How far it has come.
  package func outcome(within milliseconds: Int) -> CrisisDelivery {
    let end = SystemClock.now.uptime + UInt64(milliseconds) * 1_000_000
    while !delivery.isComplete {
      let now = SystemClock.now.uptime
      guard now < end else { break }
      changed.close()
      if delivery.isComplete { break }
      _ = changed.wait(min(50, Int((end - now) / 1_000_000) + 1))
    }
    return delivery
  }
}
