import CSystem
import Causality
import ConflictResolution
import Foundation
import Storage
import Stores
import Therapy

/// How fast conflicts are found and settled by rule, on one core.
enum ConflictBench {
  private static let count = 200_000

  static func run() -> [BenchRow] {
    let cases = RecordCatalogue.all.flatMap { schema in
      schema.fields.filter { !$0.policy.isAdditive }.map { (schema, $0) }
    }
    // What arrives is made before: a field that was written, and two writes that did not know of each other.
    let prepared = (0..<count).map { number in prepare(cases[number % cases.count], number) }
    var settled = 0
    var times = [Double](repeating: 0, count: count)
    var hash = StateHash()
    let seconds = BenchClock.seconds {
      for (index, (record, one, other)) in prepared.enumerated() {
        let began = fm_uptime_ns()
        var record = record
        record.apply(one, hasArrived: { _ in true }, hash: &hash)
        record.apply(other, hasArrived: { _ in true }, hash: &hash)
        if let conflict = record.conflicts.first, conflict.chosen != nil { settled += 1 }
        times[index] = Double(fm_uptime_ns() - began) / 1e6
      }
    }
    return [
      BenchRow(
        name: "conflicts found and settled by rule", value: Double(count) / seconds, unit: "/s",
        note: "one core, two writes merged for each; \(settled) of \(count) were conflicts"),
      BenchRow(name: "one conflict", value: BenchClock.percentile(times, 0.99), unit: "ms", note: "p99"),
    ]
  }

  private static func prepare(_ place: (RecordSchema, FieldSchema), _ number: Int) -> (RecordState, Causality.Operation, Causality.Operation) {
    let (schema, field) = place
    let id = RecordID(high: 1, low: UInt64(number))
    func write(_ device: UInt64, _ value: Value, at: UInt64, replaces: [OperationID]) -> Causality.Operation {
      let stream = StreamID(device: DeviceID(high: 0, low: device), incarnation: Incarnation(rawValue: 1), lane: schema.lane)
      return Causality.Operation(
        id: OperationID(stream: stream, sequence: UInt64(number + 1) * 2 + at % 2, mark: 0), timestamp: Timestamp(milliseconds: at), record: id,
        kind: schema.kind, field: field.name, mutation: .set(value), replaces: replaces)
    }
    let (before, one, other): (Value, Value, Value) =
      switch field.content {
      case .text, .choice: (.text("a"), .text("a calm day"), .text("a long day"))
      case .integer: (.integer(0), .integer(1), .integer(3))
      case .decimal: (.decimal(0), .decimal(0.4), .decimal(0.6))
      case .flag: (.flag(false), .flag(true), .flag(false))
      }
    var (record, hash) = (RecordState(id: id, kind: schema.kind), StateHash())
    let base = write(1, before, at: 1_000, replaces: [])
    record.apply(base, hasArrived: { _ in true }, hash: &hash)
    return (record, write(1, one, at: 2_001, replaces: [base.id]), write(2, other, at: 3_000, replaces: [base.id]))
  }

  /// Open conflicts, as another device would have left them.
  static func fill(_ store: Store, count: Int) throws {
    var random = SystemRandomNumberGenerator()
    for start in stride(from: 0, to: count, by: 200) {
      let drafts = (start..<min(start + 200, count)).flatMap { number -> [Draft] in
        let id = RecordID(using: &random)
        return [("one \(number)", nil as [OperationID]?), ("another \(number)", [])].map { text, replaces in
          Draft(
            record: id, kind: RecordCatalogue.journal.kind, field: "title", mutation: .set(.text(text)),
            lane: RecordCatalogue.journal.lane, replaces: replaces)
        }
      }
      _ = try Actions(store).commit(drafts)
    }
  }
}
