import Causality
import Crisis
import Dashboard
import Foundation
import Replica
import Sealing
import Storage
import Stores
import Testing
import Therapy

/// Help opens whatever else is broken: every row of the matrix, and every pair of rows.
@Suite("Emergency access", .serialized)
struct CrisisAccessTests {
  private static let folder = try? Folder()
  private static let homes: (plain: String, locked: String, spent: String, revoked: String) = {
    let path = (folder?.path ?? "/tmp") + "/homes"
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    let words = path + "/words"
    try? Data("correct horse\n".utf8).write(to: URL(fileURLWithPath: words))
    _ = try? Program.run("init", "--device", "laptop", "--no-passphrase", "--home", path + "/plain")
    _ = try? Program.run("init", "--device", "laptop", "--passphrase-file", words, "--home", path + "/locked")
    try? makeSpent(path + "/spent")
    try? makeRevoked(path + "/revoked")
    for (home, extra) in [("/plain", []), ("/locked", ["--passphrase-file", words]), ("/spent", []), ("/revoked", [])] {
      let process = try? Program.start(["plan", "edit", "coping=walk to the river", "--readable", "yes", "--home", path + home] + extra)
      process?.0.waitUntilExit()
    }
    return (path + "/plain", path + "/locked", path + "/spent", path + "/revoked")
  }()

  /// More operations today than the largest tier allows in a day.
  private static func makeSpent(_ path: String) throws {
    let store = try AccountSetup.household(at: [HomeFolder(path: path)], names: ["laptop"], hasEmergencyKey: true)[0]
    let today = SystemClock.now.wall / 86_400_000
    try store.write { for _ in 0...(Tier.enterprise.operationsPerDay ?? 0) { try $0.countSyncOperation(onDay: today) } }
  }

  /// A device whose account does not know it.
  private static func makeRevoked(_ path: String) throws {
    var random = SystemRandomNumberGenerator()
    let other = try AccountSetup.household(at: [HomeFolder(path: path + "-other")], names: ["laptop"])[0]
    let ring = KeyRing(account: other.ring.account, device: DeviceID(using: &random), keys: try DeviceKeys(using: &random))
    let log = try other.read { try $0.membership() }
    let draft = try HomeDraft(at: HomeFolder(path: path))
    _ = try Store.make(in: draft, ring: ring, membership: log, passphrase: nil)
    try draft.finish(replacing: false)
  }

  /// One way in which things are broken: shell words that bring it about, and options that name it.
  struct Row: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// Made to the copied home.
    var damage = ""
    /// Before the program, on the same line.
    var prefix = ""
    var environment = ""
    var options = ""
    var isLocked = false
    var isSpent = false
    var isRevoked = false
    /// Seconds since 1970.
    var wall: Int?
    var closesOutput = false
    var keepsPlan = true
  }

  static let rows = [
    Row(testDescription: "no store", damage: "rm -rf $H", keepsPlan: false),
    Row(testDescription: "a locked store", isLocked: true),
    Row(testDescription: "a wrong passphrase", options: "--passphrase-file /dev/null", isLocked: true),
    Row(testDescription: "a corrupt database", damage: "head -c 40000 /dev/urandom > $H/store.db"),
    Row(testDescription: "a missing database", damage: "rm -f $H/store.db*"),
    Row(testDescription: "a damaged key", damage: "printf x > $H/data.key"),
    Row(testDescription: "a full disk (nothing can be written)", prefix: "ulimit -f 0;"),
    Row(testDescription: "no network", options: "--relay folder:/nowhere/at/all"),
    Row(testDescription: "no free descriptors to speak of", prefix: "ulimit -n 24;"),
    Row(testDescription: "TERM=dumb", environment: "TERM=dumb"),
    Row(testDescription: "no TERM, no HOME, no locale", environment: "TERM= HOME= LANG= LC_ALL="),
    Row(testDescription: "a terminal of 20x6", environment: "COLUMNS=20 LINES=6"),
    Row(testDescription: "standard output closed", closesOutput: true),
    Row(testDescription: "no quota left, as when a subscription has ended", isSpent: true),
    Row(testDescription: "a device that the account does not know any more", isRevoked: true),
    Row(testDescription: "a clock in 1970", wall: 5),
    Row(testDescription: "a clock in 2200", wall: 7_258_118_400),
  ]

  static let pairs = rows.indices.flatMap { one in rows.indices.filter { $0 > one }.map { (one, $0) } }

  @Test("each row", arguments: rows.indices)
  func row(_ index: Int) throws { try opens([Self.rows[index]]) }

  @Test("every pair of rows")
  func pairs() throws { for (one, other) in Self.pairs { try opens([Self.rows[one], Self.rows[other]]) } }

  private func opens(_ rows: [Row]) throws {
    let what = rows.map(\.testDescription).joined(separator: " + ")
    let home =
      rows.contains(where: \.isLocked) ? Self.homes.locked
      : rows.contains(where: \.isRevoked) ? Self.homes.revoked : rows.contains(where: \.isSpent) ? Self.homes.spent : Self.homes.plain
    var clock = ""
    if let wall = rows.compactMap(\.wall).first { clock = "LD_PRELOAD=\(try #require(Outside.library)) WALL=\(wall)" }
    let copy = try #require(Self.folder).path + "/copy"
    let script = """
      rm -rf \(copy); cp -r \(home) \(copy); H=\(copy)
      \(rows.map(\.damage).joined(separator: "\n"))
      \(rows.map(\.prefix).joined(separator: " "))
      exec env \(clock) \(rows.map(\.environment).joined(separator: " ")) \(Program.path) crisis card --home \(copy) \
      \(rows.map(\.options).joined(separator: " ")) \(rows.contains(where: \.closesOutput) ? ">&-" : "")
      """
    let (process, out) = (Process(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", script]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = out
    process.standardError = FileHandle.nullDevice
    let began = Date()
    try process.run()
    let text = String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(what)")
    #expect(Date().timeIntervalSince(began) < 5, "\(what)")
    if rows.contains(where: \.closesOutput) { return }
    #expect(text.contains("112") && text.contains("RIGHT NOW"), "\(what)")
    #expect(text.contains("walk to the river") == rows.allSatisfy(\.keepsPlan), "\(what): the plan the person opted into")
  }

  @Test("a crisis is raised, resolved and history with no quota, as a device nobody knows, and in 1970 and 2200", arguments: rows.suffix(4).indices)
  func raising(_ index: Int) throws {
    let row = Self.rows[index]
    let home = try #require(Self.folder).path + "/raising"
    try? FileManager.default.removeItem(atPath: home)
    try FileManager.default.copyItem(atPath: row.isSpent ? Self.homes.spent : row.isRevoked ? Self.homes.revoked : Self.homes.plain, toPath: home)
    var environment: [String: String] = [:]
    if let wall = row.wall { environment = ["LD_PRELOAD": try #require(Outside.library), "WALL": "\(wall)"] }
    let raised = try Program.run("crisis", "activate", "severe", "--home", home, environment: environment)
    #expect(raised.status == 0 && raised.out.contains("112"), "\(raised.err)")
    #expect(try Program.run("crisis", "status", "--json", "--home", home, environment: environment).out.contains(#""active":true"#))
    #expect(try Program.run("crisis", "status", "--json", "--home", home).out.contains(#""active":true"#), "also when the clock is right again")
    #expect(try Program.run("crisis", "resolve", "--yes", "--home", home).status == 0)
    // A device that the account does not know has nobody whom it could ask what is so elsewhere.
    let after = try Program.run("crisis", "status", "--json", "--home", home).out
    #expect(after.contains(row.isRevoked ? #""level":"unknown""# : #""active":false"#), "whatever the clock said")
  }

  @Test("the plan is no plain text unless the person said so, and not any more when they take it back")
  func optingIn() throws {
    let folder = try Folder()
    let home = folder.path + "/home"
    try Program.run("init", "--device", "laptop", "--no-passphrase", "--home", home)
    try Program.run("plan", "edit", "coping=walk to the river", "--home", home)
    #expect(try !Program.run("crisis", "card", "--home", home).out.contains("river"))
    #expect(try Program.run("plan", "--home", home).out.contains("walk to the river"))
    let told = try Program.run("plan", "edit", "--readable", "yes", "--home", home)
    #expect(told.out.contains("whoever can read your files"))
    #expect(try Program.run("crisis", "card", "--home", home).out.contains("river"))
    try Program.run("plan", "edit", "reasons=my sister", "--home", home)
    #expect(try Program.run("crisis", "card", "--home", home).out.contains("my sister"), "it follows the plan")
    try Program.run("record", "add", "contact", "name=Jo", "phone=555 0100", "--home", home)
    #expect(try Program.run("crisis", "card", "--home", home).out.contains("Jo: 555 0100"))
    try Program.run("plan", "edit", "--readable", "no", "--home", home)
    #expect(try !Program.run("crisis", "card", "--home", home).out.contains("river"))
  }

  @Test("the crisis screen has help at 20x6, without a store, and over a store that cannot be opened")
  func screen() {
    var state = DashboardState(size: CellSize(rows: 6, columns: 20), glyphs: .ascii, themeName: "monochrome")
    state.crisisLines = CrisisCard.helpLines(for: nil)
    state.lose(["The database is damaged.", "store.damaged"])
    #expect(state.press(.enter) == [.reopen], "nothing is begun over a store that is there")
    #expect(state.dialogs.isEmpty)
    #expect(state.press(.character("!")) == [.activateCrisis(level: .severe, source: "person")], "there is a journal for that")
    #expect(DashboardFrame.render(state).text.contains("112"))
    state.size = CellSize(rows: 24, columns: 80)
    _ = state.press(.escape)
    #expect(DashboardFrame.render(state).text.contains("store.damaged"))
  }

  @Test("at 20x6 a passphrase can be typed, any letter is a part of it, and help is a key away")
  func lockedScreen() {
    var state = DashboardState(size: CellSize(rows: 6, columns: 20), glyphs: .ascii, themeName: "monochrome")
    state.crisisLines = CrisisCard.helpLines(for: nil)
    state.lose(["The store is protected by a passphrase.", "", "storage.passphrase-needed"])
    for key in "q!" { #expect(state.press(.character(key)).isEmpty) }
    let text = DashboardFrame.render(state).text
    #expect(!state.isFinished && text.contains("passphrase **") && text.contains("^X crisis Esc back"))
    #expect(state.press(.control("x")) == [.activateCrisis(level: .severe, source: "person")])
    #expect(DashboardFrame.render(state).text.contains("112"))
  }
}

@Suite("Questionnaires and plan as commands", .serialized)
struct AssessTests {
  private let folder: Folder
  private var home: String { folder.path + "/home" }

  init() throws {
    folder = try Folder()
    try Program.run("init", "--device", "laptop", "--no-passphrase", "--home", home)
  }

  private func assess(_ words: String...) throws -> [String: Any] {
    let (process, out, _) = try Program.start(["assess"] + words + ["--json", "--home", home])
    let data = out.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
  }

  @Test("assess says total, band and what is offered, and counts an offer that was not taken")
  func phq9() throws {
    let answers = ["1", "1", "1", "0", "0", "0", "0", "0", "1"]
    let report = try assess("phq9", answers[0], answers[1], answers[2], answers[3], answers[4], answers[5], answers[6], answers[7], answers[8])
    #expect(report["total"] as? Int == 4 && report["level"] as? String == "severe" && report["offer"] as? String == "thoughts")
    let id = try #require(report["id"] as? String)
    #expect(try Program.run("record", "show", id, "--json", "--home", home).out.contains(#""offer":"dismissed""#))
  }

  @Test("an open answer is unknown: no total, no band")
  func open() throws {
    let report = try assess("gad7", "3", "3", "-", "3", "3", "3", "3")
    #expect(report["total"] == nil && report["band"] == nil && report["level"] as? String == "moderate")
  }

  @Test("a mistake saves nothing", arguments: [["phq8"], ["phq9", "1"], ["gad7", "1", "1", "1", "1", "1", "1", "4"], ["gad7", "a", "1", "1", "1", "1", "1", "1"]])
  func mistakes(words: [String]) throws {
    let (process, out, err) = try Program.start(["assess"] + words + ["--home", home])
    let text = String(decoding: err.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    _ = out.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 64 && text.contains("Nothing was saved"))
    #expect(try Program.run("record", "list", "assessment", "--home", home).out.isEmpty)
  }
}
