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
    #expect(lines(.crisis, .sample(), rows: 2) == "none   ! at any moment: help lines\nand your devices are told", "not when: some are away")
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

/// A dashboard of a size, over a made-up household.
func dashboard(_ columns: Int, _ rows: Int, _ snapshot: Snapshot? = .sample()) -> DashboardState {
  var state = DashboardState(size: CellSize(rows: rows, columns: columns), glyphs: .unicode, themeName: "fullmind")
  state.crisisLines = ["TALK TO SOMEBODY NOW", "  Emergency: 112"]
  if let snapshot { state.update(snapshot) }
  return state
}

@Suite("The whole picture")
struct FrameTests {
  @Test("draws at any size, and shows the crisis key at any size that can hold it", arguments: [(1, 1), (10, 3), (20, 6), (40, 12), (60, 20), (80, 24), (120, 40), (300, 90)])
  func sizes(columns: Int, rows: Int) {
    for snapshot in [nil, Snapshot.sample(), Snapshot.sample().inCrisis()] as [Snapshot?] {
      let frame = DashboardFrame.render(dashboard(columns, rows, snapshot))
      #expect(frame.cells.count == columns * rows)
      if columns >= 10, rows >= 3, snapshot?.crisis.isActive != true { #expect(frame.text.contains("!")) }
      if columns >= 30, rows >= 8, snapshot?.crisis.isActive == true { #expect(frame.text.contains("112")) }
    }
  }

  @Test("every border stands where it belongs, whatever the names are")
  func borders() {
    var snapshot = Snapshot.sample()
    for (index, name) in ["漢字漢字漢字", "e\u{301}a\u{308}", "👨‍👩‍👧‍👦 family", "🇩🇪🇫🇷", "\u{202E}abc\u{200B}\u{7}"].enumerated() { snapshot.devices[index].name = name }
    let frame = DashboardFrame.render(dashboard(80, 24, snapshot))
    for row in 1..<23 {
      let cells = Array(frame.row(row))
      #expect("│╮╯".contains(cells[79].text), "row \(row)")
      #expect("│╭╰".contains(cells[0].text), "row \(row)")
    }
  }

  @Test("disabled commands say why")
  func reasons() {
    var state = dashboard(80, 24)
    _ = state.press(.character("h"))
    #expect(DashboardFrame.render(state).text.contains("no session runs here"))
  }

  @Test("no two commands share a key, and each is in the help")
  func commandTable() {
    #expect(Set(Command.allCases.map(\.key)).count == Command.allCases.count)
    var state = dashboard(140, 50)
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
      // Cells hold all of it: marks, wide characters, whatever is left; but no mark that stands on nothing.
      let text = String(clean.drop { CellText.width(of: $0) == 0 })
      var frame = Frame(size: CellSize(rows: 1, columns: max(1, CellText.width(clean))), glyphs: .unicode)
      frame.put(text, row: 0, column: 0, columns: frame.size.columns, role: .text)
      #expect(frame.row(0).map(\.text).joined() == (text.isEmpty ? " " : text))
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
