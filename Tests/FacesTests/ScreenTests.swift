import Foundation
import Testing

/// A dashboard in a terminal of its own: `script` gives it one, and keeps everything that it draws.
final class TerminalWindow {
  private let process = Process()
  private let keyboard = Pipe()
  private let record: String

  /// - Parameter arguments: Of the program.
  init(_ meeting: Meeting, _ arguments: String..., columns: Int = 120, rows: Int = 40) throws {
    record = meeting.home("typescript-\(UUID().uuidString.prefix(8))")
    let command = ([Program.path] + arguments).map { "'\($0)'" }.joined(separator: " ")
    process.executableURL = URL(fileURLWithPath: "/usr/bin/script")
    process.arguments = ["-qfec", "stty cols \(columns) rows \(rows); exec \(command)", record]
    process.environment = ["PATH": "/usr/bin:/bin", "HOME": NSTemporaryDirectory(), "TERM": "xterm-256color", "LANG": "C.UTF-8", "SHELL": "/bin/sh"]
    process.standardInput = keyboard
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
  }

  deinit { if process.isRunning { process.terminate() } }

  func press(_ keys: String) { keyboard.fileHandleForWriting.write(Data(keys.utf8)) }

  /// What was drawn so far, without the bytes that place and colour it.
  var text: String {
    let drawn = String(decoding: FileManager.default.contents(atPath: record) ?? Data(), as: UTF8.self)
    return drawn.replacing(/\u{1B}(\[[0-9;?>]*[A-Za-z]|\([A-Z0-9]|[=>78M])/, with: "")
  }

  func shows(_ words: String, after mark: Int = 0) -> Bool { eventually(within: 20) { text.dropFirst(mark).contains(words) } }

  func quit() {
    press("q")
    _ = eventuallyEnded(process)
  }
}

/// What a dashboard says and does while the world around its store changes.
@Suite("Screens", .serialized)
struct ScreenTests {
  @Test("a dashboard that lets a device in hears of its crisis at once, also when an agent exchanges", arguments: [false, true])
  func admitting(hasAgent: Bool) throws {
    let meeting = try Meeting()
    try meeting.found("a")
    if hasAgent {
      _ = try meeting.agent("a")
      Thread.sleep(forTimeInterval: 0.5)
    }
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("Devices"))
    screen.press("i")
    #expect(screen.shows("fullmind join"))
    // What stands there is what works.
    let code = try #require(screen.text.firstMatch(of: /fullmind join ([0-9A-Za-z-]+) --device NAME/)?.1)
    #expect(screen.text.contains("--relay \(meeting.url)"))
    let (joining, _, err) = try Program.start(["join", String(code), "--device", "b", "--no-passphrase", "--yes", "--home", meeting.home("b"), "--relay", meeting.url])
    #expect(screen.shows("same digits"))
    screen.press("y")
    joining.waitUntilExit()
    #expect(joining.terminationStatus == 0, "\(String(decoding: err.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self))")
    #expect(try meeting.run("b", "crisis", "activate", "severe").status == 0)
    #expect(screen.shows("CRISIS"))
    #expect(try meeting.crisis("a")["active"] as? Bool == true)
    screen.press("\u{1B}")
    Thread.sleep(forTimeInterval: 0.3)
    screen.quit()
    #expect(try !meeting.run("a", "doctor").out.contains("never heard of"))
  }

  @Test("a crisis of another device is shown, and its end, while another program holds the store; then it is saved")
  func heardOverALock() throws {
    let meeting = try Meeting.pair()
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("up to date"))
    let holder = try meeting.hold("a", seconds: 40)
    defer { holder.terminate() }
    #expect(try meeting.run("b", "crisis", "activate", "severe").status == 0)
    #expect(screen.shows("You are not alone"))
    screen.press("\u{1B}")
    #expect(screen.shows("not saved here yet"))
    let mark = screen.text.count
    #expect(try meeting.run("b", "crisis", "resolve").status == 0)
    #expect(screen.shows("none", after: mark) && holder.isRunning, "the lock was waited for")
    #expect(!screen.text.contains("does not answer"))
    kill(holder.processIdentifier, SIGKILL)
    _ = try meeting.run("b", "crisis", "activate", "mild")
    #expect(try eventually(within: 20) { try meeting.crisis("a")["level"] as? String == "mild" })
    screen.quit()
  }

  @Test("a crisis of another device that is to be over goes on while the store is held, and is ended when it is free")
  func resolvedOverALock() throws {
    let meeting = try Meeting.pair()
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("up to date"))
    let holder = try meeting.hold("a", seconds: 60)
    defer { holder.terminate() }
    #expect(try meeting.run("b", "crisis", "activate", "severe").status == 0)
    #expect(screen.shows("You are not alone"))
    screen.press("r")
    Thread.sleep(forTimeInterval: 0.3)
    screen.press("y")
    #expect(screen.shows("It goes on: the store is held by another program") && holder.isRunning)
    #expect(!screen.text.contains("How are you now?") && !screen.text.contains("was not saved"))
    kill(holder.processIdentifier, SIGKILL)
    #expect(screen.shows("How are you now?"))
    #expect(try eventually { try meeting.run("b", "sync"); return try meeting.crisis("b")["active"] as? Bool == false })
  }

  @Test("contacts are told at once on the person's word while another program holds the store")
  func toldOverALock() throws {
    let meeting = try Meeting.pair()
    try meeting.run("a", "record", "add", "contact", "name=Ben", "phone=555")
    let words = try meeting.run("a", "family", "invite", "Ben", "--as", "Maya").out.split(whereSeparator: \.isWhitespace).map(String.init)
    let link = try #require(words.firstIndex(of: "follow").map { words[$0 + 1] })
    #expect(try Program.run("family", "follow", link, "--once", "--home", meeting.home("ben"), "--relay", meeting.url).status == 0)
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("up to date"))
    let holder = try meeting.hold("a", seconds: 60)
    defer { holder.terminate() }
    screen.press("!")
    #expect(screen.shows("goes out in"))
    screen.press("\r")
    #expect(try eventually(within: 20) { try Program.run("family", "follow", "--once", "--home", meeting.home("ben")).out.contains("Maya asked for support") })
    #expect(screen.shows("at their link") && holder.isRunning, "the lock was waited for")
    kill(holder.processIdentifier, SIGKILL)
    // The store learns of it, and nobody is told twice.
    #expect(try eventually(within: 20) { try !meeting.run("a", "status").out.contains("has not been told") })
    #expect(try !Program.run("family", "follow", "--once", "--home", meeting.home("ben")).out.contains("asked for support"))
  }

  @Test("a crisis that the store cannot take is shown by every process of the device, and told to who listens")
  func heardByAll() throws {
    let meeting = try Meeting.pair()
    let (leader, first) = try meeting.agent("a")
    let leads = Heard(first)
    #expect(leads.hears("\"event\":\"relay\""))
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("up to date"))
    let (standby, second) = try meeting.agent("a")
    let listens = Heard(second)
    // It hears from when it listens.
    let live = meeting.home("a") + "/live"
    #expect(try eventually { try FileManager.default.contentsOfDirectory(atPath: live).filter { $0.hasSuffix(".sock") }.count == 3 })
    let holder = try meeting.hold("a", seconds: 40)
    defer { holder.terminate() }
    #expect(try meeting.run("b", "crisis", "activate", "severe").status == 0)
    #expect(screen.shows("You are not alone") && holder.isRunning)
    let raised = "\"level\":\"severe\",\"active\":true,\"saved\":"
    #expect(leads.hears(raised + "false") && listens.hears(raised + "false"))
    kill(holder.processIdentifier, SIGKILL)
    #expect(leads.hears(raised + "true") && listens.hears(raised + "true"))
    screen.quit()
    for agent in [leader, standby] { agent.terminate() }
  }

  @Test("a crisis that was raised here while another program holds the store is on every screen and in every answer of this device")
  func raisedBesideTheStore() throws {
    let meeting = try Meeting.pair()
    let (agent, out) = try meeting.agent("a")
    let hears = Heard(out)
    #expect(hears.hears("\"event\":\"relay\""))
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("up to date"))
    let holder = try meeting.hold("a", seconds: 40)
    defer { holder.terminate() }
    #expect(try meeting.run("a", "crisis", "activate", "severe").status == 0)
    #expect(screen.shows("You are not alone") && hears.hears("\"level\":\"severe\",\"active\":true,\"saved\":false") && holder.isRunning)
    #expect(try meeting.run("a", "status").out.contains("Crisis: severe"))
    #expect(try meeting.run("b", "crisis", "activate", "mild").status == 0)
    #expect(try meeting.run("a", "crisis", "status").out.contains("severe"))
    _ = try meeting.run("a", "crisis", "resolve", "--yes")
    #expect(try eventually(within: 5) { try meeting.crisis("a")["level"] as? String == "mild" } && holder.isRunning)
    #expect(try meeting.run("a", "crisis", "acknowledge").status == 75)
    kill(holder.processIdentifier, SIGKILL)
    #expect(hears.hears("\"level\":\"mild\",\"active\":true,\"saved\":true"))
    #expect(try meeting.run("a", "crisis", "resolve", "--yes").status == 0)
    #expect(hears.hears("\"active\":false,\"saved\":true"), "also what another process of this device has written")
    screen.quit()
    agent.terminate()
  }

  @Test("a home that is put back under a dashboard is not shown as up to date; Enter opens what is there")
  func putBackUnderneath() throws {
    let meeting = try Meeting.pair()
    try meeting.keep("a")
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("up to date"))
    _ = try meeting.write("b", "before")
    try meeting.move("a", "away")
    try meeting.putBack("a")
    #expect(screen.shows("Your store cannot be used now."))
    let mark = screen.text.count
    screen.press("!")
    #expect(screen.shows("You are not alone", after: mark))
    #expect(try eventually { try meeting.run("b", "sync"); return try meeting.crisis("b")["active"] as? Bool == true })
    screen.press("r")
    Thread.sleep(forTimeInterval: 0.2)
    screen.press("y")
    #expect(try eventually { try meeting.run("b", "sync"); return try meeting.crisis("b")["active"] as? Bool == false })
    screen.press("\r")
    #expect(screen.shows("up to date", after: mark))
    screen.quit()
    try meeting.settle("a", "b")
    #expect(try meeting.titles("a") == ["before"] && meeting.crisis("a")["active"] as? Bool == false)
  }

  @Test("what was typed when the home was put back is saved in the home that is there")
  func savedAfterwards() throws {
    let meeting = try Meeting.pair()
    try meeting.keep("a")
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("up to date"))
    screen.press("n")
    Thread.sleep(forTimeInterval: 0.2)
    screen.press("8")
    #expect(screen.shows("Journal"))
    screen.press("rain")
    try meeting.move("a", "away")
    try meeting.putBack("a")
    #expect(screen.shows("what you type is still here"))
    for _ in 0..<3 {
      screen.press("\r")
      Thread.sleep(forTimeInterval: 0.2)
    }
    #expect(try eventually { try meeting.titles("a") == ["rain"] })
    screen.quit()
    try meeting.settle("b")
    #expect(try meeting.titles("b") == ["rain"])
  }

  @Test("a relay that is made anew is used by the dashboard that is open")
  func relayMadeAnew() throws {
    let meeting = try Meeting.pair()
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("up to date"))
    try meeting.move("relay", "away")
    try FileManager.default.createDirectory(atPath: meeting.home("relay"), withIntermediateDirectories: false)
    #expect(screen.shows("not the relay you had"))
    #expect(try meeting.run("a", "relay", "make").status == 0)
    _ = try meeting.write("a", "after")
    #expect(try eventually { (try meeting.sync("a"))["state"] as? String == "upToDate" })
    // The other device hears of it from this one.
    #expect(try eventually { try meeting.run("b", "sync").status == 0 && meeting.titles("b") == ["after"] })
    screen.quit()
  }

  @Test("what was raised on a screen is taken back there also when the home was moved away meanwhile")
  func takenBackAway() throws {
    let meeting = try Meeting.pair()
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("up to date"))
    screen.press("!")
    #expect(screen.shows("take back"))
    #expect(try eventually { try meeting.run("b", "sync"); return try meeting.crisis("b")["active"] as? Bool == true })
    try meeting.move("a", "away")
    screen.press("u")
    #expect(try eventually { try meeting.run("b", "sync"); return try meeting.crisis("b")["active"] as? Bool == false })
    try meeting.move("away", "a")
    screen.quit()
    try meeting.settle("a", "b")
    for name in ["a", "b"] { #expect(try meeting.crisis(name)["active"] as? Bool == false) }
  }

  @Test("taking back at one screen ends nothing that was raised elsewhere")
  func takingBack() throws {
    let meeting = try Meeting.pair()
    let screen = try TerminalWindow(meeting, "--home", meeting.home("a"))
    #expect(screen.shows("up to date"))
    #expect(try meeting.run("b", "crisis", "activate", "severe").status == 0)
    #expect(screen.shows("CRISIS"))
    let mark = screen.text.count
    screen.press("!")
    #expect(screen.shows("take back", after: mark))
    screen.press("u")
    #expect(screen.shows("Another crisis is still active", after: mark))
    screen.quit()
    try meeting.settle("a", "b")
    for name in ["a", "b"] { #expect(try meeting.crisis(name)["active"] as? Bool == true) }
    #expect(try meeting.run("a", "crisis", "history").out.contains("not resolved"))
  }
}
