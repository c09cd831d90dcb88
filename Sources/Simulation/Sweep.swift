import Causality
import Dispatch
import Synchronization

/// Many worlds, one seed each, on all cores.
package struct Sweep: Sendable {
  package struct Failure: Sendable {
    package var seed: UInt64
    package var violation: Violation
  }
  package struct Result: Sendable {
    package var failures: [Failure] = []
    package var met: [Probe: Int] = [:]
    package var steps = 0
    /// How many worlds were run: fewer than asked for where the first failure ends it.
    package var runs = 0
    /// Folds the traces of all worlds in the order of their seeds.
    package var hash: UInt64 = 0
    /// Rare situations that never came up.
    package var missed: [Probe] { Probe.allCases.filter { met[$0] == nil } }
  }

  package var faults = Faults()
  package var deviceCount = 3
  package var sabotage: Sabotage?

  package init() {}

  /// - Parameters:
  ///   - seed: The first world's seed; the others follow it.
  ///   - runs: How many worlds.
  ///   - stopAtFirstFailure: Do not start further worlds after one failed.
  package func run(seed: UInt64, runs: Int, stopAtFirstFailure: Bool = false) -> Result {
    run(seed: seed, runs: runs, stopAtFirstFailure: stopAtFirstFailure) { world, _ in world.run() }
  }

  /// The same with one mishap in each world instead of a storm. The seed of a world is its place in the list.
  package func run(_ mishaps: [Mishap]) -> Result {
    var sweep = self
    sweep.faults = Faults(only: []) ?? faults
    return sweep.run(seed: 1, runs: mishaps.count, stopAtFirstFailure: false) { world, index in world.run(mishaps[index]) }
  }

  private func run(
    seed: UInt64, runs: Int, stopAtFirstFailure: Bool, _ body: @Sendable (inout World, Int) -> World.Outcome
  ) -> Result {
    let outcomes = Mutex<[Int: World.Outcome]>([:])
    let failed = Atomic<Bool>(false)
    DispatchQueue.concurrentPerform(iterations: runs) { index in
      if stopAtFirstFailure, failed.load(ordering: .relaxed) { return }
      let outcome = Self.one(seed &+ UInt64(index), self) { body(&$0, index) }
      if outcome.violation != nil { failed.store(true, ordering: .relaxed) }
      outcomes.withLock { $0[index] = outcome }
    }
    return collect(outcomes.withLock { $0 }, seed: seed, runs: runs)
  }

  private static func one(_ seed: UInt64, _ sweep: Sweep, _ body: (inout World) -> World.Outcome) -> World.Outcome {
    do {
      var world = try World(
        seed: seed, deviceCount: sweep.deviceCount, faults: sweep.faults, sabotage: sweep.sabotage)
      return body(&world)
    } catch {
      return World.Outcome(
        violation: Violation(promise: "a world can be made", detail: "\(type(of: error))"), met: [:], traceHash: 0,
        stateHash: .init(), steps: 0)
    }
  }

  private func collect(_ outcomes: [Int: World.Outcome], seed: UInt64, runs: Int) -> Result {
    var result = Result()
    for index in 0..<runs {
      guard let outcome = outcomes[index] else { continue }
      result.runs += 1
      result.steps += outcome.steps
      result.hash = (result.hash &* 0x0000_0100_0000_01b3) ^ outcome.traceHash
      for (probe, count) in outcome.met { result.met[probe, default: 0] += count }
      if let violation = outcome.violation {
        result.failures.append(Failure(seed: seed &+ UInt64(index), violation: violation))
      }
    }
    return result
  }
}
