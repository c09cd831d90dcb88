import CSystem
import Causality
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
  private struct State: Sendable {
    var store: Store?
    var driver: ReplicaDriver?
    var latest: Snapshot?
    var household: DemoHousehold?
    /// Takes a crisis to the relay, whatever the driver is doing.
    var courier: Courier?
    /// The device of the household that is looked at.
    var watched = 0
    var invitation: InvitationState = .none
    /// What was asked for before the driver was there.
    var early: [ReplicaDriver.Command] = []
  }
  private enum InvitationState: Sendable { case none, running, admit, cancel }

  private let location: Location
  private let themeName: String
  private let signals: Int32
  private let wake = fm_wake_open()
  private let snapshots: LatestValue<Snapshot>
  private let notices: Notices
  private let state = Mutex(State())
  private let queue = DispatchQueue(label: "dashboard.slow", attributes: .concurrent)
  private let crisisQueue = DispatchQueue(label: "crisis", qos: .userInteractive)

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
      let first = try SnapshotBuilder.fromStore(store, relay: try location.relayLocation().description)
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
  private func show(
    _ screen: Screen, isDemo: Bool = false, problem: (any Error)? = nil, begin: (@Sendable () throws -> Void)? = nil
  ) {
    var first = DashboardState(size: screen.size, glyphs: screen.glyphs, themeName: themeName)
    first.crisisLines = CrisisReport.screenLines()
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

  private func observer(_ index: Int) -> ReplicaDriver.Observer {
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
    return observer
  }

  private func drive(_ store: Store) throws {
    let name = try location.relayLocation().description
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

  private func startDemo(devices: Int, seed: UInt64, history: Int, isPaused: Bool) throws {
    let household = try DemoHousehold(
      deviceCount: devices, seed: seed, history: history, isPaused: isPaused,
      opened: { [self] snapshot in
        notices.post(.isDemo)
        snapshots.put(snapshot)
      }, observer: { self.observer($0) })
    state.withLock { $0.household = household }
  }

  /// The driver whose device is on the screen.
  private var driver: ReplicaDriver? {
    state.withLock { state in state.household.map { $0.devices[state.watched].driver } ?? state.driver }
  }

  /// Sends a command to the driver; one that comes in the first milliseconds waits for it.
  private func send(_ command: ReplicaDriver.Command) {
    if let driver { return driver.send(command) }
    state.withLock { $0.early.append(command) }
  }

  // MARK: Intents

  private func perform(_ intent: Intent) {
    switch intent {
    case .activateCrisis(let level, let source): raise(level, source)
    case .tellContacts: tellContacts()
    case .crisisHistory: slowly { try self.showHistory() }
    case .crisisShown(let activation): if let id = CrisisState.activation(named: activation) { send(.shown(id)) }
    case .time(let operation, let nanoseconds): send(.time(operation, nanoseconds: nanoseconds))
    case .acknowledgeCrisis: crisis { actions in _ = try actions.acknowledgeCrisis() }
    case .resolveCrisis: crisis { actions in _ = try actions.resolveCrisis() }
    case .sync: send(.sync)
    case .startPractice(let type): send(.perform { _ = try $0.startSession(type) })
    case .saveProgress(let session, let elapsed, let phase): save(session, elapsed, phase)
    case .handOff(let session, let device):
      if let id = RecordID(session), let target = DeviceID(device) { send(.offer(id, to: target)) }
    case .add(let kind, let assignments): send(.perform { _ = try $0.add(kind: kind, assignments) })
    case .editPlan(let assignments): send(.perform { try $0.editPlan(assignments) })
    case .remove(let record): if let id = RecordID(record) { send(.perform { try $0.remove(id) }) }
    case .resolve(let record, let field, let version):
      if let id = RecordID(record) { send(.perform { try $0.resolve(id, field: field, keeping: version) }) }
    case .resolveBy(let method, let record, let field):
      if let id = RecordID(record) { send(.perform { try $0.resolve(id, field: field, by: method) }) }
    case .ask(let names, let person, let record, let field): ask(names, person, record, field)
    case .look(let record, let field): if let id = RecordID(record) { send(.look(id, field: field)) }
    case .resolveWith(let record, let field, let text):
      if let id = RecordID(record) { send(.perform { try $0.resolve(id, field: field, with: text) }) }
    case .resolveAll(let type): send(.perform { _ = try $0.resolveAll(type: type) })
    case .invite: invite()
    case .admit: state.withLock { $0.invitation = .admit }
    case .cancelInvitation: state.withLock { $0.invitation = .cancel }
    case .start(let name): slowly { try self.start(name) }
    case .join(let code, let name): slowly { try self.join(code, name) }
    case .demo: slowly { try self.startDemo(devices: 4, seed: 1, history: 0, isPaused: false) }
    case .network(let name): network(name)
    case .watch(let step): watchNext(step)
    case .suspend, .quit: break
    }
  }

  /// Neither the driver nor a relay that hangs can hold this up: a queue of its own, a courier of its own.
  private func crisis(_ body: @escaping @Sendable (Actions) throws -> Void) {
    crisisQueue.async { [self] in
      let (store, courier, household, watched) = state.withLock { ($0.store, $0.courier, $0.household, $0.watched) }
      guard let store = household?.devices[watched].store ?? store else { return send(.crisis(body)) }
      do {
        try body(Actions(store, courier: household == nil ? courier : nil))
        // It shares our connection, so that without a ping nothing would tell it of the commit.
        driver?.send(.perform { _ in })
      } catch {
        let actionable = Output.actionable(error)
        notices.post(.tell("\(actionable.summary) \(actionable.remedy) (\(actionable.code))"))
      }
    }
  }

  /// Raised: saved and on its way before anything else is even looked at; timed from the key.
  private func raise(_ level: CrisisLevel, _ source: String) {
    let (pressed, wall) = (SystemClock.now.uptime, SystemClock.wallMicroseconds)
    crisis { [self] actions in
      let change = try actions.activateCrisis(level, source: source)
      send(.noticeCrisis(change.operation.id, pressed: pressed))
      send(.time(.crisisDurable, nanoseconds: (change.saved > wall ? change.saved - wall : 0) * 1_000))
    }
  }

  private func tellContacts() {
    let relay = state.withLock { state in state.household.map { $0.devices[state.watched].relay as any Relay } }
    slowly { [self] in
      let (store, household, watched) = state.withLock { ($0.store, $0.household, $0.watched) }
      guard let store = household?.devices[watched].store ?? store else { return }
      _ = try Actions(store).tellNow(try relay ?? location.openRelay(store))
      driver?.send(.perform { _ in })
    }
  }

  private func showHistory() throws {
    let (store, household, watched) = state.withLock { ($0.store, $0.household, $0.watched) }
    guard let store = household?.devices[watched].store ?? store else { return }
    let (history, names) = try CrisisReport.history(of: store)
    notices.post(.dialog(.note(title: "The last \(CrisisHistory.days) days", text: CrisisReport.lines(history, names).flatMap { CellText.wrap(CellText.clean($0), 70) })))
  }

  private func ask(_ names: [String], _ person: String, _ record: String, _ field: String) {
    slowly { [self] in
      guard let id = RecordID(record), let store = state.withLock({ $0.household == nil ? $0.store : nil }) else {
        throw InputError.invalid("Nobody can be reached from the demo. Nobody was asked.", remedy: "Try it with an account of your own.")
      }
      let reviewers = try Actions(store).ask(names, as: person, about: id, field: field, relay: try location.openRelay(store))
      driver?.send(.perform { _ in })
      notices.post(.dialog(.note(title: "Pass this on", text: ConflictsCommand.invitation(reviewers, relay: try location.relayLocation()))))
    }
  }

  private func save(_ session: String, _ elapsed: Double, _ phase: String?) {
    guard let id = RecordID(session) else { return }
    send(.perform { _ = try $0.progress(id, to: elapsed, phase: phase.flatMap(SessionState.Phase.init(rawValue:))) })
  }

  private func slowly(_ body: @escaping @Sendable () throws -> Void) {
    queue.async { [self] in
      do { try body() } catch {
        let actionable = Output.actionable(error)
        notices.post(.dialog(.note(title: "That did not work", text: CellText.wrap("\(actionable.summary) \(actionable.remedy)", 64) + ["", actionable.code])))
      }
    }
  }

  // MARK: Newcomers

  private func start(_ name: String) throws {
    let name = try DeviceName.checked(name)
    let (store, code) = try AccountSetup.create(at: location.homeFolder, deviceName: name, passphrase: nil)
    try location.relayLocation().remember(in: location.homeFolder)
    try drive(store)
    let words = code.words.split(separator: " ").chunks(of: 6).map { "  " + $0.joined(separator: " ") }
    notices.post(
      .dialog(
        .note(
          title: "Your recovery code",
          text: ["Write these 24 words on paper. They are shown once and kept nowhere;", "they are the only way back when every device is lost.", ""]
            + words + [
              "", "This store opens without a passphrase: who can read its files can",
              "read it. With one: `fullmind init --device NAME` instead.", "", "Enter goes on.",
            ])))
  }

  private func join(_ code: String, _ name: String) throws {
    let name = try DeviceName.checked(name)
    let relayLocation = try location.relayLocation()
    let relay = try FolderRelay(path: relayLocation.folder, account: [], ownTag: nil)
    var joining = try Joining(code: code, deviceName: name, relay: relay)
    while true {
      switch try joining.step() {
      case .waiting: Thread.sleep(forTimeInterval: mailboxGap)
      case .compare(let digits, let admittedBy):
        notices.post(
          .dialog(
            .note(
              title: "Compare",
              text: ["“\(CellText.clean(admittedBy))” must show the same digits:", "", "    \(digits)", "", "Say yes there only if they are the same."])))
      case .admitted(let ring, let members):
        let store = try Store.create(at: location.homeFolder, ring: ring, membership: members.log, passphrase: nil)
        try relayLocation.remember(in: location.homeFolder)
        try drive(store)
        return notices.post(.tell("This device belongs to the account now."))
      }
    }
  }

  private func invite() {
    guard let driver, state.withLock({ $0.household == nil }) else {
      return notices.post(.tell("In the demo nobody can be invited."))
    }
    state.withLock { $0.invitation = .running }
    slowly { [self] in
      let store = driver.store
      let relay = try location.openRelay(store)
      let performer = try EffectPerformer(store: store, relay: relay, ring: store.ring, incarnation: store.incarnation)
      var invitation = try Invitation(store: store, relay: relay, members: performer.members)
      let code = invitation.code.description
      notices.post(.dialog(.invitation(code: code, digits: nil, name: "")))
      while true {
        switch state.withLock({ $0.invitation }) {
        case .admit:
          driver.send(.admit(invitation))
          return notices.post(.tell("The new device belongs to the account now."))
        case .cancel:
          invitation.cancel()
          return notices.post(.tell("Cancelled. No device was added."))
        case .none, .running: break
        }
        do {
          if case .compare(let digits, let name) = try invitation.step() {
            notices.post(.dialog(.invitation(code: code, digits: digits, name: name)))
          }
        } catch {
          notices.post(.closeInvitation)
          throw error
        }
        Thread.sleep(forTimeInterval: mailboxGap)
      }
    }
  }

  // MARK: The demo

  private func watchNext(_ step: Int) {
    let driver = state.withLock { state in
      guard let household = state.household else { return state.driver }
      state.watched = (state.watched + step) % household.devices.count
      state.latest = nil
      return household.devices[state.watched].driver
    }
    driver?.send(.publish)
    tellNetwork()
  }

  private func network(_ name: String) {
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

  private func tellNetwork() {
    let (household, watched) = state.withLock { ($0.household, $0.watched) }
    guard let household else { return }
    let words = [household.devices[watched].relay.condition.description, household.isLifePaused ? "at rest" : ""]
    notices.post(.network(words.filter { !$0.isEmpty }.joined(separator: ", ")))
  }
}
