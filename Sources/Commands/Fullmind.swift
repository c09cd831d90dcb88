import ArgumentParser
import CSystem
import Foundation
import Storage
import Therapy

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
    fm_standard_files_hold()
    umask(0o077)
    signal(SIGPIPE, SIG_IGN)
    // A limit of files is a full disk, and no end.
    signal(SIGXFSZ, SIG_IGN)
    fm_signals_let_in()
    let arguments = globalOptionsLast(Array(CommandLine.arguments.dropFirst()))
    if arguments.prefix(2) == ["crisis", "card"], !arguments.contains("--help") {
      CrisisReport.printCard(region: value(of: "--region", in: arguments), home: Location.homeFolder(value(of: "--home", in: arguments)))
      // Where nothing is open, or nobody reads any more, nobody looks at the status either.
      Foundation.exit([0, EPIPE, EBADF].contains(Output.failure) ? 0 : OutputError().exitStatus.rawValue)
    }
    // The way to help takes whatever it is given.
    if !arguments.contains("crisis") { refuseWhatIsNoText(asJSON: arguments.contains("--json")) }
    actAsOwner(of: Location.homeFolder(value(of: "--home", in: arguments)))
    fm_protect_memory()
    do {
      var command = try parseAsRoot(arguments)
      try command.run()
    } catch {
      // Help that nobody could read was not given.
      guard exitCode(for: error) == .success else { exit(withError: error) }
      Output.line(fullMessage(for: error))
      Foundation.exit([0, EPIPE, EBADF].contains(Output.failure) ? 0 : OutputError().exitStatus.rawValue)
    }
  }

  /// What is no text would be kept as other text than was typed, and nobody would be told.
  private static func refuseWhatIsNoText(asJSON: Bool) {
    for index in 1..<max(1, Int(CommandLine.argc)) {
      guard let argument = CommandLine.unsafeArgv[index], String(validatingCString: argument) == nil else { continue }
      do { try Output.reporting(asJSON: asJSON) { throw InputError.notText("Argument \(index)") } } catch { exit(withError: error) }
    }
  }

  private static func value(of option: String, in arguments: [String]) -> String? {
    if let index = arguments.firstIndex(of: option) { return arguments.dropFirst(index + 1).first }
    return arguments.first { $0.hasPrefix(option + "=") }.map { String($0.dropFirst(option.count + 1)) }
  }

  /// The administrator acts as whoever a home belongs to: one run would otherwise leave files, here and on the relay, that
  /// its owner cannot use.
  private static func actAsOwner(of home: HomeFolder) {
    var status = stat()
    guard geteuid() == 0, stat(home.path, &status) == 0, status.st_uid != 0 else { return }
    if let owner = getpwuid(status.st_uid) { initgroups(owner.pointee.pw_name, status.st_gid) }
    _ = setgid(status.st_gid)
    _ = setuid(status.st_uid)
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
