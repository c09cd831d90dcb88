import Foundation
import Testing

/// Devices that are known nowhere but by what they say of themselves.
@Suite("Newcomers", .serialized)
struct NewcomersTests {
  /// A crisis of a device is on another one's screen, before and after that one exchanges.
  private func expectShown(_ meeting: Meeting, by raiser: String, on other: String) throws {
    #expect(try meeting.run(raiser, "crisis", "activate", "severe").status == 0)
    #expect(try meeting.crisis(other)["active"] as? Bool == true, "at the first look")
    #expect(try meeting.run(other, "sync").status == 0)
    #expect(try meeting.crisis(other)["active"] as? Bool == true)
  }

  @Test("a home and a relay that are put back to before an admission learn of the device that was let in, and get everything")
  func forgotten() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    _ = try meeting.write("a", "before")
    try meeting.run("a", "sync")
    try meeting.keep("a")
    try meeting.copy("relay", "relay.kept")
    try meeting.join("b", by: "a")
    _ = try meeting.write("a", "after")
    try meeting.settle("a", "b")
    try meeting.putBack("a")
    try meeting.copy("relay.kept", "relay")
    try expectShown(meeting, by: "b", on: "a")
    try meeting.settle("b", "a")
    #expect(try meeting.titles("a") == ["before", "after"])
    #expect(try meeting.hash("a") == meeting.hash("b"))
  }

  @Test("where the relay is put back, and who let a device in is gone, the device is known all the same")
  func orphaned() throws {
    let meeting = try Meeting.pair()
    try meeting.settle("a", "b")
    try meeting.copy("relay", "relay.kept")
    try meeting.join("c", by: "b")
    try meeting.copy("relay.kept", "relay")
    try FileManager.default.removeItem(atPath: meeting.home("b"))
    try meeting.settle("c", "a")
    _ = try meeting.write("c", "of c")
    try expectShown(meeting, by: "c", on: "a")
    try meeting.settle("c", "a")
    #expect(try meeting.titles("a") == ["of c"])
  }

  @Test("the crisis of a newcomer that was stopped before its first exchange is shown", arguments: ["join", "invite"])
  func cutShort(who: String) throws {
    let meeting = try Meeting.pair()
    let (inviting, out, _) = try Program.start(["devices", "invite", "--yes", "--home", meeting.home("a")])
    var code = ""
    while !code.hasSuffix("\n") { code += String(decoding: out.fileHandleForReading.readData(ofLength: 1), as: UTF8.self) }
    code = code.trimmingCharacters(in: .newlines)
    let (joining, said, _) = try Program.start(["join", code, "--device", "c", "--no-passphrase", "--yes", "--home", meeting.home("c"), "--relay", meeting.url])
    let heard = Heard(said.fileHandleForReading)
    if who == "join" {
      #expect(heard.hears("belongs to the account now"))
      kill(joining.processIdentifier, SIGKILL)
      kill(inviting.processIdentifier, SIGKILL)
    } else {
      #expect(eventually { FileManager.default.fileExists(atPath: meeting.home("c") + "/store.db") })
      kill(inviting.processIdentifier, SIGKILL)
    }
    joining.waitUntilExit()
    inviting.waitUntilExit()
    try expectShown(meeting, by: "c", on: "b")
    #expect(try meeting.run("b", "devices", "list").out.contains("c ("))
  }

  @Test("where a device that nobody knows has written about a crisis, none is said to be active, and nothing is called synced")
  func stranger() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    try meeting.run("a", "sync")
    try meeting.keep("a")
    try meeting.copy("relay", "relay.kept")
    try meeting.join("b", by: "a")
    try meeting.putBack("a")
    try meeting.copy("relay.kept", "relay")
    #expect(try meeting.run("b", "crisis", "activate", "severe").status == 0)
    let relay = meeting.home("relay")
    let there = try FileManager.default.subpathsOfDirectory(atPath: relay)
    let crisis = try #require(there.first { $0.hasSuffix("/0.log") })
    try FileManager.default.removeItem(atPath: relay + "/" + crisis.replacing("/0.log", with: "/5.log"))
    #expect(try meeting.crisis("a")["level"] as? String == "unknown")
    #expect(try meeting.run("a", "sync", "--timeout", "4").status == 75)
    #expect(try meeting.crisis("a")["level"] as? String == "unknown")
    // The device itself says who it is, as soon as it exchanges.
    try meeting.settle("b", "a")
    #expect(try meeting.crisis("a")["active"] as? Bool == true)
  }
}
