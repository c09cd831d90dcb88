import Causality
import Foundation
import Replica
import Storage
import Therapy

/// What became of conflicts by decision, on all devices of the account: counted once for each decision, in the
/// transaction that makes it or soon after it has arrived.
package struct DecisionTally: Sendable {
  private struct Count: Codable, Sendable { var made = 0, takenBack = 0 }
  private struct Kept: Codable { var methods, types: [String: Count]; var agreed, disagreed: Int; var waits: [UInt8] }

  private var methods: [String: Count] = [:]
  private var types: [String: Count] = [:]
  private var agreed = 0
  private var disagreed = 0
  /// Milliseconds from the latest version to a decision that people made.
  private var waits = Durations()

  package init() {}

  package mutating func take(_ decision: Decision, kind: String, field: String) {
    let type = ConflictRule.rule(kind: kind, field: field).type.rawValue
    if decision.reopens {
      methods[decision.method, default: Count()].takenBack += 1
      types[type, default: Count()].takenBack += 1
      return
    }
    methods[decision.method, default: Count()].made += 1
    types[type, default: Count()].made += 1
    if ConflictMethod(rawValue: decision.method)?.budget == nil { waits.record(min(decision.waited, Self.longest)) }
    guard !decision.model.isEmpty, decision.method != ConflictMethod.assistant.rawValue else { return }
    if decision.isFollowed { agreed += 1 } else { disagreed += 1 }
  }
  /// Ten years, in milliseconds.
  private static let longest: UInt64 = 315_576_000_000

  /// What there is to see of it. Values may be drawn and compared.
  package struct Report: Sendable, Hashable {
    package struct Row: Sendable, Hashable {
      package var name: String
      package var made: Int
      package var takenBack: Int
    }
    package var methods: [Row] = []
    package var types: [Row] = []
    /// How often the person chose what was recommended, and something else.
    package var agreed = 0
    package var disagreed = 0
    /// Milliseconds that people took; `nil` before the first decision.
    package var p50, p95, p99, max: UInt64?
    package var made: Int { methods.reduce(0) { $0 + $1.made } }
    package var takenBack: Int { methods.reduce(0) { $0 + $1.takenBack } }

    package init() {}
  }

  package var report: Report {
    func rows(_ counts: [String: Count]) -> [Report.Row] {
      counts.sorted { $0.key < $1.key }.map { Report.Row(name: $0.key, made: $0.value.made, takenBack: $0.value.takenBack) }
    }
    var report = Report()
    (report.methods, report.types) = (rows(methods), rows(types))
    (report.agreed, report.disagreed) = (agreed, disagreed)
    (report.p50, report.p95, report.p99) = (waits.percentile(50), waits.percentile(95), waits.percentile(99))
    report.max = waits.max
    return report
  }

  // MARK: Keeping it

  /// Nothing that cannot be read is worth refusing anything for: then it counts from zero.
  init(_ transaction: SQLiteTransaction) {
    guard let bytes = (try? transaction.kept(.decisions)) ?? nil, let kept = try? JSONDecoder().decode(Kept.self, from: Data(bytes)) else { return }
    (methods, types, agreed, disagreed) = (kept.methods, kept.types, kept.agreed, kept.disagreed)
    waits.restore(kept.waits)
  }

  private func keep(_ transaction: inout SQLiteTransaction) throws {
    let kept = Kept(methods: methods, types: types, agreed: agreed, disagreed: disagreed, waits: waits.bytes)
    try transaction.keep(Array(try JSONEncoder().encode(kept)), as: .decisions)
  }

  /// Counts the decisions among these changes.
  static func count(_ changes: some Sequence<AppliedChange>, _ transaction: inout SQLiteTransaction) throws {
    let decided = changes.filter { $0.decision != nil }
    guard !decided.isEmpty else { return }
    var tally = DecisionTally(transaction)
    for change in decided {
      if let decision = change.decision { tally.take(decision, kind: change.kind, field: change.field) }
    }
    try tally.keep(&transaction)
  }
}
