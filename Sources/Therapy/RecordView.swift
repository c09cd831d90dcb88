import Causality
import ConflictResolution

extension RecordState {
  /// A field as a person sees it.
  package func view(_ field: String) -> FieldView {
    RecordCatalogue.policy(of: field, kind: kind).view(self[field]?.dots ?? [])
  }

  /// What the person has to decide about.
  package var openConflicts: [Conflict] {
    // Most records have nothing of the kind, and are looked at with every write.
    guard fields.contains(where: { $0.dots.count > 1 || $0.name == Operation.recordField }) else { return [] }
    return conflicts.filter { $0.state == .open }
  }

  /// The chosen value of a single-valued field.
  package func value(_ field: String) -> Value? { view(field).chosen?.value }

  package func text(_ field: String) -> String? {
    if case .text(let text)? = value(field) { text } else { nil }
  }

  package func decimal(_ field: String) -> Double? {
    if case .decimal(let decimal)? = value(field) { decimal } else { nil }
  }

  package func integer(_ field: String) -> Int64? {
    if case .integer(let integer)? = value(field) { integer } else { nil }
  }

  /// A short title for lists: the kind, and the title field where there is one.
  package var title: String {
    let schema = RecordCatalogue[kind]
    let name = schema?.title ?? kind
    guard let field = schema?.fields.first(where: \.isTitle), let text = text(field.name), !text.isEmpty else {
      return name
    }
    return "\(name): \(text)"
  }
}

extension Value {
  /// The value as people read it.
  package var text: String {
    switch self {
    case .text(let text): text
    case .integer(let integer): String(integer)
    case .decimal(let decimal): decimal == decimal.rounded() && abs(decimal) < 1e15 ? String(Int64(decimal)) : String(decimal)
    case .flag(let flag): flag ? "yes" : "no"
    }
  }
}
