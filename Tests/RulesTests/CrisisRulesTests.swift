import Crisis
import Testing

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
    typealias Agreed = [(id: String, consent: AlertConsent)]
    let agreed: Agreed = [("a", .prompt), ("b", .prompt), ("a", .prompt), ("c", .never), ("d", .unanswered)]
    for level in CrisisLevel.allCases {
      for isUnanswered in [false, true] {
        for (elapsed, saidNow, rank) in [(UInt64(0), false, 0), (9_999, false, 0), (10_000, false, 0), (0, true, 2), (14_999, false, 1), (15_000, false, 1)] {
          let due: UInt64 = rank == 1 ? 15_000 : 10_000
          let found = CrisisAlert.decide(
            level: level, elapsed: elapsed, saidNow: saidNow, rank: rank, isUnanswered: isUnanswered, agreed: agreed, told: ["b"])
          let expected = level < .severe ? [] : isUnanswered ? ["a", "d"] : ["a"]
          let isTime = saidNow || elapsed >= due
          #expect(found.now == (isTime ? expected : []) && found.later == (isTime ? [] : expected))
          #expect(found.milliseconds == (isTime || expected.isEmpty ? nil : due - elapsed))
        }
      }
    }
    let nobody = CrisisAlert.decide(
      level: .emergency, elapsed: 0, saidNow: false, rank: 0, isUnanswered: true, agreed: [("c", AlertConsent.never)], told: [])
    #expect(nobody.now.isEmpty && nobody.later.isEmpty && nobody.milliseconds == nil, "nothing to wait for")
    #expect(AlertConsent.allCases.map(\.rawValue) == ["no", "unanswered", "yes"])
  }

  @Test("what became of a crisis is said with the reason that is known; that it is tried again, only where it is")
  func deliveryWords() {
    var delivery = CrisisDelivery()
    delivery.disk = .done
    #expect(delivery.text.contains("has not answered yet") && !delivery.text.contains("cannot be reached"))
    delivery.relay = .failed(code: "relay.unreachable")
    #expect(delivery.text.contains("The relay cannot be reached") && delivery.textWhileTrying == delivery.text)
    delivery.relay = .failed(code: CrisisDelivery.relayFull)
    #expect(delivery.text.contains("The relay's disk is full") && !delivery.text.contains("cannot be reached"))
    (delivery.disk, delivery.relay) = (.failed(code: "storage.disk-full"), .done)
    #expect(!delivery.text.contains("try") && !delivery.text.contains("tried") && delivery.textWhileTrying.contains("tried again"))
  }

  @Test("an alert holds a name and nothing else")
  func alertText() {
    #expect(CrisisAlert.text(person: "Maya") == "Maya asked for support. Please get in touch with them now.")
  }
}

@Suite("Crisis card and levels")
struct CrisisCardTests {
  @Test("the card has help lines for every region and fits 80 columns", arguments: HelpLines.regions.map(\.name) + [""])
  func card(region: String) {
    let text = CrisisCard.text(for: HelpLines.region(named: region))
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 79 })
    #expect(text.contains("112") || text.contains("911"))
    #expect(!text.contains("press 3"), "ended on 17 July 2025")
  }

  @Test("the card says all of it: not alone, five steps, what it is and what it never does")
  func wholeCard() {
    let lines = CrisisCard.text(for: nil).split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    #expect(lines.first?.hasPrefix("You are not alone") == true)
    #expect(CrisisCard.steps.first == "RIGHT NOW")
    #expect(CrisisCard.steps.dropFirst().map { $0.prefix(4) } == (1...5).map { "  \($0) " })
    #expect(lines.filter(\.isEmpty).count == 4, "opening, help, steps and closing stand apart")
    #expect(lines.contains { $0.contains("not a diagnosis") } && lines.contains { $0.contains("never dials") })
    #expect(Set(CrisisCard.steps).count == 6)
    #expect(HelpLines.regions.map { CrisisCard.helpLines(for: $0).count } == [5, 3, 3, 2])
    #expect(CrisisCard.helpLines(for: nil).count == 3)
  }

  @Test("every member state of the European Union has a number, by code and by locale")
  func europe() {
    let codes = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split(separator: " ")
    #expect(codes.count == 27)
    for code in codes {
      #expect(HelpLines.region(named: String(code))?.lines.contains { $0.contains("112") } == true, "\(code)")
      #expect(HelpLines.region(ofLocale: "xx_\(code).UTF-8") != nil)
    }
    #expect(HelpLines.region(named: "Canada")?.territories == ["CA"] && HelpLines.region(named: "us")?.name == "United States")
    #expect(HelpLines.region(named: "GB") == HelpLines.region(named: "UK") && HelpLines.region(named: "Atlantis") == nil)
    for region in HelpLines.regions { #expect(region.source.contains("checked 20")) }
  }

  @Test("the region follows the locale", arguments: [("en_US.UTF-8", "United States"), ("de_AT", "European Union"), ("en_GB@euro", "United Kingdom and Ireland"), ("C.UTF-8", nil), ("", nil), ("en_CA", "Canada")])
  func regions(locale: String, name: String?) { #expect(HelpLines.region(ofLocale: locale)?.name == name) }

  @Test("levels have names and an order")
  func levels() {
    #expect(CrisisLevel(name: "SEVERE") == .severe)
    #expect(CrisisLevel(name: "bad") == nil)
    #expect(CrisisLevel.allCases == CrisisLevel.allCases.sorted())
    #expect(CrisisLevel.allCases.map(\.name) == ["none", "mild", "moderate", "severe", "emergency"])
    for level in CrisisLevel.allCases { #expect(!(level < level) && CrisisLevel(name: level.name) == level) }
    for stage in EscalationStage.allCases { #expect(!(stage < stage)) }
    for risk in ColumbiaScreener.Risk.allCases { #expect(!(risk < risk)) }
  }
}
