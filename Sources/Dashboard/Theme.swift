import Foundation
import TOMLKit
import Themes

/// A colour of 24 bits.
package struct RGB: Sendable, Hashable {
  package var red, green, blue: UInt8

  package init(red: UInt8, green: UInt8, blue: UInt8) { (self.red, self.green, self.blue) = (red, green, blue) }

  /// Reads `#rrggbb`; `nil` for anything else.
  package init?(_ text: String) {
    guard text.hasPrefix("#"), text.utf8.count == 7, let value = UInt32(text.dropFirst(), radix: 16) else { return nil }
    self.init(red: UInt8(value >> 16), green: UInt8(value >> 8 & 255), blue: UInt8(value & 255))
  }

  /// Relative luminance, from 0 to 1. (WCAG 2.1.)
  package var luminance: Double {
    func linear(_ part: UInt8) -> Double {
      let share = Double(part) / 255
      return share <= 0.03928 ? share / 12.92 : pow((share + 0.055) / 1.055, 2.4)
    }
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
  }

  /// The contrast of two colours, from 1 to 21. (WCAG 2.1.)
  package static func contrast(_ one: RGB, _ other: RGB) -> Double {
    let (high, low) = (max(one.luminance, other.luminance), min(one.luminance, other.luminance))
    return (high + 0.05) / (low + 0.05)
  }
}

/// How a role looks.
package struct Style: Sendable, Hashable {
  /// `nil`: the terminal's own colour.
  package var foreground: RGB?
  package var background: RGB?
  package var isBold = false
  package var isUnderlined = false
  package var isReversed = false
  package var isDim = false
}

/// A theme: a style for every role.
package struct Theme: Sendable, Hashable {
  package var name: String
  package var author: String
  package var background: RGB?
  package var styles: [Role: Style]

  package subscript(role: Role) -> Style { styles[role] ?? Style() }
}

/// What is wrong with a theme file.
package struct ThemeError: Error, Sendable, Hashable {
  package var file: String
  package var line: Int
  package var column: Int
  package var what: String
}

extension Theme {
  /// The names of the themes that are compiled in.
  package static var names: [String] { ThemeFiles.all.map(\.name) }

  /// A compiled-in theme; the first one when there is none of that name.
  package static func named(_ name: String) -> Theme {
    let file = ThemeFiles.all.first { $0.name == name } ?? ThemeFiles.all[0]
    do { return try Theme(toml: String(decoding: file.bytes, as: UTF8.self), file: file.name) } catch {
      preconditionFailure("a compiled-in theme is checked by a test: \(error)")
    }
  }

  /// Reads a theme file.
  ///
  /// - Throws: ``ThemeError`` with line and column where the file is not TOML, or the key that is wrong.
  package init(toml: String, file: String) throws(ThemeError) {
    let table: TOMLTable
    do { table = try TOMLTable(string: toml) } catch let error as TOMLParseError {
      throw ThemeError(
        file: file, line: error.source.begin.line, column: error.source.begin.column, what: error.description)
    } catch {
      throw ThemeError(file: file, line: 0, column: 0, what: "cannot be read")
    }
    func wrong(_ what: String) -> ThemeError { ThemeError(file: file, line: 0, column: 0, what: what) }
    guard let name = table["name"]?.string, let author = table["author"]?.string else { throw wrong("name or author is missing") }
    var palette: [String: RGB] = [:]
    for (key, value) in table["palette"]?.table ?? TOMLTable() {
      guard let color = value.string.flatMap({ RGB($0) }) else { throw wrong("palette.\(key) is no colour like #a0b0c0") }
      palette[key] = color
    }
    self.init(name: name, author: author, background: palette["background"], styles: [:])
    guard let roles = table["roles"]?.table else { throw wrong("the table [roles] is missing") }
    for role in Role.allCases {
      guard let text = roles[role.rawValue]?.string else { throw wrong("roles.\(role.rawValue) is missing") }
      guard let style = Style(text, palette) else { throw wrong("roles.\(role.rawValue) names an unknown colour or attribute") }
      styles[role] = style
    }
  }
}

extension Style {
  /// Reads for instance `text on raised bold`: a palette colour, optionally `on` another, attributes.
  fileprivate init?(_ text: String, _ palette: [String: RGB]) {
    var words = text.split(separator: " ").map(String.init)[...]
    while let word = words.popFirst() {
      switch word {
      case "bold": isBold = true
      case "underline": isUnderlined = true
      case "reverse": isReversed = true
      case "dim": isDim = true
      case "on":
        guard let name = words.popFirst(), let color = palette[name] else { return nil }
        background = color
      case "default": foreground = nil
      default:
        guard let color = palette[word] else { return nil }
        foreground = color
      }
    }
  }
}
