import Foundation
import Testing

/// What a person is told whose home was put back, or copied.
@Suite("Homes that were put back", .serialized)
struct PutBackTests {
  private static let before = "was put back or copied, or its files were given other rights or links, since it was used last"
  private static let after = "was put back or copied, or its files were given other rights or links, which was noticed on"

  @Test("it is told before the next write, and afterwards for as long as it may be missed")
  func told() throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("a", "kept")
    try meeting.keep("a")
    #expect(try meeting.run("a", "record", "add", "journal", "title=lost").err.isEmpty)
    try meeting.settle("a", "b")
    try meeting.putBack("a")
    for words in [["status"], ["record", "list", "journal"], ["record", "add", "journal", "title=new"]] {
      #expect(try Program.run(words + ["--home", meeting.home("a")]).err.contains(Self.before), "\(words)")
    }
    #expect(try !meeting.run("a", "record", "list", "journal").err.contains(Self.before), "it goes on in a life of its own")
    try meeting.settle("a", "b")
    #expect(try meeting.titles("a") == ["kept", "lost", "new"])
    #expect(try meeting.run("a", "status").out.contains(Self.after))
    #expect(try meeting.sync("a")["closedLife_ms"] as? UInt64 ?? 0 > 0)
    let examined = try meeting.run("a", "doctor")
    #expect(examined.status == 0 && examined.out.contains(Self.after), "\(examined.out)")
    #expect(try meeting.sync("b")["closedLife_ms"] == nil, "the other one was not")
  }

  @Test("a database that is put back alone is told of as well; a first run is not")
  func alone() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    #expect(try meeting.run("a", "status").err.isEmpty)
    _ = try meeting.write("a", "one")
    try FileManager.default.removeItem(atPath: meeting.home("a") + "/mark")
    #expect(try meeting.run("a", "status").err.contains(Self.before))
  }

  @Test("a mark that cannot be used is named, with what to do about it, and that works")
  func unusable() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    _ = try meeting.write("a", "one")
    let mark = meeting.home("a") + "/mark"
    try FileManager.default.removeItem(atPath: mark)
    mkfifo(mark, 0o600)
    let examined = try meeting.run("a", "doctor")
    #expect(examined.out.contains("LOOK continuity: the mark of this home"), "\(examined.out)")
    try FileManager.default.removeItem(atPath: mark)
    _ = try meeting.write("a", "two")
    #expect(try meeting.run("a", "doctor").out.contains("ok   continuity: the store follows what it said last"))
  }

  @Test("several programs that write at once take each other for no copy")
  func together() throws {
    let meeting = try Meeting()
    try meeting.found("a")
    _ = try meeting.agent("a")
    let said = try (0..<60).map { number in
      try Program.start(["record", "add", "journal", "title=\(number)", "--home", meeting.home("a")])
    }.map { process, out, err in
      _ = out.fileHandleForReading.readDataToEndOfFile()
      let words = String(decoding: err.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      return words
    }
    #expect(Set(said) == [""])
    #expect(try meeting.titles("a").count == 60)
    #expect(try meeting.run("a", "doctor").out.contains("lives: one at a time\n"))
  }
}
