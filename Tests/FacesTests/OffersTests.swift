import Foundation
import Testing

/// Sessions that are handed over while something is in the way.
@Suite("Offers", .serialized)
struct OffersTests {
  /// Two devices, and a session of a that is offered to b; no program of a runs.
  private func offered() throws -> (meeting: Meeting, session: String) {
    let meeting = try Meeting.pair()
    let session = try meeting.run("a", "practice", "breathing", "--start").out.trimmingCharacters(in: .newlines)
    #expect(try meeting.run("a", "handoff", session, "--to", "b", "--wait", "0").status == 75)
    return (meeting, session)
  }

  /// What makes b hold the offer for too old, as long as it has not heard which time a has.
  private func ahead() throws -> [String: String] { ["LD_PRELOAD": try #require(Outside.library), "SKEW": "240"] }

  private func listed(_ name: String, in meeting: Meeting) throws -> String { try meeting.run(name, "sessions", "list").out }

  @Test("a session that a full disk did not let a device take is taken once there is room")
  func refused() throws {
    let (meeting, _) = try offered()
    let full = ["FULL": meeting.home("b"), "FROM": meeting.home("full")]
    let (theirs, out) = try meeting.agent("b", environment: ahead().merging(full) { $1 })
    let events = Heard(out)
    #expect(try eventually { try listed("b", in: meeting).contains("offered to") })
    #expect(FileManager.default.createFile(atPath: meeting.home("full"), contents: nil))
    // Its clock makes the offer one that stands.
    let (mine, _) = try meeting.agent("a")
    defer { for process in [mine, theirs] { process.terminate() } }
    #expect(events.hears("storage.disk-full"))
    // It may have been refused something else first.
    Thread.sleep(forTimeInterval: 1)
    #expect(try !listed("b", in: meeting).contains(" on b,"))
    try FileManager.default.removeItem(atPath: meeting.home("full"))
    #expect(try eventually { try listed("a", in: meeting).contains(" on b,") }, "the receipt has come back")
  }

  @Test("what a session has done by the time it is handed over goes along")
  func elapsed() throws {
    let meeting = try Meeting.pair()
    let (theirs, _) = try meeting.agent("b")
    defer { theirs.terminate() }
    let session = try meeting.run("a", "practice", "breathing", "--start").out.trimmingCharacters(in: .newlines)
    Thread.sleep(forTimeInterval: 3)
    #expect(try meeting.run("a", "handoff", session, "--to", "b", "--wait", "20").status == 0)
    let listed = try meeting.json(meeting.run("b", "sessions", "list", "--json").out)["sessions"] as? [[String: Any]] ?? []
    #expect(listed.first?["elapsed_s"] as? Double ?? 0 >= 3, "\(listed)")
  }

  @Test("a device that is started again takes the session that is offered to it")
  func restarted() throws {
    let (meeting, session) = try offered()
    let (before, _) = try meeting.agent("b", environment: ahead())
    #expect(try eventually { try listed("b", in: meeting).contains("offered to") })
    before.terminate()
    #expect(eventuallyEnded(before))
    #expect(try listed("b", in: meeting).contains("\(session)  breathing running on a, offered to b"))
    let (after, _) = try meeting.agent("b")
    defer { after.terminate() }
    #expect(try eventually { try listed("b", in: meeting).contains(" on b,") })
  }

  @Test("a single exchange takes the session that is offered, and sends the receipt")
  func exchangedOnce() throws {
    let (meeting, _) = try offered()
    try meeting.run("b", "sync")
    try meeting.run("a", "sync")
    #expect(try listed("a", in: meeting).contains(" on b,"))
  }

  @Test("whoever waits in one program hears of the receipt that another one reads")
  func besideAnAgent() throws {
    let meeting = try Meeting.pair()
    let (mine, _) = try meeting.agent("a")
    let (theirs, _) = try meeting.agent("b")
    defer { for process in [mine, theirs] { process.terminate() } }
    for _ in 0..<3 {
      let session = try meeting.run("a", "practice", "breathing", "--start").out.trimmingCharacters(in: .newlines)
      let moved = try meeting.run("a", "handoff", session, "--to", "b", "--wait", "30")
      #expect(moved.status == 0 && moved.out.contains("has the session"), "\(moved)")
    }
  }

  @Test("to wait for a device that does not answer costs next to nothing")
  func waiting() throws {
    let meeting = try Meeting.pair()
    let session = try meeting.run("a", "practice", "breathing", "--start").out.trimmingCharacters(in: .newlines)
    /// Seconds of processor time.
    func cost(ofWaiting seconds: Int) throws -> Double {
      let (process, err) = (Process(), Pipe())
      process.executableURL = URL(fileURLWithPath: "/bin/bash")
      process.arguments = [
        "-c",
        "TIMEFORMAT='%U %S'; time \(Program.path) handoff \(session) --to b --wait \(seconds) --home \(meeting.home("a")) >/dev/null 2>&1",
      ]
      process.standardError = err
      try process.run()
      let said = String(decoding: err.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      #expect(process.terminationStatus == 75)
      return said.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }.reduce(0, +)
    }
    let short = try cost(ofWaiting: 1)
    let long = try cost(ofWaiting: 4)
    // One exchange after the other takes 15 to 30 % of a processor: 0.45 s at least.
    #expect(long - short < 0.25, "\(long - short) s of 3 s")
  }
}
