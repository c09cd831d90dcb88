import ArgumentParser
import CSystem
import Causality
import ConflictResolution
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Stores
import Synchronization

/// `fullmind doctor`: looks whether everything is as it should be, and changes nothing.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Check the store, the relay and the machine; changes nothing.",
    discussion: """
      Exit status 0 when all is well, 65 when something needs attention; each finding says what to do. --log prints what was
      noted while programs ran: codes and counts, no names and nothing that you wrote.
      """)
  @OptionGroup var location: Location
  @OptionGroup var output: OutputOptions
  @Flag(help: "Print the log of this home.") var log = false
  @Option(help: ArgumentHelp("Give a relay so many seconds (1-600).", valueName: "seconds")) var timeout = 20

  func validate() throws {
    guard (1...600).contains(timeout) else { throw ValidationError("--timeout takes 1 to 600 seconds, not \(timeout).") }
  }

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      if log { return try printLog() }
      let findings = Examination(location, timeout: timeout).run()
      if output.json {
        try Output.json(["findings": findings])
      } else {
        for finding in findings { Output.line("\(finding.ok ? "ok  " : "LOOK") \(finding.check): \(finding.detail)") }
      }
      if findings.contains(where: { !$0.ok }) { throw ExitCode(ExitStatus.dataError.rawValue) }
    }
  }

  private func printLog() throws {
    let text = HomeLog.text(location.homeFolder)
    if output.json { return try Output.json(["log": text.split(separator: "\n").map(String.init)]) }
    Output.write(text.isEmpty ? "Nothing was noted in this home yet.\n" : text)
  }
}

/// Everything that is looked at, one finding each.
struct Examination {
  struct Finding: Encodable {
    var check: String
    var ok: Bool
    /// What was found, and what to do about it.
    var detail: String
  }
  private let location: Location
  private let timeout: Int
  private var findings: [Finding] = []

  init(_ location: Location, timeout: Int) { (self.location, self.timeout) = (location, timeout) }

  private var home: HomeFolder { location.homeFolder }

  func run() -> [Finding] {
    var copy = self
    copy.examine()
    return copy.findings
  }

  private mutating func check(_ name: String, _ body: () throws -> (Bool, String)) {
    do {
      let (ok, detail) = try body()
      findings.append(Finding(check: name, ok: ok, detail: Invocation.here(detail)))
    } catch {
      let actionable = Output.actionable(error)
      findings.append(Finding(check: name, ok: false, detail: "\(actionable.summary) \(actionable.remedy) [\(actionable.code)]"))
    }
  }

  private mutating func examine() {
    let (location, home) = (location, home)
    var opened: Store?
    check("store") {
      let store = try location.openStore()
      opened = store
      // Whoever reads may do so beside another program that writes; only writing shows it.
      try store.write(within: 500) { _ in }
      return (true, "opens")
    }
    let isThere = home.hasStore
    if isThere { check("place") { Self.place(home) } }
    if let store = opened {
      check("durability") { (try store.synchronousSetting() == 2, "SQLite synchronous = FULL") }
      check("file") { let problems = try store.integrityReport(); return (problems.isEmpty, problems.isEmpty ? "SQLite finds no fault" : "\(problems.count) faults. Join again with a code of another device: `fullmind join CODE --device NAME --relay folder:PATH --replace` keeps the old folder aside.") }
      check("records") { try Self.records(store) }
      check("continuity") { try Self.continuity(store) }
      check("lives") { try Self.lives(store) }
      check("members") { try Self.members(store) }
      check("clock") { try Self.clock(store) }
      check("exchange") { try Self.exchange(store, CrisisReport.look(location, store).sent) }
    }
    if isThere {
      check("permissions") { Self.permissions(home) }
      check("programs") { Self.programs(home) }
      check("emergency") { try Self.emergency(home, opened) }
    }
    relay(opened)
    check("terminal") { (true, "TERM=\(Environment["TERM"] ?? "(none)")") }
  }

  // MARK: The home

  /// Whether something can be written where the store lies.
  private static func place(_ home: HomeFolder) -> (Bool, String) {
    // What is not there is no matter of permissions: *store* has said so.
    for path in [home.path, home.database, home.dataKey] where access(path, F_OK) == 0 && access(path, path == home.dataKey ? R_OK : R_OK | W_OK) != 0 {
      return (false, "\(path) cannot be written by this user: give it back with `chown -R $USER \(home.path)` and `chmod -R u+rwX \(home.path)`; a disk that is mounted read-only has to be mounted anew")
    }
    var status = statvfs()
    guard statvfs(home.path, &status) == 0 else { return (false, "\(home.path) cannot be looked at") }
    if status.f_flag & UInt(ST_RDONLY) != 0 { return (false, "the disk of \(home.path) is mounted read-only: mount it anew for writing") }
    let free = UInt64(status.f_bavail) * UInt64(status.f_frsize)
    let megabytes = free / 1_048_576
    return (free >= 524_288, free >= 524_288 ? "\(megabytes) MB free" : "only \(free / 1_024) KB are free where the store lies: free some space")
  }

  private static func permissions(_ home: HomeFolder) -> (Bool, String) {
    var wrong = [String]()
    let names = (try? FileManager.default.subpathsOfDirectory(atPath: home.path)) ?? []
    for path in [home.path + "/."] + names.map({ home.path + "/" + $0 }) {
      var status = stat()
      guard lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFLNK else { continue }
      if status.st_mode & 0o077 != 0 { wrong.append(path) }
    }
    return (wrong.isEmpty, wrong.isEmpty ? "nobody else can read them" : "readable by others: \(wrong.count) files. `chmod -R go= \(home.path)` ends that.")
  }

  /// Programs of this home that are there and do not run.
  private static func programs(_ home: HomeFolder) -> (Bool, String) {
    var status = stat()
    if lstat(home.exchangeLock, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
      return (false, "\(home.exchangeLock) is no file: no program can exchange. Move it away; it is made again.")
    }
    let names = (try? FileManager.default.contentsOfDirectory(atPath: home.sockets)) ?? []
    let processes = Set(names.compactMap { Int32($0.prefix { $0 != "-" }) })
    let stopped = processes.filter { process in
      guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8), let end = text.lastIndex(of: ")") else { return false }
      return ["T", "t"].contains(text[text.index(after: end)...].trimmingCharacters(in: .whitespaces).prefix(1))
    }.sorted()
    guard stopped.isEmpty else {
      let list = stopped.map(String.init).joined(separator: ", ")
      return (false, "stopped (^Z): process \(list). Another one exchanges meanwhile, if there is one. `fg` there, or `kill -CONT \(list)`, lets it go on.")
    }
    let running = processes.filter { kill($0, 0) == 0 || errno == EPERM }.count
    return (true, running == 0 ? "none of this home is running; `fullmind agent` keeps it in step" : "\(running) of this home \(running == 1 ? "is" : "are") running")
  }

  /// What can be raised without the store.
  private static func emergency(_ home: HomeFolder, _ store: Store?) throws -> (Bool, String) {
    guard let journal = EmergencyJournal(home) else {
      switch try store?.emergencyKeyState() ?? (access(home.emergencyKey, F_OK) == 0 ? .unreadable(home.emergencyKey) : .asSaid) {
      case .unreadable(let path): return (false, "\(path) cannot be read: a crisis needs the store. Give it back to this user.")
      case .lost: return (false, "\(home.emergencyKey) is gone or damaged: a crisis needs the store. `fullmind sync`, or any program that exchanges, makes a new one when it starts, where \(home.emergency) can be written. If this stays, free space on that disk and give the folder back to this user; `fullmind doctor --log` has what kept it from that.")
      case .usedUp: return (false, "\(EmergencyKeyError.usedUp.summary) \(EmergencyKeyError.usedUp.remedy)")
      case .asSaid: return (true, "there is no emergency key: a crisis needs the store, and its passphrase")
      }
    }
    guard let store else { return (true, "a crisis can be raised without the store") }
    if let place = try? store.read({ try $0.relayPlace() }), journal.kit.relayIdentity != place.identity {
      return (false, "a crisis that is raised past the store would go to another relay than the store means. `fullmind relay move \(RelayLocation(kept: place.url, in: home))` mends it; a running dashboard or agent does so when it starts.")
    }
    let waiting = try store.waitingInJournal()
    let foreign = waiting.foreign == 0 ? "" : "; \(waiting.foreign) \(waiting.foreign == 1 ? "write" : "writes") in \(home.emergency) are of another device or account: kept there, and not part of this one"
    return (
      waiting.own == 0,
      (waiting.own == 0 ? "a crisis can be raised without the store; the journal is in it" : "\(waiting.own) \(waiting.own == 1 ? "write" : "writes") of the emergency journal could not be taken into the store yet: it is tried again by every command") + foreign)
  }

  // MARK: The store

  /// Opens every record and compares their digests with the running state hash.
  static func records(_ store: Store) throws -> (Bool, String) {
    try store.read { transaction in
      var hash = StateHash()
      var count = 0
      try transaction.forEachRecord { record in
        hash.toggle(record.hash)
        count += 1
      }
      let agrees = try hash == transaction.stateHash()
      return (agrees, "\(count) open; the state hash \(agrees ? "agrees" : "DISAGREES: report this, with what `fullmind doctor --log` prints")")
    }
  }

  private static func continuity(_ store: Store) throws -> (Bool, String) {
    let verdict = try store.continuity()
    // Of a copy it is said, and nothing to be done: what is not read yet is found among the files.
    return (verdict != .unusable, PutBack.words(verdict) ?? (verdict == .proved ? "the store follows what it said last" : "nothing has been written here yet"))
  }

  private static func lives(_ store: Store) throws -> (Bool, String) {
    let report = try store.read { try $0.ownReport(of: store.ring) }
    if report.livingCopies > 0 {
      return (false, "this home is used in several places, or was put back again and again (\(report.livingCopies) \(report.livingCopies == 1 ? "life goes" : "lives go") on). Nothing is lost; use it in one place, and join the others as devices of their own with `fullmind devices invite`. This is said until a copy has written nothing for a week.")
    }
    let forks = try store.read { try $0.openHeads().filter { $0.value.count > 1 }.count }
    let closed = try store.read { try $0.lastClosing(of: store.ring.device) }.map { "; \(PutBack.words(closed: $0))" } ?? ""
    return (true, (forks == 0 ? "one at a time" : "\(forks) \(forks == 1 ? "stream has" : "streams have") two histories: both are kept, and both count") + closed)
  }

  private static func members(_ store: Store) throws -> (Bool, String) {
    let snapshot = try SnapshotBuilder.fromStore(store, relay: "")
    let (entries, admissions) = try store.read { (try $0.membership(), try $0.admissions().count) }
    let members = Members(rootKey: store.ring.account.rootKey, trusted: entries)
    guard members.devices.contains(store.ring.device) else {
      return (false, "this device does not belong to the account: its admission was taken back. What it has stays here; `fullmind join CODE --device NAME --relay folder:PATH --replace` joins again.")
    }
    let unfit = entries.count - members.log.count
    if unfit > 0 { return (false, "\(unfit) membership \(unfit == 1 ? "entry does" : "entries do") not fit: kept, and they close nothing. Report this.") }
    let silent = snapshot.devices.filter { !$0.isThisOne && !$0.isHeardOf }
    if !silent.isEmpty {
      return (false, "\(silent.count) \(silent.count == 1 ? "device was" : "devices were") let in and never heard of. `fullmind devices list` shows which. Finish there with the same “fullmind join”; until then it counts in no “k of n”.")
    }
    return (true, "\(members.devices.count) \(members.devices.count == 1 ? "device" : "devices")\(admissions > 0 ? ", \(admissions) on the way in" : "")")
  }

  private static func clock(_ store: Store) throws -> (Bool, String) {
    let (status, heldBack, last) = try store.read { transaction in
      (ExchangeStatus(transaction, saved: 0, accepted: 0, isExchanged: true), try transaction.quarantinedCount(), try transaction.clock().last.milliseconds)
    }
    let wall = SystemClock.now.wall
    if wall < 1_577_836_800_000 { return (false, "the clock of this device says it is before 2020: set it") }
    if !status.clocks.isEmpty { return (false, status.clocks) }
    if heldBack > 0 { return (false, "\(heldBack) \(heldBack == 1 ? "change is" : "changes are") kept back until the time has come that \(heldBack == 1 ? "it was" : "they were") written at: the clock of the device that wrote \(heldBack == 1 ? "it" : "them") was ahead, or this one's is behind. Set the wrong one.") }
    if last > wall, HybridClock.isFromTheFuture(Timestamp(milliseconds: last), wall: wall) {
      return (true, "something was written here while the clock was ahead; what is written now has the right time again")
    }
    return (true, "agrees with the others, as far as they were heard")
  }

  /// What the program that exchanges has kept of it.
  ///
  /// - Parameter sent: What was seen to lie on the relay.
  private static func exchange(_ store: Store, _ sent: [Channel: UInt64]) throws -> (Bool, String) {
    let snapshot = try SnapshotBuilder.fromStore(store, relay: "", sent: sent)
    let (status, waiting) = (snapshot.sync.status, snapshot.sync.saved - min(snapshot.sync.saved, snapshot.sync.accepted))
    if !status.missing.isEmpty {
      let count = status.missing.reduce(0) { $0 + max(1, $1.count) }
      return (false, "\(count) \(count == 1 ? "change" : "changes") that other devices have are missing here, and not on the relay: start fullmind on one that has them\(status.missing.contains(where: \.isCrisis) ? ". A crisis is among them" : "")")
    }
    if status.damagedStreams > 0 { return (false, "\(status.damagedStreams) files on the relay are damaged: nothing is taken from them; the device that wrote them heals them when it is there") }
    if !status.sendingProblem.isEmpty { return (false, "\(status.sendingProblem) What others write is read.") }
    if try Self.isAlone(store) { return (true, "there is no other device yet: everything is saved here") }
    if waiting > 0 { return (false, "\(waiting) \(waiting == 1 ? "change is" : "changes are") on no relay yet: `fullmind sync` sends \(waiting == 1 ? "it" : "them")") }
    return (true, "everything that was saved here has left")
  }

  /// Whether there is nobody to whom anything could be sent.
  private static func isAlone(_ store: Store) throws -> Bool {
    try SnapshotBuilder.fromStore(store, relay: "").devices.count == 1 && RelayLocation.remembered(by: store).location.isPrivate(to: store.home)
  }

  // MARK: The relay

  private mutating func relay(_ store: Store?) {
    let (location, home) = (location, home)
    let finding = Deadline.run(seconds: timeout) { () -> [Finding] in
      var part = Examination(location, timeout: 0)
      part.lookAtRelay(store, home)
      return part.findings
    }
    findings += finding ?? [Finding(check: "relay", ok: false, detail: "it did not answer within \(timeout) s. Everything you save stays here and leaves when it answers; look whether its disk or share hangs. [relay.unanswered]")]
  }

  private mutating func lookAtRelay(_ store: Store?, _ home: HomeFolder) {
    let location = location
    guard let store else {
      guard let journal = EmergencyJournal(home) else { return }
      return check("relay") {
        (true, "reachable, \(try PatientRelay(journal.relay(at: try location.namedRelay()), named: "beside the store").survey().streams.count) files")
      }
    }
    // One for all that is looked at: where it does not answer once, that is found once.
    var patient: PatientRelay?
    check("relay") {
      let chosen = try location.relayLocation(store)
      let others = try SnapshotBuilder.fromStore(store, relay: "").devices.count - 1
      let relay = PatientRelay(try chosen.relay(of: store), named: chosen.description, isAskedOnce: true)
      patient = relay
      let survey = try relay.survey()
      if chosen.isPrivate(to: home) {
        return (others == 0, "it lies inside this home: no other device can reach it\(others == 0 ? "" : ", and there are \(others). `fullmind relay move folder:PATH` goes where they are, `fullmind relay make folder:PATH` makes one")")
      }
      return (true, "reachable, \(survey.streams.count) files, \(survey.presences.count) devices")
    }
    guard let patient, findings.last?.ok ?? false else { return }
    check("files") {
      let found = try Self.files(store, patient)
      try patient.requireAnswers()
      return found
    }
    check("notifications") {
      let watch = patient.watch()
      defer { watch?.end() }
      try patient.requireAnswers()
      return watch.map(\.isComplete) ?? false ? (true, "the file system tells of changes") : (true, "the file system does not tell of every change: the folder is looked through every 2 s")
    }
  }

  private static func files(_ store: Store, _ relay: any Relay) throws -> (Bool, String) {
    var performer = try EffectPerformer(store: store, relay: relay, ring: store.ring, run: 0)
    let found = try performer.examineRelay()
    var words: [String] = []
    if found.unreadable > 0 { words.append("\(found.unreadable) cannot be read by this user: give this user, or its group, the right to read the folder") }
    if found.missing > 0 { words.append("\(found.missing) places that others have signed for are not here: `fullmind sync`, and if that does not help, start fullmind on a device that has them") }
    if found.unexplained > 0 { words.append("\(found.unexplained) \(found.unexplained == 1 ? "folder holds" : "folders hold") what a device wrote that nobody here knows: `fullmind sync` on that device makes it known; if there is none, somebody else has put it there") }
    if found.damaged > 0 { words.append("\(found.damaged) hold damaged bytes: nothing is taken from them; “fullmind sync” on the device that wrote them heals them") }
    if found.torn > 0 { words.append("\(found.torn) \(found.torn == 1 ? "ends" : "end") in the middle of something: what comes there is not read yet. “fullmind sync” here once it has arrived; if it stays so, on the device that wrote it") }
    if found.unread > 0 { words.append("\(found.unread) batches were not read yet: `fullmind sync` reads them") }
    if found.unsent > 0, try !isAlone(store) { words.append("\(found.unsent) changes of this device are not there: `fullmind sync` sends them") }
    if found.lacking > 0 { words.append("it lacks a part of \(found.lacking) \(found.lacking == 1 ? "stream" : "streams") of other devices that this one has: `fullmind sync` puts it there") }
    if !words.isEmpty { return (false, words.joined(separator: "; ")) }
    return (true, "\(found.files) agree with what is here\(found.strangers > 0 ? "; \(found.strangers) folders belong to nobody of this account" : "")")
  }
}

/// Runs what may hang on a thread that is left behind.
enum Deadline {
  /// - Returns: `nil` where it took longer.
  static func run<Result: Sendable>(seconds: Int, _ body: @escaping @Sendable () -> Result) -> Result? {
    let done = Latch(), result = Box<Result>()
    Thread.detachNewThread {
      let found = body()
      result.value.withLock { $0 = found }
      done.open()
    }
    return done.wait(seconds * 1_000) ? result.value.withLock { $0 } : nil
  }

  private final class Box<Value: Sendable>: Sendable { let value = Mutex<Value?>(nil) }
}
