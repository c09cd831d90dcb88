import Causality

/// A write that nothing has replaced yet.
package struct Dot: Hashable, Sendable {
  package var id: OperationID
  package var timestamp: Timestamp
  /// `nil` only for an erasure.
  package var value: Value?
  /// For an erasure: the writes that it hides. Otherwise empty.
  package var covers: [OperationID] = []

  package init(id: OperationID, timestamp: Timestamp, value: Value?, covers: [OperationID] = []) {
    self.id = id
    self.timestamp = timestamp
    self.value = value
    self.covers = covers
  }

  /// The order in which writes count as later: timestamp, then identity.
  package func isEarlier(than other: Dot) -> Bool {
    timestamp != other.timestamp ? timestamp < other.timestamp : id < other.id
  }
}

/// The live writes of one field.
package struct FieldState: Hashable, Sendable {
  package var name: String
  /// More than one: entries of a list, or writes made without knowing of each other. Ordered by identity.
  package fileprivate(set) var dots: [Dot] = []
  /// Replaced before they arrived. Each is dropped, and forgotten here, when it comes.
  package fileprivate(set) var awaited: [OperationID] = []

  /// Where a live write is, or would be.
  ///
  /// - Complexity: O(log dots).
  fileprivate func place(of id: OperationID) -> (index: Int, isThere: Bool) {
    var (low, high) = (0, dots.count)
    while low < high {
      let middle = (low + high) / 2
      if dots[middle].id < id { low = middle + 1 } else { high = middle }
    }
    return (low, low < dots.count && dots[low].id == id)
  }

  /// Whether a write is live.
  package func contains(_ id: OperationID) -> Bool { place(of: id).isThere }
}

/// Everything that is known of one record: for each field, the writes that nothing has replaced.
///
/// Applying an operation is commutative, associative and idempotent *by construction*: the state is
/// "all writes minus those some write has replaced", and neither set depends on an order. What a
/// person sees of concurrent writes is decided later, by a ``MergePolicy``, as a view of this state.
package struct RecordState: Hashable, Sendable {
  package let id: RecordID
  package var kind: String
  /// Ordered by name.
  package private(set) var fields: [FieldState] = []

  package init(id: RecordID, kind: String) {
    self.id = id
    self.kind = kind
  }

  package subscript(field: String) -> FieldState? { fields.first { $0.name == field } }

  /// Takes in one operation that was not applied before.
  ///
  /// - Parameters:
  ///   - operation: An operation of this record.
  ///   - hasArrived: Whether an operation was applied before this one.
  ///   - hash: Is kept equal to the digest of all live writes.
  /// - Complexity: O(dots of the field + operations replaced).
  package mutating func apply(
    _ operation: Operation, hasArrived: (OperationID) -> Bool, hash: inout StateHash
  ) {
    precondition(operation.record == id, "an operation of another record")
    // A kind is written by every operation; a stranger's disagreement must not depend on order.
    kind = min(kind, operation.kind)
    let index = fieldIndex(operation.field)
    // A field that nothing is left of leaves no trace: equal states are equal values.
    defer { if fields[index].dots.isEmpty, fields[index].awaited.isEmpty { fields.remove(at: index) } }
    if operation.mutation != .erase {
      for replaced in operation.replaces { drop(replaced, at: index, hasArrived: hasArrived, hash: &hash) }
    }
    guard let dot = Dot(operation) else { return }
    if let awaited = fields[index].awaited.firstIndex(of: dot.id) {
      fields[index].awaited.remove(at: awaited)
      return
    }
    let place = fields[index].place(of: dot.id)
    guard !place.isThere else { return }
    fields[index].dots.insert(dot, at: place.index)
    hash.toggle(operation.digest)
  }

  private mutating func drop(
    _ replaced: OperationID, at index: Int, hasArrived: (OperationID) -> Bool, hash: inout StateHash
  ) {
    let place = fields[index].place(of: replaced)
    if place.isThere {
      let dot = fields[index].dots.remove(at: place.index)
      hash.toggle(StateHash(of: dot, field: fields[index].name, in: id))
    } else if !hasArrived(replaced), !fields[index].awaited.contains(replaced) {
      fields[index].awaited.append(replaced)
      fields[index].awaited.sort()
    }
  }

  private mutating func fieldIndex(_ name: String) -> Int {
    let place = fields.firstIndex { $0.name >= name } ?? fields.endIndex
    if place == fields.endIndex || fields[place].name != name {
      fields.insert(FieldState(name: name), at: place)
    }
    return place
  }

  /// Puts back a live write that was stored; keeps the stored order.
  mutating func append(_ dot: Dot, to field: String) {
    let index = fieldIndex(field)
    fields[index].dots.append(dot)
  }

  /// Puts back an awaited identity that was stored.
  mutating func append(awaited id: OperationID, to field: String) {
    let index = fieldIndex(field)
    fields[index].awaited.append(id)
  }

  /// The digest of all live writes, computed anew; `verify` compares it with the running one.
  package var hash: StateHash {
    var hash = StateHash()
    for field in fields {
      for dot in field.dots { hash.toggle(StateHash(of: dot, field: field.name, in: id)) }
    }
    return hash
  }
}

extension StateHash {
  /// The digest of one live write.
  package init(of dot: Dot, field: String, in record: RecordID) {
    self.init(of: dot.id, at: dot.timestamp, value: dot.value, covers: dot.covers, field: field, record: record)
  }
}

extension Dot {
  /// `nil` for operations that only take away.
  fileprivate init?(_ operation: Operation) {
    switch operation.mutation {
    case .set(let value), .add(let value):
      self.init(id: operation.id, timestamp: operation.timestamp, value: value)
    case .erase:
      self.init(id: operation.id, timestamp: operation.timestamp, value: nil, covers: operation.replaces)
    case .remove, .restore: return nil
    }
  }
}

extension RecordState {
  /// The erasures that have not been taken back.
  package var erasures: [Dot] { self[Operation.recordField]?.dots ?? [] }

  /// The fields that hold the person's data.
  package var dataFields: [FieldState] { fields.filter { $0.name != Operation.recordField } }

  /// Whether anything is left that no erasure hides. A write that an erasure had not seen keeps the
  /// whole record visible: nothing disappears that somebody was still working on.
  package var isVisible: Bool {
    let covered = Set(erasures.flatMap(\.covers))
    return dataFields.contains { $0.dots.contains { !covered.contains($0.id) } }
  }

  /// The latest live write.
  package var latest: Timestamp { fields.flatMap(\.dots).map(\.timestamp).max() ?? .zero }

  /// The identities of all live data: what an erasure made now would cover.
  package var liveOperations: [OperationID] { dataFields.flatMap { $0.dots.map(\.id) } }
}
