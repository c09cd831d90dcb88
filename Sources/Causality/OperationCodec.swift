import Foundation
import SwiftProtobuf
import WireFormat

/// Why bytes could not be read as operations. Never says what the bytes were.
package enum CodecError: Error, Sendable, Hashable {
  case notAMessage
  case columnsDisagree
  case indexOutOfRange
  case tooLarge
  case unknownAction
  case badIdentifier
}

/// Turns operations into the columns of `Operations` in fullmind.proto, and back.
///
/// Columns keep a batch small: identifiers and names stand in tables once, and the columns of small
/// integers pack into a byte or two per operation.
package enum OperationCodec {
  /// Where the identities of the operations come from.
  package enum Identities {
    /// Operation `i` has sequence `first + i` in `stream`: a batch.
    case run(stream: StreamID, first: UInt64)
    /// Each operation carries its own: operations at rest.
    case explicit
  }

  package static func encode(_ operations: [Operation], _ identities: Identities) -> [UInt8] {
    var columns = ColumnWriter()
    for operation in operations { columns.append(operation) }
    if case .explicit = identities { columns.appendOrigins(operations) }
    return columns.bytes()
  }

  /// - Throws: ``CodecError``; nothing has been kept.
  package static func decode(_ bytes: [UInt8], _ identities: Identities) throws(CodecError) -> [Operation] {
    guard let message = try? WireOperations(serializedBytes: bytes) else { throw .notAMessage }
    return try ColumnReader(message).operations(identities)
  }
}

/// A stream without its lane: who wrote, and in which life.
private struct Writer: Hashable {
  var device: DeviceID
  var incarnation: Incarnation
}

/// The columns by themselves: a message with so many of them keeps them in a box, and every element that is read or
/// written there costs an access to it.
private struct Columns {
  var writers = Data()
  var records = Data()
  var recordKinds: [UInt32] = []
  var names: [String] = []
  var record: [UInt32] = []
  var field: [UInt32] = []
  var timestampDelta: [Int64] = []
  var action: [UInt32] = []
  var value: [WireValue] = []
  var replacesCount: [UInt32] = []
  var replaces: [UInt64] = []
  var replacesMarks: [UInt64] = []
  var origin: [UInt64] = []
  var originMarks: [UInt64] = []
  var awaited: [UInt64] = []
  var awaitedMarks: [UInt64] = []
  var decisions: [WireDecision] = []
}

extension Columns {
  init(_ message: WireOperations) {
    (writers, records, recordKinds, names) = (message.writers, message.records, message.recordKinds, message.names)
    (record, field, timestampDelta) = (message.record, message.field, message.timestampDelta)
    (action, value, decisions) = (message.action, message.value, message.decisions)
    (replacesCount, replaces, replacesMarks) = (message.replacesCount, message.replaces, message.replacesMarks)
    (origin, originMarks) = (message.origin, message.originMarks)
    (awaited, awaitedMarks) = (message.awaited, message.awaitedMarks)
  }

  var message: WireOperations {
    var message = WireOperations()
    (message.writers, message.records, message.recordKinds, message.names) = (writers, records, recordKinds, names)
    (message.record, message.field, message.timestampDelta) = (record, field, timestampDelta)
    (message.action, message.value, message.decisions) = (action, value, decisions)
    (message.replacesCount, message.replaces, message.replacesMarks) = (replacesCount, replaces, replacesMarks)
    (message.origin, message.originMarks) = (origin, originMarks)
    (message.awaited, message.awaitedMarks) = (awaited, awaitedMarks)
    return message
  }
}

/// Collects operations into columns.
package struct ColumnWriter {
  private var columns = Columns()
  private var writers: [Writer: UInt64] = [:]
  private var records: [RecordID: UInt32] = [:]
  private var names: [String: UInt32] = [:]
  private var previous: UInt64 = 0

  package init() {}

  /// Notes a record even if none of its operations is left.
  package mutating func append(record: RecordID, kind: String) { _ = index(of: record, kind: kind) }

  package mutating func append(_ operation: Operation) {
    columns.record.append(index(of: operation.record, kind: operation.kind))
    columns.field.append(index(of: operation.field))
    columns.timestampDelta.append(Int64(bitPattern: operation.timestamp.rawValue &- previous))
    previous = operation.timestamp.rawValue
    columns.action.append(operation.mutation.action)
    columns.value.append(operation.mutation.wireValue)
    columns.replacesCount.append(UInt32(operation.replaces.count))
    for id in operation.replaces {
      columns.replaces += pair(id)
      columns.replacesMarks.append(id.mark)
    }
    if let decision = operation.decision {
      var wire = WireDecision(decision)
      wire.operation = UInt32(columns.record.count - 1)
      if let version = decision.recommended {
        wire.recommended = pair(version)
        wire.recommendedMark = version.mark
      }
      columns.decisions.append(wire)
    }
  }

  package mutating func appendOrigins(_ operations: [Operation]) {
    for operation in operations {
      columns.origin += pair(operation.id)
      columns.originMarks.append(operation.id.mark)
    }
  }

  /// Notes replaced operations that have not arrived; only at rest.
  package mutating func appendAwaited(_ id: OperationID, field: String) {
    columns.awaited.append(UInt64(index(of: field)))
    columns.awaited += pair(id)
    columns.awaitedMarks.append(id.mark)
  }

  package func bytes() -> [UInt8] {
    // Only a missing required field can make this fail, and proto3 has none.
    guard let bytes: [UInt8] = try? columns.message.serializedBytes() else {
      preconditionFailure("a proto3 message always serializes")
    }
    return bytes
  }

  private mutating func pair(_ id: OperationID) -> [UInt64] {
    let writer = Writer(device: id.stream.device, incarnation: id.stream.incarnation)
    let index = writers[writer] ?? UInt64(writers.count)
    if writers.updateValue(index, forKey: writer) == nil {
      columns.writers.append(contentsOf: writer.device.bytes + writer.incarnation.rawValue.bigEndianBytes)
    }
    return [index << 3 | UInt64(id.stream.lane.rawValue), id.sequence]
  }

  private mutating func index(of record: RecordID, kind: String) -> UInt32 {
    if let index = records[record] { return index }
    let index = UInt32(records.count)
    records[record] = index
    columns.records.append(contentsOf: record.bytes)
    columns.recordKinds.append(self.index(of: kind))
    return index
  }

  private mutating func index(of name: String) -> UInt32 {
    if let index = names[name] { return index }
    let index = UInt32(names.count)
    names[name] = index
    columns.names.append(name)
    return index
  }
}

/// Reads columns; checks every index and length before it is used.
package struct ColumnReader {
  private let columns: Columns
  private let writers: [Writer]
  private let records: [RecordID]

  package init(_ message: WireOperations) throws(CodecError) {
    columns = Columns(message)
    writers = try Self.writers(in: columns.writers)
    records = try Self.identifiers(in: columns.records)
    let count = columns.record.count
    guard
      columns.field.count == count, columns.timestampDelta.count == count, columns.action.count == count,
      columns.value.count == count, columns.replacesCount.count == count,
      columns.recordKinds.count == records.count, columns.replacesMarks.count * 2 == columns.replaces.count
    else { throw .columnsDisagree }
    guard columns.names.allSatisfy(WriteLimits.isReadable(name:)) else { throw .tooLarge }
    // Each belongs to one operation, in their order.
    guard zip(columns.decisions, columns.decisions.dropFirst()).allSatisfy({ $0.operation < $1.operation }),
      columns.decisions.last.map({ $0.operation < count }) ?? true
    else { throw .indexOutOfRange }
  }

  package func operations(_ identities: OperationCodec.Identities) throws(CodecError) -> [Operation] {
    var operations = [Operation]()
    operations.reserveCapacity(columns.record.count)
    var timestamp: UInt64 = 0
    var next = 0
    var decisions = columns.decisions[...]
    for index in columns.record.indices {
      timestamp &+= UInt64(bitPattern: columns.timestampDelta[index])
      let record = Int(columns.record[index])
      guard record < records.count else { throw .indexOutOfRange }
      var decision: Decision?
      if let wire = decisions.first, wire.operation == index { decision = try self.decision(decisions.removeFirst()) }
      operations.append(
        try operation(
          index, identities, at: Timestamp(rawValue: timestamp), record: records[record],
          kind: try name(columns.recordKinds[record]), replaces: try replaces(columns.replacesCount[index], from: &next),
          decision: decision))
    }
    guard next == columns.replacesMarks.count else { throw .columnsDisagree }
    return operations
  }

  private func operation(
    _ index: Int, _ identities: OperationCodec.Identities, at timestamp: Timestamp, record: RecordID, kind: String,
    replaces: [OperationID], decision: Decision?
  ) throws(CodecError) -> Operation {
    let field = try name(columns.field[index])
    let mutation = try Mutation(action: columns.action[index], columns.value[index])
    switch identities {
    case .run(let stream, let first):
      let (sequence, overflows) = first.addingReportingOverflow(UInt64(index))
      guard !overflows else { throw .indexOutOfRange }
      return Operation(
        stream: stream, sequence: sequence, timestamp: timestamp, record: record, kind: kind, field: field,
        mutation: mutation, replaces: replaces, decision: decision)
    case .explicit:
      let count = columns.record.count
      guard columns.origin.count == count * 2, columns.originMarks.count == count else { throw .columnsDisagree }
      let id = try id(columns.origin[index * 2], columns.origin[index * 2 + 1], columns.originMarks[index])
      return Operation(
        id: id, timestamp: timestamp, record: record, kind: kind, field: field, mutation: mutation, replaces: replaces,
        decision: decision)
    }
  }

  /// The kind of the first record; only at rest, where there is exactly one.
  package func firstKind() throws(CodecError) -> String {
    guard let index = columns.recordKinds.first else { throw .columnsDisagree }
    return try name(index)
  }

  /// The awaited operations by field; only at rest.
  package func awaited() throws(CodecError) -> [(field: String, id: OperationID)] {
    guard columns.awaited.count == columns.awaitedMarks.count * 3 else { throw .columnsDisagree }
    var awaited: [(String, OperationID)] = []
    for (place, mark) in columns.awaitedMarks.enumerated() {
      let start = place * 3
      guard let index = UInt32(exactly: columns.awaited[start]) else { throw .indexOutOfRange }
      awaited.append((try name(index), try id(columns.awaited[start + 1], columns.awaited[start + 2], mark)))
    }
    return awaited
  }

  /// - Parameter next: The number of the next name in the column of replaced operations.
  private func replaces(_ count: UInt32, from next: inout Int) throws(CodecError) -> [OperationID] {
    guard count > 0 else { return [] }
    guard WriteLimits.isReadable(replaced: Int(count)) else { throw .tooLarge }
    guard next + Int(count) <= columns.replacesMarks.count else { throw .columnsDisagree }
    var ids = [OperationID]()
    ids.reserveCapacity(Int(count))
    for _ in 0..<count {
      ids.append(try id(columns.replaces[next * 2], columns.replaces[next * 2 + 1], columns.replacesMarks[next]))
      next += 1
    }
    return ids
  }

  private func decision(_ wire: WireDecision) throws(CodecError) -> Decision {
    var decision = try Decision(wire)
    if !wire.recommended.isEmpty {
      guard wire.recommended.count == 2 else { throw .columnsDisagree }
      decision.recommended = try id(wire.recommended[0], wire.recommended[1], wire.recommendedMark)
    }
    return decision
  }

  private func id(_ packed: UInt64, _ sequence: UInt64, _ mark: UInt64) throws(CodecError) -> OperationID {
    guard let lane = Lane(rawValue: UInt8(packed & 7)), packed >> 3 < writers.count, sequence > 0 else {
      throw .indexOutOfRange
    }
    let writer = writers[Int(packed >> 3)]
    return OperationID(
      stream: StreamID(device: writer.device, incarnation: writer.incarnation, lane: lane), sequence: sequence, mark: mark)
  }

  private func name(_ index: UInt32) throws(CodecError) -> String {
    guard index < columns.names.count else { throw .indexOutOfRange }
    return columns.names[Int(index)]
  }

  private static func identifiers<Tag>(in bytes: some RandomAccessCollection<UInt8>) throws(CodecError)
    -> [Identifier<Tag>]
  {
    let size = Identifier<Tag>.byteCount
    guard bytes.count % size == 0 else { throw .badIdentifier }
    var identifiers = [Identifier<Tag>]()
    var rest = bytes[...]
    while !rest.isEmpty {
      guard let identifier = Identifier<Tag>(bytes: rest.prefix(size)) else { throw .badIdentifier }
      identifiers.append(identifier)
      rest = rest.dropFirst(size)
    }
    return identifiers
  }

  private static func writers(in bytes: some RandomAccessCollection<UInt8>) throws(CodecError) -> [Writer] {
    guard bytes.count % 24 == 0 else { throw .badIdentifier }
    var writers = [Writer]()
    var rest = bytes[...]
    while !rest.isEmpty {
      guard let device = DeviceID(bytes: rest.prefix(16)) else { throw .badIdentifier }
      let incarnation = UInt64(bigEndianBytes: rest.dropFirst(16).prefix(8))
      writers.append(Writer(device: device, incarnation: Incarnation(rawValue: incarnation)))
      rest = rest.dropFirst(24)
    }
    return writers
  }
}

extension Mutation {
  fileprivate var action: UInt32 {
    switch self {
    case .set: 0
    case .add: 1
    case .remove: 2
    case .erase: 3
    case .restore: 4
    }
  }

  fileprivate var wireValue: WireValue {
    var wire = WireValue()
    switch self {
    case .set(let value), .add(let value):
      switch value {
      case .text(let text): wire.text = text
      case .integer(let integer): wire.integer = integer
      case .decimal(let decimal): wire.decimal = decimal
      case .flag(let flag): wire.flag = flag
      }
    case .remove, .erase, .restore: break
    }
    return wire
  }

  fileprivate init(action: UInt32, _ wire: WireValue) throws(CodecError) {
    switch action {
    case 0: self = .set(try Value(wire))
    case 1: self = .add(try Value(wire))
    case 2: self = .remove
    case 3: self = .erase
    case 4: self = .restore
    default: throw .unknownAction
    }
  }
}

extension Value {
  fileprivate init(_ wire: WireValue) throws(CodecError) {
    switch wire.kind {
    case .text(let text)?:
      guard WriteLimits.isReadable(text: text) else { throw .tooLarge }
      self = .text(text)
    case .integer(let integer)?: self = .integer(integer)
    case .decimal(let decimal)?: self = .decimal(decimal)
    case .flag(let flag)?: self = .flag(flag)
    case nil: throw .notAMessage
    }
  }
}
