import Causality
import Histogram

/// What is promised to be quick. (PRODUCT.md, *Guarantees*.)
package enum GuaranteedOperation: String, Sendable, CaseIterable {
  case stateUpdate = "state-update"
  case conflictResolution = "conflict-resolution"
  case sessionHandoff = "session-handoff"
  case crisisPropagation = "crisis-propagation"
  case deviceCoordination = "device-coordination"
  // The rest of the crisis path, step by step.
  case crisisProposal = "crisis-proposal"
  case crisisScreen = "crisis-screen"
  case crisisDurable = "crisis-durable"
  case crisisShown = "crisis-shown"
  case crisisAcknowledged = "crisis-acknowledged"

  /// The five operations of the guarantees table.
  package static let guaranteed: [Self] = [.stateUpdate, .conflictResolution, .sessionHandoff, .crisisPropagation, .deviceCoordination]
  /// What happens between a key and help, in order.
  package static let crisisPath: [Self] = [
    .crisisProposal, .crisisScreen, .crisisDurable, .crisisPropagation, .crisisShown, .crisisAcknowledged,
  ]

  /// What is measured, in words.
  package var meaning: String {
    switch self {
    case .stateUpdate: "noticed here → receipt of the first other device"
    case .conflictResolution: "sealed batch read → settled and durable"
    case .sessionHandoff: "offered here → taken over there, seen here"
    case .crisisPropagation: "raised here → receipt of each device"
    case .deviceCoordination: "presence there and back, without their waiting"
    case .crisisProposal: "answer given → help offered on the screen"
    case .crisisScreen: "key → drawn on this screen"
    case .crisisDurable: "key → durable on this device"
    case .crisisShown: "key → drawn on a screen of another device, its receipt seen here"
    case .crisisAcknowledged: "raised here → acknowledged on another device"
    }
  }

  /// Milliseconds.
  package func target(_ mode: GuaranteeMode) -> Double {
    switch (self, mode) {
    case (.stateUpdate, .normal): 500
    case (.stateUpdate, .crisis): 200
    case (.conflictResolution, .normal): 1_000
    case (.conflictResolution, .crisis): 100
    case (.sessionHandoff, .normal): 2_000
    case (.sessionHandoff, .crisis): 500
    case (.crisisPropagation, .normal): 200
    case (.crisisPropagation, .crisis): 100
    case (.deviceCoordination, .normal): 300
    case (.deviceCoordination, .crisis): 150
    // A blink takes 100 ms; what is only drawn or saved here has to be far below it.
    case (.crisisProposal, _), (.crisisScreen, _), (.crisisDurable, _): 50
    case (.crisisShown, _): 100
    // People take their time: until the first stage would be due.
    case (.crisisAcknowledged, _): 60_000
    }
  }
}

package enum GuaranteeMode: String, Sendable, CaseIterable { case normal, crisis }

/// One line of the guarantees table.
package struct GuaranteeRow: Sendable, Hashable {
  package var operation: GuaranteedOperation
  package var mode: GuaranteeMode
  package var count: Int
  /// Milliseconds; `nil` before the first measurement.
  package var p50, p95, p99, max: Double?
  package var target: Double
  /// Measurements over the target: major violations.
  package var violations: Int
  /// Measurements over twice the target: critical ones, also counted in `violations`.
  package var critical: Int
}

/// Histograms of everything that is guaranteed; never a mean.
package struct Measurements: Sendable {
  private struct Key: Hashable { var operation: GuaranteedOperation; var mode: GuaranteeMode }
  /// Microseconds, three significant digits.
  private var histograms: [Key: Histogram<UInt32>] = [:]
  private var dirty = Set<Key>()

  package init() {}

  package mutating func record(_ operation: GuaranteedOperation, _ mode: GuaranteeMode, nanoseconds: UInt64) {
    record(Key(operation: operation, mode: mode), microseconds: max(1, nanoseconds / 1_000), count: 1)
  }

  private mutating func record(_ key: Key, microseconds: UInt64, count: UInt32) {
    var histogram = histograms[key] ?? Self.empty()
    // Longer than an hour says nothing more than "an hour".
    histogram.record(min(microseconds, 3_600_000_000), count: count)
    histograms[key] = histogram
    dirty.insert(key)
  }

  private static func empty() -> Histogram<UInt32> {
    var histogram = Histogram<UInt32>(numberOfSignificantValueDigits: .three)
    histogram.autoResize = true
    return histogram
  }

  package var rows: [GuaranteeRow] {
    GuaranteedOperation.guaranteed.flatMap { operation in
      GuaranteeMode.allCases.map { row(operation, $0) }
    }
  }

  package var crisisPath: [GuaranteeRow] { GuaranteedOperation.crisisPath.map { row($0, .crisis) } }

  private func row(_ operation: GuaranteedOperation, _ mode: GuaranteeMode) -> GuaranteeRow {
    let target = operation.target(mode)
    guard let histogram = histograms[Key(operation: operation, mode: mode)], histogram.totalCount > 0 else {
      return GuaranteeRow(
        operation: operation, mode: mode, count: 0, p50: nil, p95: nil, p99: nil, max: nil, target: target,
        violations: 0, critical: 0)
    }
    let limit = UInt64(target * 1_000)
    let above = { (bound: UInt64) -> Int in
      histogram.max > bound ? Int(histogram.count(within: bound + 1...histogram.max)) : 0
    }
    let at = { (share: Double) in Double(histogram.valueAtPercentile(share)) / 1_000 }
    return GuaranteeRow(
      operation: operation, mode: mode, count: Int(histogram.totalCount), p50: at(50), p95: at(95), p99: at(99),
      max: Double(histogram.max) / 1_000, target: target, violations: above(limit), critical: above(2 * limit))
  }

  // MARK: Keeping them

  /// The histograms that changed since the last call, as bytes: pairs of microseconds and count.
  package mutating func takeChanged() -> [(operation: String, mode: String, bytes: [UInt8])] {
    defer { dirty = [] }
    return dirty.map { key in
      var bytes = [UInt8]()
      if let histogram = histograms[key] {
        for value in histogram.recordedValues() {
          bytes += value.value.bigEndianBytes + UInt32(value.count).bigEndianBytes
        }
      }
      return (key.operation.rawValue, key.mode.rawValue, bytes)
    }
  }

  package var hasChanged: Bool { !dirty.isEmpty }

  /// Adds what was kept; ignores bytes that are not whole pairs.
  package mutating func restore(_ operation: GuaranteedOperation, _ mode: GuaranteeMode, _ bytes: [UInt8]) {
    for start in stride(from: 0, to: bytes.count - 11, by: 12) {
      record(
        Key(operation: operation, mode: mode),
        microseconds: UInt64(bigEndianBytes: bytes[start..<start + 8]),
        count: UInt32(bigEndianBytes: bytes[start + 8..<start + 12]))
    }
    dirty = []
  }
}
