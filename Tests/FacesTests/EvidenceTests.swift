import CSystem
import Foundation
import Testing

/// What people who had never seen it found: words that were not so, and people who were not told.
@Suite("Evidence", .serialized)
struct EvidenceTests {
  private func shell(_ command: String) throws -> Int32 {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", command]
    try process.run()
    process.waitUntilExit()
    return process.terminationStatus
  }

  // MARK: A crisis of another device

  @Test("a crisis that no program has brought here yet is resolved here, or it is said that it is not")
  func resolvedUnseen() throws {
    let meeting = try Meeting.pair()
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    #expect(try meeting.run("a", "crisis", "history").out.contains("severe"))
    let resolved = try meeting.run("a", "crisis", "resolve", "--yes")
    #expect(resolved.status == 0 && resolved.out.contains("Resolved."), "\(resolved.out)\(resolved.err)")
    try meeting.settle("a", "b")
    for name in ["a", "b"] { #expect(try meeting.crisis(name)["active"] as? Bool == false, "\(name)") }
    // Also where one is known here and another is not.
    try meeting.run("a", "crisis", "activate", "mild", "--now")
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    #expect(try meeting.run("a", "crisis", "resolve", "--yes").out.contains("Resolved."))
    #expect(try meeting.crisis("a")["active"] as? Bool == false)
  }

  @Test("where the relay cannot be looked at, that nothing is active is not said")
  func unknown() throws {
    let meeting = try Meeting.pair()
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    try meeting.move("relay", "away")
    #expect(try meeting.crisis("a")["level"] as? String == "unknown")
    #expect(try meeting.run("a", "crisis", "status").out.contains("what other devices raised is not known"))
    #expect(try meeting.run("a", "sync").status == 69)
    #expect(try meeting.run("a", "status").out.contains("what other devices raised is not known"))
  }

  @Test("what is shown of a crisis is of one activation: how severe, when and where")
  func leading() throws {
    let meeting = try Meeting.pair()
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    try meeting.settle("a", "b")
    try meeting.run("b", "crisis", "activate", "mild", "--now")
    try meeting.settle("b", "a")
    for name in ["a", "b"] { #expect(try meeting.run(name, "status").out.contains("severe, raised on a"), "\(name)") }
  }

  @Test("status and doctor count what a crisis command has sent")
  func counted() throws {
    let meeting = try Meeting.pair()
    try meeting.settle("a", "b")
    let raised = try meeting.json(try meeting.run("a", "crisis", "activate", "severe", "--now", "--json").out)
    #expect(raised["word"] as? String == "saved-and-sent")
    #expect(try !meeting.run("a", "status").out.contains("on no relay yet"))
    #expect(try !meeting.run("a", "doctor").out.contains("on no relay yet"))
  }

  // MARK: What was typed

  @Test("what is no text is refused, but for a crisis; nothing is kept as other text")
  func notText() throws {
    let meeting = try Meeting(relay: "relay")
    try meeting.found("a")
    func type(_ words: String) throws -> Int32 {
      try shell("\(Program.path) \(words) --home '\(meeting.home("a"))' > '\(meeting.path)/said' 2>&1")
    }
    #expect(try type("record add journal \"title=$(printf 'a\\377b')\"") == 65)
    #expect(try String(contentsOfFile: meeting.path + "/said", encoding: .utf8).contains("input.not-text"))
    #expect(try meeting.run("a", "record", "list", "journal").out.isEmpty)
    #expect(try type("crisis card --region \"$(printf '\\377')\"") == 0)
    try Data([0x61, 0xFF, 0x62, 0x0A]).write(to: URL(fileURLWithPath: meeting.path + "/pass"))
    #expect(try type("status --passphrase-file '\(meeting.path)/pass'") == 0, "it is not asked for")
    #expect(try Program.run("init", "--device", "b", "--home", meeting.home("b"), "--passphrase-file", meeting.path + "/pass").err.contains("input.not-text"))
  }

  // MARK: Contacts

  /// A link for a contact, followed once by somebody.
  private func follow(_ name: String, of meeting: Meeting, follower: String) throws {
    try meeting.run("a", "record", "add", "contact", "name=\(name)", "phone=555")
    let words = try meeting.run("a", "family", "invite", name, "--as", "Maya").out.split(whereSeparator: \.isWhitespace).map(String.init)
    let link = try #require(words.firstIndex(of: "follow").map { words[$0 + 1] })
    #expect(try Program.run("family", "follow", link, "--once", "--home", meeting.home(follower), "--relay", meeting.url).status == 0)
  }

  private func look(_ meeting: Meeting, _ follower: String) throws -> Program.Outcome {
    try Program.run("family", "follow", "--once", "--home", meeting.home(follower))
  }

  private func notices(_ meeting: Meeting) throws -> [String] {
    let boards = meeting.home("relay") + "/boards"
    return try FileManager.default.subpathsOfDirectory(atPath: boards).filter { $0.contains("/") }.map { boards + "/" + $0 }
  }

  @Test("an alert that could not be written was not shown")
  func unwritten() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    try follow("Ben", of: meeting, follower: "ben")
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    #expect(try shell("\(Program.path) family follow --once --home \(meeting.home("ben")) >/dev/full") == 74)
    #expect(try look(meeting, "ben").out.contains("Maya asked for support"))
    #expect(try look(meeting, "ben").out.isEmpty, "once")
  }

  @Test("an alert of which a service has brought a part is shown when it is whole")
  func inPart() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    try follow("Ben", of: meeting, follower: "ben")
    let before = Set(try notices(meeting))
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    let alert = try #require(try notices(meeting).first { !before.contains($0) })
    let whole = try Data(contentsOf: URL(fileURLWithPath: alert))
    for count in [400, whole.count - 1] {
      try whole.prefix(count).write(to: URL(fileURLWithPath: alert))
      #expect(try look(meeting, "ben").out.isEmpty)
    }
    try whole.write(to: URL(fileURLWithPath: alert))
    #expect(try look(meeting, "ben").out.contains("Maya asked for support"))
  }

  @Test("what anybody may put on a board keeps no alert from being read", arguments: ["number", "link"])
  func junk(what: String) throws {
    let meeting = try Meeting()
    try meeting.found("a")
    try follow("Ann", of: meeting, follower: "ann")
    try follow("Ben", of: meeting, follower: "ben")
    for board in Set(try notices(meeting).map { ($0 as NSString).deletingLastPathComponent }) {
      if what == "number" {
        try Data("junk".utf8).write(to: URL(fileURLWithPath: board + "/4294967296"))
      } else {
        try FileManager.default.createSymbolicLink(atPath: board + "/77", withDestinationPath: "/nowhere")
      }
    }
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    for name in ["ann", "ben"] { #expect(try look(meeting, name).out.contains("Maya asked for support"), "\(name)") }
    try meeting.run("a", "crisis", "resolve", "--yes")
    for name in ["ann", "ben"] { #expect(try look(meeting, name).out.contains("over for now"), "\(name)") }
  }

  @Test("another relay in the place of the one that was followed is told")
  func otherRelay() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    try follow("Ben", of: meeting, follower: "ben")
    try meeting.move("relay", "away")
    #expect(try Program.run("init", "--device", "x", "--no-passphrase", "--home", meeting.home("x"), "--relay", meeting.url).status == 0)
    #expect(try look(meeting, "ben").status == 69)
    try FileManager.default.removeItem(atPath: meeting.home("relay"))
    try meeting.move("away", "relay")
    #expect(try look(meeting, "ben").status == 0)
    try FileManager.default.removeItem(atPath: meeting.home("relay") + "/boards")
    #expect(try look(meeting, "ben").status == 69)
  }

  @Test("a relay that is away, or hangs, keeps nothing of another one from the screen", arguments: ["away", "hangs"])
  func twoRelays(what: String) throws {
    let (one, other) = (try Meeting(), try Meeting())
    for meeting in [one, other] {
      try meeting.found("a")
      try meeting.run("a", "record", "add", "contact", "name=Ben", "phone=555")
      let words = try meeting.run("a", "family", "invite", "Ben", "--as", "Maya").out.split(whereSeparator: \.isWhitespace).map(String.init)
      let link = try #require(words.firstIndex(of: "follow").map { words[$0 + 1] })
      #expect(try Program.run("family", "follow", link, "--once", "--home", one.home("ben"), "--relay", meeting.url).status == 0)
    }
    for (raising, silent) in [(one, other), (other, one)] {
      try raising.run("a", "crisis", "activate", "severe", "--now")
      var environment: [String: String] = [:]
      if what == "away" { try silent.move("relay", "away") } else {
        environment = ["LD_PRELOAD": try #require(Outside.library), "HANG": silent.home("relay")]
      }
      let seen = try Program.run(["family", "follow", "--once", "--home", one.home("ben")], environment: environment)
      #expect(seen.status == 69 && seen.out.contains("Maya asked for support"), "\(seen.out)\(seen.err)")
      if what == "away" { try silent.move("away", "relay") }
    }
  }

  @Test("an alert that the relay has lost is put up again")
  func lostAlert() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    try follow("Ben", of: meeting, follower: "ben")
    let (agent, _) = try meeting.agent("a")
    defer { agent.terminate() }
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    try FileManager.default.removeItem(atPath: meeting.home("relay") + "/boards")
    #expect(try eventually { try look(meeting, "ben").out.contains("Maya asked for support") })
  }

  // MARK: Damage

  /// Changes four bytes of the row of a record.
  private func damage(_ record: String, of name: String, _ meeting: Meeting) throws {
    let code = """
      import sqlite3
      c = sqlite3.connect('\(meeting.home(name))/store.db')
      def number(name):
          value = 0
          for letter in name: value = value * 32 + '0123456789abcdefghjkmnpqrstvwxyz'.index(letter)
          return format(value, '032x')
      rows = c.execute("SELECT id, body FROM records").fetchall()
      for id, body in rows:
          if '\(record)' == 'all' or id.hex() == number('\(record)'):
              c.execute("UPDATE records SET body = ? WHERE id = ?", (body[:-4] + b'junk', id))
      c.commit()
      """
    #expect(try shell("python3 - <<'END'\n\(code)\nEND") == 0)
  }

  @Test("what a damaged row keeps from being applied is confirmed to nobody")
  func notApplied() throws {
    let meeting = try Meeting.pair()
    try meeting.run("b", "crisis", "activate", "mild", "--now")
    try meeting.settle("b", "a")
    try damage("all", of: "b", meeting)
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    _ = try meeting.run("b", "sync", "--timeout", "3")
    try meeting.run("a", "sync")
    #expect(try meeting.sync("a")["confirmedOn"] as? Int == 0)
  }

  @Test("a contact that cannot be read any more keeps nobody else from being told, and no program busy")
  func damagedContact() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    try follow("Ann", of: meeting, follower: "ann")
    let ben = try meeting.run("a", "record", "add", "contact", "name=Ben", "phone=555").out.trimmingCharacters(in: .newlines)
    try damage(ben, of: "a", meeting)
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    #expect(try look(meeting, "ann").out.contains("Maya asked for support"))
    #expect(try meeting.run("a", "doctor").status != 0)
  }

  // MARK: The key for emergencies

  @Test("a key for emergencies that was lost is missed, and followed by another", arguments: ["gone", "junk"])
  func lostKey(how: String) throws {
    let meeting = try Meeting.pair()
    let key = meeting.home("a") + "/emergency/key"
    if how == "gone" { try FileManager.default.removeItem(atPath: key) } else { try Data("junk".utf8).write(to: URL(fileURLWithPath: key)) }
    #expect(try meeting.run("a", "doctor").out.contains("LOOK emergency"))
    try meeting.settle("a", "b")
    #expect(try meeting.run("a", "doctor").out.contains("ok   emergency"))
    let holder = try meeting.hold("a", seconds: 6)
    defer { holder.terminate() }
    let raised = try meeting.json(try meeting.run("a", "crisis", "activate", "severe", "--now", "--json").out)
    #expect(raised["atRelay"] as? Bool == true)
    try meeting.run("b", "sync")
    #expect(try meeting.crisis("b")["active"] as? Bool == true)
  }

  /// How many entries a home knows of who belongs to the account, and the bytes of the streams of them at the relay.
  private func entries(_ name: String, _ meeting: Meeting) throws -> [Int] {
    let code = "import sqlite3; print(sqlite3.connect('\(meeting.home(name))/store.db').execute('SELECT count(*) FROM membership').fetchone()[0])"
    #expect(try shell("python3 -c \"\(code)\" > '\(meeting.path)/count'") == 0)
    let count = try String(contentsOfFile: meeting.path + "/count", encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
    let relay = meeting.home("relay")
    let bytes = try FileManager.default.subpathsOfDirectory(atPath: relay).filter { $0.hasSuffix("/5.log") }.reduce(0) { sum, file in
      sum + (try FileManager.default.attributesOfItem(atPath: relay + "/" + file)[.size] as? Int ?? 0)
    }
    return [try #require(Int(count)), bytes]
  }

  private func bytes(_ path: String) -> Data? { FileManager.default.contents(atPath: path) }

  @Test("a key that cannot be written is announced to nobody, however often it is tried; the first start that can makes it")
  func unwrittenKey() throws {
    let meeting = try Meeting.pair()
    try meeting.settle("a", "b")
    let (emergency, before) = (meeting.home("a") + "/emergency/", try entries("a", meeting))
    #expect(before[1] > 0)
    try FileManager.default.removeItem(atPath: emergency + "key")
    let full = ["LD_PRELOAD": try #require(Outside.library), "FULL": emergency]
    for _ in 1...30 { try meeting.run("a", "sync", environment: full) }
    #expect(try entries("a", meeting) == before)
    #expect(try meeting.run("a", "doctor").out.contains("LOOK emergency"))
    #expect(try meeting.run("a", "doctor", "--log").out.contains("emergency key not mended"), "what failed is told")
    try meeting.run("a", "sync")
    #expect(try meeting.run("a", "doctor").out.contains("ok   emergency"))
    #expect(try entries("a", meeting)[0] == before[0] + 1)
  }

  @Test("a key whose entry the store does not take waits, and is the one that is announced")
  func unannouncedKey() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let (key, before) = (meeting.home("a") + "/emergency/key", try entries("a", meeting))
    try FileManager.default.removeItem(atPath: key)
    let full = ["LD_PRELOAD": try #require(Outside.library), "FULL": meeting.home("a") + "/store.db-wal"]
    try meeting.run("a", "sync", "--timeout", "1", environment: full)
    let waiting = try #require(bytes(key + ".next"))
    for _ in 1...2 { try meeting.run("a", "sync", "--timeout", "1", environment: full) }
    #expect(bytes(key + ".next") == waiting)
    try meeting.run("a", "sync")
    #expect(bytes(key) == waiting && bytes(key + ".next") == nil)
    #expect(try entries("a", meeting)[0] == before[0] + 1)
  }

  @Test("after a kill between the entry and the key, the next start goes on with the key that was announced")
  func killedKey() throws {
    let meeting = try Meeting.pair()
    try meeting.settle("a", "b")
    let (emergency, before) = (meeting.home("a") + "/emergency/", try entries("a", meeting)[0])
    try FileManager.default.removeItem(atPath: emergency + "key")
    let hangs = ["LD_PRELOAD": try #require(Outside.library), "HANG": emergency + ".introduction"]
    let (process, _, _) = try Program.start(["sync", "--home", meeting.home("a")], environment: hangs)
    defer { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }
    #expect(try eventually { try entries("a", meeting)[0] == before + 1 })
    let waiting = try #require(bytes(emergency + "key.next"))
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    #expect(bytes(emergency + "key") == nil)
    try meeting.settle("a", "b")
    #expect(bytes(emergency + "key") == waiting && bytes(emergency + "key.next") == nil)
    #expect(try entries("a", meeting)[0] == before + 1, "no other was announced")
    let holder = try meeting.hold("a", seconds: 6)
    defer { holder.terminate() }
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    try meeting.run("b", "sync")
    #expect(try meeting.crisis("b")["active"] as? Bool == true)
  }

  @Test("what waits and is no key is kept aside, and is in the way of none")
  func junkBesideKey() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let key = meeting.home("a") + "/emergency/key"
    try FileManager.default.removeItem(atPath: key)
    try Data("junk".utf8).write(to: URL(fileURLWithPath: key + ".next"))
    chmod(key + ".next", 0o600)
    try meeting.run("a", "sync")
    #expect(try meeting.run("a", "doctor").out.contains("ok   emergency"))
    #expect(bytes(key + ".next.unreadable") == Data("junk".utf8))
  }

  @Test("what makes a device known is written again where it is missing beside its key")
  func introductionMissing() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let file = meeting.home("a") + "/emergency/.introduction"
    let (before, known) = (try #require(bytes(file)), try entries("a", meeting)[0])
    try FileManager.default.removeItem(atPath: file)
    try meeting.run("a", "sync")
    #expect(bytes(file) == before)
    #expect(try entries("a", meeting)[0] == known)
  }

  @Test("where no further key is taken, doctor says so, and what it says to do gives a device with a key")
  func usedUpKeys() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let key = meeting.home("a") + "/emergency/key"
    var lost = 0
    while lost < 40, bytes(key) != nil {
      try FileManager.default.removeItem(atPath: key)
      lost += 1
      try meeting.run("a", "sync")
    }
    #expect(lost == 32)
    let known = try entries("a", meeting)
    for _ in 1...3 { try meeting.run("a", "sync") }
    #expect(try entries("a", meeting) == known && bytes(key + ".next") == nil)
    let said = try meeting.run("a", "doctor").out
    #expect(said.contains("LOOK emergency") && said.contains("fullmind devices invite") && said.contains("fullmind join CODE") && !said.contains("makes a new one"), "\(said)")
    try meeting.join("new", by: "a")
    #expect(try meeting.run("new", "doctor").out.contains("ok   emergency"))
  }

  @Test("without a key for emergencies a crisis is tried for as long as it says so")
  func withoutKey() throws {
    let meeting = try Meeting()
    #expect(try Program.run("init", "--device", "a", "--no-passphrase", "--no-emergency-key", "--home", meeting.home("a"), "--relay", meeting.url).status == 0)
    let holder = try meeting.hold("a", seconds: 13)
    defer { holder.terminate() }
    let raised = try meeting.run("a", "crisis", "activate", "mild", "--now", "--timeout", "40")
    #expect(raised.status == 0, "\(raised.out)\(raised.err)")
    #expect(try meeting.crisis("a")["active"] as? Bool == true)
  }

  // MARK: Joining

  @Test("two joins in one home: one says that the other is under way")
  func twoJoins() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let code = try meeting.invite("a")
    let words = ["join", code, "--device", "b", "--no-passphrase", "--home", meeting.home("b"), "--relay", meeting.url]
    let keys = Pipe()
    let (first, _, _) = try Program.start(words, input: keys.fileHandleForReading)
    #expect(eventually { FileManager.default.fileExists(atPath: meeting.home("b") + ".joining/joining") })
    let second = try Program.run(words + ["--yes"])
    #expect(second.status == 75, "\(second.out)\(second.err)")
    first.terminate()
    first.waitUntilExit()
    #expect(try Program.run(words + ["--yes"]).status == 0)
    #expect(try meeting.run("b", "doctor", "--timeout", "5").out.contains("ok   store"))
  }

  @Test("a device whose place was taken while it joined is nobody's member")
  func ghost() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let code = try meeting.invite("a")
    let keys = Pipe()
    let (joining, _, err) = try Program.start(
      ["join", code, "--device", "b", "--no-passphrase", "--home", meeting.home("b"), "--relay", meeting.url], input: keys.fileHandleForReading)
    #expect(eventually { FileManager.default.fileExists(atPath: meeting.home("b") + ".joining/joining") })
    #expect(try Program.run("init", "--device", "b", "--no-passphrase", "--home", meeting.home("b")).status == 0)
    try keys.fileHandleForWriting.write(contentsOf: Data("y\n".utf8))
    joining.waitUntilExit()
    #expect(joining.terminationStatus == 73, "\(String(decoding: err.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self))")
    #expect(try eventually {
      try meeting.run("a", "sync")
      return try (meeting.status("a")["devices"] as? [[String: Any]])?.count == 1
    })
  }

  // MARK: What to do next

  @Test("what is said to do next names the home it is for")
  func pasted() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    #expect(try meeting.run("a", "assess", "phq9", "2", "2", "3", "2", "1", "2", "1", "2", "1").err.contains("`fullmind crisis activate --home \(meeting.home("a"))`"))
    try meeting.move("relay", "away")
    let synced = try meeting.run("a", "sync", "--json")
    #expect(synced.out.contains("`fullmind relay make folder:PATH --home \(meeting.home("a"))`"), "\(synced.out)")
    #expect(try meeting.run("a", "relay", "make").status == 0, "as it was said")
    #expect(try meeting.run("a", "sync").status == 0)
  }

  @Test("a relay that was made anew is taken over by the first sync of another device")
  func takenOver() throws {
    let meeting = try Meeting.pair()
    try meeting.settle("a", "b")
    try FileManager.default.removeItem(atPath: meeting.home("relay"))
    #expect(try meeting.run("a", "relay", "make").status == 0)
    #expect(try meeting.run("a", "sync").status == 0)
    let synced = try meeting.run("b", "sync")
    #expect(synced.status == 0, "\(synced.err)")
  }

  @Test("commands end beside a process that leads and a relay that hangs")
  func hanging() throws {
    let meeting = try Meeting.pair()
    let (agent, _) = try meeting.agent("a")
    defer { agent.terminate() }
    #expect(try eventually { try meeting.run("a", "sync", "--timeout", "5").status == 0 })
    let hangs = ["LD_PRELOAD": try #require(Outside.library), "HANG": meeting.home("relay")]
    for words in [["sync", "--timeout", "2"], ["relay", "show"], ["relay", "make"], ["relay", "move", meeting.url], ["devices", "invite", "--yes"], ["agent", "--until-synced", "--timeout", "2"]] {
      let began = Date()
      _ = try Program.run(words + ["--home", meeting.home("a")], environment: hangs)
      #expect(Date().timeIntervalSince(began) < 20, "\(words)")
    }
  }
}
