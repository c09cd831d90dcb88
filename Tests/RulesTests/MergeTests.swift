import Causality
import ConflictResolution
import Testing

/// A handful of devices that write, see some of each other's writes, and write again.
struct Writers {
  var random: SeededRandom
  let record = RecordID(high: 1, low: 2)
  var operations: [Operation] = []
  private let streams: [StreamID]
  private var clocks: [HybridClock]
  private var states: [RecordState]
  private var seen: [Set<OperationID>]
  private var hashes: [StateHash]

  init(seed: UInt64, devices: Int = 3) {
    random = SeededRandom(seed: seed)
    streams = (0..<devices).map { StreamID(device: DeviceID(high: 0, low: UInt64($0 + 1)), incarnation: Incarnation(rawValue: 1), lane: .ordinary) }
    clocks = Array(repeating: HybridClock(), count: devices)
    states = Array(repeating: RecordState(id: record, kind: "check-in"), count: devices)
    seen = Array(repeating: [], count: devices)
    hashes = Array(repeating: StateHash(), count: devices)
  }

  mutating func write() {
    let device = random.number(0...streams.count - 1)
    for operation in operations where !seen[device].contains(operation.id) && random.happens(permille: 500) {
      // Streams arrive without gaps.
      let before = operation.id.sequence == 1 || seen[device].contains(OperationID(stream: operation.id.stream, sequence: operation.id.sequence - 1, mark: 0))
      if before { take(operation, at: device) }
    }
    let field = ["mood", "emotions"][random.number(0...1)]
    let live = states[device][field]?.dots ?? []
    let sequence = UInt64(seen[device].filter { $0.stream == streams[device] }.count + 1)
    let mutation: Mutation
    var replaces = live.map(\.id)
    switch random.number(0...5) {
    case 0 where !live.isEmpty: mutation = .remove
    case 1: (mutation, replaces) = (.add(.integer(Int64(random.number(0...5)))), [])
    default: mutation = .set(.integer(Int64(random.number(0...10))))
    }
    let operation = Operation(
      id: OperationID(stream: streams[device], sequence: sequence, mark: 0),
      timestamp: clocks[device].stamp(wall: UInt64(1_000 + random.number(0...50))), record: record, kind: "check-in",
      field: field, mutation: mutation, replaces: replaces)
    operations.append(operation)
    take(operation, at: device)
  }

  private mutating func take(_ operation: Operation, at device: Int) {
    let known = seen[device]
    states[device].apply(operation, hasArrived: { known.contains($0) }, hash: &hashes[device])
    seen[device].insert(operation.id)
  }

  /// Any order in which each stream keeps its own.
  mutating func shuffled() -> [Operation] {
    var queues = Dictionary(grouping: operations, by: \.id.stream).mapValues { $0.sorted { $0.id < $1.id }[...] }
    var order: [Operation] = []
    while order.count < operations.count {
      let stream = streams[random.number(0...streams.count - 1)]
      if let next = queues[stream]?.popFirst() { order.append(next) }
    }
    return order
  }

  static func state(_ operations: [Operation], record: RecordID) -> (RecordState, StateHash) {
    var (state, hash, seen) = (RecordState(id: record, kind: "check-in"), StateHash(), Set<OperationID>())
    for operation in operations {
      state.apply(operation, hasArrived: { seen.contains($0) }, hash: &hash)
      seen.insert(operation.id)
    }
    return (state, hash)
  }
}

@Suite("Merging")
struct MergeTests {
  @Test("the same operations give the same state, whatever the order", arguments: 1...60)
  func orderDoesNotMatter(seed: Int) {
    var writers = Writers(seed: UInt64(seed))
    for _ in 0..<30 { writers.write() }
    let (first, firstHash) = Writers.state(writers.shuffled(), record: writers.record)
    for _ in 0..<5 {
      let (other, otherHash) = Writers.state(writers.shuffled(), record: writers.record)
      #expect(other == first)
      #expect(otherHash == firstHash)
    }
    #expect(first.hash == firstHash, "the running hash is the state's")
    #expect(first.fields.allSatisfy { $0.awaited.isEmpty }, "everything has arrived")
  }

  @Test("a record survives being stored", arguments: 1...20)
  func stored(seed: Int) throws {
    var writers = Writers(seed: UInt64(seed))
    for _ in 0..<25 { writers.write() }
    let (state, _) = Writers.state(Array(writers.operations.prefix(15)), record: writers.record)
    #expect(try RecordState(id: state.id, encoded: state.encoded) == state)
  }

  private func write(_ value: Value, by device: UInt64, at: UInt64, sequence: UInt64 = 1, replaces: [OperationID] = [], _ mutation: ((Value) -> Mutation)? = nil) -> Operation {
    let stream = StreamID(device: DeviceID(high: 0, low: device), incarnation: Incarnation(rawValue: 1), lane: .ordinary)
    return Operation(
      id: OperationID(stream: stream, sequence: sequence, mark: 0), timestamp: Timestamp(milliseconds: at),
      record: RecordID(high: 1, low: 2), kind: "assessment", field: "item9", mutation: mutation?(value) ?? .set(value), replaces: replaces)
  }

  @Test("a newer low answer does not hide an older high one")
  func highestRisk() {
    let (state, _) = Writers.state([write(.integer(3), by: 1, at: 1_000), write(.integer(0), by: 2, at: 9_000)], record: RecordID(high: 1, low: 2))
    let view = MergePolicy.highestRisk.view(state["item9"]?.dots ?? [])
    #expect(view.chosen?.value == .integer(3))
    #expect(view.isOpen)
    #expect(view.others.map(\.value) == [.integer(0)])
  }

  @Test("a write that has seen the other settles it")
  func sequentialWrites() {
    let first = write(.integer(3), by: 1, at: 1_000)
    let (state, _) = Writers.state([first, write(.integer(0), by: 2, at: 2_000, replaces: [first.id])], record: RecordID(high: 1, low: 2))
    #expect(MergePolicy.highestRisk.view(state["item9"]?.dots ?? []).chosen?.value == .integer(0))
    #expect(state["item9"]?.dots.count == 1)
  }

  @Test("an erasure does not take a write that it had not seen")
  func eraseAgainstEdit() {
    let first = write(.integer(3), by: 1, at: 1_000)
    var erase = write(.integer(0), by: 1, at: 2_000, sequence: 2, replaces: [first.id])
    (erase.mutation, erase.field) = (.erase, Operation.recordField)
    let edit = write(.integer(2), by: 2, at: 1_500, replaces: [first.id])
    for order in [[first, erase, edit], [first, edit, erase]] {
      let (state, _) = Writers.state(order, record: first.record)
      #expect(state.isVisible)
    }
    #expect(!Writers.state([first, erase], record: first.record).0.isVisible)
  }

  /// Every policy is a function of the set of writes: no order, no repetition matters.
  @Test("the three laws", arguments: MergePolicy.allCases)
  func laws(policy: MergePolicy) {
    var random = SeededRandom(seed: 3)
    for _ in 0..<300 {
      let dots = (0..<random.number(1...6)).map { number in
        Dot(
          id: OperationID(stream: StreamID(device: DeviceID(high: 0, low: UInt64(number)), incarnation: Incarnation(rawValue: 1), lane: .ordinary), sequence: 1, mark: 0),
          timestamp: Timestamp(milliseconds: UInt64(random.number(1...3))), value: .integer(Int64(random.number(0...3))))
      }
      let view = policy.view(dots)
      #expect(policy.view(dots.shuffled(using: &random)) == view)
      #expect(policy.view(Array(Set(dots + dots))) == view)
      if !policy.isList, let chosen = view.chosen {
        #expect(Set([chosen] + view.others) == Set(dots), "nothing is lost")
        #expect(policy.view([chosen] + view.others).chosen == chosen, "choosing again changes nothing")
      }
    }
  }
}
