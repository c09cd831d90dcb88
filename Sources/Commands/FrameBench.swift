import Dashboard
import Foundation
import Stores

/// Drawing the dashboard's picture, without a terminal.
enum FrameBench {
  static func run() -> [BenchRow] {
    var state = DashboardState(size: CellSize(rows: 40, columns: 120), glyphs: .unicode, themeName: "fullmind")
    state.update(.sample())
    let panels = time { _ = DashboardFrame.render(state) }
    state.dialogs = [.help]
    let help = time { _ = DashboardFrame.render(state) }
    return [
      BenchRow(name: "picture of 120x40", value: panels, unit: "ms", note: "p50 of 300"),
      BenchRow(name: "picture with help", value: help, unit: "ms", note: "p50 of 300"),
      BenchRow(name: "theme file read", value: time { _ = Theme.named("fullmind") }, unit: "ms", note: "once per start"),
    ]
  }

  private static func time(_ body: () -> Void) -> Double {
    BenchClock.percentile((0..<300).map { _ in BenchClock.seconds(body) * 1_000 }, 0.5)
  }
}
