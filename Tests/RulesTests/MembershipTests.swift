import Causality
import Crypto
import Sealing
import Testing

/// Devices that admit each other in every way.
@Suite("Who belongs to the account")
struct MembershipTests {
  /// A device with its keys.
  struct Newcomer {
    let certificate: DeviceCertificate
    let keys: DeviceKeys
    var device: DeviceID { certificate.device }

    init(using random: inout SeededRandom) throws {
      keys = try DeviceKeys(using: &random)
      certificate = DeviceCertificate(device: DeviceID(using: &random), name: "x", kind: "laptop", keys: keys, created: 0)
    }

    func admit(_ other: Newcomer, wall: UInt64 = 1) throws -> [UInt8] {
      try MembershipEntry.signed(
        .admit(other.certificate), signer: device, deviceSignature: try other.certificate.signedBy(other.keys), wall: wall,
        key: keys.signing)
    }

    func retract(_ other: Newcomer, wall: UInt64 = 2) throws -> [UInt8] {
      try MembershipEntry.signed(.retract(other.device), signer: device, wall: wall, key: keys.signing)
    }
  }

  private func admit(_ newcomer: Newcomer, in scene: EnrolmentTests.Scene, wall: UInt64 = 1) throws -> [UInt8] {
    try MembershipEntry.signed(
      .admit(newcomer.certificate), signer: scene.device, deviceSignature: try newcomer.certificate.signedBy(newcomer.keys), wall: wall,
      key: scene.keys.signing)
  }

  /// Each of so many devices admits each other one; the first of them was let in once, and taken back.
  private func clique(_ count: Int, in scene: EnrolmentTests.Scene, using random: inout SeededRandom) throws -> [[UInt8]] {
    let devices = try (0..<count).map { _ in try Newcomer(using: &random) }
    var entries = [try admit(devices[0], in: scene), try scene.entry(.retract(devices[0].device), [])]
    for one in devices { for other in devices where one.device != other.device { entries.append(try one.admit(other)) } }
    return entries
  }

  /// A walk over every way through them would take longer than anybody lives.
  @Test("thirteen devices that admit each other, and that nobody else does, are looked through at once and belong not", .timeLimit(.minutes(1)))
  func mutual() throws {
    var scene = try EnrolmentTests.Scene(seed: 11)
    var random = SeededRandom(seed: 110)
    let entries = try clique(13, in: scene, using: &random)
    for entry in entries { #expect(scene.members.accept(entry) == .accepted) }
    #expect(entries.count == 2 + 13 * 12)
    #expect(scene.members.devices == [scene.device])
    for device in scene.members.certificates.keys where device != scene.device {
      #expect(scene.members.introduction(of: device).isEmpty)
      #expect(scene.members.keys(of: device) != nil, "what it wrote can be read")
    }
  }

  @Test("a hundred devices, each admitted by the one before, belong all; the last is introduced to who knows half of them")
  func generations() throws {
    var scene = try EnrolmentTests.Scene(seed: 12)
    var random = SeededRandom(seed: 120)
    let devices = try (0..<100).map { _ in try Newcomer(using: &random) }
    var entries = [try admit(devices[0], in: scene)]
    for (one, next) in zip(devices, devices.dropFirst()) { entries.append(try one.admit(next)) }
    for entry in entries { _ = scene.members.accept(entry) }
    #expect(Set(scene.members.devices) == Set(devices.map(\.device) + [scene.device]))
    let short: [[UInt8]] = [scene.founding] + Array(entries.prefix(21))
    #expect(scene.members.introduction(of: devices[20].device) == short)
    let introduction = scene.members.introduction(of: devices[99].device)
    #expect(introduction.count < Limits.introducedBy && introduction.last == entries[99])
    var half = Members(rootKey: scene.account.rootKey)
    let heard: [[UInt8]] = [scene.founding] + Array(entries.prefix(50)) + introduction
    for entry in heard { _ = half.accept(entry) }
    #expect(half.devices == scene.members.devices)
    // One that is taken back takes with it whoever has no other way.
    let back = try devices[39].retract(devices[40])
    #expect(scene.members.accept(back) == .accepted)
    #expect(Set(scene.members.devices) == Set(devices.prefix(40).map(\.device) + [scene.device]))
  }

  @Test("the same statements give the same devices and the same introductions, in whatever order they come", .timeLimit(.minutes(1)))
  func anyOrder() throws {
    let scene = try EnrolmentTests.Scene(seed: 13)
    var random = SeededRandom(seed: 130)
    let devices = try (0..<16).map { _ in try Newcomer(using: &random) }
    var entries = try clique(5, in: scene, using: &random)
    entries.append(scene.founding)
    for (number, device) in devices.enumerated() {
      // By one or two who came before; half of them take somebody back, some of them one that they never let in.
      let admitters = (0..<random.number(1...2)).map { _ in random.number(0...number) }
      for admitter in Set(admitters).sorted() {
        entries.append(try admitter == 0 ? admit(device, in: scene) : devices[admitter - 1].admit(device))
        if random.happens(permille: 250), admitter > 0 { entries.append(try devices[admitter - 1].retract(device)) }
      }
      if random.happens(permille: 250) { entries.append(try device.retract(devices[random.number(0...devices.count - 1)])) }
    }
    #expect(entries.count < Limits.waitingEntries, "what waits for its signer finds room")
    var first = Members(rootKey: scene.account.rootKey)
    for entry in entries { _ = first.accept(entry) }
    #expect(first.devices.count >= 2 && first.devices.count < first.certificates.count, "some belong, some do not")
    for _ in 0..<12 {
      var other = Members(rootKey: scene.account.rootKey)
      for entry in entries.shuffled(using: &random) { _ = other.accept(entry) }
      #expect(other.devices == first.devices)
      #expect(other.log.count == first.log.count)
      for device in first.devices { #expect(other.introduction(of: device) == first.introduction(of: device)) }
      #expect(Members(rootKey: scene.account.rootKey, trusted: other.log).devices == first.devices, "as a store takes it back")
    }
  }

  @Test("what is said again is no news and makes the log no longer; what a store has kept of it stays there")
  func saidAgain() throws {
    var scene = try EnrolmentTests.Scene(seed: 14)
    var random = SeededRandom(seed: 140)
    let newcomer = try Newcomer(using: &random)
    let admitted = try admit(newcomer, in: scene)
    #expect(scene.members.accept(admitted) == .accepted)
    let again = try (2..<20).map { wall in try admit(newcomer, in: scene, wall: UInt64(wall)) }
    for entry in again { #expect(scene.members.accept(entry) == .known) }
    #expect(scene.members.log.count == 2)
    let itself = try newcomer.admit(newcomer)
    #expect(scene.members.accept(itself) == .accepted, "another signer says something else")
    let back = try scene.entry(.retract(newcomer.device), [])
    #expect(scene.members.accept(back) == .accepted)
    #expect(scene.members.devices == [scene.device], "it cannot admit itself")
    for wall in 3..<20 {
      let retraction = try MembershipEntry.signed(
        .retract(newcomer.device), signer: scene.device, wall: UInt64(wall), key: scene.keys.signing)
      #expect(scene.members.accept(retraction) == .known)
    }
    let late = try admit(newcomer, in: scene, wall: 99)
    #expect(scene.members.accept(late) == .known, "nor is it let in again by who took it back")
    #expect(scene.members.devices == [scene.device])
    #expect(scene.members.log.count == 4)
    // An earlier version kept them: none of them is said not to fit.
    let kept = scene.members.log + again
    #expect(Members(rootKey: scene.account.rootKey, trusted: kept).log == kept)
  }

  @Test("of two that admitted a device either takes back its own, whoever was first; it belongs while one admission stands")
  func twoAdmitters() throws {
    let scene = try EnrolmentTests.Scene(seed: 15)
    var random = SeededRandom(seed: 150)
    let (second, newcomer) = (try Newcomer(using: &random), try Newcomer(using: &random))
    let (mine, other) = (try admit(newcomer, in: scene), try second.admit(newcomer))
    let secondIn = try admit(second, in: scene)
    let (mineBack, otherBack) = (try scene.entry(.retract(newcomer.device), []), try second.retract(newcomer))
    for order in [[mine, other], [other, mine]] {
      var members = scene.members
      for entry in [secondIn] + order { #expect(members.accept(entry) == .accepted) }
      #expect(members.hasAdmitted(newcomer.device, by: scene.device) && members.hasAdmitted(newcomer.device, by: second.device))
      #expect(!members.hasAdmitted(newcomer.device, by: newcomer.device))
      #expect(members.accept(otherBack) == .accepted)
      #expect(!members.hasAdmitted(newcomer.device, by: second.device), "once is enough")
      #expect(members.hasAdmitted(newcomer.device, by: scene.device))
      #expect(members.devices.contains(newcomer.device))
      #expect(members.introduction(of: newcomer.device) == [scene.founding, mine])
      #expect(members.accept(mineBack) == .accepted)
      #expect(!members.devices.contains(newcomer.device))
    }
  }
}
