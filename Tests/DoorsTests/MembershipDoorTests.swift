import Causality
import Foundation
import Relays
import Replica
import Sealing
import Simulation
import Storage
import Stores
import Testing
import Therapy

/// What a device does about who belongs to the account, with real stores.
@Suite("Letting in, taking back, and looking for strangers")
struct MembershipDoorTests {
  private let sandbox: Sandbox
  private let memory = MemoryRelay()

  init() throws { sandbox = try Sandbox() }

  private func performer(_ store: Store) throws -> EffectPerformer<Store> {
    try EffectPerformer(store: store, relay: memory.connection(of: store.tag), ring: store.ring, run: 1)
  }

  /// One hears what another one has said.
  private func hear(_ said: [[UInt8]], _ performer: inout EffectPerformer<Store>) throws {
    let known = performer.members.log
    try performer.store.write { transaction in
      for entry in said where !known.contains(entry) { try transaction.appendMembership(entry) }
    }
    _ = try performer.reloadMembers()
  }

  @Test("who let a device in second takes back its own; that it is out is said once nobody's admission stands", arguments: [true, false])
  func takingBack(isFirst: Bool) throws {
    let store = try sandbox.newStore()
    let second = try sandbox.join(store, "b")
    var random = SystemRandomNumberGenerator()
    let keys = try DeviceKeys(using: &random)
    let certificate = DeviceCertificate(device: DeviceID(using: &random), name: "c", kind: "phone", keys: keys, created: 1)
    let (signature, device) = (try certificate.signedBy(keys), certificate.device)
    var one = try performer(isFirst ? store : second)
    var other = try performer(isFirst ? second : store)
    try one.admit(certificate, signature: signature, now: SystemClock.now, using: &random) { _, _ in }
    try hear(one.members.log, &other)
    try other.admit(certificate, signature: signature, now: SystemClock.now, using: &random) { _, _ in }
    try hear(other.members.log, &one)
    // The one that came second takes its admission back first.
    let isOutAtOnce = try other.retract(device, now: SystemClock.now, using: &random) { _ in }
    #expect(!isOutAtOnce, "it still belongs, and nobody says otherwise")
    #expect(other.members.devices.contains(device) && !other.members.hasAdmitted(device, by: other.store.ring.device))
    let length = other.members.log.count
    let isOutAgain = try other.retract(device, now: SystemClock.now, using: &random) { _ in }
    #expect(!isOutAgain)
    #expect(other.members.log.count == length, "it is said once")
    try hear(other.members.log, &one)
    let isOut = try one.retract(device, now: SystemClock.now, using: &random) { _ in }
    #expect(isOut)
    #expect(!one.members.devices.contains(device))
    try hear(one.members.log, &other)
    #expect(!other.members.devices.contains(device))
  }

  @Test("a device that is let in again is given the account again; one that was taken back is not told that it belongs")
  func again() throws {
    let store = try sandbox.newStore()
    var random = SystemRandomNumberGenerator()
    let keys = try DeviceKeys(using: &random)
    let certificate = DeviceCertificate(device: DeviceID(using: &random), name: "c", kind: "phone", keys: keys, created: 1)
    let signature = try certificate.signedBy(keys)
    var one = try performer(store)
    var given: [[[UInt8]]] = []
    for _ in 0..<2 {
      try one.admit(certificate, signature: signature, now: SystemClock.now, using: &random) { _, membership in given.append(membership) }
    }
    #expect(given.count == 2 && given[0] == given[1] && one.members.log == given[0])
    let isOut = try one.retract(certificate.device, now: SystemClock.now, using: &random) { _ in }
    #expect(isOut)
    #expect(throws: SealingError.badMembership) {
      try one.admit(certificate, signature: signature, now: SystemClock.now, using: &random) { _, membership in given.append(membership) }
    }
    #expect(given.count == 2, "nothing was handed over")
  }

  /// Puts folders with names before all others on the relay, with something in them that is no frame.
  private func litter(_ count: Int) throws {
    for number in 1...count {
      let tag = BlindTag(high: 0, low: UInt64(number))
      for channel in [Channel(.crisis), .membership] {
        try memory.connection(of: tag).appendAnyway([[1, 2, 3]], to: RelayStream(tag: tag, channel: channel))
      }
    }
  }

  @Test("folders that somebody made hide no device that has something to say about a crisis, and is known to nobody here")
  func strangers() throws {
    let first = try sandbox.newStore()
    let second = try sandbox.join(first, "b")
    let third = try sandbox.join(second, "c")
    let one = try performer(first)
    try litter(200)
    let before = try one.relay.survey()
    #expect(!one.hasStrangers(in: before), "there is nobody yet")
    // What only the second has let in makes itself known, and writes about a crisis.
    var random = SystemRandomNumberGenerator()
    let newcomer = try performer(third)
    let introduction = newcomer.members.introduction(of: third.ring.device)
    #expect(introduction.count == 3)
    let draft = Draft(record: RecordID(high: 4, low: 4), kind: "journal", field: "title", mutation: .set(.text("x")), lane: .crisis)
    try third.write { transaction in
      let cutter = BatchCutter(ring: third.ring)
      for entry in introduction { try cutter.file(membership: entry, in: &transaction, using: &random) }
      _ = try transaction.withLedger { try $0.commit([draft], by: third.ring.device, wall: 5, using: &random) }
      _ = try cutter.cut(.crisis, in: &transaction, using: &random)
    }
    for channel in [Channel(.crisis), .membership] {
      let frames = try third.read { try $0.ownBatches(channel, after: 0, limit: 64).map(\.batch.frame) }
      #expect(!frames.isEmpty)
      try newcomer.relay.appendAnyway(frames, to: RelayStream(tag: third.tag, channel: channel))
    }
    let survey = try one.relay.survey()
    #expect(one.hasStrangers(in: survey))
    let acquainted = one.acquainted(with: survey)
    #expect(acquainted.tags[third.tag] == third.ring.device)
    #expect(!acquainted.hasStrangers(in: survey))
    var met = one
    met.meet(survey, limit: SystemClock.now.wall)
    #expect(met.tags[third.tag] == third.ring.device)
  }

  @Test("where more folders lie than are looked at, nobody says that there is no stranger")
  func moreThanIsLookedAt() throws {
    let one = try performer(try sandbox.newStore())
    try litter(Limits.strangersRead)
    let asMany = try one.relay.survey()
    #expect(!one.hasStrangers(in: asMany))
    let tag = BlindTag(high: 0, low: .max)
    try memory.connection(of: tag).appendAnyway([[1, 2, 3]], to: RelayStream(tag: tag, channel: Channel(.crisis)))
    let more = try one.relay.survey()
    #expect(one.hasStrangers(in: more))
  }
}
