import ArgumentParser
import Causality
import ConflictResolution
import Foundation
import Storage
import Stores
import Therapy

/// `fullmind record`: everything that is kept, by hand.
struct RecordCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "record", abstract: "Add, change, show and list records.",
    subcommands: [Add.self, Set.self, Show.self, List.self, Remove.self, History.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Add a record; prints its id.",
      discussion: """
        KINDS AND FIELDS
        \(RecordCatalogue.all.filter(\.isAddedByHand).map { "  \($0.kind): " + $0.fields.map(\.name).joined(separator: ", ") }.joined(separator: "\n"))

        Lists are given one entry at a time: gratitudes="the sun" gratitudes="my sister".
        """)
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "The kind of record.") var kind: String
    @Argument(help: ArgumentHelp("Values, as field=value.", valueName: "field=value")) var values: [String] = []

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let store = try location.openStore()
        let (id, saved) = try location.actions(store).addTimed(kind: kind, values)
        if output.json {
          try Output.json(Added(id: id.description, savedAt_us: saved))
        } else {
          Output.line(id.description)
        }
      }
    }
    private struct Added: Encodable { var id: String; var savedAt_us: UInt64 }
  }

  struct Set: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change fields of a record.",
      discussion: "field=value writes, field+=entry adds to a list, field-=entry takes out of a list.")
    @OptionGroup var location: Location
    @Argument(help: "The id, or its beginning.") var id: String
    @Argument(help: ArgumentHelp("Values, as field=value.", valueName: "field=value")) var values: [String] = []

    func run() throws {
      try Output.reporting {
        let actions = location.actions(try location.openStore())
        try actions.set(try actions.record(beginningWith: id).id, values)
      }
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show one record.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "The id, or its beginning.") var id: String

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let record = try Actions(try location.openStore()).record(beginningWith: id)
        guard record.isVisible else { throw InputError.unknownRecord }
        if output.json { try Output.json(RecordReport(record)) } else { RecordReport.print(record) }
      }
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List records, newest first.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "Only this kind.") var kind: String?
    @Option(help: "At most so many.") var limit = 50

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        if let kind, RecordCatalogue[kind] == nil { throw InputError.unknownKind(kind) }
        let store = try location.openStore()
        let records = try store.read { try $0.records(kind: kind, limit: max(1, limit)) }
        if output.json { return try Output.json(RecordList(records: records.map(RecordReport.init))) }
        for record in records {
          Output.line("\(record.id)  \(Self.time(record.latest))  \(record.title)\(record.openFields.isEmpty ? "" : "  (provisional)")")
        }
      }
    }
    private struct RecordList: Encodable { var records: [RecordReport] }

    static func time(_ timestamp: Timestamp) -> String {
      let date = Date(timeIntervalSince1970: Double(timestamp.milliseconds) / 1_000)
      return ISO8601DateFormatter.string(from: date, timeZone: .current, formatOptions: [.withFullDate, .withTime, .withColonSeparatorInTime, .withSpaceBetweenDateAndTime])
    }
  }

  struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Remove a record. It stays in the history; a change made elsewhere at the same time brings it back.")
    @OptionGroup var location: Location
    @Argument(help: "The id, or its beginning.") var id: String

    func run() throws {
      try Output.reporting {
        let actions = location.actions(try location.openStore())
        try actions.remove(try actions.record(beginningWith: id).id)
      }
    }
  }

  struct History: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Every write to a record, oldest first.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "The id, or its beginning.") var id: String

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let store = try location.openStore()
        let record = try Actions(store).record(beginningWith: id)
        let writes = try RecordHistory(store).writes(of: record.id)
        let rows = writes.map { write in
          Row(
            at: write.timestamp.milliseconds, device: write.id.stream.device.description, field: write.field,
            change: write.mutation.word, value: write.mutation.value?.text)
        }
        if output.json { return try Output.json(["history": rows]) }
        for (row, write) in zip(rows, writes) {
          Output.line("\(List.time(write.timestamp))  \(row.device.suffix(6))  \(row.change) \(row.field)\(row.value.map { " = \($0)" } ?? "")")
        }
      }
    }
    private struct Row: Encodable { var at: UInt64; var device, field, change: String; var value: String? }
  }
}

extension Mutation {
  fileprivate var word: String {
    switch self {
    case .set: "set"
    case .add: "add"
    case .remove: "take out"
    case .erase: "remove record"
    case .restore: "restore record"
    }
  }
}

/// `{id, kind, fields{…}}`: a record as `record show --json` prints it.
struct RecordReport: Encodable {
  enum Field: Encodable {
    case one(Value)
    case list([Value])

    func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      switch self {
      case .one(let value): try container.encode(JSONValue(value))
      case .list(let values): try container.encode(values.map(JSONValue.init))
      }
    }
  }
  struct JSONValue: Encodable {
    var value: Value
    init(_ value: Value) { self.value = value }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      switch value {
      case .text(let text): try container.encode(text)
      case .integer(let integer): try container.encode(integer)
      case .decimal(let decimal): try container.encode(decimal)
      case .flag(let flag): try container.encode(flag)
      }
    }
  }
  var id, kind: String
  var fields: [String: Field]
  /// Fields whose value is provisional until the person decides.
  var provisional: [String]

  init(_ record: RecordState) {
    (id, kind) = (record.id.description, record.kind)
    fields = [:]
    for field in record.dataFields {
      let view = record.view(field.name)
      let isList = RecordCatalogue.policy(of: field.name, kind: record.kind).isList
      let entries = view.entries.compactMap(\.value)
      if isList, !entries.isEmpty { fields[field.name] = .list(entries) }
      if let value = view.chosen?.value { fields[field.name] = .one(value) }
    }
    provisional = record.openFields.map(\.field)
  }

  static func print(_ record: RecordState) {
    Output.line("\(record.title)   \(record.id)")
    for field in record.dataFields {
      let view = record.view(field.name)
      let isOpen = view.isOpen ? "   (provisional; also \(view.others.compactMap { $0.value?.text }.joined(separator: " / ")))" : ""
      if let value = view.chosen?.value { Output.line("  \(field.name): \(value.text)\(isOpen)") }
      for entry in view.entries { Output.line("  \(field.name): \(entry.value?.text ?? "")") }
    }
  }
}

/// `fullmind check-in`: a check-in with one command.
struct CheckInCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-in", abstract: "Save a check-in; prints its id.",
    discussion: "For example: fullmind check-in morning mood=6 sleep=7 emotions=calm")
  @OptionGroup var location: Location
  @Argument(help: "morning, midday or evening.") var part: String
  @Argument(help: ArgumentHelp("Values, as field=value.", valueName: "field=value")) var values: [String] = []

  func run() throws {
    try Output.reporting {
      let store = try location.openStore()
      Output.line(try location.actions(store).add(kind: "check-in", ["part=\(part)"] + values).description)
    }
  }
}
