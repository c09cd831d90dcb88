import Causality
import ConflictResolution
import Stores
import Therapy

/// One conflict, with its versions beside each other. It is named by its record and field: a list that
/// changes meanwhile cannot put another one in its place.
package struct ConflictDialog: Sendable, Hashable {
  package var record: RecordID
  package var field: String
  var selected = 0
  /// What the person writes instead of all versions; `nil` while versions are chosen.
  package var typing: String?
  /// All of this type were asked to be settled.
  var isSettlingAll = false
  var problem: String?

  package init(_ conflict: Snapshot.Conflict) { (record, field) = (conflict.record, conflict.field) }

  func conflict(in snapshot: Snapshot?) -> Snapshot.Conflict? {
    snapshot?.conflicts.first { $0.record == record && $0.field == field }
  }

  // MARK: Keys

  enum Answer: Hashable {
    case keep(OperationID)
    case keepAll
    case write(String)
    case settleAll
    /// Somebody else is to decide.
    case ask
  }

  mutating func press(_ key: Key, _ conflict: Snapshot.Conflict) -> Answer? {
    problem = nil
    if isSettlingAll {
      isSettlingAll = false
      return key == .character("y") ? .settleAll : nil
    }
    if let text = typing { return type(key, text, conflict) }
    let last = conflict.versions.count - 1
    switch key {
    case .right, .down, .tab, .character("j"): selected = min(last, selected + 1)
    case .left, .up, .backTab, .character("k"): selected = max(0, selected - 1)
    case .character("m") where conflict.canKeepBoth: return .keepAll
    case .character("e") where !conflict.isWhole: typing = conflict.versions[min(selected, last)].value
    case .character("A"): isSettlingAll = true
    case .character("t") where !conflict.isWhole && conflict.review == nil: return .ask
    case .character("a"):
      if case .recommends(let recommendation)? = conflict.advice { return .keep(recommendation.version) }
    case .enter: return .keep(conflict.versions[min(selected, last)].id)
    case .character(let digit):
      if let number = digit.wholeNumberValue, (1...last + 1).contains(number) { selected = number - 1 }
    default: break
    }
    return nil
  }

  private mutating func type(_ key: Key, _ text: String, _ conflict: Snapshot.Conflict) -> Answer? {
    guard key == .enter else {
      typing = DashboardState.edited(text, key)
      return nil
    }
    do throws(InputError) {
      _ = try RecordCatalogue[conflict.kind]?[conflict.field]?.value(from: text)
      return .write(text)
    } catch {
      problem = "\(error.summary) \(error.remedy)"
      return nil
    }
  }

  func keys(_ conflict: Snapshot.Conflict?) -> [(String, String)] {
    if typing != nil { return [("^X", "crisis"), ("Enter", "this is right"), ("Esc", "back")] }
    if isSettlingAll { return [("!", "crisis"), ("y", "yes"), ("any other", "no")] }
    var keys = [("!", "crisis"), ("← →", "choose"), ("Enter", "keep")]
    // All but the last fit into 80 columns.
    if case .recommends? = conflict?.advice { keys.append(("a", "follow")) }
    if conflict?.canKeepBoth ?? false { keys.append(("m", "both")) }
    if conflict.map({ !$0.isWhole }) ?? false { keys.append(("e", "edit")) }
    if conflict.map({ !$0.isWhole && $0.review == nil }) ?? false { keys.append(("t", "ask")) }
    return keys + [("Esc", "later"), ("A", "all of this type")]
  }

  // MARK: Picture

  func lines(_ conflict: Snapshot.Conflict, _ state: DashboardState, columns: Int, rows: Int) -> [Line] {
    let name = conflict.isWhole ? "the whole record" : conflict.field
    var lines = [Line([Span(CellText.clean(conflict.title), .strong), Span("  \(CellText.clean(name))")], right: [Span("\(conflict.type), \(conflict.impact.name)", .dim)])]
    lines += CellText.wrap("\(conflict.happened) \(conflict.meanwhile) \(conflict.why)", columns).map { Line($0, .dim) } + [.empty]
    let more = more(conflict)
    if isSettlingAll {
      return lines + CellText.wrap("Settle every open “\(conflict.type)” with the version that is shown for now?", columns).map { Line($0, .strong) }
        + [Line([Span("y", .key), Span(" yes; each can be undone   "), Span("any other key", .key), Span(" no")])]
    }
    if let typing {
      return lines + CellText.wrap(CellText.clean(typing) + state.glyphs.cursor, columns).map { Line($0) }
        + (problem.map { CellText.wrap($0, columns).map { Line($0, .bad) } } ?? [])
    }
    let advice = [.empty] + self.advice(conflict, columns) + more.flatMap { CellText.wrap($0, columns) }.map { Line($0, .waiting) }
    if conflict.versions.count == 2, columns >= 60 {
      return lines + beside(conflict, state, columns, room: rows - lines.count - advice.count) + advice
    }
    return lines + conflict.versions.enumerated().flatMap { stacked($0, $1, state, columns) } + advice
  }

  /// What does not fit in here.
  private func more(_ conflict: Snapshot.Conflict) -> [String] {
    var more = [String]()
    if let review = conflict.review { more.append(CellText.clean(review)) }
    if conflict.moreVersions > 0 { more.append("And \(conflict.moreVersions) more versions: see `fullmind record history`.") }
    if conflict.moreInRecord > 0 { more.append("And \(conflict.moreInRecord) more conflicts in this record: they are listed when these are settled.") }
    return more
  }

  /// What the assistant says, and why; nothing where it was not asked.
  private func advice(_ conflict: Snapshot.Conflict, _ columns: Int) -> [Line] {
    switch conflict.advice {
    case nil: return []
    case .abstains(let reason): return CellText.wrap("No recommendation: \(reason)", columns).map { Line($0, .dim) }
    case .recommends(let recommendation):
      let number = (conflict.versions.firstIndex { $0.id == recommendation.version } ?? 0) + 1
      let reasons = recommendation.reasons.isEmpty ? "" : ": " + recommendation.reasons.joined(separator: "; ")
      return CellText.wrap("Recommended: \(number), with \(recommendation.permille / 10) %\(reasons).", columns).map { Line($0, .accent) }
    }
  }

  private func head(_ number: Int, _ version: Snapshot.Conflict.Version, _ state: DashboardState) -> String {
    "\(number + 1) \(CellText.clean(version.device)), \(Wording.ago(version.timestamp, now: state.now.wall))"
  }

  private func stacked(_ number: Int, _ version: Snapshot.Conflict.Version, _ state: DashboardState, _ columns: Int) -> [Line] {
    [Line([Span(head(number, version, state), .key)], right: [Span(version.isChosen ? "shown for now" : "", .waiting)], isSelected: number == selected)]
      + CellText.wrap(CellText.clean(version.value), columns - 2).prefix(4).map { Line("  " + $0, .strong) }
      + [Line("  \(version.consequence)", .dim)]
  }

  /// Changed words with nothing but spaces between them are one piece.
  private static func joined(_ pieces: [TextMerge.Piece]) -> [TextMerge.Piece] {
    var joined = [TextMerge.Piece]()
    for (index, piece) in pieces.enumerated() {
      let isGap = !piece.isChanged && piece.text.allSatisfy(\.isWhitespace) && index > 0 && index + 1 < pieces.count
      if isGap || piece.isChanged, joined.last?.isChanged ?? false { joined[joined.count - 1].text += piece.text } else { joined.append(piece) }
    }
    return joined
  }

  /// Both in columns; words that the other does not have stand in brackets.
  private func beside(_ conflict: Snapshot.Conflict, _ state: DashboardState, _ columns: Int, room: Int) -> [Line] {
    let width = (columns - 3) / 2
    let pieces = TextMerge.pieces(conflict.versions[0].value, conflict.versions[1].value)
    let sides = [pieces.left, pieces.right].enumerated().map { number, pieces -> [(String, Role)] in
      let version = conflict.versions[number]
      let isWhole = pieces.allSatisfy(\.isChanged)
      let text = Self.joined(pieces).map { $0.isChanged && !isWhole ? "[\($0.text)]" : $0.text }.joined()
      let value = CellText.wrap(CellText.clean(text.replacing("\n", with: " ")), width)
      let shown = value.count > max(1, room - 5) ? Array(value.prefix(max(1, room - 6))) + ["…"] : value
      return [(head(number, version, state), number == selected ? .accent : .dim), (version.isChosen ? "shown for now" : "", .waiting)]
        + shown.map { ($0, .strong) } + [("", .text)] + CellText.wrap(version.consequence, width).map { ($0, .dim) }
    }
    let count = max(sides[0].count, sides[1].count)
    return (0..<count).map { row in
      func cell(_ side: Int) -> Span {
        guard sides[side].indices.contains(row) else { return Span(String(repeating: " ", count: width)) }
        let (text, role) = sides[side][row]
        let marker = row == 0 ? (side == selected ? "> " : "  ") : ""
        let fitted = CellText.fit(marker + text, width)
        return Span(fitted + String(repeating: " ", count: max(0, width - CellText.width(fitted))), role)
      }
      return Line([cell(0), Span(" \(state.glyphs.vertical) ", .dim), cell(1)])
    }
  }
}
