import Causality
import SwiftProtobuf
import WireFormat

extension RecordState {
  /// The record as it is stored: its live writes as operations with their identities.
  package var encoded: [UInt8] {
    var columns = ColumnWriter()
    columns.append(record: id, kind: kind)
    var operations = [Operation]()
    for field in fields {
      for dot in field.dots { operations.append(operation(dot, field: field.name)) }
      for id in field.awaited { columns.appendAwaited(id, field: field.name) }
    }
    for operation in operations { columns.append(operation) }
    columns.appendOrigins(operations)
    return columns.bytes()
  }

  private func operation(_ dot: Dot, field: String) -> Operation {
    Operation(
      id: dot.id, timestamp: dot.timestamp, record: id, kind: kind, field: field,
      mutation: dot.value.map { .set($0) } ?? .erase, replaces: dot.covers)
  }

  /// Reads what ``encoded`` wrote.
  ///
  /// - Throws: ``CodecError`` when the bytes are something else.
  package init(id: RecordID, encoded: [UInt8]) throws(CodecError) {
    guard let message = try? WireOperations(serializedBytes: encoded) else { throw .notAMessage }
    let reader = try ColumnReader(message)
    self.init(id: id, kind: try reader.firstKind())
    for operation in try reader.operations(.explicit) {
      append(
        Dot(
          id: operation.id, timestamp: operation.timestamp, value: operation.mutation.value,
          covers: operation.replaces), to: operation.field)
    }
    for (field, id) in try reader.awaited() { append(awaited: id, to: field) }
  }
}
