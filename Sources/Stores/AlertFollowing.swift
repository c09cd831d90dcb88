import Causality
import Foundation
import Relays
import Replica
import Sealing
import Storage

/// The links that somebody follows on this machine, each in a file of its own. Needs no account. What a run that was killed
/// while it made a home has left of them beside it is there again before they are looked for.
///
/// A file holds lines: the link, the person's name, the relay, the last number read, the beginning of
/// what lay there, `open` or `closed`, and the marks of everything that was told, in hexadecimal; `-` before one that is over.
package struct AlertFollowing: Sendable {
  package private(set) var reader: AlertReader
  package private(set) var relay: RelayLocation
  private let path: String
  /// Which relay lay there when something of the person was found.
  private var identity: UInt64?
  /// Every call has an end: a share that hangs keeps nobody from being heard at another one.
  private var patient: (relay: PatientRelay, folder: FolderRelay, place: String)?
  /// Milliseconds that a call may take.
  private static let patience = 2_000

  private static func folder(_ home: HomeFolder) -> String { home.path + "/following" }

  /// - Parameter relay: Where the person's devices meet; `nil` for where it was read before.
  /// - Returns: `nil` for a link that was never read here, when it is not said where.
  package init?(_ link: SecretLink, relay: RelayLocation?, home: HomeFolder) {
    HomeDraft.bringBackFollowing(to: home)
    let path = Self.folder(home) + "/" + NoticeBoard(link).name
    if var known = Self(path: path) {
      if let relay { known.relay = relay }
      self = known
    } else if let relay {
      self.init(reader: AlertReader(link), relay: relay, path: path)
    } else {
      return nil
    }
  }

  private init(reader: AlertReader, relay: RelayLocation, path: String) {
    (self.reader, self.relay, self.path) = (reader, relay, path)
  }

  private init?(path: String) {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.count >= 6, let link = SecretLink(lines[0]), let relay = try? RelayLocation(lines[2]) else { return nil }
    func marks(_ isOver: Bool) -> Set<[UInt8]> {
      Set(lines.dropFirst(6).filter { !$0.hasPrefix("relay ") && (!isOver || $0.hasPrefix("-")) }.compactMap { [UInt8](hexadecimal: $0.hasPrefix("-") ? String($0.dropFirst()) : $0) })
    }
    self.init(
      reader: AlertReader(
        link, last: UInt64(lines[3]) ?? 0, lastBytes: [UInt8](hexadecimal: lines[4]) ?? [], told: marks(false), over: marks(true),
        isClosed: lines[5] == "closed", person: lines[1]), relay: relay, path: path)
    identity = lines.dropFirst(6).first { $0.hasPrefix("relay ") }.flatMap { UInt64($0.dropFirst(6), radix: 16) }
  }

  /// Every link that is followed here, and the files that cannot be read any more.
  package static func all(in home: HomeFolder) -> (followed: [AlertFollowing], unreadable: [String]) {
    HomeDraft.bringBackFollowing(to: home)
    let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder(home))) ?? []).filter { !$0.contains(".") }.sorted()
    let found = names.map { (name: $0, following: AlertFollowing(path: folder(home) + "/" + $0)) }
    return (found.compactMap(\.following), found.filter { $0.following == nil }.map { folder(home) + "/" + $0.name })
  }

  /// Reads what is new; ``save()`` it once it was told.
  ///
  /// - Throws: ``RelayError``, also where there is no relay: a drive that is not there has not forgotten anything.
  ///   ``RelayError/another(_:identity:)`` where nothing of the person is any more.
  package mutating func read() throws(RelayError) -> [AlertReader.News] {
    let (relay, there) = try reached()
    let news = try reader.read(relay)
    // The person may have made another relay: it is theirs where their devices have put up something.
    if reader.hasFound { identity = there } else if identity != nil { throw .another(self.relay.description, identity: there) }
    return news
  }

  /// Alerts that are still open.
  package mutating func unanswered() throws(RelayError) -> [Notice] { try reader.unanswered(try reached().relay) }

  /// Says how far an alert has come here.
  package mutating func confirm(_ alert: Notice, as kind: Notice.Kind) throws(RelayError) {
    var random = SystemRandomNumberGenerator()
    try reader.confirm(alert, as: kind, on: try reached().relay, wall: SystemClock.now.wall, using: &random)
  }

  /// Says that somebody follows the link.
  package mutating func follow() throws(RelayError) {
    var random = SystemRandomNumberGenerator()
    try reader.follow(on: try reached().relay, wall: SystemClock.now.wall, using: &random)
  }

  private mutating func reached() throws(RelayError) -> (relay: PatientRelay, identity: UInt64) {
    let place = relay.description
    if patient?.place != place {
      let folder = FolderRelay(path: relay.folder, account: [], ownTag: nil)
      patient = (PatientRelay(folder, named: place, patience: Self.patience), folder, place)
    }
    guard let patient else { throw .unreachable(place) }
    // It means no relay in particular, so that a look says which lies there.
    return (patient.relay, try patient.relay.identity(of: patient.folder))
  }

  /// Keeps what was read and told.
  package func save() throws(StorageError) {
    let folder = (path as NSString).deletingLastPathComponent
    do {
      try FileManager.default.createDirectory(
        atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw (error as? CocoaError)?.code == .fileWriteOutOfSpace ? StorageError.diskFull(folder) : .unreadable(folder, "it cannot be created")
    }
    let person = (reader.person ?? "").filter { !$0.isNewline }
    let lines = [reader.link.description, person, relay.description, "\(reader.last)", reader.lastBytes.hexadecimal, reader.isClosed ? "closed" : "open"]
      + (identity.map { ["relay " + String($0, radix: 16)] } ?? [])
      + reader.told.sorted { $0.lexicographicallyPrecedes($1) }.map { (reader.over.contains($0) ? "-" : "") + $0.hexadecimal }
    try HomeFolder.writePrivate(Array(lines.joined(separator: "\n").utf8), to: path)
  }
}

/// Why somebody who follows a link does not hear, or is not heard, in words for whom no account here need exist.
package enum FollowingError: Error, Sendable, Hashable {
  /// What lies at the link cannot be read.
  case unheard(RelayError, at: String)
  /// It is read, and nothing can be put there.
  case unsaid(RelayError, at: String)

  private var cause: RelayError {
    switch self {
    case .unheard(let error, _), .unsaid(let error, _): error
    }
  }

  private var obstacle: String {
    switch self {
    case .unheard(.unanswered, let place), .unsaid(.unanswered, let place): "\(place) does not answer"
    case .unheard(.noRelay, let place): "there is no relay in \(place)"
    case .unheard(.another, let place): "nothing of the person lies in \(place) any more"
    case .unheard(_, let place): "\(place) cannot be reached, or not be read"
    case .unsaid(.full, let place): "the disk with \(place) is full"
    case .unsaid(_, let place): "nothing can be written to \(place)"
    }
  }

  /// What is said while it is tried again.
  ///
  /// - Parameter name: Whom the link is of.
  package func meanwhile(_ name: String) -> String {
    switch self {
    case .unheard: "NOTHING IS HEARD of \(name) at the moment: \(obstacle). It is tried again every second. \(todo)"
    case .unsaid: "\(name) is heard, but cannot be answered: \(obstacle). It is tried again every second."
    }
  }

  private var todo: String {
    switch self {
    case .unheard:
      "Check that the folder is there: mount its drive, or look at the connection. If it is gone, ask the person who invited you "
        + "where their devices meet now, and name that place: `fullmind family follow LINK --relay folder:PATH`."
    case .unsaid: "Check that you may write there, and that there is space; or tell the person who invited you."
    }
  }
}

extension FollowingError: ActionableError {
  package var code: String { cause.code }
  package var summary: String {
    switch self {
    case .unheard: "Nothing could be looked at: \(obstacle). Whether support was asked for is not known."
    case .unsaid: "What has come was read, but it could not be answered: \(obstacle)."
    }
  }
  package var remedy: String { "\(todo) Repeat it then." }
  package var exitStatus: ExitStatus { cause.exitStatus }
}
