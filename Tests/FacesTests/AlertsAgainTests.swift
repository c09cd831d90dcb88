import Causality
import Crisis
import Foundation
import Testing
import Therapy

/// What a relay has lost of an alert, and what a clock that is wrong makes of crises.
@Suite("Alerts again", .serialized)
struct AlertsAgainTests {
  private let meeting: Meeting

  /// One device, and Ben, who follows its link with no program running.
  init() throws {
    meeting = try Meeting()
    try meeting.found("a")
    try meeting.run("a", "record", "add", "contact", "name=Ben", "phone=555")
    let words = try meeting.run("a", "family", "invite", "Ben", "--as", "Maya").out.split(whereSeparator: \.isWhitespace).map(String.init)
    let link = try #require(words.firstIndex(of: "follow").map { words[$0 + 1] })
    #expect(try Program.run("family", "follow", link, "--once", "--home", meeting.home("ben"), "--relay", meeting.url).status == 0)
  }

  private func look(_ words: String...) throws -> Program.Outcome {
    try Program.run(["family", "follow", "--once", "--home", meeting.home("ben")] + words)
  }

  private func raise() throws -> String { try meeting.run("a", "crisis", "activate", "severe", "--now").out }

  private func notices() throws -> Set<String> {
    let boards = meeting.home("relay") + "/boards"
    return Set(try FileManager.default.subpathsOfDirectory(atPath: boards).filter { $0.contains("/") }.map { boards + "/" + $0 })
  }

  /// Does something to an alert, as disks, services and backups do.
  private func lose(_ path: String, how: String) throws {
    let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    switch how {
    case "cut": try Data(bytes.dropLast(7)).write(to: URL(fileURLWithPath: path))
    case "emptied": try Data().write(to: URL(fileURLWithPath: path))
    default: try FileManager.default.removeItem(atPath: path)
    }
  }

  // MARK: Lost at the relay

  @Test("an alert that is lost at the link is put up again by sync, and by the next press", arguments: ["cut", "emptied", "removed"])
  func lost(how: String) throws {
    let before = try notices()
    #expect(try raise().contains("Ben: an alert lies at the link"))
    try lose(try #require(try notices().subtracting(before).first), how: how)
    let kept = try notices()
    let synced = try meeting.run("a", "sync")
    #expect(synced.status == 0 && synced.err.contains("An alert lies at the link of Ben"), "\(synced.out)\(synced.err)")
    #expect(!(try meeting.run("a", "sync").err.contains("An alert lies")), "it lies there")
    try lose(try #require(try notices().subtracting(kept).first), how: how)
    #expect(try raise().contains("Ben: an alert lies at the link"))
    #expect(try look().out.contains("Maya asked for support"))
  }

  @Test("a relay that was put back to before the alert has it again after sync")
  func rolledBack() throws {
    try meeting.copy("relay", "old")
    _ = try raise()
    try meeting.copy("old", "relay")
    let synced = try meeting.run("a", "sync")
    #expect(synced.err.contains("An alert lies at the link of Ben"), "\(synced.out)\(synced.err)")
    #expect(try look().out.contains("Maya asked for support"))
  }

  @Test("of a link that could not be read in this run nothing is said to lie there")
  func unread() throws {
    _ = try raise()
    try meeting.move("relay", "away")
    let said = try raise()
    #expect(!said.contains("an alert lies at the link;") && !said.contains("shows it"), "\(said)")
    #expect(said.contains("whether it lies there now is not known"), "\(said)")
  }

  @Test("a follower is not silent about what cannot be read at the link", arguments: ["cut", "emptied"])
  func torn(how: String) throws {
    let before = try notices()
    _ = try raise()
    let alert = try #require(try notices().subtracting(before).first)
    let whole = try Data(contentsOf: URL(fileURLWithPath: alert))
    try lose(alert, how: how)
    for _ in 0..<2 {
      let looked = try look()
      #expect(looked.status == 75 && looked.out.isEmpty && looked.err.contains("could be looked at"), "\(looked)")
    }
    try whole.write(to: URL(fileURLWithPath: alert))
    let looked = try look()
    #expect(looked.status == 0 && looked.out.contains("Maya asked for support"), "\(looked)")
    // Something that was read is not there any more.
    try lose(alert, how: "removed")
    let gone = try look()
    #expect(gone.status == 75 && gone.err.contains("not there any more"), "\(gone)")
  }

  // MARK: Clocks

  @Test("where the clock stands before 1970 every alert is told, and its end; and the list has them under a clock that is right")
  func beforeTime() throws {
    let wrong = ["LD_PRELOAD": try #require(Outside.library), "SKEW": "-2090000000"]
    for _ in 0..<2 {
      #expect(try meeting.run("a", "crisis", "activate", "--now", environment: wrong).out.contains("Ben: an alert lies at the link"))
      #expect(try meeting.run("a", "crisis", "resolve", "--yes", environment: wrong).status == 0)
    }
    let heard = try look("--json").out
    #expect(heard.ranges(of: #""event":"alert""#).count == 2, "\(heard)")
    #expect(heard.ranges(of: #""event":"ended""#).count == 2, "\(heard)")
    let list = try meeting.json(try meeting.run("a", "crisis", "history", "--json").out)
    #expect((list["crises"] as? [Any])?.count == 2, "\(list)")
  }

  @Test("one alert is counted once, and not with what tells nobody")
  func counted() throws {
    try meeting.run("a", "crisis", "activate", "mild")
    _ = try raise()
    _ = try raise()
    try meeting.run("a", "crisis", "resolve", "--yes")
    let list = try meeting.json(try meeting.run("a", "crisis", "history", "--json").out)
    let crises = list["crises"] as? [[String: Any]] ?? []
    #expect(crises.count == 3 && crises.compactMap { $0["told"] as? Int }.reduce(0, +) == 1, "\(list)")
    #expect(crises.first { $0["level"] as? String == "mild" }?["told"] as? Int == 0, "\(list)")
  }

  @Test("a crisis whose stamps cannot be by one clock has no duration, and none without a date is left out")
  func durations() throws {
    let (record, now, minute) = (RecordID(high: 9, low: 9), UInt64(1_790_000_000_000), UInt64(60_000))
    func history(_ raised: UInt64, _ resolved: UInt64) throws -> CrisisHistory.Entry? {
      let stream = StreamID(device: DeviceID(high: 0, low: 1), incarnation: Incarnation(rawValue: 1), lane: .crisis)
      func write(_ draft: Draft, _ sequence: UInt64, _ at: UInt64) -> Causality.Operation {
        Causality.Operation(
          stream: stream, sequence: sequence, timestamp: Timestamp(milliseconds: at), record: draft.record, kind: draft.kind,
          field: draft.field, mutation: draft.mutation, replaces: draft.replaces ?? [])
      }
      let activation = write(CrisisState.activation(.severe, source: "person", record: record), 1, raised)
      let end = write(CrisisState.withdrawal(of: [activation.id], record: record), 2, resolved)
      return CrisisHistory([activation, end], wall: now).entries.first
    }
    #expect(try history(now - 5 * minute, now)?.minutes == 5)
    let early = try #require(try history(0, 3 * minute))
    #expect(early.minutes == 3 && !early.isDated, "both by the same wrong clock")
    for (raised, resolved) in [(0, now), (now, now - 5 * minute), (now - minute, 4 * now), (4 * now, now)] as [(UInt64, UInt64)] {
      let entry = try history(raised, resolved)
      #expect(entry != nil && entry?.minutes == nil, "\(raised) \(resolved)")
    }
  }
}
