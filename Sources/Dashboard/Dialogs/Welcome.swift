/// What a newcomer sees: no store yet, and three ways to go on.
enum Welcome {
  static func draw(_ state: DashboardState, _ frame: inout Frame) {
    let columns = min(76, state.size.columns - 4)
    let lines = state.problem.isEmpty ? newcomer(state.place) : broken(state, columns - 4)
    let rows = min(lines.count + 2, state.size.rows - 2)
    let rect = CellRect(
      row: max(1, (state.size.rows - rows) / 2), column: (state.size.columns - columns) / 2, rows: rows, columns: columns)
    frame.box(rect, title: "fullmind", isFocused: true)
    frame.draw(lines, in: CellRect(row: rect.row + 1, column: rect.column + 2, rows: rows - 2, columns: columns - 4))
  }

  /// A line of one span as so many lines as it needs.
  private static func wrapped(_ line: Line, _ columns: Int) -> [Line] {
    guard line.left.count == 1, let span = line.left.first, !span.text.isEmpty else { return [line] }
    return CellText.wrap(span.text, max(1, columns)).map { Line($0, span.role) }
  }

  private static func broken(_ state: DashboardState, _ columns: Int) -> [Line] {
    var lines = [Line("Your store cannot be used now.", .strong), Line("Help does not depend on it.", .strong), .empty]
    if state.isCrisisKnown {
      lines += [
        Line(state.isRaisedHere ? DashboardState.raisedHere : "A crisis was active when your store could be read last.", .crisis),
        Line([Span("r", .key), Span("  it is over for now")]),
      ]
    }
    if state.isOverHere { lines.append(Line(DashboardState.overHere)) }
    lines = lines.flatMap { line in wrapped(line, columns) }
    return lines + [Line([Span("!", .key), Span("  help lines and what can be done right now")]), .empty] + state.problem.map { Line($0) }
      + [.empty, Line([Span("Enter", .key), Span(state.needsPassphrase ? "  type the passphrase" : "  try again to open it")])]
  }

  private static func newcomer(_ place: String) -> [Line] {
    [
      Line("Welcome.", .strong), Line(place.isEmpty ? "" : "There is no store in \(CellText.clean(place)) yet.", .dim), .empty,
      Line("fullmind keeps your check-ins, questionnaires, practice and safety plan"),
      Line("the same on every device you own. Everything is sealed on this device"),
      Line("before it leaves; there is no server, no login and no price."), .empty,
      Line([Span("Enter", .key), Span("  start on this device")]),
      Line([Span("j", .key), Span("      join with a code from another device of yours")]),
      Line([Span("d", .key), Span("      look at a living demo household first")]), .empty,
      Line([Span("!", .key), Span("      help lines, now and always")]), .empty,
      Line("This is an aid, not a diagnosis.", .dim),
    ]
  }
}
