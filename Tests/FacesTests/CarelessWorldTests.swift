import CSystem
import Foundation
import Testing

/// The findings about relays, sync services, clocks and people who join: what must hold now, with real processes.
@Suite("A careless world", .serialized)
struct CarelessWorldTests {
  private var outside: String { get throws { try #require(Outside.library) } }

  /// Of a process that believes in another time.
  private func skewed(_ seconds: Int) throws -> [String: String] { ["LD_PRELOAD": try outside, "SKEW": "\(seconds)"] }

  // MARK: Clocks

  @Test("where only the emergency key of a home is left it is said that there was a store, and what is named then works")
  func onlyEmergencyLeft() throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("b", "before")
    try meeting.settle("a", "b")
    let home = meeting.home("b")
    for name in try FileManager.default.contentsOfDirectory(atPath: home) where name != "emergency" {
      try FileManager.default.removeItem(atPath: home + "/" + name)
    }
    let said = try meeting.run("b", "status")
    #expect(said.status == 65 && said.err.contains("There was a store") && said.err.contains("join CODE --device NAME --relay folder:PATH --replace"))
    let code = try meeting.invite("a")
    let joined = try meeting.run("b", "join", code, "--device", "b", "--no-passphrase", "--yes", "--relay", meeting.url, "--replace")
    #expect(joined.status == 0 && joined.err.contains("What was there lies in"), "\(joined)")
    try meeting.settle("a", "b")
    #expect(try meeting.titles("b") == ["before"])
  }

  @Test("a home is replaced only once the crisis that was raised past it lies on the relay")
  func journalBeforeReplacing() throws {
    let meeting = try Meeting.pair()
    try FileManager.default.removeItem(atPath: meeting.home("b") + "/store.db")
    let code = try meeting.invite("a")
    try meeting.move("relay", "away")
    #expect(try meeting.run("b", "crisis", "activate", "severe").status == 0)
    let arguments = ["--device", "b", "--no-passphrase", "--yes", "--relay", meeting.url, "--replace", "--home", meeting.home("b")]
    let refused = try Program.run(["join", code] + arguments)
    #expect(refused.status == 75 && refused.err.contains("crisis.not-sent"), "\(refused)")
    try meeting.move("away", "relay")
    #expect(try Program.run(["join", try meeting.invite("a")] + arguments).status == 0)
    #expect(try meeting.run("a", "sync").status == 0 && meeting.crisis("a")["active"] as? Bool == true)
  }

  @Test("the devices meet elsewhere: an agent that runs goes on there, and hears")
  func movedUnderAgent() throws {
    let meeting = try Meeting.pair()
    let (agent, _) = try meeting.agent("a")
    Thread.sleep(forTimeInterval: 0.5)
    let other = "folder:\(meeting.path)/other"
    #expect(try meeting.run("b", "relay", "make", other).status == 0)
    #expect(try meeting.run("a", "relay", "move", other).status == 0)
    #expect(try meeting.run("b", "crisis", "activate", "severe").status == 0)
    #expect(try eventually { try meeting.crisis("a")["active"] as? Bool == true })
    agent.terminate()
    #expect(eventuallyEnded(agent) && agent.terminationStatus == 0)
  }

  @Test("a crisis that was raised past a store that cannot be opened goes to the relay with the next command; nothing traps over another account's journal")
  func journalOfALockedStore() throws {
    let meeting = try Meeting()
    let words = meeting.path + "/words"
    try Data("a passphrase\n".utf8).write(to: URL(fileURLWithPath: words))
    #expect(try Program.run("init", "--device", "a", "--passphrase-file", words, "--home", meeting.home("a"), "--relay", meeting.url).status == 0)
    let (inviting, out, _) = try Program.start(["devices", "invite", "--yes", "--home", meeting.home("a"), "--passphrase-file", words])
    let code = String(decoding: out.fileHandleForReading.availableData, as: UTF8.self).split(separator: "\n").first.map(String.init) ?? ""
    #expect(try Program.run("join", code, "--device", "b", "--no-passphrase", "--yes", "--home", meeting.home("b"), "--relay", meeting.url).status == 0)
    inviting.waitUntilExit()
    try meeting.move("relay", "away")
    #expect(try meeting.run("a", "crisis", "activate", "severe").out.contains("cannot be reached"))
    try meeting.move("away", "relay")
    #expect(try meeting.run("a", "sync").status == 77)
    #expect(try meeting.run("b", "sync").status == 0 && meeting.crisis("b")["active"] as? Bool == true)
    #expect(try meeting.run("a", "crisis", "resolve").status == 0)
    #expect(try meeting.run("b", "sync").status == 0 && meeting.crisis("b")["active"] as? Bool == false)
    let stranger = try Meeting()
    try stranger.found("c")
    #expect(try stranger.run("c", "crisis", "activate").status == 0)
    try? FileManager.default.removeItem(atPath: meeting.home("b") + "/emergency")
    try FileManager.default.copyItem(atPath: stranger.home("c") + "/emergency", toPath: meeting.home("b") + "/emergency")
    #expect(try meeting.run("b", "crisis", "status").status == 0 && meeting.run("b", "crisis", "resolve").status == 0)
  }

  @Test("a write with the clock ahead hides nothing that was written after it was put right, and is confirmed by nobody", arguments: [3_600, 93_600, 315_360_000])
  func ahead(seconds: Int) throws {
    let meeting = try Meeting.pair()
    let id = try meeting.write("a", "ahead", environment: skewed(seconds))
    try meeting.run("a", "record", "set", id, "title=right")
    _ = try meeting.write("a", "also right")
    try meeting.settle("a", "b")
    #expect(try meeting.titles("b").isSuperset(of: ["also right"]))
    #expect(try meeting.sync("b")["quarantined"] as? Int ?? 0 > 0)
    #expect(try meeting.sync("a")["confirmedOn"] as? Int == 0, "what is kept back is not confirmed")
    #expect(try meeting.run("b", "doctor").out.contains("LOOK clock"))
    try meeting.run("a", "crisis", "activate", "severe", "--now", environment: skewed(seconds))
    try meeting.settle("a", "b")
    #expect(try meeting.crisis("b")["active"] as? Bool == true)
  }

  @Test("what is kept back is not opened when something else arrives")
  func keptBackStaysClosed() throws {
    let meeting = try Meeting.pair()
    for number in 1...20 { _ = try meeting.write("b", "ahead \(number)", environment: skewed(2_592_000)) }
    try meeting.settle("b", "a")
    #expect(try meeting.sync("a")["quarantined"] as? Int ?? 0 >= 20)
    // Whatever opened one of them would fail.
    let words = "import sqlite3; c = sqlite3.connect('\(meeting.home("a"))/store.db'); c.execute(\"UPDATE quarantine SET body = x'00'\"); c.commit()"
    let spoiling = try Process.run(URL(fileURLWithPath: "/usr/bin/env"), arguments: ["python3", "-c", words])
    spoiling.waitUntilExit()
    #expect(spoiling.terminationStatus == 0)
    _ = try meeting.write("b", "now")
    try meeting.run("b", "crisis", "activate", "severe")
    #expect(try meeting.run("a", "sync").status == 0)
    #expect(try meeting.titles("a") == ["now"] && meeting.crisis("a")["active"] as? Bool == true)
  }

  @Test("a reader whose clock is put right sees at once what it kept back")
  func putRight() throws {
    let meeting = try Meeting.pair()
    let clock = meeting.path + "/clock"
    try Data("-7200".utf8).write(to: URL(fileURLWithPath: clock))
    let (agent, _) = try meeting.agent("b", environment: ["LD_PRELOAD": try outside, "SKEW": "@" + clock])
    _ = try meeting.write("a", "two hours later")
    try meeting.run("a", "sync")
    #expect(try eventually { try meeting.sync("b")["quarantined"] as? Int == 1 })
    #expect(try meeting.titles("b").isEmpty)
    try Data("0".utf8).write(to: URL(fileURLWithPath: clock))
    #expect(try eventually { try meeting.titles("b") == ["two hours later"] }, "without anything that arrives")
    agent.terminate()
    #expect(eventuallyEnded(agent))
  }

  @Test("three clocks that are each a little off: the right one is followed, and the wrong one is named")
  func threeClocks() throws {
    let meeting = try Meeting.pair()
    try meeting.join("c", by: "a")
    let (fast, slow) = (try skewed(180), try skewed(-180))
    for (name, environment) in [("a", fast), ("b", [:]), ("c", slow)] { try meeting.run(name, "sync", environment: environment) }
    _ = try meeting.write("a", "of the fast one", environment: fast)
    _ = try meeting.write("b", "of the right one")
    for _ in 0..<2 { for (name, environment) in [("a", fast), ("b", [:]), ("c", slow)] { try meeting.run(name, "sync", environment: environment) } }
    #expect(try meeting.titles("c") == ["of the fast one", "of the right one"])
  }

  @Test("a session moves to a device whose clock is off; where it cannot, the clock is named", arguments: [240, -150, 3_600])
  func handoff(seconds: Int) throws {
    let meeting = try Meeting.pair()
    let (mine, _) = try meeting.agent("a")
    let (theirs, _) = try meeting.agent("b", environment: skewed(seconds))
    defer { for process in [mine, theirs] { process.terminate() } }
    let session = try meeting.run("a", "practice", "breathing", "--start").out.trimmingCharacters(in: .newlines)
    let moved = try meeting.run("a", "handoff", session, "--to", "b", "--wait", seconds < 3_600 ? "40" : "5")
    let isHopeless = seconds >= 3_600
    #expect(isHopeless ? moved.status == 75 && moved.err.contains("clock of b is 60 min ahead") : moved.status == 0, "\(moved.err)")
  }

  @Test("what was written here under a clock that ran ahead is shown here again after a restore")
  func aheadAndRestored() throws {
    let meeting = try Meeting.pair()
    try meeting.keep("a")
    let ahead = ["LD_PRELOAD": try outside, "SKEW": "31600000"]
    _ = try meeting.write("a", "of next year", environment: ahead)
    #expect(try meeting.run("a", "sync", environment: ahead).status == 0)
    try meeting.putBack("a")
    try meeting.settle("a", "b")
    #expect(try meeting.titles("a") == ["of next year"])
  }

  @Test("an offer that lay there before the clock that stamped it was known is taken up")
  func lateOffer() throws {
    let meeting = try Meeting.pair()
    let (mine, _) = try meeting.agent("a")
    defer { mine.terminate() }
    let session = try meeting.run("a", "practice", "breathing", "--start").out.trimmingCharacters(in: .newlines)
    let (moving, _, err) = try Program.start(["handoff", session, "--to", "b", "--wait", "60", "--home", meeting.home("a")])
    #expect(try eventually { try meeting.run("a", "sessions", "list").out.contains("offered") })
    let (theirs, _) = try meeting.agent("b", environment: skewed(240))
    defer { theirs.terminate() }
    let said = String(decoding: err.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    moving.waitUntilExit()
    #expect(moving.terminationStatus == 0, "\(said)")
  }

  @Test("a session moves also where no other program of its device exchanges; one that was removed does not come back")
  func handoffAlone() throws {
    let meeting = try Meeting.pair()
    let (theirs, _) = try meeting.agent("b")
    defer { theirs.terminate() }
    let session = try meeting.run("a", "practice", "breathing", "--start").out.trimmingCharacters(in: .newlines)
    #expect(try meeting.run("a", "handoff", session, "--to", "b", "--wait", "20").status == 0)
    let other = try meeting.run("a", "practice", "breathing", "--start").out.trimmingCharacters(in: .newlines)
    theirs.terminate()
    #expect(eventuallyEnded(theirs))
    _ = try meeting.run("a", "handoff", other, "--to", "b", "--wait", "0")
    #expect(try meeting.run("a", "record", "remove", other).status == 0)
    try meeting.settle("a", "b")
    #expect(try !meeting.run("b", "sessions", "list").out.contains(other.prefix(8)))
  }

  // MARK: Relays

  @Test("an agent that is to end once everything is exchanged ends also where the relay is away")
  func endsWithoutRelay() throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("a", "kept")
    try meeting.move("relay", "away")
    let ended = try meeting.run("a", "agent", "--until-synced", "--timeout", "2")
    #expect(ended.status == 69 && ended.err.contains("relay"), "\(ended)")
    try meeting.move("away", "relay")
    #expect(try meeting.run("a", "agent", "--until-synced").status == 0)
    try meeting.settle("a", "b")
    #expect(try meeting.titles("b") == ["kept"])
  }

  @Test("where the file system tells of no changes the relay is asked, and doctor says so")
  func deaf() throws {
    let meeting = try Meeting.pair()
    let unwatched = ["LD_PRELOAD": try outside, "UNWATCHED": "1"]
    #expect(try meeting.run("b", "doctor", environment: unwatched).out.contains("looked through every 2 s"))
    let (agent, out) = try meeting.agent("b", environment: unwatched)
    let heard = Heard(out)
    #expect(heard.hears("\"synced\""))
    let began = Date()
    #expect(try meeting.run("a", "crisis", "activate", "severe").status == 0)
    #expect(heard.hears("\"crisis\"") && Date().timeIntervalSince(began) < 10)
    agent.terminate()
  }

  @Test("a full relay and a full disk are tried with pauses, and everything arrives afterwards")
  func full() throws {
    let meeting = try Meeting.pair()
    let full = ["LD_PRELOAD": try outside, "FULL": meeting.home("relay")]
    let (agent, out) = try meeting.agent("a", environment: full)
    _ = try meeting.write("a", "waits", environment: full)
    Thread.sleep(forTimeInterval: 5)
    agent.terminate()
    #expect(eventuallyEnded(agent))
    let lines = String(decoding: out.readDataToEndOfFile(), as: UTF8.self).split(separator: "\n")
    #expect(lines.count < 60, "\(lines.count) events in 5 s")
    let synced = try meeting.run("a", "sync", "--timeout", "5", environment: full)
    #expect([69, 75].contains(synced.status), "\(synced.status)")
    try meeting.settle("a", "b")
    #expect(try meeting.titles("b") == ["waits"])
  }

  @Test("a relay that hangs ends no patience: sync and doctor end, SIGTERM works, a crisis is raised")
  func hanging() throws {
    let meeting = try Meeting.pair()
    let hangs = ["LD_PRELOAD": try outside, "HANG": meeting.home("relay")]
    let began = Date()
    #expect(try [69, 75].contains(meeting.run("a", "sync", "--timeout", "2", environment: hangs).status))
    #expect(try meeting.run("a", "doctor", "--timeout", "2", environment: hangs).out.contains("LOOK relay"))
    let raised = try meeting.run("a", "crisis", "activate", "severe", "--now", "--json", "--timeout", "2", environment: hangs)
    #expect(raised.status == 0)
    #expect(try meeting.json(raised.out)["atRelay"] as? Bool == false)
    #expect(Date().timeIntervalSince(began) < 30)
    let (agent, _) = try meeting.agent("a", environment: hangs)
    Thread.sleep(forTimeInterval: 0.5)
    agent.terminate()
    #expect(eventuallyEnded(agent))
    try meeting.settle("a", "b")
    #expect(try meeting.crisis("b")["active"] as? Bool == true)
  }

  @Test("threads that hang at a relay are few, come back with it, and nothing that happened meanwhile is untold")
  func leftBehind() throws {
    let meeting = try Meeting.pair()
    let free = meeting.home("free")
    let (agent, out) = try meeting.agent("a", environment: ["LD_PRELOAD": try outside, "HANG": meeting.home("relay"), "UNTIL": free])
    let heard = Heard(out)
    func threads() -> Int { (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(agent.processIdentifier)/task").count) ?? 0 }
    #expect(heard.hears(#""reachable":false"#))
    let hanging = threads()
    let entry = try meeting.write("b", "meanwhile")
    #expect(try meeting.run("b", "crisis", "activate", "severe", "--now").status == 0)
    Thread.sleep(forTimeInterval: 6)
    #expect(threads() <= hanging + 2, "one more every five seconds, and eight at most")
    #expect(FileManager.default.createFile(atPath: free, contents: nil))
    #expect(heard.hears(#""event":"applied","record":"\#(entry)""#))
    #expect(heard.hears(#""event":"crisis","level":"severe","active":true"#))
    #expect(eventually { threads() < hanging })
    agent.terminate()
    #expect(eventuallyEnded(agent))
  }

  @Test("a relay that is wiped is filled again, also with what somebody wrote who is gone")
  func carried() throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("b", "of the lost one")
    try meeting.run("b", "record", "add", "contact", "name=Ben", "phone=1")
    try meeting.settle("a", "b")
    try FileManager.default.removeItem(atPath: meeting.home("b"))
    try FileManager.default.removeItem(atPath: meeting.home("relay"))
    #expect(try meeting.run("a", "relay", "make", meeting.url).status == 0)
    try meeting.run("a", "sync")
    try meeting.join("c", by: "a")
    try meeting.settle("a", "c")
    #expect(try meeting.titles("c") == ["of the lost one"])
    #expect(try meeting.hash("a") == meeting.hash("c"))
  }

  @Test("who was away gets from a third one what a lost one wrote, and hears whom it had let in")
  func carriedAfterAbsence() throws {
    let meeting = try Meeting.pair()
    try meeting.join("c", by: "a")
    try meeting.settle("a", "b", "c")
    _ = try meeting.write("b", "while c was away")
    try meeting.join("d", by: "b")
    try meeting.settle("b", "d", "a")
    try FileManager.default.removeItem(atPath: meeting.home("b"))
    try FileManager.default.removeItem(atPath: meeting.home("relay"))
    #expect(try meeting.run("a", "relay", "make", meeting.url).status == 0)
    try meeting.settle("a", "d")
    try meeting.run("d", "crisis", "activate", "severe", "--now")
    #expect(try meeting.run("c", "relay", "move", meeting.url).status == 0)
    try meeting.settle("c", "a", "d", "c")
    #expect(try meeting.titles("c") == ["while c was away"])
    #expect(try meeting.crisis("c")["active"] as? Bool == true)
  }

  @Test("a drive that appears after the program was started is noticed", arguments: ["gone", "empty"])
  func appears(how: String) throws {
    let meeting = try Meeting.pair()
    try meeting.move("relay", "away")
    if how == "empty" { try FileManager.default.createDirectory(atPath: meeting.home("relay"), withIntermediateDirectories: true) }
    let (agent, _) = try meeting.agent("a")
    Thread.sleep(forTimeInterval: 1)
    #expect(agent.isRunning)
    try? FileManager.default.removeItem(atPath: meeting.home("relay"))
    try meeting.move("away", "relay")
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    #expect(try eventually { try meeting.crisis("a")["active"] as? Bool == true })
    agent.terminate()
    #expect(eventuallyEnded(agent))
  }

  @Test("what a sync service cut off is put there again, and a crisis behind it arrives", arguments: [10, 300])
  func cut(bytes: Int) throws {
    let meeting = try Meeting.pair()
    try meeting.run("a", "crisis", "activate", "mild", "--now")
    try meeting.settle("a", "b")
    let log = try #require(
      try FileManager.default.subpathsOfDirectory(atPath: meeting.home("relay")).first { $0.hasSuffix("/0.log") })
    let path = meeting.home("relay") + "/" + log
    let size = try #require(FileManager.default.attributesOfItem(atPath: path)[.size] as? Int)
    truncate(path, off_t(max(0, size - bytes)))
    let (agent, _) = try meeting.agent("b")
    let raised = try meeting.json(meeting.run("a", "crisis", "activate", "severe", "--now", "--json").out)
    if raised["atRelay"] as? Bool == true {
      #expect(try eventually { try meeting.crisis("b")["level"] as? String == "severe" })
    }
    try meeting.run("a", "sync")
    #expect(try eventually { try meeting.crisis("b")["level"] as? String == "severe" })
    agent.terminate()
    #expect(eventuallyEnded(agent))
  }

  @Test("what cannot be read is said, and nobody is called up to date")
  func unreadable() throws {
    let meeting = try Meeting.pair()
    let log = try hide(meeting)
    let synced = try meeting.run("a", "sync", "--timeout", "5")
    #expect(synced.status == 75, "\(synced.status) \(synced.err)")
    let sync = try meeting.sync("a")
    #expect((sync["missing"] as? [Any])?.isEmpty == false || sync["failingFiles"] as? Int ?? 0 > 0)
    #expect(try meeting.run("a", "doctor").status != 0)
    try FileManager.default.removeItem(atPath: log)
    try FileManager.default.moveItem(atPath: log + ".away", toPath: log)
    try meeting.settle("a")
    #expect(try meeting.crisis("a")["active"] as? Bool == true)
  }

  /// A crisis of b lies in a file whose place is taken by a folder; its path.
  private func hide(_ meeting: Meeting) throws -> String {
    let root = meeting.home("relay")
    func logs() throws -> Set<String> { Set(try FileManager.default.subpathsOfDirectory(atPath: root).filter { $0.hasSuffix("/0.log") }) }
    let before = try logs()
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    try meeting.run("b", "sync")
    let log = root + "/" + (try #require(try logs().subtracting(before).first))
    try FileManager.default.moveItem(atPath: log, toPath: log + ".away")
    try FileManager.default.createDirectory(atPath: log, withIntermediateDirectories: false)
    return log
  }

  @Test("the relay is remembered by the store, and another one is taken only when the person says so")
  func settings() throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("a", "x")
    #expect(try meeting.sync("a")["relay"] as? String == meeting.url)
    let other = "folder:" + meeting.home("elsewhere")
    #expect(try meeting.run("a", "sync", "--relay", other).status == 69)
    #expect(!FileManager.default.fileExists(atPath: meeting.home("elsewhere")))
    try meeting.move("relay", "elsewhere")
    #expect(try meeting.run("a", "sync").status == 69)
    #expect(!FileManager.default.fileExists(atPath: meeting.home("relay")))
    #expect(try meeting.run("a", "sync", "--relay", other).status == 0)
    #expect(try meeting.run("b", "sync", "--relay", other).status == 0)
    #expect(try meeting.titles("b") == ["x"])
  }

  @Test("two links of one contact: whoever follows either is told")
  func twoLinks() throws {
    let meeting = try Meeting.pair()
    try meeting.run("a", "record", "add", "contact", "name=Ben", "phone=555")
    try meeting.settle("a", "b")
    for (name, follower) in [("a", "one"), ("b", "other")] {
      let words = try meeting.run(name, "family", "invite", "ben", "--as", "Maya").out.split(whereSeparator: \.isWhitespace).map(String.init)
      let link = try #require(words.firstIndex(of: "follow").map { words[$0 + 1] })
      for follower in [follower, "both"] {
        #expect(try Program.run("family", "follow", link, "--relay", meeting.url, "--once", "--home", meeting.home(follower)).status == 0)
      }
    }
    try meeting.settle("a", "b")
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    for follower in ["one", "other", "both"] {
      let heard = try Program.run("family", "follow", "--once", "--json", "--home", meeting.home(follower))
      #expect(heard.out.ranges(of: #""event":"alert""#).count == 1, "\(follower): one event is told once")
    }
    try meeting.run("a", "crisis", "resolve", "--yes")
    let ended = try Program.run("family", "follow", "--once", "--json", "--home", meeting.home("both"))
    #expect(ended.out.ranges(of: #""event":"ended""#).count == 1)
  }

  @Test("a contact whose relay is not there is told that nothing can be heard", arguments: ["gone", "empty"])
  func followingNothing(how: String) throws {
    let meeting = try Meeting.pair()
    try meeting.run("a", "record", "add", "contact", "name=Ben", "phone=555")
    let words = try meeting.run("a", "family", "invite", "ben", "--as", "Maya").out.split(whereSeparator: \.isWhitespace).map(String.init)
    let link = try #require(words.firstIndex(of: "follow").map { words[$0 + 1] })
    #expect(try meeting.run("ben", "family", "follow", link, "--relay", meeting.url, "--once").status == 0)
    try meeting.move("relay", "away")
    if how == "empty" { try FileManager.default.createDirectory(atPath: meeting.home("relay"), withIntermediateDirectories: true) }
    let heard = try meeting.run("ben", "family", "follow", "--once")
    #expect(heard.status != 0 && !heard.err.isEmpty, "\(heard.out)")
    #expect(try FileManager.default.subpathsOfDirectory(atPath: meeting.path).filter { $0.hasPrefix("relay/") }.isEmpty)
  }

  // MARK: Joining

  @Test("a home that cannot be made is found before anybody is let in")
  func noPlace() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    try Data().write(to: URL(fileURLWithPath: meeting.home("file")))
    let code = try meeting.invite("a")
    let joined = try Program.run("join", code, "--device", "b", "--no-passphrase", "--yes", "--home", meeting.home("file/b"), "--relay", meeting.url)
    #expect(joined.status != 0)
    #expect((try meeting.status("a")["devices"] as? [Any])?.count == 1)
    #expect(try meeting.sync("a")["others"] as? Int == 0)
  }

  @Test("digits that one side does not confirm add nobody")
  func refused() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let code = try meeting.invite("a")
    // Nobody answers the question: standard input is empty.
    let joined = try Program.run("join", code, "--device", "b", "--no-passphrase", "--home", meeting.home("b"), "--relay", meeting.url)
    #expect(joined.status == 77)
    #expect(eventuallyEnded(meeting.processes[0]))
    #expect(meeting.processes[0].terminationStatus == 77)
    #expect((try meeting.status("a")["devices"] as? [Any])?.count == 1)
    #expect(!FileManager.default.fileExists(atPath: meeting.home("b") + "/store.db"))
    try meeting.join("b", by: "a")
  }

  @Test("of two that join with one code, one belongs, and the other is told why it does not")
  func oneCode() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let code = try meeting.invite("a")
    let started = try ["b", "c"].map { name in
      try Program.start(["join", code, "--device", name, "--no-passphrase", "--yes", "--home", meeting.home(name), "--relay", meeting.url])
    }
    let errors = started.map { String(decoding: $0.2.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self) }
    for (process, _, _) in started { process.waitUntilExit() }
    let statuses = started.map(\.0.terminationStatus)
    #expect(statuses.filter { $0 == 0 }.count == 1, "\(statuses) \(errors)")
    #expect(!statuses.contains(70))
    try meeting.run("a", "sync")
    #expect((try meeting.status("a")["devices"] as? [Any])?.count == 2)
  }

  @Test("two devices find each other through a service that shows files in parts and late")
  func throughAService() throws {
    let meeting = try Meeting(relay: "one")
    try meeting.found("a")
    let service = SyncService(meeting.home("one"), meeting.home("other"))
    service.start()
    defer { service.stop() }
    let code = try meeting.invite("a")
    let files = FileManager.default
    #expect(eventually { files.contents(atPath: meeting.home("other/epoch")).map { $0 == files.contents(atPath: meeting.home("one/epoch")) } ?? false })
    let joined = try Program.run(
      "join", code, "--device", "b", "--no-passphrase", "--yes", "--home", meeting.home("b"), "--relay", "folder:" + meeting.home("other"))
    #expect(joined.status == 0, "\(joined.err)")
    let (mine, _) = try meeting.agent("a")
    let (theirs, _) = try meeting.agent("b")
    _ = try meeting.write("a", "of a")
    _ = try meeting.write("b", "of b")
    for name in ["a", "b"] { #expect(try eventually { try meeting.titles(name) == ["of a", "of b"] }, "\(name)") }
    for process in [mine, theirs] {
      process.terminate()
      #expect(eventuallyEnded(process))
    }
  }

  // MARK: Homes

  @Test("a home that is deleted under its agent ends it, and init there is no old account")
  func deleted() throws {
    let meeting = try Meeting.pair()
    let (agent, _) = try meeting.agent("b")
    Thread.sleep(forTimeInterval: 0.5)
    // The agent ends meanwhile, and takes its socket with it.
    #expect(eventually {
      try? FileManager.default.removeItem(atPath: meeting.home("b"))
      return !FileManager.default.fileExists(atPath: meeting.home("b"))
    })
    #expect(eventuallyEnded(agent), "it confirms what nobody has")
    #expect(agent.terminationStatus != 0)
  }

  @Test("a file where the home would be admits nobody, and a folder where a file of it would be has a remedy that works", arguments: ["store.db", "data.key"])
  func otherKindsOfFile(name: String) throws {
    let meeting = try Meeting()
    try meeting.found("a")
    try Data("hello".utf8).write(to: URL(fileURLWithPath: meeting.home("b")))
    let arguments = ["--device", "b", "--no-passphrase", "--yes", "--relay", meeting.url, "--home"]
    let code = try meeting.invite("a")
    let refused = try Program.run(["join", code] + arguments + [meeting.home("b")])
    #expect(refused.status == 73 && refused.err.contains("is a file"), "\(refused)")
    #expect(try (meeting.status("a")["devices"] as? [Any])?.count == 1)
    #expect(try Program.run(["join", code] + arguments + [meeting.home("c")]).status == 0)
    try FileManager.default.removeItem(atPath: meeting.home("c") + "/" + name)
    try FileManager.default.createDirectory(atPath: meeting.home("c") + "/" + name, withIntermediateDirectories: false)
    let said = try meeting.run("c", "status")
    #expect(said.status == 65 && said.err.contains("--replace"), "\(said)")
    #expect(try Program.run(["join", try meeting.invite("a")] + arguments + [meeting.home("c"), "--replace"]).status == 0)
  }

  @Test("no folder that holds other files, and none without a name, becomes a home")
  func foreignFolder() throws {
    let meeting = try Meeting()
    let folder = meeting.home("photos")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    try Data().write(to: URL(fileURLWithPath: folder + "/one.jpg"))
    #expect(try Program.run("init", "--device", "a", "--no-passphrase", "--home", folder).status == 73)
    #expect(try FileManager.default.attributesOfItem(atPath: folder)[.posixPermissions] as? Int == 0o755)
    #expect(try Program.run("init", "--device", "a", "--no-passphrase", "--home", "").status == 64)
  }

  @Test("without descriptors, processes or room nothing traps", arguments: ["ulimit -n 5", "ulimit -n 9", "ulimit -f 0", "ulimit -u 1"])
  func limits(limit: String) throws {
    let meeting = try Meeting.pair()
    for words in ["status", "sync --timeout 3", "record add journal title=x", "crisis activate mild --now --timeout 3"] {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/bin/sh")
      process.arguments = ["-c", "\(limit); exec timeout 20 \(Program.path) \(words) --home \(meeting.home("a")) >/dev/null 2>&1"]
      try process.run()
      process.waitUntilExit()
      #expect(process.terminationReason == .exit && process.terminationStatus < 124, "\(words): \(process.terminationStatus)")
    }
    #expect(try meeting.run("a", "status").status == 0)
  }

  @Test("two users of one group share a relay, and what root wrote stays theirs", .enabled(if: getuid() == 0))
  func twoUsers() throws {
    let meeting = try Meeting()
    let shell = """
      set -e
      cd \(meeting.path); chmod 755 .
      mkdir homes; chmod 777 homes; mkdir relay; chgrp 4800 relay; chmod 2770 relay
      as() { user=$1; shift; setpriv --reuid=$user --regid=4800 --clear-groups "$@"; }
      as 4801 \(Program.path) init --device a --no-passphrase --home homes/a --relay folder:\(meeting.path)/relay >/dev/null
      as 4801 \(Program.path) devices invite --yes --home homes/a > code &
      while [ ! -s code ]; do sleep 0.05; done
      as 4802 timeout 20 \(Program.path) join $(cat code) --device b --no-passphrase --yes --home homes/b --relay folder:\(meeting.path)/relay >/dev/null
      wait
      \(Program.path) crisis activate severe --now --home homes/a >/dev/null
      as 4802 \(Program.path) sync --home homes/b >/dev/null
      as 4802 \(Program.path) crisis status --json --home homes/b
      as 4801 \(Program.path) sync --home homes/a >/dev/null
      find relay homes -user 0 | grep -v -x relay | grep -v -x homes || true
      """
    let (process, out, err) = (Process(), Pipe(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = ["-c", shell]
    (process.standardOutput, process.standardError) = (out, err)
    try process.run()
    let text = String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    let errors = String(decoding: err.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    #expect(process.terminationStatus == 0, "\(errors.suffix(400))")
    #expect(text.contains(#""active":true"#))
    #expect(text.split(separator: "\n").count == 1, "of root: \(text)")
  }

  // MARK: Answers

  @Test("an old questionnaire stays old when a note is added")
  func oldAnswers() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let month = try skewed(-35 * 86_400)
    #expect(try meeting.run("a", "assess", "gad7", "2", "2", "2", "2", "2", "2", "2", environment: month).status == 0)
    let listed = try meeting.json(meeting.run("a", "record", "list", "--json").out)["records"] as? [[String: Any]]
    let id = try #require(listed?.first?["id"] as? String)
    #expect(try meeting.run("a", "record", "set", id, "note=later").status == 0)
    let offer = try meeting.run("a", "assess", "phq9", "2", "2", "2", "2", "2", "2", "2", "1", "0", "--json").out
    #expect(offer.contains("considerable-load"), "\(offer)")
  }
}

/// Carries files between two folders as such services do: one after the other, in parts, and a little late.
final class SyncService: @unchecked Sendable {
  private let folders: [String]
  private var thread: Thread?
  private let lock = NSLock()
  private var isStopped = false

  init(_ one: String, _ other: String) { folders = [one, other] }

  func start() {
    let thread = Thread { [self] in
      while !lock.withLock({ isStopped }) {
        carry(folders[0], folders[1])
        carry(folders[1], folders[0])
        Thread.sleep(forTimeInterval: 0.1)
      }
    }
    thread.start()
    self.thread = thread
  }

  func stop() { lock.withLock { isStopped = true } }

  /// Every file that is newer here, its first half first.
  private func carry(_ from: String, _ to: String) {
    let files = FileManager.default
    for name in (try? files.subpathsOfDirectory(atPath: from)) ?? [] where !name.hasSuffix(".new") {
      let (source, target) = (from + "/" + name, to + "/" + name)
      var isFolder: ObjCBool = false
      guard files.fileExists(atPath: source, isDirectory: &isFolder) else { continue }
      if isFolder.boolValue {
        try? files.createDirectory(atPath: target, withIntermediateDirectories: true)
        continue
      }
      guard let bytes = files.contents(atPath: source), bytes != files.contents(atPath: target), age(source) > age(target) else { continue }
      try? bytes.prefix(bytes.count / 2).write(to: URL(fileURLWithPath: target))
      Thread.sleep(forTimeInterval: 0.03)
      try? bytes.write(to: URL(fileURLWithPath: target))
      if let date = try? files.attributesOfItem(atPath: source)[.modificationDate] as? Date {
        try? files.setAttributes([.modificationDate: date], ofItemAtPath: target)
      }
    }
  }

  private func age(_ path: String) -> Double {
    ((try? FileManager.default.attributesOfItem(atPath: path)[.modificationDate]) as? Date)?.timeIntervalSince1970 ?? 0
  }
}
