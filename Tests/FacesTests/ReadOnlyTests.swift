import Foundation
import Storage
import Stores
import Testing

/// A device that cannot write its own files still reads them.
@Suite("Stores that can only be read", .serialized)
struct ReadOnlyTests {
  /// Keeps a program from writing beside a store.
  ///
  /// - Returns: The environment in which that is so.
  private func hinder(_ how: String, _ home: String) throws -> [String: String] {
    // Who closes it last leaves nothing beside it.
    try Store.open(at: HomeFolder(path: home)) { nil }.close()
    #expect(access(home + "/store.db-wal", F_OK) != 0)
    // Where a full disk is played, SQLite can make no file larger; behind a link that leads nowhere it makes none.
    if how == "full" { return ["LD_PRELOAD": try #require(Outside.library), "FULL": home] }
    symlink("/nowhere", home + "/store.db-shm")
    return [:]
  }

  @Test("what is saved is read where nothing can be written, and what others raised is known", arguments: ["full", "closed"])
  func reads(how: String) throws {
    let meeting = try Meeting.pair()
    _ = try meeting.write("b", "kept")
    try meeting.settle("a", "b")
    let environment = try hinder(how, meeting.home("b"))
    #expect(try meeting.run("b", "status", environment: environment).status == 0)
    let listed = try meeting.run("b", "record", "list", "journal", "--json", environment: environment)
    #expect(listed.status == 0 && listed.out.contains("kept"), "\(listed.err)")
    let calm = try meeting.run("b", "crisis", "status", environment: environment)
    #expect(calm.status == 0 && calm.out.contains("No crisis is active"), "\(calm.out)\(calm.err)")
    let examined = try meeting.run("b", "doctor", "--timeout", "5", environment: environment).out
    #expect(examined.contains("LOOK store") && examined.contains("ok   records"), "\(examined)")
    let added = try meeting.run("b", "record", "add", "journal", "title=lost", environment: environment)
    #expect(added.status != 0 && added.err.contains("storage."), "\(added.err)")

    #expect(try meeting.run("a", "crisis", "activate", "severe").status == 0)
    let raised = try meeting.run("b", "crisis", "status", "--json", environment: environment)
    #expect(raised.status == 0 && raised.out.contains(#""active":true"#), "\(raised.out)\(raised.err)")
    // Nothing says that it is over.
    #expect(try meeting.run("b", "crisis", "resolve", "--yes", environment: environment).status != 0)
    #expect(try meeting.crisis("a")["active"] as? Bool == true)

    unlink(meeting.home("b") + "/store.db-shm")
    _ = try meeting.write("b", "later")
    #expect(try meeting.titles("b") == ["kept", "later"])
  }

  /// A home of which SQLite cannot make the files that it needs.
  private func closed(_ folder: Folder) throws -> HomeFolder {
    let home = HomeFolder(path: folder.path + "/a home? 100%")
    try AccountSetup.household(at: [home], names: ["a"])[0].close()
    #expect(access(home.database + "-wal", F_OK) != 0)
    symlink("/nowhere", home.database + "-shm")
    return home
  }

  @Test("a store that could only be read says why it takes nothing, and is written as soon as it can be")
  func heals() throws {
    let folder = try Folder()
    let home = try closed(folder)
    let store = try Store.open(at: home) { nil }
    defer { store.close() }
    #expect(store.isReadOnly && store.isInPlace)
    #expect(throws: StorageError.unreadable(home.database, "it cannot be written")) {
      try store.write(within: 10_000) { try $0.countSyncOperation(onDay: 1) }
    }
    #expect(try store.read { try $0.syncOperations(onDay: 1) } == 0)
    unlink(home.database + "-shm")
    #expect(try store.read { try $0.syncOperations(onDay: 1) } == 0)
    try store.write(within: 10_000) { try $0.countSyncOperation(onDay: 1) }
    #expect(try !store.isReadOnly && store.read { try $0.syncOperations(onDay: 1) } == 1)
  }

  @Test("what another program writes meanwhile is read, and shows as a change")
  func follows() throws {
    let folder = try Folder()
    let home = try closed(folder)
    let store = try Store.open(at: home) { nil }
    defer { store.close() }
    let before = try store.dataVersion()
    unlink(home.database + "-shm")
    let other = try Store.open(at: home) { nil }
    defer { other.close() }
    try other.write(within: nil) { try $0.countSyncOperation(onDay: 1) }
    #expect(try store.read { try $0.syncOperations(onDay: 1) } == 1)
    #expect(try store.dataVersion() != before)
  }

  @Test("where a killed program has left a log and nothing can be written, both are read, and no copy stays")
  func copied() throws {
    let meeting = try Meeting.pair()
    let agent = try meeting.agent("b").process
    #expect(try eventually { try meeting.sync("b")["state"] as? String == "upToDate" })
    _ = try meeting.write("b", "in the log")
    kill(agent.processIdentifier, SIGKILL)
    #expect(eventuallyEnded(agent))
    let home = HomeFolder(path: meeting.home("b"))
    let log = try Data(contentsOf: URL(fileURLWithPath: home.database + "-wal"))
    #expect(!log.isEmpty)
    unlink(home.database + "-shm")
    symlink("/nowhere", home.database + "-shm")
    let memory = meeting.home("memory")
    try FileManager.default.createDirectory(atPath: memory, withIntermediateDirectories: false)
    let environment = ["XDG_RUNTIME_DIR": memory]
    let listed = try meeting.run("b", "record", "list", "journal", "--json", environment: environment)
    #expect(listed.status == 0 && listed.out.contains("in the log"), "\(listed.err)")
    let added = try meeting.run("b", "record", "add", "journal", "title=lost", environment: environment)
    #expect(added.status != 0 && added.err.contains("storage."), "\(added.err)")
    let store = try Store.open(at: home) { nil }
    #expect(store.isReadOnly)
    store.close()
    #expect(try FileManager.default.contentsOfDirectory(atPath: memory).isEmpty)
    #expect(try Data(contentsOf: URL(fileURLWithPath: home.database + "-wal")) == log)

    unlink(home.database + "-shm")
    _ = try meeting.write("b", "later")
    #expect(try meeting.titles("b") == ["in the log", "later"])
  }

  @Test("where a log holds what the database does not, it is not read without it")
  func log() throws {
    let folder = try Folder()
    let home = try closed(folder)
    try Data(repeating: 1, count: 64).write(to: URL(fileURLWithPath: home.database + "-wal"))
    #expect(throws: StorageError.self) { try Store.open(at: home) { nil } }
  }
}
