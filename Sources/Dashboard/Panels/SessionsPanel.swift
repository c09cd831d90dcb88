import Stores

/// What runs where, and how far it has come.
enum SessionsPanel {
  static func lines(_ context: PanelContext) -> [Line] {
    let sessions = context.snapshot.sessions
    if sessions.isEmpty { return [Line([Span("none yet   "), Span("n", .key), Span(" begins one", .dim)])] }
    return sessions.enumerated().map { index, session in
      let share = session.seconds > 0 ? session.elapsed / session.seconds : 0
      let isOpen = session.phase == "running" || session.phase == "paused"
      let owner = session.isOwn ? "here" : "on \(CellText.clean(session.owner))"
      // A pause of one's own is one key away from going on.
      let resume = session.isOwn && session.phase == "paused" ? ", Enter goes on" : ""
      let offer = session.offeredTo.map { " \(context.glyphs.arrow) \(CellText.clean($0))" } ?? ""
      let bar = isOpen ? Wording.bar(share, columns: 8, context.glyphs) + " " : ""
      return Line(
        [
          Span(CellText.clean(session.type), .strong),
          Span(" \(session.phase) \(owner)\(offer)\(resume)", session.phase == "running" ? .accent : .dim),
        ], right: [Span(bar, .plotLow), Span(Wording.clock(session.elapsed), .dim)], isSelected: index == context.selected)
    }
  }
}
