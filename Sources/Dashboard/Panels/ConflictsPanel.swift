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
    let footer = context.isZoomed ? [.empty, Line(counts.joined(separator: " · "), .dim)] : []
    return footer.isEmpty ? lines(conflicts, context) : lines(conflicts, context) + footer
  }

  private static func lines(_ conflicts: [Snapshot.Conflict], _ context: PanelContext) -> [Line] {
    if conflicts.isEmpty { return [Line([Span("none open", .good), Span("  routine settles itself", .dim)])] }
    return conflicts.enumerated().map { index, conflict in
      let role: Role = conflict.impact == .critical ? .critical : conflict.impact == .significant ? .bad : .waiting
      let newest = conflict.versions.map(\.timestamp).max()
      return Line(
        [Span("\(conflict.impact.name) ", role), Span(CellText.clean("\(conflict.title) \(conflict.isWhole ? "removed or kept?" : conflict.field)"))],
        right: [Span("\(conflict.versions.count) versions \(Wording.ago(newest, now: context.wall))", .dim)],
        isSelected: index == context.selected)
    }
  }
}
