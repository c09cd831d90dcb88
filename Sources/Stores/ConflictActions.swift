import Causality
import ConflictResolution
import Foundation
import Replica
import Storage
import Therapy

extension Settlement {
  fileprivate var mutation: Mutation {
    switch self {
    case .keep(let dot): dot.value.map { .set($0) } ?? .erase
    case .write(let value): .set(value)
    }
  }
}

extension Decision {
  fileprivate mutating func note(_ recommendation: Assistant.Recommendation, isFollowed: Bool) {
    (model, permille) = (Assistant.version, recommendation.permille)
    reasons = recommendation.reasons.prefix(Limits.reasons).map(Decision.fitting)
    (recommended, self.isFollowed) = (recommendation.version, isFollowed)
  }
}

extension Snapshot.Conflict {
  init(_ record: RecordState, _ conflict: Conflict, _ names: [DeviceID: String]) {
    let isWhole = conflict.field == Causality.Operation.recordField
    let texts = conflict.versions.compactMap { dot in if case .text(let text)? = dot.value { text } else { nil } }
    // Who wrote the same wrote one version.
    var versions = [Version]()
    for dot in conflict.versions {
      let name = names[dot.id.stream.device] ?? "device"
      let value = isWhole ? (dot.value == nil ? "removed" : "kept") : dot.value?.text ?? ""
      if let same = versions.firstIndex(where: { $0.value == value }) {
        if !versions[same].device.components(separatedBy: ", ").contains(name) { versions[same].device += ", \(name)" }
        continue
      }
      versions.append(
        Version(
          id: dot.id, value: value, device: name, timestamp: dot.timestamp.milliseconds,
          isChosen: dot.id == conflict.chosen?.id, consequence: conflict.consequence(of: dot)))
    }
    self.init(
      record: record.id, kind: record.kind, title: record.title, field: conflict.field, type: conflict.rule.type.rawValue,
      impact: conflict.impact, urgency: conflict.rule.urgency.rawValue, area: conflict.rule.area.rawValue,
      happened: conflict.happened, meanwhile: conflict.meanwhile, why: conflict.rule.why,
      versions: Array(versions.prefix(Limits.listedVersions)), moreVersions: max(0, versions.count - Limits.listedVersions),
      canKeepBoth: !isWhole && texts.count == conflict.versions.count && RecordCatalogue[record.kind]?[conflict.field]?.content == .text)
  }
}

/// Settling what was written apart, and taking that back: every one is a write like any other, and nothing
/// that was ever written is gone.
extension Actions {
  /// Settles a field by writing one of its versions anew, in place of all of them; the record as a whole
  /// by removing it again, or by bringing it back.
  ///
  /// - Parameter choice: The write that is kept.
  /// - Throws: ``InputError/unknownRecord`` when it is not open any more; ``StorageError``.
  package func resolve(_ id: RecordID, field: String, keeping choice: OperationID) throws {
    try settle(id, field) { _, dots in
      guard let kept = dots.first(where: { $0.id == choice }) else { throw InputError.unknownRecord }
      return .keep(kept)
    }
  }

  /// Settles a field with a value that the person gives.
  package func resolve(_ id: RecordID, field: String, with text: String) throws {
    try settle(id, field) { record, _ in
      guard let schema = RecordCatalogue[record.kind]?[field] else {
        throw InputError.unknownField(field, kind: record.kind, known: RecordCatalogue[record.kind]?.fields.map(\.name) ?? [])
      }
      return .write(try schema.value(from: text))
    }
  }

  /// Settles a field by a method that the person names.
  ///
  /// - Throws: ``InputError`` where the method says nothing about these versions.
  package func resolve(_ id: RecordID, field: String, by method: ConflictMethod) throws {
    if method == .fieldMerge, try mergeTexts(id, field: field) { return }
    try settle(id, field, by: method) { record, _ in
      guard let conflict = record.openConflicts.first(where: { $0.field == field }) else { throw InputError.unknownRecord }
      guard let settlement = conflict.settlement(by: method, own: device) else {
        throw InputError.invalid(
          "“\(method.rawValue)” says nothing about these versions. Nothing was changed.",
          remedy: "Name a version: see them with `fullmind conflicts show \(id)`.")
      }
      guard case .write(let value) = settlement, let schema = RecordCatalogue[record.kind]?[field] else { return settlement }
      // Several texts may be longer than one may be.
      return .write(try schema.value(from: value.text))
    }
  }

  /// Settles every open conflict of one type with the version that is shown.
  ///
  /// - Returns: How many.
  package func resolveAll(type: String) throws -> Int {
    let records = try store.read { try $0.openRecords(limit: .max - 1) }
    let drafts = records.flatMap { record in
      record.openConflicts.filter { $0.rule.type.rawValue == type }.compactMap { conflict -> Draft? in
        guard let chosen = conflict.chosen else { return nil }
        var draft = Self.draft(record, conflict.field, chosen.value.map { .set($0) } ?? .erase)
        draft.decision = decision(.personsChoice, conflict.versions)
        return draft
      }
    }
    // What arrives meanwhile was not seen, is not replaced, and so stays open.
    for start in stride(from: 0, to: drafts.count, by: 500) {
      _ = try commit(Array(drafts[start..<min(start + 500, drafts.count)]))
    }
    return drafts.count
  }

  /// The write that settles a field, or the record as a whole, for everything that is live now.
  private static func draft(_ record: RecordState, _ field: String, _ mutation: Mutation) -> Draft {
    let lane = RecordCatalogue[record.kind]?.lane ?? .ordinary
    guard field == Causality.Operation.recordField else {
      return Draft(
        record: record.id, kind: record.kind, field: field, mutation: mutation, lane: lane,
        replaces: record[field]?.dots.map(\.id) ?? [])
    }
    let isRemoval = mutation == .erase
    return Draft(
      record: record.id, kind: record.kind, field: field, mutation: isRemoval ? .erase : .restore, lane: lane,
      replaces: isRemoval ? record.liveOperations : record.erasures.map(\.id))
  }

  /// A decision that is made now, by this method.
  private func decision(_ method: ConflictMethod, _ versions: [Dot]) -> Decision {
    var decision = Decision(method: method.rawValue)
    let (now, latest) = (SystemClock.now.wall, versions.map(\.timestamp.milliseconds).max() ?? 0)
    decision.waited = now > latest ? now - latest : 0
    return decision
  }

  /// The write by which others decide what they were asked.
  func settling(_ record: RecordState, _ field: String, keeping kept: Dot, _ dots: [Dot], _ method: ConflictMethod, by names: [String]) -> Draft {
    var draft = Self.draft(record, field, Settlement.keep(kept).mutation)
    var decision = decision(method, dots)
    decision.by = Decision.fitting(names.joined(separator: ", "))
    draft.decision = decision
    return draft
  }

  /// Read and write are one transaction: nothing that arrives in between is lost from sight.
  private func settle(
    _ id: RecordID, _ field: String, by method: ConflictMethod = .personsChoice, _ choose: (RecordState, [Dot]) throws -> Settlement
  ) throws {
    _ = try saving { transaction in
      guard let record = try transaction.record(id) else { throw InputError.unknownRecord }
      let isWhole = field == Causality.Operation.recordField
      guard let dots = isWhole ? record.erasures + record.dataFields.flatMap(\.dots) : record[field]?.dots else {
        throw InputError.unknownRecord
      }
      let settlement = try choose(record, dots)
      var draft = Self.draft(record, field, settlement.mutation)
      var decision = decision(method, dots)
      if method != .fieldMerge { try teach(settlement, field, record, &decision, &transaction) }
      draft.decision = decision
      return try save([draft], in: &transaction)
    }
  }

  /// The assistant learns from what the person chose; the decision says what had been recommended.
  private func teach(
    _ settlement: Settlement, _ field: String, _ record: RecordState, _ decision: inout Decision, _ transaction: inout SQLiteTransaction
  ) throws {
    guard ConflictRule.isForAssistant(kind: record.kind, field: field),
      let conflict = record.openConflicts.first(where: { $0.field == field })
    else { return }
    let policy = try AssistantPolicy(transaction, account: store.ring.account.account)
    guard policy.mode != .off else { return }
    var assistant = Assistant(transaction)
    let chosen = if case .keep(let dot) = settlement { dot.id as OperationID? } else { nil as OperationID? }
    if case .recommends(let recommendation) = assistant.advice(conflict, in: record, threshold: policy.threshold) {
      decision.note(recommendation, isFollowed: recommendation.version == chosen)
    }
    guard let chosen else { return }
    assistant.learn(conflict, in: record, chosen: chosen)
    try assistant.keep(&transaction)
  }

  /// Lets the assistant decide, where it is sure enough and the person has said that it may.
  ///
  /// - Returns: Whether it decided.
  func assist(_ id: RecordID, field: String) throws -> Bool {
    try !saving { transaction in
      let policy = try AssistantPolicy(transaction, account: store.ring.account.account)
      guard policy.mode == .decide, let record = try transaction.record(id),
        let conflict = record.openConflicts.first(where: { $0.field == field }),
        case .recommends(let recommendation) = Assistant(transaction).advice(conflict, in: record, threshold: policy.threshold),
        let kept = conflict.versions.first(where: { $0.id == recommendation.version }), let value = kept.value
      else { return Saved(operations: []) }
      var draft = Self.draft(record, field, .set(value))
      var decision = decision(.assistant, conflict.versions)
      decision.note(recommendation, isFollowed: true)
      draft.decision = decision
      return try save([draft], in: &transaction)
    }.operations.isEmpty
  }

  // MARK: Taking back

  /// Opens a conflict again that was settled, however long ago, by writing its versions anew.
  ///
  /// - Throws: ``InputError`` when the field was never in conflict, or still is.
  package func undoResolution(of id: RecordID, field: String) throws {
    let writes = try RecordHistory(store).writes(of: id).filter { $0.field == field }
    let byID = Dictionary(uniqueKeysWithValues: writes.map { ($0.id, $0) })
    let settled = writes.last { write in Set(write.replaces.compactMap { byID[$0]?.mutation.value }).count > 1 }
    guard let settled else {
      throw InputError.invalid("Nothing was settled here. Nothing was changed.", remedy: "See `fullmind record history \(id)`.")
    }
    var seen = Set<Value>()
    let values = settled.replaces.compactMap { byID[$0]?.mutation.value }.filter { seen.insert($0).inserted }
    _ = try saving { transaction in
      guard let record = try transaction.record(id), let live = record[field]?.dots else { throw InputError.unknownRecord }
      guard Set(live.compactMap(\.value)).count < 2 else {
        throw InputError.invalid("It is still open. Nothing was changed.", remedy: "Settle it with `fullmind conflicts resolve`.")
      }
      let lane = RecordCatalogue[record.kind]?.lane ?? .ordinary
      var reopening = Decision(method: settled.decision?.method ?? ConflictMethod.personsChoice.rawValue)
      reopening.reopens = true
      // The first takes the place of the decision; the others stand beside it, as they did before.
      let drafts = values.enumerated().map { index, value in
        Draft(
          record: id, kind: record.kind, field: field, mutation: .set(value), lane: lane,
          replaces: index == 0 ? live.map(\.id) : [], decision: index == 0 ? reopening : nil)
      }
      return try save(drafts, in: &transaction)
    }
  }

  /// Writes an earlier version anew: a value in place of what is there, an entry beside the others.
  ///
  /// - Parameter version: A write of the record's history.
  package func restore(_ version: Causality.Operation) throws {
    guard let value = version.mutation.value else {
      throw InputError.invalid("This entry of the history holds no value. Nothing was changed.", remedy: "Choose one that wrote something.")
    }
    _ = try saving { transaction in
      guard let record = try transaction.record(version.record) else { throw InputError.unknownRecord }
      let isAdditive = RecordCatalogue.policy(of: version.field, kind: record.kind).isAdditive
      let live = record[version.field]?.dots ?? []
      let replaced = isAdditive ? live.filter { $0.value == value } : live
      let lane = RecordCatalogue[record.kind]?.lane ?? .ordinary
      let draft = Draft(
        record: record.id, kind: record.kind, field: version.field, mutation: isAdditive ? .add(value) : .set(value),
        lane: lane, replaces: replaced.map(\.id))
      return try save([draft], in: &transaction)
    }
  }

  /// Merges the texts of a field where their edits do not touch each other.
  ///
  /// - Returns: Whether it was settled.
  package func mergeTexts(_ id: RecordID, field: String) throws -> Bool {
    guard let record = try store.read({ try $0.record(id) }), let dots = record[field]?.dots, dots.count == 2,
      case .text(let one)? = dots[0].value, case .text(let other)? = dots[1].value, one != other
    else { return false }
    let writes = try RecordHistory(store).writes(of: id)
    let replaced = dots.map { dot in Set(writes.first { $0.id == dot.id }?.replaces ?? []) }
    // What both began with: the latest write that both have replaced.
    let base = writes.last { replaced[0].contains($0.id) && replaced[1].contains($0.id) }
    guard case .text(let text)? = base?.mutation.value, let merged = TextMerge.merge(base: text, one, other),
      WriteLimits.holds(text: merged)
    else { return false }
    var isSettled = false
    try settle(id, field, by: .fieldMerge) { _, live in
      // Something may have arrived meanwhile: then its author decides.
      guard live.map(\.id) == dots.map(\.id) else { throw InputError.unknownRecord }
      isSettled = true
      return .write(.text(merged))
    }
    return isSettled
  }
}

extension RecordHistory {
  /// A record as it was at a moment, from every write stamped until then.
  ///
  /// - Parameter wall: Milliseconds since 1970.
  package func state(of id: RecordID, at wall: UInt64) throws -> RecordState? {
    let writes = try writes(of: id).filter { $0.timestamp.milliseconds <= wall }
    guard let first = writes.first else { return nil }
    var (state, hash, seen) = (RecordState(id: id, kind: first.kind), StateHash(), Set<OperationID>())
    for write in writes {
      state.apply(write, hasArrived: { seen.contains($0) }, hash: &hash)
      seen.insert(write.id)
    }
    return state
  }
}
