import Causality
import ConflictResolution
import Foundation
import Storage
import Therapy

/// What the assistant may do, as the person said: the same on every device of the account.
package struct AssistantPolicy: Sendable, Hashable {
  package enum Mode: String, Sendable, CaseIterable { case off, recommend, decide }
  package var mode = Mode.recommend
  package var threshold = Assistant.threshold

  package init(mode: Mode = .recommend, threshold: Double = Assistant.threshold) { (self.mode, self.threshold) = (mode, threshold) }

  /// One preference of the account.
  static func record(ofAccount account: [UInt8]) -> RecordID {
    RecordID(ofAccount: account, mark: 0x6173_7369_7374_0001)
  }

  init(_ transaction: SQLiteTransaction, account: [UInt8]) throws {
    guard let text = try transaction.record(Self.record(ofAccount: account))?.text("value") else { return }
    let words = text.split(separator: " ")
    mode = words.first.flatMap { Mode(rawValue: String($0)) } ?? .recommend
    let said = words.dropFirst().first.flatMap { Double($0) } ?? Assistant.threshold
    threshold = min(max(said, Assistant.thresholds.lowerBound), Assistant.thresholds.upperBound)
  }
}

extension Assistant {
  /// What was learned on this device; as it came where nothing was, or by another model.
  init(_ transaction: SQLiteTransaction) {
    let kept = (try? transaction.kept(.assistant)).flatMap { try? JSONDecoder().decode(Assistant.self, from: Data($0)) }
    self = kept.flatMap { $0.isCurrent ? $0 : nil } ?? Assistant()
  }

  func keep(_ transaction: inout SQLiteTransaction) throws {
    try transaction.keep(Array(try JSONEncoder().encode(self)), as: .assistant)
  }
}

extension Actions {
  package func assistant() throws -> (policy: AssistantPolicy, choices: Int) {
    try store.read { (try AssistantPolicy($0, account: store.ring.account.account), Assistant($0).choices) }
  }

  /// Says what the assistant may do on all devices.
  package func setAssistant(_ policy: AssistantPolicy) throws {
    let id = AssistantPolicy.record(ofAccount: store.ring.account.account)
    let fields = [("name", "assistant"), ("value", "\(policy.mode.rawValue) \(policy.threshold)")]
    _ = try commit(fields.map { field, text in
      Draft(record: id, kind: RecordCatalogue.preference.kind, field: field, mutation: .set(.text(text)), lane: RecordCatalogue.preference.lane)
    })
  }

  /// What the assistant says about a conflict, in words for people.
  package func advice(_ id: RecordID, field: String) throws -> Assistant.Advice? {
    try store.read { transaction in
      let policy = try AssistantPolicy(transaction, account: store.ring.account.account)
      guard policy.mode != .off, let record = try transaction.record(id),
        let conflict = record.openConflicts.first(where: { $0.field == field })
      else { return nil }
      return Assistant(transaction).advice(conflict, in: record, threshold: policy.threshold)
    }
  }
}
