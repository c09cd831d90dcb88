import Causality
import ConflictResolution
import Storage
import Therapy

/// What became of everything that was written apart, since this store was made.
package struct ConflictTally: Sendable, Hashable {
  /// Writes that met another one of the same field, made without knowing of it.
  package private(set) var detected: UInt64 = 0
  /// Of them, those in which all had written the same.
  package private(set) var churn: UInt64 = 0
  /// Of them, those that waited for the person.
  package private(set) var asked: UInt64 = 0
  /// Of them, those that a rule settled.
  package private(set) var settled: [ConflictMethod: UInt64] = [:]
  package private(set) var hasChanged = false

  package init() {}

  /// Takes in what a record looks like after writes of these fields arrived.
  ///
  /// - Returns: By which methods something was settled, or is shown for now.
  package mutating func take(_ record: RecordState, fields: Set<String>) -> Set<ConflictMethod> {
    var methods = Set<ConflictMethod>()
    for conflict in record.conflicts where fields.contains(conflict.field) {
      detected += 1
      if conflict.state != .churn { methods.insert(conflict.method) }
      switch conflict.state {
      case .churn: churn += 1
      case .open: asked += 1
      case .settled: settled[conflict.method, default: 0] += 1
      }
      hasChanged = true
    }
    return methods
  }

  // MARK: Keeping it

  private static let name = "conflict-tally"

  /// 8 bytes each: detected, churn, asked, then the methods in the order of the table.
  package mutating func takeBytes() -> [UInt8] {
    hasChanged = false
    return ([detected, churn, asked] + ConflictMethod.allCases.map { settled[$0] ?? 0 }).flatMap(\.bigEndianBytes)
  }

  init(restoring transaction: SQLiteTransaction) throws {
    let bytes = try transaction.measurement(Self.name, "") ?? []
    let numbers = stride(from: 0, to: bytes.count - bytes.count % 8, by: 8).map { UInt64(bigEndianBytes: bytes[$0..<$0 + 8]) }
    guard numbers.count >= 3 else { return }
    (detected, churn, asked) = (numbers[0], numbers[1], numbers[2])
    for (method, count) in zip(ConflictMethod.allCases, numbers.dropFirst(3)) where count > 0 { settled[method] = count }
  }

  mutating func keep(_ transaction: inout SQLiteTransaction) throws {
    if hasChanged { try transaction.setMeasurement(Self.name, "", takeBytes()) }
  }
}
