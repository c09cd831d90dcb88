/// Where the panels stand, for a size.
package enum DashboardLayout {
  /// Below this only the most important words fit.
  package static let smallest = CellSize(rows: 8, columns: 30)

  package static func isTiny(_ size: CellSize) -> Bool { size.rows < smallest.rows || size.columns < smallest.columns }

  /// The panels that fit and their places, between header and key bar.
  package static func panels(_ state: DashboardState) -> [(panel: Panel, rect: CellRect)] {
    let size = state.size
    if isTiny(size) { return [] }
    let body = CellRect(row: 1, column: 0, rows: size.rows - 2, columns: size.columns)
    if state.isZoomed { return [(state.focus, body)] }
    return size.columns >= 78 && body.rows >= 20 ? twoColumns(body) : oneColumn(body, focus: state.focus)
  }

  private static let pairs: [(Panel, Panel)] = [
    (.sync, .devices), (.crisis, .sessions), (.conflicts, .quota), (.guarantees, .events),
  ]

  private static func twoColumns(_ body: CellRect) -> [(panel: Panel, rect: CellRect)] {
    // At 80×24 the four rows of panels take 7, 5, 4 and 6 lines; more room goes where lists grow.
    var heights = [7, 5, 4, 6]
    var extra = body.rows - heights.reduce(0, +)
    if extra < 0 {
      heights = [6, 5, 4, body.rows - 15]
      extra = 0
    }
    for (index, share) in [0.25, 0.15, 0.2].enumerated() { heights[index] += Int(Double(extra) * share) }
    heights[3] += extra - Int(Double(extra) * 0.25) - Int(Double(extra) * 0.15) - Int(Double(extra) * 0.2)
    let left = (body.columns + 1) / 2
    var row = body.row
    return zip(pairs, heights).flatMap { pair, height in
      defer { row += height }
      return [
        (pair.0, CellRect(row: row, column: 0, rows: height, columns: left)),
        (pair.1, CellRect(row: row, column: left, rows: height, columns: body.columns - left)),
      ]
    }
  }

  /// One below the other: the focused panel is always among them.
  private static func oneColumn(_ body: CellRect, focus: Panel) -> [(panel: Panel, rect: CellRect)] {
    let height = 6
    let count = max(1, body.rows / height)
    var panels = Array(Panel.allCases.prefix(count))
    if !panels.contains(focus) { panels[panels.count - 1] = focus }
    return panels.enumerated().map { index, panel in
      let isLast = index == panels.count - 1
      return (
        panel,
        CellRect(
          row: body.row + index * height, column: 0, rows: isLast ? body.rows - index * height : height,
          columns: body.columns)
      )
    }
  }
}
