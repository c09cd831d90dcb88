import Causality
import Crisis
import Dashboard
import Foundation
import Stores
import Testing
import Therapy
import Themes

@Suite("Panels")
struct PanelTests {
  private func lines(_ panel: Panel, _ snapshot: Snapshot, columns: Int = 38, rows: Int = 6) -> String {
    let context = PanelContext(
      snapshot: snapshot, columns: columns, rows: rows, selected: nil, glyphs: .unicode, wall: Snapshot.sampleWall)
    var frame = Frame(size: CellSize(rows: rows, columns: columns), glyphs: .unicode)
    frame.draw(panel.lines(context), in: CellRect(row: 0, column: 0, rows: rows, columns: columns))
    return frame.text
  }

  @Test("devices: presence, round trip and progress, in words")
  func devices() {
    #expect(
      lines(.devices, .sample(deviceCount: 4), rows: 4) == """
        ● laptop                   this device
        ● phone here          3.0 ms  4 behind
        ● tablet here         3.0 ms  8 behind
        ○ desktop 3 min ago  3.0 ms  12 behind
        """)
  }

  @Test("sync: three words for three kinds of evidence")
  func sync() {
    #expect(
      lines(.sync, .sample(), rows: 4) == """
        ● up to date                   3 s ago
        saved here 10000 → relay 10000 → on 4…
        nothing waits in any lane
        up 10 batches, 1000 B down 12, 2.0 KiB
        """)
  }

  @Test("crisis: the key while there is none, the receipts when there is one")
  func crisis() {
    #expect(lines(.crisis, .sample(), rows: 2) == "none   ! at any moment: help lines\nand all your devices know at once")
    #expect(
      lines(.crisis, Snapshot.sample().inCrisis(), columns: 46, rows: 4) == """
         SEVERE  raised 2 s ago on phone
        ● phone                    has it after 4.2 ms
        ○ watch                                not yet
        Enter help lines and plan
        """)
  }

  @Test("conflicts and sessions")
  func conflictsAndSessions() {
    #expect(lines(.conflicts, .sample(), columns: 60, rows: 1) == "critical Assessment: phq9 item9           2 versions 5 s ago")
    #expect(lines(.sessions, .sample(), columns: 50, rows: 1) == "breathing running on phone           ███░░░░░ 1:07")
  }

  @Test("quota: counted and not limited; near the limit it warns")
  func quota() {
    var snapshot = Snapshot.sample()
    #expect(lines(.quota, snapshot, rows: 2) == "self-hosted  today 3, not limited\n5 of 50 devices")
    snapshot.quota.tier = .free
    snapshot.quota.used = 85
    #expect(lines(.quota, snapshot).contains("85 %"))
  }

  @Test("events can be filtered, and filtered inversely")
  func events() {
    let events = Snapshot.sample(eventCount: 12).events
    #expect(EventsPanel.matching(events, "11 changes").count == 1)
    #expect(EventsPanel.matching(events, "!11 changes").count == 11)
  }
}

@Suite("The whole picture")
struct FrameTests {
  private func state(_ columns: Int, _ rows: Int, _ snapshot: Snapshot? = .sample()) -> DashboardState {
    var state = DashboardState(size: CellSize(rows: rows, columns: columns), glyphs: .unicode, themeName: "fullmind")
    state.crisisLines = ["TALK TO SOMEBODY NOW", "  Emergency: 112"]
    if let snapshot { state.update(snapshot) }
    return state
  }

  @Test("draws at any size, and shows the crisis key at any size that can hold it", arguments: [(1, 1), (10, 3), (20, 6), (40, 12), (60, 20), (80, 24), (120, 40), (300, 90)])
  func sizes(columns: Int, rows: Int) {
    for snapshot in [nil, Snapshot.sample(), Snapshot.sample().inCrisis()] as [Snapshot?] {
      let frame = DashboardFrame.render(state(columns, rows, snapshot))
      #expect(frame.cells.count == columns * rows)
      if columns >= 10, rows >= 3, snapshot?.crisis.isActive != true { #expect(frame.text.contains("!")) }
      if columns >= 30, rows >= 8, snapshot?.crisis.isActive == true { #expect(frame.text.contains("112")) }
    }
  }

  @Test("every border stands where it belongs, whatever the names are")
  func borders() {
    var snapshot = Snapshot.sample()
    for (index, name) in ["漢字漢字漢字", "e\u{301}a\u{308}", "👨‍👩‍👧‍👦 family", "🇩🇪🇫🇷", "\u{202E}abc\u{200B}\u{7}"].enumerated() { snapshot.devices[index].name = name }
    let frame = DashboardFrame.render(state(80, 24, snapshot))
    for row in 1..<23 {
      let cells = Array(frame.row(row))
      #expect("│╮╯".contains(cells[79].text), "row \(row)")
      #expect("│╭╰".contains(cells[0].text), "row \(row)")
    }
  }

  @Test("the crisis key works in every dialog, blank, and before there is a store")
  func crisisKey() {
    let dialogs: [Dialog] = [
      .help, .palette(query: "", selected: 0), .new(selected: 0), .form(.journal), .questionnaire(Questionnaire(.phq9)),
      .filter(""), .plan(PlanEditor()), .note(title: "t", text: []), .confirmResolve, .practice, .conflict(ConflictDialog(Snapshot.sample().conflicts[0])),
      .invitation(code: "c", digits: nil, name: ""),
    ]
    for dialog in dialogs {
      var state = state(80, 24)
      state.dialogs = [dialog]
      #expect(state.press(.character("!")) == [.activateCrisis(level: .severe, source: "person")], "\(dialog)")
      #expect(state.dialogs.last == .crisis)
    }
    var blank = state(80, 24)
    blank.isBlank = true
    #expect(blank.press(.character("!")) == [.activateCrisis(level: .severe, source: "person")])
    var newcomer = state(80, 24, nil)
    _ = newcomer.press(.character("!"))
    #expect(DashboardFrame.render(newcomer).text.contains("112"))
  }

  @Test("the crisis screen says who has it, who acknowledged, what follows, and has plan and contacts")
  func crisisScreen() {
    var snapshot = Snapshot.sample().inCrisis()
    snapshot.crisis.acknowledgements = [.init(device: "phone", after: 12_000)]
    snapshot.crisis.step = .wait(.family, milliseconds: 40_000)
    snapshot.crisis.tellings = [.init(name: "Ana", phone: "", state: .unanswered)]
    snapshot.crisis.showsContacts = true
    snapshot.plan.steps[1].entries = ["walk to the river"]
    snapshot.plan.contacts = [.init(record: RecordID(high: 1, low: 1), name: "Jo", phone: "555 0100", isPrimary: true, consent: .prompt)]
    for glyphs in [Glyphs.unicode, .ascii] {
      var state = DashboardState(size: CellSize(rows: 40, columns: 120), glyphs: glyphs, themeName: "monochrome")
      state.crisisLines = ["TALK TO SOMEBODY NOW"]
      state.update(snapshot)
      let text = DashboardFrame.render(state).text
      for words in ["1 of 2 other devices", "acknowledged on phone after 12 s", "in 40 s", "CALL ONE OF THEM", "Jo  555 0100", "walk to the river"] {
        #expect(text.contains(words), "\(words)")
      }
    }
    snapshot.crisis.tellings = []
    #expect(DashboardFrame.render(state(120, 40, snapshot)).text.contains("told by itself"), "what nobody agreed to is not promised")
    var small = DashboardState(size: CellSize(rows: 12, columns: 60), glyphs: .unicode, themeName: "monochrome")
    small.crisisLines = (1...9).map { "line \($0)" }
    small.update(snapshot)
    #expect(!DashboardFrame.render(small).text.contains("walk to the river"))
    for _ in 0..<9 { _ = small.press(.down) }
    #expect(DashboardFrame.render(small).text.contains("walk to the river"))
  }

  @Test("the crisis screen says what is told to whom; Enter says now while somebody waits")
  func tellings() {
    var snapshot = Snapshot.sample().inCrisis()
    typealias Telling = Snapshot.CrisisStatus.Telling
    let states: [(Telling.State, String)] = [
      (.later(8_000), "will be told in 8 s"), (.now, "is being told"), (.unanswered, "when nobody acknowledges"),
      (.told(Snapshot.sampleWall), "was told now"), (.seen(told: 1_000, 9_000), "has seen it, 8.0 s after being told"), (.notInvited, "has no link"),
    ]
    snapshot.crisis.tellings = states.map { Telling(name: "Jo", phone: "", state: $0.0) }
    var state = state(120, 40, snapshot)
    state.crisisLines = ["TALK TO SOMEBODY NOW"]
    let text = DashboardFrame.render(state).text
    for (_, words) in states { #expect(text.contains(words), "\(words)") }
    #expect(text.contains("tell my contacts now") && !text.contains("u takes it back"), "only where it was raised")
    #expect(state.press(.enter) == [.tellContacts] && state.dialogs.last == .crisis)
    snapshot.crisis.tellings = [Telling(name: "Jo", phone: "", state: .told(Snapshot.sampleWall))]
    state.update(snapshot)
    #expect(state.press(.enter) == [.acknowledgeCrisis], "nobody waits any more: it closes")
  }

  @Test("what is drawn is told once: the time a key took, and which crisis is on the screen")
  func drawn() {
    var state = state(80, 24)
    _ = state.tick(Moment(wall: Snapshot.sampleWall, uptime: 1_000))
    _ = state.press(.character("!"))
    #expect(state.didDraw(Moment(wall: Snapshot.sampleWall, uptime: 4_000)) == [.time(.crisisScreen, nanoseconds: 3_000)])
    #expect(state.didDraw(Moment(wall: Snapshot.sampleWall, uptime: 5_000)).isEmpty)
    var snapshot = Snapshot.sample().inCrisis()
    snapshot.crisis.activation = "abc.7"
    state.update(snapshot)
    #expect(state.didDraw(Moment(wall: Snapshot.sampleWall, uptime: 6_000)) == [.crisisShown("abc.7")])
    #expect(state.didDraw(Moment(wall: Snapshot.sampleWall, uptime: 7_000)).isEmpty)
  }

  @Test("a conflict shows both versions with their differences marked, and is settled by its own name")
  func conflictDialog() throws {
    var snapshot = Snapshot.sample()
    snapshot.conflicts[0].versions[0].value = "I slept well and went to the river"
    snapshot.conflicts[0].versions[1].value = "I slept badly and went to the river"
    snapshot.conflicts[0].canKeepBoth = true
    let conflict = snapshot.conflicts[0]
    let record = conflict.record.description
    func open(_ columns: Int = 120, _ rows: Int = 40) -> DashboardState {
      var opened = state(columns, rows, snapshot)
      _ = opened.press(.character("5"))
      _ = opened.press(.enter)
      return opened
    }
    for (columns, rows) in [(120, 40), (80, 24)] {
      let text = DashboardFrame.render(open(columns, rows)).text
      for words in ["1 laptop", "2 phone", "shown for now", "[well]", "[badly]", "stands for more risk"] { #expect(text.contains(words), "\(columns): \(words)") }
    }
    var dialog = open()
    _ = dialog.press(.right)
    #expect(dialog.press(.enter) == [.resolve(record: record, field: "item9", keeping: conflict.versions[1].id)])
    dialog = open()
    #expect(dialog.press(.character("m")) == [.resolveKeepingAll(record: record, field: "item9")])
    dialog = open()
    _ = dialog.press(.character("e"))
    _ = dialog.press(.control("u"))
    for character in "2" { _ = dialog.press(.character(character)) }
    #expect(dialog.press(.enter) == [.resolveWith(record: record, field: "item9", text: "2")])
    dialog = open()
    _ = dialog.press(.character("e"))
    #expect(dialog.press(.enter).isEmpty, "words are no answer to item 9: it says so, and stays open")
    #expect(DashboardFrame.render(dialog).text.contains("item9"))
    _ = dialog.press(.escape)
    _ = dialog.press(.character("A"))
    #expect(dialog.press(.character("n")).isEmpty && dialog.dialogs.count == 1)
    _ = dialog.press(.character("A"))
    #expect(dialog.press(.character("y")) == [.resolveAll(type: "assessment conflict")])
    dialog = open()
    snapshot.conflicts = []
    dialog.update(snapshot)
    #expect(DashboardFrame.render(dialog).text.contains("It is settled."), "by another device meanwhile")
    #expect(dialog.press(.enter).isEmpty && dialog.dialogs.isEmpty)
    dialog = open()
    #expect(dialog.dialogs.isEmpty)
  }

  @Test("the plan is edited entry by entry; nothing leaves it without a second key")
  func planEditor() {
    var snapshot = Snapshot.sample()
    snapshot.plan.steps[0].entries = ["sleeping badly"]
    snapshot.plan.contacts = [.init(record: RecordID(high: 1, low: 1), name: "Jo", phone: "1", isPrimary: true, consent: .never)]
    var state = state(80, 24, snapshot)
    _ = state.press(.character("n"))
    #expect(state.press(.character("9")).isEmpty)
    #expect(DashboardFrame.render(state).text.contains("How I notice that it begins"))
    _ = state.press(.down)
    #expect(state.press(.character("d")).isEmpty)
    #expect(DashboardFrame.render(state).text.contains("take it out on every device?"))
    #expect(state.press(.character("n")).isEmpty, "kept")
    _ = state.press(.character("d"))
    #expect(state.press(.character("y")) == [.editPlan(assignments: ["warnings-=sleeping badly"])])
    _ = state.press(.down)
    _ = state.press(.enter)
    for character in "tea" { _ = state.press(.character(character)) }
    #expect(state.press(.character("!")).isEmpty, "while it is typed")
    _ = state.press(.backspace)
    #expect(state.press(.enter) == [.editPlan(assignments: ["coping=tea"])])
    #expect(state.press(.escape).isEmpty && state.dialogs.count == 1, "first the typing ends")
    _ = state.press(.end)
    _ = state.press(.character("d"))
    #expect(state.press(.character("y")) == [.remove(record: RecordID(high: 1, low: 1).description)])
    _ = state.press(.up)
    _ = state.press(.enter)
    #expect(DashboardFrame.render(state).text.contains("A contact of yours"))
    _ = state.press(.escape)
    #expect(state.press(.character("!")) == [.activateCrisis(level: .severe, source: "person")])
  }

  @Test("closing a crisis from elsewhere acknowledges it, once; resolving offers a check-in that is kept with it")
  func acknowledging() {
    var snapshot = Snapshot.sample().inCrisis()
    snapshot.crisis.activation = "abc.7"
    var state = state(80, 24, snapshot)
    #expect(state.dialogs.last == .crisis)
    #expect(state.press(.escape) == [.acknowledgeCrisis])
    snapshot.crisis.isAcknowledgedHere = true
    state.update(snapshot)
    _ = state.press(.character("3"))
    _ = state.press(.enter)
    #expect(state.press(.escape).isEmpty)
    _ = state.press(.enter)
    _ = state.press(.character("r"))
    #expect(state.press(.character("y")) == [.resolveCrisis])
    _ = state.press(.character("4"))
    for _ in 0..<4 { _ = state.press(.enter) }
    guard case .add("check-in", let words)? = state.press(.enter).first else {
      Issue.record("no check-in was saved")
      return
    }
    #expect(words.contains("crisis=abc.7") && words.contains("mood=4"))
  }

  @Test("a session is not interrupted by a crisis; p pauses it with its progress")
  func sessionInCrisis() {
    var snapshot = Snapshot.sample()
    snapshot.sessions[0].isOwn = true
    var state = state(80, 24, snapshot)
    state.update(snapshot.inCrisis())
    #expect(state.dialogs == [.practice, .crisis])
    #expect(state.ownSession != nil)
    guard case .saveProgress(_, let elapsed, "paused")? = state.press(.character("p")).first else {
      Issue.record("the session was not paused")
      return
    }
    #expect(elapsed >= 67)
  }

  @Test("a crisis can be taken back for ten seconds, not longer")
  func undo() {
    var state = state(80, 24)
    _ = state.tick(Moment(wall: 1, uptime: 1_000_000_000))
    _ = state.press(.character("!"))
    _ = state.tick(Moment(wall: 1, uptime: 10_900_000_000))
    #expect(state.canUndoCrisis)
    _ = state.tick(Moment(wall: 1, uptime: 11_100_000_000))
    #expect(!state.canUndoCrisis)
    #expect(state.press(.character("u")).isEmpty)
  }

  @Test("a mistake in a form costs nothing: it says what is wrong and keeps what was typed")
  func formMistake() {
    var state = state(80, 24)
    _ = state.press(.character("n"))
    _ = state.press(.enter)
    for key in "eleven" { _ = state.press(.character(key)) }
    for _ in 0..<6 { _ = state.press(.enter) }
    #expect(state.press(.enter).isEmpty)
    let text = DashboardFrame.render(state).text
    #expect(text.contains("eleven") && text.contains("could not be read"))
  }

  @Test("a questionnaire proposes help as the answer is given, and the person decides")
  func questionnaire() {
    var state = state(100, 30)
    state.dialogs = [.questionnaire(Questionnaire(.phq9))]
    for _ in 0..<8 { _ = state.press(.character("0")) }
    _ = state.press(.character("1"))
    #expect(DashboardFrame.render(state).text.contains("You decide"))
    _ = state.press(.character("x"))
    #expect(DashboardFrame.render(state).text.contains("Total 1"))
    #expect(state.press(.enter).count == 1)
  }

  @Test("a session that arrives opens its guide; one that leaves closes it")
  func sessionMoves() {
    var snapshot = Snapshot.sample()
    var state = state(80, 24, snapshot)
    snapshot.sessions[0].isOwn = true
    state.update(snapshot)
    #expect(state.dialogs == [.practice])
    #expect(DashboardFrame.render(state).text.contains("gathering"))
    snapshot.sessions[0].isOwn = false
    state.update(snapshot)
    #expect(state.dialogs.isEmpty)
  }

  @Test("a newcomer's three ways open their forms, and what is typed there quits nothing")
  func newcomer() {
    var joining = state(80, 24, nil)
    _ = joining.press(.character("j"))
    for key in "0qj5!d" { _ = joining.press(.character(key)) }
    #expect(!joining.isFinished)
    #expect(DashboardFrame.render(joining).text.contains("0qj5!d"))
    _ = joining.press(.tab)
    #expect(joining.press(.enter) == [.join(code: "0qj5!d", deviceName: "laptop")])
    var starting = state(80, 24, nil)
    _ = starting.press(.enter)
    #expect(starting.press(.enter) == [.start(deviceName: "laptop")])
    var demo = state(80, 24, nil)
    #expect(demo.press(.character("d")) == [.demo])
  }

  @Test("a session paused here can be taken up again for a day, if enough of it was done")
  func resume() {
    var snapshot = Snapshot.sample()
    (snapshot.sessions[0].isOwn, snapshot.sessions[0].phase) = (true, "paused")
    var state = state(80, 24, snapshot)
    state.focus = .sessions
    let intents = state.press(.enter)
    #expect(intents == [.saveProgress(session: snapshot.sessions[0].id.description, elapsed: 67, phase: "running")])
    _ = state.tick(Moment(wall: Snapshot.sampleWall + 86_400_001, uptime: 5))
    #expect(state.pausedSession == nil)
    snapshot.sessions[0].elapsed = 17
    var early = self.state(80, 24, snapshot)
    early.focus = .sessions
    #expect(early.press(.enter).isEmpty)
  }

  @Test("disabled commands say why")
  func reasons() {
    var state = state(80, 24)
    _ = state.press(.character("h"))
    #expect(DashboardFrame.render(state).text.contains("no session runs here"))
  }

  @Test("no two commands share a key, and each is in the help")
  func commandTable() {
    #expect(Set(Command.allCases.map(\.key)).count == Command.allCases.count)
    var state = state(140, 50)
    state.isDemo = true
    _ = state.press(.character("?"))
    let text = DashboardFrame.render(state).text
    for command in Command.allCases { #expect(text.contains(String(command.explanation.prefix(30))), "\(command)") }
  }

  @Test("ASCII drawing has no other characters")
  func ascii() {
    var state = DashboardState(size: CellSize(rows: 30, columns: 100), glyphs: .ascii, themeName: "fullmind")
    state.update(.sample())
    #expect(DashboardFrame.render(state).text.utf8.allSatisfy { $0 < 128 })
  }
}

@Suite("Text in cells")
struct CellTextTests {
  @Test("widths", arguments: [("abc", 3), ("漢字", 4), ("é", 1), ("e\u{301}", 1), ("│─", 2), ("", 0), ("😀", 2)])
  func widths(text: String, width: Int) { #expect(CellText.width(CellText.clean(text)) == width) }

  @Test("foreign text loses what could disturb a screen")
  func cleaning() {
    #expect(CellText.clean("a\u{1B}[2Jb\u{202E}c\u{200B}d\ne\tf") == "a[2Jbcd e f")
  }

  @Test("no naughty string reaches the screen with a control, an override or a wrong width")
  func naughtyStrings() throws {
    var folder = URL(fileURLWithPath: #filePath)
    for _ in 0..<4 { folder.deleteLastPathComponent() }
    let file = folder.appendingPathComponent("shared/vectors/blns/blns.json")
    guard let data = try? Data(contentsOf: file) else { return }
    let strings = try #require(try JSONSerialization.jsonObject(with: data) as? [String])
    #expect(strings.count > 500)
    for string in strings {
      let clean = CellText.clean(string)
      #expect(!clean.unicodeScalars.contains { $0.properties.generalCategory == .control || $0.properties.generalCategory == .format })
      #expect(CellText.width(CellText.fit(clean, 20)) <= 20)
      #expect(CellText.wrap(clean, 12).allSatisfy { CellText.width($0) <= 12 })
    }
  }
}

@Suite("Themes")
struct ThemeTests {
  @Test("every theme has every role, and text that can be read", arguments: ThemeFiles.all.map(\.name))
  func contrast(name: String) throws {
    let file = try #require(ThemeFiles.all.first { $0.name == name })
    let theme = try Theme(toml: String(decoding: file.bytes, as: UTF8.self), file: name)
    #expect(theme.styles.count == Role.allCases.count)
    guard let background = theme.background else { return }
    let least = name == "high-contrast" ? 7.0 : 4.5
    for role in Role.allCases where ![.border, .plotLow, .plotMiddle, .plotHigh].contains(role) {
      guard let foreground = theme[role].foreground else { continue }
      let contrast = RGB.contrast(foreground, theme[role].background ?? background)
      #expect(contrast >= least, "\(role.rawValue): \(contrast)")
    }
  }

  @Test("every key of every theme file is explained", arguments: ThemeFiles.all.map(\.name))
  func explained(name: String) throws {
    let file = try #require(ThemeFiles.all.first { $0.name == name })
    let lines = String(decoding: file.bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() where line.contains("=") && !line.hasPrefix("#") {
      #expect(line.contains("  # ") || lines[..<index].suffix(2).contains { $0.hasPrefix("#") }, "\(line)")
    }
  }

  @Test("a mistake is reported with line and column")
  func mistakes() {
    do {
      _ = try Theme(toml: "name = \"x\"\nauthor = ", file: "x.toml")
      Issue.record("it was taken")
    } catch {
      #expect(error.line == 2 && error.column > 0)
    }
    #expect(throws: ThemeError.self) { try Theme(toml: "name = \"x\"\nauthor = \"y\"\n[roles]\ntext = \"mauve\"", file: "x.toml") }
  }
}
