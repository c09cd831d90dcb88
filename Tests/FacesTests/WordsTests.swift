import Foundation
import Testing

/// What is printed can be acted on: by whom it is told, where it is told, and as it stands.
@Suite("Words", .serialized)
struct WordsTests {
  /// A link for a contact of `a`.
  private func invite(_ meeting: Meeting) throws -> (link: String, said: String) {
    try meeting.run("a", "record", "add", "contact", "name=Ben", "phone=555")
    let said = try meeting.run("a", "family", "invite", "Ben", "--as", "Maya").out
    let words = said.split(whereSeparator: \.isWhitespace).map(String.init)
    return (try #require(words.firstIndex(of: "follow").map { words[$0 + 1] }), said)
  }

  // MARK: Followers

  @Test("what cannot be kept on the disk of a follower ends nothing, and is kept once it can be")
  func unkept() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let (link, _) = try invite(meeting)
    // No folder can be made where a file lies.
    let (ben, following) = (meeting.home("ben"), meeting.home("ben") + "/following")
    try FileManager.default.createDirectory(atPath: ben, withIntermediateDirectories: true)
    try Data().write(to: URL(fileURLWithPath: following))
    let (process, out, err) = try Program.start(["family", "follow", link, "--home", ben, "--relay", meeting.url])
    let (said, noted) = (Heard(out.fileHandleForReading), Heard(err.fileHandleForReading))
    defer { withExtendedLifetime((out, err)) { process.terminate() } }
    #expect(noted.hears("cannot be kept"))
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    #expect(said.hears("Maya asked for support"))
    #expect(process.isRunning)
    try FileManager.default.removeItem(atPath: following)
    #expect(noted.hears("is kept now"))
    try meeting.run("a", "crisis", "resolve", "--yes")
    #expect(said.hears("over for now"))
  }

  @Test("on a full disk an alert is told all the same, also where it is looked once")
  func fullDisk() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let (link, _) = try invite(meeting)
    let ben = meeting.home("ben")
    #expect(try Program.run("family", "follow", link, "--once", "--home", ben, "--relay", meeting.url).status == 0)
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    let full = ["LD_PRELOAD": try #require(Outside.library), "FULL": ben]
    let looked = try Program.run(["family", "follow", "--once", "--home", ben], environment: full)
    #expect(looked.out.contains("Maya asked for support") && looked.status == 74, "\(looked)")
    let (process, out, err) = try Program.start(["family", "follow", "--json", "--home", ben], environment: full)
    let (said, noted) = (Heard(out.fileHandleForReading), Heard(err.fileHandleForReading))
    defer { withExtendedLifetime((out, err)) { process.terminate() } }
    #expect(said.hears(#""event":"alert""#), "what was not kept is told again")
    #expect(noted.hears("cannot be kept"))
    try meeting.run("a", "crisis", "resolve", "--yes")
    #expect(said.hears(#""event":"ended""#))
  }

  // MARK: Commands that are printed

  @Test("a relay whose path has a space is printed as a shell takes it for one word")
  func quoted() throws {
    let meeting = try Meeting(relay: "my relay")
    try meeting.found("a")
    #expect(try invite(meeting).said.contains("--relay '\(meeting.url)'\n"))
    #expect(try meeting.run("a", "relay", "make", meeting.url).out.contains("“fullmind relay move '\(meeting.url)'”"))
    let (process, out, err) = try Program.start(["devices", "invite", "--yes", "--home", meeting.home("a")])
    let noted = Heard(err.fileHandleForReading)
    defer { withExtendedLifetime((out, err)) { process.terminate() } }
    #expect(noted.hears("--device NAME --relay '\(meeting.url)'"))
  }

  @Test("who moves to a relay that is not there is told how to make one there, and not where the old one was")
  func moved() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let place = "folder:\(meeting.path)/not here"
    let moved = try meeting.run("a", "relay", "move", place)
    #expect(moved.status == 69 && moved.err.contains("`fullmind relay make '\(place)' --home \(meeting.home("a"))`"), "\(moved.err)")
    #expect(try meeting.run("a", "relay", "make", place).status == 0)
    #expect(try meeting.run("a", "relay", "show").out.contains(place))
  }

  // MARK: An exchange that does not end

  @Test("a sync that was not finished says what holds it up")
  func heldUp() throws {
    let meeting = try Meeting.pair()
    let full = ["LD_PRELOAD": try #require(Outside.library), "FULL": meeting.home("relay")]
    _ = try meeting.write("a", "waits", environment: full)
    let synced = try meeting.run("a", "sync", "--timeout", "3", environment: full)
    #expect([69, 75].contains(synced.status) && synced.err.contains("The relay's disk is full"), "\(synced.err)")
    #expect(synced.status == 69 || synced.err.contains("fullmind doctor"), "\(synced.err)")
    #expect(try meeting.run("a", "sync").status == 0)
  }

  // MARK: What is kept where

  @Test("joining tells of the key for emergencies, as founding does")
  func emergencyKey() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let rows: [(name: String, more: [String])] = [("b", []), ("c", ["--no-emergency-key"])]
    for (name, more) in rows {
      let code = try meeting.invite("a")
      let words = ["join", code, "--device", name, "--no-passphrase", "--yes", "--home", meeting.home(name), "--relay", meeting.url]
      let joined = try Program.run(words + more)
      #expect(joined.status == 0, "\(joined.err)")
      #expect(joined.out.contains("a key for that alone lies beside it") == more.isEmpty, "\(joined.out)")
    }
  }

  @Test("a mark of the byte order is no part of a passphrase")
  func byteOrderMark() throws {
    let meeting = try Meeting()
    let (marked, plain) = (meeting.path + "/marked", meeting.path + "/plain")
    try Data([0xEF, 0xBB, 0xBF] + Array("crane\n".utf8)).write(to: URL(fileURLWithPath: marked))
    try Data("crane\n".utf8).write(to: URL(fileURLWithPath: plain))
    let home = meeting.home("a")
    #expect(try Program.run("init", "--device", "a", "--home", home, "--passphrase-file", marked).status == 0)
    for file in [marked, plain] { #expect(try meeting.run("a", "record", "list", "--passphrase-file", file).status == 0, "\(file)") }
    let screen = try TerminalWindow(meeting, "record", "list", "--home", home)
    #expect(screen.shows("! and Enter: help now, and your devices are told"))
  }

  // MARK: Values on a terminal

  @Test("what would command a terminal is shown, and nothing of it is done")
  func visible() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    let title = "one\u{1B}]0;two\u{7}three\u{1B}[2J"
    let id = try meeting.write("a", title)
    #expect(try meeting.run("a", "record", "set", id, "text=four\u{1B}[31m\nfive").status == 0)
    for words in [["record", "list"], ["record", "show", id], ["record", "history", id]] {
      let said = try Program.run(words + ["--home", meeting.home("a")])
      #expect(said.status == 0 && !said.out.unicodeScalars.contains(where: { $0.value < 32 && $0 != "\n" }), "\(words)")
      #expect(said.out.contains("one␛]0;two␇three␛[2J"), "\(words)")
    }
    #expect(try meeting.run("a", "record", "show", id).out.contains("four␛[31m\nfive"), "lines stay lines")
    #expect(try meeting.titles("a") == [title], "as it was written")
  }

  @Test("a list of none has none")
  func none() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    _ = try meeting.write("a", "one")
    #expect(try meeting.run("a", "record", "list", "--limit", "0").out.isEmpty)
    #expect(try meeting.run("a", "record", "list", "--limit", "1").out.contains("one"))
  }
}
