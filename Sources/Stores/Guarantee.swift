import Causality
import Therapy

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
  // What was written apart, by the method that settled it.
  case settledByCrisisPriority = "settled-crisis-priority"
  case settledByLatest = "settled-latest"
  case settledByTherapeuticPriority = "settled-therapeutic-priority"
  case settledByMerge = "settled-merge"
  case settledByAssistant = "settled-assistant"

  package var words: String { String(rawValue.map { $0 == "-" ? " " : $0 }) }

  /// The five operations of the guarantees table.
  package static let guaranteed: [Self] = [.stateUpdate, .conflictResolution, .sessionHandoff, .crisisPropagation, .deviceCoordination]
  /// What happens between a key and help, in order.
  package static let crisisPath: [Self] = [
    .crisisProposal, .crisisScreen, .crisisDurable, .crisisPropagation, .crisisShown, .crisisAcknowledged,
  ]

  package static let settling: [Self] = [.settledByCrisisPriority, .settledByLatest, .settledByTherapeuticPriority, .settledByMerge, .settledByAssistant]

  /// What times the settling by a rule; `nil` where people are waited for, and for the assistant, which is timed apart.
  package init?(_ method: ConflictMethod) {
    switch method {
    case .crisisPriority: self = .settledByCrisisPriority
    case .latestWins, .localWins, .remoteWins: self = .settledByLatest
    case .therapeuticPriority: self = .settledByTherapeuticPriority
    case .fieldMerge, .unionMerge: self = .settledByMerge
    case .personsChoice, .assistant, .therapistReview, .familyConsensus: return nil
    }
  }

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
    case .settledByCrisisPriority: "settled by crisis priority, from the sealed batch to durable"
    case .settledByLatest: "settled by latest wins, from the sealed batch to durable"
    case .settledByTherapeuticPriority: "shown by therapeutic priority, from the sealed batch to durable"
    case .settledByMerge: "merged, from the sealed batch to durable"
    case .settledByAssistant: "decided by the assistant, from its first look to durable"
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
    case (.settledByCrisisPriority, _): ConflictMethod.crisisPriority.budget ?? 0
    case (.settledByLatest, _): ConflictMethod.latestWins.budget ?? 0
    case (.settledByTherapeuticPriority, _): ConflictMethod.therapeuticPriority.budget ?? 0
    case (.settledByMerge, _): ConflictMethod.fieldMerge.budget ?? 0
    case (.settledByAssistant, let mode): Self.conflictResolution.target(mode)
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
  /// Microseconds.
  private var durations: [Key: Durations] = [:]
  private var dirty = Set<Key>()
  /// Rows that are as the histograms are: percentiles cost more than everything else of a picture.
  private var made: [Key: GuaranteeRow] = [:]

  package init() {}

  package mutating func record(_ operation: GuaranteedOperation, _ mode: GuaranteeMode, nanoseconds: UInt64) {
    let key = Key(operation: operation, mode: mode)
    // Longer than an hour says nothing more than "an hour".
    durations[key, default: Durations()].record(min(max(1, nanoseconds / 1_000), 3_600_000_000))
    dirty.insert(key)
    made[key] = nil
  }

  /// Makes the rows that have changed, before they are asked for again and again.
  package mutating func makeRows() {
    for operation in GuaranteedOperation.allCases {
      for mode in GuaranteeMode.allCases {
        let key = Key(operation: operation, mode: mode)
        if made[key] == nil { made[key] = row(operation, mode) }
      }
    }
  }

  package var rows: [GuaranteeRow] { rows(GuaranteedOperation.guaranteed) }

  /// What is measured in a crisis only.
  package var crisisPath: [GuaranteeRow] { GuaranteedOperation.crisisPath.map { row($0, .crisis) } }

  /// How long rules took to settle what was written apart, by method.
  package var settling: [GuaranteeRow] { rows(GuaranteedOperation.settling) }

  private func rows(_ operations: [GuaranteedOperation]) -> [GuaranteeRow] {
    operations.flatMap { operation in GuaranteeMode.allCases.map { row(operation, $0) } }
  }

  private func row(_ operation: GuaranteedOperation, _ mode: GuaranteeMode) -> GuaranteeRow {
    let key = Key(operation: operation, mode: mode)
    if let made = made[key] { return made }
    let durations = durations[key] ?? Durations()
    let target = operation.target(mode)
    let limit = UInt64(target * 1_000)
    let at = { (share: Double) in durations.percentile(share).map { Double($0) / 1_000 } }
    return GuaranteeRow(
      operation: operation, mode: mode, count: durations.count, p50: at(50), p95: at(95), p99: at(99),
      max: durations.max.map { Double($0) / 1_000 }, target: target, violations: durations.count(above: limit),
      critical: durations.count(above: 2 * limit))
  }

  // MARK: Keeping them

  /// The histograms that changed since the last call, as bytes.
  package mutating func takeChanged() -> [(operation: String, mode: String, bytes: [UInt8])] {
    defer { dirty = [] }
    return dirty.map { ($0.operation.rawValue, $0.mode.rawValue, durations[$0]?.bytes ?? []) }
  }

  package var hasChanged: Bool { !dirty.isEmpty }

  /// Adds what was kept.
  package mutating func restore(_ operation: GuaranteedOperation, _ mode: GuaranteeMode, _ bytes: [UInt8]) {
    let key = Key(operation: operation, mode: mode)
    durations[key, default: Durations()].restore(bytes)
    made[key] = nil
  }
}
