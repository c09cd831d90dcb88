import Causality
import Crisis
import Sealing
import Therapy

/// What a device writes about a crisis past its store: sealed with keys of its own, and read back.
///
/// Every write is a life of its own, with a random name: nothing has to be read before it is written, nothing is in its
/// way where it is read, and copies of a home that take back the same activation use no number twice.
package struct EmergencyWriter: Sendable {
  package var kit: EmergencyKit

  package init(_ kit: EmergencyKit) { self.kit = kit }

  /// One write.
  package struct Entry: Sendable {
    package var operation: Operation
    package var frame: [UInt8]
    package var life: Incarnation { operation.id.stream.incarnation }
  }

  /// The crisis lane of this device on the relay.
  package var file: RelayStream? { BlindTag(bytes: kit.deviceTag).map { RelayStream(tag: $0, channel: Channel(.crisis)) } }

  /// Seals an activation.
  ///
  /// - Parameter wall: Milliseconds since 1970.
  package func activation(
    _ level: CrisisLevel, source: String, wall: UInt64, using random: inout some RandomNumberGenerator
  ) throws -> Entry {
    try entry(CrisisState.activation(level, source: source, record: kit.record), wall: wall, using: &random)
  }

  /// Seals that activations of this device are taken back: one write for each of them that has not been.
  ///
  /// - Parameter frames: Where they are looked for; others than this device's are passed over.
  package func withdrawals(from frames: [[UInt8]], wall: UInt64, using random: inout some RandomNumberGenerator) throws -> [Entry] {
    try withdrawals(among: frames.flatMap(operations), wall: wall, using: &random)
  }

  /// The same of what was opened.
  package func withdrawals(among operations: [Operation], wall: UInt64, using random: inout some RandomNumberGenerator) throws -> [Entry] {
    try Self.active(among: operations).map { try entry(CrisisState.withdrawal(of: [$0], record: kit.record), wall: wall, using: &random) }
  }

  private func entry(_ draft: Draft, wall: UInt64, using random: inout some RandomNumberGenerator) throws -> Entry {
    let stream = StreamID(device: kit.device, incarnation: .emergency(using: &random), lane: .crisis)
    let operation = Operation(
      stream: stream, sequence: 1, timestamp: Timestamp(milliseconds: wall), record: draft.record, kind: draft.kind,
      field: draft.field, mutation: draft.mutation, replaces: draft.replaces ?? [])
    let content = OperationCodec.encode([operation], .run(stream: stream, first: 1))
    let frame = try kit.seal(
      content, incarnation: stream.incarnation, first: 1, count: 1, previous: noPreviousHash, using: &random)
    return Entry(operation: operation, frame: frame)
  }

  /// What a frame says; nothing where this device did not seal it in an emergency.
  package func operations(in frame: [UInt8]) -> [Operation] {
    guard let opened = try? kit.open(frame), case .operations(let content) = opened.content else { return [] }
    let stream = StreamID(device: kit.device, incarnation: opened.header.incarnation, lane: .crisis)
    return (try? OperationCodec.decode(content, .run(stream: stream, first: opened.header.first))) ?? []
  }

  /// Whether anything that was raised in these frames is not taken back in them.
  package func isActive(in frames: [[UInt8]]) -> Bool { Self.isActive(among: frames.flatMap(operations)) }

  /// The same of what was opened.
  package static func isActive(among operations: [Operation]) -> Bool { !active(among: operations).isEmpty }

  /// Activations that are not taken back among these writes, each once, in the order in which they were found.
  private static func active(among operations: [Operation]) -> [OperationID] {
    var ended = Set(operations.flatMap(\.replaces))
    return operations.compactMap { operation in
      guard case .add = operation.mutation, ended.insert(operation.id).inserted else { return nil }
      return operation.id
    }
  }
}
