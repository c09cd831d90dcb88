import Causality

/// What is wrong with something a person typed. Nothing was saved.
package enum InputError: Error, Sendable, Hashable {
  case unknownKind(String)
  case unknownField(String, kind: String, known: [String])
  case malformedAssignment(String)
  case malformedValue(field: String, expected: String)
  case outOfRange(field: String, expected: String)
  case tooLong(field: String, limit: Int)
  case tooManyEntries(field: String, limit: Int)
  case noFields
  case unknownRecord
  case unknownDevice
  case ambiguous(String)
  case notAddedByHand(kind: String)
  case notText(String)
  case invalid(String, remedy: String)
}

extension InputError: ActionableError {
  package var code: String {
    switch self {
    case .unknownKind: "input.unknown-kind"
    case .unknownField: "input.unknown-field"
    case .malformedAssignment: "input.malformed-assignment"
    case .malformedValue: "input.malformed-value"
    case .outOfRange: "input.out-of-range"
    case .tooLong: "input.too-long"
    case .tooManyEntries: "input.too-many-entries"
    case .noFields: "input.no-fields"
    case .unknownRecord: "input.unknown-record"
    case .unknownDevice: "input.unknown-device"
    case .ambiguous: "input.ambiguous"
    case .notAddedByHand: "input.not-added-by-hand"
    case .notText: "input.not-text"
    case .invalid: "input.invalid"
    }
  }

  package var summary: String {
    switch self {
    case .unknownKind(let kind): "There is no record kind “\(kind)”. Nothing was saved."
    case .unknownField(let field, let kind, _):
      "A \(kind) has no field “\(field)”. Nothing was saved."
    case .malformedAssignment(let text): "“\(text)” is not of the form field=value. Nothing was saved."
    case .malformedValue(let field, _): "The value for \(field) could not be read. Nothing was saved."
    case .outOfRange(let field, _): "The value for \(field) is out of its range. Nothing was saved."
    case .tooLong(let field, _): "The text for \(field) is too long. Nothing was saved."
    case .tooManyEntries(let field, _): "\(field) would have too many entries. Nothing was saved."
    case .noFields: "No field was given. Nothing was saved."
    case .unknownRecord: "There is no record with this id on this device. Nothing was changed."
    case .unknownDevice: "There is no device with this name or id. Nothing was changed."
    case .ambiguous(let what): "This \(what) fits more than one. Nothing was changed."
    case .notAddedByHand(let kind): "A \(kind) is not added by hand. Nothing was saved."
    case .notText(let what): "\(what) is not text: some bytes of it are no UTF-8. Nothing was saved."
    case .invalid(let summary, _): summary
    }
  }

  package var remedy: String {
    switch self {
    case .unknownKind:
      "Use one of: "
        + RecordCatalogue.all.filter(\.isAddedByHand).map(\.kind).joined(separator: ", ") + "."
    case .unknownField(_, _, let known): "Use one of: \(known.joined(separator: ", "))."
    case .malformedAssignment, .noFields: "Write for example mood=7; lists may be given more than once."
    case .malformedValue(let field, let expected), .outOfRange(let field, let expected):
      "Give \(field) as \(expected)."
    case .tooLong(_, let limit): "Shorten it to \(limit) characters, or split it over two records."
    case .tooManyEntries(_, let limit): "Keep at most \(limit) entries; remove one first with field-=entry."
    case .unknownRecord: "See the ids with `fullmind record list`."
    case .unknownDevice: "See the devices with `fullmind devices list`."
    case .ambiguous: "Give more of its characters."
    case .notAddedByHand: "Use `fullmind crisis`, `fullmind practice` or `fullmind devices` instead."
    case .notText: "Write it in UTF-8: most terminals and editors do."
    case .invalid(_, let remedy): remedy
    }
  }

  package var exitStatus: ExitStatus {
    switch self {
    case .unknownRecord, .unknownDevice: .noInput
    case .unknownKind, .unknownField, .malformedAssignment, .noFields, .notAddedByHand, .ambiguous, .invalid:
      .usage
    case .malformedValue, .outOfRange, .tooLong, .tooManyEntries, .notText: .dataError
    }
  }
}
