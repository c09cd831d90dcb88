import CSystem
import Causality
import Foundation
import Replica
import Sealing
import Storage
import Synchronization
import Therapy

/// Drives one replica: a thread that sleeps until something happens, performs what the rules decide,
/// and publishes what there is to see. Of several processes over one store one exchanges with the
/// relay; the others watch the store, and one of them takes over when the first ends, stops or hangs.
///
/// A call to the relay that does not return within ``callLimit`` leaves its thread behind: another one goes on with a
/// replica that knows what the store knows. The thread that was left behind changes nothing when it comes back.
package final class ReplicaDriver: Sendable {
  /// What all threads of a driver share.
  struct Shared {
    var commands: [Command] = []
    /// The thread whose turn it is; raised when one is left behind.
    var generation = 0
    /// Uptime since which it is inside a call to the relay.
    var callSince: UInt64?
    /// Threads that were left behind and have not come back.
    var abandoned = 0
    var handedOn = HandedOn()
    /// The person wants others to be told of the crisis now; taken by the thread whose turn it is.
    var saidNow: Set<OperationID> = []
    var isStarted = false
    var isWatched = false
    var isOver = false
  }

  /// What a thread that is left behind hands on to the one that follows it: what is shown and what was told does not
  /// begin anew with a thread.
  struct HandedOn {
    /// As it was when the thread went into its call to the relay; `nil` while none is under way.
    var live: LiveState?
    /// What came in the middle of a long catch-up and is not told yet.
    var untold: [ReplicaReport] = []
    /// How the crisis stood when it was looked last.
    var followed: FollowedCrisis?
    /// Why the relay cannot be used, as far as it was told.
    var lost: RelayError?
  }

  package let store: Store
  let observer: Observer
  let relayName: String
  let tier: Tier
  let relay: any Relay
  let peers: PeerProcesses
  let shared = Mutex(Shared())
  let wake = fm_wake_open()
  /// Tells when the store loses its place; -1 where nothing tells.
  let placeWatch = fm_watch_open()
  private let placeWatches: [Int32]
  private let finished = Latch()
  private let watchdogWake = fm_wake_open()
  private let actions = DispatchQueue(label: "actions")

  /// Nanoseconds that a call to the relay may take.
  static let callLimit: UInt64 = 5_000_000_000
  /// So many threads are left behind at most; then it is waited until one comes back.
  static let abandonedLimit = 8

  package init(store: Store, relay: any Relay, relayName: String, tier: Tier, observer: Observer) throws {
    (self.store, self.relay, self.relayName, self.tier, self.observer) = (store, relay, relayName, tier, observer)
    peers = PeerProcesses(store)
    let (watch, places) = (placeWatch, [store.home.path, store.home.database, store.home.database + "-wal", store.home.database + "-shm"])
    placeWatches = places.map { (path: String) -> Int32 in fm_watch_place(watch, path) }
  }

  deinit {
    close(wake)
    close(watchdogWake)
    if placeWatch >= 0 { close(placeWatch) }
  }

  // MARK: From other threads

  /// Starts the thread.
  package func start() {
    shared.withLock { $0.isStarted = true }
    peers.open()
    startLoop(generation: 0, after: nil)
  }

  private func startLoop(generation: Int, after problem: RelayError?) {
    let thread = Thread { [self] in
      do {
        let loop = try DriverLoop(self, generation: generation, after: problem)
        loop.run()
      } catch {
        observer.failed(error)
        if isCurrent(generation) { observer.ended(error) }
      }
      didEnd(generation)
    }
    thread.name = "replica"
    thread.stackSize = 2 << 20
    thread.start()
  }

  package func send(_ command: Command) {
    switch command {
    case .commit(let drafts): act { _ = try $0.commit(drafts) }
    case .perform(let body): act(body)
    case .crisis(let body):
      // Not behind what waits.
      let thread = Thread { [self] in perform(body) }
      thread.name = "crisis action"
      thread.start()
    case .offer(let session, let target):
      act { try $0.offer(session, to: target, elapsed: nil) }
      put(command)
    default: put(command)
    }
  }

  private func act(_ body: @escaping @Sendable (Actions) throws -> Void) {
    actions.async { [self] in perform(body) }
  }

  private func perform(_ body: (Actions) throws -> Void) {
    do { try body(Actions(store)) } catch { (observer.refused ?? observer.failed)(error) }
    put(.noticeCommit)
  }

  private func put(_ command: Command) {
    shared.withLock { shared in
      if case .noticeCrisis = command { shared.commands.insert(command, at: 0) } else { shared.commands.append(command) }
    }
    fm_wake_signal(wake)
  }

  /// Tells whom the person agreed on of these activations, without waiting until they can no longer be taken back. It is
  /// remembered while one of them is active, whatever the store and the relay do meanwhile; of any other crisis nothing
  /// was said.
  package func tellNow(of activations: Set<OperationID>) {
    guard !activations.isEmpty else { return }
    shared.withLock { $0.saidNow.formUnion(activations) }
    fm_wake_signal(wake)
  }

  func takeSaidNow() -> Set<OperationID> {
    shared.withLock { shared in
      defer { shared.saidNow = [] }
      return shared.saidNow
    }
  }

  /// Asks the driver to say goodbye and waits for it, at most so many milliseconds.
  package func stop(waitingAtMost milliseconds: Int) {
    guard shared.withLock({ $0.isStarted }) else { return }
    put(.stop)
    _ = finished.wait(milliseconds)
    shared.withLock { $0.isOver = true }
    // Closing a descriptor waits until the kernel has forgotten its watches.
    for watch in placeWatches where watch >= 0 { fm_watch_remove(placeWatch, watch) }
    peers.end()
  }

  /// This process is about to be stopped by the person: another one may lead meanwhile.
  package func suspend() { peers.yield() }

  /// It goes on.
  package func resume() {
    peers.goOn()
    fm_wake_signal(wake)
  }

  // MARK: Threads that do not come back

  func isCurrent(_ generation: Int) -> Bool { shared.withLock { $0.generation == generation && !$0.isOver } }

  /// - Returns: Whether the thread whose turn it is has ended.
  private func didEnd(_ generation: Int) {
    let isCurrent = shared.withLock { shared in
      if shared.generation != generation { shared.abandoned -= 1 }
      return shared.generation == generation
    }
    if isCurrent { finished.open() } else { fm_wake_signal(wake) }
  }

  /// Performs a call to the relay that is watched.
  ///
  /// - Parameter live: What the thread that follows goes on with, should this one be left behind.
  /// - Returns: `nil` when the thread was left behind meanwhile.
  /// - Throws: What the call throws; ``RelayError/unanswered(_:)`` where ``isHanging``: whoever hears other processes and
  ///   tells the screen does not wait for a relay.
  func watched<Result>(_ generation: Int, keeping live: LiveState, _ body: () throws -> Result) throws -> Result? {
    if isHanging { throw RelayError.unanswered(relayName) }
    let mustWatch = shared.withLock { shared -> Bool? in
      guard shared.generation == generation else { return nil }
      (shared.callSince, shared.handedOn.live) = (fm_uptime_ns(), live)
      defer { shared.isWatched = true }
      return !shared.isWatched
    }
    // A thread that was left behind calls nobody any more.
    guard let mustWatch else { return nil }
    if mustWatch { startWatchdog() }
    defer { shared.withLock { if $0.generation == generation { ($0.callSince, $0.handedOn.live) = (nil, nil) } } }
    let result = try body()
    return isCurrent(generation) ? result : nil
  }

  /// So many calls hang that another one would hang as well: none is made until one comes back.
  var isHanging: Bool { shared.withLock { $0.abandoned >= Self.abandonedLimit } }

  /// A thread that looks once a second while calls to the relay are made, and ends when none was for a while.
  private func startWatchdog() {
    let thread = Thread { [weak self] in
      var quiet = 0
      while quiet < 5 {
        fm_pause_ms(1_000)
        guard let self else { return }
        switch self.lookAtCall() {
        case .none: quiet += 1
        case .some: quiet = 0
        }
      }
      guard let self else { return }
      let mustGoOn = self.shared.withLock { shared in
        shared.isWatched = shared.callSince != nil
        return shared.isWatched
      }
      if mustGoOn { self.startWatchdog() }
    }
    thread.name = "relay watchdog"
    thread.start()
  }

  /// - Returns: Uptime since which a call is under way.
  private func lookAtCall() -> UInt64? {
    let now = fm_uptime_ns()
    let (since, next) = shared.withLock { shared -> (UInt64?, Int?) in
      guard let since = shared.callSince, !shared.isOver else { return (nil, nil) }
      guard now > since, now - since >= Self.callLimit else { return (since, nil) }
      guard shared.abandoned < Self.abandonedLimit else { return (since, nil) }
      (shared.callSince, shared.generation) = (nil, shared.generation + 1)
      shared.abandoned += 1
      return (since, shared.generation)
    }
    if let next { startLoop(generation: next, after: .unanswered(relayName)) }
    return since
  }
}
