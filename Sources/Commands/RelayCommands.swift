import ArgumentParser
import Causality
import Foundation
import Relays
import Replica
import Storage
import Stores

/// `fullmind relay`: where the devices of the account meet.
struct RelayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "relay", abstract: "Show where your devices meet, make a relay, or move to another one.",
    discussion: """
      A relay holds sealed copies only; every device keeps everything, and fills a new one again. It is made by `init`
      and `relay make`, and by nothing else: a drive that is not mounted is never mistaken for an empty relay.
      """,
    subcommands: [Show.self, Make.self, Move.self], defaultSubcommand: Show.self)

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "show", abstract: "Show which relay this home knows, and what lies there now.")
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions

    func run() throws {
      try Output.reporting(asJSON: output.json) {
        let store = try location.openStore()
        let known = try RelayLocation.remembered(by: store)
        let place = try location.namedRelay() ?? known.location
        let found = Result { try PatientRelay.identity(of: place.relay(of: store), at: place.description) }
        let isPrivate = place.isPrivate(to: store.home)
        if output.json {
          return try Output.json(
            Report(
              url: place.description, known: known.identity.map(RelayCommand.name), found: (try? found.get()).map(RelayCommand.name),
              isMeant: (try? found.get()).map { $0 == known.identity } ?? false, isPrivate: isPrivate))
        }
        Output.line("Your devices meet in \(place)")
        Output.line("  known here: \(known.identity.map(RelayCommand.name) ?? "not yet")")
        switch found {
        case .success(let identity) where known.identity == nil || identity == known.identity: Output.line("  there now:  \(RelayCommand.name(identity)), the one that is meant")
        case .success(let identity): Output.line("  there now:  \(RelayCommand.name(identity)), which is another one: nothing is written to it")
        case .failure(let error): Output.line("  there now:  \(Output.actionable(error).summary)")
        }
        if isPrivate { Output.line("  It lies inside this home: no other device can reach it.") }
      }
    }

    private struct Report: Encodable {
      var url: String
      var known, found: String?
      var isMeant, isPrivate: Bool
    }
  }

  struct Make: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "make", abstract: "Make a relay, and meet there from now on.",
      discussion: "Without a URL where this home's relay was: for one that is lost for good. The devices fill it again.")
    @OptionGroup var location: Location
    @Argument(help: ArgumentHelp("Where: folder:PATH.", valueName: "url")) var url: String?

    func run() throws {
      try Output.reporting {
        let store = try location.openStore()
        let place = try url.map { try RelayLocation($0) } ?? location.relayLocation(store)
        let identity = try PatientRelay.make(at: place.folder)
        try place.remember(identity, in: store)
        store.pingOthers(except: nil)
        Output.hint("Your devices meet in \(place) from now on. This one fills it with `fullmind sync`, or by itself where a program of it runs.")
        Output.hint("Other devices that used the old one at the same place take it over when they see this device there; elsewhere: “fullmind relay move \(Invocation.quoted(place.description))” there.")
        if place.isPrivate(to: store.home) { Output.line("It lies inside this home: no other device can reach it.") }
      }
    }
  }

  struct Move: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "move", abstract: "Meet at another relay that exists from now on.",
      discussion: "Nothing is lost: every device keeps everything, and puts there what it lacks. A new one: `fullmind relay make URL`.")
    @OptionGroup var location: Location
    @Argument(help: ArgumentHelp("Where: folder:PATH.", valueName: "url")) var url: String

    func run() throws {
      try Output.reporting {
        let store = try location.openStore()
        let place = try RelayLocation(url)
        let identity: UInt64
        do throws(RelayError) {
          identity = try PatientRelay.identity(of: FolderRelay(path: place.folder, account: [], ownTag: nil), at: place.description)
        } catch { throw RelayNotThere(place: place, cause: error) }
        try place.remember(identity, in: store)
        store.pingOthers(except: nil)
        Output.line("Your devices meet in \(place) from now on: name it on the others as well.")
        Output.note("A dashboard or agent that runs on this device goes on there by itself; one that was started with --relay stays where it is.")
      }
    }
  }

  /// Nothing can be met in the place that was named; what is said to do next names it too.
  struct RelayNotThere: ActionableError {
    var place: RelayLocation
    var cause: RelayError
    var code: String { cause.code }
    var summary: String {
      let what = if case .noRelay = cause { "There is no relay in \(place)" } else { "The relay \(place) cannot be used" }
      return "\(what). Your devices meet where they did, and everything is saved on this device."
    }
    var remedy: String {
      let make = "`fullmind relay make \(Invocation.quoted(place.description))`"
      return "Mount its drive, or correct the path; then repeat. If there is to be a new relay, \(make) makes it there."
    }
    var exitStatus: ExitStatus { cause.exitStatus }
  }

  static func name(_ identity: UInt64) -> String { String(identity, radix: 16) }
}
