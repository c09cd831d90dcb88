import Stores

/// The five operations against their targets, from histograms.
enum GuaranteesPanel {
  static func lines(_ context: PanelContext) -> [Line] {
    let isWide = context.columns >= 66
    // A row that nothing has been measured for says so only where there is room.
    let rows = context.snapshot.guarantees.filter { $0.count > 0 || context.isZoomed || context.rows > 10 }
    let header = isWide ? "        p50     p95     p99     max  target   over" : "   p50   p99 target over"
    var lines = [Line([Span("milliseconds", .dim)], right: [Span(header, .dim)])]
    if rows.isEmpty { lines.append(Line("nothing measured yet: write something with another device around", .dim)) }
    for row in rows { lines.append(line(row, isWide: isWide)) }
    let path = context.snapshot.crisisPath.filter { $0.operation != .crisisPropagation && ($0.count > 0 || context.isZoomed) }
    if !path.isEmpty { lines += [Line("from a key to help", .dim)] + path.map { line($0, isWide: isWide) } }
    if context.isZoomed {
      let all = GuaranteedOperation.guaranteed + GuaranteedOperation.crisisPath.filter { $0 != .crisisPropagation }
      lines += [.empty] + all.map { Line("\($0.rawValue): \($0.meaning)", .dim) }
    }
    return lines
  }

  private static func line(_ row: GuaranteeRow, isWide: Bool) -> Line {
    let name = row.operation.words + (row.mode == .crisis ? " !" : "")
    let over: Span =
      row.critical > 0 ? Span(pad("\(row.violations)", 5) + "!", .critical)
      : row.violations > 0 ? Span(pad("\(row.violations)", 5) + " ", .bad) : Span(pad(row.count > 0 ? "0" : "–", 5) + " ", .good)
    let numbers = isWide ? [row.p50, row.p95, row.p99, row.max] : [row.p50, row.p99]
    let columns = isWide ? 8 : 6
    let spans = numbers.map { value in
      Span(pad(Wording.milliseconds(value), columns), value.map { $0 > row.target ? .bad : .text } ?? .dim)
    }
    return Line([Span(name)], right: spans + [Span(pad("\(Int(row.target))", isWide ? 8 : 7), .dim), over])
  }

  private static func pad(_ text: String, _ columns: Int) -> String {
    String(repeating: " ", count: max(0, columns - text.count)) + text
  }
}
