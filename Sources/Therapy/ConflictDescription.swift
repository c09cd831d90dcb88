/// What a conflict is about, in the words of DOMAIN.md, *Conflicts*.
package struct ConflictDescription: Sendable, Hashable {
  package enum Impact: String, Sendable { case none, minimal, moderate, significant, critical }

  package var type: String
  package var impact: Impact
  /// What happened and why it matters, in plain words.
  package var guidance: String

  /// The rules, as a table: the first row that fits.
  package static func describe(kind: String, field: String) -> ConflictDescription {
    switch (kind, field) {
    case ("assessment", "item9"):
      ConflictDescription(
        type: "assessment conflict", impact: .critical,
        guidance: "Two devices hold different answers about thoughts of being better off dead. The answer that stands for more risk counts until you decide.")
    case ("assessment", _):
      ConflictDescription(
        type: "assessment conflict", impact: .significant,
        guidance: "Two devices hold different answers to one question. The higher one counts until you decide, so that a score is never too low by accident.")
    case ("session", _):
      ConflictDescription(
        type: "session conflict", impact: .moderate,
        guidance: "Two devices wrote about the same session apart from each other. The further progress is kept.")
    case ("plan", _), ("contact", _):
      ConflictDescription(
        type: "therapeutic priority", impact: .significant,
        guidance: "Two devices changed your safety plan apart from each other. Nothing is taken out of it by itself.")
    case ("check-in", "anxiety"):
      ConflictDescription(
        type: "therapeutic priority", impact: .moderate,
        guidance: "Two devices hold different values for your anxiety. The higher one counts until you decide.")
    case ("check-in", _):
      ConflictDescription(
        type: "data divergence", impact: .moderate,
        guidance: "Two devices wrote this apart from each other. The later one is shown until you decide; the other one is kept.")
    default:
      ConflictDescription(
        type: "data divergence", impact: .minimal,
        guidance: "Two devices wrote this apart from each other. The later one is shown until you decide; the other one is kept.")
    }
  }
}
