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
    subcommands: [List.self, Show.self, Resolve.self, ResolveAll.self, Undo.self], defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List what waits for a decision.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Option(help: "Only this type, such as “assessment conflict”.") var type: String?

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        if let type { try ConflictsCommand.check(type) }
        let conflicts = try StatusReport.snapshot(location).conflicts.filter { type == nil || $0.type == type }
        if output.json { return try Output.json(["conflicts": conflicts.map(ConflictReport.init)]) }
        if conflicts.isEmpty { Output.line("No conflicts are open.") }
        for conflict in conflicts {
          Output.line("\(conflict.record)  \(conflict.name)  \(conflict.type), \(conflict.impact.name), \(conflict.urgency): \(conflict.versions.count) versions")
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
          Output.line("\(conflict.title) — \(conflict.name) (\(conflict.type), \(conflict.impact.name))")
          Output.line("  \(conflict.happened) \(conflict.meanwhile) \(conflict.why)")
          for (number, version) in conflict.versions.enumerated() {
            let time = RecordCommand.List.time(Timestamp(milliseconds: version.timestamp))
            Output.line("  \(number + 1)  \(version.value)   (\(version.device), \(time)\(version.isChosen ? ", shown for now" : ""))")
            Output.line("     \(version.consequence)")
          }
          Output.line("  Settle it: fullmind conflicts resolve \(conflict.record) \(conflict.name) 1\(conflict.canKeepBoth ? ", or --both, or --text" : "")")
        }
      }
    }
  }

  struct Resolve: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Keep one version, all of them, or write the value anew. What is not kept stays in the history.")
    @OptionGroup var location: Location
    @Argument(help: "The record's id, or its beginning.") var record: String
    @Argument(help: "The field; `record` for one that was removed on one device and written on another.") var field: String
    @Argument(help: "The number of the version, as `conflicts show` prints it.") var version: Int?
    @Flag(help: "Keep all texts, one after the other.") var both = false
    @Option(help: "The value that is right.") var text: String?

    func run() throws {
      try Output.reporting {
        let actions = location.actions(try location.openStore())
        let id = try actions.record(beginningWith: record).id
        let conflict = try StatusReport.snapshot(location).conflicts.first { $0.record == id && $0.name == field }
        guard let conflict else {
          throw InputError.invalid(
            "Nothing about this waits for a decision. Nothing was changed.", remedy: "See `fullmind conflicts list`.")
        }
        if let text { return try actions.resolve(id, field: conflict.field, with: text) }
        if both, conflict.canKeepBoth { return try actions.resolveKeepingAll(id, field: conflict.field) }
        guard let version, conflict.versions.indices.contains(version - 1) else {
          throw InputError.invalid(
            "There is no such version to keep. Nothing was changed.",
            remedy: "See them with `fullmind conflicts show \(id)`.")
        }
        try actions.resolve(id, field: conflict.field, keeping: conflict.versions[version - 1].id)
      }
    }
  }

  struct ResolveAll: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Settle every open conflict of one type with the version that is shown. Each can be undone.")
    @OptionGroup var location: Location
    @Argument(help: "The type, as `conflicts list` prints it.") var type: String

    func run() throws {
      try Output.reporting {
        try ConflictsCommand.check(type)
        Output.line("Settled \(try location.actions(try location.openStore()).resolveAll(type: type)).")
      }
    }
  }

  struct Undo: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Open a settled conflict again, with all its versions; however long ago it was settled.")
    @OptionGroup var location: Location
    @Argument(help: "The record's id, or its beginning.") var record: String
    @Argument(help: "The field.") var field: String

    func run() throws {
      try Output.reporting {
        let actions = location.actions(try location.openStore())
        try actions.undoResolution(of: try actions.record(beginningWith: record).id, field: field)
        Output.line("Open again: see `fullmind conflicts show \(record)`.")
      }
    }
  }

  static func check(_ type: String) throws {
    guard ConflictType(rawValue: type) != nil else {
      throw InputError.invalid(
        "There is no type “\(type)”. Nothing was changed.",
        remedy: "Types: \(ConflictType.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
  }
}

extension Snapshot.Conflict {
  /// The field as commands name it.
  fileprivate var name: String { isWhole ? "record" : field }
}

/// A conflict as `--json` prints it.
private struct ConflictReport: Encodable {
  struct Version: Encodable { var value, device: String; var at: UInt64; var shown: Bool }
  var record, kind, field, type, impact, urgency, area: String
  var versions: [Version]

  init(_ conflict: Snapshot.Conflict) {
    (record, kind, field) = (conflict.record.description, conflict.kind, conflict.name)
    (type, impact, urgency, area) = (conflict.type, conflict.impact.name, conflict.urgency, conflict.area)
    versions = conflict.versions.map {
      Version(value: $0.value, device: $0.device, at: $0.timestamp, shown: $0.isChosen)
    }
  }
}
