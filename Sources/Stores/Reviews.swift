import Causality
import ConflictResolution
import Foundation
import Replica
import Sealing
import Storage
import Therapy

/// Asking others about a conflict. What they are shown lies on the relay, sealed for each of them, until it is
/// settled: the versions of one field, and nothing else of the account.
extension Actions {
  /// Puts a conflict before somebody: one person's answer decides; of several, more than half have to agree.
  ///
  /// - Parameters:
  ///   - names: Who is asked; each gets a link of their own.
  ///   - person: The name by which they know the person.
  /// - Throws: ``InputError``, ``RelayError``, ``StorageError``; then nobody was asked.
  package func ask(
    _ names: [String], as person: String, about id: RecordID, field: String, relay: any Relay
  ) throws -> [ReviewState.Reviewer] {
    guard (1...Limits.reviewers).contains(names.count), Set(names).count == names.count else {
      throw InputError.invalid("Nobody was asked.", remedy: "Name 1 to \(Limits.reviewers) people, each once.")
    }
    let names = try names.map { try ShortName.checked($0, "name", limit: Limits.personCharacters) }
    let person = try ShortName.checked(person, "name", limit: Limits.personCharacters)
    var random = SystemRandomNumberGenerator()
    let reviewers = names.map { ReviewState.Reviewer(link: SecretLink(using: &random).description, name: $0) }
    guard try review(of: id, field: field) == nil else {
      throw InputError.invalid("Somebody is asked about this already. Nobody was asked.", remedy: "Take that back with `fullmind conflicts ask … --withdraw`.")
    }
    guard let record = try store.read({ try $0.record(id) }), let conflict = record.openConflicts.first(where: { $0.field == field }),
      field != Causality.Operation.recordField, conflict.versions.count <= Limits.listedVersions
    else { throw InputError.invalid("This cannot be asked. Nobody was asked.", remedy: "See `fullmind conflicts show \(id)`.") }
    let review = newRecordID()
    let drafts = ReviewState.asking(
      id: review, about: conflict.field, in: id, versions: conflict.versions.map(\.id),
      names.count > 1 ? .familyConsensus : .therapistReview, person: person, reviewers: reviewers)
    // The question first: a link that opens nothing would be worse than a question that nobody reads.
    for reviewer in reviewers { try ReviewDuty.put(conflict, record, person, reviewer.link, relay, &random) }
    _ = try commit(drafts)
    return reviewers
  }

  /// Takes a question back; the links open nothing any more.
  package func withdrawReview(of id: RecordID, field: String, relay: any Relay) throws {
    guard let review = try review(of: id, field: field) else {
      throw InputError.invalid("Nobody is asked about this. Nothing was changed.", remedy: "See `fullmind conflicts show \(id)`.")
    }
    _ = try commit([review.becoming(.closed)])
    for reviewer in review.reviewers { ReviewDuty.remove(reviewer.link, relay) }
  }

  /// The question that is open about a field.
  package func review(of id: RecordID, field: String) throws -> ReviewState? {
    try store.read { try ReviewDuty.reviews($0).first { $0.record == id && $0.field == field && $0.phase != .closed } }
  }

  /// Notes answers and what comes of them, all in one transaction: a decision and the end of its question are
  /// on every device together.
  ///
  /// - Returns: What came of it.
  func take(_ answers: [(reviewer: ReviewState.Reviewer, number: Int)], to review: ReviewState, pinging own: String) throws -> (verdict: ReviewState.Verdict, hasWritten: Bool) {
    var verdict = ReviewState.Verdict.overtaken
    let saved = try saving(pinging: own) { transaction in
      var review = review
      for (reviewer, number) in answers {
        guard let index = review.reviewers.firstIndex(where: { $0.link == reviewer.link }) else { continue }
        review.reviewers[index].answer = number
      }
      var drafts = answers.map { review.noting($0.number, of: $0.reviewer) }
      let record = try transaction.record(review.record)
      let dots = record?[review.field]?.dots ?? []
      let arrived = Set(try review.versions.filter { try transaction.hasArrived($0) })
      verdict = review.verdict(live: dots.map(\.id)) { arrived.contains($0) }
      switch verdict {
      case .waiting: break
      case .overtaken: drafts.append(review.becoming(.closed))
      case .split: if review.phase != .split { drafts.append(review.becoming(.split)) }
      case .decided(let id, let names):
        guard let record, let kept = dots.first(where: { $0.id == id }) else { break }
        drafts += [settling(record, review.field, keeping: kept, dots, review.method, by: names), review.becoming(.closed)]
      }
      return drafts.isEmpty ? Saved(operations: []) : try save(drafts, in: &transaction)
    }
    return (verdict, !saved.operations.isEmpty)
  }
}

/// What the exchanging process does about questions that are open: looks for answers, and for questions that a
/// relay has lost.
struct ReviewDuty: Sendable {
  /// Uptime at which it looks again; `nil` while nobody is asked.
  private(set) var due: UInt64? = 0
  /// Questions that are open, or that were not agreed on.
  private(set) var open: [ReviewState] = []
  private static let gap: UInt64 = 3_000_000_000
  private static let calm: UInt64 = 200_000_000

  /// A question may have been put.
  mutating func change(_ now: Moment) { due = min(due ?? .max, now.uptime + Self.calm) }

  /// Whether there is something to look for within moments, or was not looked yet.
  func isExpected(_ now: Moment) -> Bool { due.map { $0 <= now.uptime + Self.calm } ?? false }

  static func reviews(_ transaction: SQLiteTransaction) throws -> [ReviewState] {
    try transaction.records(kind: RecordCatalogue.review.kind, limit: 100).compactMap(ReviewState.init)
  }

  mutating func refresh(_ transaction: SQLiteTransaction) throws { open = try Self.reviews(transaction).filter { $0.phase != .closed } }

  /// - Parameters:
  ///   - relay: `nil` where another process of this device exchanges.
  ///   - present: Other devices that are here: what one of them has asked is left to it, so that an answer is
  ///     written, and counted, once.
  /// - Returns: What there is to tell.
  mutating func perform(_ store: Store, relay: (any Relay)?, present: Set<DeviceID>, pingPath: String, _ now: Moment) throws -> (news: [String], hasWritten: Bool) {
    // First, so that a store that cannot be read is not asked again at once, and again.
    due = relay == nil ? nil : now.uptime + Self.gap
    try store.read { try refresh($0) }
    if open.isEmpty { due = nil }
    guard let relay else { return ([], false) }
    var (news, hasWritten) = ([String](), false)
    for review in open where review.asker.map({ !present.contains($0) }) ?? true {
      guard let (answers, isNews) = try look(review, store, relay), isNews else { continue }
      let outcome = try Actions(store, patience: DriverLoop.patience).take(answers, to: review, pinging: pingPath)
      guard outcome.hasWritten else { continue }
      switch outcome.verdict {
      case .waiting: news += answers.map { "\($0.reviewer.name) has answered what you asked" }
      case .split: news.append("those whom you asked do not agree: it is yours to decide")
      case .overtaken: news.append("what you had asked about is settled")
      case .decided(_, let names): news.append("settled as \(names.joined(separator: ", ")) said; it can be undone")
      }
      hasWritten = true
      if try store.read({ try $0.record(review.id).flatMap(ReviewState.init)?.phase }) == .closed {
        for reviewer in review.reviewers { Self.remove(reviewer.link, relay) }
      }
    }
    return (news, hasWritten)
  }

  /// New answers; `nil` where the relay does not answer.
  private func look(_ review: ReviewState, _ store: Store, _ relay: any Relay) throws -> (answers: [(reviewer: ReviewState.Reviewer, number: Int)], isNews: Bool)? {
    guard let record = try store.read({ try $0.record(review.record) }),
      let conflict = record.openConflicts.first(where: { $0.field == review.field }),
      Set(conflict.versions.map(\.id)) == Set(review.versions)
    else { return ([], true) }
    var answers: [(ReviewState.Reviewer, Int)] = []
    var random = SystemRandomNumberGenerator()
    do throws(RelayError) {
      for reviewer in review.reviewers where reviewer.answer == nil {
        guard let link = SecretLink(reviewer.link) else { continue }
        let box = ReviewBox(link)
        if let number = try relay.mail(in: box.mailbox, slot: ReviewBox.answer).flatMap(box.answer), (1...review.versions.count).contains(number) {
          answers.append((reviewer, number))
        } else if try relay.mail(in: box.mailbox, slot: ReviewBox.question) == nil {
          try Self.putAgain(conflict, record, review, box, relay, &random)
        }
      }
    } catch { return nil }
    return (answers, !answers.isEmpty)
  }

  private static func putAgain(
    _ conflict: Conflict, _ record: RecordState, _ review: ReviewState, _ box: ReviewBox, _ relay: any Relay,
    _ random: inout SystemRandomNumberGenerator
  ) throws(RelayError) {
    guard let sealed = box.seal(question(conflict, record, review.person, order: review.versions), using: &random) else { return }
    try relay.putMail(sealed, mailbox: box.mailbox, slot: ReviewBox.question)
  }

  static func put(
    _ conflict: Conflict, _ record: RecordState, _ person: String, _ link: String, _ relay: any Relay, _ random: inout SystemRandomNumberGenerator
  ) throws {
    guard let box = SecretLink(link).map(ReviewBox.init) else { preconditionFailure("a link that was just made") }
    guard let sealed = box.seal(question(conflict, record, person, order: conflict.versions.map(\.id)), using: &random) else {
      throw InputError.invalid("These versions are too long to be asked about. Nobody was asked.", remedy: "Settle it yourself, or shorten a version.")
    }
    try relay.putMail(sealed, mailbox: box.mailbox, slot: ReviewBox.question)
  }

  static func remove(_ link: String, _ relay: any Relay) {
    guard let link = SecretLink(link) else { return }
    try? relay.removeMailbox(ReviewBox(link).mailbox)
  }

  private static func question(_ conflict: Conflict, _ record: RecordState, _ person: String, order: [OperationID]) -> ReviewQuestion {
    let versions = order.compactMap { id in conflict.versions.first { $0.id == id } }
    let title = RecordCatalogue[record.kind]?.title ?? record.kind
    let shown = (versions.firstIndex { $0.id == conflict.chosen?.id } ?? 0) + 1
    return ReviewQuestion(
      person: person, subject: "\(title), \(conflict.field)", meanwhile: "Until it is settled version \(shown) is shown.",
      versions: versions.map { .init(value: $0.value?.text ?? "", wall: $0.timestamp.milliseconds, consequence: conflict.consequence(of: $0)) })
  }
}
