import Causality
import Crisis
import Foundation
import Relays
import Replica
import Sealing
import Simulation
import Storage
import Stores
import Synchronization
import Testing
import Therapy

/// Two real devices: real stores, real sealing, real threads, a folder between them.
@Suite("Two devices", .serialized)
struct ReplicationTests {
  final class Device {
    let store: Store
    let driver: ReplicaDriver
    let reports: Mutex<[ReplicaReport]>
    var actions: Actions { Actions(store) }

    init(_ store: Store, relay: any Relay) throws {
      self.store = store
      let reports = Collected()
      var observer = ReplicaDriver.Observer()
      observer.report = { report, _ in reports.list.withLock { $0.append(report) } }
      driver = try ReplicaDriver(store: store, relay: relay, relayName: "test", tier: .selfHosted, observer: observer)
      self.reports = Mutex([])
      collected = reports
      driver.start()
    }
    private let collected: Collected
    var seen: [ReplicaReport] { collected.list.withLock { $0 } }
    deinit { driver.stop(waitingAtMost: 2_000) }
  }

  final class Collected: Sendable { let list = Mutex<[ReplicaReport]>([]) }

  private let sandbox: Sandbox
  private let relayPath: String
  private var a: Device
  private var b: Device

  init() throws {
    sandbox = try Sandbox()
    relayPath = sandbox.path + "/relay"
    let first = try sandbox.newStore()
    let second = try sandbox.join(first, "b")
    a = try Device(first, relay: try sandbox.relay(first))
    b = try Device(second, relay: try sandbox.relay(second))
  }

  private func agree() throws -> Bool {
    let (one, other) = (try a.store.stateHash(), try b.store.stateHash())
    guard one == other else { return false }
    return try [a, b].allSatisfy { try $0.store.read { try $0.pendingCounts() }.isEmpty }
  }

  @Test("a change made on one is on the other, and the other way round")
  func travels() throws {
    let id = try a.actions.add(kind: "check-in", ["mood=7", "gratitudes=the sun"])
    #expect(try eventually { try b.store.read { try $0.record(id) }?.integer("mood") == 7 })
    try b.actions.set(id, ["mood=8"])
    #expect(try eventually { try a.store.read { try $0.record(id) }?.integer("mood") == 8 })
    #expect(try eventually { try agree() })
  }

  @Test("what another process saved reaches the relay without the exchanging one, which then only compares the end")
  func courier() throws {
    a.driver.stop(waitingAtMost: 2_000)
    let plain = try sandbox.relay(a.store)
    let actions = Actions(a.store, courier: Courier { plain })
    let id = try actions.add(kind: "journal", ["title=one"])
    for number in 2...5 { try actions.set(id, ["title=\(number)"]) }
    #expect(try eventually { try b.store.read { try $0.record(id) }?.text("title") == "5" }, "nobody exchanges for this device")
    let again = try Device(a.store, relay: try sandbox.relay(a.store))
    #expect(eventually { again.seen.contains(.idle(settled: true, complete: true)) })
    for number in 6...40 { try actions.set(id, ["title=\(number)"]) }
    #expect(try eventually { try b.store.read { try $0.record(id) }?.text("title") == "40" })
    #expect(try eventually { try agree() })
    #expect(!again.seen.contains(.healed(Channel(.bulk))), "nothing had to be written anew")
  }

  @Test("a relay that hangs keeps nobody: the change is saved, and said to be on its way")
  func hangingRelay() throws {
    let gate = DispatchSemaphore(value: 0)
    let courier = Courier { () throws -> FolderRelay in
      gate.wait()
      throw RelayError.full
    }
    let began = SystemClock.now.uptime
    let change = try Actions(a.store, courier: courier).activateCrisis(.severe, source: "person")
    #expect(!change.isAtRelay)
    #expect(SystemClock.now.uptime - began < 5_000_000_000)
    #expect(try eventually { CrisisState(try b.store.read { try $0.record(b.actions.crisisRecord) }).isActive }, "the agent took it")
    gate.signal()
  }

  @Test("an answer of somebody who was asked is taken up by the device that asked, and by others once that one is away")
  func review() throws {
    a.driver.stop(waitingAtMost: 2_000)
    let plain = try sandbox.relay(a.store)
    let network = ConditionedRelay(plain, seed: 1)
    var asking: Device? = try Device(a.store, relay: network)
    func ask() throws -> (id: RecordID, box: ReviewBox) {
      let id = a.actions.newRecordID()
      _ = try a.actions.commit(["one", "two"].map { Draft(record: id, kind: "journal", field: "title", mutation: .set(.text($0)), lane: .ordinary, replaces: []) })
      let link = try #require(try a.actions.ask(["Jo"], as: "Kim", about: id, field: "title", relay: plain).first.flatMap { SecretLink($0.link) })
      asking?.driver.send(.sync)
      #expect(try eventually { try b.actions.review(of: id, field: "title") != nil })
      return (id, ReviewBox(link))
    }
    func answer(_ box: ReviewBox) throws {
      var random = SystemRandomNumberGenerator()
      try plain.putMail(box.seal(keeping: 1, using: &random), mailbox: box.mailbox, slot: ReviewBox.answer)
    }
    func made(_ device: Device) throws -> Int { try SnapshotBuilder.fromStore(device.store, relay: "").decisions.made }
    let first = try ask()
    network.condition.isPartitioned = true
    try answer(first.box)
    // The other device looks every three seconds, and leaves it alone: the one that asked was here a moment ago.
    Thread.sleep(forTimeInterval: 3.5)
    #expect(try made(b) == 0)
    network.condition.isPartitioned = false
    asking?.driver.send(.sync)
    #expect(try eventually { try made(b) == 1 && made(a) == 1 && agree() })
    let second = try ask()
    asking = nil
    try answer(second.box)
    #expect(try eventually { try made(b) == 2 && b.actions.conflicts(of: second.id).isEmpty }, "nobody takes it up")
  }

  @Test("colliding edits become one conflict with the same provisional value; the choice settles it on both")
  func conflict() throws {
    let id = try a.actions.add(kind: "assessment", ["instrument=phq9", "item9=1"])
    #expect(try eventually { try b.store.read { try $0.record(id) } != nil })
    a.driver.send(.perform { try $0.set(id, ["item9=3"]) })
    b.driver.send(.perform { try $0.set(id, ["item9=0"]) })
    #expect(try eventually { try agree() && a.store.read { try $0.record(id)?["item9"]?.dots.count ?? 0 } >= 1 })
    let record = try #require(try a.store.read { try $0.record(id) })
    // Whether they really collided depends on the threads; what is shown must be safe in either case.
    if let open = record.openConflicts.first {
      #expect(open.chosen?.value == .integer(3))
      try a.actions.resolve(id, field: "item9", keeping: try #require(open.chosen).id)
      #expect(try eventually { try b.store.read { try $0.record(id) }?.openConflicts.isEmpty == true })
    }
  }

  @Test("a crisis raised on one is on the other, and resolving it too")
  func crisis() throws {
    _ = try a.actions.activateCrisis(.severe, source: "person")
    let crisisRecord = b.actions.crisisRecord
    func state(_ device: Device) throws -> CrisisState { CrisisState(try device.store.read { try $0.record(crisisRecord) }) }
    #expect(try eventually { try state(b).level == .severe })
    _ = try b.actions.resolveCrisis()
    #expect(try eventually { try !state(a).isActive })
  }

  @Test("an acknowledgement is on both, and what was known about a crisis leaves with it")
  func acknowledgement() throws {
    _ = try a.actions.activateCrisis(.severe, source: "person")
    #expect(try eventually { try b.actions.crisisState().isActive })
    _ = try b.actions.acknowledgeCrisis()
    #expect(try eventually { try a.actions.crisisState().acknowledgements.map(\.device) == [b.store.ring.device] })
    #expect(try b.actions.acknowledgeCrisis() == nil, "once is enough")
    _ = try a.actions.resolveCrisis()
    #expect(try eventually { try !b.actions.crisisState().isActive && b.actions.crisisState().acknowledgements.isEmpty })
  }

  @Test("two devices that want to take the same stage: the second sees that it was taken")
  func oneStage() throws {
    _ = try a.actions.activateCrisis(.emergency, source: "person")
    #expect(try eventually { try b.actions.crisisState().isActive })
    #expect(try a.actions.escalate(to: .family, pinging: nil))
    #expect(try !a.actions.escalate(to: .family, pinging: nil))
    #expect(try eventually { try b.actions.crisisState().stages == [.family] })
    #expect(try !b.actions.escalate(to: .family, pinging: nil))
    #expect(try b.actions.escalate(to: .contacts, pinging: nil))
    #expect(try eventually { try a.actions.crisisState().stages == [.family, .contacts] })
  }

  @Test("a crisis does not wait for a newcomer's catch-up")
  func crisisDuringCatchUp() throws {
    b.driver.stop(waitingAtMost: 2_000)
    let drafts = (0..<40_000).map { Draft(record: RecordID(high: 6, low: UInt64($0 / 4)), kind: "check-in", field: "mood", mutation: .set(.integer(5)), lane: .ordinary) }
    for start in stride(from: 0, to: drafts.count, by: 1_000) { _ = try a.actions.commit(Array(drafts[start..<start + 1_000])) }
    #expect(try eventually { try a.store.read { try $0.pendingCounts() }.isEmpty })
    let again = try Device(b.store, relay: try sandbox.relay(b.store))
    #expect(eventually { !again.seen.isEmpty && again.seen.contains { if case .applied = $0 { true } else { false } } })
    _ = try a.actions.activateCrisis(.severe, source: "person")
    let record = a.actions.crisisRecord
    #expect(try eventually { CrisisState(try again.store.read { try $0.record(record) }).isActive })
    let device = a.store.ring.device
    func there() throws -> UInt64 {
      try again.store.read { try $0.allHeads(of: device, channel: Channel(.ordinary)) }.values.joined().reduce(0) { $0 + $1.applied }
    }
    #expect(try there() < 40_000, "the crisis came after everything else")
    #expect(try eventually { try there() == 40_000 })
  }

  @Test("a session moves: one owner at the end, and no second of it is lost")
  func handoff() throws {
    let id = try a.actions.startSession("breathing")
    _ = try a.actions.progress(id, to: 42.5)
    a.driver.send(.offer(id, to: b.store.ring.device))
    #expect(try eventually { try a.actions.session(id)?.owner == b.store.ring.device })
    let there = try #require(try b.actions.session(id))
    #expect(there.owner == b.store.ring.device && there.elapsed >= 42.5 && there.elapsed < 60 && there.fence == 2)
    #expect(try !a.actions.progress(id, to: 50), "a late owner writes nothing")
  }

  @Test("a folder that other machines write to tells of nothing: it is asked")
  func untold() throws {
    for device in [a, b] { device.driver.stop(waitingAtMost: 2_000) }
    let devices = try [a, b].map { try Device($0.store, relay: try sandbox.relay($0.store, isTold: false)) }
    let id = try devices[0].actions.add(kind: "journal", ["title=over there"])
    #expect(try eventually { try devices[1].store.read { try $0.record(id) } != nil })
    _ = try devices[1].actions.activateCrisis(.severe, source: "person")
    #expect(try eventually { try devices[0].actions.crisisState().isActive })
    let later = try devices[0].actions.add(kind: "journal", ["title=during it"])
    #expect(try eventually { try devices[1].store.read { try $0.record(later) } != nil }, "also while a crisis keeps the driver awake")
  }

  @Test("a relay that was deleted is made again by nobody but the person, and filled again from the logs")
  func deletedRelay() throws {
    let id = try a.actions.add(kind: "journal", ["title=before"])
    #expect(try eventually { try b.store.read { try $0.record(id) } != nil })
    // Renamed away in one step: removing file by file would race with the devices that heal it.
    try FileManager.default.moveItem(atPath: relayPath, toPath: relayPath + "-gone")
    #expect(eventually { a.seen.contains { if case .relayLost = $0 { true } else { false } } })
    #expect(!FileManager.default.fileExists(atPath: relayPath))
    _ = try FolderRelay.make(at: relayPath)
    let later = try b.actions.add(kind: "journal", ["title=after"])
    #expect(try eventually { try a.store.read { try $0.record(later) } != nil })
    #expect(try eventually { try agree() })
    let newcomer = try sandbox.join(a.store, "c")
    let c = try Device(newcomer, relay: try sandbox.relay(newcomer))
    #expect(try eventually { try c.store.stateHash() == a.store.stateHash() }, "the whole history is on the relay again")
  }

  @Test("a changed byte changes no state, is reported, and is healed by its writer")
  func changedByte() throws {
    for index in 0..<6 { _ = try a.actions.add(kind: "journal", ["title=\(index)"]) }
    #expect(try eventually { try agree() })
    b.driver.stop(waitingAtMost: 2_000)
    let before = try b.store.stateHash()
    let account = try #require(try FileManager.default.contentsOfDirectory(atPath: relayPath).first { $0.count == 32 })
    let file = "\(relayPath)/\(account)/\(a.store.tag.bytes.hexadecimal)/3.log"
    var bytes = try #require(FileManager.default.contents(atPath: file))
    bytes[bytes.count / 2] ^= 0xFF
    try bytes.write(to: URL(fileURLWithPath: file))
    #expect(eventually { a.seen.contains { if case .healed = $0 { true } else { false } } })
    #expect(try b.store.stateHash() == before)
    let healed = try #require(FileManager.default.contents(atPath: file))
    #expect(healed != bytes)
  }
}

@Suite("An older copy of a store")
struct RewindTests {
  /// A disk image from yesterday is started: what it had sent since comes back from the relay, and
  /// what it writes before it notices keeps its content under other numbers.
  @Test("takes back what it wrote, loses nothing, and uses no number twice")
  func oldImage() throws {
    let sandbox = try Sandbox()
    let store = try sandbox.newStore()
    let memory = MemoryRelay()
    try exchange(store, memory)
    _ = try Actions(store).add(kind: "journal", ["title=yesterday"])
    try exchange(store, memory)
    store.close()
    try FileManager.default.copyItem(atPath: store.home.path, toPath: sandbox.path + "/copy")
    let original = try Store.open(at: store.home) { nil }
    let sent = try Actions(original).add(kind: "journal", ["title=sent and forgotten"])
    try exchange(original, memory)
    let copy = try Store.open(at: sandbox.home("copy")) { nil }
    #expect(try copy.continuity() == .copied)
    var random = SystemRandomNumberGenerator()
    let id = RecordID(high: 4, low: 4)
    let draft = Draft(record: id, kind: "journal", field: "title", mutation: .set(.text("written today")), lane: .ordinary)
    _ = try copy.write { transaction in try transaction.withLedger { try $0.commit([draft], by: copy.ring.device, wall: 5, using: &random) } }
    try exchange(copy, memory)
    #expect(try copy.read { try $0.record(sent) }?.text("title") == "sent and forgotten")
    #expect(try copy.read { try $0.record(id) }?.text("title") == "written today")
    let heads = try copy.read { try $0.allHeads(of: copy.ring.device, channel: Channel(.ordinary)) }
    #expect(heads.count == 2 && heads.values.allSatisfy { $0.count == 1 && $0[0].applied == $0[0].batched }, "a life of its own, and no fork")
  }

  private func exchange(_ store: Store, _ memory: MemoryRelay) throws {
    var performer = try EffectPerformer(store: store, relay: memory.connection(of: store.tag), ring: store.ring, run: .random(in: 1 ... .max))
    var random = SystemRandomNumberGenerator()
    var replica = Replica(device: store.ring.device, try performer.beginning(), now: SystemClock.now)
    var events: [ReplicaEvent] = [.timer]
    while !replica.isSettled || !events.isEmpty {
      for effect in replica.handle(events.popLast() ?? .timer, now: SystemClock.now, using: &random) {
        if let answer = try performer.perform(effect, now: SystemClock.now, using: &random) { events.append(answer) }
      }
      if events.isEmpty, !replica.isSettled { Thread.sleep(forTimeInterval: 0.01) }
    }
  }
}
