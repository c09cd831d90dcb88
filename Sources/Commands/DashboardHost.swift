import CSystem
import Causality
import ConflictResolution
import Crisis
import Dashboard
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Stores
import Synchronization
import Terminal
import Therapy

/// Connects the dashboard on the main thread with the stores on their own: snapshots one way,
/// intents the other. Whatever takes long runs on a queue of its own.
final class DashboardHost: Sendable {
  struct State: Sendable {
    var store: Store?
    var driver: ReplicaDriver?
    var latest: Snapshot?
    var household: DemoHousehold?
    /// Takes a crisis to the relay, whatever the driver is doing.
    var courier: Courier?
    /// Crises that are on their way.
    var raisers: [(raiser: CrisisRaiser, pressed: UInt64)] = []
    /// How the crisis stands, also beside the store, as the driver has told last.
    var followed: CrisisState?
    /// This device, as it was known last: its store may be lost.
    var device: DeviceID?
    /// That a crisis be over is tried again until it is saved, or the person decides otherwise.
    var unresolved: Unresolved?
    var resolutions = 0
    /// Activations of which the person wants the contacts to be told now: another driver learns of it too.
    var saidNow: Set<OperationID> = []
    /// The device of the household that is looked at.
    var watched = 0
    /// The invitation that is on the screen, and what was said of it.
    var invitation: (number: Int, answer: InvitationAnswer) = (0, .none)
    /// What was asked for before the driver was there.
    var early: [ReplicaDriver.Command] = []
    /// An account whose recovery code is on the screen.
    var prepared: AccountSetup.Prepared?
    /// The way of the crisis past the store, as it was known last: the home may be moved away.
    var journal: EmergencyJournal?
    /// Why there is no store.
    var problem: (any Error)?
    /// What lies beside the store, as it was looked at last while there was none.
    var beside: Beside?
    /// What lay in the emergency journal when something of it went on: that it cannot be read any more ends nothing.
    var seen: [[UInt8]] = []
    /// A thread looks after the missing store.
    var isLooking = false
    /// The program ends.
    var isEnding = false
  }
  enum InvitationAnswer: Sendable { case none, admit, cancel }

  /// What is to be over, and what is said once it is.
  struct Unresolved: Sendable {
    var number: Int
    var words: String
    /// What the person had seen: what is raised after it goes on.
    var activations: Set<OperationID>
  }

  let location: Location
  let themeName: String
  let signals: Int32
  let wake = fm_wake_open()
  let snapshots: LatestValue<Snapshot>
  let notices: Notices
  let state = Mutex(State())
  let queue = DispatchQueue(label: "dashboard.slow", attributes: .concurrent)
  let reopening = DispatchQueue(label: "dashboard.reopening")
  /// Saves, in the order in which they were asked for.
  let saves = DispatchQueue(label: "dashboard.saves")
  let crisisQueue = DispatchQueue(label: "crisis", qos: .userInteractive)
  /// Opens with each picture that the terminal has taken.
  let drawn = Latch()

  init(location: Location, themeName: String, signals: Int32) {
    (self.location, self.themeName, self.signals) = (location, themeName, signals)
    snapshots = LatestValue(waking: wake)
    notices = Notices(waking: wake)
  }

  /// Runs the dashboard until the person quits. A store that cannot be read is told on the screen.
  ///
  /// - Parameter problem: Why there is a store that cannot be opened.
  /// - Throws: ``TerminalError`` when there is no screen; nothing was started then.
  func run(store: Store?, problem: (any Error)? = nil, mouse: Bool) throws(TerminalError) {
    let screen = try Screen(mouse: mouse)
    state.withLock { ($0.problem, $0.journal) = (problem, EmergencyJournal(location.homeFolder)) }
    guard let store else { return show(screen, problem: problem) }
    do {
      // The first picture comes from the store alone: it waits neither for the relay nor for a thread.
      let first = try Self.firstPicture(store, try location.relayLocation(store).description)
      state.withLock { ($0.store, $0.latest) = (store, first) }
    } catch {
      state.withLock { $0.problem = error }
      return show(screen, problem: error)
    }
    show(screen) { try self.drive(store) }
  }

  func runDemo(devices: Int, seed: UInt64, history: Int, isPaused: Bool) throws(TerminalError) {
    show(try Screen(mouse: true), isDemo: true) {
      try self.startDemo(devices: devices, seed: seed, history: history, isPaused: isPaused)
    }
  }

  /// - Parameter begin: What there is to drive; begun when the first picture stands.
  func show(
    _ screen: Screen, isDemo: Bool = false, problem: (any Error)? = nil, begin: (@Sendable () throws -> Void)? = nil
  ) {
    var first = DashboardState(size: screen.size, glyphs: screen.glyphs, themeName: themeName)
    first.crisisLines = CrisisReport.screenLines()
    first.chosenRelay = location.relay ?? ""
    first.isDemo = isDemo
    first.place = location.homeFolder.path
    if let problem {
      first.lose(Self.lines(problem))
      first.planLines = PlanCard.lines(location.homeFolder)
      first.isInJournal = EmergencyJournal(location.homeFolder)?.isActive ?? false
    }
    if let latest = state.withLock({ $0.latest }) { first.update(latest) }
    first.lookBeside = { [self] in state.withLock { $0.beside } }
    var loop = DashboardLoop(
      screen: screen, state: first, wake: wake, signals: signals, snapshots: snapshots, notices: notices,
      drawn: { [self] in drawn.open() }, perform: { [self] in perform($0) })
    loop.run {
      if let begin { slowly(begin) }
      if problem != nil { lookAfterStore() }
    }
    let (driver, household) = state.withLock { state in
      state.isEnding = true
      return (state.driver, state.household)
    }
    household?.end()
    // Says goodbye to the other devices; the terminal is given back already.
    driver?.stop(waitingAtMost: 1_000)
  }

  // MARK: Starting

  func observer(_ index: Int) -> ReplicaDriver.Observer {
    var observer = ReplicaDriver.Observer()
    observer.snapshot = { [self] snapshot in
      var snapshot = snapshot
      snapshot.sync.status.reason = Invocation.here(snapshot.sync.status.reason)
      let isWatched = state.withLock { state in
        if state.watched == index { state.latest = snapshot }
        return state.watched == index
      }
      if isWatched { snapshots.put(snapshot) }
    }
    observer.failed = { [self] error in
      guard let held = error as? StoreHeldUp else {
        // What the driver does by itself is tried again, and that the store is held is told once, as such: no change of
        // the person's was refused.
        if (error as? StorageError)?.obstacle == nil { notices.post(.tell(Self.words(error))) }
        return
      }
      notices.post(.held(held.obstacle, words: "\(held.summary) \(held.remedy)"))
    }
    observer.refused = { [self] error in notices.post(.tell(Self.words(error))) }
    observer.accepts = { [self] in notices.post(.held(nil, words: nil)) }
    observer.crisis = { [self] crisis, _ in
      state.withLock { state in if state.household == nil || state.watched == index { state.followed = crisis } }
    }
    observer.ended = { [self] error in lose(error) }
    if location.relay == nil { observer.moved = { [self] in goOnElsewhere() } }
    return observer
  }

  /// Nobody looks at the crisis yet: no alert is being put up.
  static func firstPicture(_ store: Store, _ relay: String) throws -> Snapshot {
    var snapshot = try SnapshotBuilder.fromStore(store, relay: relay)
    for index in snapshot.crisis.tellings.indices where snapshot.crisis.tellings[index].state == .now {
      snapshot.crisis.tellings[index].state = .later(0)
    }
    return snapshot
  }

  static func lines(_ problem: any Error) -> [String] {
    let actionable = Output.actionable(problem)
    return CellText.wrap("\(actionable.summary) \(actionable.remedy)", 60) + ["", actionable.code]
  }

  func drive(_ store: Store) throws {
    let name = try location.relayLocation(store).description
    let driver = try ReplicaDriver(
      store: store, relay: try location.openRelay(store), relayName: name, tier: .selfHosted, observer: observer(0))
    let location = location
    let courier = Courier { try location.openRelay(store) }
    let journal = EmergencyJournal(store.home)
    let (early, saidNow) = state.withLock { state in
      (state.store, state.driver, state.courier, state.journal) = (store, driver, courier, journal)
      state.device = store.ring.device
      defer { state.early = [] }
      return (state.early, state.saidNow)
    }
    for command in early { driver.send(command) }
    driver.tellNow(of: saidNow)
    driver.start()
  }

  func startDemo(devices: Int, seed: UInt64, history: Int, isPaused: Bool) throws {
    let household = try DemoHousehold(
      deviceCount: devices, seed: seed, history: history, isPaused: isPaused,
      opened: { [self] snapshot in
        notices.post(.isDemo)
        snapshots.put(snapshot)
      }, observer: { self.observer($0) })
    state.withLock { $0.household = household }
  }

  /// The driver whose device is on the screen.
  var driver: ReplicaDriver? {
    state.withLock { state in state.household.map { $0.devices[state.watched].driver } ?? state.driver }
  }

  /// Sends a command to the driver; one that comes in the first milliseconds waits for it.
  func send(_ command: ReplicaDriver.Command) {
    if let driver { return driver.send(command) }
    state.withLock { $0.early.append(command) }
  }

  // MARK: Intents

  func perform(_ intent: Intent) {
    switch intent {
    case .activateCrisis(let level, let source): raise(level, source)
    case .tellContacts(let activations): tellContacts(of: Set(activations))
    case .crisisHistory: slowly { try self.showHistory() }
    case .crisisShown(let activation): if let id = OperationID(name: activation) { send(.shown(id)) }
    case .time(let operation, let nanoseconds): send(.time(operation, nanoseconds: nanoseconds))
    case .acknowledgeCrisis: crisis { actions in _ = try actions.acknowledgeCrisis() }
    case .resolveCrisis(let words): resolve(words)
    case .takeBackCrisis(let words): takeBack(words)
    case .sync: send(.sync)
    case .startPractice(let type): send(.perform { _ = try $0.startSession(type) })
    case .handOff(let session, let device):
      if let id = RecordID(session), let target = DeviceID(device) { send(.offer(id, to: target)) }
    case .save(let intent): save(intent)
    case .add, .editPlan, .remove, .resolve, .resolveBy, .resolveWith, .resolveAll, .saveProgress:
      if let write = write(for: intent) { send(.perform(write)) }
    case .ask(let names, let person, let record, let field): ask(names, person, record, field)
    case .look(let record, let field): if let id = RecordID(record) { send(.look(id, field: field)) }
    case .invite: invite()
    case .admit: state.withLock { $0.invitation.answer = .admit }
    case .cancelInvitation: state.withLock { $0.invitation.answer = .cancel }
    case .start(let name): slowly { try self.start(name) }
    case .confirmStart(let isConfirmed): slowly { try self.finishStart(isConfirmed) }
    case .join(let code, let name, let relay): slowly { try self.join(code, name, relay) }
    case .reopen: slowly { self.reopen() }
    case .unlock(let passphrase): slowly { self.reopen(with: passphrase) }
    case .demo: slowly { try self.startDemo(devices: 4, seed: 1, history: 0, isPaused: false) }
    case .network(let name): network(name)
    case .watch(let step): watchNext(step)
    case .suspend: driver?.suspend()
    case .resumed: driver?.resume()
    case .quit: break
    }
  }

  func ask(_ names: [String], _ person: String, _ record: String, _ field: String) {
    slowly { [self] in
      guard let id = RecordID(record), let store = state.withLock({ $0.household == nil ? $0.store : nil }) else {
        throw InputError.invalid("Nobody can be reached from the demo. Nobody was asked.", remedy: "Try it with an account of your own.")
      }
      let reviewers = try Actions(store).ask(names, as: person, about: id, field: field, relay: try location.openRelay(store))
      driver?.send(.noticeCommit)
      notices.post(.dialog(.note(title: "Pass this on", text: ConflictsCommand.invitation(reviewers, relay: try location.relayLocation(store)))))
    }
  }

  func slowly(_ body: @escaping @Sendable () throws -> Void) {
    queue.async { [self] in
      do { try body() } catch {
        let actionable = Output.actionable(error)
        notices.post(.dialog(.note(title: "That did not work", text: CellText.wrap("\(actionable.summary) \(actionable.remedy)", 64) + ["", actionable.code])))
      }
    }
  }

  // MARK: The demo

  func watchNext(_ step: Int) {
    let driver = state.withLock { state in
      guard let household = state.household else { return state.driver }
      state.watched = (state.watched + step) % household.devices.count
      (state.latest, state.followed) = (nil, nil)
      return household.devices[state.watched].driver
    }
    driver?.send(.publish)
    tellNetwork()
  }

  func network(_ name: String) {
    let (household, watched) = state.withLock { ($0.household, $0.watched) }
    guard let household else { return }
    let relay = household.devices[watched].relay
    switch name {
    case "partition": relay.condition.isPartitioned.toggle()
    case "loss": relay.condition.lostPermille = relay.condition.lostPermille == 0 ? 330 : 0
    case "delay": relay.condition.delay = relay.condition.delay == 0 ? 1_500 : 0
    default: household.pauseLife(!household.isLifePaused)
    }
    // Whoever was cut off should not wait for the next attempt.
    if name == "partition", !relay.condition.isPartitioned { household.devices[watched].driver.send(.sync) }
    tellNetwork()
  }

  func tellNetwork() {
    let (household, watched) = state.withLock { ($0.household, $0.watched) }
    guard let household else { return }
    let words = [household.devices[watched].relay.condition.description, household.isLifePaused ? "at rest" : ""]
    notices.post(.network(words.filter { !$0.isEmpty }.joined(separator: ", ")))
  }
}
