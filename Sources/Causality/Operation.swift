/// What a field can hold. Lists are sets of text entries, written one entry at a time.
package enum Value: Hashable, Sendable {
  case text(String)
  case integer(Int64)
  case decimal(Double)
  case flag(Bool)
}

/// A value that is remembered beside others and takes no part in comparing them.
struct Uncompared<Value: Sendable>: Hashable, Sendable {
  var value: Value
  init(_ value: Value) { self.value = value }
  static func == (one: Self, other: Self) -> Bool { true }
  func hash(into hasher: inout Hasher) {}
}

/// What one operation does.
package enum Mutation: Hashable, Sendable {
  /// Writes a single-valued field.
  case set(Value)
  /// Adds an entry to a list.
  case add(Value)
  /// Takes out the list entries it replaces.
  case remove
  /// Erases the record as far as the writer had seen it; a later or concurrent write keeps it visible.
  case erase
  /// Takes back an erasure.
  case restore
}

/// One stamped write. Immutable once made; replays and retries carry it unchanged.
package struct Operation: Hashable, Sendable {
  package var id: OperationID
  package var timestamp: Timestamp
  package var record: RecordID
  package var kind: String
  package var field: String
  package var mutation: Mutation
  /// The writes that the writer had seen in this field and that this one takes the place of.
  package var replaces: [OperationID]
  private var aside: Aside<Decision>?
  private var known = Uncompared<StateHash?>(nil)
  /// Why it was made, where it settles what was written apart.
  package var decision: Decision? {
    get { aside?.value }
    set { aside = newValue.map { .value($0) } }
  }

  /// An operation whose identity is known, because it was kept with it.
  package init(
    id: OperationID, timestamp: Timestamp, record: RecordID, kind: String, field: String, mutation: Mutation,
    replaces: [OperationID], decision: Decision? = nil
  ) {
    self.id = id
    self.timestamp = timestamp
    self.record = record
    self.kind = kind
    self.field = field
    self.mutation = mutation
    self.replaces = replaces
    aside = decision.map { .value($0) }
  }

  /// An operation that has its number, and whose mark follows from what it says.
  package init(
    stream: StreamID, sequence: UInt64, timestamp: Timestamp, record: RecordID, kind: String, field: String,
    mutation: Mutation, replaces: [OperationID], decision: Decision? = nil
  ) {
    self.init(
      id: OperationID(stream: stream, sequence: sequence, mark: 0), timestamp: timestamp, record: record, kind: kind,
      field: field, mutation: mutation, replaces: replaces, decision: decision)
    let digest = self.digest
    known.value = digest
    id.mark = digest.mark
  }

  /// The digest of what it writes: see ``StateHash``.
  package var digest: StateHash {
    if let digest = known.value { return digest }
    let covers = mutation.value == nil ? replaces : []
    return StateHash(of: id, at: timestamp, value: mutation.value, covers: covers, field: field, record: record)
  }

  /// The name of the pseudo-field that erasures are kept in.
  package static let recordField = "$record"
}

/// A write as the person's action produced it, before it has an identity.
package struct Draft: Hashable, Sendable {
  package var record: RecordID
  package var kind: String
  package var field: String
  package var mutation: Mutation
  package var lane: Lane
  /// What it replaces; `nil` for "whatever the field holds when it is committed".
  package var replaces: [OperationID]?
  package var decision: Decision?

  package init(
    record: RecordID, kind: String, field: String, mutation: Mutation, lane: Lane,
    replaces: [OperationID]? = nil, decision: Decision? = nil
  ) {
    self.record = record
    self.kind = kind
    self.field = field
    self.mutation = mutation
    self.lane = lane
    self.replaces = replaces
    self.decision = decision
  }
}

extension Mutation {
  /// The value written, if any.
  package var value: Value? {
    switch self {
    case .set(let value), .add(let value): value
    case .remove, .erase, .restore: nil
    }
  }
}

extension Value {
  /// Bytes that are equal exactly when the values are: a type byte, then the content.
  ///
  /// Documented in docs/PROTOCOL.md; the state hash is computed over them.
  package var canonicalBytes: [UInt8] {
    switch self {
    case .text(let text): [1] + Array(text.utf8)
    case .integer(let integer): [2] + integer.bigEndianBytes
    case .decimal(let decimal): [3] + decimal.bitPattern.bigEndianBytes
    case .flag(let flag): [4, flag ? 1 : 0]
    }
  }
}
