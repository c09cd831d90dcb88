import Stores
import Therapy

/// What two devices wrote apart from each other and the person has to decide.
enum ConflictsPanel {
  static func lines(_ context: PanelContext) -> [Line] {
    let conflicts = context.snapshot.conflicts
    if conflicts.isEmpty, !context.isZoomed { return [Line([Span("none open", .good), Span("  routine settles itself", .dim)])] }
    let tally = context.snapshot.conflictTally
    let settled = tally.settled.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.value) by \($0.key.rawValue)" }
    let counts = ["\(tally.detected) found", "\(tally.churn) the same", "\(tally.asked) asked"] + settled
    return lines(conflicts, context) + (context.isZoomed ? [.empty, Line(counts.joined(separator: " · "), .dim)] : [])
  }

  private static func lines(_ conflicts: [Snapshot.Conflict], _ context: PanelContext) -> [Line] {
    if conflicts.isEmpty { return [Line([Span("none open", .good), Span("  routine settles itself", .dim)])] }
    // Only what can be seen is drawn: there may be many, and a key is answered with every frame.
    let rows = max(1, context.rows - (context.isZoomed ? 2 : 0))
    let first = max(0, (context.selected ?? 0) - rows + 1)
    return conflicts.enumerated().dropFirst(first).prefix(rows).map { index, conflict in
      let role: Role = conflict.impact == .critical ? .critical : conflict.impact == .significant ? .bad : .waiting
      let newest = conflict.versions.map(\.timestamp).max()
      return Line(
        [Span("\(conflict.impact.name) ", role), Span(CellText.clean("\(conflict.title) \(conflict.isWhole ? "removed or kept?" : conflict.field)"))],
        right: [Span("\(conflict.versions.count) versions \(Wording.ago(newest, now: context.wall))", .dim)],
        isSelected: index == context.selected)
    }
  }
}
