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
    subcommands: [List.self, Show.self, Resolve.self, ResolveAll.self, Undo.self, Assist.self, Ask.self, Review.self], defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List what waits for a decision.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Option(help: "Only this type, such as “assessment conflict”.") var type: String?

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        if let type { try ConflictsCommand.check(type) }
        let conflicts = try Actions(try location.openStore()).conflicts().filter { type == nil || $0.type == type }
        if output.json { return try Output.json(["conflicts": conflicts.map(ConflictReport.init)]) }
        if conflicts.isEmpty { Output.line("No conflicts are open.") }
        for conflict in conflicts {
          Output.line("\(conflict.record)  \(conflict.name)  \(conflict.type), \(conflict.impact.name), \(conflict.urgency): \(conflict.versions.count) versions")
        }
      }
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "show", abstract: "Show both versions of a record's fields.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "The record's id, or its beginning.") var record: String

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let actions = Actions(try location.openStore())
        let conflicts = try actions.conflicts(of: try actions.record(beginningWith: record).id).map { conflict in
          var conflict = conflict
          conflict.advice = try actions.advice(conflict.record, field: conflict.field)
          return conflict
        }
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
          if conflict.moreVersions > 0 { Output.hint("  and \(conflict.moreVersions) more versions: see `fullmind record history \(conflict.record)`") }
          if let review = conflict.review { Output.line("  \(review)") }
          if let advice = conflict.advice { Output.line("  \(ConflictsCommand.text(advice, conflict))") }
          Output.line("  Settle it: fullmind conflicts resolve \(conflict.record) \(conflict.name) 1\(conflict.canKeepBoth ? ", or --both, or --text" : "")")
        }
        if let more = conflicts.first?.moreInRecord, more > 0 { Output.line("and \(more) more in this record: they are listed when these are settled") }
      }
    }
  }

  struct Resolve: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "resolve", abstract: "Keep one version, all of them, or write the value anew. What is not kept stays in the history.")
    @OptionGroup var location: Location
    @Argument(help: "The record's id, or its beginning.") var record: String
    @Argument(help: "The field; `record` for one that was removed on one device and written on another.") var field: String
    @Argument(help: "The number of the version, as `conflicts show` prints it.") var version: Int?
    @Flag(help: "Keep all texts, one after the other.") var both = false
    @Option(help: "The value that is right.") var text: String?
    @Option(
      name: .customLong("by"),
      help: "Instead of a number, a method: \(ConflictMethod.named.map { $0.rawValue.replacing(" ", with: "-") }.joined(separator: ", ")).")
    var method: String?

    func run() throws {
      try Output.reporting {
        let actions = location.actions(try location.openStore())
        let id = try actions.record(beginningWith: record).id
        let conflict = try actions.conflicts(of: id).first { $0.name == field }
        guard let conflict else {
          throw InputError.invalid(
            "Nothing about this waits for a decision. Nothing was changed.", remedy: "See `fullmind conflicts list`.")
        }
        defer { try? CrisisReport.noteOffer(of: id, [conflict.field], actions) }
        if let text { return try actions.resolve(id, field: conflict.field, with: text) }
        if both, conflict.canKeepBoth { return try actions.resolve(id, field: conflict.field, by: .unionMerge) }
        if let method {
          guard let named = ConflictMethod.named.first(where: { $0.rawValue == method.replacing("-", with: " ") }) else {
            throw InputError.invalid(
              "There is no method “\(method)” to name. Nothing was changed.",
              remedy: "Methods: \(ConflictMethod.named.map { $0.rawValue.replacing(" ", with: "-") }.joined(separator: ", ")).")
          }
          return try actions.resolve(id, field: conflict.field, by: named)
        }
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
      commandName: "resolve-all", abstract: "Settle every open conflict of one type with the version that is shown. Each can be undone.")
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
      commandName: "undo", abstract: "Open a settled conflict again, with all its versions; however long ago it was settled.")
    @OptionGroup var location: Location
    @Argument(help: "The record's id, or its beginning.") var record: String
    @Argument(help: "The field.") var field: String

    func run() throws {
      try Output.reporting {
        let actions = location.actions(try location.openStore())
        try actions.undoResolution(of: try actions.record(beginningWith: record).id, field: field)
        Output.hint("Open again: see `fullmind conflicts show \(record)`.")
      }
    }
  }

  struct Assist: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "assist", abstract: "Say what the assistant may do on your devices, or see it.",
      discussion: """
        off        it is not asked
        recommend  it says which version it would keep, how sure it is, and why; you decide (this is how it begins)
        decide     from now on it decides where it is sure enough; each of its decisions says so, and `conflicts undo` takes it back

        It never touches your safety plan, contacts, crises or questionnaires, nor whether something is removed.
        """)
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "off, recommend or decide.") var mode: String?
    @Option(help: "How sure it has to be (0.6-0.9).") var threshold: Double?

    func validate() throws {
      guard mode.map({ AssistantPolicy.Mode(rawValue: $0) != nil }) ?? true else { throw ValidationError("It can be off, recommend or decide.") }
      guard threshold.map(Assistant.thresholds.contains) ?? true else { throw ValidationError("--threshold takes 0.6 to 0.9.") }
    }

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let actions = location.actions(try location.openStore())
        var (policy, choices) = try actions.assistant()
        if mode != nil || threshold != nil {
          policy = AssistantPolicy(mode: mode.flatMap(AssistantPolicy.Mode.init) ?? policy.mode, threshold: threshold ?? policy.threshold)
          try actions.setAssistant(policy)
        }
        if output.json { return try Output.json(Report(mode: policy.mode.rawValue, threshold: policy.threshold, model: Assistant.version, learnedFrom: choices)) }
        Output.line("\(Assistant.version): \(policy.mode.rawValue), from \(policy.threshold) on; learned from \(choices) of your choices on this device")
      }
    }
    private struct Report: Encodable { var mode: String; var threshold: Double; var model: String; var learnedFrom: Int }
  }

  static func text(_ advice: Assistant.Advice, _ conflict: Snapshot.Conflict) -> String {
    switch advice {
    case .abstains(let reason): return "No recommendation: \(reason)"
    case .recommends(let found):
      let number = (conflict.versions.firstIndex { $0.id == found.version } ?? 0) + 1
      return "Recommended: \(number), with \(Double(found.permille / 10)) %\(found.reasons.isEmpty ? "" : " — \(found.reasons.joined(separator: "; "))") (\(Assistant.version))"
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
  struct Recommendation: Encodable { var version: Int; var confidence: Double; var reasons: [String]; var model: String }
  var recommendation: Recommendation?
  var review: String?
  var abstention: String?

  init(_ conflict: Snapshot.Conflict) {
    (record, kind, field) = (conflict.record.description, conflict.kind, conflict.name)
    (type, impact, urgency, area) = (conflict.type, conflict.impact.name, conflict.urgency, conflict.area)
    versions = conflict.versions.map {
      Version(value: $0.value, device: $0.device, at: $0.timestamp, shown: $0.isChosen)
    }
    review = conflict.review
    switch conflict.advice {
    case nil: break
    case .abstains(let reason): abstention = reason
    case .recommends(let found):
      recommendation = Recommendation(
        version: (conflict.versions.firstIndex { $0.id == found.version } ?? 0) + 1, confidence: Double(found.permille) / 1_000,
        reasons: found.reasons, model: Assistant.version)
    }
  }
}
