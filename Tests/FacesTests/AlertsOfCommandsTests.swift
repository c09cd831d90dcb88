import CSystem
import Foundation
import Testing

/// What commands that end say of alerts and of crises, with no program beside them that goes on trying.
@Suite("Alerts and crises by commands that end", .serialized)
struct AlertsOfCommandsTests {
  private let meeting: Meeting

  init() throws {
    meeting = try Meeting.pair()
    try meeting.run("a", "record", "add", "contact", "name=Ben", "phone=555")
    let words = try meeting.run("a", "family", "invite", "Ben", "--as", "Maya").out.split(whereSeparator: \.isWhitespace).map(String.init)
    let link = try #require(words.firstIndex(of: "follow").map { words[$0 + 1] })
    #expect(try Program.run("family", "follow", link, "--once", "--home", meeting.home("ben"), "--relay", meeting.url).status == 0)
    try meeting.settle("a", "b")
  }

  private func look() throws -> String { try Program.run("family", "follow", "--once", "--home", meeting.home("ben")).out }

  @Test("what another device has told, and what is over, keeps nobody from the next alert")
  func next() throws {
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    try meeting.run("a", "crisis", "resolve", "--yes")
    #expect(try look().contains("is over for now"))
    // Nothing of it has come to this one.
    #expect(try meeting.run("b", "crisis", "activate", "severe", "--now").out.contains("Ben: an alert lies at the link"))
    #expect(try look().contains("Maya asked for support"))
    try meeting.run("b", "crisis", "resolve", "--yes")
    #expect(try look().contains("is over for now"))
  }

  @Test("what is no file on a board takes its number, and keeps no alert from being read", arguments: ["folder", "pipe"])
  func occupied(what: String) throws {
    let boards = meeting.home("relay") + "/boards"
    for board in try FileManager.default.contentsOfDirectory(atPath: boards) {
      let numbers = try FileManager.default.contentsOfDirectory(atPath: "\(boards)/\(board)").compactMap { Int($0) }
      for number in [1, 2] {
        let path = "\(boards)/\(board)/\((numbers.max() ?? 0) + number)"
        if what == "folder" { mkdir(path, 0o700) } else { mkfifo(path, 0o600) }
      }
    }
    #expect(try meeting.run("a", "crisis", "activate", "severe", "--now").out.contains("Ben: an alert lies at the link"))
    #expect(try look().contains("Maya asked for support"))
  }

  @Test("without a relay it is said that nobody was told, and sync tells them once it is back")
  func later() throws {
    try meeting.move("relay", "away")
    let raised = try meeting.run("a", "crisis", "activate", "severe", "--now").out
    #expect(raised.contains("Ben: not told yet. Please call") && !raised.contains("an alert lies"), "\(raised)")
    try meeting.move("away", "relay")
    #expect(try meeting.run("a", "status").out.contains("Ben has not been told of the crisis"))
    // Until it can no longer be taken back nobody is told.
    #expect(!(try meeting.run("a", "sync").err.contains("An alert lies")))
    #expect(try look().isEmpty)
    let ahead = try meeting.run("a", "sync", environment: ["LD_PRELOAD": try #require(Outside.library), "SKEW": "11"])
    #expect(ahead.status == 0 && ahead.err.contains("An alert lies at the link of Ben"), "\(ahead.out)\(ahead.err)")
    #expect(try look().contains("Maya asked for support"))
    #expect(!(try meeting.run("a", "status").out.contains("has not been told")))
  }

  @Test("what no disk has taken is not said to be taken back; who is told of it is told, and the other device's goes on")
  func notSaved() throws {
    let full = ["LD_PRELOAD": try #require(Outside.library), "FULL": meeting.home("b")]
    let raised = try meeting.run("b", "crisis", "activate", "severe", "--now", environment: full)
    #expect(raised.out.contains("Sent;") && !raised.out.contains("Taken back"), "\(raised.out)\(raised.err)")
    #expect(raised.out.contains("Ben: an alert lies at the link"), "\(raised.out)\(raised.err)")
    #expect(try look().contains("Maya asked for support"))
    #expect(try meeting.crisis("a")["active"] as? Bool == true)
  }

  @Test("who was asleep when it was taken back elsewhere looks before it tells anybody")
  func asleep() throws {
    let (agent, _) = try meeting.agent("a")
    defer { agent.terminate() }
    _ = try meeting.write("b", "before it sleeps")
    #expect(try eventually { try meeting.run("b", "sync").status == 0 && meeting.titles("a").contains("before it sleeps") })
    try meeting.run("a", "crisis", "activate", "severe", "--json")
    kill(agent.processIdentifier, SIGSTOP)
    #expect(try meeting.run("b", "crisis", "resolve", "--yes").status == 0)
    // Its ten seconds end in its sleep.
    Thread.sleep(forTimeInterval: 11)
    kill(agent.processIdentifier, SIGCONT)
    #expect(try eventually { try meeting.crisis("a")["active"] as? Bool == false })
    Thread.sleep(forTimeInterval: 1)
    #expect(try look().isEmpty)
  }

  @Test("a full disk keeps nobody from being told in ten seconds: who exchanges knows that the crisis lies at the relay")
  func toldOnAFullDisk() throws {
    let full = ["LD_PRELOAD": try #require(Outside.library), "FULL": meeting.home("a"), "FROM": meeting.home("full")]
    let (agent, _) = try meeting.agent("a", environment: full)
    defer { agent.terminate() }
    _ = try meeting.write("b", "while there is room")
    #expect(try eventually { try meeting.titles("a").contains("while there is room") })
    #expect(FileManager.default.createFile(atPath: meeting.home("full"), contents: nil))
    let raised = try meeting.run("a", "crisis", "activate", "severe", "--json", environment: full)
    #expect(raised.out.contains("\"atRelay\" : true") || raised.out.contains("\"atRelay\":true"), "\(raised.out)\(raised.err)")
    let began = Date()
    #expect(try eventually(within: 60) { try look().contains("Maya asked for support") })
    #expect(Date().timeIntervalSince(began) < 30, "as long as it waits for what may be under way")
  }

  @Test("whoever is told by a command is told for every device before the command is done")
  func sent() throws {
    #expect(try meeting.run("a", "crisis", "activate", "severe", "--now").out.contains("Ben: an alert lies at the link"))
    // Nothing of a runs any more.
    #expect(!(try meeting.run("b", "status").out.contains("has not been told")))
    #expect(try meeting.run("b", "sync").status == 0)
    #expect(!(try meeting.run("b", "status").out.contains("has not been told")))
    let ahead = try meeting.run("b", "sync", environment: ["LD_PRELOAD": try #require(Outside.library), "SKEW": "11"])
    #expect(ahead.status == 0 && !ahead.err.contains("An alert lies"), "told twice: \(ahead.err)")
    for name in ["a", "b"] {
      let sync = try meeting.sync(name)
      #expect(sync["savedHere"] as? Int == sync["acceptedByRelay"] as? Int, "\(name): \(sync)")
    }
  }

  @Test("what sync itself writes is at the relay when it is done")
  func nothingLeft() throws {
    try meeting.move("relay", "away")
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    try meeting.move("away", "relay")
    let told = try meeting.run("a", "sync", environment: ["LD_PRELOAD": try #require(Outside.library), "SKEW": "11"])
    #expect(told.status == 0 && told.err.contains("An alert lies at the link of Ben"), "\(told.out)\(told.err)")
    let counts = try #require(told.out.firstMatch(of: /Saved here ([0-9]+) · at the relay ([0-9]+)/))
    #expect(counts.1 == counts.2, "\(told.out)")
    #expect(!(try meeting.run("b", "status").out.contains("has not been told")))
  }

  @Test("sync tells that a crisis is over where the command that ended it could not")
  func overLater() throws {
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    #expect(try look().contains("Maya asked for support"))
    try meeting.move("relay", "away")
    #expect(try meeting.run("a", "crisis", "resolve", "--yes").status == 0)
    try meeting.move("away", "relay")
    #expect(try meeting.run("a", "sync").status == 0)
    #expect(try look().contains("is over for now"))
  }

  @Test("the list of crises has what is raised here and there, whoever holds the store")
  func history() throws {
    let holder = try meeting.hold("a", seconds: 40)
    defer { holder.terminate() }
    try meeting.run("a", "crisis", "activate", "mild")
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    let list = try meeting.run("a", "crisis", "history")
    #expect(list.out.contains("mild") && list.out.contains("severe") && holder.isRunning, "\(list.out)\(list.err)")
    let crises = try meeting.json(try meeting.run("a", "crisis", "history", "--json").out)
    #expect((crises["crises"] as? [Any])?.count == 2 && crises["complete"] as? Bool == true, "\(crises)")
  }

  @Test("where it is not known whether a crisis is active, no word says that one is, or is not")
  func unknown() throws {
    try meeting.move("relay", "away")
    let status = try meeting.crisis("a")
    #expect(status["level"] as? String == "unknown" && status["active"] as? Bool == false, "\(status)")
    let resolved = try meeting.json(try meeting.run("a", "crisis", "resolve", "--yes", "--json").out)
    #expect(resolved["level"] as? String == "unknown" && resolved["active"] as? Bool == false, "\(resolved)")
    try meeting.move("away", "relay")
    #expect(try meeting.crisis("a")["active"] as? Bool == false)
  }

  @Test("what was raised past a store that is held is taken back in the words of what could be looked at")
  func takenBackBeside() throws {
    let holder = try meeting.hold("a", seconds: 40)
    defer { holder.terminate() }
    try meeting.run("a", "crisis", "activate", "severe", "--now")
    let resolved = try meeting.run("a", "crisis", "resolve", "--yes")
    #expect(resolved.status == 0 && resolved.out.contains("is taken back. No crisis is active.") && holder.isRunning, "\(resolved.out)\(resolved.err)")
    #expect(try meeting.run("a", "crisis", "status").out.contains("No crisis is active."))
    // One of another device goes on, and it is said what keeps it from being ended here.
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    let there = try meeting.run("a", "crisis", "resolve", "--yes")
    #expect(there.status == 75 && there.err.contains("it goes on") && there.err.contains("another program holds"), "\(there.out)\(there.err)")
  }

  @Test("a relay that hangs keeps nobody longer than was asked for")
  func hanging() throws {
    let hangs = ["LD_PRELOAD": try #require(Outside.library), "HANG": meeting.home("relay")]
    let began = Date()
    let raised = try meeting.run("a", "crisis", "activate", "--now", "--timeout", "2", environment: hangs)
    #expect(raised.status == 0 && raised.out.contains("Ben: ") && raised.out.contains("Please call"), "\(raised.out)\(raised.err)")
    #expect(!raised.out.contains("an alert lies at the link;"), "\(raised.out)")
    #expect(Date().timeIntervalSince(began) < 6)
  }

  @Test("a crisis that is over is over also where the store cannot be opened any more")
  func over() throws {
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    #expect(try meeting.run("b", "crisis", "resolve", "--yes").status == 0)
    try meeting.move("b/data.key", "b/away.key")
    let status = try meeting.run("b", "crisis", "status", "--json")
    #expect(!status.out.contains("raisedHere"), "\(status.out)\(status.err)")
    // Of one that was raised here it is said, and not that it goes on: that cannot be looked at.
    try meeting.move("b/away.key", "b/data.key")
    try meeting.run("b", "crisis", "activate", "severe", "--now")
    try meeting.move("b/data.key", "b/away.key")
    let raised = try meeting.crisis("b")
    #expect(raised["raisedHere"] as? Bool == true && raised["level"] as? String == "unknown" && raised["active"] as? Bool == true, "\(raised)")
  }

  @Test("where no other device has been seen nothing is said to be sent to one")
  func unseen() throws {
    try meeting.run("a", "relay", "make", "folder:\(meeting.path)/elsewhere")
    let raised = try meeting.json(try Program.run("crisis", "activate", "mild", "--json", "--home", meeting.home("a")).out)
    #expect(raised["word"] as? String == "saved-alone" && raised["atRelay"] as? Bool == true, "\(raised)")
  }

  @Test("a pipe in place of the mark hangs nothing")
  func pipe() throws {
    let mark = meeting.home("a") + "/mark"
    try FileManager.default.removeItem(atPath: mark)
    mkfifo(mark, 0o600)
    let began = Date()
    #expect(try meeting.run("a", "status").status == 0)
    #expect(try meeting.run("a", "crisis", "activate", "mild").out.contains("Saved here and sent"))
    #expect(Date().timeIntervalSince(began) < 20)
  }
}
