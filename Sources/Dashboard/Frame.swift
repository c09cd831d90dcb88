/// What a piece of text means; a ``Theme`` says how that looks.
package enum Role: String, Sendable, CaseIterable {
  case text, dim, strong, accent
  case good, waiting, bad, critical
  case border, focusedBorder = "focused_border", title
  case selection, key, keyLabel = "key_label", header
  case crisis, plotLow = "plot_low", plotMiddle = "plot_middle", plotHigh = "plot_high"

  /// Its place among all cases.
  package var index: Int { Self.places[self] ?? 0 }
  private static let places = Dictionary(uniqueKeysWithValues: zip(allCases, 0...))
}

/// A size in terminal cells.
package struct CellSize: Sendable, Hashable {
  package var rows: Int
  package var columns: Int
  package init(rows: Int, columns: Int) { (self.rows, self.columns) = (rows, columns) }
}

/// A part of the screen.
package struct CellRect: Sendable, Hashable {
  package var row: Int
  package var column: Int
  package var rows: Int
  package var columns: Int

  package init(row: Int, column: Int, rows: Int, columns: Int) {
    (self.row, self.column, self.rows, self.columns) = (row, column, rows, columns)
  }

  /// Without a border of one cell.
  package var interior: CellRect {
    CellRect(row: row + 1, column: column + 1, rows: max(0, rows - 2), columns: max(0, columns - 2))
  }

  package func contains(row: Int, column: Int) -> Bool {
    (self.row..<self.row + rows).contains(row) && (self.column..<self.column + columns).contains(column)
  }
}

/// A stretch of text in one role.
package struct Span: Sendable, Hashable {
  package var text: String
  package var role: Role
  package init(_ text: String, _ role: Role = .text) { (self.text, self.role) = (text, role) }
}

/// A line of a panel: something on the left, something on the right, and whether it is selected.
package struct Line: Sendable, Hashable {
  package var left: [Span]
  package var right: [Span]
  package var isSelected: Bool

  package init(_ left: [Span], right: [Span] = [], isSelected: Bool = false) {
    (self.left, self.right, self.isSelected) = (left, right, isSelected)
  }

  package init(_ text: String, _ role: Role = .text) { self.init([Span(text, role)]) }

  package static let empty = Line("")
}

/// One cell: what stands in it, and in which role. The second column of a wide character is empty.
///
/// 16 bytes without a reference: a frame has thousands, and is made, compared and dropped for each key.
package struct Cell: Sendable, Hashable {
  /// Up to three marks on the scalar, 21 bits each.
  private var marks: UInt64 = 0
  /// What stands in the cell; 0 in the second column of a wide character.
  package var scalar: UInt32
  package var role: Role
  /// On the selected line.
  package var isSelected: Bool

  package init(_ scalar: UInt32, _ role: Role, isSelected: Bool = false) {
    (self.scalar, self.role, self.isSelected) = (scalar, role, isSelected)
  }

  /// Of a character that was cleaned: one scalar with at most three marks; further ones are left out.
  package init(_ text: some StringProtocol, _ role: Role, isSelected: Bool = false) {
    self.init(0, role, isSelected: isSelected)
    var rest = text.unicodeScalars.makeIterator()
    scalar = rest.next()?.value ?? 0
    for shift in [UInt64(0), 21, 42] {
      guard let mark = rest.next() else { break }
      marks |= UInt64(mark.value) << shift
    }
  }

  package static let space = Cell(0x20, .text)

  package var hasMarks: Bool { marks != 0 }

  /// The scalar and what stands on it, 0 where there is nothing.
  package var scalars: (UInt32, UInt32, UInt32, UInt32) {
    let mark = { (place: UInt64) in UInt32(marks >> (place * 21) & 0x1F_FFFF) }
    return (scalar, mark(0), mark(1), mark(2))
  }

  package var text: String {
    let (first, second, third, fourth) = scalars
    return String(String.UnicodeScalarView([first, second, third, fourth].filter { $0 != 0 }.compactMap(Unicode.Scalar.init)))
  }
}

/// Glyphs by what they are for, in Unicode and in ASCII.
package struct Glyphs: Sendable, Hashable {
  package var topLeft, topRight, bottomLeft, bottomRight, horizontal, vertical: String
  package var here, away, unknown, bullet, ellipsis, arrow, warning, cursor: String
  package var bars: [String]
  package var full, empty: String

  package static let unicode = Glyphs(
    topLeft: "╭", topRight: "╮", bottomLeft: "╰", bottomRight: "╯", horizontal: "─", vertical: "│", here: "●",
    away: "○", unknown: "◌", bullet: "·", ellipsis: "…", arrow: "→", warning: "▲", cursor: "▌",
    bars: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"], full: "█", empty: "░")

  package static let ascii = Glyphs(
    topLeft: "+", topRight: "+", bottomLeft: "+", bottomRight: "+", horizontal: "-", vertical: "|", here: "*",
    away: "o", unknown: "?", bullet: "-", ellipsis: "~", arrow: ">", warning: "!", cursor: "_",
    bars: ["_", ".", ":", "-", "=", "+", "*", "#"], full: "#", empty: ".")

  /// Turns the few signs that texts use into ASCII where needed.
  package func spelled(_ text: String) -> String {
    guard self == .ascii, !text.utf8.allSatisfy({ $0 < 128 }) else { return text }
    return text.map { character in
      switch character {
      case "…": "~"
      case "–", "—", "·": "-"
      case "→": ">"
      case "“", "”": "\""
      case "’": "'"
      case "×": "x"
      case "≤": "<"
      default: character.isASCII ? String(character) : "?"
      }
    }.joined()
  }
}

/// A picture of the screen, as a value: a grid of cells.
package struct Frame: Sendable, Hashable {
  package let size: CellSize
  package private(set) var cells: [Cell]
  package let glyphs: Glyphs
  /// Where the terminal's cursor belongs; `nil` hides it.
  package var cursor: (row: Int, column: Int)? {
    get { cursorCell.map { ($0 / size.columns, $0 % size.columns) } }
    set { cursorCell = newValue.map { $0.row * size.columns + $0.column } }
  }
  private var cursorCell: Int?

  package init(size: CellSize, glyphs: Glyphs) {
    self.size = CellSize(rows: max(1, size.rows), columns: max(1, size.columns))
    self.glyphs = glyphs
    cells = Array(repeating: .space, count: self.size.rows * self.size.columns)
  }

  package func row(_ row: Int) -> ArraySlice<Cell> { cells[row * size.columns..<(row + 1) * size.columns] }

  /// The picture as text, without trailing spaces; for tests and bug reports.
  package var text: String {
    (0..<size.rows).map { row in
      var line = self.row(row).map(\.text).joined()
      while line.last == " " { line.removeLast() }
      return line
    }.joined(separator: "\n")
  }

  // MARK: Drawing

  /// Writes text that was cleaned; what does not fit into `columns` is cut.
  @discardableResult
  package mutating func put(
    _ text: String, row: Int, column: Int, columns: Int, role: Role, isSelected: Bool = false
  ) -> Int {
    guard row >= 0, row < size.rows else { return 0 }
    let limit = min(columns, size.columns - column)
    if text.utf8.count <= limit, column >= 0, let end = putASCII(text, row, column, role, isSelected) { return end - column }
    var at = column
    for character in CellText.fit(glyphs.spelled(text), limit, ellipsis: glyphs.ellipsis) {
      let width = CellText.width(of: character)
      guard width > 0, at >= 0, at + width <= size.columns else { continue }
      cells[row * size.columns + at] = Cell(String(character), role, isSelected: isSelected)
      if width == 2 { cells[row * size.columns + at + 1] = Cell(0, role, isSelected: isSelected) }
      at += width
    }
    return at - column
  }

  /// Writes one cell of one column; outside the frame nothing.
  private mutating func set(_ cell: Cell, _ row: Int, _ column: Int) {
    guard row >= 0, row < size.rows, column >= 0, column < size.columns else { return }
    cells[row * size.columns + column] = cell
  }

  /// The quick way for the texts that most cells hold; `nil` when the text is not all printable ASCII.
  private mutating func putASCII(_ text: String, _ row: Int, _ column: Int, _ role: Role, _ isSelected: Bool) -> Int? {
    guard text.utf8.allSatisfy({ $0 >= 32 && $0 < 127 }) else { return nil }
    var at = row * size.columns + column
    for byte in text.utf8 {
      cells[at] = Cell(UInt32(byte), role, isSelected: isSelected)
      at += 1
    }
    return at - row * size.columns
  }

  /// Fills a rectangle with spaces.
  package mutating func clear(_ rect: CellRect, role: Role = .text) {
    for row in max(0, rect.row)..<max(0, min(size.rows, rect.row + rect.rows)) {
      for column in max(0, rect.column)..<max(0, min(size.columns, rect.column + rect.columns)) {
        cells[row * size.columns + column] = Cell(0x20, role)
      }
    }
  }

  /// Draws a border with a title.
  package mutating func box(_ rect: CellRect, title: String, note: String = "", isFocused: Bool = false, role: Role? = nil) {
    guard rect.rows >= 2, rect.columns >= 4 else { return }
    let border = role ?? (isFocused ? .focusedBorder : .border)
    let (right, bottom) = (rect.column + rect.columns - 1, rect.row + rect.rows - 1)
    let (horizontal, vertical) = (Cell(glyphs.horizontal, border), Cell(glyphs.vertical, border))
    for column in rect.column + 1..<right {
      set(horizontal, rect.row, column)
      set(horizontal, bottom, column)
    }
    for row in rect.row + 1..<bottom {
      set(vertical, row, rect.column)
      set(vertical, row, right)
    }
    set(Cell(glyphs.topLeft, border), rect.row, rect.column)
    set(Cell(glyphs.topRight, border), rect.row, right)
    set(Cell(glyphs.bottomLeft, border), bottom, rect.column)
    set(Cell(glyphs.bottomRight, border), bottom, right)
    if !title.isEmpty {
      // Focus is said by brackets as well as by colour.
      let words = isFocused ? "[\(title)]" : " \(title) "
      put(words, row: rect.row, column: rect.column + 2, columns: rect.columns - 4, role: role ?? .title)
    }
    let width = CellText.width(note) + 2
    if !note.isEmpty, width + CellText.width(title) + 6 < rect.columns {
      put(" \(note) ", row: rect.row, column: rect.column + rect.columns - width - 2, columns: width, role: .dim)
    }
  }

  /// Draws lines from the top; when they do not all fit, the last row says how many are missing.
  package mutating func draw(_ lines: [Line], in rect: CellRect) {
    guard rect.rows > 0, rect.columns > 0 else { return }
    let hidden = lines.count > rect.rows ? lines.count - rect.rows + 1 : 0
    for (index, line) in lines.prefix(hidden > 0 ? rect.rows - 1 : rect.rows).enumerated() {
      draw(line, row: rect.row + index, column: rect.column, columns: rect.columns)
    }
    if hidden > 0 {
      put("… \(hidden) more", row: rect.row + rect.rows - 1, column: rect.column, columns: rect.columns, role: .dim)
    }
  }

  package mutating func draw(_ line: Line, row: Int, column: Int, columns: Int) {
    if line.isSelected {
      put(String(repeating: " ", count: columns), row: row, column: column, columns: columns, role: .selection, isSelected: true)
    }
    let rightWidth = min(line.right.reduce(0) { $0 + CellText.width(glyphs.spelled($1.text)) }, columns)
    var at = 0
    let leftLimit = columns - (rightWidth > 0 ? rightWidth + 1 : 0)
    for span in line.left where at < leftLimit {
      at += put(
        span.text, row: row, column: column + at, columns: leftLimit - at, role: span.role, isSelected: line.isSelected)
    }
    at = columns - rightWidth
    for span in line.right {
      at += put(
        span.text, row: row, column: column + at, columns: columns - at, role: span.role, isSelected: line.isSelected)
    }
  }
}
