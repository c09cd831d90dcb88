/// What a newcomer sees: no store yet, and three ways to go on.
enum Welcome {
  static func draw(_ state: DashboardState, _ frame: inout Frame) {
    let lines = state.problem.isEmpty ? newcomer : broken(state.problem)
    let columns = min(76, state.size.columns - 4)
    let rows = min(lines.count + 2, state.size.rows - 2)
    let rect = CellRect(
      row: max(1, (state.size.rows - rows) / 2), column: (state.size.columns - columns) / 2, rows: rows, columns: columns)
    frame.box(rect, title: "fullmind", isFocused: true)
    frame.draw(lines, in: CellRect(row: rect.row + 1, column: rect.column + 2, rows: rows - 2, columns: columns - 4))
  }

  private static func broken(_ problem: [String]) -> [Line] {
    [Line("Your store is there, but it cannot be opened.", .strong), Line("Help does not depend on it.", .strong), .empty]
      + [Line([Span("!", .key), Span("  help lines and what can be done right now")]), .empty] + problem.map { Line($0) }
  }

  private static var newcomer: [Line] {
    [
      Line("Welcome.", .strong), .empty,
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
