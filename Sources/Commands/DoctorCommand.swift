import ArgumentParser
import Causality
import ConflictResolution
import Foundation
import Storage
import Stores

/// `fullmind doctor`: looks whether everything is as it should be, and changes nothing.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Check the store, the relay and the machine; changes nothing.",
    discussion: "Exit status 0 when all is well, 65 when something needs attention.")
  @OptionGroup var location: Location
  @OptionGroup var output: OutputOptions

  struct Finding: Encodable {
    var check: String
    var ok: Bool
    var detail: String
  }

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      let findings = examine()
      if output.json {
        try Output.json(["findings": findings])
      } else {
        for finding in findings { Output.line("\(finding.ok ? "ok  " : "LOOK") \(finding.check): \(finding.detail)") }
      }
      if findings.contains(where: { !$0.ok }) { throw ExitCode(ExitStatus.dataError.rawValue) }
    }
  }

  private func examine() -> [Finding] {
    var findings = [Finding]()
    func check(_ name: String, _ body: () throws -> (Bool, String)) {
      do {
        let (ok, detail) = try body()
        findings.append(Finding(check: name, ok: ok, detail: detail))
      } catch {
        let actionable = Output.actionable(error)
        findings.append(Finding(check: name, ok: false, detail: "\(actionable.summary) \(actionable.remedy) [\(actionable.code)]"))
      }
    }
    var opened: Store?
    check("store") {
      opened = try location.openStore()
      return (true, "opens")
    }
    if let store = opened {
      check("durability") { (try store.synchronousSetting() == 2, "SQLite synchronous = FULL") }
      check("file") { let problems = try store.integrityReport(); return (problems.isEmpty, problems.isEmpty ? "SQLite finds no fault" : "\(problems.count) faults") }
      check("records") { try Self.records(store) }
      check("permissions") { Self.permissions(store.home) }
      check("relay") {
        let survey = try location.openRelay(store).survey()
        return (true, "reachable, \(survey.streams.count) streams, \(survey.presences.count) devices")
      }
    }
    check("terminal") { (true, "TERM=\(Environment["TERM"] ?? "(none)")") }
    return findings
  }

  /// Opens every record and compares their digests with the running state hash.
  static func records(_ store: Store) throws -> (Bool, String) {
    try store.read { transaction in
      var hash = StateHash()
      var count = 0
      try transaction.forEachRecord { record in
        hash.toggle(record.hash)
        count += 1
      }
      let agrees = try hash == transaction.stateHash()
      return (agrees, "\(count) open; the state hash \(agrees ? "agrees" : "DISAGREES")")
    }
  }

  private static func permissions(_ home: HomeFolder) -> (Bool, String) {
    var wrong = [String]()
    let names = (try? FileManager.default.subpathsOfDirectory(atPath: home.path)) ?? []
    for path in [home.path] + names.map({ home.path + "/" + $0 }) {
      var status = stat()
      guard lstat(path, &status) == 0 else { continue }
      if status.st_mode & 0o077 != 0 { wrong.append(path) }
    }
    return (wrong.isEmpty, wrong.isEmpty ? "nobody else can read them" : "readable by others: \(wrong.count) files")
  }
}
