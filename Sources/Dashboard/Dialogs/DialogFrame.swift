import Stores
import Therapy

/// Draws the dialogs over the panels.
enum DialogFrame {
  static func draw(_ dialog: Dialog, _ state: DashboardState, _ frame: inout Frame) {
    switch dialog {
    case .help: box("Help", help(state), state, &frame)
    case .palette(let query, let selected): box("Commands", palette(state, query, selected), state, &frame)
    case .crisis: CrisisScreen.draw(state, &frame)
    case .confirmResolve: box("Resolve", [Line("Is it over for now?"), .empty, Line([Span("y", .key), Span(" yes, resolve it on every device")]), Line([Span("any other key", .key), Span(" not yet")])], state, &frame)
    case .conflict(let dialog): conflict(dialog, state, &frame)
    case .handOff(_, let selected): box("Hand off to", handOff(state, selected), state, &frame)
    case .new(let selected): box("New", choices(DashboardState.beginnings, selected), state, &frame)
    case .form(let form): self.form(form, state, &frame)
    case .plan(let editor): plan(editor, state, &frame)
    case .questionnaire(let questionnaire): box(questionnaire.instrument.name.uppercased(), self.questionnaire(questionnaire), state, &frame)
    case .practice: PracticeScreen.draw(state, &frame)
    case .filter(let text): box("Filter \(state.focus == .conflicts ? "conflicts" : "events")", [Line([Span(text), Span(state.glyphs.cursor, .accent)]), .empty, Line("!word shows what does not contain it", .dim)], state, &frame)
    case .invitation(let code, let relay, let digits, let name): box("Invite a device", invitation(code, relay, digits, name), state, &frame)
    case .note(let title, let text): box(title, text.map { Line($0) }, state, &frame)
    case .recoveryCode(let text): box("Your recovery code", text.map { Line($0) }, state, &frame)
    }
  }

  /// A centred box as wide as its lines need.
  @discardableResult
  static func box(_ title: String, _ lines: [Line], _ state: DashboardState, _ frame: inout Frame, role: Role? = nil) -> CellRect {
    let widest = lines.map { line in
      (line.left + line.right).reduce(line.right.isEmpty ? 0 : 2) { $0 + CellText.width($1.text) }
    }.max() ?? 0
    let columns = min(max(widest + 4, 44), state.size.columns - 2)
    let rows = min(lines.count + 2, state.size.rows - 2)
    let rect = CellRect(
      row: max(1, (state.size.rows - rows) / 2), column: max(0, (state.size.columns - columns) / 2), rows: rows,
      columns: columns)
    frame.clear(rect)
    frame.box(rect, title: title, isFocused: true, role: role)
    frame.draw(lines, in: CellRect(row: rect.row + 1, column: rect.column + 2, rows: rows - 2, columns: columns - 4))
    return rect
  }

  private static func choices(_ entries: [String], _ selected: Int) -> [Line] {
    entries.enumerated().map { index, entry in
      Line([Span("\(index + 1) ", .key), Span(entry)], isSelected: index == selected)
    }
  }

  private static func help(_ state: DashboardState) -> [Line] {
    let commands = Command.allCases.filter { !$0.isForDemo || state.isDemo }.map { command -> Line in
      let reason = command.unavailable(in: state)
      return Line(
        [Span(pad(command.keyName, 6), .key), Span(command.explanation, reason == nil ? .text : .dim)],
        right: reason.map { [Span("(\($0))", .dim)] } ?? [])
    }
    return commands + [
      Line([Span(pad("1…8", 6), .key), Span("A panel; once more shows it on the whole screen.")]),
      Line([Span(pad("Tab", 6), .key), Span("The next panel; arrows and j k move inside it; Esc goes back.")]),
      Line([Span(pad("^X", 6), .key), Span("The crisis key while you are typing.")]),
    ]
  }

  private static func pad(_ text: String, _ columns: Int) -> String {
    text + String(repeating: " ", count: max(1, columns - CellText.width(text)))
  }

  private static func palette(_ state: DashboardState, _ query: String, _ selected: Int) -> [Line] {
    [Line([Span(": ", .key), Span(query), Span(state.glyphs.cursor, .accent)]), .empty]
      + state.found(query).prefix(12).enumerated().map { index, command in
        let reason = command.unavailable(in: state)
        return Line(
          [Span(command.title, reason == nil ? .text : .dim), Span(reason.map { "  (\($0))" } ?? "", .dim)],
          right: [Span(command.keyName, .key)], isSelected: index == selected)
      }
  }

  private static func conflict(_ dialog: ConflictDialog, _ state: DashboardState, _ frame: inout Frame) {
    let (columns, rows) = (min(100, state.size.columns - 6), max(1, state.size.rows - 4))
    guard let conflict = dialog.conflict(in: state.snapshot) else {
      box("Conflict", [Line("It is settled."), .empty, Line("Esc goes back.", .dim)], state, &frame)
      return
    }
    box("Conflict", dialog.lines(conflict, state, columns: columns, rows: rows).map { $0.padded(to: columns) }, state, &frame)
  }

  private static func handOff(_ state: DashboardState, _ selected: Int) -> [Line] {
    state.otherDevices.enumerated().map { index, device in
      Line(
        [Span(CellText.clean(device.name), .strong), Span("  \(CellText.clean(device.kind))", .dim)],
        right: [Span(device.presence.rawValue, device.presence == .here ? .good : .dim)], isSelected: index == selected)
    } + [.empty, Line("The session stays here until its receipt is back.", .dim)]
  }

  private static func plan(_ editor: PlanEditor, _ state: DashboardState, _ frame: inout Frame) {
    let (columns, rows) = (min(76, state.size.columns - 6), max(1, state.size.rows - 6))
    let plan = state.snapshot?.plan ?? SafetyPlan(plans: [], contacts: [])
    box("Safety plan", editor.lines(plan, state.glyphs, columns: columns, rows: rows).map { $0.padded(to: columns) }, state, &frame)
  }

  private static func form(_ form: Form, _ state: DashboardState, _ frame: inout Frame) {
    let columns = min(72, state.size.columns - 6)
    var lines = form.fields.enumerated().map { index, field in
      let isCurrent = index == form.index
      let room = columns - 18 - CellText.width(field.hint)
      let shown = field.isSecret ? String(repeating: "*", count: field.text.count) : CellText.clean(field.text)
      let text = String(shown.suffix(max(1, room)))
      return Line(
        [Span(pad(field.name, 14), isCurrent ? .accent : .dim), Span(text), Span(isCurrent ? state.glyphs.cursor : "", .accent)],
        right: [Span(field.hint, .dim)], isSelected: isCurrent)
    }
    lines += [.empty]
    if let problem = form.problem { lines += CellText.wrap(problem, columns).map { Line($0, .bad) } }
    if case .record = form.purpose { lines.append(Line("Leave empty what you do not want to say.", .dim)) }
    if form.purpose == .unlock { lines += unlocking(state, columns) }
    let rect = box(form.title, lines.map { $0.padded(to: columns) }, state, &frame)
    frame.cursor = (rect.row + 1 + form.index, min(rect.column + rect.columns - 2, rect.column + 16 + CellText.width(form.fields[form.index].text)))
  }

  /// What is to be known while a passphrase is typed, over a screen that says nothing else.
  private static func unlocking(_ state: DashboardState, _ columns: Int) -> [Line] {
    let active = state.isCrisisKnown ? "A crisis is known here. Esc, and then r, says that it is over for now." : ""
    let keys = "! as the first key, or ^X at any time, raises a crisis and shows help lines. Everything else is a part of it."
    let crisis: [Line] = active.isEmpty ? [] : CellText.wrap(active, columns).map { Line($0, .crisis) }
    return crisis + CellText.wrap(keys, columns).map { Line($0, .dim) }
  }

  private static func questionnaire(_ questionnaire: Questionnaire) -> [Line] {
    if let offer = questionnaire.offer {
      let accept = offer.level > .none ? " show help lines and tell my devices" : " show help lines"
      return CellText.wrap("Thank you for saying so. Because \(offer.reason.text), it may be good not to be alone with it right now.", 60).map { Line($0) }
        + [.empty, Line([Span("y", .key), Span(accept)]), Line([Span("any other key", .key), Span(" go on")]), .empty,
          Line("This is a screening aid, not a diagnosis. You decide.", .dim)]
    }
    if questionnaire.isComplete { return finished(questionnaire) }
    let item = questionnaire.instrument.items[questionnaire.index]
    return [
      Line("Over the last two weeks, how often: \(questionnaire.index + 1) of \(questionnaire.instrument.items.count)", .dim), .empty,
      Line(item.topic, .strong), .empty,
    ] + ["not at all", "several days", "more than half the days", "nearly every day"].enumerated().map { value, words in
      Line([Span("\(value) ", .key), Span(words)], isSelected: questionnaire.answers[questionnaire.index] == value)
    } + [.empty, Line("→ leaves it open; an open answer is unknown, not zero.", .dim)]
  }

  private static func finished(_ questionnaire: Questionnaire) -> [Line] {
    let score = questionnaire.instrument.score(questionnaire.answers)
    let band = score.flatMap { questionnaire.instrument.band(of: $0) }
    let result = score.map { "Total \($0): \(band ?? "")" } ?? "Some answers are open, so there is no total."
    return [Line(result, .strong), Line("A band describes a score. It is not a diagnosis.", .dim), .empty, Line([Span("Enter", .key), Span(" save it on this device")]), Line([Span("Esc", .key), Span(" do not keep it")])]
  }

  private static func invitation(_ code: String, _ relay: String, _ digits: String?, _ name: String) -> [Line] {
    guard let digits else {
      let command = ["fullmind join \(code) --device NAME \\"] + CellText.wrap("--relay \(CellText.clean(relay))", 66).map { "  \($0)" }
      return [Line("On the new device:"), .empty] + command.map { Line($0, .strong) }
        + [.empty, Line("Or there: `fullmind`, then j, with this code and relay.", .dim), Line("The code lives five minutes and serves once.", .dim)]
    }
    return [
      Line("“\(CellText.clean(name))” is here. Does it show the same digits?"), .empty, Line("    \(digits)", .strong), .empty,
      Line([Span("y", .key), Span(" yes, let it in")]), Line([Span("n", .key), Span(" no: somebody may be in the middle")]),
    ]
  }
}

extension Line {
  /// At least so wide, so that a box does not jump while text is typed.
  fileprivate func padded(to columns: Int) -> Line {
    let width = (left + right).reduce(0) { $0 + CellText.width($1.text) }
    var line = self
    if width < columns, right.isEmpty { line.left.append(Span(String(repeating: " ", count: columns - width))) }
    return line
  }
}
