import Causality
import Crisis
import Stores
import Therapy

/// Everything the dashboard remembers, as a value: events change it, and a frame is drawn from it.
package struct DashboardState: Sendable {
  package var size: CellSize
  package var glyphs: Glyphs
  package var themeName: String
  /// The latest snapshot, also while the picture is held.
  package private(set) var snapshot: Snapshot?
  package var focus: Panel = .devices
  package var isZoomed = false
  package var selections: [Panel: Int] = [:]
  package var dialogs: [Dialog] = []
  /// What lists are narrowed to, by panel.
  package var filters: [Panel: String] = [:]
  package var isBlank = false
  package var isDemo = false
  /// What is cut or slowed in the demo, in words.
  package var network = ""
  /// Told in the key bar for a few seconds.
  package internal(set) var message: (text: String, until: UInt64)?
  package private(set) var now = Moment(wall: 0, uptime: 0)
  package var isFinished = false
  /// Lines of the crisis screen: help lines and what can be done right now.
  package var crisisLines: [String] = []
  /// The person's plan, as it lies beside a store that cannot be opened.
  package var planLines: [String] = []
  /// Lines of the crisis screen above its upper edge, where it is longer than the terminal.
  package var crisisOffset = 0
  /// Why the store cannot be used; empty when nothing is wrong.
  package private(set) var problem: [String] = []
  /// Where a store would be.
  package var place = ""
  /// The emergency journal holds a crisis that was raised here; asked where there is no store to say so.
  package var isInJournal = false
  /// A crisis was active when the store could be read last.
  package internal(set) var wasActive = false
  /// What was raised here is over, as was learnt while there was no store.
  var isOverHere = false
  /// How often the person raised a crisis, took one back or said that it is over.
  package internal(set) var decisions = 0
  /// Asked with every tick where there may be something to learn; waits for nobody.
  package var lookBeside: (@Sendable () -> Beside?)?
  var lastLook = 0
  /// What is being saved, in order: what was typed is kept until the store has it.
  private var saving: [(dialog: Dialog?, words: String)] = []
  /// What was left half-written, by what it is about.
  package internal(set) var unfinished: [String: [Dialog]] = [:]
  /// The relay that was named when the program was started.
  package var chosenRelay = ""
  package var traffic: [UInt64] = []
  /// How far the crisis has come that was raised at this screen; `nil` where none was.
  package internal(set) var delivery: CrisisDelivery?
  var crisisRaised: UInt64?
  /// That it be over was asked for last, and is not answered yet.
  var resolving: Resolving?
  /// Why that is not so yet, for as long as it is tried; `nil` while nothing is known.
  var goesOn: String?
  /// The last activation that was known when the person said that the contacts are told now.
  var saidNow: String?
  /// Why the store takes nothing now, and how that was said.
  var held: (obstacle: String, words: String)?
  /// A crisis was raised after an earlier one was to end.
  var isRaisedSince = false
  /// Activations for which the crisis screen has come by itself since none was active: one is shown once, also when a
  /// later one is taken back.
  private var cries = Set<String>()
  /// Uptime at which it was said what leaving would leave open.
  private var askedToQuit: UInt64?
  /// Moments of keys whose answers on the screen are to be timed.
  var untimed: [GuaranteedOperation: UInt64] = [:]
  private var activationShown = ""
  private(set) var past: [Snapshot] = []
  /// Steps back from the latest kept snapshot; `nil` while the picture is live.
  package internal(set) var pausedAt: Int?
  private var lastTraffic: UInt64 = 0
  private var lastSaved: UInt64 = 0
  private var knownSession: RecordID?

  /// How long a crisis can be taken back. (DASHBOARD.md.)
  private static let undoNanoseconds: UInt64 = 10_000_000_000
  /// How long a question whether to leave holds.
  private static let quitNanoseconds: UInt64 = 8_000_000_000
  /// Snapshots kept to scroll back through: an hour, one every ten seconds.
  private static let keptSnapshots = 360

  package init(size: CellSize, glyphs: Glyphs, themeName: String) {
    (self.size, self.glyphs, self.themeName) = (size, glyphs, themeName)
  }

  // MARK: What is asked of it

  /// The snapshot that is drawn: the latest one, or the one walked back to.
  package var shown: Snapshot? {
    guard let pausedAt, !past.isEmpty else { return snapshot }
    return past[max(0, past.count - 1 - pausedAt)]
  }

  package var canUndoCrisis: Bool {
    // Where nothing could be sent there is nothing to take back.
    delivery?.word != .noWay && crisisRaised.map { now.uptime - $0 < Self.undoNanoseconds } ?? false
  }

  /// Seconds left to take a crisis back.
  package var undoSeconds: Int {
    crisisRaised.map { Int((Self.undoNanoseconds - min(Self.undoNanoseconds, now.uptime - $0) + 999_999_999) / 1_000_000_000) } ?? 0
  }

  /// The session that runs on this device.
  package var ownSession: Snapshot.Session? {
    snapshot?.sessions.first { $0.isOwn && $0.phase == "running" && $0.seconds > 0 }
  }

  /// The selected session, when it was paused here and can be taken up again. (DOMAIN.md, *Practices*.)
  package var pausedSession: Snapshot.Session? {
    guard let sessions = snapshot?.sessions, sessions.indices.contains(selected(.sessions)) else { return nil }
    let session = sessions[selected(.sessions)]
    let isRecent = now.wall < session.written + SessionResumption.life
    let isWorthIt = session.elapsed >= session.seconds * SessionResumption.leastProgress
    let isFresh = session.resumed < SessionResumption.most
    return session.isOwn && session.phase == "paused" && session.seconds > 0 && isRecent && isWorthIt && isFresh ? session : nil
  }

  /// How far the own session is at this very moment.
  package var ownElapsed: Double {
    guard let session = ownSession, let snapshot else { return 0 }
    let since = now.uptime > snapshot.moment.uptime ? Double(now.uptime - snapshot.moment.uptime) / 1e9 : 0
    return min(session.seconds, session.elapsed + since)
  }

  package var canOpen: Bool {
    guard let snapshot else { return false }
    switch focus {
    case .sessions: return ownSession != nil || pausedSession != nil
    case .crisis: return true
    default: return focus.count(in: snapshot, filters[focus] ?? "") > 0
    }
  }

  package func selected(_ panel: Panel) -> Int {
    let count = shown.map { panel.count(in: $0, filters[panel] ?? "") } ?? 0
    return max(0, min(selections[panel] ?? 0, count - 1))
  }

  /// Milliseconds until the picture changes by itself; `nil` when only an event changes it.
  package var nextTick: Int? {
    if isBlank { return nil }
    if case .practice? = dialogs.last { return 125 }
    return pausedAt == nil ? 1_000 : nil
  }

  /// Whether somebody is still to be told, so that Enter says *now*.
  package var canTellNow: Bool {
    snapshot.map { $0.crisis.tellings.contains(where: \.state.isDue) && $0.crisis.latest != saidNow } ?? false
  }

  /// Milliseconds that have passed since the snapshot was taken.
  package var sinceSnapshot: UInt64 {
    guard let snapshot, now.uptime > snapshot.moment.uptime else { return 0 }
    return (now.uptime - snapshot.moment.uptime) / 1_000_000
  }

  // MARK: What happens to it

  /// Long enough to be read, or until it is known how it went on.
  package mutating func tell(_ text: String, atLeast nanoseconds: UInt64 = 0) {
    message = (text, now.uptime + max(nanoseconds, 4_000_000_000 + UInt64(text.count) * 40_000_000))
  }

  /// Asks for something to be written.
  ///
  /// - Parameters:
  ///   - dialog: What comes back when it could not be saved.
  ///   - words: What is said once it is so.
  mutating func save(_ intent: Intent, from dialog: Dialog?, saying words: String) -> [Intent] {
    saving.append((dialog, words))
    tell("Saving…")
    return [.save(intent)]
  }

  /// What came of the oldest of what is being saved.
  ///
  /// - Parameter problem: Why it was not saved; `nil` when it was.
  package mutating func saved(problem: String?) {
    guard !saving.isEmpty else { return }
    let (dialog, words) = saving.removeFirst()
    guard let problem else { return tell(words) }
    tell("Not saved. \(problem)")
    guard var dialog else { return }
    if case .form(var form) = dialog {
      form.problem = "Not saved; what you wrote is still here. \(problem)"
      dialog = .form(form)
    }
    if case .plan = dialog { dialogs.removeAll { if case .plan = $0 { true } else { false } } }
    // Never above help, nor under the fingers of somebody who does something else by now.
    let top = max(0, dialogs.count - 1)
    dialogs.insert(dialog, at: min(dialogs.firstIndex(of: .crisis) ?? top, top))
  }

  /// The store cannot be used: nothing that was known of it is shown as if it were so.
  package mutating func lose(_ problem: [String]) {
    self.problem = problem
    if message?.text == Self.opening { message = nil }
    // What lies over the panels stays, and says why there is nothing beneath it.
    if snapshot != nil, dialogs.contains(where: { $0 != .crisis }) { tell("Your store cannot be used now; what you type is still here, and saving it opens the store again if it can be. \(problem.last ?? "")") }
    wasActive = snapshot.map(\.crisis.isActive) ?? wasActive
    (snapshot, past, pausedAt, traffic) = (nil, [], nil, [])
    if needsPassphrase { askForPassphrase() } else { closeUnlock() }
  }

  /// The store was opened (again).
  package mutating func found() {
    (problem, isInJournal, wasActive, isOverHere) = ([], false, false, false)
    closeUnlock()
    if message?.text == Self.opening { message = nil }
  }

  /// Closes the field for the passphrase, unless somebody types in it: the rest would be taken for commands.
  private mutating func closeUnlock() { dialogs.removeAll { $0.isUnlock && !$0.hasWords } }

  /// Said until it is known what came of it.
  static let opening = "Trying to open it…"

  /// Time has passed.
  package mutating func tick(_ moment: Moment) -> [Intent] {
    now = moment
    if let beside = lookBeside?() { learn(beside) }
    if let message, message.until < moment.uptime { self.message = nil }
    return keepSession()
  }

  /// A running session is saved every five seconds, and when it is done.
  private mutating func keepSession() -> [Intent] {
    guard let session = ownSession else { return [] }
    let elapsed = ownElapsed
    let isDone = elapsed >= session.seconds
    guard isDone || now.uptime >= lastSaved + 5_000_000_000 else { return [] }
    lastSaved = now.uptime
    if isDone, case .practice? = dialogs.last {
      dialogs.removeLast()
      tell("Done. \(Int(session.seconds)) seconds for yourself.")
    }
    return [.saveProgress(session: session.id.description, elapsed: elapsed, phase: isDone ? "finished" : nil)]
  }

  package mutating func update(_ new: Snapshot) {
    let hadCrisis = snapshot?.crisis.isActive ?? false
    snapshot = new
    if new.moment.uptime > now.uptime { now = new.moment }
    let total = new.sync.bytesUp + new.sync.bytesDown
    traffic.append(total >= lastTraffic ? total - lastTraffic : 0)
    if traffic.count > 240 { traffic.removeFirst() }
    lastTraffic = total
    keepForLater(new)
    // Each cry is a new one, also while an earlier one is still open, and no screen stays dark for it.
    if !new.crisis.isActive { cries = [] }
    if new.crisis.isActive, cries.insert(new.crisis.latest).inserted {
      (isBlank, crisisOffset) = (false, 0)
      // What was told before it would stand where help does.
      if !dialogs.contains(.crisis) {
        message = nil
        dialogs.append(.crisis)
      }
    }
    if hadCrisis, !new.crisis.isActive {
      (crisisRaised, delivery, saidNow, goesOn) = (nil, nil, nil, nil)
      dialogs.removeAll { $0 == .crisis || $0 == .confirmResolve }
    }
    followSession()
  }

  private mutating func keepForLater(_ new: Snapshot) {
    if let last = past.last, new.moment.uptime < last.moment.uptime + 10_000_000_000 { return }
    past.append(new)
    if past.count > Self.keptSnapshots { past.removeFirst() }
  }

  /// A session that comes from another device goes on here; one that leaves closes its guide.
  private mutating func followSession() {
    let current = ownSession
    if let current, current.id != knownSession {
      lastSaved = now.uptime
      if !dialogs.contains(.practice), !dialogs.contains(.crisis), !isTyping { dialogs.append(.practice) }
    }
    if current == nil, knownSession != nil {
      dialogs.removeAll { $0 == .practice }
      if let moved = snapshot?.sessions.first(where: { $0.id == knownSession && !$0.isOwn }) {
        tell("The session goes on on \(CellText.clean(moved.owner)).")
      }
    }
    knownSession = current?.id
  }

  /// The picture is on the screen: says what is to be known of that.
  package mutating func didDraw(_ moment: Moment) -> [Intent] {
    var intents: [Intent] = untimed.sorted { $0.key.rawValue < $1.key.rawValue }
      .map { .time($0.key, nanoseconds: moment.uptime > $0.value ? moment.uptime - $0.value : 0) }
    untimed = [:]
    if dialogs.contains(.crisis), let activation = snapshot?.crisis.activation, !activation.isEmpty, activation != activationShown {
      activationShown = activation
      intents.append(.crisisShown(activation))
    }
    return intents
  }

  /// Help was offered because of an answer that was just given.
  mutating func didOffer() { untimed[.crisisProposal] = now.uptime }

  // MARK: Keys

  package mutating func press(_ key: Key) -> [Intent] {
    // Nobody types where nothing is to be seen.
    if key == Command.crisis.key, isBlank || !isTyping { return raiseCrisis() }
    if isBlank {
      isBlank = false
      return []
    }
    if key == Command.suspend.key { return [.suspend] }
    if key == .control("c") { return quit() }
    if let dialog = dialogs.last { return press(key, in: dialog) }
    return press(key, inPanels: ())
  }

  /// While text is typed `!` may be a part of it; ^X then raises the crisis, and so does `!` in an
  /// empty field: no passphrase begins with it.
  var isTyping: Bool {
    switch dialogs.last {
    case .form(let form): !form.fields[form.index].text.isEmpty
    case .plan(let editor): !(editor.typing ?? "").isEmpty
    case .conflict(let dialog): !(dialog.typing ?? "").isEmpty
    case .palette(let query, _): !query.isEmpty
    case .filter(let text): !text.isEmpty
    default: false
    }
  }

  /// What earlier questionnaires add.
  var screening: ScreeningContext { snapshot?.screening ?? ScreeningContext() }

  mutating func quit() -> [Intent] {
    if let open = leavesOpen, askedToQuit.map({ now.uptime > $0 + Self.quitNanoseconds }) ?? true {
      askedToQuit = now.uptime
      tell("\(open) The same key again leaves all the same.")
      return []
    }
    isFinished = true
    return [.quit]
  }

  /// What would not be done, or would be lost, if the program ended now.
  private var leavesOpen: String? {
    if !saving.isEmpty { return "What you wrote is not saved yet." }
    let waiting = snapshot?.crisis.tellings.filter(\.state.isDue).map { CellText.clean($0.name) } ?? []
    if snapshot?.crisis.isActive ?? false, !waiting.isEmpty { return "\(waiting.joined(separator: ", ")) \(waiting.count == 1 ? "has" : "have") not been told yet\(canTellNow ? "; Enter on the crisis screen tells now" : "")." }
    if let goesOn { return goesOn }
    if let leavesCrisisOpen { return leavesCrisisOpen }
    return unfinished.values.contains { !$0.isEmpty } ? "Something you began is not saved." : nil
  }

  private mutating func press(_ key: Key, inPanels: Void) -> [Intent] {
    if snapshot == nil, problem.isEmpty, let intents = welcome(key) { return intents }
    if snapshot == nil, !problem.isEmpty, key == .enter {
      if needsPassphrase {
        askForPassphrase()
        return []
      }
      tell(Self.opening)
      return [.reopen]
    }
    // Letters may be meant for the passphrase: those that stand in the key bar do what it says, and no others do anything.
    if snapshot == nil, needsPassphrase, case .character = key, !lockedCommands.contains(where: { $0.key == key }) { return [] }
    switch key {
    case .control("x"): return raiseCrisis()
    case .tab, .character("l"), .right: return pausedAt != nil && key == .right ? walk(-1) : moveFocus(1)
    case .backTab, .left: return pausedAt != nil && key == .left ? walk(1) : moveFocus(-1)
    case .down, .character("j"): return select(1)
    case .up, .character("k"): return select(-1)
    case .pageDown: return select(10)
    case .pageUp: return select(-10)
    case .home: return select(-.max / 2)
    case .end: return select(.max / 2)
    case .escape:
      isZoomed = false
      pausedAt = nil
      filters = [:]
      return []
    case .character(let digit) where digit.isNumber:
      if let number = digit.wholeNumberValue, let panel = Panel(rawValue: number - 1) {
        isZoomed = focus == panel && !isZoomed
        focus = panel
      }
      return []
    case .click(let row, let column): return click(row, column)
    case .wheel(_, _, let isUp): return select(isUp ? -1 : 1)
    default:
      guard let command = Command.allCases.first(where: { $0.key == key && (!$0.isForDemo || isDemo) }) else { return [] }
      return run(command)
    }
  }
}
