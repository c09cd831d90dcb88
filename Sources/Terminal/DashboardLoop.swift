import CSystem
import Causality
import Crisis
import Dashboard
import Foundation
import Stores
import Synchronization

/// Holds the newest value of something; older ones are dropped.
///
/// The bridge from the engine to the screen: the engine never waits for the screen, and the screen
/// never sees a queue grow.
package final class LatestValue<Value: Sendable>: Sendable {
  private let slot = Mutex<Value?>(nil)
  private let wake: Int32

  /// - Parameter wake: A descriptor of `fm_wake_open`.
  package init(waking wake: Int32) { self.wake = wake }

  /// Replaces the value and wakes the reader; any thread, never waits for the reader.
  package func put(_ value: Value) {
    slot.withLock { $0 = value }
    fm_wake_signal(wake)
  }

  /// Takes the value out; `nil` when nothing new has come since the last call.
  package func take() -> Value? {
    slot.withLock { slot in
      defer { slot = nil }
      return slot
    }
  }
}

/// News for the screen that are no snapshot: each is shown, none replaces another.
package final class Notices: Sendable {
  package enum Notice: Sendable {
    case tell(String)
    case dialog(Dialog)
    case closeInvitation
    case network(String)
    case isDemo
    case crisis(CrisisDelivery)
    /// What came of resolving; `nil` where no crisis was active.
    case resolved(String?, isOver: Bool)
    /// What came of the oldest of what is being saved; `nil` when it was.
    case saved(problem: String?)
    /// The store takes nothing now, and why; `nil` once it does again.
    case held(String?, words: String?)
    /// The store cannot be used.
    case problem([String])
    /// It was opened.
    case found

    /// Whether the screen waits for it.
    fileprivate var isAnswer: Bool {
      switch self {
      case .saved, .resolved, .held, .problem, .found: true
      case .tell, .dialog, .closeInvitation, .network, .isDemo, .crisis: false
      }
    }
  }
  private let queue = Mutex<[Notice]>([])
  private let wake: Int32

  package init(waking wake: Int32) { self.wake = wake }

  package func post(_ notice: Notice) {
    // A screen that hangs must not make this grow without limit.
    queue.withLock { if $0.count < Limits.keptEvents || notice.isAnswer { $0.append(notice) } }
    fm_wake_signal(wake)
  }

  func takeAll() -> [Notice] {
    queue.withLock { queue in
      defer { queue = [] }
      return queue
    }
  }
}

/// Owns the screen and the main thread until the person quits.
///
/// It sleeps in `poll` on the keyboard, the wake descriptor and the signals, and answers a key in the
/// same turn. Nothing else in the program needs this thread.
package struct DashboardLoop {
  package var state: DashboardState
  private var screen: Screen
  private let wake: Int32
  private let signals: Int32
  private let snapshots: LatestValue<Snapshot>
  private let notices: Notices
  /// Performs an intent; must return quickly.
  private let perform: (Intent) -> Void
  /// Is told whenever the terminal has taken a picture.
  private let drawn: () -> Void
  private var theme: (file: String, theme: Theme)
  private var isDirty = true
  /// While a window is being dragged, sizes come faster than anybody can look: the picture follows
  /// once it rests, and a few times a second until then.
  private var resized: (first: UInt64, last: UInt64)?
  private static let resizeRest: UInt64 = 60_000_000
  private static let resizePatience: UInt64 = 400_000_000

  package init(
    screen: Screen, state: DashboardState, wake: Int32, signals: Int32, snapshots: LatestValue<Snapshot>,
    notices: Notices, drawn: @escaping () -> Void = {}, perform: @escaping (Intent) -> Void
  ) {
    (self.screen, self.state, self.wake, self.signals) = (screen, state, wake, signals)
    (self.snapshots, self.notices, self.drawn, self.perform) = (snapshots, notices, drawn, perform)
    let file = screen.depth == .none ? "monochrome" : state.themeName
    theme = (file, Theme.named(file))
  }

  /// Runs until the person quits or the terminal goes away, then gives the terminal back.
  ///
  /// - Parameter started: Called when the first picture stands: whatever else the program does comes after it.
  package mutating func run(started: () -> Void) {
    defer { screen.end() }
    draw()
    started()
    while !state.isFinished {
      guard wait() else { break }
      handle(state.tick(SystemClock.now))
      takeKeys()
      takeSignals()
      takeNews()
      fitWhenRested()
      if isDirty, resized == nil { draw() }
    }
  }

  private mutating func fitWhenRested() {
    guard let resized else { return }
    let now = SystemClock.now.uptime
    guard now >= resized.last + Self.resizeRest || now >= resized.first + Self.resizePatience else { return }
    self.resized = nil
    screen.fitTerminal()
    state.size = screen.size
    isDirty = true
  }

  private mutating func handle(_ intents: [Intent]) {
    for intent in intents {
      if intent == .suspend {
        perform(.suspend)
        screen.suspend()
        perform(.resumed)
        state.size = screen.size
        isDirty = true
      } else {
        perform(intent)
      }
    }
  }

  /// Sleeps until something happens; `false` when the terminal is gone.
  private mutating func wait() -> Bool {
    var timeout = Int32(-1)
    if let tick = state.nextTick {
      // Ticks fall on whole multiples, so that the clock in the corner does not skip.
      timeout = Int32(tick - Int(SystemClock.now.wall % UInt64(tick)))
    }
    if resized != nil { timeout = Int32(Self.resizeRest / 1_000_000) }
    var ready: [UInt8] = [0, 0, 0]
    let count = fm_wait([STDIN_FILENO, wake, signals], &ready, 3, timeout)
    if ready[1] != 0 { fm_wake_clear(wake) }
    if count == 0 || ready[0] == 1 { isDirty = true }
    // 2: hung up. Nobody can see or press anything any more.
    return ready[0] != 2
  }

  private mutating func takeKeys() {
    while let key = screen.nextKey() {
      handle(state.press(key))
      isDirty = true
      if state.isFinished { return }
    }
  }

  private mutating func takeSignals() {
    while case let number = fm_signal_next(signals), number != 0 {
      switch number {
      case SIGWINCH:
        let now = SystemClock.now.uptime
        resized = (resized?.first ?? now, now)
      case SIGTSTP: handle([.suspend])
      case SIGCONT: isDirty = true
      default: state.isFinished = true
      }
    }
  }

  private mutating func takeNews() {
    for notice in notices.takeAll() {
      isDirty = true
      switch notice {
      case .tell(let text): state.tell(text)
      case .dialog(let dialog):
        if case .invitation = dialog { closeInvitation() }
        state.dialogs.append(dialog)
      case .closeInvitation: closeInvitation()
      case .network(let text): state.network = text
      case .isDemo: state.isDemo = true
      case .crisis(let delivery): state.note(delivery)
      case .resolved(let words, let isOver): state.resolved(words, isOver: isOver)
      case .saved(let problem): state.saved(problem: problem)
      case .held(let obstacle, let words): state.hold(obstacle, saying: words)
      case .problem(let text):
        // What waits to be shown is of the store that went away.
        _ = snapshots.take()
        state.lose(text)
      case .found: state.found()
      }
    }
    guard let snapshot = snapshots.take() else { return }
    state.update(snapshot)
    isDirty = true
  }

  private mutating func closeInvitation() {
    state.dialogs.removeAll(where: \.isEnrolment)
  }

  private mutating func draw() {
    isDirty = false
    if screen.depth != .none, theme.file != state.themeName { theme = (state.themeName, Theme.named(state.themeName)) }
    screen.show(DashboardFrame.render(state), theme: theme.theme)
    drawn()
    handle(state.didDraw(SystemClock.now))
  }
}
