import Causality
import ConflictResolution
import Crisis
import Testing
import Therapy

/// Every row of DOMAIN.md, *Crisis detection* and *Crisis levels*.
@Suite("Crisis rules")
struct CrisisRulesTests {
  /// Answers with that sum over so many items of 0 to 3; `nil` when there are none.
  static func answers(_ count: Int, total: Int) -> [Int?]? {
    guard (0...3 * count).contains(total) else { return nil }
    return (0..<count).map { min(3, max(0, total - 3 * $0)) }
  }

  @Test("PHQ-9: every total 0 to 27 with item 9 at 0 to 3 and missing", arguments: 0...27)
  func phq9(total: Int) throws {
    for item9 in [nil, 0, 1, 2, 3] as [Int?] {
      guard let rest = Self.answers(8, total: total - (item9 ?? 0)) else { continue }
      let offer = CrisisDetection(phq9: rest + [item9]).offer
      let expected: CrisisOffer? =
        switch (total, item9 ?? 0) {
        case (20..., 1...): CrisisOffer(level: .emergency, reason: .thoughtsAndHeavyLoad)
        case (_, 1...): CrisisOffer(level: .severe, reason: .thoughts)
        case (20..., _): CrisisOffer(level: .severe, reason: .heavyLoad)
        case (15..., _): CrisisOffer(level: .none, reason: .considerableLoad)
        default: nil
        }
      #expect(offer == expected, "total \(total), item 9 \(item9.map(String.init) ?? "missing")")
    }
  }

  @Test("GAD-7: every total 0 to 21", arguments: 0...21)
  func gad7(total: Int) throws {
    let answers = try #require(Self.answers(7, total: total))
    let expected = total >= 15 ? CrisisOffer(level: .moderate, reason: .muchWorry) : nil
    #expect(CrisisDetection(gad7: answers).offer == expected)
  }

  @Test("PHQ-9 from 15 with GAD-7 from 10, every pair", arguments: 0...27)
  func both(load: Int) throws {
    guard let rest = Self.answers(8, total: load) else { return }
    for worry in 0...21 {
      let expected: CrisisReason? = load >= 20 ? .heavyLoad : load < 15 ? nil : worry >= 10 ? .loadAndWorry : .considerableLoad
      #expect(CrisisDetection(phq9: rest + [0], latestGAD7: worry).offer?.reason == expected)
    }
  }

  @Test("a rise of 5 within 7 days, and neither less nor later", arguments: 0...14)
  func rise(before: Int) throws {
    for (rise, days, counts) in [(5, 0, true), (5, 7, true), (4, 7, false), (5, 8, false), (9, 1, true)] where before + rise < 15 {
      var detection = CrisisDetection(phq9: try #require(Self.answers(9, total: before + rise)))
      detection.phq9[8] = 0
      detection.earlierPHQ9 = [(before, days)]
      guard detection.phq9.compactMap({ $0 }).reduce(0, +) == before + rise else { continue }
      #expect(detection.offer == (counts ? CrisisOffer(level: .none, reason: .risingLoad) : nil))
    }
  }

  @Test("a missing answer is unknown: it is not counted, and what is reached without it stays reached")
  func missing() {
    #expect(CrisisDetection(phq9: [3, 3, 3, 3, 3, 3, 2, nil, nil]).offer?.level == .severe)
    #expect(CrisisDetection(phq9: [3, 3, 3, 3, 2, nil, nil, nil, nil]).offer == nil)
    #expect(CrisisDetection(phq9: [nil, nil, nil, nil, nil, nil, nil, nil, 1]).offer?.level == .severe)
    #expect(CrisisDetection(phq9: [3, 3, 3, 3, 3, 3, 3, 3]).offer?.level == .severe, "eight answers have no item 9")
    #expect(CrisisDetection().offer == nil)
  }

  @Test("every reason is a calm sentence without a number or a diagnosis", arguments: CrisisReason.allCases)
  func reasons(reason: CrisisReason) {
    #expect(reason.text.hasPrefix("you"))
    #expect(reason.text.allSatisfy { !$0.isNumber })
    for word in ["depress", "suicid", "disorder", "diagnos", "danger"] { #expect(!reason.text.contains(word)) }
    #expect(Set(CrisisReason.allCases.map(\.text)).count == CrisisReason.allCases.count)
  }

  static let screener: [([ColumbiaScreener.Yes], ColumbiaScreener.Risk)] = [
    ([], .none), ([.init(1)], .low), ([.init(2)], .low), ([.init(3)], .moderate), ([.init(4)], .high), ([.init(5)], .high),
    ([.init(6, isRecent: false)], .moderate), ([.init(6, isRecent: true)], .high), ([.init(6)], .high), ([.init(7)], .none),
    ([.init(1), .init(4)], .high), ([.init(2), .init(3)], .moderate), ([.init(1, isRecent: false)], .low),
  ]

  @Test("the C-SSRS screener, every row", arguments: screener.indices)
  func columbia(row: Int) {
    #expect(ColumbiaScreener.risk(Self.screener[row].0) == Self.screener[row].1)
  }

  @Test("a risk offers a level")
  func columbiaLevels() {
    #expect(ColumbiaScreener.Risk.allCases.map(\.level) == [.none, .mild, .moderate, .severe])
    #expect(ColumbiaScreener.Risk.allCases == ColumbiaScreener.Risk.allCases.sorted())
  }

  private func escalation(
    _ level: CrisisLevel, after seconds: Double, devices: Int = 4, acknowledged: Int = 0, taken: Set<EscalationStage> = [], rank: Int = 0
  ) -> CrisisEscalation.Step {
    CrisisEscalation(
      level: level, elapsed: UInt64((seconds * 1_000).rounded()), devices: devices, acknowledged: acknowledged, taken: taken, rank: rank
    ).step
  }

  @Test("severe waits 60 s, emergency 30 s, and what is milder does not escalate")
  func patience() {
    for level in [CrisisLevel.none, .mild, .moderate] { #expect(escalation(level, after: 1e6) == .notNeeded) }
    #expect(escalation(.severe, after: 59.999) == .wait(.family, milliseconds: 1))
    #expect(escalation(.severe, after: 60) == .take(.family))
    #expect(escalation(.emergency, after: 29.999) == .wait(.family, milliseconds: 1))
    #expect(escalation(.emergency, after: 30) == .take(.family))
    #expect(escalation(.severe, after: 119, taken: [.family]) == .wait(.contacts, milliseconds: 1_000))
    #expect(escalation(.severe, after: 120, taken: [.family]) == .take(.contacts))
    #expect(escalation(.emergency, after: 60, taken: [.family]) == .take(.contacts))
    #expect(escalation(.severe, after: 1e6, taken: [.family, .contacts]) == .complete)
  }

  @Test("half of the devices acknowledging stops it", arguments: 1...7)
  func half(devices: Int) {
    for acknowledged in 0...devices {
      let step = escalation(.severe, after: 60, devices: devices, acknowledged: acknowledged)
      #expect(step == (acknowledged * 2 >= devices ? .stopped : .take(.family)))
    }
  }

  @Test("the devices take turns of five seconds, so that another takes over from one that died")
  func turns() {
    for rank in 0...4 {
      let due = 60 + 5 * Double(rank)
      #expect(escalation(.severe, after: due - 0.001, rank: rank) == .wait(.family, milliseconds: 1))
      #expect(escalation(.severe, after: due, rank: rank) == .take(.family))
    }
    #expect(EscalationStage.allCases == EscalationStage.allCases.sorted())
    #expect(Set(EscalationStage.allCases.map(\.meaning)).count == 2)
  }

  @Test("others are told after 10 s or on now, from severe upward, only who was agreed on, nobody twice")
  func recipients() {
    for level in CrisisLevel.allCases {
      for (elapsed, saidNow) in [(UInt64(0), false), (9_999, false), (10_000, false), (0, true)] {
        let isTime = saidNow || elapsed >= 10_000
        let found = CrisisAlert.recipients(level: level, elapsed: elapsed, saidNow: saidNow, agreed: ["a", "b", "a"], told: ["b"])
        #expect(found == (level >= .severe && isTime ? ["a"] : []))
      }
    }
    #expect(CrisisAlert.recipients(level: .emergency, elapsed: 99_999, saidNow: true, agreed: [String](), told: []).isEmpty)
  }

  @Test("an alert holds a name and nothing else")
  func alertText() {
    #expect(CrisisAlert.text(person: "Maya") == "Maya asked for support. Please get in touch with them now.")
  }
}

@Suite("Crisis state and card")
struct CrisisStateTests {
  private let record = RecordID(high: 9, low: 9)

  private func activation(_ level: CrisisLevel, device: UInt64, sequence: UInt64 = 1, at: UInt64) -> Operation {
    let stream = StreamID(device: DeviceID(high: 0, low: device), lane: .crisis)
    let draft = CrisisState.activation(level, source: "person", record: record)
    return Operation(
      id: OperationID(stream: stream, sequence: sequence), timestamp: Timestamp(milliseconds: at), record: draft.record,
      kind: draft.kind, field: draft.field, mutation: draft.mutation, replaces: [])
  }

  private func state(_ operations: [Operation]) -> CrisisState {
    var (state, hash, seen) = (RecordState(id: RecordID(high: 9, low: 9), kind: "crisis"), StateHash(), Set<OperationID>())
    for operation in operations {
      state.apply(operation, hasArrived: { seen.contains($0) }, hash: &hash)
      seen.insert(operation.id)
    }
    return CrisisState(state)
  }

  @Test("mild a second later does not beat emergency")
  func mostSevere() {
    let emergency = activation(.emergency, device: 1, at: 1_000)
    let mild = activation(.mild, device: 2, at: 2_000)
    #expect(state([emergency, mild]).level == .emergency)
    #expect(state([mild, emergency]).level == .emergency)
  }

  @Test("a resolution does not take an activation that it had not seen")
  func unseenActivation() throws {
    let first = activation(.severe, device: 1, at: 1_000)
    let unseen = activation(.moderate, device: 2, at: 900)
    let draft = try #require(state([first]).resolution(record: first.record).first)
    let stream = StreamID(device: DeviceID(high: 0, low: 3), lane: .crisis)
    let resolve = Operation(
      id: OperationID(stream: stream, sequence: 1), timestamp: Timestamp(milliseconds: 3_000), record: draft.record,
      kind: draft.kind, field: draft.field, mutation: draft.mutation, replaces: try #require(draft.replaces))
    for order in [[first, unseen, resolve], [first, resolve, unseen], [resolve, unseen, first]] {
      let after = state(order)
      #expect(after.isActive)
      #expect(after.level == .moderate)
    }
    #expect(!state([first, resolve]).isActive)
  }

  @Test("an entry that cannot be read still counts, as severe")
  func unreadableEntry() {
    var odd = activation(.mild, device: 1, at: 1)
    odd.mutation = .add(.text("♥ later version"))
    #expect(state([odd]).level == .severe)
  }

  @Test("the card has help lines for every region and fits 80 columns", arguments: HelpLines.regions.map(\.name) + [""])
  func card(region: String) {
    let text = CrisisCard.text(for: HelpLines.region(named: region))
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 79 })
    #expect(text.contains("112") || text.contains("911"))
    #expect(!text.contains("press 3"), "ended on 17 July 2025")
  }

  @Test("the region follows the locale", arguments: [("en_US.UTF-8", "United States"), ("de_AT", "European Union"), ("en_GB@euro", "United Kingdom and Ireland"), ("C.UTF-8", nil), ("", nil), ("en_CA", "Canada")])
  func regions(locale: String, name: String?) { #expect(HelpLines.region(ofLocale: locale)?.name == name) }

  @Test("levels have names and an order")
  func levels() {
    #expect(CrisisLevel(name: "SEVERE") == .severe)
    #expect(CrisisLevel(name: "bad") == nil)
    #expect(CrisisLevel.allCases == CrisisLevel.allCases.sorted())
  }

  private func write(_ draft: Draft?, device: UInt64, sequence: UInt64, at: UInt64) throws -> Operation {
    let draft = try #require(draft)
    return Operation(
      id: OperationID(stream: StreamID(device: DeviceID(high: 0, low: device), lane: .crisis), sequence: sequence),
      timestamp: Timestamp(milliseconds: at), record: draft.record, kind: draft.kind, field: draft.field,
      mutation: draft.mutation, replaces: draft.replaces ?? [])
  }

  @Test("who acknowledged, which stage was taken and who was told belong to their activation and leave with it")
  func about() throws {
    let first = activation(.severe, device: 1, at: 1_000)
    let contact = RecordID(high: 5, low: 5)
    let second = DeviceID(high: 0, low: 2)
    var operations = [first]
    operations.append(try write(state(operations).acknowledgement(by: second, record: record), device: 2, sequence: 1, at: 2_000))
    operations.append(try write(state(operations).escalation(to: .family, record: record), device: 1, sequence: 2, at: 3_000))
    operations.append(try write(state(operations).telling(contact, record: record), device: 1, sequence: 3, at: 4_000))
    let known = state(operations)
    #expect(known.acknowledgements.map(\.device) == [second])
    #expect(known.stages == [.family] && known.told == [contact])
    #expect(known.acknowledgement(by: second, record: record) == nil, "once is enough")
    #expect(known.escalation(to: .family, record: record) == nil && known.telling(contact, record: record) == nil)
    let resolution = known.resolution(record: record)
    #expect(resolution.map(\.field) == ["active", "acknowledged", "escalated", "told"])
    for (index, draft) in resolution.enumerated() { operations.append(try write(draft, device: 2, sequence: UInt64(2 + index), at: 5_000)) }
    let after = state(operations)
    #expect(!after.isActive && after.acknowledgements.isEmpty && after.stages.isEmpty && after.told.isEmpty)
    #expect(after.acknowledgement(by: second, record: record) == nil && after.leading == nil)
    #expect(after.resolution(record: record).isEmpty)
  }

  @Test("a late acknowledgement of a resolved crisis does not count for the next one")
  func lateAcknowledgement() throws {
    let first = activation(.severe, device: 1, at: 1_000)
    let late = try write(state([first]).acknowledgement(by: DeviceID(high: 0, low: 2), record: record), device: 2, sequence: 1, at: 2_000)
    let resolve = try write(state([first]).resolution(record: record).first, device: 1, sequence: 2, at: 2_500)
    let next = activation(.severe, device: 1, sequence: 3, at: 3_000)
    #expect(state([first, resolve, next, late]).acknowledgements.isEmpty)
  }
}
