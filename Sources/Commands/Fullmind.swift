import ArgumentParser
import CSystem
import Foundation

/// The command line. Names are fixed; scripts rely on them.
public struct Fullmind: ParsableCommand {
  public static let configuration = CommandConfiguration(
    commandName: "fullmind",
    abstract: "Your therapy data, the same on every device you own; help at once, whatever else is broken.",
    discussion: """
      EXIT STATUS (sysexits): 0 done · 64 wrong usage · 65 unreadable value · 66 no such store, record or device ·
      69 relay not reachable · 70 unexpected · 73 exists already · 74 disk · 75 try again · 77 not allowed · 78 newer version
      """,
    subcommands: [
      DashboardCommand.self, DemoCommand.self, InitCommand.self, JoinCommand.self, DevicesCommand.self, RelayCommand.self,
      AgentCommand.self, StatusCommand.self, SyncCommand.self, RecordCommand.self, CheckInCommand.self,
      AssessCommand.self, PracticeCommand.self, PlanCommand.self, CrisisCommand.self, ConflictsCommand.self, SessionsCommand.self, HandoffCommand.self,
      FamilyCommand.self, QuotaCommand.self, DoctorCommand.self, SimulateCommand.self, BenchCommand.self,
    ],
    defaultSubcommand: DashboardCommand.self)

  public init() {}

  /// Runs the program. The crisis card is printed before anything else is even looked at.
  public static func start() {
    umask(0o077)
    signal(SIGPIPE, SIG_IGN)
    let arguments = globalOptionsLast(Array(CommandLine.arguments.dropFirst()))
    if arguments.prefix(2) == ["crisis", "card"], !arguments.contains("--help") {
      let region = arguments.firstIndex(of: "--region").flatMap { arguments.dropFirst($0 + 1).first }
      let home = arguments.firstIndex(of: "--home").flatMap { arguments.dropFirst($0 + 1).first }
      CrisisReport.printCard(region: region, home: Location.homeFolder(home))
      Foundation.exit(0)
    }
    fm_protect_memory()
    main(arguments)
  }

  /// Options that every command takes may stand before it: `fullmind --home DIR status`.
  static func globalOptionsLast(_ arguments: [String]) -> [String] {
    var (rest, moved) = (arguments[...], [String]())
    while let first = rest.first {
      if first == "--json" || ["--home=", "--relay=", "--passphrase-file="].contains(where: first.hasPrefix) {
        moved.append(rest.removeFirst())
      } else if ["--home", "--relay", "--passphrase-file"].contains(first), rest.count >= 2 {
        moved += rest.prefix(2)
        rest = rest.dropFirst(2)
      } else {
        break
      }
    }
    return Array(rest) + moved
  }
}
