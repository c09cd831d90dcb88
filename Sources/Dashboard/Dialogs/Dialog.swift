import Foundation
import Causality
import Stores
import Therapy

/// What lies over the panels. The topmost dialog gets the keys; the crisis key works in all of them.
package enum Dialog: Sendable, Hashable {
  case help
  case palette(query: String, selected: Int)
  case crisis
  case conflict(ConflictDialog)
  case handOff(session: RecordID, selected: Int)
  case new(selected: Int)
  case form(Form)
  case plan(PlanEditor)
  case questionnaire(Questionnaire)
  case practice
  case filter(String)
  case invitation(code: String, relay: String, digits: String?, name: String)
  case note(title: String, text: [String])
  /// The recovery code of an account that is made once it was read.
  case recoveryCode([String])
  case confirmResolve
}

extension Dialog {
  /// The title of the note that shows a newcomer its digits.
  package static let compare = "Compare"

  /// Whether it is about letting a device in.
  package var isEnrolment: Bool {
    switch self {
    case .invitation, .note(title: Self.compare, _): true
    default: false
    }
  }

  /// Whether it asks for the passphrase of the store.
  var isUnlock: Bool { if case .form(let form) = self { form.purpose == .unlock } else { false } }

  /// What a person writes in it that is worth keeping; `nil` where nothing is.
  var subject: String? {
    switch self {
    case .form(let form):
      if case .record(let kind, let fixed) = form.purpose { ([kind] + fixed.filter { !$0.hasPrefix("crisis=") }).joined(separator: " ") } else { nil }
    case .questionnaire(let questionnaire): questionnaire.instrument.name
    default: nil
    }
  }

  /// As it is begun again: what followed a crisis is an ordinary one then.
  var detached: Dialog {
    guard case .form(var form) = self, case .record(let kind, let fixed) = form.purpose else { return self }
    form.purpose = .record(kind: kind, fixed: fixed.filter { !$0.hasPrefix("crisis=") })
    return .form(form)
  }

  /// Whether something was written.
  var hasWords: Bool {
    switch self {
    case .form(let form): form.fields.contains { !$0.text.trimmingCharacters(in: .whitespaces).isEmpty }
    case .questionnaire(let questionnaire): questionnaire.answers.contains { $0 != nil }
    default: false
    }
  }
}

/// A few fields to fill in.
package struct Form: Sendable, Hashable {
  package enum Purpose: Sendable, Hashable {
    case record(kind: String, fixed: [String])
    case start
    case join
    /// The passphrase of the store.
    case unlock
    /// Ask somebody about a conflict.
    case ask(record: String, field: String)
  }
  package struct Field: Sendable, Hashable {
    package var name: String
    package var hint: String
    package var text = ""
    /// What is typed is not shown.
    package var isSecret = false
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
      guard let kind, RecordCatalogue.policy(of: field.name, kind: kind).isList else { return ["\(field.name)=\(text)"] }
      return text.split(separator: ",").map { "\(field.name)=\($0.trimmingCharacters(in: .whitespaces))" }
    }
  }

  private var kind: String? {
    switch purpose {
    case .record(let kind, _): kind
    case .start, .join, .unlock, .ask: nil
    }
  }

  package static let unlock = Form(
    purpose: .unlock, title: "The passphrase of this store", fields: [Field(name: "passphrase", hint: "is not shown", isSecret: true)])

  /// One person's answer decides; several have to agree.
  package static func ask(_ conflict: Snapshot.Conflict) -> Form {
    Form(
      purpose: .ask(record: conflict.record.description, field: conflict.field), title: "Let somebody decide: they see these versions, nothing else",
      fields: [Field(name: "who", hint: "one name decides; of several, more than half"), Field(name: "as", hint: "the name they know you by")])
  }

  /// Being a contact shares nothing: who is told of a crisis is chosen by an invitation.
  package static let contact = Form(
    purpose: .record(kind: "contact", fixed: []), title: "A contact of yours",
    fields: fields(["name", "phone", "primary"], of: RecordCatalogue.contact))

  /// Offered when a crisis was resolved, and kept with it.
  package static func afterCrisis(_ activation: String, hour: Int) -> Form {
    let part = hour < 11 ? "morning" : hour < 17 ? "midday" : "evening"
    return Form(
      purpose: .record(kind: "check-in", fixed: ["part=\(part)"] + (activation.isEmpty ? [] : ["crisis=\(activation)"])),
      title: "How are you now? (Esc: not now)",
      fields: fields(["mood", "anxiety", "emotions", "need", "thoughts"], of: RecordCatalogue.checkIn))
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
        case .flag: "yes or no"
        default: field.policy.isList ? "several with commas" : ""
        }
      return Field(name: field.name, hint: hint)
    }
  }
}
