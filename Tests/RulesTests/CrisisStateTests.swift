import Causality
import ConflictResolution
import Crisis
import Testing
import Therapy

@Suite("Crisis state")
struct CrisisStateTests {
  private let record = RecordID(high: 9, low: 9)

  private func activation(_ level: CrisisLevel, device: UInt64, sequence: UInt64 = 1, at: UInt64) -> Operation {
    let stream = StreamID(device: DeviceID(high: 0, low: device), incarnation: Incarnation(rawValue: 1), lane: .crisis)
    let draft = CrisisState.activation(level, source: "person", record: record)
    return Operation(
      id: OperationID(stream: stream, sequence: sequence, mark: 0), timestamp: Timestamp(milliseconds: at), record: draft.record,
      kind: draft.kind, field: draft.field, mutation: draft.mutation, replaces: [])
  }

  private func state(_ operations: [Operation]) -> CrisisState {
    var (state, hash, seen) = (RecordState(id: RecordID(high: 9, low: 9), kind: "crisis"), StateHash(), Set<OperationID>())
    for operation in operations {
      state.apply(operation, hasArrived: { seen.contains($0) }, hash: &hash)
      seen.insert(operation.id)
    }
    return CrisisState(state)
  }

  @Test("mild a second later does not beat emergency")
  func mostSevere() {
    let emergency = activation(.emergency, device: 1, at: 1_000)
    let mild = activation(.mild, device: 2, at: 2_000)
    #expect(state([emergency, mild]).level == .emergency)
    #expect(state([mild, emergency]).level == .emergency)
  }

  @Test("a resolution does not take an activation that it had not seen")
  func unseenActivation() throws {
    let first = activation(.severe, device: 1, at: 1_000)
    let unseen = activation(.moderate, device: 2, at: 900)
    let draft = try #require(state([first]).resolution(record: first.record).first)
    let stream = StreamID(device: DeviceID(high: 0, low: 3), incarnation: Incarnation(rawValue: 1), lane: .crisis)
    let resolve = Operation(
      id: OperationID(stream: stream, sequence: 1, mark: 0), timestamp: Timestamp(milliseconds: 3_000), record: draft.record,
      kind: draft.kind, field: draft.field, mutation: draft.mutation, replaces: try #require(draft.replaces))
    for order in [[first, unseen, resolve], [first, resolve, unseen], [resolve, unseen, first]] {
      let after = state(order)
      #expect(after.isActive)
      #expect(after.level == .moderate)
    }
    #expect(!state([first, resolve]).isActive)
  }

  @Test("an entry that cannot be read still counts, as severe")
  func unreadableEntry() {
    var odd = activation(.mild, device: 1, at: 1)
    odd.mutation = .add(.text("♥ later version"))
    #expect(state([odd]).level == .severe)
  }

  private func write(_ draft: Draft?, device: UInt64, sequence: UInt64, at: UInt64) throws -> Operation {
    let draft = try #require(draft)
    return Operation(
      id: OperationID(stream: StreamID(device: DeviceID(high: 0, low: device), incarnation: Incarnation(rawValue: 1), lane: .crisis), sequence: sequence, mark: 0),
      timestamp: Timestamp(milliseconds: at), record: draft.record, kind: draft.kind, field: draft.field,
      mutation: draft.mutation, replaces: draft.replaces ?? [])
  }

  @Test("who acknowledged, which stage was taken and who was told belong to their activation and leave with it")
  func about() throws {
    let first = activation(.severe, device: 1, at: 1_000)
    let contact = RecordID(high: 5, low: 5)
    let second = DeviceID(high: 0, low: 2)
    var operations = [first]
    operations.append(try write(state(operations).acknowledgement(by: second, record: record), device: 2, sequence: 1, at: 2_000))
    operations.append(try write(state(operations).escalation(to: .family, record: record).first, device: 1, sequence: 2, at: 3_000))
    operations.append(try write(state(operations).telling(contact, record: record).first, device: 1, sequence: 3, at: 4_000))
    let known = state(operations)
    #expect(known.acknowledgements.map(\.device) == [second])
    #expect(known.stages == [.family] && known.told == [contact])
    #expect(known.acknowledgement(by: second, record: record) == nil, "once is enough")
    #expect(known.escalation(to: .family, record: record).isEmpty && known.telling(contact, record: record).isEmpty)
    #expect(known.tellings.map(\.contact) == [contact] && known.tellings.map(\.timestamp.milliseconds) == [4_000])
    let resolution = known.resolution(record: record)
    #expect(resolution.map(\.field) == ["active", "acknowledged", "escalated", "told"])
    for (index, draft) in resolution.enumerated() { operations.append(try write(draft, device: 2, sequence: UInt64(2 + index), at: 5_000)) }
    let after = state(operations)
    #expect(!after.isActive && after.acknowledgements.isEmpty && after.stages.isEmpty && after.told.isEmpty)
    #expect(after.acknowledgement(by: second, record: record) == nil && after.leading == nil)
    #expect(after.resolution(record: record).isEmpty)
  }

  @Test("who was told of one activation knows of the other too, whichever of them is resolved")
  func tellings() throws {
    let contact = RecordID(high: 5, low: 5)
    let (first, second) = (activation(.severe, device: 1, at: 1_000), activation(.severe, device: 2, at: 1_500))
    let drafts = state([first, second]).telling(contact, record: record)
    #expect(drafts.count == 2)
    let told = try drafts.enumerated().map { try write($0.element, device: 1, sequence: UInt64(2 + $0.offset), at: 2_000) }
    let seen = try write(state([first, told[0]]).resolution(record: record).first, device: 3, sequence: 1, at: 3_000)
    let after = state([first, second] + told + [seen])
    #expect(after.activations.map(\.id) == [second.id] && after.told == [contact])
    let more = activation(.severe, device: 1, sequence: 9, at: 4_000)
    #expect(state([first, second] + told + [more]).telling(contact, record: record).count == 1)
  }

  @Test("the history has what was resolved, with who acknowledged and when, for 90 days")
  func history() throws {
    let day: UInt64 = 86_400_000
    let first = activation(.severe, device: 1, at: 10 * day)
    let acknowledged = try write(state([first]).acknowledgement(by: DeviceID(high: 0, low: 2), record: record), device: 2, sequence: 1, at: 10 * day + 5_000)
    let stage = try write(state([first]).escalation(to: .family, record: record).first, device: 1, sequence: 2, at: 10 * day + 60_000)
    let told = try write(state([first]).telling(RecordID(high: 5, low: 5), record: record).first, device: 1, sequence: 3, at: 10 * day + 61_000)
    let known = state([first, acknowledged, stage, told])
    let resolution = try known.resolution(record: record).enumerated().map {
      try write($0.element, device: 2, sequence: UInt64(2 + $0.offset), at: 10 * day + 90_000)
    }
    let open = activation(.mild, device: 1, sequence: 9, at: 20 * day)
    let writes = [open, first, acknowledged, stage, told] + resolution
    let entries = CrisisHistory(writes.shuffled(), wall: 21 * day).entries
    #expect(entries.map(\.activation) == [open.id, first.id], "newest first")
    #expect(entries[0].resolved == nil && entries[1].resolved?.at == 10 * day + 90_000)
    #expect(entries[1].resolved?.by == DeviceID(high: 0, low: 2))
    #expect(entries[1].acknowledged == [DeviceID(high: 0, low: 2): 10 * day + 5_000])
    #expect(entries[1].stages == [.family] && entries[1].told.count == 1 && entries[1].level == .severe)
    #expect(CrisisHistory(writes, wall: 100 * day).entries.count == 2, "90 days later to the day")
    #expect(CrisisHistory(writes, wall: 150 * day).entries.map(\.activation) == [open.id], "what is not resolved stays")
  }

  @Test("a late acknowledgement of a resolved crisis does not count for the next one")
  func lateAcknowledgement() throws {
    let first = activation(.severe, device: 1, at: 1_000)
    let late = try write(state([first]).acknowledgement(by: DeviceID(high: 0, low: 2), record: record), device: 2, sequence: 1, at: 2_000)
    let resolve = try write(state([first]).resolution(record: record).first, device: 1, sequence: 2, at: 2_500)
    let next = activation(.severe, device: 1, sequence: 3, at: 3_000)
    #expect(state([first, resolve, next, late]).acknowledgements.isEmpty)
  }
}
