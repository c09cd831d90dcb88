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
    subcommands: [Add.self, Set.self, Show.self, List.self, Remove.self, History.self, Restore.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "add", abstract: "Add a record; prints its id.",
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
        let actions = location.actions(store)
        let (id, saved) = try actions.addTimed(kind: kind, values)
        let offer = try actions.offer(of: id)
        if output.json {
          try Output.json(Added(id: id.description, savedAt_us: saved, offer: offer?.reason.rawValue, level: offer?.level.name))
        } else {
          CrisisReport.note(offer)
          Output.line(id.description)
        }
      }
    }
    private struct Added: Encodable { var id: String; var savedAt_us: UInt64; var offer, level: String? }
  }

  struct Set: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "set", abstract: "Change fields of a record.",
      discussion: "field=value writes, field+=entry adds to a list, field-=entry takes out of a list.")
    @OptionGroup var location: Location
    @Argument(help: "The id, or its beginning.") var id: String
    @Argument(help: ArgumentHelp("Values, as field=value.", valueName: "field=value")) var values: [String] = []

    func run() throws {
      try Output.reporting {
        let actions = location.actions(try location.openStore())
        let id = try actions.record(beginningWith: id).id
        try actions.set(id, values)
        try CrisisReport.noteOffer(of: id, values.map { String($0.prefix { $0 != "=" }) }, actions)
      }
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "show", abstract: "Show one record, now or as it was at a moment.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "The id, or its beginning.") var id: String
    @Option(help: ArgumentHelp("As it was then: 2026-11-24T13:00:00, in local time, or milliseconds since 1970.", valueName: "time")) var at: String?

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let store = try location.openStore()
        var record = try Actions(store).record(beginningWith: id)
        if let at {
          guard let then = try RecordHistory(store).state(of: record.id, at: try RecordCommand.moment(at)) else {
            throw InputError.unknownRecord
          }
          record = then
        }
        guard record.isVisible else { throw InputError.unknownRecord }
        if output.json { try Output.json(RecordReport(record)) } else { RecordReport.print(record) }
      }
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List records, newest first.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "Only this kind.") var kind: String?
    @Option(help: "At most so many.") var limit = 50

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        if let kind, RecordCatalogue[kind] == nil { throw InputError.unknownKind(kind) }
        let store = try location.openStore()
        let records = try store.read { try $0.records(kind: kind, limit: max(0, limit)) }
        if output.json { return try Output.json(RecordList(records: records.map(RecordReport.init))) }
        for record in records {
          Output.line("\(record.id)  \(Self.time(record.latest))  \(Visible.line(record.title))\(record.openConflicts.isEmpty ? "" : "  (provisional)")")
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
      commandName: "remove", abstract: "Remove a record. It stays in the history; a change made elsewhere at the same time brings it back.")
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
    static let configuration = CommandConfiguration(commandName: "history", abstract: "Every write to a record, oldest first.")
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
            change: write.mutation.word, value: write.mutation.value?.text, decision: write.decision.map(Row.Decided.init))
        }
        if output.json { return try Output.json(["history": rows]) }
        for (number, (row, write)) in zip(rows, writes).enumerated() {
          let what = "\(row.change) \(row.field)\(row.value.map { " = \($0)" } ?? "")\(row.decision?.text ?? "")"
          Output.line("\(number + 1)  \(List.time(write.timestamp))  \(row.device.suffix(6))  \(Visible.text(what))")
        }
      }
    }
    private struct Row: Encodable {
      var at: UInt64
      var device, field, change: String
      var value: String?
      var decision: Decided?

      /// How a write came about that settles others.
      struct Decided: Encodable {
        var method: String
        var reopens: Bool
        var by: String?
        var model: String?
        var confidence: Double?
        var reasons: [String]
        var followed: Bool?

        init(_ decision: Decision) {
          (method, reopens, reasons) = (decision.method, decision.reopens, decision.reasons)
          by = decision.by.isEmpty ? nil : decision.by
          guard !decision.model.isEmpty else { return }
          (model, confidence, followed) = (decision.model, Double(decision.permille) / 1_000, decision.isFollowed)
        }

        var text: String {
          if reopens { return "   [opened again: \(method) taken back]" }
          let who = by.map { " (\($0))" } ?? ""
          guard let model, let confidence else { return "   [settled: \(method)\(who)]" }
          let word = followed ?? false ? "" : ", not followed"
          return "   [settled: \(method); \(model) \(Int(confidence * 100)) %\(word): \(reasons.joined(separator: "; "))]"
        }
      }
    }
  }

  struct Restore: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "restore", abstract: "Write an earlier version anew. What is there now stays in the history.")
    @OptionGroup var location: Location
    @Argument(help: "The id, or its beginning.") var id: String
    @Argument(help: "The number of the write, as `record history` prints it.") var number: Int

    func run() throws {
      try Output.reporting {
        let store = try location.openStore()
        let actions = location.actions(store)
        let record = try actions.record(beginningWith: id).id
        let writes = try RecordHistory(store).writes(of: record)
        guard writes.indices.contains(number - 1) else {
          throw InputError.invalid("The history has no such number. Nothing was changed.", remedy: "See `fullmind record history \(id)`.")
        }
        try actions.restore(writes[number - 1])
        try CrisisReport.noteOffer(of: record, [writes[number - 1].field], actions)
      }
    }
  }

  /// Milliseconds since 1970. A local time that was left out when the clocks went forward is the moment that follows.
  static func moment(_ text: String, in zone: TimeZone = .current) throws -> UInt64 {
    if let milliseconds = UInt64(text) { return milliseconds }
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = zone
    formatter.isLenient = false
    for format in ["yyyy-MM-dd'T'HH:mm:ss", "yyyy-MM-dd HH:mm:ss", "yyyy-MM-dd'T'HH:mm", "yyyy-MM-dd HH:mm", "yyyy-MM-dd"] {
      formatter.dateFormat = format
      // To the end of the second, minute or day that was named.
      let length: Double = format.hasSuffix("ss") ? 1 : format.hasSuffix("mm") ? 60 : 86_400
      if let date = formatter.date(from: text) ?? leftOut(text, formatter, zone) {
        return UInt64(max(0, (date.timeIntervalSince1970 + length) * 1_000 - 1))
      }
    }
    throw InputError.invalid("“\(text)” is no time. Nothing was changed.", remedy: "Write it like 2026-11-24T13:00:00.")
  }

  /// A local time that there was not: as long after midnight's offset as it says.
  private static func leftOut(_ text: String, _ formatter: DateFormatter, _ zone: TimeZone) -> Date? {
    formatter.timeZone = TimeZone(secondsFromGMT: 0)
    defer { formatter.timeZone = zone }
    guard let plain = formatter.date(from: text) else { return nil }
    let before = plain.addingTimeInterval(-Double(zone.secondsFromGMT(for: plain.addingTimeInterval(-86_400))))
    // Only where the clocks were changed there; anything else that cannot be read is no time.
    return zone.secondsFromGMT(for: before) == zone.secondsFromGMT(for: plain.addingTimeInterval(-86_400)) ? nil : before
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
    provisional = record.openConflicts.map(\.field)
  }

  static func print(_ record: RecordState) {
    Output.line("\(Visible.line(record.title))   \(record.id)")
    for field in record.dataFields {
      let view = record.view(field.name)
      if RecordCatalogue.policy(of: field.name, kind: record.kind) == .counter { Output.line("  \(field.name): \(view.sum)") }
      let isOpen = view.isOpen ? "   (provisional; also \(Visible.text(view.others.compactMap { $0.value?.text }.joined(separator: " / "))))" : ""
      if let value = view.chosen?.value { Output.line("  \(field.name): \(Visible.text(value.text))\(isOpen)") }
      for entry in view.entries { Output.line("  \(field.name): \(Visible.text(entry.value?.text ?? ""))") }
    }
  }
}

/// Values as they may reach a terminal: what would command it is shown instead. Everything else stays as it was written.
enum Visible {
  /// Keeps lines and tabs.
  static func text(_ value: String) -> String { replaced(value.replacing("\r\n", with: "\n"), keeping: ["\n", "\t"]) }

  /// For a row of a list.
  static func line(_ value: String) -> String { replaced(value, keeping: []) }

  private static func replaced(_ value: String, keeping kept: Swift.Set<Unicode.Scalar>) -> String {
    var scalars = String.UnicodeScalarView()
    scalars.append(contentsOf: value.unicodeScalars.map { kept.contains($0) ? $0 : sign($0) })
    return String(scalars)
  }

  /// The picture of a control character; a mark in the place of what has none, or changes the direction of what follows.
  private static func sign(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
    switch scalar.value {
    case 0..<0x20: Unicode.Scalar(0x2400 + scalar.value) ?? "\u{FFFD}"
    case 0x7F: "\u{2421}"
    case 0x80..<0xA0, 0x2028...0x202E, 0x2066...0x2069: "\u{FFFD}"
    default: scalar
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
