import Causality
import Stores

/// Draws the dashboard: equal states give equal frames.
package enum DashboardFrame {
  package static func render(_ state: DashboardState) -> Frame {
    var frame = Frame(size: state.size, glyphs: state.glyphs)
    if state.isBlank { return blank(frame) }
    if DashboardLayout.isTiny(state.size) { return tiny(state, frame) }
    header(state, &frame)
    if let snapshot = state.shown { panels(state, snapshot, &frame) }
    if state.snapshot == nil, state.dialogs.isEmpty { Welcome.draw(state, &frame) }
    for dialog in state.dialogs { DialogFrame.draw(dialog, state, &frame) }
    keyBar(state, &frame)
    return frame
  }

  /// Nothing private; the crisis key still works.
  private static func blank(_ frame: Frame) -> Frame {
    var frame = frame
    frame.put("! crisis", row: frame.size.rows - 1, column: 0, columns: frame.size.columns, role: .dim)
    return frame
  }

  /// Too small for panels: what matters, and the vital keys.
  private static func tiny(_ state: DashboardState, _ frame: Frame) -> Frame {
    var frame = frame
    var lines: [Line] = []
    if state.dialogs.contains(.crisis) || state.isCrisisKnown {
      lines = [Line("CRISIS\(state.onlyHere.map { ": \($0)" } ?? "")", .crisis)] + state.crisisLines.map { Line($0) }
    } else if let snapshot = state.shown {
      lines = [Line("fullmind \(snapshot.sync.state.word)")]
      if snapshot.conflictCount > 0 { lines.append(Line("\(snapshot.conflictCount) conflicts")) }
    } else {
      lines = [Line("fullmind")]
    }
    if let message = state.message {
      // Beneath the first help line, and never instead of it.
      let words = CellText.wrap(CellText.clean(message.text), max(1, frame.size.columns)).prefix(max(1, frame.size.rows - 4))
      lines.insert(contentsOf: words.map { Line($0, .accent) }, at: min(1 + CrisisScreen.afterFirstHelp, lines.count))
    }
    if case .form(let form)? = state.dialogs.last, form.purpose == .unlock {
      lines.insert(Line("passphrase \(String(repeating: "*", count: form.fields[0].text.count))"), at: 0)
    }
    if state.dialogs.last == .confirmResolve { lines.insert(Line("Is it over for now? y yes", .strong), at: 0) }
    for (row, line) in lines.prefix(max(1, frame.size.rows - 1)).enumerated() {
      frame.draw(line, row: row, column: 0, columns: frame.size.columns)
    }
    if frame.size.rows > 1 {
      let ends = state.isCrisisKnown && frame.size.columns >= 22 ? "r over " : ""
      let keys = state.isTyping ? "^X crisis Esc back" : "! crisis \(ends)q quit"
      frame.put(keys, row: frame.size.rows - 1, column: 0, columns: frame.size.columns, role: .key)
    }
    return frame
  }

  private static func header(_ state: DashboardState, _ frame: inout Frame) {
    let columns = state.size.columns
    let crisis = crisisWords(state)
    let role: Role = crisis == nil ? .header : .crisis
    frame.put(String(repeating: " ", count: columns), row: 0, column: 0, columns: columns, role: role)
    // What matters most stands where nothing cuts it off.
    var left = (crisis.map { " CRISIS: \($0) " } ?? "") + " fullmind"
    if let snapshot = state.shown {
      let name = snapshot.devices.first { $0.isThisOne }?.name ?? ""
      left += "  \(CellText.clean(name))  account \(snapshot.account)"
      if snapshot.conflictCount > 0, crisis == nil { left += "  \(snapshot.conflictCount) to decide" }
    }
    var right = state.isDemo ? "demo \(state.network)" : ""
    if state.pausedAt != nil, let shown = state.shown {
      right = "HELD at \(Wording.timeOfDay(shown.moment.wall))  left/right walk, p goes on"
    }
    right += "  \(Wording.timeOfDay(state.now.wall)) "
    let room = columns - CellText.width(right) - 1
    if let crisis, CellText.width(left) > room, CellText.width(crisis) + 12 > room { left = " CRISIS: \(crisis)" }
    frame.put(left, row: 0, column: 0, columns: room, role: role)
    frame.put(right, row: 0, column: columns - CellText.width(right), columns: CellText.width(right), role: role)
  }

  /// How it stands with a crisis, in few words; `nil` where none is known.
  private static func crisisWords(_ state: DashboardState) -> String? {
    if state.pausedAt == nil, let words = state.onlyHere, state.isCrisisKnown || state.dialogs.contains(.crisis) { return words }
    if let crisis = state.shown?.crisis, crisis.isActive { return crisis.level.name }
    guard state.pausedAt == nil, state.isCrisisKnown else { return nil }
    return state.isRaisedHere ? "raised here" : "when the store was read last"
  }

  private static func panels(_ state: DashboardState, _ snapshot: Snapshot, _ frame: inout Frame) {
    for (panel, rect) in DashboardLayout.panels(state) {
      let isFocused = panel == state.focus && state.dialogs.isEmpty
      let role: Role? = panel == .crisis && snapshot.crisis.isActive ? .bad : nil
      frame.box(
        rect, title: "\(panel.rawValue + 1) \(panel.title)", note: note(panel, state, snapshot), isFocused: isFocused, role: role)
      let inside = rect.interior
      var context = PanelContext(
        snapshot: snapshot, columns: inside.columns, rows: inside.rows,
        selected: isFocused ? state.selected(panel) : nil, glyphs: state.glyphs, wall: state.now.wall)
      context.isRaisedHere = state.pausedAt == nil && state.isRaisedHere
      context.isRaisedOnDisk = state.pausedAt == nil && state.isRaisedOnDisk
      context.obstacle = state.pausedAt == nil ? state.held?.obstacle : nil
      (context.filter, context.traffic, context.isZoomed) = (state.filters[panel] ?? "", state.traffic, state.isZoomed)
      frame.draw(scrolled(panel.lines(context), rows: inside.rows), in: inside)
    }
  }

  /// Keeps the selected line in sight.
  private static func scrolled(_ lines: [Line], rows: Int) -> [Line] {
    guard let selected = lines.firstIndex(where: \.isSelected), selected >= rows - 1, lines.count > rows else { return lines }
    return Array(lines.dropFirst(min(selected - rows + 2, lines.count - rows)))
  }

  private static func note(_ panel: Panel, _ state: DashboardState, _ snapshot: Snapshot) -> String {
    switch panel {
    case .conflicts, .events:
      if let filter = state.filters[panel], !filter.isEmpty { "filter: \(CellText.clean(filter))" } else if panel == .conflicts, snapshot.conflictCount > 0 {
        "\(snapshot.conflictCount)"
      } else { "" }
    case .devices: "\(snapshot.devices.filter { $0.presence == .here }.count) of \(snapshot.devices.count) here"
    default: ""
    }
  }

  // MARK: The key bar

  private static func keyBar(_ state: DashboardState, _ frame: inout Frame) {
    let row = state.size.rows - 1
    if let message = state.message, state.dialogs.last != .crisis {
      // Nothing of it is cut off: it takes the rows that it needs.
      let lines = CellText.wrap(CellText.clean(message.text), max(1, state.size.columns - 2)).prefix(max(1, state.size.rows / 2))
      for (index, line) in lines.enumerated() {
        let padded = " \(line)" + String(repeating: " ", count: max(0, state.size.columns - CellText.width(line) - 1))
        frame.put(padded, row: row + 1 - lines.count + index, column: 0, columns: state.size.columns, role: .accent)
      }
      return
    }
    var column = 1
    for (key, label) in keys(state) {
      let width = CellText.width(key) + 1 + CellText.width(label) + 2
      // A shorter one may fit.
      guard column + width <= state.size.columns else { continue }
      frame.put(key, row: row, column: column, columns: width, role: key == "!" ? .crisis : .key)
      frame.put(label, row: row, column: column + CellText.width(key) + 1, columns: width, role: .keyLabel)
      column += width
    }
  }

  /// The keys of the crisis screen, most important first.
  ///
  /// - Parameter isShort: In few words, for a bar in which not all of them fit otherwise.
  private static func crisisKeys(_ state: DashboardState, isShort: Bool) -> [(String, String)] {
    let isNew = state.snapshot.map { $0.crisis.isActive && !$0.crisis.isAcknowledgedHere } ?? false
    var keys: [(String, String)] = []
    if state.canUndoCrisis { keys.append(("u", isShort ? "undo \(state.undoSeconds) s" : "take back (\(state.undoSeconds) s)")) }
    if state.isCrisisKnown { keys.append(("r", isShort ? "it is over" : "it is over for now")) }
    if state.canTellNow { keys.append(("Enter", isShort ? "tell now" : "tell my contacts now")) }
    keys += [("Esc", isNew ? isShort ? "seen" : "I have seen it" : "back"), ("↓", "more")]
    if state.ownSession != nil { keys.append(("p", isShort ? "pause" : "pause my session")) }
    if state.snapshot != nil, !state.isCrisisKnown { keys.append(("h", isShort ? "90 days" : "the last 90 days")) }
    return keys
  }

  /// The keys that work now, most important first.
  private static func keys(_ state: DashboardState) -> [(String, String)] {
    let crisis = ("!", "crisis")
    switch state.dialogs.last {
    case nil: break
    case .crisis?:
      let keys = crisisKeys(state, isShort: false)
      let columns = keys.reduce(1) { $0 + CellText.width($1.0) + CellText.width($1.1) + 3 }
      return columns <= state.size.columns ? keys : crisisKeys(state, isShort: true)
    case .confirmResolve?: return [crisis, ("y", "yes"), ("any other", "no")]
    case .form(let form)? where form.purpose == .unlock: return [state.isTyping ? ("^X", "crisis") : crisis, ("Enter", "open the store"), ("Esc", "back")]
    case .form?: return [("^X", "crisis"), ("Tab", "next"), ("Enter", "save at the end"), ("Esc", "back")]
    case .plan(let editor)?: return editor.keys
    case .palette?, .filter?: return [("^X", "crisis"), ("Enter", "do it"), ("Esc", "back")]
    case .questionnaire?: return [crisis, ("0-3", "answer"), ("←", "back one"), ("Esc", "leave")]
    case .practice?: return [crisis, ("h", "hand off"), ("p", "pause"), ("Esc", "panels")]
    case .invitation(_, _, let digits, _)?: return digits == nil ? [crisis, ("Esc", "cancel")] : [crisis, ("y", "same digits"), ("n", "different")]
    case .help?, .note?: return [crisis, ("Esc", "back")]
    case .recoveryCode?: return [crisis, ("Enter", "I have it on paper"), ("Esc", "leave it")]
    case .conflict(let dialog)?: return dialog.keys(dialog.conflict(in: state.snapshot))
    case .handOff?, .new?: return [crisis, ("Enter", "choose"), ("Esc", "back")]
    }
    if !state.problem.isEmpty, state.snapshot == nil {
      var keys = state.lockedCommands.map { ($0.keyName, $0.title) }
      keys.insert(("Enter", state.needsPassphrase ? "type the passphrase" : "try again"), at: keys.count - 1)
      return keys
    }
    if state.snapshot == nil { return [crisis, ("Enter", "start here"), ("j", "join"), ("d", "demo"), ("q", "quit")] }
    var commands: [Command] = [.crisis, .undo, .sync, .new, .handOff, .open, .invite, .zoom]
    if state.isDemo { commands += [.nextDevice, .life, .partition, .loss, .delay] }
    commands += [.help, .palette, .quit, .pause, .theme, .blank]
    return commands.filter { $0.unavailable(in: state) == nil }.map { ($0.keyName, $0.title) }
  }
}
