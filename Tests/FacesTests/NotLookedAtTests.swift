import Foundation
import Testing

/// That no crisis is active is said only where everything about crises was read to its end that anybody has signed for.
@Suite("Not looked at", .serialized)
struct NotLookedAtTests {
  private let meeting: Meeting

  init() throws {
    meeting = try Meeting.pair()
    try meeting.settle("a", "b")
  }

  /// Files of crisis lanes on the relay, with their sizes.
  private func files() throws -> [String: Int] {
    let relay = meeting.home("relay")
    let names = try FileManager.default.subpathsOfDirectory(atPath: relay).filter { $0.hasSuffix("/0.log") }
    return try names.reduce(into: [:]) { sizes, name in
      sizes[relay + "/" + name] = try FileManager.default.attributesOfItem(atPath: relay + "/" + name)[.size] as? Int ?? 0
    }
  }

  /// Raises one on b that no program of a has read.
  ///
  /// - Returns: The file it lies in, how large it was before, and is now.
  private func raiseOnB() throws -> (path: String, before: Int, now: Int) {
    let before = try files()
    #expect(try meeting.run("b", "crisis", "activate", "severe", "--now").status == 0)
    let changed = try #require(try files().first { before[$0.key] != $0.value })
    return (changed.key, before[changed.key] ?? 0, changed.value)
  }

  private func expectUnknown(_ what: String) throws {
    let crisis = try meeting.crisis("a")
    #expect(crisis["level"] as? String == "unknown" && crisis["active"] as? Bool == false, "\(what): \(crisis)")
    let words = try meeting.run("a", "crisis", "status").out
    #expect(!words.contains("No crisis is active") && words.contains("is not known"), "\(what): \(words)")
    #expect(try meeting.json(meeting.run("a", "crisis", "history", "--json").out)["complete"] as? Bool == false, "\(what)")
    #expect(try (meeting.status("a")["crisis"] as? [String: Any])?["level"] as? String == "unknown", "\(what)")
    #expect(try meeting.run("a", "status").out.contains("what other devices raised is not known"), "\(what)")
  }

  @Test("what another device has signed for and the relay lacks is missing for as long as it is so")
  func signedFor() throws {
    let file = try raiseOnB()
    try meeting.run("b", "sync")
    try FileManager.default.removeItem(atPath: file.path)
    for round in 1...2 {
      let synced = try meeting.run("a", "sync", "--timeout", "2")
      #expect(synced.status == 75, "round \(round): \(synced.out)\(synced.err)")
      try expectUnknown("round \(round)")
    }
    #expect(try !((meeting.sync("a")["missing"] as? [Any])?.isEmpty ?? true))
    let status = try meeting.run("a", "status").out
    #expect(status.contains("ABOUT A CRISIS") && !status.contains("up to date"), "\(status)")
    // The device that has it puts it there again.
    try meeting.run("b", "sync")
    #expect(try meeting.run("a", "sync").status == 0)
    #expect(try meeting.crisis("a")["level"] as? String == "severe")
    #expect(try meeting.run("b", "crisis", "resolve", "--yes").status == 0)
    try meeting.settle("b", "a")
    #expect(try meeting.crisis("a")["level"] as? String == "none", "it is known again that none is active")
  }

  @Test("a crisis file that does not open to its end was not looked at", arguments: ["cut 1", "cut 17", "empty", "gone", "flipped", "garbage"])
  func torn(_ damage: String) throws {
    try meeting.run("b", "crisis", "activate", "mild", "--now")
    try meeting.run("b", "crisis", "resolve", "--yes")
    try meeting.settle("a", "b")
    #expect(try meeting.crisis("a")["level"] as? String == "none")
    let file = try raiseOnB()
    switch damage {
    case "cut 1": truncate(file.path, off_t(file.now - 1))
    case "cut 17": truncate(file.path, off_t(file.now - 17))
    case "empty": truncate(file.path, 0)
    case "gone": try FileManager.default.removeItem(atPath: file.path)
    default:
      var bytes = Array(try #require(FileManager.default.contents(atPath: file.path)))
      let range = damage == "flipped" ? bytes.count - 40..<bytes.count - 36 : file.before..<bytes.count
      for index in range { bytes[index] ^= 0xA5 }
      try Data(bytes).write(to: URL(fileURLWithPath: file.path))
    }
    try expectUnknown(damage)
    guard damage.hasPrefix("cut") || damage == "flipped" else { return }
    let synced = try meeting.run("a", "sync", "--timeout", "2")
    #expect(synced.status == 75, "\(damage): \(synced.out)\(synced.err)")
    try expectUnknown("\(damage), after a sync")
    try meeting.run("b", "sync")
    #expect(try meeting.run("a", "sync").status == 0)
    #expect(try meeting.crisis("a")["level"] as? String == "severe")
  }

  @Test("where what this device has put on the relay is gone, what others have put there may be gone as well")
  func emptied() throws {
    try meeting.run("a", "crisis", "activate", "mild", "--now")
    try meeting.run("a", "crisis", "resolve", "--yes")
    try meeting.settle("a", "b")
    #expect(try meeting.crisis("a")["level"] as? String == "none")
    let accepted = try meeting.sync("a")["acceptedByRelay"] as? Int ?? 0
    #expect(accepted >= 2)
    _ = try raiseOnB()
    for name in try FileManager.default.contentsOfDirectory(atPath: meeting.home("relay")) where name != "epoch" {
      try FileManager.default.removeItem(atPath: meeting.home("relay") + "/" + name)
    }
    try expectUnknown("emptied")
    #expect(try meeting.sync("a")["acceptedByRelay"] as? Int == 0, "a look has found nothing there")
  }

  @Test("what the relay has taken of a crisis is known when it is away; that the crisis goes on elsewhere is not")
  func away() throws {
    let raised = try meeting.json(meeting.run("a", "crisis", "activate", "severe", "--json").out)
    #expect(raised["atRelay"] as? Bool == true)
    #expect(try meeting.run("b", "crisis", "resolve", "--yes").status == 0)
    try meeting.move("relay", "away")
    let status = try meeting.run("a", "status").out
    #expect(!status.contains("on no relay yet") && status.contains("CRISIS: severe") && status.contains("over elsewhere is not known"), "\(status)")
    let crisis = try meeting.crisis("a")
    #expect(crisis["level"] as? String == "unknown" && crisis["active"] as? Bool == true && crisis["since"] != nil, "\(crisis)")
    let words = try meeting.run("a", "crisis", "status").out
    #expect(words.contains("A crisis is active: severe") && words.contains("over elsewhere is not known"), "\(words)")
  }

  @Test("below severe nobody outside is told, and it is said")
  func mildNow() throws {
    for level in ["mild", "moderate"] {
      #expect(try meeting.run("a", "crisis", "activate", level, "--now").out.contains("Nobody outside your devices is told"), "\(level)")
      #expect(try meeting.run("a", "crisis", "activate", level, "--now", "--json").err.contains("Nobody outside your devices is told"), "\(level)")
    }
  }

  @Test("where a relay cannot be read as named, nothing is raised; where the store cannot be opened, nobody is promised to be told")
  func words() throws {
    let named = try meeting.run("a", "crisis", "activate", "severe", "--relay", "nonsense")
    #expect(named.status != 0 && !named.out.contains("Saved here"), "\(named.out)\(named.err)")
    #expect(try meeting.crisis("a")["level"] as? String == "none")
    try meeting.move("a/data.key", "a/away.key")
    let closed = try meeting.run("a", "crisis", "activate", "severe", "--now")
    #expect(closed.status == 0 && closed.out.contains("Saved here and sent") && closed.out.contains("Please call"), "\(closed.out)\(closed.err)")
    #expect(!closed.out.contains("Your contacts are told"), "\(closed.out)")
  }

  @Test("nothing is said to be tried when nothing tries any more; a full disk is named as what keeps a crisis from being ended")
  func full() throws {
    let library = try #require(Outside.library)
    let nowhere = ["LD_PRELOAD": library, "FULL": meeting.path]
    let raised = try meeting.run("a", "crisis", "activate", "severe", "--json", "--timeout", "1", environment: nowhere)
    #expect(raised.status == 75 && !raised.err.contains("still trying") && raised.err.contains("not tried any more"), "\(raised.out)\(raised.err)")
    _ = try raiseOnB()
    // Beside somebody who reads the files of the database are there, and an empty transaction finds room.
    let reader = try read("a")
    defer { reader.terminate() }
    let resolved = try meeting.run("a", "crisis", "resolve", "--yes", environment: ["LD_PRELOAD": library, "FULL": meeting.home("a")])
    #expect(resolved.status == 75 && resolved.err.contains("is full") && reader.isRunning, "\(resolved.out)\(resolved.err)")
  }

  /// A process that has the database of a store open, and holds nothing.
  private func read(_ name: String) throws -> Process {
    let (reader, opened) = (Process(), Pipe())
    reader.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    reader.arguments = [
      "python3", "-c",
      "import sqlite3,time; c=sqlite3.connect('\(meeting.home(name))/store.db'); c.execute('SELECT count(*) FROM sqlite_master').fetchone(); print('open', flush=True); time.sleep(40)",
    ]
    reader.standardOutput = opened
    try reader.run()
    _ = opened.fileHandleForReading.readData(ofLength: 4)
    return reader
  }
}
