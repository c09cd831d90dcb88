import ArgumentParser
import CSystem
import Causality
import Foundation
import Storage
import Therapy

/// `fullmind bench`: measures on this machine, each figure beside a floor measured in the same run.
struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure on this machine; each figure beside its floor.",
    discussion: """
      BENCHMARKS
        store        durable changes and verified applies per second, beside raw SQLite
        relay-floor  durable append, wake-up of another process, durable append
        open         opening a store with 1,000 and with 100,000 operations
        frame        drawing the dashboard's picture
        card         the crisis card, from start to exit
        conflicts    conflicts found and settled by rule, on one core
        assistant    how good the assistant is on households it has never seen, beside latest wins and
                     therapeutic priority
        fill         writes --count check-in operations into the store of --home, for measuring with it;
                     with --rate, so many a second; with --conflicts, open conflicts instead
      Without a name: all but fill.
      """)
  @Argument(help: "Which one.") var name: String?
  @OptionGroup var output: OutputOptions
  @Option(help: ArgumentHelp("For fill: the store.", valueName: "dir")) var home: String?
  @Option(help: "For fill: how many operations (1-10000000).") var count = 100_000
  @Option(help: "For fill: operations a second; as fast as it goes without.") var rate: Int?
  @Flag(help: "For fill: open conflicts instead.") var conflicts = false
  @Option(help: .hidden) var peer: String?
  /// Where scripts/train-assistant wants the weights.
  @Option(help: .hidden) var train: String?

  static let names = ["store", "relay-floor", "open", "frame", "card", "conflicts", "assistant"]

  func run() throws {
    if let train { return try AssistantBench.train(into: train) }
    if let peer { return RelayFloor.runPeer(folder: peer) }
    try Output.reporting(asJSON: output.json) {
      if name == "fill" { return try fill() }
      if let name, !Self.names.contains(name) {
        throw InputError.invalid("There is no benchmark “\(name)”. Nothing was run.", remedy: "Use one of \(Self.names.joined(separator: ", ")).")
      }
      var rows = [BenchRow]()
      let wanted = name.map { [$0] } ?? Self.names
      for benchmark in wanted {
        let found =
          switch benchmark {
          case "store": try StoreBench.run()
          case "relay-floor": try RelayFloor.run()
          case "open": try StoreBench.runOpen()
          case "frame": FrameBench.run()
          case "conflicts": ConflictBench.run()
          case "assistant": AssistantBench.run()
          default: RelayFloor.runCard()
          }
        if !output.json { for row in found { Output.line(row.text) } }
        rows += found
      }
      if output.json { try Output.json(["bench": rows]) }
    }
  }

  func validate() throws {
    guard (1...10_000_000).contains(count) else { throw ValidationError("--count takes 1 to 10000000.") }
    guard rate.map((1...100_000).contains) ?? true else { throw ValidationError("--rate takes 1 to 100000.") }
  }

  private func fill() throws {
    guard let home else {
      throw InputError.invalid("fill needs a store. Nothing was written.", remedy: "Name it with --home DIR.")
    }
    let store = try Store.open(at: HomeFolder(path: home)) { nil }
    let seconds = try BenchClock.seconds {
      if conflicts { return try ConflictBench.fill(store, count: count) }
      guard let rate else { return try StoreBench.fill(store, count: count) }
      let began = fm_uptime_ns()
      let group = max(1, rate / 20)
      for done in stride(from: 0, to: count, by: group) {
        try StoreBench.fill(store, count: min(group, count - done))
        let due = began + UInt64(done + group) * 1_000_000_000 / UInt64(rate), now = fm_uptime_ns()
        if due > now { Thread.sleep(forTimeInterval: Double(due - now) / 1e9) }
      }
    }
    Output.line("\(count) \(conflicts ? "conflicts" : "operations") in \(String(format: "%.1f", seconds)) s")
  }
}

/// One measured figure.
struct BenchRow: Encodable {
  var name: String
  var value: Double
  var unit: String
  /// What the same run measured for the least that could be done.
  var floor: Double?
  var note: String

  var text: String {
    let ratio = floor.map { " · floor \(Self.number($0)) (\(String(format: "%.2f", unit.hasSuffix("/s") ? value / $0 : $0 / value)) of it)" } ?? ""
    return "\(name): \(Self.number(value)) \(unit)\(ratio)\(note.isEmpty ? "" : " · \(note)")"
  }

  private static func number(_ value: Double) -> String {
    value >= 1_000 ? String(Int(value)) : value >= 10 ? String(format: "%.1f", value) : String(format: "%.3f", value)
  }
}

enum BenchClock {
  /// Seconds that `body` takes.
  static func seconds(_ body: () throws -> Void) rethrows -> Double {
    let began = fm_uptime_ns()
    try body()
    return Double(fm_uptime_ns() - began) / 1e9
  }

  static func percentile(_ values: [Double], _ share: Double) -> Double {
    let ordered = values.sorted()
    return ordered.isEmpty ? 0 : ordered[min(ordered.count - 1, Int(Double(ordered.count - 1) * share + 0.5))]
  }
}
