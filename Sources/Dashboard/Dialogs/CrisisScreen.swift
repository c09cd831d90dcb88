import Stores

/// The crisis screen: help first, then who knows. Large, calm, readable without colours.
enum CrisisScreen {
  static func draw(_ state: DashboardState, _ frame: inout Frame) {
    let rect = CellRect(row: 1, column: 0, rows: state.size.rows - 2, columns: state.size.columns)
    frame.clear(rect)
    frame.box(rect, title: "You are not alone", isFocused: true, role: .crisis)
    let inside = CellRect(row: rect.row + 1, column: 2, rows: rect.rows - 2, columns: max(1, rect.columns - 4))
    var lines = state.crisisLines.map { Line($0, $0.first?.isLetter ?? false ? .strong : .text) }
    lines += [.empty] + told(state)
    if let session = state.ownSession {
      lines += [.empty, Line("Your \(CellText.clean(session.type)) session goes on. p pauses it; nothing of it is lost.", .dim)]
    }
    let plan = state.snapshot?.plan.lines ?? state.planLines
    if !plan.isEmpty { lines += [.empty, Line("YOUR PLAN", .strong)] + plan.map { Line("  " + CellText.clean($0)) } }
    let all = lines.flatMap { wrapped($0, inside.columns) }
    frame.draw(Array(all.dropFirst(max(0, min(state.crisisOffset, all.count - inside.rows)))), in: inside)
  }

  private static func told(_ state: DashboardState) -> [Line] {
    guard let snapshot = state.snapshot else {
      return [Line("There is no store on this device, so nothing was sent to other devices.", .dim)]
    }
    guard snapshot.crisis.isActive else {
      return [Line(state.canUndoCrisis ? "Telling your devices…" : "No crisis is active.", .dim)]
    }
    let others = snapshot.crisis.receipts
    if others.isEmpty {
      return [Line("Raised on \(CellText.clean(snapshot.crisis.source)). Nobody outside your devices was told.", .strong)] + acknowledged(snapshot)
    }
    let have = others.filter(\.hasIt).count
    var lines = [Line("\(have) of \(others.count) other devices of yours show this now. Nobody else was told.", .strong)]
    for receipt in others {
      let after = receipt.after.map { " after \(Wording.duration(nanoseconds: $0))" } ?? ""
      lines.append(Line([
        Span("  \(receipt.hasIt ? state.glyphs.here : state.glyphs.away) \(CellText.clean(receipt.device))  "),
        Span(receipt.hasIt ? "has it\(after)" : "not yet: it will, as soon as it is back", receipt.hasIt ? .good : .waiting),
      ]))
    }
    return lines + acknowledged(snapshot)
  }

  /// Who has seen it, and what follows by itself.
  private static func acknowledged(_ snapshot: Snapshot) -> [Line] {
    var lines = snapshot.crisis.acknowledgements.map { entry in
      Line("  acknowledged on \(CellText.clean(entry.device)) after \(Wording.seconds(Double(entry.after) / 1_000))", .good)
    }
    if !snapshot.crisis.nextStep.isEmpty { lines.append(Line(snapshot.crisis.nextStep + ".", .dim)) }
    if snapshot.crisis.showsContacts, !snapshot.plan.contacts.isEmpty {
      lines += [.empty, Line("CALL ONE OF THEM", .strong)]
      lines += snapshot.plan.contacts.map { Line("  \(CellText.clean($0.name))  \(CellText.clean($0.phone))", .strong) }
    }
    return lines
  }

  private static func wrapped(_ line: Line, _ columns: Int) -> [Line] {
    guard line.left.count == 1, let span = line.left.first, CellText.width(span.text) > columns else { return [line] }
    let indent = String(span.text.prefix { $0 == " " })
    return CellText.wrap(span.text, columns - indent.count).map { Line(indent + $0, span.role) }
  }
}
