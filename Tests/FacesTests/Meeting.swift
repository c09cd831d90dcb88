import CSystem
import Foundation
import Synchronization
import Testing

/// Homes of one account that meet in a folder, each with what real processes do to it.
final class Meeting {
  let folder: Folder
  private(set) var processes: [Process] = []

  init(relay: String = "relay") throws {
    folder = try Folder()
    url = "folder:\(folder.path)/\(relay)"
  }

  deinit {
    for process in processes where process.isRunning {
      kill(process.processIdentifier, SIGCONT)
      kill(process.processIdentifier, SIGKILL)
    }
  }

  let url: String
  var path: String { folder.path }
  func home(_ name: String) -> String { folder.path + "/" + name }

  @discardableResult
  func run(_ name: String, _ arguments: String..., environment: [String: String] = [:]) throws -> Program.Outcome {
    try Program.run(arguments + ["--home", home(name)], environment: environment)
  }

  func found(_ name: String) throws {
    let made = try Program.run("init", "--device", name, "--no-passphrase", "--home", home(name), "--relay", url)
    #expect(made.status == 0, "\(made.err)")
  }

  /// Lets a device in and joins it.
  func join(_ name: String, by admitter: String) throws {
    let code = try invite(admitter)
    let joined = try Program.run("join", code, "--device", name, "--no-passphrase", "--yes", "--home", home(name), "--relay", url)
    #expect(joined.status == 0, "\(joined.err)")
    try run(admitter, "sync")
  }

  /// An invitation that is answered by itself; its code.
  func invite(_ admitter: String) throws -> String {
    let (process, out, _) = try Program.start(["devices", "invite", "--yes", "--home", home(admitter)])
    processes.append(process)
    var code = ""
    while !code.hasSuffix("\n") {
      let byte = out.fileHandleForReading.readData(ofLength: 1)
      if byte.isEmpty { break }
      code += String(decoding: byte, as: UTF8.self)
    }
    return code.trimmingCharacters(in: .newlines)
  }

  func agent(_ name: String, environment: [String: String] = [:]) throws -> (process: Process, out: FileHandle) {
    let (process, out, _) = try Program.start(["agent", "--events", "--home", home(name)], environment: environment)
    processes.append(process)
    return (process, out.fileHandleForReading)
  }

  /// Adds a journal entry; its id.
  func write(_ name: String, _ title: String, environment: [String: String] = [:]) throws -> String {
    let added = try run(name, "record", "add", "journal", "title=\(title)", environment: environment)
    #expect(added.status == 0, "\(added.err)")
    return added.out.trimmingCharacters(in: .newlines)
  }

  func titles(_ name: String) throws -> Set<String> {
    let listed = try json(run(name, "record", "list", "journal", "--limit", "100000", "--json").out)
    let records = listed["records"] as? [[String: Any]] ?? []
    return Set(records.compactMap { ($0["fields"] as? [String: Any])?["title"] as? String })
  }

  func status(_ name: String) throws -> [String: Any] { try json(run(name, "status", "--json").out) }
  func sync(_ name: String) throws -> [String: Any] { try status(name)["sync"] as? [String: Any] ?? [:] }
  func hash(_ name: String) throws -> String { try status(name)["stateHash"] as? String ?? "none" }
  func crisis(_ name: String) throws -> [String: Any] { try json(run(name, "crisis", "status", "--json").out) }

  func json(_ text: String) throws -> [String: Any] {
    try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any] ?? [:]
  }

  /// A process that holds the write lock of a store without knowing anything of this program.
  func hold(_ name: String, seconds: Int) throws -> Process {
    let (holder, held) = (Process(), Pipe())
    holder.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    holder.arguments = [
      "python3", "-c",
      "import sqlite3,time; c=sqlite3.connect('\(home(name))/store.db'); c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(\(seconds))",
    ]
    holder.standardOutput = held
    try holder.run()
    _ = held.fileHandleForReading.readData(ofLength: 4)
    return holder
  }

  func keep(_ name: String) throws { try copy(name, name + ".kept") }
  func copy(_ from: String, _ to: String) throws {
    // A program that runs there may still write a file while its folder is emptied.
    _ = eventually { try? FileManager.default.removeItem(atPath: home(to)); return !FileManager.default.fileExists(atPath: home(to)) }
    // As a backup does it: sockets of processes are copied along.
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/cp")
    process.arguments = ["-a", home(from), home(to)]
    try process.run()
    process.waitUntilExit()
  }
  func putBack(_ name: String) throws { try copy(name + ".kept", name) }

  /// The bytes of every file on the relay.
  func relayBytes() throws -> Int {
    let relay = String(url.dropFirst("folder:".count))
    return try FileManager.default.subpathsOfDirectory(atPath: relay).reduce(0) { sum, name in
      let attributes = try FileManager.default.attributesOfItem(atPath: relay + "/" + name)
      return sum + (attributes[.type] as? FileAttributeType == .typeRegular ? attributes[.size] as? Int ?? 0 : 0)
    }
  }

  /// What stands between the homes is away, or back.
  func move(_ from: String, _ to: String) throws { try FileManager.default.moveItem(atPath: home(from), toPath: home(to)) }

  /// Two devices of one account.
  static func pair() throws -> Meeting {
    let meeting = try Meeting()
    try meeting.found("a")
    try meeting.join("b", by: "a")
    return meeting
  }

  /// Everybody exchanges, until nothing is new.
  func settle(_ names: String...) throws {
    for _ in 0..<3 { for name in names { try run(name, "sync") } }
  }
}

func eventuallyEnded(_ process: Process) -> Bool { eventually { !process.isRunning } }

/// Waits until something is so; a generous deadline means "it hangs".
func eventually(within seconds: Double = 30, _ condition: () throws -> Bool) rethrows -> Bool {
  let end = Date().addingTimeInterval(seconds)
  while Date() < end {
    if try condition() { return true }
    Thread.sleep(forTimeInterval: 0.05)
  }
  return false
}

/// What a program prints, as it comes.
final class Heard: Sendable {
  private let text = Mutex("")

  init(_ out: FileHandle) {
    out.readabilityHandler = { [weak self] out in
      let data = out.availableData
      if data.isEmpty { out.readabilityHandler = nil }
      self?.text.withLock { $0 += String(decoding: data, as: UTF8.self) }
    }
  }

  func hears(_ words: String) -> Bool { eventually { text.withLock { $0.contains(words) } } }
}
