import ArgumentParser
import CSystem
import Causality
import Dashboard
import Foundation
import Storage
import Stores
import Terminal

/// `fullmind`: the dashboard.
struct DashboardCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dashboard", abstract: "The dashboard (the default).",
    discussion: "Where there is no terminal, or one that can do nothing, the plain status is printed instead.")
  @OptionGroup var location: Location
  @Option(help: "A theme by its name.") var theme = "fullmind"
  @Flag(help: "Print the picture once, as text, and exit.") var once = false
  @Option(help: ArgumentHelp("The size for --once.", valueName: "CxR")) var size = "120x40"
  @Flag(help: "Do not listen to the mouse.") var noMouse = false

  func validate() throws {
    guard Theme.names.contains(theme) else { throw ValidationError("--theme takes one of \(Theme.names.joined(separator: ", ")).") }
    guard cells != nil else { throw ValidationError("--size takes columns x rows, for example 120x40.") }
  }

  private var cells: CellSize? {
    let parts = size.lowercased().split(separator: "x").compactMap { Int($0) }
    return parts.count == 2 && parts.allSatisfy { (1...1_000).contains($0) } ? CellSize(rows: parts[1], columns: parts[0]) : nil
  }

  func run() throws {
    try Output.reporting {
      if once, let cells { return try printOnce(cells) }
      let signals = fm_signals_open()
      let store: Store?
      var problem: (any Error)?
      do { store = try location.openStore() } catch StorageError.noStore { store = nil } catch {
        // Whatever is wrong with the store, the screen opens: the crisis key and the help lines work.
        (store, problem) = (nil, error)
      }
      let host = DashboardHost(location: location, themeName: theme, signals: signals)
      do throws(TerminalError) { try host.run(store: store, problem: problem, mouse: !noMouse) } catch {
        // Whoever sits at a terminal looks for the crisis key: a shell has none.
        if case .unable(let term) = error { Output.note(Self.words(unable: term)) }
        if let problem {
          CrisisReport.printCard(home: location.homeFolder)
          throw problem
        }
        // No terminal to draw on: the plain status, and all is well.
        try StatusCommand.show(location, asJSON: false)
      }
    }
  }

  static func words(unable term: String) -> String {
    let name = term.isEmpty ? "TERM is not set" : "TERM=\(CellText.clean(term))"
    return "note: This terminal (\(name)) cannot show the dashboard, so its keys do nothing here. `fullmind crisis activate severe` tells your devices; `fullmind crisis card` shows help lines."
  }

  private func printOnce(_ size: CellSize) throws {
    var state = DashboardState(size: size, glyphs: .unicode, themeName: theme)
    state.update(try StatusReport.snapshot(location))
    state.dialogs = []
    Output.line(DashboardFrame.render(state).text)
  }
}

/// `fullmind demo`: the dashboard over a living household.
struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo", abstract: "The dashboard over a living household of real replicas in this process.",
    discussion: "v looks from the next device, y lets the household rest, P cuts the network, O loses messages, D slows it.")
  @Option(help: "Devices in the household (1-10).") var devices = 4
  @Option(help: "Determines what the household does.") var seed: UInt64 = 1
  @Option(help: "Operations that the household begins with (0-1000000).") var history = 0
  @Flag(help: "Begin with the household at rest.") var paused = false
  @Option(help: "A theme by its name.") var theme = "fullmind"

  func validate() throws {
    guard (1...10).contains(devices) else { throw ValidationError("--devices takes 1 to 10.") }
    guard (0...1_000_000).contains(history) else { throw ValidationError("--history takes 0 to 1000000.") }
    guard Theme.names.contains(theme) else { throw ValidationError("--theme takes one of \(Theme.names.joined(separator: ", ")).") }
  }

  func run() throws {
    try Output.reporting {
      let signals = fm_signals_open()
      let host = DashboardHost(location: try Location.parse([]), themeName: theme, signals: signals)
      do {
        try host.runDemo(devices: devices, seed: seed, history: history, isPaused: paused)
      } catch is TerminalError {
        Output.hint("The demo is a picture: it needs a terminal. `fullmind status` does not.")
      }
    }
  }
}
