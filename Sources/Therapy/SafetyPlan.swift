import Causality
import ConflictResolution
import Crisis

/// The safety plan as people read it: six steps in order, then reasons for living.
///
/// Lists only grow by merging; an entry leaves by an explicit act of the person alone.
package struct SafetyPlan: Sendable, Hashable {
  package struct Step: Sendable, Hashable {
    package var field: String
    package var title: String
    /// What to think of while writing it.
    package var prompt: String
    package var entries: [String]
  }
  package var steps: [Step]
  package var contacts: [Contact]

  package struct Contact: Sendable, Hashable {
    package var record: RecordID
    package var name: String
    package var phone: String
    package var isPrimary: Bool
    /// Whether and when the person agreed that this contact is told of a crisis.
    package var consent: AlertConsent
    /// Whether devices have said different things of that, and the person has not decided: what is chosen meanwhile holds.
    package var isUndecided = false
    /// What opens the alerts for this contact: every link that was given and not withdrawn, since nobody knows which
    /// of them is followed.
    package var links: [String]
    package var isInvited: Bool { !links.isEmpty }
    /// Links that were taken back, and at which that does not stand yet.
    package var withdrawn: [String]
    /// The name it knows the person by.
    package var person: String

    package init(
      record: RecordID, name: String, phone: String, isPrimary: Bool, consent: AlertConsent, links: [String] = [],
      withdrawn: [String] = [], person: String = ""
    ) {
      (self.record, self.name, self.phone, self.isPrimary, self.consent) = (record, name, phone, isPrimary, consent)
      (self.links, self.withdrawn, self.person) = (links, withdrawn, person)
    }

    package init(_ record: RecordState) {
      let said = record.text("alert") ?? ""
      self.init(
        record: record.id, name: record.text("name") ?? "", phone: record.text("phone") ?? "",
        isPrimary: record.value("primary") == .flag(true), consent: AlertConsent(rawValue: said) ?? .never,
        links: record.view("links").entries.compactMap(\.value).map(\.text),
        withdrawn: record.view("withdrawn").entries.compactMap(\.value).map(\.text), person: record.text("person") ?? "")
      isUndecided = record.openConflicts.contains { $0.field == "alert" }
    }
  }

  /// The steps of the safety planning intervention (Stanley and Brown 2012), in our words.
  private static let outline = [
    ("warnings", "How I notice that it begins", "thoughts, moods, situations"),
    ("coping", "What I can do by myself", "things that helped before, without anybody"),
    ("distractions", "People and places that take my mind off it", "a café, a friend, a walk with the dog"),
    ("people", "Whom I can ask for help", "names and how to reach them"),
    ("professionals", "Professionals and services", "therapist, clinic, help line"),
    ("surroundings", "How I make my surroundings safe", "what I put away, and who keeps it"),
    ("reasons", "What I live for", "people, plans, small things"),
  ]

  /// - Parameters:
  ///   - plans: Every plan record; the account's own one and any that was added by hand.
  ///   - contacts: Every contact record.
  package init(plans: [RecordState], contacts: [RecordState]) {
    let plans = plans.filter(\.isVisible).sorted { $0.id < $1.id }
    steps = Self.outline.map { field, title, prompt in
      var seen = Set<String>()
      let entries = plans.flatMap { $0.view(field).entries }.sorted { $0.isEarlier(than: $1) }.compactMap(\.value).map(\.text)
      return Step(field: field, title: title, prompt: prompt, entries: entries.filter { seen.insert($0).inserted })
    }
    self.contacts = contacts.filter(\.isVisible).map(Contact.init).sorted { ($0.isPrimary ? 0 : 1, $0.name, $0.record) < ($1.isPrimary ? 0 : 1, $1.name, $1.record) }
  }

  package var isEmpty: Bool { steps.allSatisfy(\.entries.isEmpty) && contacts.isEmpty }

  /// The plan as lines of text; only steps that say something.
  package var lines: [String] {
    var lines = steps.enumerated().filter { !$0.element.entries.isEmpty }.flatMap { index, step in
      ["\(index < 6 ? "\(index + 1)  " : "   ")\(step.title)"] + step.entries.map { "     - \($0)" }
    }
    if !contacts.isEmpty { lines.append("   My contacts") }
    lines += contacts.map { "     - \($0.name)\($0.phone.isEmpty ? "" : ": \($0.phone)")\($0.isPrimary ? " (first)" : "")" }
    return lines
  }

  /// The account has one plan of its own; its name is the same on every device.
  package static func record(ofAccount account: [UInt8]) -> RecordID {
    // The mark of the crisis record goes into it: so it was made first, and so it stays.
    RecordID(ofAccount: account, mark: 0x6372_6973_6973_0001 ^ 0x706C_616E_0000_0001)
  }
}

extension [SafetyPlan.Contact] {
  /// Who can be told of a crisis, and when: only who was invited.
  package var agreed: [(id: RecordID, consent: AlertConsent)] { filter(\.isInvited).map { ($0.record, $0.consent) } }
}
