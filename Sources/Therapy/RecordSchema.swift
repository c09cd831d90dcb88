import Causality
import ConflictResolution
import Crisis

/// What one field of a record can hold, and what happens when two devices write it apart.
package struct FieldSchema: Sendable, Hashable {
  package enum Content: Sendable, Hashable {
    /// Free text of at most ``Limits/textCharacters``.
    case text
    /// A whole number.
    case integer(ClosedRange<Int64>)
    /// A number with decimals.
    case decimal(ClosedRange<Double>)
    case flag
    /// One of a few words.
    case choice([String])
  }
  package var name: String
  package var content: Content
  package var policy: MergePolicy
  /// Shown as the record's title in lists.
  package var isTitle = false

  package init(_ name: String, _ content: Content, _ policy: MergePolicy = .multiValue, isTitle: Bool = false) {
    (self.name, self.content, self.policy, self.isTitle) = (name, content, policy, isTitle)
  }
}

/// A kind of record: its fields, and the lane its changes travel in.
package struct RecordSchema: Sendable, Hashable {
  package var kind: String
  package var title: String
  package var lane: Lane
  package var fields: [FieldSchema]
  /// Whether `record add` may make one; sessions, crises and devices have commands of their own.
  package var isAddedByHand = true
  /// Never counted against a quota (PRODUCT.md: crisis, safety plan, emergency contacts).
  package var isNeverCounted = false

  package subscript(field: String) -> FieldSchema? { fields.first { $0.name == field } }
}

/// Every kind of record this version knows. Unknown kinds are kept, forwarded and shown as they are.
package enum RecordCatalogue {
  package static let all = [
    checkIn, assessment, session, journal, plan, contact, crisis, review, device, preference,
  ]

  package static subscript(kind: String) -> RecordSchema? { byKind[kind] }

  /// The policy of a field, also of one that a newer version made: nothing is hidden.
  package static func policy(of field: String, kind: String) -> MergePolicy {
    byKind[kind]?[field]?.policy ?? .multiValue
  }

  private static let byKind = Dictionary(uniqueKeysWithValues: all.map { ($0.kind, $0) })
  private static let scale: FieldSchema.Content = .integer(0...10)
  private static func list(_ name: String) -> FieldSchema { FieldSchema(name, .text, .set) }

  /// Morning, midday and evening check-ins (DOMAIN.md, *Practices and check-ins*).
  package static let checkIn = RecordSchema(
    kind: "check-in", title: "Check-in", lane: .ordinary,
    fields: [
      FieldSchema("part", .choice(["morning", "midday", "evening"]), .latest, isTitle: true),
      FieldSchema("mood", scale), FieldSchema("sleep", scale), FieldSchema("energy", scale),
      FieldSchema("anxiety", scale, .highestRisk),
      list("emotions"), list("body"), FieldSchema("thoughts", .text), FieldSchema("value", .text),
      FieldSchema("intention", .text), FieldSchema("breathing", .text), FieldSchema("pleasant", .text),
      FieldSchema("unpleasant", .text), FieldSchema("need", .text), FieldSchema("review", .text),
      list("gratitudes"), FieldSchema("learning", .text), FieldSchema("tension", .text),
      FieldSchema("preparation", .text),
      // The crisis after which it was written.
      FieldSchema("crisis", .text, .latest),
    ])

  /// PHQ-9 and GAD-7. The total is never stored: it follows from the items.
  package static let assessment = RecordSchema(
    kind: "assessment", title: "Assessment", lane: .assessment,
    fields: [FieldSchema("instrument", .choice(Instrument.all.map(\.name)), .latest, isTitle: true)]
      + (1...9).map { FieldSchema("item\($0)", .integer(0...3), .highestRisk) }
      + [
        FieldSchema("difficulty", .integer(0...3), .highestRisk), FieldSchema("note", .text),
        // What became of an offer of help that the answers called for.
        FieldSchema("offer", .choice(["accepted", "dismissed"]), .latest),
      ])

  package static let session = RecordSchema(
    kind: "session", title: "Session", lane: .session,
    fields: [
      FieldSchema(
        "type", .choice(["assessment", "breathing", "check-in", "crisis", "meditation", "body-scan"]), .latest,
        isTitle: true),
      FieldSchema("state", .choice(["running", "paused", "finished", "abandoned"]), .latest),
      FieldSchema("progress", .decimal(0...1), .maximum),
      FieldSchema("elapsed", .decimal(0...86_400), .maximum),
      FieldSchema("owner", .text, .latest), FieldSchema("offered", .text, .latest),
      FieldSchema("fence", .integer(0...Int64.max), .maximum),
      FieldSchema("resumed", .integer(1...1), .counter),
    ], isAddedByHand: false)

  package static let journal = RecordSchema(
    kind: "journal", title: "Journal", lane: .ordinary,
    fields: [FieldSchema("title", .text, isTitle: true), FieldSchema("text", .text), list("tags")])

  /// The six steps of the safety planning intervention, and reasons for living.
  package static let plan = RecordSchema(
    kind: "plan", title: "Safety plan", lane: .crisis,
    fields: [
      FieldSchema("warnings", .text, .unionList), FieldSchema("coping", .text, .unionList),
      FieldSchema("distractions", .text, .unionList), FieldSchema("people", .text, .unionList),
      FieldSchema("professionals", .text, .unionList), FieldSchema("surroundings", .text, .unionList),
      FieldSchema("reasons", .text, .unionList),
    ], isNeverCounted: true)

  package static let contact = RecordSchema(
    kind: "contact", title: "Emergency contact", lane: .crisis,
    fields: [
      FieldSchema("name", .text, .kept, isTitle: true), FieldSchema("phone", .text, .kept),
      FieldSchema("primary", .flag, .kept),
      FieldSchema("alert", .choice(AlertConsent.allCases.map(\.rawValue)), .kept),
      // What opens the alerts for this contact, and the name it knows the person by. A link that was given on one device
      // takes no other one's place. One that was taken back is kept until whoever follows it can read that.
      FieldSchema("links", .text, .set), FieldSchema("withdrawn", .text, .set), FieldSchema("person", .text, .latest),
    ], isNeverCounted: true)

  /// One per account. An entry of `active` is an activation: `LEVEL SOURCE`; the entries of the other
  /// fields begin with the activation they are about.
  package static let crisis = RecordSchema(
    kind: "crisis", title: "Crisis", lane: .crisis,
    fields: [
      FieldSchema("active", .text, .set), FieldSchema("acknowledged", .text, .set),
      FieldSchema("escalated", .text, .set), FieldSchema("told", .text, .set),
    ],
    isAddedByHand: false, isNeverCounted: true)

  /// A conflict that somebody else was asked about: see ``ReviewState``.
  package static let review = RecordSchema(
    kind: "review", title: "Review", lane: .ordinary,
    fields: [
      FieldSchema("subject", .text, .latest), FieldSchema("versions", .text, .latest),
      FieldSchema("method", .choice(ReviewState.methods.map(\.rawValue)), .latest), FieldSchema("person", .text, .latest),
      FieldSchema("asked", .text, .set), FieldSchema("answers", .text, .set),
      FieldSchema("state", .choice(ReviewState.Phase.allCases.map(\.rawValue)), .latest),
    ], isAddedByHand: false)

  /// Has the identifier of the device it describes.
  package static let device = RecordSchema(
    kind: "device", title: "Device", lane: .ordinary,
    fields: [FieldSchema("name", .text, .latest, isTitle: true)], isAddedByHand: false)

  package static let preference = RecordSchema(
    kind: "preference", title: "Preference", lane: .ordinary,
    fields: [FieldSchema("name", .text, .latest, isTitle: true), FieldSchema("value", .text, .latest)])
}
