import ArgumentParser
import CSystem
import Causality
import Dashboard
import Foundation
import Relays
import Replica
import Sealing
import Stores
import Therapy

/// Asking somebody else about a conflict, and the other side of it.
extension ConflictsCommand {
  struct Ask: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "ask", abstract: "Let somebody you trust decide: a therapist, or the members of your family.",
      discussion: """
        Prints a link for each of them. Whoever has it sees the versions of this one field, under the name you give here,
        and may say which one is kept. Nothing else is shared. Until then the safe value holds; what they decide counts on
        all your devices, says who decided, and can be undone.

        One person: the answer decides. Several: more than half of them have to agree.
        """)
    @OptionGroup var location: Location
    @Argument(help: "The record's id, or its beginning.") var record: String
    @Argument(help: "The field.") var field: String
    @Option(name: .customLong("who"), help: "Who is asked; several times for several people.") var names: [String] = []
    @Option(name: .customLong("as"), help: "The name they know you by.") var person: String?
    @Flag(help: "Take the question back; the links open nothing any more.") var withdraw = false

    func validate() throws {
      if !withdraw, names.isEmpty || person == nil { throw ValidationError("Name whom you ask with --who, and how they know you with --as.") }
    }

    func run() throws {
      try Output.reporting {
        let store = try location.openStore()
        let (actions, relay) = (location.actions(store), try location.patientRelay(store))
        let id = try actions.record(beginningWith: record).id
        if withdraw {
          try actions.withdrawReview(of: id, field: field, relay: relay)
          return Output.line("Taken back. It is yours to decide: fullmind conflicts show \(id)")
        }
        let reviewers = try actions.ask(names, as: person ?? "", about: id, field: field, relay: relay)
        for line in ConflictsCommand.invitation(reviewers, relay: try location.relayLocation(store)) { Output.line(line) }
      }
    }
  }

  /// What the person passes on to those who are asked.
  static func invitation(_ reviewers: [ReviewState.Reviewer], relay: RelayLocation) -> [String] {
    reviewers.flatMap { reviewer in
      // In two lines that a shell takes as one, so that it fits into 80 columns and can be copied.
      ["For \(reviewer.name) alone, where the same relay can be reached:", "", "fullmind conflicts review \(reviewer.link) \\", "  --relay \(Invocation.quoted("\(relay)"))", ""]
    } + ["Whoever has a link sees the versions of this field,", "and may say which one is kept."]
  }

  struct Review: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "review", abstract: "Answer somebody who asked you which of two versions is right. Needs no account.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "The link you were given.") var link: String
    @Option(help: "The number of the version that is right.") var keep: Int?

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        guard let link = SecretLink(link) else {
          throw InputError.invalid("This is not a link. Nothing was changed.", remedy: "It has 26 letters and digits in six groups.")
        }
        guard let place = try location.namedRelay() else { throw FamilyCommand.relayNotNamed }
        let folder = FolderRelay(path: place.folder, account: [], ownTag: nil)
        _ = try PatientRelay.identity(of: folder, at: place.description)
        let (box, relay) = (ReviewBox(link), PatientRelay(folder, named: place.description))
        guard let question = try relay.mail(in: box.mailbox, slot: ReviewBox.question).flatMap(box.question) else {
          throw InputError.invalid(
            "Nothing waits under this link at \(place). Nothing was changed.",
            remedy: "It may be settled or taken back by now; otherwise compare the link, and name the relay with --relay.")
        }
        let isAnswered = try relay.mail(in: box.mailbox, slot: ReviewBox.answer) != nil
        if output.json, keep == nil { return try Output.json(Report(question, isAnswered)) }
        if keep == nil { show(question) }
        guard !isAnswered else { return Output.line("You have answered. It is taken up as soon as a device of theirs sees it.") }
        guard let number = try keep ?? asked(question.versions.count) else { return Output.line("Nothing was answered. Answer with --keep NUMBER.") }
        guard question.versions.indices.contains(number - 1) else {
          throw InputError.invalid("There is no version \(number). Nothing was answered.", remedy: "Choose 1 to \(question.versions.count).")
        }
        var random = SystemRandomNumberGenerator()
        try relay.putMail(box.seal(keeping: number, using: &random), mailbox: box.mailbox, slot: ReviewBox.answer)
        Output.line("Thank you. Version \(number) is your answer.")
      }
    }

    /// Whoever has the link may have put it up: what it says must not disturb the terminal.
    private func show(_ question: ReviewQuestion) {
      Output.line("\(CellText.clean(question.person)) asks you which version is right.")
      Output.line(CellText.clean("\(question.subject). \(question.meanwhile)"))
      for (number, version) in question.versions.enumerated() {
        Output.line("  \(number + 1)  \(CellText.clean(version.value))   (\(RecordCommand.List.time(Timestamp(milliseconds: version.wall))))")
        Output.line("     \(CellText.clean(version.consequence))")
      }
    }

    private func asked(_ count: Int) throws -> Int? {
      guard isatty(STDIN_FILENO) == 1 else { return nil }
      Output.line("Which one is right? A number from 1 to \(count), or Enter for not now:")
      return readLine().flatMap { Int($0.trimmingCharacters(in: .whitespaces)) }
    }

    private struct Report: Encodable {
      struct Version: Encodable { var value, consequence: String; var at: UInt64 }
      var person, subject, meanwhile: String
      var versions: [Version]
      var answered: Bool
      init(_ question: ReviewQuestion, _ isAnswered: Bool) {
        (person, subject, meanwhile, answered) = (question.person, question.subject, question.meanwhile, isAnswered)
        versions = question.versions.map { Version(value: $0.value, consequence: $0.consequence, at: $0.wall) }
      }
    }
  }
}
