import Foundation
import Testing

/// Whom a crisis is told to, with two people as processes.
@Suite("Family", .serialized)
struct FamilyCommandTests {
  private let folder: Folder
  private var home: String { folder.path + "/maya" }
  private var relay: String { "folder:" + folder.path + "/relay" }

  init() throws {
    folder = try Folder()
    try Program.run("init", "--device", "laptop", "--no-passphrase", "--home", home, "--relay", relay)
    try Program.run("record", "add", "contact", "name=Ben", "phone=555", "--home", home)
  }

  private func invite() throws -> String {
    let text = try Program.run("family", "invite", "ben", "--as", "Maya", "--home", home).out
    let words = text.split(whereSeparator: \.isWhitespace).map(String.init)
    return try #require(words.firstIndex(of: "follow").map { words[$0 + 1] })
  }

  private func follow(_ words: String...) throws -> Program.Outcome {
    let (process, out, err) = try Program.start(["family", "follow"] + words + ["--once", "--home", folder.path + "/ben"])
    let (output, errors) = (out.fileHandleForReading.readDataToEndOfFile(), err.fileHandleForReading.readDataToEndOfFile())
    process.waitUntilExit()
    return .init(status: process.terminationStatus, out: String(decoding: output, as: UTF8.self), err: String(decoding: errors, as: UTF8.self))
  }

  /// - Returns: The home of a second device.
  private func join() throws -> String {
    let (inviting, out, _) = try Program.start(["devices", "invite", "--yes", "--home", home])
    let code = String(decoding: out.fileHandleForReading.availableData, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    let phone = folder.path + "/phone"
    #expect(try Program.run("join", code, "--device", "phone", "--no-passphrase", "--yes", "--home", phone, "--relay", relay).status == 0)
    inviting.waitUntilExit()
    return phone
  }

  private func raise(_ level: String = "severe") throws -> String {
    try Program.run("crisis", "activate", level, "--now", "--home", home).out
  }

  @Test("an invited contact is told once, sees no word of it, and the person sees how far that has come")
  func told() throws {
    let link = try invite()
    #expect(try Program.run("family", "list", "--home", home).out.contains("NO OPENING OF THE LINK IS KNOWN HERE"))
    #expect(try follow(link, "--relay", relay).out.isEmpty)
    #expect(try Program.run("family", "list", "--home", home).out.contains("somebody follows the link"))
    #expect(try !raise("moderate").contains("Ben"))
    #expect(try follow().out.isEmpty, "only from severe upward")
    #expect(try raise().contains("Ben: an alert lies at the link; it is on no screen there yet"))
    #expect(try follow("--seen").out.contains("Maya asked for support"))
    #expect(try raise("emergency").contains("Ben: has seen it"), "the event that Ben has seen goes on")
    #expect(try follow().out.isEmpty, "not twice for one crisis")
    #expect(try Program.run("crisis", "history", "--home", home).out.contains("an alert for 1"))
    #expect(try Program.run("crisis", "resolve", "--yes", "--home", home).out.contains("That it is over lies at the link of Ben"))
    #expect(try follow().out.contains("Maya has said that it is over for now"))
    #expect(try follow().out.isEmpty, "once")
    _ = try raise()
    #expect(try follow("--json").out.contains(#""event":"alert""#), "the next one is another")
    try Program.run("crisis", "resolve", "--yes", "--home", home)
    #expect(try follow("--json").out.contains(#""event":"ended""#))
  }

  @Test("where no board shows that a link was opened, that is not known, and nobody is said to be told")
  func unopened() throws {
    let link = try invite()
    #expect(try raise().contains("Ben: an alert lies at the link; no opening of it is known here. Please call."))
    let unknown = try Program.run("family", "list", "--json", "--home", home).out
    #expect(unknown.contains(#""link":"unknown""#) && !unknown.contains(#""opened""#), "\(unknown)")
    #expect(try follow(link, "--relay", relay).status == 0)
    #expect(try Program.run("family", "list", "--json", "--home", home).out.contains(#""opened":true"#))
    // A relay that was wiped has forgotten it: nothing is said that was so before.
    try FileManager.default.removeItem(atPath: folder.path + "/relay/boards")
    let wiped = try Program.run("family", "list", "--home", home).out
    #expect(wiped.contains("NO OPENING OF THE LINK IS KNOWN HERE") && !wiped.contains("NOBODY HAS OPENED"), "\(wiped)")
    try FileManager.default.moveItem(atPath: folder.path + "/relay", toPath: folder.path + "/away")
    #expect(try Program.run("family", "list", "--home", home).out.contains("is not known"))
  }

  @Test("of a link that was taken back on another device nobody is said to be told later, with or without that having come here")
  func takenBackThere() throws {
    let link = try invite()
    #expect(try follow(link, "--relay", relay).status == 0)
    let phone = try join()
    try Program.run("sync", "--home", home)
    try Program.run("sync", "--home", phone)
    #expect(try Program.run("family", "withdraw", "Ben", "--home", phone).status == 0)
    let raised = try raise()
    #expect(raised.contains("The link of Ben was taken back: nobody is told there."), "\(raised)")
    #expect(!raised.contains("not told yet") && !raised.contains("an alert lies"), "\(raised)")
    #expect(try !Program.run("family", "list", "--home", home).out.contains("somebody follows the link"))
    #expect(try !follow().out.contains("asked for support"))
  }

  @Test("a moment on another day than today's has its date on the screen of a follower")
  func anotherDay() throws {
    let link = try invite()
    #expect(try follow(link, "--relay", relay).status == 0)
    _ = try raise()
    let environment = ["LD_PRELOAD": try #require(Outside.library), "SKEW": "259200"]
    let said = try Program.run("family", "follow", "--once", "--home", folder.path + "/ben", environment: environment).out
    #expect(said.contains(/[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} by their clock  Maya asked for support/), "\(said)")
  }

  @Test("a link that was taken back says so to whoever follows it, and takes no answer")
  func takenBack() throws {
    let link = try invite()
    #expect(try follow(link, "--relay", relay).status == 0)
    try Program.run("family", "withdraw", "Ben", "--home", home)
    #expect(try follow("--seen").out.contains("has taken this link back"))
    let again = try follow("--seen")
    #expect(again.err.contains("has taken this link back") && !again.out.contains("Said"), "\(again)")
    #expect(try Program.run("family", "withdraw", "Ben", "--home", home).status == 0, "once more")
  }

  @Test("a link that was taken back while the relay was away says so once a device reaches the relay")
  func takenBackMeanwhile() throws {
    let link = try invite()
    #expect(try follow(link, "--relay", relay).status == 0)
    try FileManager.default.moveItem(atPath: folder.path + "/relay", toPath: folder.path + "/away")
    #expect(try Program.run("family", "withdraw", "Ben", "--home", home).err.contains("does not know yet"))
    try FileManager.default.moveItem(atPath: folder.path + "/away", toPath: folder.path + "/relay")
    #expect(try !follow().out.contains("taken this link back"))
    let (agent, _, _) = try Program.start(["agent", "--home", home])
    #expect(try eventually { try follow().out.contains("has taken this link back") })
    agent.terminate()
  }

  @Test("where the devices say different things of what a contact learns, that is said until the person decides")
  func undecided() throws {
    _ = try invite()
    let phone = try join()
    try FileManager.default.moveItem(atPath: folder.path + "/relay", toPath: folder.path + "/away")
    #expect(try Program.run("family", "grant", "ben", "unanswered", "--home", home).status == 0)
    #expect(try Program.run("family", "withdraw", "ben", "--home", phone).status == 0)
    try FileManager.default.moveItem(atPath: folder.path + "/away", toPath: folder.path + "/relay")
    for place in [phone, home, phone] { try Program.run("sync", "--home", place) }
    for place in [phone, home] {
      #expect(try Program.run("family", "list", "--home", place).out.contains("YOUR DEVICES SAY DIFFERENT THINGS"))
      #expect(try Program.run("family", "list", "--json", "--home", place).out.contains(#""undecided":true"#))
    }
  }

  @Test("a contact who was given a link is removed only after the link was taken back")
  func removed() throws {
    let link = try invite()
    let contacts = try Program.run("record", "list", "contact", "--json", "--home", home).out
    let id = try #require(contacts.split(separator: "\"").first { $0.count == 26 }.map(String.init), "\(contacts)")
    #expect(try Program.run("record", "remove", id, "--home", home).err.contains("family withdraw"))
    #expect(try follow(link, "--relay", relay).status == 0)
    #expect(try Program.run("family", "withdraw", "Ben", "--home", home).status == 0)
    #expect(try Program.run("record", "remove", id, "--home", home).status == 0)
    #expect(try follow().out.contains("has taken this link back"))
  }

  @Test("who was not invited, or whose link was taken back, learns nothing")
  func notTold() throws {
    try Program.run("record", "add", "contact", "name=Ana", "alert=yes", "--home", home)
    let link = try invite()
    #expect(try follow(link, "--relay", relay).status == 0)
    #expect(try Program.run("family", "withdraw", "Ben", "--home", home).status == 0)
    #expect(try Program.run("family", "list", "--home", home).out.contains("Ana  agreed"))
    let raised = try Program.run("crisis", "activate", "severe", "--now", "--home", home)
    #expect(raised.status == 0 && !raised.out.contains("Ben"))
    #expect(try !follow().out.contains("asked for support"))
  }

  @Test("what was taken back on another device within ten seconds is told to nobody")
  func takenBackElsewhere() throws {
    let link = try invite()
    #expect(try follow(link, "--relay", relay).status == 0)
    let phone = try join()
    let (raising, said, _) = try Program.start(["crisis", "activate", "severe", "--home", home])
    Thread.sleep(forTimeInterval: 2)
    try Program.run("sync", "--home", phone)
    #expect(try Program.run("crisis", "resolve", "--yes", "--home", phone).out.contains("Resolved"))
    let text = String(decoding: said.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    raising.waitUntilExit()
    #expect(raising.terminationStatus == 0 && text.contains("Taken back. Nobody was told."), "\(text.suffix(200))")
    #expect(try follow().out.isEmpty)
  }

  @Test("a follower whose relay is away is told so in words for a follower, and not that nothing has come")
  func away() throws {
    let link = try invite()
    try FileManager.default.moveItem(atPath: folder.path + "/relay", toPath: folder.path + "/away")
    let first = try follow(link, "--relay", relay)
    try FileManager.default.moveItem(atPath: folder.path + "/away", toPath: folder.path + "/relay")
    #expect(try follow(link, "--relay", relay).status == 0)
    try FileManager.default.moveItem(atPath: folder.path + "/relay", toPath: folder.path + "/away")
    for looked in [first, try follow(), try follow("--seen"), try follow("--json")] {
      #expect(looked.status == 69 && looked.err.contains("Nothing could be looked at"), "\(looked)")
      #expect(looked.err.contains("the person who invited you") && !looked.err.contains("fullmind sync"), "\(looked)")
      #expect(!looked.err.contains("relay make") && !looked.err.contains("saved on this device"), "\(looked)")
      #expect(!looked.out.contains("Nothing has come"), "\(looked)")
    }
    let (process, _, err) = try Program.start(["family", "follow", "--home", folder.path + "/ben"])
    let noted = Heard(err.fileHandleForReading)
    defer { withExtendedLifetime(err) { process.terminate() } }
    #expect(noted.hears("NOTHING IS HEARD of Maya") && noted.hears("It is tried again every second"))
    try FileManager.default.moveItem(atPath: folder.path + "/away", toPath: folder.path + "/relay")
    #expect(noted.hears("can be reached again"))
  }

  @Test("a link that leads nowhere is said to, at once")
  func wrongLink() throws {
    _ = try invite()
    let other = try follow("00000-00000-00000-00000-00000-0", "--relay", relay)
    #expect(other.status == 64 && other.err.contains("Nobody is found"), "\(other.status)")
    #expect(try follow("nonsense", "--relay", relay).err.contains("not a link"))
    #expect(try follow().err.contains("No link is followed"))
    #expect(try Program.run("family", "invite", "Zoe", "--as", "Maya", "--home", home).err.contains("no contact"))
    #expect(try Program.run("family", "grant", "Ben", "maybe", "--home", home).err.contains("no choice"))
  }
}
