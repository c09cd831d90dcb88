import Causality
import Testing
import WireFormat

@Suite("Identifiers and clock")
struct CausalityTests {
  @Test("an identifier survives being written as text and as bytes")
  func identifiers() throws {
    var random = SeededRandom(seed: 4)
    for _ in 0..<200 {
      let id = DeviceID(using: &random)
      #expect(DeviceID(id.description) == id)
      #expect(DeviceID(id.description.uppercased()) == id)
      #expect(DeviceID(bytes: id.bytes) == id)
      #expect(id.description.count == 26)
    }
  }

  @Test("text that is no identifier is refused", arguments: ["", "abc", String(repeating: "u", count: 26), String(repeating: "z", count: 26)])
  func badIdentifiers(text: String) { #expect(DeviceID(text) == nil) }

  @Test("the clock never runs backwards, whatever the wall clock does")
  func monotonic() {
    var clock = HybridClock()
    var last = Timestamp.zero
    for wall: UInt64 in [1_000, 1_000, 500, 0, 2_000, 1_999, .max, 3] {
      let stamp = clock.stamp(wall: wall)
      #expect(stamp > last)
      last = stamp
    }
  }

  @Test("65,536 stamps within one millisecond stay ordered")
  func counterOverflows() {
    var clock = HybridClock()
    var last = clock.stamp(wall: 10)
    for _ in 0..<70_000 {
      let next = clock.stamp(wall: 10)
      #expect(next > last)
      last = next
    }
    #expect(last.milliseconds == 11)
  }

  @Test("what is seen is followed, and later writes come after it")
  func follows() {
    var clock = HybridClock()
    let remote = Timestamp(milliseconds: 5_000, counter: 3)
    clock.observe(remote, wall: 4_000)
    #expect(clock.stamp(wall: 4_000) > remote)
  }

  @Test("five minutes ahead is drift, a millisecond more is the future")
  func drift() {
    let wall: UInt64 = 1_000_000
    #expect(!HybridClock.isFromTheFuture(Timestamp(milliseconds: wall + 300_000), wall: wall))
    #expect(HybridClock.isFromTheFuture(Timestamp(milliseconds: wall + 300_001), wall: wall))
  }
}

@Suite("Operations as columns")
struct OperationCodecTests {
  static func operations(_ count: Int, seed: UInt64) -> [Operation] {
    var random = SeededRandom(seed: seed)
    let stream = StreamID(device: DeviceID(using: &random), incarnation: Incarnation(rawValue: 1), lane: .ordinary)
    let others = (0..<3).map { _ in StreamID(device: DeviceID(using: &random), incarnation: Incarnation(rawValue: 1), lane: .assessment) }
    let records = (0..<4).map { _ in RecordID(using: &random) }
    return (0..<count).map { index in
      let mutations: [Mutation] = [
        .set(.text("τ \(index)")), .set(.integer(-7)), .add(.flag(true)), .set(.decimal(0.25)), .remove, .erase, .restore,
      ]
      let record = random.number(0...3)
      return Operation(
        stream: stream, sequence: UInt64(5 + index),
        timestamp: Timestamp(rawValue: random.next() >> 1), record: records[record], kind: "kind\(record)",
        field: "field\(random.number(0...2))", mutation: mutations[index % mutations.count],
        replaces: (0..<random.number(0...3)).map { OperationID(stream: others[$0 % 3], sequence: UInt64($0 + 1), mark: 0) },
        decision: index % 5 == 3 ? decision(others[index % 3], &random) : nil)
    }
  }

  private static func decision(_ other: StreamID, _ random: inout SeededRandom) -> Decision {
    var decision = Decision(method: "the person's choice")
    (decision.waited, decision.reopens, decision.isFollowed) = (random.next() >> 20, random.happens(permille: 300), true)
    (decision.model, decision.permille, decision.reasons) = ("assistant 1", 873, ["it says more", "πιο αργά"])
    if random.happens(permille: 700) { decision.recommended = OperationID(stream: other, sequence: random.next() >> 40 | 1, mark: 0) }
    return decision
  }

  @Test("what a decision may hold is limited, and each belongs to one operation")
  func decisions() throws {
    var operation = Self.operations(1, seed: 3)[0]
    operation.decision = Decision(method: "latest wins")
    let run = OperationCodec.Identities.run(stream: operation.id.stream, first: operation.id.sequence)
    func read(_ change: (inout Decision) -> Void) throws -> [Operation] {
      var changed = operation
      if var decision = changed.decision {
        change(&decision)
        changed.decision = decision
      }
      return try OperationCodec.decode(OperationCodec.encode([changed], run), run)
    }
    #expect(try read { _ in }.first?.decision?.method == "latest wins")
    let tooMuch: [(inout Decision) -> Void] = [
      { $0.method = String(repeating: "m", count: 65) }, { $0.model = String(repeating: "m", count: 65) },
      { $0.by = String(repeating: "b", count: Limits.reasonBytes + 1) }, { $0.permille = 1_001 },
      { $0.reasons = ["", "", "", "", ""] }, { $0.reasons = [String(repeating: "r", count: Limits.reasonBytes + 1)] },
    ]
    for change in tooMuch { #expect(throws: CodecError.tooLarge) { try read(change) } }
    var wire = try WireOperations(serializedBytes: OperationCodec.encode([operation], run))
    wire.decisions.append(wire.decisions[0])
    #expect(throws: CodecError.indexOutOfRange) { _ = try ColumnReader(wire) }
    wire.decisions = [wire.decisions[0]]
    wire.decisions[0].operation = 1
    #expect(throws: CodecError.indexOutOfRange) { _ = try ColumnReader(wire) }
  }

  @Test("operations come back as they went in", arguments: 1...20)
  func roundTrip(seed: Int) throws {
    let operations = Self.operations(40, seed: UInt64(seed))
    let run = OperationCodec.Identities.run(stream: operations[0].id.stream, first: 5)
    #expect(try OperationCodec.decode(OperationCodec.encode(operations, run), run) == operations)
    let explicit = OperationCodec.encode(operations, .explicit)
    #expect(try OperationCodec.decode(explicit, .explicit) == operations)
  }

  @Test("changed bytes are refused or give operations, and never crash")
  func hostileBytes() {
    let operations = Self.operations(20, seed: 9)
    let run = OperationCodec.Identities.run(stream: operations[0].id.stream, first: 5)
    let bytes = OperationCodec.encode(operations, run)
    var random = SeededRandom(seed: 1)
    var refused = 0
    for _ in 0..<3_000 {
      var changed = bytes
      for _ in 0..<random.number(1...4) { changed[random.number(0...changed.count - 1)] = UInt8(random.number(0...255)) }
      if random.happens(permille: 200) { changed.removeLast(random.number(1...changed.count - 1)) }
      do { _ = try OperationCodec.decode(changed, run) } catch { refused += 1 }
    }
    #expect(refused > 100, "the change was too gentle to test anything")
  }

  @Test("64 check-in operations take less than 26 bytes each")
  func small() {
    var random = SeededRandom(seed: 2)
    let stream = StreamID(device: DeviceID(using: &random), incarnation: Incarnation(rawValue: 1), lane: .ordinary)
    let operations = (0..<64).map { index in
      let record = RecordID(high: UInt64(index / 8), low: 7)
      return Operation(
        id: OperationID(stream: stream, sequence: UInt64(index + 1), mark: 0), timestamp: Timestamp(milliseconds: 1_790_000_000_000, counter: UInt16(index)),
        record: record, kind: "check-in", field: ["mood", "sleep", "energy", "anxiety", "part", "need", "value", "review"][index % 8],
        mutation: .set(.integer(7)), replaces: [])
    }
    let bytes = OperationCodec.encode(operations, .run(stream: stream, first: 1))
    #expect(bytes.count < 64 * 26)
  }
}
