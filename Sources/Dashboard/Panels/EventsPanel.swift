import Stores

/// What happened, newest first.
package enum EventsPanel {
  static func lines(_ context: PanelContext) -> [Line] {
    let events = matching(context.snapshot.events, context.filter)
    if events.isEmpty { return [Line(context.filter.isEmpty ? "nothing yet" : "nothing matches “\(context.filter)”", .dim)] }
    // Only what can be seen is drawn: there may be hundreds, and a key is answered with every frame.
    let first = max(0, (context.selected ?? 0) - context.rows + 1)
    return events.reversed().enumerated().dropFirst(first).prefix(context.rows).flatMap { index, event -> [Line] in
      let role: Role =
        switch event.weight {
        case .quiet: .text
        case .notable: .accent
        case .warning: .waiting
        case .alarm: .bad
        }
      let mark = event.weight == .warning || event.weight == .alarm ? context.glyphs.warning : context.glyphs.bullet
      let text = CellText.clean(event.text)
      // In a whole screen nothing of it is cut off.
      let parts = context.isZoomed ? CellText.wrap(text, max(8, context.columns - 11)) : [text]
      return parts.enumerated().map { number, part in
        Line(
          number == 0 ? [Span("\(Wording.timeOfDay(event.wall)) ", .dim), Span("\(mark) \(part)", role)] : [Span("           \(part)", role)],
          isSelected: index == context.selected && number == 0)
      }
    }
  }

  package static func matching(_ events: [Snapshot.Event], _ filter: String) -> [Snapshot.Event] {
    Panel.matching(events, filter, \.text)
  }
}
