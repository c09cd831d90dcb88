import Foundation
import Causality
import Stores
import Therapy

/// What lies over the panels. The topmost dialog gets the keys; the crisis key works in all of them.
package enum Dialog: Sendable, Hashable {
  case help
  case palette(query: String, selected: Int)
  case crisis
  case conflict(index: Int, selected: Int)
  case handOff(session: RecordID, selected: Int)
  case new(selected: Int)
  case form(Form)
  case questionnaire(Questionnaire)
  case practice
  case filter(String)
  case invitation(code: String, digits: String?, name: String)
  case note(title: String, text: [String])
  case confirmResolve
}

/// A few fields to fill in.
package struct Form: Sendable, Hashable {
  package enum Purpose: Sendable, Hashable {
    case record(kind: String, fixed: [String])
    case start
    case join
  }
  package struct Field: Sendable, Hashable {
    package var name: String
    package var hint: String
    package var text = ""
  }
  package var purpose: Purpose
  package var title: String
  package var fields: [Field]
  package var index = 0
  package var problem: String?

  /// The fields that are filled in, as `field=value`.
  package var assignments: [String] {
    fields.flatMap { field -> [String] in
      let text = field.text.trimmingCharacters(in: .whitespaces)
      if text.isEmpty { return [] }
      guard case .record(let kind, _) = purpose, RecordCatalogue.policy(of: field.name, kind: kind).isList else {
        return ["\(field.name)=\(text)"]
      }
      return text.split(separator: ",").map { "\(field.name)=\($0.trimmingCharacters(in: .whitespaces))" }
    }
  }

  package static func checkIn(_ part: String) -> Form {
    Form(
      purpose: .record(kind: "check-in", fixed: ["part=\(part)"]), title: "Check-in: \(part)",
      fields: fields(["mood", "sleep", "energy", "anxiety", "emotions", "thoughts", "gratitudes"], of: RecordCatalogue.checkIn))
  }

  package static let journal = Form(
    purpose: .record(kind: "journal", fixed: []), title: "Journal",
    fields: fields(["title", "text", "tags"], of: RecordCatalogue.journal))

  private static func fields(_ names: [String], of schema: RecordSchema) -> [Field] {
    names.compactMap { schema[$0] }.map { field in
      let hint =
        switch field.content {
        case .integer(let range): "\(range.lowerBound)–\(range.upperBound)"
        default: field.policy.isList ? "several with commas" : ""
        }
      return Field(name: field.name, hint: hint)
    }
  }
}
