import CNcurses
import CSystem
import Dashboard
import Foundation
import Stores

/// Why there is no screen to draw on.
package enum TerminalError: Error, Sendable, Hashable {
  /// Standard input or output is no terminal.
  case notATerminal
  /// `TERM` is unknown, empty, or says that the terminal can do nothing.
  case unable(String)
}

/// How many colours are used.
package enum ColorDepth: Sendable, Hashable {
  case none, sixteen, many, direct
}

/// The terminal, drawn through ncurses. The main thread alone uses it.
package struct Screen {
  package private(set) var glyphs: Glyphs
  package private(set) var depth: ColorDepth
  private var shown: Frame?
  private var shownTheme: Theme?
  private var colors: [RGB: Int32] = [:]
  /// By whether a line is selected, then by role.
  private var styles: [[(style: cnc_style, ground: Int32?)]] = []
  private var buffer: [cnc_cell] = []

  /// Takes over the terminal.
  ///
  /// - Throws: ``TerminalError``; the terminal is as it was.
  package init(mouse: Bool) throws(TerminalError) {
    guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 else { throw .notATerminal }
    let term = Environment["TERM"] ?? ""
    guard !term.isEmpty, term != "dumb" else { throw .unable(term) }
    let wantsColor = Environment["NO_COLOR"] == nil
    cnc_guard_crashes()
    var ability = cnc_ability()
    let direct = wantsColor ? TerminalEntries.direct(for: term) : nil
    if direct == nil || cnc_begin(direct, mouse ? 1 : 0, &ability) != 0 {
      guard cnc_begin(term, mouse ? 1 : 0, &ability) == 0 else { throw .unable(term) }
    }
    glyphs = ability.unicode == 1 && term != "linux" && !term.hasPrefix("vt") ? .unicode : .ascii
    depth =
      !wantsColor || ability.colors < 8 ? .none
      : ability.colors > 256 ? .direct : ability.colors >= 256 ? .many : .sixteen
  }

  package var size: CellSize {
    var (rows, columns): (Int32, Int32) = (0, 0)
    cnc_size(&rows, &columns)
    return CellSize(rows: Int(rows), columns: Int(columns))
  }

  /// Gives the terminal back: screen, cursor, echo, mouse. Nothing stays on it.
  package func end() { cnc_end() }

  /// Takes over the size that the terminal has now.
  package mutating func fitTerminal() {
    var (rows, columns): (Int32, Int32) = (0, 0)
    guard cnc_terminal_size(&rows, &columns) == 0 else { return }
    cnc_resize(rows, columns)
    shown = nil
  }

  /// Stops the process with the terminal given back; returns when it goes on.
  package mutating func suspend() {
    cnc_suspend()
    fitTerminal()
  }

  // MARK: Drawing

  /// Draws what differs from the last frame.
  package mutating func show(_ frame: Frame, theme: Theme) {
    if let shown, shown == frame, shownTheme == theme { return }
    let isComparable = shown?.size == frame.size && shownTheme == theme
    if shownTheme != theme { prepareStyles(theme) }
    for row in 0..<frame.size.rows {
      let before = isComparable ? shown?.row(row) : nil
      if before != frame.row(row) { draw(frame.row(row), over: before, row) }
    }
    if let cursor = frame.cursor {
      cnc_cursor(Int32(cursor.row), Int32(cursor.column), 1)
    } else {
      cnc_cursor(0, 0, 0)
    }
    cnc_flush()
    shown = frame
    shownTheme = theme
  }

  /// Writes the part of a row that differs from what is there.
  private mutating func draw(_ cells: ArraySlice<Cell>, over shown: ArraySlice<Cell>?, _ row: Int) {
    var (first, last) = (cells.startIndex, cells.endIndex)
    if let shown {
      while first < last, cells[first] == shown[first] { first += 1 }
      while last > first, cells[last - 1] == shown[last - 1] { last -= 1 }
      // Never half of a wide character: one column more on either side.
      first = max(cells.startIndex, first - 1)
      last = min(cells.endIndex, last + 1)
      while first > cells.startIndex, cells[first].scalar == 0 { first -= 1 }
    }
    guard first < last else { return }
    buffer.removeAll(keepingCapacity: true)
    var item = cnc_cell()
    var styled: Cell?
    var ground: Int32?
    for cell in cells[first..<last] {
      if styled?.role != cell.role || styled?.isSelected != cell.isSelected {
        let next = styles[cell.isSelected ? 1 : 0][cell.role.index]
        // A space shows nothing but its background: while that stays the same it needs no style of its own.
        if cell.scalar != 0x20 || ground == nil || next.ground != ground { (item.style, ground, styled) = (next.style, next.ground, cell) }
      }
      item.scalars = cell.hasMarks ? cell.scalars : (cell.scalar, 0, 0, 0)
      buffer.append(item)
    }
    cnc_put(Int32(row), Int32(first - cells.startIndex), buffer, Int32(buffer.count))
  }

  /// Every role's style for this terminal: plain, and on the selected line.
  private mutating func prepareStyles(_ theme: Theme) {
    styles = [false, true].map { isSelected in
      Role.allCases.map { role in
        var style = theme[role]
        if isSelected {
          let selection = theme[.selection]
          style.background = selection.background
          style.isReversed = selection.isReversed
          style.isBold = true
        }
        return made(style, background: theme.background)
      }
    }
  }

  /// With the number of its background, where a space shows nothing else.
  private mutating func made(_ style: Style, background: RGB?) -> (style: cnc_style, ground: Int32?) {
    var attributes: Int32 = 0
    if style.isBold { attributes |= Int32(CNC_BOLD) }
    if style.isDim { attributes |= Int32(CNC_DIM) }
    if style.isUnderlined { attributes |= Int32(CNC_UNDERLINE) }
    if style.isReversed { attributes |= Int32(CNC_REVERSE) }
    let ground = color(style.background ?? background)
    let made = cnc_make_style(attributes, color(style.foreground), ground)
    return (made, style.isUnderlined || style.isReversed ? nil : ground)
  }

  /// The terminal's number for a colour: itself, or the nearest one it has.
  private mutating func color(_ rgb: RGB?) -> Int32 {
    guard let rgb else { return -1 }
    if let known = colors[rgb] { return known }
    let number: Int32 =
      switch depth {
      case .none: -1
      case .direct: Palette.direct(rgb)
      case .many: Palette.nearest256(rgb)
      case .sixteen: Palette.nearest8(rgb)
      }
    colors[rgb] = number
    return number
  }

  // MARK: Keys

  /// The next key that was pressed; `nil` when there is none.
  package func nextKey() -> Key? {
    while true {
      let event = cnc_next_event()
      switch Int(event.kind) {
      case Int(CNC_NONE): return nil
      case Int(CNC_MOUSE):
        let (row, column) = (Int(event.row), Int(event.column))
        return event.code == 4 || event.code == 5
          ? .wheel(row: row, column: column, isUp: event.code == 4) : .click(row: row, column: column)
      case Int(CNC_KEY): if let key = Self.special(event.code) { return key }
      default: if let key = Self.character(event.code) { return key }
      }
    }
  }

  private static func special(_ code: Int32) -> Key? {
    switch Int(code) {
    case CNC_KEY_UP: .up
    case CNC_KEY_DOWN: .down
    case CNC_KEY_LEFT: .left
    case CNC_KEY_RIGHT: .right
    case CNC_KEY_ENTER: .enter
    case CNC_KEY_BACKSPACE: .backspace
    case CNC_KEY_DELETE: .delete
    case CNC_KEY_HOME: .home
    case CNC_KEY_END: .end
    case CNC_KEY_PAGE_UP: .pageUp
    case CNC_KEY_PAGE_DOWN: .pageDown
    case CNC_KEY_BACK_TAB: .backTab
    default: nil
    }
  }

  private static func character(_ code: Int32) -> Key? {
    switch code {
    case 9: .tab
    case 10, 13: .enter
    case 27: .escape
    case 8, 127: .backspace
    case 1...26: Unicode.Scalar(UInt32(code) + 96).map { .control(Character($0)) }
    case ..<32: nil
    default: Unicode.Scalar(UInt32(code)).map { .character(Character($0)) }
    }
  }
}

/// Maps colours to what a terminal has.
enum Palette {
  /// With 2^24 colours the first eight numbers still mean the old palette; those become their neighbours.
  static func direct(_ rgb: RGB) -> Int32 {
    let value = Int32(rgb.red) << 16 | Int32(rgb.green) << 8 | Int32(rgb.blue)
    return value < 8 ? (value == 0 ? 0x000100 : 8) : value
  }

  /// The 6×6×6 cube and the grey ramp of xterm's 256 colours.
  static func nearest256(_ rgb: RGB) -> Int32 {
    let levels = [0, 95, 135, 175, 215, 255]
    func index(_ part: UInt8) -> Int { levels.indices.min { abs(levels[$0] - Int(part)) < abs(levels[$1] - Int(part)) } ?? 0 }
    let cube = [index(rgb.red), index(rgb.green), index(rgb.blue)]
    let grey = max(0, min(23, (Int(rgb.red) + Int(rgb.green) + Int(rgb.blue) - 24 + 15) / 30))
    let cubeDistance = distance(rgb, levels[cube[0]], levels[cube[1]], levels[cube[2]])
    let level = 8 + 10 * grey
    return distance(rgb, level, level, level) < cubeDistance
      ? Int32(232 + grey) : Int32(16 + 36 * cube[0] + 6 * cube[1] + cube[2])
  }

  /// The eight colours that every colour terminal has.
  static func nearest8(_ rgb: RGB) -> Int32 {
    let colors = [(0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)]
    let best = colors.indices.min { one, other in
      distance(rgb, colors[one].0, colors[one].1, colors[one].2) < distance(rgb, colors[other].0, colors[other].1, colors[other].2)
    }
    return Int32(best ?? 7)
  }

  private static func distance(_ rgb: RGB, _ red: Int, _ green: Int, _ blue: Int) -> Int {
    let parts = [Int(rgb.red) - red, Int(rgb.green) - green, Int(rgb.blue) - blue]
    return parts.reduce(0) { $0 + $1 * $1 }
  }
}
