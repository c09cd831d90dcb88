import Foundation
import Testing

/// Two devices as processes that wrote apart from each other.
@Suite("Conflicts between two processes", .serialized)
struct ConflictCommandTests {
  private let folder: Folder
  private var a: String { folder.path + "/a" }
  private var b: String { folder.path + "/b" }

  init() throws {
    folder = try Folder()
    let relay = "folder:" + folder.path + "/relay"
    try Program.run("init", "--device", "laptop", "--no-passphrase", "--home", a, "--relay", relay)
    let (process, out, _) = try Program.start(["devices", "invite", "--yes", "--home", a])
    let code = String(decoding: out.fileHandleForReading.availableData, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    let joined = try Program.run("join", code, "--device", "phone", "--no-passphrase", "--yes", "--home", b, "--relay", relay)
    #expect(joined.status == 0, "\(joined.err)")
    process.waitUntilExit()
  }

  private func sync() throws {
    for home in [a, b, a, b] { #expect(try Program.run("sync", "--home", home).status == 0) }
  }

  private func json(_ words: String..., home: String) throws -> [String: Any] {
    let (process, out, _) = try Program.start(words + ["--json", "--home", home])
    let data = out.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any], "\(words)")
  }

  private func fields(_ id: String, home: String) throws -> [String: Any] {
    try #require(try json("record", "show", id, home: home)["fields"] as? [String: Any])
  }

  private func conflicts(_ home: String) throws -> [[String: Any]] {
    try #require(try json("conflicts", "list", home: home)["conflicts"] as? [[String: Any]])
  }

  private func add(_ words: String...) throws -> String {
    let (process, out, _) = try Program.start(["record", "add"] + words + ["--home", a])
    let text = String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    try sync()
    return text.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  private func same() throws {
    #expect(try json("status", home: a)["stateHash"] as? String == json("status", home: b)["stateHash"] as? String)
  }

  @Test("21 with thoughts of being better off dead is not replaced by a newer 4")
  func assessment() throws {
    let id = try add("assessment", "instrument=phq9")
    try Program.run("record", "set", id, "item1=3", "item2=3", "item3=3", "item4=3", "item5=3", "item6=3", "item9=3", "--home", a)
    try Program.run("record", "set", id, "item1=1", "item2=1", "item3=1", "item4=1", "item5=0", "item6=0", "item9=0", "--home", b)
    try sync()
    for home in [a, b] {
      let shown = try fields(id, home: home)
      #expect((1...6).allSatisfy { shown["item\($0)"] as? Int == 3 } && shown["item9"] as? Int == 3)
      let open = try conflicts(home)
      #expect(open.count == 7 && open.first { $0["field"] as? String == "item9" }?["impact"] as? String == "critical")
    }
    let counted = try #require(try json("status", home: b)["conflicts"] as? [String: Any])
    #expect(counted["detected"] as? Int == 7 && counted["asked"] as? Int == 7 && counted["open"] as? Int == 7)
    #expect(try Program.run("conflicts", "resolve", id, "item9", "2", "--home", b).status == 0, "the person may say so")
    #expect(try Program.run("conflicts", "resolve-all", "assessment conflict", "--home", b).out.contains("Settled 6"))
    try sync()
    #expect(try fields(id, home: a)["item9"] as? Int == 0 && conflicts(a).isEmpty)
    #expect(try Program.run("conflicts", "undo", id, "item9", "--home", a).status == 0)
    try sync()
    #expect(try fields(id, home: b)["item9"] as? Int == 3 && conflicts(b).count == 1, "open again everywhere, with the safer value")
    #expect(try Program.run("conflicts", "undo", id, "item9", "--home", b).err.contains("still open"))
    #expect(try Program.run("conflicts", "undo", id, "note", "--home", b).err.contains("Nothing was settled"))
    try same()
  }

  @Test("mild, raised a moment later, does not lower an emergency")
  func emergency() throws {
    try Program.run("crisis", "activate", "emergency", "--json", "--home", a)
    try Program.run("crisis", "activate", "mild", "--json", "--home", b)
    try sync()
    for home in [a, b] { #expect(try json("crisis", "status", home: home)["level"] as? String == "emergency") }
    #expect(try conflicts(a).isEmpty, "nobody is asked")
    try same()
  }

  @Test("a contact that was removed here and edited there stays until the person decides, and the decision counts")
  func contact() throws {
    let id = try add("contact", "name=Jo", "phone=1")
    try Program.run("record", "remove", id, "--home", a)
    try Program.run("record", "set", id, "phone=2", "--home", b)
    try sync()
    for home in [a, b] {
      #expect(try fields(id, home: home)["phone"] as? String == "2")
      #expect(try conflicts(home).first?["field"] as? String == "record")
    }
    let shown = try Program.run("conflicts", "show", id, "--home", a).out
    #expect(shown.contains("removed on one device and written on another") && shown.contains("it stays on every device"))
    #expect(try Program.run("conflicts", "resolve", id, "record", "2", "--home", a).status == 0)
    try sync()
    #expect(try Program.run("record", "show", id, "--home", b).status != 0 && conflicts(b).isEmpty, "removed, as decided")
    try same()
  }

  @Test("keeping a contact that was removed elsewhere keeps it")
  func contactKept() throws {
    let id = try add("contact", "name=Jo", "phone=1")
    try Program.run("record", "remove", id, "--home", a)
    try Program.run("record", "set", id, "phone=2", "--home", b)
    try sync()
    #expect(try Program.run("conflicts", "resolve", id, "record", "1", "--home", b).status == 0)
    try sync()
    #expect(try fields(id, home: a)["phone"] as? String == "2" && conflicts(a).isEmpty)
  }

  @Test("plan entries that were added apart are all there; what one took out and the other did not touch is gone")
  func plan() throws {
    try Program.run("plan", "edit", "coping=walk", "coping=tea", "--home", a)
    try sync()
    try Program.run("plan", "edit", "coping=river", "coping-=tea", "--home", a)
    try Program.run("plan", "edit", "coping=music", "--home", b)
    try sync()
    for home in [a, b] {
      let steps = try #require(try json("plan", "show", home: home)["steps"] as? [[String: Any]])
      let entries = try #require(steps.first { $0["field"] as? String == "coping" }?["entries"] as? [String])
      #expect(Set(entries) == ["walk", "river", "music"])
    }
    try same()
  }

  @Test("practice that was done is not taken back: 0.6 stands against a later 0.4")
  func progress() throws {
    let (process, _, _) = try Program.start(["practice", "breathing", "--home", a])
    Thread.sleep(forTimeInterval: 1.5)
    process.interrupt()
    process.waitUntilExit()
    try sync()
    let sessions = try #require(try json("sessions", "list", home: a)["sessions"] as? [[String: Any]])
    let id = try #require(sessions.first?["id"] as? String)
    try Program.run("record", "set", id, "progress=0.6", "--home", a)
    try Program.run("record", "set", id, "progress=0.4", "--home", b)
    try sync()
    for home in [a, b] { #expect(try fields(id, home: home)["progress"] as? Double == 0.6) }
    #expect(try conflicts(b).isEmpty)
  }

  @Test("a journal that was edited in two places is merged; in the same place both are shown, kept, and found again")
  func journal() throws {
    let id = try add("journal", "title=Tuesday", "text=I slept well and then I went to the river")
    try Program.run("record", "set", id, "text=I slept badly and then I went to the river", "--home", a)
    try Program.run("record", "set", id, "text=I slept well and then I went to the sea", "--home", b)
    try sync()
    for home in [a, b] { #expect(try fields(id, home: home)["text"] as? String == "I slept badly and then I went to the sea") }
    #expect(try conflicts(a).isEmpty)
    let moment = String(UInt64(Date().timeIntervalSince1970 * 1_000))
    Thread.sleep(forTimeInterval: 0.01)
    try Program.run("record", "set", id, "title=Wednesday", "--home", a)
    try Program.run("record", "set", id, "title=Thursday", "--home", b)
    try sync()
    #expect(try conflicts(b).count == 1)
    #expect(try Program.run("conflicts", "resolve", id, "title", "--both", "--home", b).status == 0)
    try sync()
    #expect(try fields(id, home: a)["title"] as? String == "Wednesday\nThursday")
    #expect(try Program.run("record", "show", id, "--at", moment, "--home", a).out.contains("title: Tuesday"))
    let history = try Program.run("record", "history", id, "--home", a).out.split(separator: "\n")
    let number = try #require(history.firstIndex { $0.contains("title = Wednesday") && !$0.contains("Thursday") }) + 1
    #expect(try Program.run("record", "restore", id, "\(number)", "--home", a).status == 0)
    #expect(try fields(id, home: a)["title"] as? String == "Wednesday")
    #expect(try Program.run("record", "restore", id, "99", "--home", a).err.contains("no such number"))
    #expect(try Program.run("record", "show", id, "--at", "yesterday", "--home", a).err.contains("no time"))
    try sync()
    try same()
  }

  @Test("a method that the person names settles it; the decision says so, on both, and is counted")
  func methods() throws {
    let id = try add("check-in", "part=morning", "mood=5", "sleep=5", "thoughts=quiet")
    try Program.run("record", "set", id, "mood=2", "sleep=8", "thoughts=tired", "--home", a)
    try Program.run("record", "set", id, "mood=7", "sleep=3", "thoughts=awake", "--home", b)
    try sync()
    #expect(try conflicts(a).count == 3)
    #expect(try Program.run("conflicts", "resolve", id, "mood", "--by", "local-wins", "--home", a).status == 0)
    #expect(try Program.run("conflicts", "resolve", id, "sleep", "--by", "therapeutic-priority", "--home", a).status == 0)
    let refused = try Program.run("conflicts", "resolve", id, "thoughts", "--by", "therapeutic-priority", "--home", a)
    #expect(refused.status != 0 && refused.err.contains("says nothing about these versions"))
    #expect(try Program.run("conflicts", "resolve", id, "thoughts", "--by", "magic", "--home", a).err.contains("Methods: local-wins"))
    #expect(try Program.run("conflicts", "resolve", id, "thoughts", "--by", "union-merge", "--home", a).status == 0)
    try sync()
    for home in [a, b] {
      let shown = try fields(id, home: home)
      #expect(shown["mood"] as? Int == 2 && shown["sleep"] as? Int == 3 && shown["thoughts"] as? String == "tired\nawake")
      let history = try Program.run("record", "history", id, "--home", home).out
      for method in ["local wins", "therapeutic priority", "union merge"] { #expect(history.contains("[settled: \(method)"), "\(home) \(method)") }
      let counted = try #require(try json("status", home: home)["conflicts"] as? [String: Any])
      let by = try #require(counted["decidedBy"] as? [[String: Any]])
      #expect(by.reduce(0) { $0 + ($1["made"] as? Int ?? 0) } == 3, "a decision counts once on every device")
    }
    try same()
  }

  @Test("where the person lets it, the assistant decides; it says why, and it is taken back for ever")
  func assistant() throws {
    #expect(try json("conflicts", "assist", home: a)["mode"] as? String == "recommend", "at first it only recommends")
    #expect(try Program.run("conflicts", "assist", "decide", "--threshold", "0.95", "--home", a).status != 0, "0.9 is the bound")
    let id = try add("check-in", "part=morning", "mood=5", "anxiety=4")
    func collide() throws {
      // An end of the scale, corrected a moment later on the other device; and one that is not its business.
      try Program.run("record", "set", id, "mood=10", "anxiety=9", "--home", a)
      try Program.run("record", "set", id, "mood=6", "anxiety=1", "--home", b)
      try sync()
    }
    try collide()
    #expect(try conflicts(a).count == 2, "it recommends, and decides nothing")
    let shown = try Program.run("conflicts", "show", id, "--home", a).out
    #expect(shown.contains("Recommended: ") && shown.contains("(assistant 1)") && shown.contains("keeps out of what is about safety"))
    #expect(try Program.run("conflicts", "resolve", id, "mood", "--by", "latest-wins", "--home", a).status == 0)
    #expect(try Program.run("conflicts", "resolve", id, "anxiety", "1", "--home", a).status == 0)
    #expect(try Program.run("conflicts", "assist", "decide", "--threshold", "0.6", "--home", a).status == 0)
    try sync()
    #expect(try json("conflicts", "assist", home: b)["mode"] as? String == "decide", "said once, for all devices")
    try collide()
    for home in [a, b] {
      #expect(try fields(id, home: home)["mood"] as? Int == 6 && conflicts(home).map { $0["field"] as? String } == ["anxiety"])
      #expect(try Program.run("record", "history", id, "--home", home).out.contains("[settled: assistant; assistant 1 "))
    }
    #expect(try Program.run("conflicts", "undo", id, "mood", "--home", b).status == 0)
    try sync()
    for home in [a, b] { #expect(try conflicts(home).count == 2, "and it does not decide again what was taken back") }
    let counted = try #require(try json("status", home: b)["conflicts"] as? [String: Any])
    let by = try #require(counted["decidedBy"] as? [[String: Any]])
    #expect(by.contains { $0["name"] as? String == "assistant" && $0["made"] as? Int == 1 && $0["takenBack"] as? Int == 1 })
    #expect(counted["recommendationFollowed"] as? Int == 1)
    #expect(try Program.run("conflicts", "assist", "off", "--home", a).status == 0)
    #expect(try !Program.run("conflicts", "show", id, "--home", a).out.contains("ecommend"))
    try sync()
    try same()
  }

  /// The links that `conflicts ask` printed.
  private func links(_ text: String) -> [String] { text.split(separator: "\n").compactMap { $0.firstMatch(of: /review ([0-9a-z-]+) \\/).map { String($0.1) } } }

  @Test("a therapist who was asked decides from a machine without an account; the safe value holds until then")
  func therapist() throws {
    let relay = "folder:" + folder.path + "/relay"
    let id = try add("assessment", "instrument=phq9", "item9=1")
    try Program.run("record", "set", id, "item9=0", "--home", a)
    try Program.run("record", "set", id, "item9=3", "--home", b)
    try sync()
    #expect(try Program.run("conflicts", "ask", id, "item9", "--home", a).status != 0, "nobody is named")
    let asked = try Program.run("conflicts", "ask", id, "item9", "--who", "Dr. Weiss", "--as", "Kim", "--home", a)
    let link = try #require(links(asked.out).first, "\(asked.out)\(asked.err)")
    #expect(try Program.run("conflicts", "ask", id, "item9", "--who", "Jo", "--as", "Kim", "--home", a).err.contains("asked about this already"))
    try sync()
    for home in [a, b] {
      #expect(try fields(id, home: home)["item9"] as? Int == 3)
      #expect(try Program.run("conflicts", "show", id, "--home", home).out.contains("Asked Dr. Weiss"))
    }
    let elsewhere = folder.path + "/therapist"
    let shown = try Program.run("conflicts", "review", link, "--relay", relay, "--home", elsewhere).out
    #expect(shown.contains("Kim asks you") && shown.contains("Assessment, item9") && !shown.contains("laptop"))
    #expect(try Program.run("conflicts", "review", link, "--keep", "3", "--relay", relay, "--home", elsewhere).status != 0)
    let line = try #require(shown.split(separator: "\n").first { $0.contains("  0   (") })
    let number = try #require(line.first { $0.isNumber })
    #expect(try Program.run("conflicts", "review", link, "--keep", String(number), "--relay", relay, "--home", elsewhere).status == 0)
    try sync()
    for home in [a, b] {
      #expect(try fields(id, home: home)["item9"] as? Int == 0 && conflicts(home).isEmpty)
      #expect(try Program.run("record", "history", id, "--home", home).out.contains("[settled: therapist review (Dr. Weiss)]"))
    }
    #expect(try Program.run("conflicts", "review", link, "--relay", relay, "--home", elsewhere).err.contains("Nothing waits under this link"))
    #expect(try Program.run("conflicts", "undo", id, "item9", "--home", b).status == 0)
    try sync()
    #expect(try fields(id, home: a)["item9"] as? Int == 3, "opened again, it is safe again")
    try same()
  }

  @Test("of a family more than half have to agree; what they cannot agree on is the person's, and can be taken back")
  func family() throws {
    let relay = "folder:" + folder.path + "/relay"
    func answer(_ link: String, _ number: Int) throws {
      #expect(try Program.run("conflicts", "review", link, "--keep", "\(number)", "--relay", relay, "--home", folder.path + "/other").status == 0)
    }
    let id = try add("journal", "title=Tuesday", "text=quiet")
    func collide(_ one: String, _ other: String) throws {
      try Program.run("record", "set", id, "title=\(one)", "--home", a)
      try Program.run("record", "set", id, "title=\(other)", "--home", b)
      try sync()
    }
    try collide("Wednesday", "Thursday")
    let ask = ["conflicts", "ask", id, "title", "--as", "Kim", "--home", a]
    var found = try links(Program.run(ask + ["--who", "Jo", "--who", "Ben", "--who", "Ada"]).out)
    try #require(found.count == 3)
    try answer(found[0], 1)
    try sync()
    #expect(try conflicts(a).count == 1, "one of three is not enough")
    #expect(try Program.run("conflicts", "show", id, "--home", b).out.contains("Jo: 1"))
    try answer(found[2], 1)
    try sync()
    #expect(try conflicts(b).isEmpty && fields(id, home: a)["title"] as? String == fields(id, home: b)["title"] as? String)
    #expect(try Program.run("record", "history", id, "--home", b).out.contains("[settled: family consensus (Ada, Jo)]"))
    try collide("Friday", "Saturday")
    found = try links(Program.run(ask + ["--who", "Jo", "--who", "Ben"]).out)
    try #require(found.count == 2)
    try answer(found[0], 1)
    try answer(found[1], 2)
    try sync()
    #expect(try conflicts(b).count == 1 && Program.run("conflicts", "show", id, "--home", b).out.contains("they do not agree"))
    #expect(try Program.run("conflicts", "ask", id, "title", "--withdraw", "--home", b).status == 0)
    try sync()
    #expect(try !Program.run("conflicts", "show", id, "--home", a).out.contains("Asked"))
    #expect(try Program.run("conflicts", "resolve", id, "title", "1", "--home", a).status == 0)
    try sync()
    #expect(try conflicts(b).isEmpty)
    try same()
  }
}
