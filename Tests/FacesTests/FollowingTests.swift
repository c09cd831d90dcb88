import Foundation
import Testing

/// Programs that run while their relay is carried elsewhere, while they are killed, or while it is away.
@Suite("Following", .serialized)
struct FollowingTests {
  private func accepted(_ meeting: Meeting, _ name: String) throws -> Int {
    try #require(try meeting.sync(name)["acceptedByRelay"] as? Int)
  }

  private func state(_ meeting: Meeting, _ name: String) throws -> String { try meeting.sync(name)["state"] as? String ?? "" }

  // MARK: Elsewhere

  @Test("programs that run go on where their relay was carried to, also where nothing is left in the old place")
  func carried() throws {
    let meeting = try Meeting.pair()
    let agents = [try meeting.agent("a").process, try meeting.agent("b").process]
    for name in ["a", "b"] { #expect(try eventually { try state(meeting, name) == "upToDate" }) }
    try meeting.move("relay", "carried")
    for name in ["a", "b"] { #expect(try meeting.run(name, "relay", "move", "folder:\(meeting.home("carried"))").status == 0) }
    _ = try meeting.write("b", "after")
    #expect(try eventually { try meeting.titles("a") == ["after"] }, "nobody was told to sync")
    #expect(try eventually { try state(meeting, "b") == "upToDate" })
    for agent in agents {
      agent.terminate()
      #expect(eventuallyEnded(agent))
    }
  }

  @Test("a program goes on elsewhere while the old place hangs")
  func hanging() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let (agent, _) = try meeting.agent("a", environment: ["LD_PRELOAD": try #require(Outside.library), "HANG": meeting.home("relay")])
    #expect(try eventually { try state(meeting, "a") != "resting" })
    try meeting.move("relay", "carried")
    #expect(try meeting.run("a", "relay", "move", "folder:\(meeting.home("carried"))").status == 0)
    _ = try meeting.write("a", "after")
    #expect(try eventually { try state(meeting, "a") == "upToDate" })
    agent.terminate()
    #expect(eventuallyEnded(agent))
  }

  // MARK: Whoever is not there says nothing

  @Test("what a program said of itself counts no longer than it lives", arguments: [SIGKILL, SIGSTOP])
  func dead(signal: Int32) throws {
    let meeting = try Meeting.pair()
    let (agent, _) = try meeting.agent("a")
    #expect(try eventually { try state(meeting, "a") == "upToDate" })
    // Between two transactions, so that the store can be written beside one that is stopped.
    Thread.sleep(forTimeInterval: 1)
    kill(agent.processIdentifier, signal)
    if signal == SIGKILL { #expect(eventuallyEnded(agent)) }
    #expect(try eventually(within: 5) { try state(meeting, "a") == "resting" })
    _ = try meeting.write("a", "kept")
    let status = try meeting.run("a", "status").out
    #expect(status.contains("not exchanging") && status.contains("`fullmind sync"), "\(status)")
    #expect(try meeting.run("a", "dashboard", "--once").out.contains("not exchanging"))
  }

  // MARK: How much lies there

  @Test("what lies on the relay is remembered while it is away, whatever runs meanwhile")
  func away() throws {
    let meeting = try Meeting.pair()
    for title in ["one", "two"] { _ = try meeting.write("a", title) }
    try meeting.settle("a", "b")
    let before = try accepted(meeting, "a")
    #expect(before > 0)
    try meeting.move("relay", "away")
    _ = try meeting.write("a", "three")
    let (agent, _) = try meeting.agent("a")
    #expect(try eventually { ["offline", "strange"].contains(try state(meeting, "a")) })
    #expect(try accepted(meeting, "a") == before)
    agent.terminate()
    #expect(eventuallyEnded(agent))
    #expect(try accepted(meeting, "a") == before)
    #expect(try meeting.run("a", "sync").status != 0)
    #expect(try accepted(meeting, "a") == before)
    try meeting.move("away", "relay")
    #expect(try meeting.run("a", "sync").status == 0)
    #expect(try accepted(meeting, "a") > before)
  }

  @Test("on another relay lies nothing until it was sent there")
  func another() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    _ = try meeting.write("a", "one")
    #expect(try meeting.run("a", "sync").status == 0)
    let before = try accepted(meeting, "a")
    #expect(before > 0)
    #expect(try meeting.run("a", "relay", "make", "folder:\(meeting.home("other"))").status == 0)
    #expect(try accepted(meeting, "a") == 0)
    #expect(try meeting.run("a", "sync").status == 0)
    #expect(try accepted(meeting, "a") == before)
  }

  @Test("doctor waits once for a relay that hangs, and says so")
  func doctor() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    _ = try meeting.write("a", "one")
    #expect(try meeting.run("a", "sync").status == 0)
    let relay = meeting.home("relay")
    let account = try #require(try FileManager.default.contentsOfDirectory(atPath: relay).first { $0 != "epoch" })
    let began = Date()
    let found = try meeting.run("a", "doctor", environment: ["LD_PRELOAD": try #require(Outside.library), "HANG": "\(relay)/\(account)"])
    #expect(Date().timeIntervalSince(began) < 15)
    #expect(found.status == 65 && found.out.contains("relay.unanswered"), "\(found.out)")
  }

  // MARK: Events

  @Test("that everything is exchanged is told once for what has changed")
  func synced() throws {
    let meeting = try Meeting.pair()
    let (agent, out) = try meeting.agent("a")
    #expect(try eventually { try state(meeting, "a") == "upToDate" })
    _ = try meeting.invite("a")
    Thread.sleep(forTimeInterval: 2)
    _ = try meeting.write("a", "one")
    #expect(try eventually { try state(meeting, "a") == "upToDate" })
    agent.terminate()
    #expect(eventuallyEnded(agent))
    let lines = String(decoding: out.readDataToEndOfFile(), as: UTF8.self).split(separator: "\n")
    let events = try lines.map { try meeting.json(String($0)) }.filter { !["heard", "trouble"].contains($0["event"] as? String) }
    let words = events.map { "\($0["event"] as? String ?? "") \($0["complete"] as? Bool == true)" }
    #expect(words.contains("synced true"))
    #expect(!zip(words, words.dropFirst()).contains { $0 == $1 && $0.hasPrefix("synced") }, "\(words)")
  }
}
