import ArgumentParser
import Causality
import Foundation
import Storage
import Stores
import Therapy

/// `fullmind conflicts`: what two devices wrote apart from each other, and what is to become of it.
struct ConflictsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "conflicts", abstract: "List, show and settle conflicts.",
    subcommands: [List.self, Show.self, Resolve.self], defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List what waits for a decision.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let conflicts = try StatusReport.snapshot(location).conflicts
        if output.json { return try Output.json(["conflicts": conflicts.map(ConflictReport.init)]) }
        if conflicts.isEmpty { Output.line("No conflicts are open.") }
        for conflict in conflicts {
          Output.line("\(conflict.record)  \(conflict.field)  \(conflict.type), \(conflict.impact): \(conflict.versions.count) versions")
        }
      }
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show both versions of a record's fields.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "The record's id, or its beginning.") var record: String

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let id = try Actions(try location.openStore()).record(beginningWith: record).id
        let conflicts = try StatusReport.snapshot(location).conflicts.filter { $0.record == id }
        if output.json { return try Output.json(["conflicts": conflicts.map(ConflictReport.init)]) }
        if conflicts.isEmpty { Output.line("Nothing about this record waits for a decision.") }
        for conflict in conflicts {
          Output.line("\(conflict.title) — \(conflict.field) (\(conflict.type), \(conflict.impact))")
          Output.line("  \(conflict.why)")
          for (number, version) in conflict.versions.enumerated() {
            let time = RecordCommand.List.time(Timestamp(milliseconds: version.timestamp))
            Output.line("  \(number + 1)  \(version.value)   (\(version.device), \(time)\(version.isChosen ? ", shown for now" : ""))")
          }
          Output.line("  Settle it: fullmind conflicts resolve \(conflict.record) \(conflict.field) 1")
        }
      }
    }
  }

  struct Resolve: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Keep one version. The others stay in the history.")
    @OptionGroup var location: Location
    @Argument(help: "The record's id, or its beginning.") var record: String
    @Argument(help: "The field.") var field: String
    @Argument(help: "The number of the version, as `conflicts show` prints it.") var version: Int

    func run() throws {
      try Output.reporting {
        let actions = location.actions(try location.openStore())
        let id = try actions.record(beginningWith: record).id
        let conflict = try StatusReport.snapshot(location).conflicts.first { $0.record == id && $0.field == field }
        guard let conflict, conflict.versions.indices.contains(version - 1) else {
          throw InputError.invalid(
            "There is no such version to keep. Nothing was changed.",
            remedy: "See them with `fullmind conflicts show \(id)`.")
        }
        try actions.resolve(id, field: field, keeping: conflict.versions[version - 1].id)
      }
    }
  }
}

/// A conflict as `--json` prints it.
private struct ConflictReport: Encodable {
  struct Version: Encodable { var value, device: String; var at: UInt64; var shown: Bool }
  var record, kind, field, type, impact: String
  var versions: [Version]

  init(_ conflict: Snapshot.Conflict) {
    (record, kind, field) = (conflict.record.description, conflict.kind, conflict.field)
    (type, impact) = (conflict.type, conflict.impact)
    versions = conflict.versions.map {
      Version(value: $0.value, device: $0.device, at: $0.timestamp, shown: $0.isChosen)
    }
  }
}
