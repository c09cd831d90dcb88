import Foundation
import Storage
import Stores
import Testing

/// What a person does to the files of a home while a program has them open: put a backup in their place, clean up, cut.
@Suite("Stores whose files were replaced under a program", .serialized)
struct ReplacedStoreTests {
  private static let beside = ["store.db-wal", "store.db-shm"]

  private func remove(_ names: [String], of home: String) {
    for name in names { unlink(home + "/" + name) }
  }

  /// As a backup is put back: the files that are there stay the files that they are, and get another content.
  private func copyOver(_ from: String, _ to: String) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/cp")
    process.arguments = ["-a", from + "/.", to + "/"]
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }

  /// Two devices and the agent of the first, which has sent what was written.
  private func exchanged() throws -> (meeting: Meeting, agent: Process, heard: Heard) {
    let meeting = try Meeting.pair()
    try meeting.keep("a")
    let (agent, out) = try meeting.agent("a")
    let heard = Heard(out)
    _ = try meeting.write("a", "before")
    #expect(try eventually { try meeting.run("b", "sync"); return try meeting.titles("b").contains("before") })
    return (meeting, agent, heard)
  }

  /// Whether the agent of the first ends: it looks when it hears that somebody has written, or after a while.
  private func ends(_ agent: Process, of meeting: Meeting) -> Bool {
    eventually {
      HomeFolder(path: meeting.home("a")).pingOthers(except: nil)
      return !agent.isRunning
    }
  }

  /// Adds entries, each until it is acknowledged: while the program that has the old files lives, one may be refused.
  private func add(_ titles: String..., to meeting: Meeting) throws {
    for title in titles {
      #expect(try eventually { try meeting.run("a", "record", "add", "journal", "title=\(title)").status == 0 }, "\(title)")
    }
  }

  private func expectAll(_ titles: Set<String>, _ meeting: Meeting) throws {
    try meeting.settle("a", "b")
    for name in ["a", "b"] {
      #expect(try meeting.titles(name) == titles, "\(name)")
      #expect(try meeting.run(name, "doctor").status == 0, "\(name)")
    }
  }

  @Test("a backup copied over a home under its agent: the agent ends and says why, and what was acknowledged since is on both devices")
  func backup() throws {
    let (meeting, agent, heard) = try exchanged()
    try copyOver(meeting.home("a.kept"), meeting.home("a"))
    remove(Self.beside, of: meeting.home("a"))
    try add("AFTER1", "AFTER2", to: meeting)
    #expect(ends(agent, of: meeting))
    #expect(agent.terminationStatus != 0 && heard.hears("storage.replaced"))
    try expectAll(["before", "AFTER1", "AFTER2"], meeting)
  }

  @Test("an agent that is ended before it can notice the backup writes nothing over what was saved since")
  func ended() throws {
    let (meeting, agent, _) = try exchanged()
    kill(agent.processIdentifier, SIGSTOP)
    try copyOver(meeting.home("a.kept"), meeting.home("a"))
    remove(Self.beside, of: meeting.home("a"))
    try add("AFTER1", "AFTER2", to: meeting)
    kill(agent.processIdentifier, SIGTERM)
    kill(agent.processIdentifier, SIGCONT)
    #expect(eventuallyEnded(agent))
    #expect(try meeting.titles("a").isSuperset(of: ["AFTER1", "AFTER2"]))
    try expectAll(["before", "AFTER1", "AFTER2"], meeting)
  }

  @Test(
    "the files beside the database removed or cut under the agent: it ends and says why, and nothing acknowledged is missing",
    arguments: ["both", "log", "index", "cut"])
  func beside(what: String) throws {
    let (meeting, agent, heard) = try exchanged()
    switch what {
    case "both": remove(Self.beside, of: meeting.home("a"))
    case "log": remove(["store.db-wal"], of: meeting.home("a"))
    case "index": remove(["store.db-shm"], of: meeting.home("a"))
    default: truncate(meeting.home("a") + "/store.db-wal", 0)
    }
    #expect(ends(agent, of: meeting))
    #expect(agent.terminationStatus != 0 && heard.hears("storage.replaced"))
    try add("after", to: meeting)
    try expectAll(["before", "after"], meeting)
  }

  // MARK: One connection

  private func opened(_ folder: Folder) throws -> Store {
    let home = HomeFolder(path: folder.path + "/home")
    try AccountSetup.household(at: [home], names: ["a"])[0].close()
    let store = try Store.open(at: home) { nil }
    try store.write(within: nil) { try $0.countSyncOperation(onDay: 1) }
    #expect(store.isInPlace)
    return store
  }

  @Test("what cannot be kept is not acknowledged, and nothing of it gets into the database", arguments: ["removed", "cut", "after the read"])
  func refused(how: String) throws {
    let folder = try Folder()
    let store = try opened(folder)
    let home = store.home
    let database = try Data(contentsOf: URL(fileURLWithPath: home.database))
    func change() {
      if how == "cut" { truncate(home.database + "-wal", 0) } else { remove(Self.beside, of: home.path) }
    }
    if how != "after the read" { change() }
    #expect(throws: StorageError.replaced(home.path)) {
      try store.write(within: nil) {
        try $0.countSyncOperation(onDay: 1)
        if how == "after the read" { change() }
      }
    }
    #expect(!store.isInPlace)
    store.close()
    #expect(try Data(contentsOf: URL(fileURLWithPath: home.database)) == database)
    let again = try Store.open(at: home) { nil }
    defer { again.close() }
    #expect(try again.integrityReport().isEmpty)
    try again.write(within: nil) { try $0.countSyncOperation(onDay: 2) }
    #expect(again.isInPlace)
  }

  @Test("a store whose files were replaced is let go without a word of its own as well")
  func released() throws {
    let folder = try Folder()
    var store: Store? = try opened(folder)
    let home = try #require(store?.home)
    let database = try Data(contentsOf: URL(fileURLWithPath: home.database))
    remove(Self.beside, of: home.path)
    store = nil
    #expect(store == nil)
    #expect(try Data(contentsOf: URL(fileURLWithPath: home.database)) == database)
  }

  @Test("a log that another program folds and cuts is no replaced one, and one that is closed leaves nothing beside it")
  func folded() throws {
    let folder = try Folder()
    let store = try opened(folder)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "python3", "-c",
      "import sqlite3; c=sqlite3.connect('\(store.home.database)'); assert c.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()[0] == 0",
    ]
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    #expect(store.isInPlace)
    try store.write(within: nil) { try $0.countSyncOperation(onDay: 1) }
    #expect(try store.isInPlace && store.read { try $0.syncOperations(onDay: 1) } == 2)
    store.close()
    for name in Self.beside { #expect(access(store.home.path + "/" + name, F_OK) != 0, "\(name)") }
  }

  @Test("a long log is folded into the database while the program runs")
  func bounded() throws {
    let folder = try Folder()
    let store = try opened(folder)
    defer { store.close() }
    try store.checkpointOften()
    for _ in 0..<500 { try store.write(within: nil) { try $0.countSyncOperation(onDay: 1) } }
    let size = try FileManager.default.attributesOfItem(atPath: store.home.database + "-wal")[.size] as? Int ?? .max
    #expect(size < 200 * 4_120, "\(size) bytes")
  }
}
