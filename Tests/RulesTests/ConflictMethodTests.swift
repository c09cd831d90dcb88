import Causality
import ConflictResolution
import Testing
import Therapy

/// What each method that a person can name makes of two versions.
@Suite("Methods of settling")
struct ConflictMethodTests {
  private func conflict(_ kind: String, _ field: String, _ values: (device: UInt64, value: Value)...) throws -> Conflict {
    var (record, hash) = (RecordState(id: RecordID(high: 1, low: 1), kind: kind), StateHash())
    for (index, version) in values.enumerated() {
      let stream = StreamID(device: DeviceID(high: 0, low: version.device), incarnation: Incarnation(rawValue: 1), lane: .ordinary)
      record.apply(
        Operation(
          id: OperationID(stream: stream, sequence: UInt64(index + 1), mark: 0), timestamp: Timestamp(milliseconds: 1_000 + UInt64(index)), record: record.id,
          kind: kind, field: field, mutation: .set(version.value), replaces: []),
        hasArrived: { _ in true }, hash: &hash)
    }
    return try #require(record.conflicts.first)
  }

  private let own = DeviceID(high: 0, low: 1)

  private func value(_ settlement: Settlement?) -> Value? {
    switch settlement {
    case .keep(let dot)?: dot.value
    case .write(let value)?: value
    case nil: nil
    }
  }

  @Test("local and remote are told apart by who wrote; latest by when")
  func whose() throws {
    let conflict = try conflict("check-in", "mood", (2, .integer(4)), (1, .integer(7)), (3, .integer(5)))
    #expect(value(conflict.settlement(by: .localWins, own: own)) == .integer(7))
    #expect(value(conflict.settlement(by: .remoteWins, own: own)) == .integer(5), "the later of the others")
    #expect(value(conflict.settlement(by: .latestWins, own: own)) == .integer(5))
    #expect(conflict.settlement(by: .localWins, own: DeviceID(high: 0, low: 9)) == nil, "it wrote none of them")
  }

  @Test("priority keeps what stands for more distress, on whichever end of the scale that is")
  func burden() throws {
    let mood = try conflict("check-in", "mood", (1, .integer(2)), (2, .integer(8)))
    #expect(value(mood.settlement(by: .therapeuticPriority, own: own)) == .integer(2))
    let anxiety = try conflict("check-in", "anxiety", (1, .integer(9)), (2, .integer(1)))
    #expect(value(anxiety.settlement(by: .crisisPriority, own: own)) == .integer(9))
    let text = try conflict("journal", "text", (1, .text("a")), (2, .text("b")))
    #expect(text.settlement(by: .therapeuticPriority, own: own) == nil, "words are no scale")
  }

  @Test("merges keep both texts, or the larger number")
  func merges() throws {
    let text = try conflict("journal", "text", (1, .text("calm")), (2, .text("long")), (3, .text("calm")))
    #expect(value(text.settlement(by: .unionMerge, own: own)) == .text("calm\nlong"))
    #expect(text.settlement(by: .fieldMerge, own: own) == nil, "needs what both began with")
    let progress = try conflict("session", "progress", (1, .decimal(0.6)), (2, .decimal(0.4)))
    #expect(value(progress.settlement(by: .fieldMerge, own: own)) == .decimal(0.6))
    #expect(progress.settlement(by: .unionMerge, own: own) == nil)
  }

  @Test("what needs people settles nothing by itself")
  func people() throws {
    let conflict = try conflict("check-in", "mood", (1, .integer(2)), (2, .integer(8)))
    for method in ConflictMethod.allCases where method.budget == nil { #expect(conflict.settlement(by: method, own: own) == nil && !ConflictMethod.named.contains(method)) }
    #expect(Set(ConflictMethod.named.compactMap(\.budget)) == [100, 200, 500, 1_000])
  }
}
