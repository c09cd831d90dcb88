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
    var raisers: [CrisisRaiser] = []
    /// The device of the household that is looked at.
    var watched = 0
    var invitation: InvitationState = .none
    /// What was asked for before the driver was there.
    var early: [ReplicaDriver.Command] = []
    /// An account whose recovery code is on the screen.
    var prepared: AccountSetup.Prepared?
  }
  enum InvitationState: Sendable { case none, running, admit, cancel }

  let location: Location
  let themeName: String
  let signals: Int32
  let wake = fm_wake_open()
  let snapshots: LatestValue<Snapshot>
  let notices: Notices
  let state = Mutex(State())
  let queue = DispatchQueue(label: "dashboard.slow", attributes: .concurrent)
  let crisisQueue = DispatchQueue(label: "crisis", qos: .userInteractive)

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
    guard let store else { return show(screen, problem: problem) }
    do {
      // The first picture comes from the store alone: it waits neither for the relay nor for a thread.
      let first = try SnapshotBuilder.fromStore(store, relay: try location.relayLocation(store).description)
      state.withLock { ($0.store, $0.latest) = (store, first) }
    } catch {
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
    if let problem {
      let actionable = Output.actionable(problem)
      first.problem = CellText.wrap("\(actionable.summary) \(actionable.remedy)", 60) + ["", actionable.code]
      first.planLines = PlanCard.lines(location.homeFolder)
    }
    if let latest = state.withLock({ $0.latest }) { first.update(latest) }
    var loop = DashboardLoop(
      screen: screen, state: first, wake: wake, signals: signals, snapshots: snapshots, notices: notices,
      perform: { [self] in perform($0) })
    loop.run { if let begin { slowly(begin) } }
    let (driver, household) = state.withLock { ($0.driver, $0.household) }
    household?.end()
    // Says goodbye to the other devices; the terminal is given back already.
    driver?.stop(waitingAtMost: 1_000)
  }

  // MARK: Starting

  func observer(_ index: Int) -> ReplicaDriver.Observer {
    var observer = ReplicaDriver.Observer()
    observer.snapshot = { [self] snapshot in
      let isWatched = state.withLock { state in
        if state.watched == index { state.latest = snapshot }
        return state.watched == index
      }
      if isWatched { snapshots.put(snapshot) }
    }
    observer.failed = { [self] error in
      let actionable = Output.actionable(error)
      notices.post(.tell("\(actionable.summary) \(actionable.remedy) (\(actionable.code))"))
    }
    observer.ended = { [self] error in
      let actionable = Output.actionable(error)
      notices.post(.problem(CellText.wrap("\(actionable.summary) \(actionable.remedy)", 60) + ["", actionable.code]))
    }
    return observer
  }

  func drive(_ store: Store) throws {
    let name = try location.relayLocation(store).description
    let driver = try ReplicaDriver(
      store: store, relay: try location.openRelay(store), relayName: name, tier: .selfHosted, observer: observer(0))
    let location = location
    let courier = Courier { try location.openRelay(store) }
    let early = state.withLock { state in
      (state.store, state.driver, state.courier) = (store, driver, courier)
      defer { state.early = [] }
      return state.early
    }
    for command in early { driver.send(command) }
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
    case .tellContacts: tellContacts()
    case .crisisHistory: slowly { try self.showHistory() }
    case .crisisShown(let activation): if let id = OperationID(name: activation) { send(.shown(id)) }
    case .time(let operation, let nanoseconds): send(.time(operation, nanoseconds: nanoseconds))
    case .acknowledgeCrisis: crisis { actions in _ = try actions.acknowledgeCrisis() }
    case .resolveCrisis(let words): resolve(words)
    case .sync: send(.sync)
    case .startPractice(let type): send(.perform { _ = try $0.startSession(type) })
    case .saveProgress(let session, let elapsed, let phase): save(session, elapsed, phase)
    case .handOff(let session, let device):
      if let id = RecordID(session), let target = DeviceID(device) { send(.offer(id, to: target)) }
    case .add(let kind, let assignments): send(.perform { _ = try $0.add(kind: kind, assignments) })
    case .editPlan(let assignments): send(.perform { try $0.editPlan(assignments) })
    case .remove(let record): if let id = RecordID(record) { send(.perform { try $0.remove(id) }) }
    case .resolve(let record, let field, let version):
      if let id = RecordID(record) { settle(id, field) { try $0.resolve(id, field: field, keeping: version) } }
    case .resolveBy(let method, let record, let field):
      if let id = RecordID(record) { settle(id, field) { try $0.resolve(id, field: field, by: method) } }
    case .ask(let names, let person, let record, let field): ask(names, person, record, field)
    case .look(let record, let field): if let id = RecordID(record) { send(.look(id, field: field)) }
    case .resolveWith(let record, let field, let text):
      if let id = RecordID(record) { settle(id, field) { try $0.resolve(id, field: field, with: text) } }
    case .resolveAll(let type): send(.perform { _ = try $0.resolveAll(type: type) })
    case .invite: invite()
    case .admit: state.withLock { $0.invitation = .admit }
    case .cancelInvitation: state.withLock { $0.invitation = .cancel }
    case .start(let name): slowly { try self.start(name) }
    case .confirmStart(let isConfirmed): slowly { try self.finishStart(isConfirmed) }
    case .join(let code, let name, let relay): slowly { try self.join(code, name, relay) }
    case .demo: slowly { try self.startDemo(devices: 4, seed: 1, history: 0, isPaused: false) }
    case .network(let name): network(name)
    case .watch(let step): watchNext(step)
    case .suspend: driver?.suspend()
    case .resumed: driver?.resume()
    case .quit: break
    }
  }

  /// Settles what was written apart. An answer that calls for help offers it, whichever way it came to be there.
  func settle(_ id: RecordID, _ field: String, _ body: @escaping @Sendable (Actions) throws -> Void) {
    let notices = notices
    send(.perform { actions in
      try body(actions)
      guard RecordState.isAnswer(field), let offer = try actions.offer(of: id) else { return }
      notices.post(.tell("Because \(offer.reason.text): ! shows help lines and tells your devices."))
    })
  }

  /// Neither the driver nor a relay that hangs can hold this up: a queue of its own, a courier of its own.
  func crisis(_ body: @escaping @Sendable (Actions) throws -> Void) {
    crisisQueue.async { [self] in
      let (store, courier, household, watched) = state.withLock { ($0.store, $0.courier, $0.household, $0.watched) }
      guard let store = household?.devices[watched].store ?? store else { return send(.crisis(body)) }
      do {
        try body(Actions(store, courier: household == nil ? courier : nil))
        // It shares our connection, so that without a ping nothing would tell it of the commit.
        driver?.send(.noticeCommit)
      } catch {
        let actionable = Output.actionable(error)
        notices.post(.tell("\(actionable.summary) \(actionable.remedy) (\(actionable.code))"))
      }
    }
  }

  /// Raises and resolves for the device that is looked at, whether its store can be opened or not.
  func raiser(_ update: @escaping @Sendable (CrisisDelivery) -> Void) -> CrisisRaiser {
    let (store, household, watched) = state.withLock { ($0.store, $0.household, $0.watched) }
    if let device = household?.devices[watched] {
      return CrisisRaiser(home: device.store.home, store: device.store, relay: { device.relay }, update: update)
    }
    let location = location
    return CrisisRaiser(home: location.homeFolder, store: store, relay: {
      let named = (try? location.namedRelay()) ?? nil
      if let journal = EmergencyJournal(location.homeFolder) { return journal.relay(at: named) }
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
    state.withLock { $0.raisers.append(raiser) }
    raiser.raise(level, source: source)
  }

  /// - Parameter words: What is said once it is so.
  func resolve(_ words: String) {
    crisisQueue.async { [self] in
      let raiser = raiser { _ in }
      let (raised, hasLanded) = state.withLock { state in
        // What was raised and is still being tried is not tried any more.
        for old in state.raisers { old.end() }
        let hasLanded = state.raisers.contains { $0.delivery.disk.isDone || $0.delivery.relay.isDone }
        defer { state.raisers = [raiser] }
        return (state.raisers.flatMap(\.frames), hasLanded)
      }
      do {
        switch try raiser.resolve(raised: raised) {
        case .nothing, .nothingHere: notices.post(.resolved(nil))
        case .resolved: notices.post(.resolved(words))
        case .takenBack:
          let delivery = raiser.outcome(within: 900)
          notices.post(.resolved(
            delivery.disk.isDone || delivery.relay.isDone
              ? "\(words) What was raised here is taken back; other devices may show another one."
              : hasLanded
                ? "It could not be taken back yet: neither the disk nor the relay takes it. It is tried again."
                : "\(words) It had reached nobody: neither the disk nor the relay can be used now."))
        }
        driver?.send(.noticeCommit)
      } catch {
        let actionable = Output.actionable(error)
        notices.post(.tell("It could not be taken back. \(actionable.summary) \(actionable.remedy) (\(actionable.code))"))
      }
    }
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

  func save(_ session: String, _ elapsed: Double, _ phase: String?) {
    guard let id = RecordID(session) else { return }
    send(.perform { _ = try $0.progress(id, to: elapsed, phase: phase.flatMap(SessionState.Phase.init(rawValue:))) })
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
      state.latest = nil
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
