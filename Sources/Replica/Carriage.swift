import Causality

/// Decides what this device puts up for others: whoever holds what the relay has lost passes it on.
///
/// Frames of others lie in files of the carrier's own, so that every file keeps one writer. The author itself comes
/// first where it is there; then one carrier, and others only after it had its turn. What the author's own file has
/// again is dropped.
package struct Carriage: Sendable {
  /// A stream of somebody else of which the relay lacks something.
  package struct Lack: Hashable, Sendable, Comparable {
    package var stream: StreamKey
    /// The relay has everything up to this number.
    package var after: UInt64
    /// What was shown across a gap: it is in no log, and follows what may be nowhere.
    package var isEarly = false

    package init(stream: StreamKey, after: UInt64, isEarly: Bool = false) { (self.stream, self.after, self.isEarly) = (stream, after, isEarly) }

    package static func < (one: Self, other: Self) -> Bool {
      if one.stream != other.stream { return one.stream < other.stream }
      return one.after != other.after ? one.after < other.after : !one.isEarly && other.isEarly
    }
  }

  private struct Entry: Sendable {
    var noticed: UInt64
    var lacks: [Lack]
  }

  /// By author and channel, as their own file is named.
  private var entries: [RelayStream: Entry] = [:]
  /// Files that have to be looked through again, with what they hold.
  private(set) var toAudit = Set<RelayStream>()

  /// Nanoseconds that an author who is there has to heal its file.
  private static let authorsTurn: UInt64 = 60_000_000_000
  /// Nanoseconds that the first carrier waits, and each further one more.
  private static let pause: UInt64 = 1_000_000_000
  private static let turn: UInt64 = 30_000_000_000

  /// A crisis is better put up twice than late.
  private static func due(_ file: RelayStream, _ noticed: UInt64, isHere: Bool, rank: Int) -> UInt64 {
    if file.channel.lane == .crisis { return noticed &+ pause &* UInt64(rank + 1) }
    return noticed &+ (isHere ? authorsTurn : pause) &+ turn &* UInt64(rank)
  }

  package init() {}

  /// A file was read to its end from its start, or is gone, or the relay is another one: is everything in it?
  mutating func audit(_ stream: RelayStream) { if !stream.isCarried { toAudit.insert(stream) } }

  mutating func takeAudit(where isReady: (RelayStream) -> Bool) -> RelayStream? {
    guard let next = toAudit.filter(isReady).min() else { return nil }
    toAudit.remove(next)
    return next
  }

  /// What is known of a file: the relay lacks this of it.
  mutating func note(_ lacks: [Lack], of stream: RelayStream, now: UInt64) {
    if lacks.isEmpty {
      entries[stream] = nil
    } else {
      entries[stream] = Entry(noticed: entries[stream]?.noticed ?? now, lacks: lacks.sorted())
    }
  }

  /// It could not be put up now.
  mutating func postpone(_ stream: RelayStream, now: UInt64) { entries[stream]?.noticed = now &+ Self.turn }

  /// Something was put up.
  mutating func didCarry(_ lack: Lack, of file: RelayStream, through sequence: UInt64, isAll: Bool) {
    guard let index = entries[file]?.lacks.firstIndex(where: { $0 == lack || !lack.isEarly && !$0.isEarly && $0.stream == lack.stream }) else { return }
    if isAll { entries[file]?.lacks.remove(at: index) } else { entries[file]?.lacks[index].after = sequence }
    if entries[file]?.lacks.isEmpty ?? false { entries[file] = nil }
  }

  /// The relay was emptied, or is another one.
  mutating func forget() { (entries, toAudit) = ([:], []) }

  /// - Parameters:
  ///   - rank: Present devices that carry before this one.
  ///   - isHere: Whether an author is there.
  /// - Returns: What to put up next, or when there is something to put up.
  func next(rank: Int, isHere: (BlindTag) -> Bool, now: UInt64) -> (file: RelayStream, lack: Lack, due: UInt64)? {
    var best: (file: RelayStream, lack: Lack, due: UInt64)?
    for (file, entry) in entries {
      guard let lack = entry.lacks.first else { continue }
      let due = Self.due(file, entry.noticed, isHere: isHere(file.tag), rank: rank)
      if let found = best, (max(found.due, now), found.file) <= (max(due, now), file) { continue }
      best = (file, lack, due)
    }
    return best
  }

  package var isEmpty: Bool { entries.isEmpty && toAudit.isEmpty }

  /// For whoever replays a run.
  package var description: String {
    entries.values.map { entry in "since \(entry.noticed / 1_000_000) ms: " + entry.lacks.map { "\($0.stream.channel.rawValue) after \($0.after)" }.joined(separator: ", ") }
      .joined(separator: "; ")
  }
}

/// Who names a place in a stream.
package enum Witness: Hashable, Sendable, Comparable {
  /// A device that says that it has it.
  case presence(DeviceID)
  /// Its author, who has signed that the life ended there.
  case closing(DeviceID)

  var device: DeviceID {
    switch self {
    case .presence(let device), .closing(let device): device
    }
  }
}

/// What other devices have signed for, and this one does not have.
package struct MissingStreams: Sendable {
  package struct Entry: Hashable, Sendable {
    package var stream: StreamKey
    /// Changes that are missing here; 0 for another history of what is known.
    package var count: UInt64
    /// Who says that it has them.
    package var saidBy: DeviceID
    /// Uptime at which that was noticed.
    package var since: UInt64

    package var isCrisis: Bool { stream.channel.lane == .crisis }
  }

  /// Nanoseconds after which it is told.
  package static let patience: UInt64 = 5_000_000_000

  private var entries: [StreamKey: Entry] = [:]

  package init() {}

  package var all: [Entry] { entries.values.sorted { $0.stream < $1.stream } }
  package var isEmpty: Bool { entries.isEmpty }

  /// Compares what the others say with what is here.
  ///
  /// - Parameters:
  ///   - unknown: Places in streams that others have named and that are in no history here.
  ///   - heads: How far each stream has come here.
  mutating func update(_ unknown: [Witness: [StreamKey: [StreamCursor]]], heads: (StreamKey) -> [StreamCursor], now: UInt64) {
    var found: [StreamKey: Entry] = [:]
    for (witness, streams) in unknown.sorted(by: { $0.key < $1.key }) {
      for (stream, cursors) in streams {
        let here = heads(stream)
        for cursor in cursors where !here.contains(cursor) {
          let last = here.map(\.sequence).max() ?? 0
          let count = cursor.sequence > last ? cursor.sequence - last : 0
          if let before = found[stream], before.count >= count { continue }
          found[stream] = Entry(stream: stream, count: count, saidBy: witness.device, since: entries[stream]?.since ?? now)
        }
      }
    }
    entries = found
  }

  /// What is missing for long enough to be told.
  package func overdue(now: UInt64) -> [Entry] { all.filter { now &- $0.since >= Self.patience } }

  /// When something becomes overdue.
  func due(now: UInt64) -> UInt64? { entries.values.map { $0.since &+ Self.patience }.filter { $0 > now }.min() }
}
