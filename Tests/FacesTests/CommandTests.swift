import CSystem
import Foundation
import Testing

/// The program as a process.
struct Program {
  static let path: String = {
    // The test bundle lies beside the program it was built with.
    var folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    if let bundle = CommandLine.arguments.first(where: { $0.hasSuffix(".xctest") }) { folder = URL(fileURLWithPath: bundle).deletingLastPathComponent() }
    let beside = folder.appendingPathComponent("fullmind").path
    return FileManager.default.isExecutableFile(atPath: beside) ? beside : HouseTests.root.appendingPathComponent(".build/release/fullmind").path
  }()

  struct Outcome { var status: Int32; var out: String; var err: String }

  static func start(
    _ arguments: [String], environment: [String: String] = [:], input: FileHandle = .nullDevice
  ) throws -> (Process, Pipe, Pipe) {
    let (process, out, err) = (Process(), Pipe(), Pipe())
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.environment = ["PATH": "/usr/bin:/bin", "HOME": NSTemporaryDirectory(), "TERM": "xterm-256color"].merging(environment) { $1 }
    process.standardInput = input
    process.standardOutput = out
    process.standardError = err
    try process.run()
    return (process, out, err)
  }

  @discardableResult
  static func run(_ arguments: String..., environment: [String: String] = [:]) throws -> Outcome { try run(arguments, environment: environment) }

  @discardableResult
  static func run(_ arguments: [String], environment: [String: String] = [:]) throws -> Outcome {
    let (process, out, err) = try start(arguments, environment: environment)
    let (output, errors) = (out.fileHandleForReading.readDataToEndOfFile(), err.fileHandleForReading.readDataToEndOfFile())
    process.waitUntilExit()
    return Outcome(status: process.terminationStatus, out: String(decoding: output, as: UTF8.self), err: String(decoding: errors, as: UTF8.self))
  }
}

final class Folder: Sendable {
  let path = NSTemporaryDirectory() + "fullmind-faces-\(UUID().uuidString.prefix(8))"
  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
  deinit {
    chmod(path + "/closed", 0o700)  // so that it can be removed
    try? FileManager.default.removeItem(atPath: path)
  }
}

@Suite("Commands", .serialized)
struct CommandTests {
  private let folder: Folder
  private var home: String { folder.path + "/home" }

  init() throws { folder = try Folder() }

  private func initialise(_ more: String...) throws {
    let outcome = try Program.run(["init", "--device", "laptop", "--no-passphrase", "--home", home] + more)
    #expect(outcome.status == 0, "\(outcome.err)")
  }

  private func json(_ text: String) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
  }

  @Test("status --json has the documented keys")
  func statusKeys() throws {
    try initialise()
    let status = try json(try Program.run("status", "--json", "--home", home).out)
    #expect(Set(["account", "device", "devices", "sync", "crisis", "conflicts", "quota", "guarantees", "stateHash"]).isSubset(of: status.keys))
    let sync = try #require(status["sync"] as? [String: Any])
    #expect(Set(["state", "pending", "savedHere", "acceptedByRelay", "confirmedOn"]).isSubset(of: sync.keys))
    let devices = try #require(status["devices"] as? [[String: Any]])
    #expect(Set(["id", "name", "kind", "presence", "behind"]).isSubset(of: devices[0].keys))
    let guarantees = try #require(status["guarantees"] as? [[String: Any]])
    #expect(Set(["operation", "mode", "count", "target_ms", "violations"]).isSubset(of: guarantees[0].keys))
  }

  @Test("a record is added, shown, changed, listed and removed")
  func records() throws {
    try initialise()
    let added = try Program.run("record", "add", "check-in", "mood=6", "gratitudes=sun", "--home", home)
    let id = added.out.trimmingCharacters(in: .whitespacesAndNewlines)
    #expect(id.count == 26, "prints the id alone")
    try Program.run("record", "set", id, "mood=7", "gratitudes+=rain", "--home", home)
    let shown = try json(try Program.run("record", "show", id, "--json", "--home", home).out)
    let fields = try #require(shown["fields"] as? [String: Any])
    #expect(shown["id"] as? String == id && shown["kind"] as? String == "check-in")
    #expect(fields["mood"] as? Int == 7 && fields["gratitudes"] as? [String] == ["sun", "rain"])
    #expect(try Program.run("record", "list", "check-in", "--home", home).out.contains(id))
    #expect(try Program.run("record", "history", id, "--home", home).out.split(separator: "\n").count == 4)
    #expect(try Program.run("record", "remove", id, "--home", home).status == 0)
    #expect(try Program.run("record", "show", id, "--home", home).status == 66)
    #expect(try Program.run("doctor", "--home", home).status == 0)
  }

  @Test("a second device joins; what is written on one is on the other; a crisis too")
  func journey() throws {
    let relay = "folder:\(folder.path)/relay"
    try initialise("--relay", relay)
    let second = folder.path + "/second"
    let (invite, out, _) = try Program.start(["devices", "invite", "--yes", "--home", home, "--relay", relay])
    var code = ""
    while !code.hasSuffix("\n") {
      let byte = out.fileHandleForReading.readData(ofLength: 1)
      if byte.isEmpty { break }
      code += String(decoding: byte, as: UTF8.self)
    }
    let joined = try Program.run("join", code.trimmingCharacters(in: .newlines), "--device", "phone", "--yes", "--home", second, "--relay", relay)
    #expect(joined.status == 0, "\(joined.err)")
    invite.waitUntilExit()
    #expect(invite.terminationStatus == 0)
    let id = try Program.run("check-in", "morning", "mood=4", "--home", second).out.trimmingCharacters(in: .newlines)
    try Program.run("sync", "--home", second)
    try Program.run("sync", "--home", home, "--relay", relay)
    #expect(try Program.run("record", "show", id, "--home", home).status == 0)
    try Program.run("crisis", "activate", "severe", "--home", second)
    try Program.run("sync", "--home", home, "--relay", relay)
    let crisis = try json(try Program.run("crisis", "status", "--json", "--home", home).out)
    #expect(crisis["active"] as? Bool == true && crisis["level"] as? String == "severe")
    let (one, other) = (try json(try Program.run("status", "--json", "--home", home).out), try json(try Program.run("status", "--json", "--home", second).out))
    #expect(one["stateHash"] as? String == other["stateHash"] as? String)
    // A sync that takes longer than a blink ends when everything is read, also where another process reads it.
    func fillAndSync(_ count: Int) throws {
      try Program.run("bench", "fill", "--count", "\(count)", "--home", home)
      for place in [home, second] { #expect(try Program.run("sync", "--home", place, "--relay", relay).status == 0) }
      let hashes = try [home, second].map { try json(try Program.run("status", "--json", "--home", $0).out)["stateHash"] as? String }
      #expect(hashes[0] != nil && hashes[0] == hashes[1])
    }
    try fillAndSync(200_000)
    let (agent, _, _) = try Program.start(["agent", "--home", second, "--relay", relay])
    defer { agent.terminate() }
    // Whether or not it is the agent that exchanges by then, the sync has to end in the same way.
    for _ in 1...2 { try fillAndSync(20_000) }
    #expect(try Program.run("agent", "--until-synced", "--home", second, "--relay", relay).status == 0, "also beside another")
  }

  struct Mistake: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var arguments: [String]
    var status: Int32
    var code: String?
  }

  static let mistakes = [
    Mistake(testDescription: "an unknown command", arguments: ["dance"], status: 64, code: nil),
    Mistake(testDescription: "an unknown option", arguments: ["status", "--louder"], status: 64, code: nil),
    Mistake(testDescription: "an unknown kind", arguments: ["record", "add", "poem", "title=x"], status: 64, code: "input.unknown-kind"),
    Mistake(testDescription: "an unknown field", arguments: ["record", "add", "check-in", "weather=x"], status: 64, code: "input.unknown-field"),
    Mistake(testDescription: "a malformed value", arguments: ["record", "add", "check-in", "mood=high"], status: 65, code: "input.malformed-value"),
    Mistake(testDescription: "a value over its limit", arguments: ["record", "add", "check-in", "mood=11"], status: 65, code: "input.out-of-range"),
    Mistake(testDescription: "no value", arguments: ["record", "add", "check-in"], status: 64, code: "input.no-fields"),
    Mistake(testDescription: "an unknown record", arguments: ["record", "show", "0000000000000000000000000x"], status: 66, code: "input.unknown-record"),
    Mistake(testDescription: "an unknown device", arguments: ["handoff", "x", "--to", "toaster"], status: 66, code: "input.unknown-device"),
    Mistake(testDescription: "an unknown practice", arguments: ["practice", "juggling"], status: 64, code: "input.invalid"),
    Mistake(testDescription: "an unknown level", arguments: ["crisis", "activate", "loud"], status: 64, code: "input.invalid"),
    Mistake(testDescription: "a relay of an unknown kind", arguments: ["sync", "--relay", "pigeon:post"], status: 64, code: "relay.unknown-scheme"),
    Mistake(testDescription: "a relay that is not built in", arguments: ["sync", "--relay", "nats://127.0.0.1:4222"], status: 64, code: "relay.not-built-in"),
    Mistake(testDescription: "a relay without a scheme", arguments: ["sync", "--relay", "somewhere"], status: 64, code: "relay.malformed-url"),
    Mistake(testDescription: "a relay that does not exist", arguments: ["sync", "--relay", "folder:/no/such/place/relay"], status: 69, code: "relay.unreachable"),
    Mistake(testDescription: "a second init", arguments: ["init", "--device", "x", "--no-passphrase"], status: 73, code: "storage.store-exists"),
    Mistake(testDescription: "a device name with a control character", arguments: ["devices", "rename", "laptop", "a\u{7}b"], status: 64, code: "input.invalid"),
    Mistake(testDescription: "an unknown fault", arguments: ["simulate", "--runs", "1", "--faults", "rain"], status: 64, code: "input.invalid"),
    Mistake(testDescription: "an unknown benchmark", arguments: ["bench", "speed"], status: 64, code: "input.invalid"),
    Mistake(testDescription: "a malformed join code", arguments: ["join", "hello", "--device", "x", "--yes", "--home", "/tmp/fullmind-none"], status: 64, code: "join.bad-code"),
  ]

  @Test("a mistake gets a clear error with a code and an exit status, and nothing is lost", arguments: mistakes)
  func mistake(row: Mistake) throws {
    try initialise()
    let before = try json(try Program.run("status", "--json", "--home", home).out)["stateHash"] as? String
    let takesHome = !["simulate", "bench", "dance"].contains(row.arguments[0]) && !row.arguments.contains("--home")
    let (process, out, err) = try Program.start(row.arguments + (takesHome ? ["--home", home] : []))
    _ = out.fileHandleForReading.readDataToEndOfFile()
    let errors = String(decoding: err.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == row.status, "\(errors)")
    if let code = row.code {
      #expect(errors.contains("code: \(code)"), "\(errors)")
      #expect(errors.contains("  try: "))
    }
    #expect(try json(try Program.run("status", "--json", "--home", home).out)["stateHash"] as? String == before)
  }

  /// Runs a shell line; its status.
  private func shell(_ line: String) throws -> Int32 {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", line]
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return process.terminationStatus
  }

  @Test("a home that may not be read is an error of its own")
  func unreadable() throws {
    let closed = folder.path + "/closed"
    mkdir(closed, 0o700)
    chmod(closed, 0)
    guard getuid() == 0 else { return #expect(try Program.run("record", "list", "--home", closed).status == 77) }
    // Root may read everything; somebody else may not — where that somebody may run the program at all.
    chmod(folder.path, 0o755)
    guard try shell("su nobody -s /bin/sh -c '\(Program.path) crisis card'") == 0 else { return }
    #expect(try shell("su nobody -s /bin/sh -c '\(Program.path) record list --home \(closed)'") == 77)
  }

  @Test("a full disk keeps what was saved, says so, and does not keep the card from opening")
  func fullDisk() throws {
    let disk = folder.path + "/disk"
    mkdir(disk, 0o700)
    // A disk of its own needs root; elsewhere there is nothing to fill.
    guard try shell("mount -t tmpfs -o size=1500k tmpfs \(disk)") == 0 else { return }
    defer { _ = try? shell("umount \(disk)") }
    try Program.run("init", "--device", "laptop", "--no-passphrase", "--home", disk + "/home")
    let id = try Program.run("record", "add", "journal", "title=kept", "--home", disk + "/home").out.trimmingCharacters(in: .newlines)
    _ = try shell("dd if=/dev/zero of=\(disk)/fill bs=1k")
    let refused = try Program.run("record", "add", "journal", "text=" + String(repeating: "x", count: 1_900), "--home", disk + "/home")
    #expect(refused.status == 74 && refused.err.contains("storage.disk-full"), "\(refused.err)")
    #expect(try Program.run("crisis", "activate", "--home", disk + "/home").out.contains("1"), "the card comes first")
    _ = try shell("rm \(disk)/fill")
    #expect(try Program.run("record", "show", id, "--home", disk + "/home").out.contains("kept"))
    #expect(try Program.run("doctor", "--home", disk + "/home").status == 0)
  }

  @Test("a store that is not there and one that is damaged are told apart")
  func broken() throws {
    try initialise()
    #expect(try Program.run("record", "list", "--home", folder.path + "/none").status == 66)
    try Data("FMK9 something else".utf8).write(to: URL(fileURLWithPath: home + "/data.key"))
    let damaged = try Program.run("record", "list", "--home", home)
    #expect(damaged.status == 65 && damaged.err.contains("storage.damaged"))
  }

  @Test("the crisis card opens whatever is broken", arguments: [[:], ["TERM": "dumb"], ["TERM": ""], ["HOME": "/nowhere"], ["FULLMIND_HOME": "/dev/null/x"], ["LC_ALL": "xx_YY"]])
  func card(environment: [String: String]) throws {
    let outcome = try Program.run("crisis", "card", environment: environment)
    #expect(outcome.status == 0)
    #expect(outcome.out.contains("112") || outcome.out.contains("911"))
  }

  @Test("a closed standard output is no error for the card")
  func closedOutput() throws {
    let (process, out, _) = try Program.start(["crisis", "card"])
    try out.fileHandleForReading.close()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }

  @Test("without a terminal the dashboard prints the plain status and exits 0", arguments: ["dumb", "", "no-such-terminal"])
  func noTerminal(term: String) throws {
    try initialise()
    let outcome = try Program.run("--home", home, environment: ["TERM": term])
    #expect(outcome.status == 0)
    #expect(outcome.out.contains("Devices:") && !outcome.out.contains("\u{1B}"))
  }

  @Test("options that every command takes may stand before it")
  func globalOptionsFirst() throws {
    try initialise()
    #expect(try Program.run("--home", home, "status").out.contains("Devices:"))
    #expect(try Program.run("--home=\(home)", "--json", "devices", "list").out.hasPrefix("{"))
    #expect(try Program.run("--home", "/nowhere", "crisis", "card").status == 0)
  }

  @Test("a newcomer's status is a welcome")
  func welcome() throws {
    let outcome = try Program.run("status", "--home", folder.path + "/nobody")
    #expect(outcome.status == 0 && outcome.out.contains("fullmind init"))
  }

  @Test("the picture can be printed for a bug report")
  func once() throws {
    try initialise()
    let outcome = try Program.run("dashboard", "--once", "--size", "80x24", "--home", home)
    #expect(outcome.out.split(separator: "\n", omittingEmptySubsequences: false).count >= 24)
    #expect(outcome.out.contains("1 Sync"))
  }
}
