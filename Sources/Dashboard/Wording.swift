import Foundation

/// Numbers and times as people read them; always with their unit.
package enum Wording {
  /// `0.43 ms`, `12 ms`, `3.2 s`.
  package static func milliseconds(_ value: Double?) -> String {
    guard let value else { return "–" }
    if value < 10 { return String(format: "%.2f", value) }
    return value < 10_000 ? String(format: "%.0f", value) : String(format: "%.0fk", value / 1_000)
  }

  package static func duration(nanoseconds: UInt64) -> String {
    let milliseconds = Double(nanoseconds) / 1e6
    if milliseconds < 10 { return String(format: "%.1f ms", milliseconds) }
    if milliseconds < 1_000 { return String(format: "%.0f ms", milliseconds) }
    return seconds(milliseconds / 1_000)
  }

  package static func seconds(_ seconds: Double) -> String {
    switch seconds {
    case ..<10: String(format: "%.1f s", seconds)
    case ..<120: "\(Int(seconds)) s"
    case ..<7_200: "\(Int(seconds / 60)) min"
    case ..<172_800: "\(Int(seconds / 3_600)) h"
    default: "\(Int(seconds / 86_400)) days"
    }
  }

  /// Milliseconds, in words.
  package static func span(_ milliseconds: UInt64) -> String { seconds(Double(milliseconds) / 1_000) }

  /// `now`, `12 s ago`, `3 h ago`; times ahead of ours read as now.
  package static func ago(_ wall: UInt64?, now: UInt64) -> String {
    guard let wall, wall > 0 else { return "never" }
    let age = now > wall ? now - wall : 0
    if age < 1_500 { return "now" }
    return age < 10_000 ? "\(age / 1_000) s ago" : "\(seconds(Double(age / 1_000))) ago"
  }

  package static func bytes(_ count: UInt64) -> String {
    switch count {
    case ..<1_024: "\(count) B"
    case ..<1_048_576: String(format: "%.1f KiB", Double(count) / 1_024)
    default: String(format: "%.1f MiB", Double(count) / 1_048_576)
    }
  }

  /// `1:07`.
  package static func clock(_ seconds: Double) -> String {
    let seconds = Int(max(0, seconds))
    return "\(seconds / 60):" + (seconds % 60 < 10 ? "0" : "") + "\(seconds % 60)"
  }

  /// Local hour of the day.
  package static func hour(_ wall: UInt64) -> Int {
    var time = time_t(wall / 1_000)
    var parts = tm()
    localtime_r(&time, &parts)
    return Int(parts.tm_hour)
  }

  /// Local time of day.
  package static func timeOfDay(_ wall: UInt64) -> String {
    var time = time_t(wall / 1_000)
    var parts = tm()
    localtime_r(&time, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
  }

  /// A bar of `columns` cells that is full for a share of 1.
  package static func bar(_ share: Double, columns: Int, _ glyphs: Glyphs) -> String {
    let filled = Int((max(0, min(1, share)) * Double(columns)).rounded())
    return String(repeating: glyphs.full, count: filled) + String(repeating: glyphs.empty, count: columns - filled)
  }

  /// The latest values as a row of bars; the highest is the tallest.
  package static func sparkline(_ values: [UInt64], columns: Int, _ glyphs: Glyphs) -> String {
    let shown = values.suffix(columns)
    guard let top = shown.max(), top > 0 else { return "" }
    return shown.map { glyphs.bars[Int($0 * UInt64(glyphs.bars.count - 1) / top)] }.joined()
  }
}
