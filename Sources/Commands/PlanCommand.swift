import ArgumentParser
import Causality
import Crisis
import Foundation
import Storage
import Stores
import Therapy

/// `fullmind plan`: the safety plan.
struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan", abstract: "Show or edit the safety plan.", subcommands: [Show.self, Edit.self],
    defaultSubcommand: Show.self)

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "show", abstract: "Show the safety plan.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let store = try location.openStore()
        let plan = try PlanCard.plan(in: store)
        if output.json { return try Output.json(Report(plan, isReadable: PlanCard.isWanted(store.home))) }
        if plan.isEmpty {
          return Output.hint("There is no plan yet. `fullmind plan edit` asks for it step by step; a calm hour is a good time.")
        }
        for line in plan.lines { Output.line(line) }
      }
    }

    private struct Report: Encodable {
      struct Step: Encodable { var field, title: String; var entries: [String] }
      struct Contact: Encodable { var id, name, phone: String; var primary: Bool; var alert: String }
      var steps: [Step]
      var contacts: [Contact]
      var readableWithoutPassphrase: Bool

      init(_ plan: SafetyPlan, isReadable: Bool) {
        steps = plan.steps.map { Step(field: $0.field, title: $0.title, entries: $0.entries) }
        contacts = plan.contacts.map {
          Contact(id: $0.record.description, name: $0.name, phone: $0.phone, primary: $0.isPrimary, alert: $0.consent.rawValue)
        }
        readableWithoutPassphrase = isReadable
      }
    }
  }

  struct Edit: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "edit", abstract: "Add to the safety plan, or take entries out.",
      discussion: """
        Without values it asks step by step; an empty line goes on. With values: coping="a walk" adds, coping-="a walk" takes out.
        Fields: warnings, coping, distractions, people, professionals, surroundings, reasons.
        Contacts are records: fullmind record add contact name=Jo phone=123 primary=yes alert=yes

        --readable yes keeps a copy beside the store as plain text, so that `fullmind crisis card` shows the plan without
        a passphrase, and also when the store is damaged. What that exposes: whoever can read this user's files, a backup of
        them, or the disk of a lost device that is not encrypted can read the plan and the contacts. --readable no removes it.
        It is a choice for this device alone, and never made for you.
        """)
    @OptionGroup var location: Location
    @Option(help: ArgumentHelp("Keep a copy that opens without the passphrase: yes or no.", valueName: "yes|no")) var readable: String?
    @Argument(help: ArgumentHelp("Values, as field=entry.", valueName: "field=entry")) var values: [String] = []

    func run() throws {
      try Output.reporting {
        guard readable == nil || ["yes", "no"].contains(readable) else {
          throw InputError.invalid("--readable takes yes or no. Nothing was changed.", remedy: "See `fullmind help plan edit`.")
        }
        let store = try location.openStore()
        let actions = location.actions(store)
        if !values.isEmpty { try actions.editPlan(values) }
        if let readable {
          try PlanCard.setWanted(readable == "yes", store)
          Output.line(
            readable == "yes"
              ? "The plan now opens without a passphrase on this device: whoever can read your files here can read it."
              : "The plan opens with the store alone again.")
        }
        if values.isEmpty, readable == nil { try ask(actions, store) }
      }
    }

    /// Step by step. Each entry is saved as it is given: leaving early loses nothing.
    private func ask(_ actions: Actions, _ store: Store) throws {
      for (index, step) in try PlanCard.plan(in: store).steps.enumerated() {
        Output.line("")
        Output.line("\(index < 6 ? "\(index + 1)  " : "")\(step.title)   (\(step.prompt))")
        for entry in step.entries { Output.line("     - \(entry)") }
        while true {
          Output.write("   + ")
          guard let line = readLine()?.trimmingCharacters(in: .whitespaces) else { return Output.line("") }
          if line.isEmpty { break }
          do { try actions.editPlan(["\(step.field)=\(line)"]) } catch let error as InputError {
            Output.line("   \(error.summary) \(error.remedy)")
          }
        }
      }
      Output.line("Saved on this device, and one key away in the dashboard.")
    }
  }
}

/// `fullmind assess`: a questionnaire in lines of text; the dashboard has it as a form.
struct AssessCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "assess", abstract: "Answer PHQ-9 or GAD-7; prints the record's id.",
    discussion: """
      Without answers it asks one by one. In scripts: fullmind assess phq9 1 0 2 1 0 0 1 0 0; `-` leaves an answer open.
      A screening aid: a band describes a score, it is not a diagnosis. Help is offered as the answer is given that calls
      for it; you decide, and nothing is ever dialled.
      """)
  @OptionGroup var location: Location
  @OptionGroup var output: OutputOptions
  @Argument(help: "phq9 or gad7.") var instrument: String
  @Argument(help: "Answers 0 to 3, in order; `-` for none.") var answers: [String] = []

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      guard let instrument = Instrument.named(instrument) else {
        throw InputError.invalid("There is no questionnaire “\(self.instrument)”. Nothing was saved.", remedy: "Use phq9 or gad7.")
      }
      let store = try location.openStore()
      let context = try store.read { transaction in
        ScreeningContext(
          try transaction.records(kind: RecordCatalogue.assessment.kind, limit: 50), wall: SystemClock.now.wall)
      }
      var form = Questionnaire(instrument, context)
      if answers.isEmpty { try ask(&form, store) } else { try take(&form) }
      let id = try location.actions(store).add(kind: RecordCatalogue.assessment.kind, form.assignments)
      let total = instrument.score(form.answers)
      if output.json {
        return try Output.json(
          Report(
            id: id.description, total: total, band: total.flatMap(instrument.band), offer: form.strongest?.reason.rawValue,
            level: form.strongest?.level.name))
      }
      if answers.isEmpty {
        Output.line(total.map { "Total \($0): \(instrument.band(of: $0) ?? "")" } ?? "Some answers are open, so there is no total.")
        Output.line("A band describes a score. It is not a diagnosis.")
      } else if let offer = form.strongest {
        CrisisReport.note(offer)
      }
      Output.line(id.description)
    }
  }

  private struct Report: Encodable { var id: String; var total: Int?; var band, offer, level: String? }

  private func take(_ form: inout Questionnaire) throws {
    let count = form.instrument.items.count
    let values = answers.map { $0 == "-" ? nil : Int($0) }
    guard answers.count == count, zip(answers, values).allSatisfy({ $0 == "-" || (0...3).contains($1 ?? -1) }) else {
      throw InputError.invalid(
        "\(instrument) takes \(count) answers from 0 to 3. Nothing was saved.", remedy: "Write `-` for an answer that is left open.")
    }
    for value in values { if let value { form.answer(value) } else { form.skip() } }
  }

  private func ask(_ form: inout Questionnaire, _ store: Store) throws {
    Output.line("Over the last two weeks, how often:  0 not at all · 1 several days · 2 more than half the days · 3 nearly every day · Enter leaves it open")
    while !form.isComplete {
      Output.write("\(form.index + 1)/\(form.instrument.items.count)  \(form.instrument.items[form.index].topic)  ")
      guard let line = readLine()?.trimmingCharacters(in: .whitespaces) else {
        throw InputError.invalid("The questionnaire was left. Nothing was saved.", remedy: "Start it again whenever you like.")
      }
      if line.isEmpty { form.skip() } else if let value = Int(line), (0...3).contains(value) { form.answer(value) } else {
        Output.line("   0, 1, 2 or 3, or Enter.")
      }
      if let offer = form.offer { try self.offer(offer, &form, store) }
    }
  }

  private func offer(_ offer: CrisisOffer, _ form: inout Questionnaire, _ store: Store) throws {
    Output.line("\n   Thank you for saying so. Because \(offer.reason.text), it may be good not to be alone with it right now.")
    Output.write(offer.level > .none ? "   Show help lines and tell your devices? [y/N] " : "   Show help lines? [y/N] ")
    let isAccepted = ["y", "yes"].contains((readLine() ?? "").lowercased())
    form.closeOffer(accepted: isAccepted)
    guard isAccepted else { return Output.line("") }
    CrisisReport.printCard(home: store.home)
    guard offer.level > .none else { return }
    let raiser = CrisisReport.raiser(location, store)
    raiser.raise(offer.level, source: "detection")
    Output.line(raiser.outcome(within: 1_000).text)
    raiser.end()
  }
}
