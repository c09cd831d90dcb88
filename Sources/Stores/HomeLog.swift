import Foundation
import Logging
import Replica
import Storage

/// What happened, in a file beside the store: codes, counts and times, and nothing that a person wrote or is called.
///
/// `HOME/log.txt`, and what was in it before in `HOME/log.1.txt`; neither grows beyond 128 KiB. A line is written with one
/// call and never waited for: a disk that is full loses the line, and nothing else.
package struct HomeLog: LogHandler {
  private let home: HomeFolder
  package var metadata: Logger.Metadata = [:]
  package var logLevel = Logger.Level.info

  private static let size = 128 * 1_024

  /// A log of a home; `nil` home writes nothing.
  package static func logger(_ home: HomeFolder) -> Logger { Logger(label: "fullmind") { _ in HomeLog(home: home) } }

  private init(home: HomeFolder) { self.home = home }

  package subscript(metadataKey key: String) -> Logger.MetadataValue? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    let fields = (event.metadata ?? [:]).merging(metadata) { one, _ in one }.sorted { $0.key < $1.key }
    let words = fields.map { " \($0.key)=\($0.value)" }.joined()
    write("\(Self.moment()) \(getpid()) \(event.level) \(event.message)\(words)\n")
  }

  private func write(_ line: String) {
    // Not where there is no home: a log makes none.
    // Nothing is made in a home that somebody is deleting, or that holds no store.
    guard access(home.database, F_OK) == 0 else { return }
    let descriptor = open(home.log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return }
    let bytes = Array(line.utf8)
    _ = Foundation.write(descriptor, bytes, bytes.count)
    if Int(status.st_size) + bytes.count > Self.size { rename(home.log, home.earlierLog) }
  }

  private static func moment() -> String {
    var (now, parts) = (time(nil), tm())
    gmtime_r(&now, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(parts.tm_year + 1_900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
  }

  /// What is kept, the oldest first.
  package static func text(_ home: HomeFolder) -> String {
    [home.earlierLog, home.log].compactMap { FileManager.default.contents(atPath: $0).map { String(decoding: $0, as: UTF8.self) } }.joined()
  }
}

extension Logger {
  /// Notes a report of a replica, where it is worth remembering.
  func note(_ report: ReplicaReport) {
    func add(_ level: Level, _ what: Message, _ fields: Metadata = [:]) { log(level: level, what, metadata: fields) }
    switch report {
    case .quarantined(let device, let count): add(.warning, "held back", ["count": "\(count)", "author": "\(device.map(\.description) ?? "-")"])
    case .damaged(let stream): add(.warning, "damaged file", ["channel": "\(stream.channel.rawValue)", "author": "\(stream.tag.bytes.hexadecimal)"])
    case .healed(let channel): add(.warning, "own file written anew", ["channel": "\(channel.rawValue)"])
    case .forked(let stream): add(.warning, "two histories", ["channel": "\(stream.channel.rawValue)", "author": "\(stream.device)"])
    case .tookBack(let count): add(.warning, "took back", ["batches": "\(count)"])
    case .copied(let lives): add(.warning, "home in several places", ["lives": "\(lives)"])
    case .carried(let device): add(.info, "carried", ["author": "\(device.map(\.description) ?? "-")"])
    case .admitted: add(.info, "device admitted")
    case .missing(let entries):
      for entry in entries {
        add(.warning, "missing", ["channel": "\(entry.stream.channel.rawValue)", "author": "\(entry.stream.device)", "count": "\(entry.count)", "said-by": "\(entry.saidBy)"])
      }
    case .relayLost(let error): add(.warning, "relay lost", ["code": "\(error.code)"])
    case .relayFound(let identity, let isNew): add(.info, "relay found", ["identity": "\(identity.bigEndianBytes.hexadecimal)", "new": "\(isNew)"])
    case .sendingFailed(let channel, let error): add(.warning, "sending failed", ["channel": "\(channel.rawValue)", "code": "\(error.code)"])
    case .applied, .released, .heard, .accepted, .idle: break
    }
  }
}
