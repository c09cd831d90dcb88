import Causality
import ConflictResolution
import Crisis
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Stores
import Testing
import Therapy

/// What leaves the account in a crisis, and to whom.
@Suite("Alerts", .serialized)
struct AlertTests {
  private static let canary = "canary-31-wren"
  private let sandbox: Sandbox
  private let one, two: Store
  private let relay: FolderRelay
  private let link: SecretLink
  private let ben: RecordID

  /// Two devices that agree on everything so far: one contact, invited.
  init() throws {
    sandbox = try Sandbox()
    _ = try FolderRelay.make(at: sandbox.relayPath)
    (one, relay) = (try sandbox.newStore("one"), FolderRelay(path: sandbox.relayPath, account: [1], ownTag: nil))
    two = try sandbox.join(one, "two")
    var random = SystemRandomNumberGenerator()
    link = SecretLink(using: &random)
    let actions = Actions(one)
    ben = try actions.add(kind: "contact", ["name=Ben \(Self.canary)", "phone=\(Self.canary)", "alert=yes", "links=\(link)", "person=Maya"])
    _ = try actions.add(kind: "journal", ["title=\(Self.canary)", "text=\(Self.canary)"])
    try CrisisOutreach.open(link, person: "Maya", on: relay, wall: 1, using: &random)
  }

  private func contact() throws -> SafetyPlan.Contact { try #require(try one.read { try SafetyPlan.contacts($0) }.first) }

  private func activation(_ device: Store, _ sequence: UInt64 = 1, at: UInt64 = 1_000) -> Causality.Operation {
    let draft = CrisisState.activation(.severe, source: "person", record: Actions(one).crisisRecord)
    return Causality.Operation(
      stream: StreamID(device: device.ring.device, incarnation: Incarnation(rawValue: 1), lane: .crisis), sequence: sequence,
      timestamp: Timestamp(milliseconds: at), record: draft.record, kind: draft.kind, field: draft.field, mutation: draft.mutation, replaces: [])
  }

  private func crisis(_ operations: [Causality.Operation]) -> CrisisState {
    var (state, hash) = (RecordState(id: Actions(one).crisisRecord, kind: "crisis"), StateHash())
    for operation in operations { state.apply(operation, hasArrived: { _ in true }, hash: &hash) }
    return CrisisState(state)
  }

  private func tell(
    _ device: Store, _ crisis: CrisisState, isPublished: Bool = true, isPatient: Bool = true, known: [DeviceID: UInt64] = [:]
  ) throws -> CrisisOutreach.Outcome {
    var random = SystemRandomNumberGenerator()
    return try CrisisOutreach(ring: device.ring, relay: relay, isPublished: isPublished, isPatient: isPatient) { $0.sequence <= known[$0.stream.device] ?? 0 }
      .tell(try contact(), of: crisis, wall: 5, using: &random)
  }

  private func read(_ reader: inout AlertReader) throws -> [Notice] {
    try reader.read(relay).compactMap { if case .alert(let notice) = $0 { notice } else { nil } }
  }

  private func arrival(_ crisis: CrisisState) throws -> CrisisOutreach.Arrival { try CrisisOutreach.arrival(with: try contact(), of: crisis, on: relay) }

  @Test("a contact is told once per crisis, whoever tells, and again of the next one")
  func once() throws {
    let first = activation(one)
    var reader = AlertReader(link)
    #expect(try tell(one, crisis([first]), isPublished: false) == .early, "first the devices, then the people")
    #expect(try read(&reader).isEmpty && reader.person == "Maya", "the link was found, and nothing was asked for")
    #expect(try tell(one, crisis([first])) == .done)
    #expect(try tell(one, crisis([first])) == .done, "after a crash")
    #expect(try tell(two, crisis([first]), known: [one.ring.device: 1]) == .doneElsewhere)
    let more = activation(two, at: 2_000)
    #expect(try tell(two, crisis([first, more]), known: [one.ring.device: 1]) == .doneElsewhere, "the same event goes on")
    #expect(try read(&reader).count == 1)
    #expect(try tell(two, crisis([activation(two, 2, at: 9_000)]), known: [one.ring.device: 1]) == .done)
    #expect(try read(&reader).count == 1)
    #expect(try read(&reader).isEmpty)
  }

  @Test("a name that anybody can make on a board stops nobody from being told")
  func hugeNumber() throws {
    let folder = sandbox.relayPath + "/boards/" + NoticeBoard(link).name
    for number in [UInt64.max, .max - 1, 1 << 40] { try Data("x".utf8).write(to: URL(fileURLWithPath: "\(folder)/\(number)")) }
    #expect(try tell(one, crisis([activation(one)])) == .done)
    var reader = AlertReader(link)
    #expect(try read(&reader).count == 1)
  }

  @Test("a signed frame that begins with number 0 is refused, and kept nowhere")
  func numberZero() throws {
    var random = SystemRandomNumberGenerator()
    let (operation, lane) = (activation(two), Channel(.crisis))
    let frame = try two.ring.account.sealer.seal(
      .operations(OperationCodec.encode([operation], .run(stream: operation.id.stream, first: 0))), channel: lane.rawValue,
      incarnation: operation.id.stream.incarnation, first: 0, count: 1, previous: noPreviousHash, headsDigest: [], from: two.ring.device,
      keys: two.ring.keys, using: &random)
    var performer = try EffectPerformer(store: one, relay: relay, ring: one.ring, run: 1)
    var outcome = ApplyOutcome(next: .start)
    try performer.take([frame], from: RelayStream(tag: BlindTag(of: two.ring.device, one.ring.account.sealer), channel: lane), limit: 2_000, &outcome)
    #expect(outcome.bad == 1 && outcome.changes.isEmpty)
    #expect(try one.read { try $0.early(of: two.ring.device, lane) }.isEmpty)
  }

  @Test("two that raised it apart: the second waits until it knows of the first, but not for ever")
  func apart() throws {
    #expect(try tell(one, crisis([activation(one)])) == .done)
    #expect(try tell(two, crisis([activation(two)])) == .early, "an alert about something that is not here yet")
    #expect(try tell(two, crisis([activation(one), activation(two)]), known: [one.ring.device: 1]) == .doneElsewhere)
    #expect(try tell(two, crisis([activation(two)]), isPatient: false) == .done, "twice is better than never")
  }

  @Test("a stage is taken by one device; the other learns that")
  func stages() throws {
    var random = SystemRandomNumberGenerator()
    func take(_ device: Store, _ stage: EscalationStage) throws -> CrisisOutreach.Outcome {
      try CrisisOutreach(ring: device.ring, relay: relay, isPublished: true, isPatient: true) { _ in true }
        .take(stage, of: crisis([activation(one)]), wall: 5, using: &random)
    }
    #expect(try take(two, .family) == .done)
    #expect(try take(one, .family) == .doneElsewhere)
    #expect(try take(one, .contacts) == .done)
    #expect(try take(two, .contacts) == .doneElsewhere)
    #expect(try take(two, .family) == .done)
  }

  @Test("what leaves holds a name and nothing that was ever written; all of it has one size")
  func canary() throws {
    #expect(try tell(one, crisis([activation(one)])) == .done)
    let board = NoticeBoard(link)
    let notices = try relay.notices(on: board.name, after: 0)
    #expect(notices.count == 2 && Set(notices.map(\.sealed.count)).count == 1)
    for found in notices {
      let notice = try #require(board.open(found.sealed, number: found.number))
      #expect(board.open(found.sealed, number: found.number + 1) == nil, "it cannot be moved")
      #expect(notice.person == "Maya")
      // All that the link opens: a kind, a time, a name, blinded marks, and bytes that it does not open.
      #expect(notice.marks.allSatisfy { $0.count == 8 } && notice.stage == 0)
      #expect(NoticeSubject(notice.about, one.ring.account)?.device == (notice.kind == .alert ? one.ring.device : nil))
      #expect(NoticeSubject(notice.about, try sandbox.newStore("stranger\(found.number)").ring.account) == nil)
    }
    let everything = try FileManager.default.subpathsOfDirectory(atPath: sandbox.path + "/relay")
    for path in everything {
      guard let bytes = FileManager.default.contents(atPath: sandbox.path + "/relay/" + path) else { continue }
      for word in [Self.canary, "Maya", "Ben"] { #expect(bytes.range(of: Data(word.utf8)) == nil, "\(path)") }
    }
    #expect(CrisisAlert.text(person: "Maya").contains(Self.canary) == false)
  }

  @Test("a relay that was wiped tells nobody twice; a notice from the wrong board is nothing")
  func wiped() throws {
    var (reader, random) = (AlertReader(link), SystemRandomNumberGenerator())
    #expect(try tell(one, crisis([activation(one)])) == .done)
    #expect(try read(&reader).count == 1)
    try FileManager.default.removeItem(atPath: sandbox.path + "/relay/boards")
    #expect(try tell(one, crisis([activation(one)])) == .done)
    #expect(try read(&reader).isEmpty)
    let other = NoticeBoard(SecretLink(using: &random))
    let board = NoticeBoard(link)
    #expect(try relay.putNotice(other.seal(Notice(kind: .alert, wall: 1), number: 9, using: &random), board: board.name, number: 9))
    #expect(try relay.putNotice([], board: board.name, number: 10))
    #expect(try read(&reader).isEmpty)
  }

  @Test("what is said of an alert is what the other side has said: nothing, followed, shown, seen")
  func arrivals() throws {
    var (reader, random) = (AlertReader(link), SystemRandomNumberGenerator())
    let state = crisis([activation(one)])
    #expect(try tell(one, state) == .done)
    #expect(try arrival(state) == .unopened, "an alert at a link that nobody has opened tells nobody")
    let alert = try #require(try read(&reader).first)
    #expect(try arrival(state) == .unopened, "reading alone is not shown")
    try reader.follow(on: relay, wall: 6, using: &random)
    try reader.follow(on: relay, wall: 7, using: &random)
    #expect(try arrival(state) == .followed)
    #expect(try relay.notices(on: NoticeBoard(link).name, after: 0).count == 3, "said once")
    try reader.confirm(alert, as: .shown, on: relay, wall: 66, using: &random)
    #expect(try arrival(state) == .shown(66))
    try reader.confirm(alert, as: .seen, on: relay, wall: 77, using: &random)
    #expect(try arrival(state) == .seen(77))
    #expect(try arrival(crisis([activation(one, 2)])) == .followed, "another crisis")
  }

  @Test("who was told hears that it is over: once, by one device, and not while anything is active")
  func over() throws {
    var (reader, random) = (AlertReader(link), SystemRandomNumberGenerator())
    func end(_ device: Store, _ crisis: CrisisState, known: Bool = true) throws -> Bool {
      try CrisisOutreach(ring: device.ring, relay: relay, isPublished: true, isPatient: true) { _ in known }
        .end(try contact(), in: crisis, wall: 9, using: &random)
    }
    #expect(try !end(one, crisis([])), "nobody was told of anything")
    #expect(try tell(one, crisis([activation(one)])) == .done)
    #expect(try !end(one, crisis([activation(one)])), "it goes on")
    #expect(try !end(two, crisis([]), known: false), "what has not arrived may be active")
    #expect(try end(one, crisis([])) && !end(two, crisis([])))
    let news = try reader.read(relay)
    guard news.count == 2, case .alert = news[0], case .ended = news[1] else { throw RelayError.changed }
    // A relay that was rolled back tells it again to nobody.
    try FileManager.default.removeItem(atPath: sandbox.path + "/relay/boards")
    #expect(try tell(one, crisis([activation(one)])) == .done)
    #expect(try end(one, crisis([])) && reader.read(relay).isEmpty)
    #expect(try tell(one, crisis([activation(one, 2)]), known: [one.ring.device: 2]) == .done)
    #expect(try read(&reader).count == 1, "the next one is another")
    var withdrawn = try contact()
    (withdrawn.links, withdrawn.withdrawn) = ([], withdrawn.links)
    try CrisisOutreach.close(withdrawn, on: relay, wall: 10, using: &random)
    guard case .closed? = try reader.read(relay).last else { throw RelayError.changed }
    #expect(reader.isClosed)
    try CrisisOutreach.close(withdrawn, on: relay, wall: 11, using: &random)
    #expect(try relay.notices(on: NoticeBoard(link).name, after: reader.last).isEmpty, "it stands there already")
  }

  @Test("who does not know that it was resolved elsewhere tells of a new crisis, and not again of the one that is over")
  func overElsewhere() throws {
    var (reader, random) = (AlertReader(link), SystemRandomNumberGenerator())
    let first = activation(one)
    #expect(try tell(one, crisis([first])) == .done)
    try reader.follow(on: relay, wall: 6, using: &random)
    try reader.confirm(try #require(try read(&reader).first), as: .shown, on: relay, wall: 66, using: &random)
    _ = try CrisisOutreach(ring: two.ring, relay: relay, isPublished: true, isPatient: true) { _ in true }.end(try contact(), in: crisis([]), wall: 9, using: &random)
    #expect(try tell(one, crisis([first])) == .doneElsewhere && read(&reader).isEmpty, "it is over")
    let both = crisis([first, activation(one, 2, at: 9_000)])
    #expect(try tell(one, both) == .done)
    #expect(try arrival(both) == .followed, "what a screen showed was the one that is over")
    #expect(try read(&reader).count == 1)
  }

  @Test("saying now tells at once and notes it; only from severe upward, and not of what was taken back")
  func now() throws {
    let actions = Actions(one)
    #expect(try actions.tellNow(relay).names.isEmpty)
    _ = try actions.activateCrisis(.moderate, source: "person")
    #expect(try actions.tellNow(relay).names.isEmpty)
    _ = try actions.activateCrisis(.severe, source: "person")
    _ = try actions.resolveCrisis()
    #expect(try actions.tellNow(relay).names.isEmpty)
    _ = try actions.activateCrisis(.severe, source: "person")
    #expect(try actions.tellNow(relay).names == ["Ben \(Self.canary)"])
    #expect(try actions.crisisState().told == [ben])
    #expect(try actions.tellNow(relay).names.isEmpty)
  }

  @Test("links are read as they were printed, and nothing else is one")
  func links() throws {
    #expect(SecretLink(link.description) == link && SecretLink(link.description.uppercased().replacing("-", with: " ")) == link)
    #expect(SecretLink("") == nil && SecretLink(String(link.description.dropLast())) == nil)
  }
}
