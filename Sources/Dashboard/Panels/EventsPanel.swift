import Stores

/// What happened, newest first.
package enum EventsPanel {
  static func lines(_ context: PanelContext) -> [Line] {
    let events = matching(context.snapshot.events, context.filter)
    if events.isEmpty { return [Line(context.filter.isEmpty ? "nothing yet" : "nothing matches “\(context.filter)”", .dim)] }
    // Only what can be seen is drawn: there may be hundreds, and a key is answered with every frame.
    let first = max(0, (context.selected ?? 0) - context.rows + 1)
    return events.reversed().enumerated().dropFirst(first).prefix(context.rows).map { index, event in
      let role: Role =
        switch event.weight {
        case .quiet: .text
        case .notable: .accent
        case .warning: .waiting
        case .alarm: .bad
        }
      let mark = event.weight == .warning || event.weight == .alarm ? context.glyphs.warning : context.glyphs.bullet
      return Line(
        [Span("\(Wording.timeOfDay(event.wall)) ", .dim), Span("\(mark) \(CellText.clean(event.text))", role)],
        isSelected: index == context.selected)
    }
  }

  package static func matching(_ events: [Snapshot.Event], _ filter: String) -> [Snapshot.Event] {
    Panel.matching(events, filter, \.text)
  }
}
