import Causality
import ConflictResolution
import Crisis
import Testing
import Therapy

@Suite("Crisis state")
struct CrisisStateTests {
  private let record = RecordID(high: 9, low: 9)

  private func activation(_ level: CrisisLevel, device: UInt64, sequence: UInt64 = 1, at: UInt64) -> Operation {
    let stream = StreamID(device: DeviceID(high: 0, low: device), lane: .crisis)
    let draft = CrisisState.activation(level, source: "person", record: record)
    return Operation(
      id: OperationID(stream: stream, sequence: sequence), timestamp: Timestamp(milliseconds: at), record: draft.record,
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
    let stream = StreamID(device: DeviceID(high: 0, low: 3), lane: .crisis)
    let resolve = Operation(
      id: OperationID(stream: stream, sequence: 1), timestamp: Timestamp(milliseconds: 3_000), record: draft.record,
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
      id: OperationID(stream: StreamID(device: DeviceID(high: 0, low: device), lane: .crisis), sequence: sequence),
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
    operations.append(try write(state(operations).escalation(to: .family, record: record), device: 1, sequence: 2, at: 3_000))
    operations.append(try write(state(operations).telling(contact, record: record), device: 1, sequence: 3, at: 4_000))
    let known = state(operations)
    #expect(known.acknowledgements.map(\.device) == [second])
    #expect(known.stages == [.family] && known.told == [contact])
    #expect(known.acknowledgement(by: second, record: record) == nil, "once is enough")
    #expect(known.escalation(to: .family, record: record) == nil && known.telling(contact, record: record) == nil)
    let resolution = known.resolution(record: record)
    #expect(resolution.map(\.field) == ["active", "acknowledged", "escalated", "told"])
    for (index, draft) in resolution.enumerated() { operations.append(try write(draft, device: 2, sequence: UInt64(2 + index), at: 5_000)) }
    let after = state(operations)
    #expect(!after.isActive && after.acknowledgements.isEmpty && after.stages.isEmpty && after.told.isEmpty)
    #expect(after.acknowledgement(by: second, record: record) == nil && after.leading == nil)
    #expect(after.resolution(record: record).isEmpty)
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
