import Causality
import ConflictResolution
import Crisis
import Replica
import Stores
import Testing
import Therapy

/// Several devices that count by themselves, in virtual time.
@Suite("Escalation")
struct EscalationTests {
  private static let devices = (1...3).map { DeviceID(high: 0, low: UInt64($0)) }
  private let record = RecordID(high: 9, low: 9)
  private let second: UInt64 = 1_000_000_000

  /// A crisis that device 2 raised.
  private func crisis(_ level: CrisisLevel = .severe, acknowledged: [Int] = [], taken: [EscalationStage] = [], after: UInt64 = 0) -> CrisisState {
    var (state, hash, sequences) = (RecordState(id: record, kind: "crisis"), StateHash(), [Self.devices[1]: after])
    func write(_ draft: Draft?, _ device: DeviceID) {
      guard let draft else { return }
      sequences[device, default: 0] += 1
      let stream = StreamID(device: device, incarnation: Incarnation(rawValue: 1), lane: .crisis)
      state.apply(
        Operation(
          stream: stream, sequence: sequences[device] ?? 1, timestamp: Timestamp(milliseconds: 1_000), record: record, kind: draft.kind, field: draft.field,
          mutation: draft.mutation, replaces: draft.replaces ?? []), hasArrived: { _ in true }, hash: &hash)
    }
    write(CrisisState.activation(level, source: "person", record: record), Self.devices[1])
    for device in acknowledged { write(CrisisState(state).acknowledgement(by: Self.devices[device], record: record), Self.devices[device]) }
    for stage in taken { for draft in CrisisState(state).escalation(to: stage, record: record) { write(draft, Self.devices[0]) } }
    return CrisisState(state)
  }

  /// When a device takes its first stage, in whole seconds after it saw the crisis; `nil` within five minutes.
  private func takes(_ own: Int, _ crisis: CrisisState, here: Set<Int>) -> Int? {
    var watch = CrisisWatch()
    for elapsed in 0...300 {
      let now = Moment(wall: 1_000, uptime: UInt64(elapsed) * second)
      _ = watch.follow(crisis, now) { nil }
      let duties = watch.look(
        crisis, contacts: [], own: Self.devices[own], others: Self.devices.filter { $0 != Self.devices[own] },
        isHere: { device in here.contains { Self.devices[$0] == device } }, now: now)
      if !duties.isEmpty { return elapsed }
      if let due = watch.due { #expect(due > now.uptime) }
    }
    return nil
  }

  @Test("the raiser comes first; another takes over when it is not there, and one more after that")
  func order() {
    #expect(takes(1, crisis(), here: [0, 2]) == 60)
    #expect(takes(0, crisis(), here: [1, 2]) == 65 && takes(2, crisis(), here: [0, 1]) == 70)
    #expect(takes(0, crisis(), here: [2]) == 60 && takes(2, crisis(), here: [0]) == 65, "the raiser died")
    #expect(takes(2, crisis(), here: []) == 60, "alone")
  }

  @Test("emergency after 30 s; half of the devices stop it; what was taken is not taken again")
  func rules() {
    #expect(takes(1, crisis(.emergency), here: [0, 2]) == 30)
    #expect(takes(1, crisis(acknowledged: [0]), here: []) == 60)
    #expect(takes(1, crisis(acknowledged: [0, 2]), here: []) == nil)
    #expect(takes(1, crisis(taken: [.family]), here: []) == 120)
    #expect(takes(1, crisis(taken: [.family, .contacts]), here: []) == nil)
    #expect(takes(1, crisis(.moderate), here: []) == nil)
  }

  /// When a device tells each contact, in whole seconds after it saw the crisis.
  private func tells(_ own: Int, _ crisis: CrisisState, here: Set<Int>) -> [String: Int] {
    func contact(_ name: String, _ number: UInt64, _ consent: AlertConsent, links: [String] = ["a"]) -> SafetyPlan.Contact {
      .init(record: RecordID(high: 0, low: number), name: name, phone: "", isPrimary: false, consent: consent, links: links)
    }
    let contacts = [
      contact("prompt", 1, .prompt), contact("unanswered", 2, .unanswered), contact("never", 3, .never),
      contact("uninvited", 4, .prompt, links: []),
    ]
    var (watch, found) = (CrisisWatch(), [String: Int]())
    for elapsed in 0...100 {
      let now = Moment(wall: 1_000, uptime: UInt64(elapsed) * second)
      _ = watch.follow(crisis, now) { nil }
      let duties = watch.look(
        crisis, contacts: contacts, own: Self.devices[own], others: Self.devices.filter { $0 != Self.devices[own] },
        isHere: { device in here.contains { Self.devices[$0] == device } }, now: now)
      for case .tell(let id) in duties {
        let name = contacts.first { $0.record == id }?.name ?? "?"
        if found[name] == nil { found[name] = elapsed }
      }
      if duties.contains(.take(.family)) { watch.noteTaken(.family) }
    }
    return found
  }

  @Test("contacts are told after ten seconds by the raiser, after fifteen by the next; some only when nobody answers")
  func alerts() {
    #expect(tells(1, crisis(), here: [0, 2]) == ["prompt": 10, "unanswered": 61])
    #expect(tells(0, crisis(), here: [1, 2]) == ["prompt": 15, "unanswered": 66])
    #expect(tells(1, crisis(acknowledged: [0, 2]), here: []) == ["prompt": 10], "acknowledged: the others are spared")
    #expect(tells(1, crisis(.moderate), here: []) == [:])
  }

  @Test("who takes a crisis in later counts from the key that raised it, whichever it learns first; saying now does not wait, and holds for this crisis alone")
  func fromTheKey() throws {
    let crisis = crisis()
    let activation = try #require(crisis.leading?.id)
    let contact = SafetyPlan.Contact(record: RecordID(high: 0, low: 1), name: "Jo", phone: "", isPrimary: false, consent: .prompt, links: ["a"])
    func look(_ watch: inout CrisisWatch, _ crisis: CrisisState, at seconds: UInt64, told: Set<RecordID> = []) -> [CrisisWatch.Duty] {
      let now = Moment(wall: 100_000, uptime: seconds * second)
      return watch.look(crisis, contacts: [contact], told: told, own: Self.devices[1], others: [], isHere: { _ in false }, now: now)
    }
    for isEarly in [true, false] {
      var watch = CrisisWatch()
      if isEarly { watch.noteRaised(activation, at: 20 * second) }
      let kept = try #require(watch.follow(crisis, Moment(wall: 100_000, uptime: 28 * second)) { nil })
      #expect(kept.wall == (isEarly ? 92_000 : 100_000))
      if !isEarly { watch.noteRaised(activation, at: 20 * second) }
      #expect(look(&watch, crisis, at: 29).isEmpty && watch.alert.milliseconds == 1_000)
      #expect(look(&watch, crisis, at: 30) == [.tell(contact.record)])
      #expect(look(&watch, crisis, at: 31, told: [contact.record]).isEmpty, "told, whatever the store has")
    }
    var watch = CrisisWatch()
    _ = watch.follow(crisis, Moment(wall: 100_000, uptime: 20 * second)) { nil }
    watch.sayNow([activation])
    #expect(watch.isSaidNow(crisis) && look(&watch, crisis, at: 20) == [.tell(contact.record)])
    // What is raised after it is another decision, also where what was said came too late for anybody.
    let next = self.crisis(after: 1)
    _ = watch.follow(CrisisState(nil), Moment(wall: 100_000, uptime: 21 * second)) { nil }
    watch.sayNow([activation])
    _ = watch.follow(next, Moment(wall: 100_000, uptime: 22 * second)) { nil }
    #expect(!watch.isSaidNow(next) && look(&watch, next, at: 22).isEmpty)
  }

  @Test("a restart goes on where it was; a clock set back begins again, and never stops it")
  func restart() throws {
    let crisis = crisis()
    var watch = CrisisWatch()
    let wall: UInt64 = 1_790_000_000_000
    let kept = try #require(watch.follow(crisis, Moment(wall: wall, uptime: 0)) { nil })
    for (later, waits) in [(wall + 40_000, UInt64(20)), (wall - 315_576_000_000, 60), (wall, 60)] {
      var again = CrisisWatch()
      #expect(again.follow(crisis, Moment(wall: later, uptime: 0)) { kept } == nil)
      #expect(again.look(crisis, contacts: [], own: Self.devices[1], others: [], isHere: { _ in false }, now: Moment(wall: later, uptime: 0)).isEmpty)
      #expect(again.due == waits * second)
    }
    var late = CrisisWatch()
    _ = late.follow(crisis, Moment(wall: wall + 90_000, uptime: 0)) { kept }
    #expect(late.look(crisis, contacts: [], own: Self.devices[1], others: [], isHere: { _ in false }, now: Moment(wall: 0, uptime: 0)) == [.take(.family)])
  }
}

@Suite("Giving way")
struct GivingWayTests {
  @Test("in a crisis an ordinary step earns a rest as long as it took, at most 20 ms; nothing else does")
  func rests() {
    let stream = RelayStream(tag: BlindTag(high: 1, low: 1), channel: Channel(.bulk))
    let crisis = RelayStream(tag: BlindTag(high: 1, low: 1), channel: Channel(.crisis))
    func rest(_ effect: ReplicaEffect, inCrisis: Bool = true, took: UInt64 = 5_000_000) -> UInt64? {
      var giving = GivingWay()
      giving.note(effect, inCrisis: inCrisis, began: 100, now: 100 + took)
      return giving.rest(100 + took)
    }
    #expect(rest(.read(stream, from: .start)) == 5_000_000 && rest(.cut(.ordinary, counted: true)) == 5_000_000)
    #expect(rest(.append(Channel(.session), after: 1, operations: 1), took: 90_000_000) == 20_000_000)
    #expect(rest(.read(stream, from: .start), inCrisis: false) == nil)
    for effect: ReplicaEffect in [.read(crisis, from: .start), .append(Channel(.crisis), after: 0, operations: 0), .append(.membership, after: 0, operations: 0), .survey] {
      #expect(rest(effect) == nil)
    }
    var giving = GivingWay()
    giving.note(.read(stream, from: .start), inCrisis: true, began: 0, now: 9)
    giving.end()
    #expect(giving.rest(9) == nil, "news ended it")
  }
}
