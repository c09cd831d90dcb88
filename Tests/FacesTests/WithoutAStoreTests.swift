import Causality
import Crisis
import Dashboard
import Foundation
import Stores
import Testing

/// What the dashboard says and does while its store cannot be used, and where only its screen knows of a crisis.
@Suite("Without a store", .serialized)
struct WithoutAStoreTests {
  private static let problem = ["There was a store here, but data.key is gone.", "", "storage.incomplete"]
  private static let helpLine = "112"

  private func lost(_ rows: Int = 24, _ columns: Int = 80) -> DashboardState {
    var state = DashboardState(size: CellSize(rows: rows, columns: columns), glyphs: .unicode, themeName: "monochrome")
    state.crisisLines = CrisisCard.helpLines(for: nil) + [""] + CrisisCard.steps
    state.lose(Self.problem)
    return state
  }

  private func text(_ state: DashboardState) -> String { DashboardFrame.render(state).text }

  private func delivery(_ disk: CrisisDelivery.Way, _ relay: CrisisDelivery.Way, isOverdue: Bool = true) -> CrisisDelivery {
    var delivery = CrisisDelivery()
    (delivery.disk, delivery.relay, delivery.isOverdue) = (disk, relay, isOverdue)
    return delivery
  }

  @Test("that a crisis is active is not said without a store: it was raised here, and is over once that is known")
  func learning() {
    var state = lost()
    state.learn(Beside(isRaised: true, decisions: 0, look: 1))
    #expect(state.isCrisisKnown && text(state).contains(DashboardState.raisedHere) && !text(state).contains("A crisis is active"))
    state.learn(Beside(isRaised: false, decisions: 0, look: 2))
    #expect(!state.isCrisisKnown && text(state).contains(DashboardState.overHere))
    state.learn(Beside(isRaised: true, decisions: 0, look: 3))
    #expect(state.isCrisisKnown && text(state).contains(DashboardState.raisedHere), "another one was raised at another terminal")
  }

  @Test("what was raised at this screen is over there too once the journal says so, and its keys go with it")
  func overHere() {
    var state = lost()
    _ = state.press(.character("!"))
    state.note(delivery(.done, .done))
    #expect(text(state).contains("take back") && text(state).contains("r it is over"))
    state.learn(Beside(isRaised: false, decisions: 1, look: 1))
    let over = text(state)
    #expect(over.contains("What was raised here is over") && !over.contains("take back") && !over.contains("r it is over"))
    #expect(over.contains(Self.helpLine) && state.dialogs == [.crisis], "help stays")
  }

  @Test("a look from before the person decided something says nothing of it")
  func earlierLook() {
    var state = lost()
    _ = state.press(.character("!"))
    state.note(delivery(.done, .done))
    state.learn(Beside(isRaised: false, decisions: 0, look: 1))
    #expect(state.isCrisisKnown && state.canUndoCrisis)
    _ = state.press(.character("u"))
    state.resolved("Taken back.", isOver: true)
    state.learn(Beside(isRaised: true, decisions: 1, look: 2))
    #expect(!state.isCrisisKnown)
  }

  @Test("that nothing was active is not said of others where there is no store")
  func nothingKnown() {
    var state = lost(24, 120)
    state.resolved(nil, isOver: true)
    #expect(text(state).contains("whether others raised one is not known") && !text(state).contains("No crisis was active"))
  }

  @Test("that only this screen knows stands beneath the first help line, in the header, and r in the key bar", arguments: [(24, 80), (20, 60), (12, 40), (8, 30)])
  func onlyHere(rows: Int, columns: Int) throws {
    var state = lost(rows, columns)
    _ = state.press(.character("!"))
    #expect(!text(state).contains("only here"), "nothing is known yet")
    state.note(delivery(.underWay, .failed(code: "relay.unreachable")))
    let lines = text(state).split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines[0].contains("CRISIS: only here"))
    let help = try #require(lines.firstIndex { $0.contains(Self.helpLine) })
    // The smallest window has room for the first help line alone.
    if rows > 8 {
      let said = try #require(lines.firstIndex { $0.contains("Only this screen knows") })
      try #require(said > help)
      #expect(!lines[help...said].contains { $0.contains("FULLMIND_REGION") })
    }
    #expect(lines.last { !$0.isEmpty }?.contains("r it is over") ?? false)
  }

  @Test("a tiny window says that only it knows, and shows help", arguments: [(7, 28), (6, 20)])
  func onlyHereTiny(rows: Int, columns: Int) {
    var state = lost(rows, columns)
    _ = state.press(.character("!"))
    state.note(delivery(.failed(code: "storage.locked"), .failed(code: "relay.unreachable")))
    #expect(text(state).contains("CRISIS: only here") && text(state).contains(Self.helpLine))
    _ = state.press(.character("q"))
    #expect(!state.isFinished && text(state).contains("Leaving") && text(state).contains(Self.helpLine))
  }

  @Test("whoever leaves is told what of the crisis is saved, and where")
  func leaving() {
    func asked(_ disk: CrisisDelivery.Way, _ relay: CrisisDelivery.Way) -> String {
      var state = lost(24, 120)
      _ = state.press(.character("!"))
      state.note(delivery(disk, relay))
      _ = state.press(.escape)
      _ = state.press(.character("q"))
      return state.message?.text ?? ""
    }
    let failed = CrisisDelivery.Way.failed(code: "relay.unreachable")
    #expect(asked(.failed(code: "storage.locked"), failed).contains("saved nowhere"))
    #expect(asked(.done, failed).contains("saved on this device") && asked(.failed(code: "storage.disk-full"), .done).contains("not saved on this device yet"))
    #expect(asked(.done, .done).isEmpty)
  }

  @Test("a store that comes back by itself closes nothing in which the person types")
  func typing() {
    var state = DashboardState(size: CellSize(rows: 24, columns: 80), glyphs: .unicode, themeName: "monochrome")
    state.lose(["The store is protected by a passphrase.", "", "storage.passphrase-needed"])
    for character in "qu" { _ = state.press(.character(character)) }
    state.found()
    state.update(Snapshot.sample())
    #expect(state.press(.character("q")).isEmpty && !state.isFinished && state.dialogs.count == 1)
    #expect(state.press(.enter).isEmpty && state.dialogs.isEmpty, "it is open already")
  }

  // MARK: Real ones

  @Test("a store whose key comes back is opened by itself, and what others raised meanwhile is on the screen")
  func comesBack() throws {
    let meeting = try Meeting.pair()
    try meeting.move("a/data.key", "key")
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("Your store cannot be used now."))
    screen.press("!")
    #expect(screen.shows("Saved here"))
    let mark = screen.text.count
    try meeting.move("key", "a/data.key")
    #expect(try meeting.run("a", "crisis", "resolve", "--yes").status == 0)
    #expect(try meeting.run("b", "crisis", "activate", "emergency").status == 0)
    #expect(screen.shows("emergency", after: mark))
  }

  @Test("what is ended at another terminal is over on a screen without a store, and is not said to go on when it is opened anew")
  func endedElsewhere() throws {
    let meeting = try Meeting.pair()
    try meeting.move("a/data.key", "key")
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("Your store cannot be used now."))
    screen.press("!")
    #expect(screen.shows("Saved here"))
    _ = try meeting.run("a", "crisis", "resolve", "--yes")
    #expect(screen.shows("What was raised here is over"))
    screen.quit()
    _ = try meeting.run("a", "crisis", "activate", "severe")
    let second = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(second.shows("whether it is over is not known") && !second.text.contains("A crisis is active"))
    second.quit()
  }

  @Test("a terminal that cannot show the dashboard says so, and how a crisis is raised", arguments: ["dumb", "no-such-terminal"])
  func unable(term: String) throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/script")
    process.arguments = ["-qfec", "exec env TERM=\(term) '\(Program.path)' --home '\(meeting.home("a"))'", meeting.home("typescript")]
    process.environment = ["PATH": "/usr/bin:/bin", "HOME": NSTemporaryDirectory(), "LANG": "C.UTF-8", "SHELL": "/bin/sh"]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    let said = String(decoding: FileManager.default.contents(atPath: meeting.home("typescript")) ?? Data(), as: UTF8.self)
    #expect(process.terminationStatus == 0 && said.contains("TERM=\(term)") && said.contains("crisis activate severe") && said.contains("Devices:"))
  }
}
