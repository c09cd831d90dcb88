import Causality
import ConflictResolution
import Foundation

extension FieldSchema {
  /// Reads a value that a person typed for this field.
  ///
  /// - Throws: ``InputError`` naming the field and what it takes.
  package func value(from text: String) throws(InputError) -> Value {
    switch content {
    case .text:
      // However a keyboard composes its letters, the same words are the same bytes.
      let text = text.precomposedStringWithCanonicalMapping
      guard WriteLimits.holds(text: text) else { throw .tooLong(field: name, limit: Limits.textCharacters) }
      return .text(text)
    case .integer(let range):
      guard let number = Int64(text) else { throw .malformedValue(field: name, expected: expectation) }
      guard range.contains(number) else { throw .outOfRange(field: name, expected: expectation) }
      return .integer(number)
    case .decimal(let range):
      guard let number = Double(text), !number.isNaN else {
        throw .malformedValue(field: name, expected: expectation)
      }
      guard range.contains(number) else { throw .outOfRange(field: name, expected: expectation) }
      return .decimal(number)
    case .flag:
      switch text.lowercased() {
      case "yes", "true", "1": return .flag(true)
      case "no", "false", "0": return .flag(false)
      default: throw .malformedValue(field: name, expected: expectation)
      }
    case .choice(let words):
      guard words.contains(text) else { throw .malformedValue(field: name, expected: expectation) }
      return .text(text)
    }
  }

  /// What the field takes, in words.
  package var expectation: String {
    switch content {
    case .text: "text of at most \(Limits.textCharacters) characters"
    case .integer(let range):
      range.upperBound == .max ? "a whole number" : "a whole number from \(range.lowerBound) to \(range.upperBound)"
    case .decimal(let range): "a number from \(range.lowerBound) to \(range.upperBound)"
    case .flag: "yes or no"
    case .choice(let words): "one of \(words.joined(separator: ", "))"
    }
  }
}

extension RecordSchema {
  /// Turns `field=value`, `field+=entry` and `field-=entry` into drafts.
  ///
  /// - Parameters:
  ///   - assignments: As typed.
  ///   - record: The record they are for.
  ///   - current: What the record holds now, for limits and removals; `nil` for a new one.
  /// - Throws: ``InputError``; all or nothing.
  package func drafts(
    from assignments: [String], record: RecordID, current: RecordState?
  ) throws(InputError) -> [Draft] {
    guard !assignments.isEmpty else { throw .noFields }
    var drafts = [Draft]()
    var entries: [String: Set<Value>] = [:]
    for assignment in assignments {
      let (field, sign, text) = try Self.split(assignment)
      guard let schema = self[field] else {
        throw .unknownField(field, kind: kind, known: fields.map(\.name))
      }
      try check(field, assignments, current)
      guard schema.policy.isList || sign == nil else { throw .malformedAssignment(assignment) }
      let value = try schema.value(from: text)
      guard schema.policy.isList else {
        drafts.append(draft(record, field, .set(value)))
        continue
      }
      let live = current?[field]?.dots ?? []
      if sign == "-" {
        let same = live.filter { $0.value == value }.map(\.id)
        guard !same.isEmpty else { throw .malformedValue(field: field, expected: "an entry that it has") }
        drafts.append(draft(record, field, .remove, replaces: same))
        continue
      }
      let known = entries[field] ?? Set(live.compactMap(\.value))
      guard known.count < Limits.listEntries || known.contains(value) else {
        throw .tooManyEntries(field: field, limit: Limits.listEntries)
      }
      entries[field] = known.union([value])
      let same = live.filter { $0.value == value }.map(\.id)
      drafts.append(draft(record, field, .add(value), replaces: same))
    }
    return drafts
  }

  private func draft(_ record: RecordID, _ field: String, _ mutation: Mutation, replaces: [OperationID]? = nil)
    -> Draft
  {
    Draft(record: record, kind: kind, field: field, mutation: mutation, lane: lane, replaces: replaces)
  }

  /// An item belongs to a questionnaire that has it.
  private func check(_ field: String, _ assignments: [String], _ current: RecordState?) throws(InputError) {
    guard kind == RecordCatalogue.assessment.kind, let item = field.hasPrefix("item") ? Int(field.dropFirst(4)) : nil else { return }
    var named: String?
    for assignment in assignments {
      let (field, _, text) = try Self.split(assignment)
      if field == "instrument" { named = text }
    }
    guard let instrument = (named ?? current?.text("instrument")).flatMap(Instrument.named), item > instrument.items.count else { return }
    throw .invalid(
      "The \(instrument.name) has \(instrument.items.count) items, and no \(field). Nothing was saved.",
      remedy: "Give item1 to item\(instrument.items.count).")
  }

  /// By its scalars: a value may begin with a mark that would belong to the sign before it.
  private static func split(_ assignment: String) throws(InputError) -> (String, Character?, String) {
    let scalars = assignment.unicodeScalars
    guard let equals = scalars.firstIndex(of: "=") else { throw .malformedAssignment(assignment) }
    var field = String(scalars[..<equals])
    var sign: Character?
    if let last = field.last, last == "+" || last == "-" {
      sign = last
      field.removeLast()
    }
    guard !field.isEmpty else { throw .malformedAssignment(assignment) }
    return (field, sign, String(scalars[scalars.index(after: equals)...]))
  }
}
