import Causality
import ConflictResolution

/// A conflict that the person has put before somebody else: a therapist, or members of the family. A value,
/// read from a record of kind `review` that all own devices have.
package struct ReviewState: Sendable, Hashable {
  package enum Phase: String, Sendable, CaseIterable {
    case open
    /// Somebody's answer settled it, or the person did meanwhile, or took the question back.
    case closed
    /// Everybody has answered, and not enough of them alike.
    case split
  }

  /// The methods that ask other people.
  package static let methods: [ConflictMethod] = [.therapistReview, .familyConsensus]

  package struct Reviewer: Sendable, Hashable {
    /// What opens the question for this reviewer alone.
    package var link: String
    package var name: String
    /// The number of the version to keep, from 1; `nil` before the answer.
    package var answer: Int?
    package init(link: String, name: String, answer: Int? = nil) { (self.link, self.name, self.answer) = (link, name, answer) }
  }

  package var id: RecordID
  package var record: RecordID
  package var field: String
  package var method: ConflictMethod
  /// The name by which the reviewers know the person.
  package var person: String
  /// The versions in the order in which they were numbered.
  package var versions: [OperationID]
  package var reviewers: [Reviewer]
  package var phase: Phase
  /// The device on which the question was put.
  package var asker: DeviceID?
  /// Milliseconds since 1970.
  package var since: UInt64

  /// `nil` for a record that does not make sense.
  package init?(_ state: RecordState) {
    guard state.kind == RecordCatalogue.review.kind, state.isVisible, let subject = state.text("subject")?.split(separator: " ", maxSplits: 1),
      subject.count == 2, let record = RecordID(String(subject[0])), let method = state.text("method").flatMap(ConflictMethod.init),
      let phase = state.text("state").flatMap(Phase.init)
    else { return nil }
    (id, self.record, field, self.method, self.phase) = (state.id, record, String(subject[1]), method, phase)
    person = state.text("person") ?? ""
    versions = (state.text("versions") ?? "").split(separator: " ").compactMap { OperationID(name: $0) }
    let asked = state["subject"]?.dots.min { $0.isEarlier(than: $1) }
    (since, asker) = (asked?.timestamp.milliseconds ?? 0, asked?.id.stream.device)
    let answers = state.view("answers").entries.compactMap { Self.entry($0) }
    reviewers = state.view("asked").entries.compactMap { Self.entry($0) }.map { link, name in
      // The first answer counts: nobody changes it behind the person's back.
      Reviewer(link: link, name: name, answer: answers.first { $0.link == link }.flatMap { Int($0.rest) })
    }
    reviewers = Array(reviewers.prefix(Limits.reviewers))
  }

  private static func entry(_ dot: Dot) -> (link: String, rest: String)? {
    guard case .text(let text)? = dot.value else { return nil }
    let words = text.split(separator: " ", maxSplits: 1).map(String.init)
    return words.count == 2 ? (words[0], words[1]) : nil
  }

  // MARK: What comes of it

  package enum Verdict: Sendable, Hashable {
    case waiting(answered: Int)
    case decided(OperationID, by: [String])
    /// Not enough agree, whatever else is answered.
    case split
    /// Something was written since, or it is settled.
    case overtaken
  }

  /// How many have to say the same.
  package var quorum: Int { method == .familyConsensus ? reviewers.count / 2 + 1 : 1 }

  /// - Parameters:
  ///   - live: The writes that the field holds now.
  ///   - hasArrived: Whether a write is known here. A device that is behind must not take a version that it
  ///     has not got yet for one that was replaced.
  package func verdict(live: [OperationID], hasArrived: (OperationID) -> Bool) -> Verdict {
    let answers = reviewers.filter { $0.answer.map { $0 >= 1 && $0 <= versions.count } ?? false }
    guard versions.allSatisfy(hasArrived) else { return .waiting(answered: answers.count) }
    guard live.count > 1, Set(live) == Set(versions) else { return .overtaken }
    let counts = Dictionary(grouping: answers) { $0.answer ?? 0 }
    if let (number, voters) = counts.max(by: { ($0.value.count, $1.key) < ($1.value.count, $0.key) }), voters.count >= quorum {
      return .decided(versions[number - 1], by: voters.map(\.name).sorted())
    }
    let missing = reviewers.count - answers.count
    return (counts.values.map(\.count).max() ?? 0) + missing < quorum ? .split : .waiting(answered: answers.count)
  }

  /// What is to be said about it, in words.
  package var words: String {
    let names = reviewers.map { $0.name + ($0.answer.map { ": \($0)" } ?? "") }.joined(separator: ", ")
    switch phase {
    case .split: return "Asked \(names): they do not agree, so it is yours to decide."
    default: return "Asked \(names). \(method == .familyConsensus ? "\(quorum) of \(reviewers.count) have to agree" : "The answer decides"); what is shown holds meanwhile."
    }
  }

  // MARK: Writes

  /// The writes that put a question. Without the state it is none: what has arrived in part decides nothing.
  package static func asking(
    id: RecordID, about field: String, in record: RecordID, versions: [OperationID], _ method: ConflictMethod, person: String,
    reviewers: [Reviewer]
  ) -> [Draft] {
    func draft(_ field: String, _ mutation: Mutation) -> Draft { Self.draft(id, field, mutation) }
    return [
      draft("subject", .set(.text("\(record) \(field)"))), draft("versions", .set(.text(versions.map(\.name).joined(separator: " ")))),
      draft("method", .set(.text(method.rawValue))), draft("person", .set(.text(person))),
    ] + reviewers.map { draft("asked", .add(.text("\($0.link) \($0.name)"))) } + [draft("state", .set(.text(Phase.open.rawValue)))]
  }

  package func noting(_ answer: Int, of reviewer: Reviewer) -> Draft { Self.draft(id, "answers", .add(.text("\(reviewer.link) \(answer)"))) }
  package func becoming(_ phase: Phase) -> Draft { Self.draft(id, "state", .set(.text(phase.rawValue))) }

  private static func draft(_ id: RecordID, _ field: String, _ mutation: Mutation) -> Draft {
    Draft(record: id, kind: RecordCatalogue.review.kind, field: field, mutation: mutation, lane: RecordCatalogue.review.lane)
  }
}
