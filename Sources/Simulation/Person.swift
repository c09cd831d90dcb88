import Causality
import ConflictResolution
import Crisis
import Therapy

/// Somebody who writes on several devices, often about the same things.
struct Person: Sendable {
  /// Stands in every text, so that a byte of it in the wrong place is found.
  static let canary = "canary-7f3a-heron"

  private let shared: [(RecordID, RecordSchema)]
  let crisis: RecordID

  init(account: [UInt8], using random: inout SeededRandom) {
    let schemas = [
      RecordCatalogue.checkIn, RecordCatalogue.journal, RecordCatalogue.assessment, RecordCatalogue.plan,
      RecordCatalogue.checkIn,
    ]
    shared = schemas.map { (RecordID(using: &random), $0) }
    crisis = CrisisState.record(ofAccount: account)
  }

  /// The next thing the person does on a device.
  func act(on contents: MemoryStore.Contents, using random: inout SeededRandom) -> [Draft] {
    switch random.number(0...19) {
    case 0: return crisisDrafts(contents, &random)
    case 1: return erase(contents, &random)
    case 2, 3: return several(&random)
    default: return [edit(contents, &random)]
    }
  }

  private func crisisDrafts(_ contents: MemoryStore.Contents, _ random: inout SeededRandom) -> [Draft] {
    let state = CrisisState(contents.records[crisis])
    if state.isActive, random.happens(permille: 600) { return state.resolution(record: crisis) }
    let device = contents.heads.keys.map(\.device).min()
    if state.isActive, random.happens(permille: 400), let device, let draft = state.acknowledgement(by: device, record: crisis) {
      return [draft]
    }
    let level = CrisisLevel.allCases[random.number(1...4)]
    return [CrisisState.activation(level, source: "person", record: crisis)]
  }

  private func erase(_ contents: MemoryStore.Contents, _ random: inout SeededRandom) -> [Draft] {
    let (id, schema) = shared[random.number(0...shared.count - 1)]
    guard let record = contents.records[id] else { return [edit(contents, &random)] }
    let mutation: Mutation = record.erasures.isEmpty ? .erase : .restore
    return [Draft(record: id, kind: schema.kind, field: Operation.recordField, mutation: mutation, lane: schema.lane)]
  }

  /// Settles most of what waits on a device, as the assistant says or by a choice of its own.
  func decide(on contents: MemoryStore.Contents, using random: inout SeededRandom) -> [Draft] {
    shared.compactMap { contents.records[$0.0] }.flatMap { record in
      record.openConflicts.filter { $0.field != Operation.recordField && random.happens(permille: 700) }
        .compactMap { settle($0, in: record, &random) }
    }
  }

  private func settle(_ conflict: Conflict, in record: RecordState, _ random: inout SeededRandom) -> Draft? {
    var kept = conflict.versions[random.number(0...conflict.versions.count - 1)]
    var decision = Decision(method: ConflictMethod.personsChoice.rawValue)
    if case .recommends(let found) = Assistant().advice(conflict, in: record, threshold: 0.6), let dot = conflict.versions.first(where: { $0.id == found.version }) {
      kept = dot
      (decision.method, decision.model, decision.permille) = (ConflictMethod.assistant.rawValue, Assistant.version, found.permille)
      (decision.reasons, decision.recommended, decision.isFollowed) = (found.reasons, found.version, true)
    }
    guard let value = kept.value else { return nil }
    return Draft(
      record: record.id, kind: record.kind, field: conflict.field, mutation: .set(value), lane: RecordCatalogue[record.kind]?.lane ?? .ordinary,
      replaces: conflict.versions.map(\.id), decision: decision)
  }

  private func several(_ random: inout SeededRandom) -> [Draft] {
    let (id, schema) = (RecordID(using: &random), RecordCatalogue.journal)
    return (0..<random.number(2...6)).map { number in
      Draft(
        record: id, kind: schema.kind, field: number == 0 ? "title" : "text",
        mutation: .set(.text("\(Self.canary) \(random.number(0...999))")), lane: .bulk)
    }
  }

  private func edit(_ contents: MemoryStore.Contents, _ random: inout SeededRandom) -> Draft {
    let (id, schema) = shared[random.number(0...shared.count - 1)]
    let field = schema.fields[random.number(0...schema.fields.count - 1)]
    let live = contents.records[id]?[field.name]?.dots ?? []
    if field.policy.isList, let first = live.first, random.happens(permille: 350) {
      let same = live.filter { $0.value == first.value }.map(\.id)
      return Draft(
        record: id, kind: schema.kind, field: field.name, mutation: .remove, lane: schema.lane, replaces: same)
    }
    let value = Self.value(for: field, &random)
    return Draft(
      record: id, kind: schema.kind, field: field.name, mutation: field.policy.isList ? .add(value) : .set(value),
      lane: schema.lane)
  }

  private static func value(for field: FieldSchema, _ random: inout SeededRandom) -> Value {
    switch field.content {
    case .text: .text("\(canary) \(random.number(0...30))")
    case .integer(let range): .integer(Int64.random(in: range, using: &random))
    case .decimal(let range): .decimal(Double.random(in: range, using: &random))
    case .flag: .flag(random.happens(permille: 500))
    case .choice(let words): .text(words[random.number(0...words.count - 1)])
    }
  }
}
