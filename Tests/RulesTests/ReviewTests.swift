import Causality
import ConflictResolution
import Sealing
import Testing
import Therapy

/// A conflict that others were asked about: whose word counts, and what they are shown.
@Suite("Asking others about a conflict")
struct ReviewTests {
  private static func id(_ device: UInt64, _ sequence: UInt64) -> OperationID {
    OperationID(stream: StreamID(device: DeviceID(high: 0, low: device), incarnation: Incarnation(rawValue: 1), lane: .assessment), sequence: sequence, mark: 0)
  }
  private let versions = [id(1, 4), id(2, 9)]

  /// A review as all devices have it, from writes in some order.
  private func review(_ method: ConflictMethod, _ names: [String], answers: [(Int, Int)] = []) throws -> ReviewState {
    let record = RecordID(high: 1, low: 2)
    let reviewers = names.enumerated().map { ReviewState.Reviewer(link: "link\($0.offset)", name: $0.element) }
    var drafts = ReviewState.asking(id: RecordID(high: 3, low: 3), about: "item9", in: record, versions: versions, method, person: "Kim", reviewers: reviewers)
    let asked = try #require(ReviewState(state(drafts)))
    drafts += answers.map { asked.noting($0.1, of: reviewers[$0.0]) }
    return try #require(ReviewState(state(drafts)))
  }

  private func state(_ drafts: [Draft]) -> RecordState {
    var (record, hash) = (RecordState(id: drafts[0].record, kind: drafts[0].kind), StateHash())
    for (index, draft) in drafts.enumerated() {
      record.apply(
        Operation(
          id: Self.id(5, UInt64(index + 1)), timestamp: Timestamp(milliseconds: UInt64(1_000 + index)), record: draft.record, kind: draft.kind,
          field: draft.field, mutation: draft.mutation, replaces: []),
        hasArrived: { _ in true }, hash: &hash)
    }
    return record
  }

  @Test("one therapist decides; before the answer nothing does")
  func therapist() throws {
    let open = try review(.therapistReview, ["Dr. Weiss"])
    #expect(open.verdict(live: versions, hasArrived: { _ in true }) == .waiting(answered: 0) && open.quorum == 1)
    #expect(open.record == RecordID(high: 1, low: 2) && open.field == "item9" && open.person == "Kim" && open.versions == versions)
    #expect(open.words.contains("Asked Dr. Weiss") && open.words.contains("what is shown holds meanwhile"))
    #expect(try review(.therapistReview, ["Dr. Weiss"], answers: [(0, 2)]).verdict(live: versions, hasArrived: { _ in true }) == .decided(versions[1], by: ["Dr. Weiss"]))
  }

  struct Vote: Sendable { var count: Int; var answers: [(Int, Int)]; var expected: String }
  private static func vote(_ count: Int, _ answers: [Int?], _ expected: String) -> Vote {
    Vote(count: count, answers: answers.enumerated().compactMap { index, number in number.map { (index, $0) } }, expected: expected)
  }
  private static let votes: [Vote] = [
    vote(2, [1], "waiting 1"), vote(2, [1, 1], "kept 1"), vote(2, [1, 2], "split"), vote(3, [2, nil, 2], "kept 2"),
    vote(3, [2, 1], "waiting 2"), vote(3, [2, 1, 1], "kept 1"), vote(4, [1, 1], "waiting 2"), vote(4, [1, 1, 2, 2], "split"),
    vote(5, [1, 2, 1], "waiting 3"),
  ]

  @Test("of a family more than half have to agree", arguments: votes)
  func family(vote: Vote) throws {
    let review = try review(.familyConsensus, (0..<vote.count).map { "member \($0)" }, answers: vote.answers)
    let verdict =
      switch review.verdict(live: versions, hasArrived: { _ in true }) {
      case .waiting(let answered): "waiting \(answered)"
      case .decided(let id, _): "kept \((versions.firstIndex(of: id) ?? 9) + 1)"
      case .split: "split"
      case .overtaken: "overtaken"
      }
    #expect(verdict == vote.expected)
  }

  @Test("what was written since makes the question void: nobody decides about a version that they did not see")
  func overtaken() throws {
    let answered = try review(.therapistReview, ["Dr. Weiss"], answers: [(0, 1)])
    #expect(answered.verdict(live: [versions[0]], hasArrived: { _ in true }) == .overtaken)
    #expect(answered.verdict(live: versions + [Self.id(7, 7)], hasArrived: { _ in true }) == .overtaken)
    #expect(answered.verdict(live: [versions[0], Self.id(7, 7)], hasArrived: { _ in true }) == .overtaken)
    #expect(answered.verdict(live: [], hasArrived: { _ in true }) == .overtaken)
  }

  @Test("a device that is behind closes nothing, and what has arrived in part is no question yet")
  func early() throws {
    let answered = try review(.therapistReview, ["Dr. Weiss"], answers: [(0, 1)])
    for live in [[], [versions[0]], [versions[0], Self.id(7, 7)]] {
      #expect(answered.verdict(live: live, hasArrived: { $0 != versions[1] }) == .waiting(answered: 1))
    }
    let drafts = ReviewState.asking(
      id: RecordID(high: 3, low: 3), about: "item9", in: RecordID(high: 1, low: 2), versions: versions, .familyConsensus, person: "Kim",
      reviewers: (0..<3).map { ReviewState.Reviewer(link: "link\($0)", name: "member \($0)") })
    for count in 1..<drafts.count { #expect(ReviewState(state(Array(drafts.prefix(count)))) == nil) }
    #expect(try #require(ReviewState(state(drafts))).quorum == 2)
  }

  @Test("the first answer of a reviewer stands, and one that names no version counts for nothing")
  func strange() throws {
    #expect(try review(.therapistReview, ["Dr. Weiss"], answers: [(0, 1), (0, 2)]).verdict(live: versions, hasArrived: { _ in true }) == .decided(versions[0], by: ["Dr. Weiss"]))
    for number in [0, 3, -1] { #expect(try review(.therapistReview, ["Dr. Weiss"], answers: [(0, number)]).verdict(live: versions, hasArrived: { _ in true }) == .waiting(answered: 0)) }
  }

  @Test("a question is read by who has the link, and by nobody else; its size says little")
  func sealed() throws {
    var random = SeededRandom(seed: 2)
    let (box, other) = (ReviewBox(SecretLink(using: &random)), ReviewBox(SecretLink(using: &random)))
    func question(_ length: Int) -> ReviewQuestion {
      ReviewQuestion(person: "Kim", subject: "Assessment, item9", meanwhile: "safe", versions: [.init(value: String(repeating: "ä", count: length), wall: 5, consequence: "c"), .init(value: "0", wall: 6, consequence: "")])
    }
    let sealed = try #require(box.seal(question(1), using: &random))
    #expect(box.question(sealed) == question(1) && other.question(sealed) == nil && box.mailbox != other.mailbox)
    #expect(try #require(box.seal(question(900), using: &random)).count == sealed.count)
    #expect(try #require(box.seal(question(2_000), using: &random)).count == sealed.count, "4 KiB")
    #expect(box.seal(question(40_000), using: &random) == nil, "too long to be asked about")
    let answer = box.seal(keeping: 2, using: &random)
    #expect(box.answer(answer) == 2 && other.answer(answer) == nil && box.question(answer) == nil && box.answer(sealed) == nil)
    for byte in stride(from: 0, to: sealed.count, by: 97) {
      var changed = sealed
      changed[byte] ^= 1
      #expect(box.question(changed) == nil)
    }
  }
}
