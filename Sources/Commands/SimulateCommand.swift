import ArgumentParser
import CSystem
import Causality
import Foundation
import Simulation
import Therapy

/// `fullmind simulate`: many worlds of replicas, in virtual time.
struct SimulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate", abstract: "Run replicas through storms of faults, from a seed.",
    discussion: """
      Each run is a household in virtual time with a careless network, failing disks, wrong clocks and a relay
      that is wiped, rolled back and damaged. Checked after every few steps: no acknowledged operation is lost,
      no cursor is ahead of what is durable, no sequence number is used twice, only sealed bytes lie on the
      relay. In the end all devices have to agree.

      One line per failure, with the command that replays it.

      EXIT STATUS
        0   no failure, and every rare situation was met (with 200 runs or more)
        70  a promise was broken, or a rare situation never came up
      """)
  @Option(help: "The seed of the first run.") var seed: UInt64 = 1
  @Option(help: "How many runs (100; with --restores all).") var runs: Int?
  @Option(help: "Devices in each household (2-10).") var devices = 3
  @Option(help: ArgumentHelp("Only these faults: \(Faults.names.joined(separator: ",")).", valueName: "list")) var faults: String?
  @Option(help: "Clocks are wrong by up to this many seconds (0-315576000, ten years).") var skew: Int?
  @Flag(help: "Instead of storms: 2400 homes that are put back to each moment of a life, 200 that are copied, and 100 in which a device comes back after a life was closed. With --runs, so many of them.")
  var restores = false
  @Flag(help: "Homes are put back, and relays lose things, several times as often.") var harsh = false
  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard skew.map((0...315_576_000).contains) ?? true else { throw ValidationError("--skew takes 0 to 315576000.") }
    guard runs.map((1...10_000_000).contains) ?? true else { throw ValidationError("--runs takes 1 to 10000000.") }
    guard !harsh || faults == nil && !restores else { throw ValidationError("--harsh goes with neither --faults nor --restores.") }
    guard (2...10).contains(devices) else { throw ValidationError("--devices takes 2 to 10.") }
  }

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      var sweep = Sweep()
      sweep.deviceCount = devices
      if harsh { sweep.faults = .harsh }
      if let faults {
        guard let chosen = Faults(only: faults.split(separator: ",").map(String.init)) else {
          throw InputError.invalid("There is no such fault. Nothing was run.", remedy: "Use some of \(Faults.names.joined(separator: ", ")).")
        }
        sweep.faults = chosen
      }
      if let skew { sweep.faults.skewSeconds = skew }
      let began = fm_uptime_ns()
      let result = restores ? sweep.run(mishaps) : sweep.run(seed: seed, runs: runs ?? 100)
      let seconds = Double(fm_uptime_ns() - began) / 1e9
      try report(result, seconds)
    }
  }

  /// As many as asked for, spread over all.
  private var mishaps: [Mishap] {
    let all = Mishap.restorations + Mishap.clonings + Mishap.returns
    guard let runs, runs < all.count else { return all }
    return (0..<runs).map { all[$0 * all.count / runs] }
  }

  private func report(_ result: Sweep.Result, _ seconds: Double) throws {
    let missed = result.runs >= 200 && faults == nil && !restores ? result.missed : []
    if output.json {
      try Output.json(
        Report(
          seed: seed, runs: result.runs, steps: result.steps, seconds: seconds, hash: String(result.hash, radix: 16),
          failures: result.failures.map { .init(seed: $0.seed, promise: $0.violation.promise, detail: $0.violation.detail) },
          met: Dictionary(uniqueKeysWithValues: Probe.allCases.map { ($0.rawValue, result.met[$0] ?? 0) })))
    } else {
      for failure in result.failures {
        if restores { Output.line("FAILED \(failure.violation.promise) (\(failure.violation.detail)): \(mishaps[Int(failure.seed) - 1]), world \(failure.seed)") } else { Output.line("FAILED \(failure.violation.promise) (\(failure.violation.detail)): fullmind simulate --seed \(failure.seed) --runs 1 --devices \(devices)\(harsh ? " --harsh" : "")\(faults.map { " --faults \($0)" } ?? "")\(skew.map { " --skew \($0)" } ?? "")") }
      }
      for probe in missed { Output.line("NEVER MET \(probe.rawValue): the world is too gentle") }
      Output.line("\(result.runs) runs, \(result.failures.count) failures, \(result.steps) steps, hash \(String(result.hash, radix: 16)), \(String(format: "%.1f", seconds)) s")
      Output.line(Probe.allCases.map { "\($0.rawValue) \(result.met[$0] ?? 0)" }.joined(separator: " · "))
    }
    if !result.failures.isEmpty || !missed.isEmpty { throw ExitCode(ExitStatus.software.rawValue) }
  }

  private struct Report: Encodable {
    struct Failure: Encodable { var seed: UInt64; var promise, detail: String }
    var seed: UInt64
    var runs, steps: Int
    var seconds: Double
    var hash: String
    var failures: [Failure]
    var met: [String: Int]
  }
}
