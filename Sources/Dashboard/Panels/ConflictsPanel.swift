import Stores
import Therapy

/// What two devices wrote apart from each other and the person has to decide.
enum ConflictsPanel {
  static func lines(_ context: PanelContext) -> [Line] {
    let metrics = context.isZoomed ? metrics(context.snapshot, context.wall).map { Line(CellText.fit($0, context.columns), .dim) } : []
    return list(context, rows: max(1, context.rows - metrics.count)) + metrics
  }

  /// What has become of all of them, in a few lines.
  private static func metrics(_ snapshot: Snapshot, _ wall: UInt64) -> [String] {
    let (tally, decisions) = (snapshot.conflictTally, snapshot.decisions)
    let settled = tally.settled.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.value) by \($0.key.rawValue)" }
    let ages = snapshot.conflicts.map { conflict in
      let since = conflict.versions.map(\.timestamp).max() ?? wall
      return wall > since ? wall - since : 0
    }.sorted()
    let rules = snapshot.settling.filter { $0.count > 0 && $0.mode == .normal }.map { row in
      "\(row.operation.rawValue.dropFirst(8)) p99 \(Wording.milliseconds(row.p99)) of \(Int(row.target)) ms"
    }
    var lines = ["", (["\(tally.detected) found", "\(tally.churn) the same", "\(tally.asked) asked"] + settled).joined(separator: " · ")]
    if !rules.isEmpty { lines.append("by rule: " + rules.joined(separator: " · ")) }
    if let p50 = decisions.p50, let p95 = decisions.p95, let p99 = decisions.p99, let longest = decisions.max {
      lines.append("by people: after \(Wording.span(p50)), p95 \(Wording.span(p95)), p99 \(Wording.span(p99)), at most \(Wording.span(longest))")
    }
    if decisions.made > 0 {
      let agreed = decisions.agreed + decisions.disagreed > 0 ? " · recommendation followed \(decisions.agreed) of \(decisions.agreed + decisions.disagreed)" : ""
      lines.append("decided \(decisions.made), taken back \(decisions.takenBack)\(agreed)")
      lines.append(decisions.types.filter { $0.made > 0 }.map { "\($0.name): \($0.made - min($0.made, $0.takenBack)) of \($0.made) stand" }.joined(separator: " · "))
    }
    if let oldest = snapshot.oldestConflict, !ages.isEmpty {
      lines.append("open for \(Wording.span(ages[ages.count / 2])), the oldest for \(Wording.span(wall > oldest ? wall - oldest : 0))")
    }
    return lines
  }

  private static func list(_ context: PanelContext, rows: Int) -> [Line] {
    let conflicts = matching(context.snapshot.conflicts, context.filter)
    if conflicts.isEmpty {
      return context.filter.isEmpty || context.snapshot.conflicts.isEmpty
        ? [Line([Span("none open", .good), Span("  routine settles itself", .dim)])]
        : [Line("nothing matches “\(CellText.clean(context.filter))”", .dim)]
    }
    // Only what can be seen is drawn: there may be many, and a key is answered with every frame.
    let more = context.snapshot.conflictCount - context.snapshot.conflicts.count
    let note = more > 0 ? [Line("and \(more) lighter or older ones: fullmind conflicts list", .dim)] : []
    let rows = max(1, rows - note.count)
    let first = max(0, (context.selected ?? 0) - rows + 1)
    return conflicts.enumerated().dropFirst(first).prefix(rows).map { index, conflict in
      let role: Role = conflict.impact == .critical ? .critical : conflict.impact == .significant ? .bad : .waiting
      let newest = conflict.versions.map(\.timestamp).max()
      return Line(
        [Span("\(conflict.impact.name) ", role), Span(CellText.clean("\(conflict.title) \(conflict.isWhole ? "removed or kept?" : conflict.field)"))],
        // Where there is little room, which field it is says more than how many versions there are.
        right: [Span((context.columns < 50 ? "" : "\(conflict.versions.count + conflict.moreVersions) versions ") + Wording.ago(newest, now: context.wall), .dim)],
        isSelected: index == context.selected)
    } + note
  }

  /// Conflicts whose type, impact, urgency, area or title contain the filter; with `!` in front, the others.
  package static func matching(_ conflicts: [Snapshot.Conflict], _ filter: String) -> [Snapshot.Conflict] {
    Panel.matching(conflicts, filter) { [$0.type, $0.impact.name, $0.urgency, $0.area, $0.title, $0.field].joined(separator: " ") }
  }
}
