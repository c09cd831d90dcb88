import CSystem
import Foundation
import Testing

/// The findings about old homes, careless relays, wrong clocks and second processes: what must hold now.
@Suite("Never lose, never claim", .serialized)
struct ReliabilityTests {
  // MARK: C1 · numbers are used once

  @Test("a home that is put back and written before its first exchange loses nothing", arguments: [0, 1, 20], [false, true])
  func putBack(writes: Int, withRelay: Bool) throws {
    let meeting = try Meeting.pair()
    var acknowledged = Set<String>()
    func write(_ name: String, _ title: String) throws {
      _ = try meeting.write(name, title)
      acknowledged.insert(title)
    }
    for number in 1...3 { try write("a", "before \(number)") }
    try meeting.settle("a", "b")
    try meeting.keep("a")
    if withRelay { try meeting.copy("relay", "relay.kept") }
    for number in 1...3 { try write("a", "after \(number)") }
    try write("b", "of b")
    try meeting.settle("a", "b")
    try meeting.putBack("a")
    if withRelay { try meeting.copy("relay.kept", "relay") }
    for number in 0..<writes { try write("a", "again \(number)") }
    try meeting.settle("a", "b")
    for name in ["a", "b"] { #expect(try meeting.titles(name) == acknowledged, "\(name)") }
    #expect(try meeting.hash("a") == meeting.hash("b"))
    #expect(try meeting.run("a", "doctor").status == 0)
    #expect(try meeting.sync("a")["confirmedOn"] as? Int == 1)
  }

  @Test("after a kill, with the write-ahead log gone or cut, and one write more, both have everything", arguments: ["gone", "empty", "cut"])
  func torn(how: String) throws {
    let meeting = try Meeting.pair()
    let (agent, _) = try meeting.agent("a")
    var acknowledged = Set<String>()
    for number in 1...8 {
      _ = try meeting.write("a", "\(number)")
      acknowledged.insert("\(number)")
    }
    try meeting.run("b", "sync")
    kill(agent.processIdentifier, SIGKILL)
    agent.waitUntilExit()
    let log = meeting.home("a") + "/store.db-wal"
    switch how {
    case "gone": try? FileManager.default.removeItem(atPath: log)
    case "empty": truncate(log, 0)
    default:
      let size = (try? FileManager.default.attributesOfItem(atPath: log)[.size] as? Int) ?? 0
      if size > 1_000 { truncate(log, size - 1_000) }
    }
    _ = try meeting.write("a", "one more")
    acknowledged.insert("one more")
    try meeting.settle("a", "b")
    for name in ["a", "b"] { #expect(try meeting.titles(name) == acknowledged, "\(name)") }
  }

  @Test("store.db put back alone loses nothing")
  func databaseAlone() throws {
    let meeting = try Meeting.pair()
    var acknowledged = Set<String>()
    func write(_ title: String) throws {
      _ = try meeting.write("a", title)
      acknowledged.insert(title)
    }
    try write("one")
    try meeting.settle("a", "b")
    try meeting.copy("a/store.db", "kept.db")
    for number in 2...4 { try write("\(number)") }
    try meeting.settle("a", "b")
    for file in ["store.db", "store.db-wal", "store.db-shm"] { try? FileManager.default.removeItem(atPath: meeting.home("a") + "/" + file) }
    try meeting.copy("kept.db", "a/store.db")
    try write("five")
    try meeting.settle("a", "b")
    for name in ["a", "b"] { #expect(try meeting.titles(name) == acknowledged, "\(name)") }
  }

  @Test("one home on two machines, crises too: all that was acknowledged is everywhere, and it is told")
  func clones() throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("a", "first")
    try meeting.settle("a", "b")
    try meeting.copy("a", "c")
    var acknowledged: Set = ["first"]
    for turn in 0..<3 {
      for name in ["a", "c"] {
        _ = try meeting.write(name, "\(name) \(turn)")
        acknowledged.insert("\(name) \(turn)")
        if turn == 1 { try meeting.run(name, "crisis", "activate", "mild", "--now") }
        try meeting.run(name, "sync")
      }
    }
    try meeting.settle("a", "c", "b")
    for name in ["a", "b", "c"] {
      #expect(try meeting.titles(name) == acknowledged, "\(name)")
      #expect(try meeting.crisis(name)["active"] as? Bool == true, "\(name)")
      #expect(try meeting.hash(name) == meeting.hash("b"))
    }
    #expect(try meeting.run("a", "doctor").out.contains("LOOK lives"), "a home in two places is told")
  }

  @Test("a retired copy that is used once more takes nothing from the machine that followed it")
  func retired() throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("a", "before")
    try meeting.settle("a", "b")
    try meeting.copy("a", "new")
    var acknowledged: Set = ["before"]
    // The relay is read by the retired one only after it wrote.
    for (name, title) in [("new", "moved"), ("a", "retired"), ("new", "after"), ("a", "retired again"), ("new", "last")] {
      _ = try meeting.write(name, title)
      acknowledged.insert(title)
      if title != "moved" { try meeting.run(name, "sync") }
    }
    try meeting.settle("new", "b")
    for name in ["new", "b"] { #expect(try meeting.titles(name) == acknowledged, "\(name)") }
  }

  @Test("a home that is put back again and again sends each write once")
  func growth() throws {
    let meeting = try Meeting.pair()
    for title in ["one", "two", "three"] { _ = try meeting.write("a", title) }
    try meeting.run("a", "sync")
    try meeting.keep("a")
    var sizes = [try meeting.relayBytes()]
    for round in 1...10 {
      try meeting.putBack("a")
      _ = try meeting.write("a", "round \(round)")
      try meeting.run("a", "sync")
      sizes.append(try meeting.relayBytes())
    }
    let growth = zip(sizes.dropFirst(), sizes).map { $0 - $1 }
    #expect(growth[9] * 2 < 3 * growth[4], "\(growth)")
    try meeting.settle("a", "b")
    for name in ["a", "b"] { #expect(try meeting.titles(name).count == 13, "\(name)") }
  }

  @Test("a home put back under its running agent: the agent ends and says why, and nothing is lost")
  func underAgent() throws {
    let meeting = try Meeting.pair()
    try meeting.keep("a")
    let (agent, _) = try meeting.agent("a")
    _ = try meeting.write("a", "written")
    try meeting.run("b", "sync")
    try meeting.putBack("a")
    #expect(eventuallyEnded(agent), "it goes on in files without a name")
    #expect(agent.terminationStatus == 75)
    _ = try meeting.write("a", "later")
    try meeting.settle("a", "b")
    for name in ["a", "b"] { #expect(try meeting.titles(name) == ["written", "later"], "\(name)") }
  }

  // MARK: C2 · two of anything at once

  @Test("two invitations of one device at once: both newcomers belong, and hear each other")
  func twoInvitations() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let codes = [try meeting.invite("a"), try meeting.invite("a")]
    for (name, code) in zip(["b", "c"], codes) {
      let joined = try Program.run("join", code, "--device", name, "--no-passphrase", "--yes", "--home", meeting.home(name), "--relay", meeting.url)
      #expect(joined.status == 0, "\(joined.err)")
    }
    try meeting.settle("a", "b", "c")
    try meeting.run("c", "crisis", "activate", "severe", "--now")
    for name in ["a", "b"] {
      #expect(try meeting.run(name, "sync").status == 0)
      #expect(try meeting.crisis(name)["active"] as? Bool == true, "\(name)")
      #expect(try meeting.run(name, "status").status == 0)
    }
  }

  @Test("a home from before a join that it admitted knows the newcomer again")
  func beforeJoin() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    try meeting.run("a", "sync")
    try meeting.keep("a")
    try meeting.join("b", by: "a")
    try meeting.putBack("a")
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    #expect(try meeting.run("a", "sync", "--timeout", "20").status == 0)
    #expect(try meeting.crisis("a")["active"] as? Bool == true)
    try meeting.join("c", by: "a")
    try meeting.settle("a", "b", "c")
    for name in ["a", "b", "c"] { #expect((try meeting.status(name)["devices"] as? [Any])?.count == 3, "\(name)") }
  }

  // MARK: C3, C4 · a crisis, and a relay that is not there

  @Test("a crisis after one that did not reach the relay is shown, and sent is said only then")
  func crisisAfterUnsent() throws {
    let meeting = try Meeting.pair()
    try FileManager.default.moveItem(atPath: meeting.home("relay"), toPath: meeting.home("away"))
    let first = try meeting.run("a", "crisis", "activate", "mild", "--now")
    #expect(!first.out.contains("sent to"), "\(first.out)")
    try FileManager.default.moveItem(atPath: meeting.home("away"), toPath: meeting.home("relay"))
    let second = try meeting.run("a", "crisis", "activate", "severe", "--now")
    #expect(second.status == 0)
    try meeting.run("b", "sync")
    #expect(try meeting.crisis("b")["level"] as? String == "severe")
  }

  @Test("no relay, an empty folder and another relay are told, and nothing is made there", arguments: ["gone", "empty", "another"])
  func notTheRelay(what: String) throws {
    let meeting = try Meeting.pair()
    try FileManager.default.moveItem(atPath: meeting.home("relay"), toPath: meeting.home("away"))
    if what != "gone" { try FileManager.default.createDirectory(atPath: meeting.home("relay"), withIntermediateDirectories: true) }
    if what == "another" {
      #expect(try Program.run("init", "--device", "x", "--no-passphrase", "--home", meeting.home("x"), "--relay", meeting.url).status == 0)
      try meeting.run("x", "sync")
    }
    let before = try FileManager.default.subpathsOfDirectory(atPath: meeting.path).filter { $0.hasPrefix("relay") }
    let synced = try meeting.run("a", "sync", "--timeout", "5")
    #expect(synced.status != 0, "\(synced.out)")
    let raised = try meeting.json(try meeting.run("a", "crisis", "activate", "severe", "--now", "--json").out)
    #expect(raised["atRelay"] as? Bool == false)
    #expect(try meeting.run("a", "doctor").out.contains("LOOK relay"))
    #expect(try FileManager.default.subpathsOfDirectory(atPath: meeting.path).filter { $0.hasPrefix("relay") } == before)
    try? FileManager.default.removeItem(atPath: meeting.home("relay"))
    try FileManager.default.moveItem(atPath: meeting.home("away"), toPath: meeting.home("relay"))
    try meeting.settle("a", "b")
    #expect(try meeting.crisis("b")["active"] as? Bool == true)
  }

  // MARK: H · hearing

  @Test("a stopped process does not make the device deaf")
  func stopped() throws {
    let meeting = try Meeting.pair()
    let (first, _) = try meeting.agent("a")
    #expect(try eventually { try meeting.sync("a")["state"] as? String != "resting" })
    let (second, _) = try meeting.agent("a")
    // Between two transactions: whoever is stopped within one keeps the store for as long as it is stopped.
    Thread.sleep(forTimeInterval: 1)
    kill(first.processIdentifier, SIGSTOP)
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    #expect(try eventually { try meeting.crisis("a")["active"] as? Bool == true })
    #expect(try meeting.run("a", "doctor").out.contains("LOOK programs"))
    kill(first.processIdentifier, SIGCONT)
    for process in [first, second] {
      process.terminate()
      #expect(eventuallyEnded(process))
    }
  }

  @Test("a process that leads again hears again at once")
  func leadsAgain() throws {
    let meeting = try Meeting.pair()
    let agents = [try meeting.agent("a").process, try meeting.agent("a").process]
    // Each is missed once: both have led and followed when the second is stopped.
    for agent in agents {
      Thread.sleep(forTimeInterval: 1)
      kill(agent.processIdentifier, SIGSTOP)
      Thread.sleep(forTimeInterval: 6)
      let title = "\(UUID())"
      _ = try meeting.write("b", title)
      #expect(try eventually(within: 8) { try meeting.titles("a").contains(title) }, "long before the next heartbeat")
      kill(agent.processIdentifier, SIGCONT)
    }
  }

  @Test("a reader of events that stops reading does not make the device deaf")
  func unreadEvents() throws {
    let meeting = try Meeting.pair()
    let (agent, out) = try meeting.agent("a")
    _ = out.readData(ofLength: 1)
    try meeting.run("b", "bench", "fill", "--count", "3000")
    try meeting.run("b", "sync")
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    #expect(try eventually { try meeting.crisis("a")["active"] as? Bool == true })
    agent.terminate()
    #expect(eventuallyEnded(agent), "SIGTERM works")
  }

  @Test("whoever cannot write its own files reads those of others")
  func deafBySpeaking() throws {
    // Rights mean nothing to the administrator: a folder in the place of the file does.
    let meeting = try Meeting.pair()
    let names = try FileManager.default.subpathsOfDirectory(atPath: meeting.home("relay")).filter { $0.hasSuffix("presence") }
    try meeting.run("a", "sync")
    let account = try #require(names.first).split(separator: "/")[0]
    let before = Set(try FileManager.default.contentsOfDirectory(atPath: meeting.home("relay") + "/\(account)"))
    #expect(before.count == 2)
    let own = try #require(try ownFolder(meeting, "a"))
    try? FileManager.default.removeItem(atPath: own + "/3.log")
    try FileManager.default.createDirectory(atPath: own + "/3.log", withIntermediateDirectories: true)
    _ = try meeting.write("a", "cannot leave")
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    _ = try meeting.run("a", "sync", "--timeout", "8")
    #expect(try meeting.crisis("a")["active"] as? Bool == true)
    try FileManager.default.removeItem(atPath: own + "/3.log")
    try meeting.settle("a", "b")
    #expect(try meeting.titles("b") == ["cannot leave"])
  }

  /// The folder on the relay that a device writes: the one whose presence changes when it exchanges.
  private func ownFolder(_ meeting: Meeting, _ name: String) throws -> String? {
    func presences() throws -> [String: Data] {
      let root = meeting.home("relay")
      return try FileManager.default.subpathsOfDirectory(atPath: root).filter { $0.hasSuffix("/presence") }.reduce(into: [:]) {
        $0[$1] = FileManager.default.contents(atPath: root + "/" + $1)
      }
    }
    let before = try presences()
    try meeting.run(name, "sync")
    return try presences().first { before[$0.key] != $0.value }.map { meeting.home("relay") + "/" + ($0.key as NSString).deletingLastPathComponent }
  }

  // MARK: H4–H8 · what is missing is waited for

  @Test("a key file or a database that is away for a moment is named, and nothing is made in its place", arguments: ["data.key", "store.db"])
  func away(file: String) throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("a", "kept")
    try meeting.settle("a", "b")
    let path = meeting.home("a") + "/" + file
    try FileManager.default.moveItem(atPath: path, toPath: path + ".away")
    #expect(try meeting.run("a", "status").status == 65)
    #expect(try Program.run("init", "--device", "a", "--no-passphrase", "--home", meeting.home("a")).status == 65)
    #expect(try meeting.run("a", "doctor").out.contains("LOOK store"))
    try FileManager.default.moveItem(atPath: path + ".away", toPath: path)
    #expect(try meeting.titles("a") == ["kept"])
  }

  @Test("where a file of the store is lost for good, the named remedy works, and the old folder is kept aside", arguments: ["data.key", "store.db"])
  func lost(file: String) throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("a", "kept")
    try meeting.settle("a", "b")
    truncate(meeting.home("b") + "/" + file, 0)
    let code = try meeting.invite("a")
    let joined = try Program.run(
      "join", code, "--device", "b", "--no-passphrase", "--yes", "--replace", "--home", meeting.home("b"), "--relay", meeting.url)
    #expect(joined.status == 0, "\(joined.err)")
    try meeting.settle("a", "b")
    #expect(try meeting.titles("b") == ["kept"])
    #expect(try FileManager.default.contentsOfDirectory(atPath: meeting.path).contains { $0.hasPrefix("b.") })
  }

  @Test("an answer that cannot be written is no success", arguments: ["init", "list", "help"])
  func outputLost(command: String) throws {
    guard access("/dev/full", W_OK) == 0 else { return }
    let meeting = try Meeting()
    if command == "list" {
      try meeting.found("a")
      _ = try meeting.write("a", "x")
    }
    let arguments = command == "help" ? "help record" : command == "init" ? "init --device a --no-passphrase --home \(meeting.home("a"))" : "record list --json --home \(meeting.home("a"))"
    let (process, out) = (Process(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "\(Program.path) \(arguments) > /dev/full"]
    process.standardError = out
    try process.run()
    _ = out.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 74)
    if command == "init" { #expect(!FileManager.default.fileExists(atPath: meeting.home("a") + "/store.db"), "no code was shown, so there is no account") }
  }

  @Test("two init in one home at once: one is made, and the other is told")
  func twoInits() throws {
    for _ in 0..<4 {
      let meeting = try Meeting()
      let started = try (0..<2).map { _ in try Program.start(["init", "--device", "a", "--no-passphrase", "--home", meeting.home("a"), "--relay", meeting.url]) }
      for (process, out, _) in started {
        _ = out.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
      }
      #expect(started.map(\.0.terminationStatus).sorted() == [0, 73])
      #expect(try meeting.run("a", "status").status == 0)
    }
  }

  // MARK: M

  @Test("a crisis goes through while another program holds the store")
  func lockedStore() throws {
    let meeting = try Meeting.pair()
    let holder = try meeting.hold("a", seconds: 8)
    defer { holder.terminate() }
    let raised = try meeting.json(try meeting.run("a", "crisis", "activate", "severe", "--now", "--json").out)
    #expect(holder.isRunning, "it took as long as the lock")
    #expect(raised["atRelay"] as? Bool == true)
    #expect(try meeting.run("b", "sync").status == 0)
    #expect(try meeting.crisis("b")["active"] as? Bool == true)
  }

  @Test("standard error that is closed or full ends no command with a trap", arguments: ["2>&-", "2>/dev/full"])
  func closedError(how: String) throws {
    let meeting = try Meeting()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "\(Program.path) record list --home \(meeting.home("a")) >/dev/null \(how)"]
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationReason == .exit && process.terminationStatus == 66)
  }

  @Test("an exchange lock that is no file is said, and every command ends")
  func lockIsFolder() throws {
    let meeting = try Meeting.pair()
    try? FileManager.default.removeItem(atPath: meeting.home("a") + "/exchange.lock")
    try FileManager.default.createDirectory(atPath: meeting.home("a") + "/exchange.lock", withIntermediateDirectories: true)
    _ = try meeting.run("a", "sync", "--timeout", "5")
    #expect(try meeting.run("a", "doctor").out.contains("exchange.lock is no file"))
  }

  // MARK: Limits and answers

  @Test("no merge and no choice makes what a reader refuses")
  func longTexts() throws {
    let meeting = try Meeting.pair()
    let id = try meeting.write("a", "long")
    let family = "👩‍👩‍👧‍👦"
    #expect(family.utf8.count == 25)
    try meeting.run("a", "record", "set", id, "text=middle")
    try meeting.settle("a", "b")
    let many = String(repeating: family, count: 330)
    try meeting.run("a", "record", "set", id, "text=\(many) middle")
    try meeting.run("b", "record", "set", id, "text=middle \(many)")
    try meeting.settle("a", "b")
    _ = try meeting.run("a", "conflicts", "resolve", id, "text", "--by", "field-merge")
    _ = try meeting.run("a", "conflicts", "resolve", id, "text", "--both")
    #expect(try meeting.run("a", "record", "list").status == 0)
    _ = try meeting.write("a", "later")
    try meeting.settle("a", "b")
    #expect(try meeting.titles("b").contains("later"))
    #expect(try meeting.hash("a") == meeting.hash("b"))
  }

  @Test("item 9 offers help whichever way it was entered, and belongs to the PHQ-9 alone")
  func item9() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let added = try meeting.run("a", "record", "add", "assessment", "instrument=phq9", "item9=2")
    #expect(added.err.contains("crisis card"))
    let bare = try meeting.run("a", "record", "add", "assessment", "item9=1")
    #expect(bare.err.contains("crisis card"))
    let later = try meeting.run("a", "record", "add", "assessment", "instrument=phq9")
    #expect(!later.err.contains("crisis card"))
    let set = try meeting.run("a", "record", "set", later.out.trimmingCharacters(in: .newlines), "item9=3")
    #expect(set.err.contains("crisis card"))
    let other = try meeting.run("a", "record", "add", "assessment", "instrument=gad7", "item9=3")
    #expect(other.status == 64 || other.status == 65, "\(other.err)")
    let gad = try meeting.run("a", "record", "add", "assessment", "instrument=gad7", "item1=1").out.trimmingCharacters(in: .newlines)
    #expect(try meeting.run("a", "record", "set", gad, "item8=1").status != 0)
  }

  @Test("a value may begin with a combining mark")
  func combining() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    #expect(try meeting.run("a", "record", "add", "journal", "title=\u{301}x").status == 0)
  }

  @Test("a local time that was left out when the clocks went forward is the moment that follows")
  func leftOutTime() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let id = try meeting.write("a", "x")
    func show(_ at: String) throws -> Program.Outcome {
      try Program.run(["record", "show", id, "--at", at, "--home", meeting.home("a")], environment: ["TZ": "Europe/Berlin"])
    }
    // 66: there was no such record then; 65 would be "no time".
    #expect(try show("2026-03-29T02:30:00").status == 66)
    #expect(try show("2026-03-29T03:30:00").status == 66)
    #expect(try show("2026-02-30T03:30:00").status == 64 || show("2026-02-30T03:30:00").status == 65)
  }

  @Test("a file with the passphrase may have been written by any editor")
  func passphraseFile() throws {
    let meeting = try Meeting()
    let file = meeting.path + "/words"
    try Data("pa\u{308}ss\r\nsecond line\r\n".utf8).write(to: URL(fileURLWithPath: file))
    #expect(try Program.run("init", "--device", "a", "--passphrase-file", file, "--home", meeting.home("a"), "--relay", meeting.url).status == 0)
    try Data("p\u{E4}ss\n".utf8).write(to: URL(fileURLWithPath: file))
    #expect(try meeting.run("a", "status", "--passphrase-file", file).status == 0)
    // A crisis needs none of it.
    let raised = try meeting.json(try meeting.run("a", "crisis", "activate", "severe", "--now", "--json").out)
    #expect(raised["active"] as? Bool == true)
    #expect(try meeting.json(try meeting.run("a", "crisis", "status", "--json", "--passphrase-file", file).out)["level"] as? String == "severe")
  }

  @Test("doctor leaves a log behind, without a word of the person")
  func log() throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("a", "a secret title")
    try meeting.settle("a", "b")
    let text = try meeting.run("a", "doctor", "--log").out
    #expect(text.contains("relay found"))
    #expect(!text.contains("secret"))
  }
}
