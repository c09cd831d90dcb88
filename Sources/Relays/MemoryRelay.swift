import CSystem
import Causality
import Foundation
import Replica
import Synchronization

/// A relay in memory: for the demo household and for tests. Shared by the replicas of one process.
package final class MemoryRelay: Sendable {
  struct Log: Sendable {
    var generation: UInt64
    var frames: [[UInt8]] = []
    var end: RelayPosition { RelayPosition(generation: generation, offset: UInt64(frames.count)) }
  }
  struct Contents: Sendable {
    var identity: UInt64 = 1
    var generations: UInt64 = 1
    var logs: [RelayStream: Log] = [:]
    var presences: [BlindTag: [UInt8]] = [:]
    var mail: [String: [UInt8]] = [:]
    var boards: [String: [UInt64: [UInt8]]] = [:]
    var watches: [MemoryWatch] = []
  }
  let contents = Mutex(Contents())

  package init() {}

  /// Forgets everything, and is another relay from then on: the person has made it anew.
  package func wipe() {
    contents.withLock { contents in
      contents.logs = [:]
      contents.presences = [:]
      contents.boards = [:]
      contents.identity += 1
      contents.notify(.unknown, except: nil)
    }
  }

  /// Which relay it is.
  package var identity: UInt64 { contents.withLock { $0.identity } }

  /// Every sealed byte that lies here, for checks.
  package var everything: [[UInt8]] {
    contents.withLock { contents in
      contents.logs.sorted { $0.key < $1.key }.flatMap(\.value.frames)
        + contents.presences.sorted { $0.key < $1.key }.map(\.value)
        + contents.boards.sorted { $0.key < $1.key }.flatMap { $0.value.sorted { $0.key < $1.key }.map(\.value) }
    }
  }

  /// Changes one byte of a stored frame; `false` when there is none.
  package func damage(_ stream: RelayStream, frame: Int, byte: Int) -> Bool {
    contents.withLock { contents in
      guard let log = contents.logs[stream], !log.frames.isEmpty else { return false }
      let frame = frame % log.frames.count
      let byte = byte % log.frames[frame].count
      contents.logs[stream]?.frames[frame][byte] ^= 0x40
      contents.notify(.stream(stream), except: nil)
      return true
    }
  }

  /// A frame that lies in a file; `nil` where none does.
  package func frame(_ stream: RelayStream, _ number: Int) -> [UInt8]? {
    contents.withLock { contents in
      contents.logs[stream].flatMap { $0.frames.isEmpty ? nil : $0.frames[number % $0.frames.count] }
    }
  }

  /// Puts frames into a file as anybody may who can write the relay.
  package func slip(_ frames: [[UInt8]], into stream: RelayStream, atFront: Bool) {
    contents.withLock { contents in
      guard let log = contents.logs[stream] else { return }
      contents.logs[stream]?.frames = atFront ? frames + log.frames : log.frames + frames
      contents.notify(.stream(stream), except: nil)
    }
  }

  /// Puts bytes on a board as anybody may who can write the relay, a few numbers behind what lies there.
  ///
  /// - Parameter bytes: `nil` for a copy of the last notice, under the number that is not its own.
  package func litter(_ board: String, ahead: UInt64, _ bytes: [UInt8]?) {
    contents.withLock { contents in
      let (last, notice) = contents.boards[board]?.max { $0.key < $1.key }.map { ($0.key, $0.value) } ?? (0, [])
      contents.boards[board, default: [:]][last + ahead] = bytes ?? notice
    }
  }

  /// Cuts the last frames of a file off, as a service that carries files shows it for a while.
  ///
  /// - Returns: What puts them back, where nobody has written there meanwhile, and says whether it did; `nil` when there
  ///   is nothing to cut.
  package func hold(_ stream: RelayStream, back count: Int) -> (@Sendable () -> Bool)? {
    contents.withLock { contents in
      guard let log = contents.logs[stream], log.frames.count > count, count > 0 else { return nil }
      let (kept, cut) = (Array(log.frames.dropLast(count)), Array(log.frames.suffix(count)))
      contents.logs[stream]?.frames = kept
      contents.notify(.stream(stream), except: nil)
      return {
        self.contents.withLock { contents in
          guard contents.logs[stream]?.generation == log.generation, contents.logs[stream]?.frames == kept else { return false }
          contents.logs[stream]?.frames = kept + cut
          contents.notify(.stream(stream), except: nil)
          return true
        }
      }
    }
  }

  /// A copy of everything, for ``restore(_:)``.
  package struct Image: Sendable {
    var logs: [RelayStream: Log]
    var presences: [BlindTag: [UInt8]]
    var boards: [String: [UInt64: [UInt8]]]
  }

  package var image: Image { contents.withLock { Image(logs: $0.logs, presences: $0.presences, boards: $0.boards) } }

  /// Goes back to an older state, as a folder does that was restored from a backup.
  package func restore(_ image: Image) {
    contents.withLock { contents in
      contents.logs = image.logs
      contents.presences = image.presences
      contents.boards = image.boards
      contents.notify(.unknown, except: nil)
    }
  }

  package var streams: [RelayStream] { contents.withLock { $0.logs.keys.sorted() } }

  /// The relay as one device sees it.
  ///
  /// - Parameter meant: Which relay the device means; `nil` for whichever it is.
  package func connection(of tag: BlindTag?, meaning meant: UInt64? = nil) -> MemoryConnection {
    MemoryConnection(relay: self, ownTag: tag, meant: meant)
  }
}

extension MemoryRelay.Contents {
  /// A stream's log; made when there is none yet.
  mutating func log(_ stream: RelayStream, of own: BlindTag?) -> MemoryRelay.Log {
    if let log = logs[stream] { return log }
    generations += 1
    notify(.listing, except: own)
    return MemoryRelay.Log(generation: generations)
  }

  func notify(_ change: RelayChange, except own: BlindTag?) {
    for watch in watches where watch.tag != own || own == nil { watch.push(change) }
  }
}

/// One device's view of a ``MemoryRelay``.
package final class MemoryConnection: Relay {
  private let relay: MemoryRelay
  private let ownTag: BlindTag?
  /// Where each own stream ended when this object last saw its end.
  private let ends = Mutex<[RelayStream: RelayPosition]>([:])
  private let meant: Mutex<UInt64?>

  init(relay: MemoryRelay, ownTag: BlindTag?, meant: UInt64?) {
    self.relay = relay
    self.ownTag = ownTag
    self.meant = Mutex(meant)
  }

  package func adopt(_ identity: UInt64) { meant.withLock { $0 = identity } }

  /// The view of another process of the device, which has seen nothing yet.
  package func another() -> MemoryConnection { MemoryConnection(relay: relay, ownTag: ownTag, meant: meant.withLock { $0 }) }

  /// - Throws: ``RelayError/another(_:identity:)`` where it is not the one that is meant.
  private func check(_ identity: UInt64) throws(RelayError) {
    if let meant = meant.withLock({ $0 }), meant != identity { throw .another("memory", identity: identity) }
  }

  package func survey() throws(RelayError) -> RelaySurvey {
    try check(relay.identity)
    return try surveyStranger()
  }

  package func surveyStranger() throws(RelayError) -> RelaySurvey {
    relay.contents.withLock {
      RelaySurvey(
        identity: $0.identity, streams: $0.logs.keys.sorted(),
        ownEnds: $0.logs.filter { $0.key.tag == ownTag && !$0.key.isCarried }.mapValues(\.end), presences: $0.presences.keys.sorted())
    }
  }

  private func see(_ end: RelayPosition?, of stream: RelayStream) {
    if stream.tag == ownTag { ends.withLock { $0[stream] = end } }
  }

  package func read(_ stream: RelayStream, from position: RelayPosition) throws(RelayError) -> RelayChunk {
    relay.contents.withLock { contents in
      guard let log = contents.logs[stream] else {
        see(nil, of: stream)
        return RelayChunk(frames: [], positions: [.start], isAtEnd: true, isDamaged: false)
      }
      let isSame = position.generation == log.generation && position.offset <= log.frames.count
      let start = isSame ? Int(position.offset) : 0
      let frames = Array(log.frames[start...].prefix(Limits.batchesPerApply))
      if start + frames.count == log.frames.count { see(log.end, of: stream) }
      return RelayChunk(
        frames: frames,
        positions: (0...frames.count).map {
          RelayPosition(generation: log.generation, offset: UInt64(start + $0))
        },
        isAtEnd: start + frames.count == log.frames.count, isDamaged: false)
    }
  }

  package func frames(in stream: RelayStream) throws(RelayError) -> [[UInt8]] {
    try check(relay.identity)
    return relay.contents.withLock { $0.logs[stream]?.frames ?? [] }
  }

  package func salvage(_ stream: RelayStream) throws(RelayError) -> [[UInt8]] {
    relay.contents.withLock { $0.logs[stream]?.frames ?? [] }
  }

  @discardableResult
  package func append(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) -> RelayPosition {
    try check(relay.identity)
    return try relay.contents.withLock { (contents) throws(RelayError) in
      guard contents.logs[stream]?.end == ends.withLock({ $0[stream] }) else { throw .changed }
      var log = contents.log(stream, of: ownTag)
      log.frames += frames
      contents.logs[stream] = log
      contents.notify(.stream(stream), except: ownTag)
      see(log.end, of: stream)
      return log.end
    }
  }

  package func appendNext(
    _ frame: [UInt8], after previous: [UInt8]?, to stream: RelayStream
  ) throws(RelayError) -> Bool {
    try check(relay.identity)
    return relay.contents.withLock { contents in
      guard contents.logs[stream]?.frames.last == previous else { return false }
      var log = contents.log(stream, of: ownTag)
      log.frames.append(frame)
      contents.logs[stream] = log
      contents.notify(.stream(stream), except: ownTag)
      return true
    }
  }

  package func appendAnyway(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) {
    try check(relay.identity)
    relay.contents.withLock { contents in
      var log = contents.log(stream, of: ownTag)
      log.frames += frames
      contents.logs[stream] = log
      contents.notify(.stream(stream), except: ownTag)
    }
  }

  @discardableResult
  package func replace(_ stream: RelayStream, with frames: [[UInt8]]) throws(RelayError) -> RelayPosition {
    try check(relay.identity)
    return relay.contents.withLock { contents in
      guard !frames.isEmpty else {
        contents.logs[stream] = nil
        contents.notify(.listing, except: ownTag)
        see(nil, of: stream)
        return .start
      }
      contents.generations += 1
      let log = MemoryRelay.Log(generation: contents.generations, frames: frames)
      contents.logs[stream] = log
      contents.notify(.listing, except: ownTag)
      see(log.end, of: stream)
      return log.end
    }
  }

  package func putPresence(_ sealed: [UInt8], of tag: BlindTag) throws(RelayError) {
    try check(relay.identity)
    relay.contents.withLock { contents in
      let isNew = contents.presences.updateValue(sealed, forKey: tag) == nil
      contents.notify(isNew ? .listing : .presence(tag), except: ownTag)
    }
  }

  package func presence(of tag: BlindTag) throws(RelayError) -> [UInt8]? {
    relay.contents.withLock { $0.presences[tag] }
  }

  package func putMail(_ sealed: [UInt8], mailbox: String, slot: UInt8) throws(RelayError) {
    try check(relay.identity)
    try relay.contents.withLock { (contents) throws(RelayError) in
      let there = contents.mail["\(mailbox)/\(slot)"]
      guard there == nil || there == sealed else { throw .taken }
      contents.mail["\(mailbox)/\(slot)"] = sealed
    }
  }

  package func mail(in mailbox: String, slot: UInt8) throws(RelayError) -> [UInt8]? {
    relay.contents.withLock { $0.mail["\(mailbox)/\(slot)"] }
  }

  package func removeMailbox(_ mailbox: String) throws(RelayError) {
    relay.contents.withLock { contents in
      for key in contents.mail.keys where key.hasPrefix(mailbox) { contents.mail[key] = nil }
    }
  }

  package func putNotice(_ sealed: [UInt8], board: String, number: UInt64) throws(RelayError) -> Bool {
    try check(relay.identity)
    return relay.contents.withLock { contents in
      guard contents.boards[board]?[number] == nil else { return false }
      contents.boards[board, default: [:]][number] = sealed
      return true
    }
  }

  package func notices(on board: String, after number: UInt64) throws(RelayError) -> [RelayNotice] {
    relay.contents.withLock { contents in
      (contents.boards[board] ?? [:]).filter { $0.key > number }.sorted { $0.key < $1.key }
        .map { RelayNotice(number: $0.key, sealed: $0.value) }
    }
  }

  package func watch() -> (any RelayWatch)? {
    let watch = MemoryWatch(tag: ownTag)
    relay.contents.withLock { $0.watches.append(watch) }
    return watch
  }
}

/// Collects changes for one device.
final class MemoryWatch: RelayWatch {
  let tag: BlindTag?
  let descriptor: Int32
  private let queue = Mutex<[RelayChange]>([])

  init(tag: BlindTag?) {
    self.tag = tag
    descriptor = fm_wake_open()
  }
  deinit { close(descriptor) }

  func push(_ change: RelayChange) {
    queue.withLock { if !$0.contains(change) { $0.append(change) } }
    fm_wake_signal(descriptor)
  }

  func changes() -> [RelayChange] {
    fm_wake_clear(descriptor)
    return queue.withLock { queue in
      defer { queue = [] }
      return queue
    }
  }
}

extension MemoryRelay {
  /// Every frame of every file, for checks.
  package var frames: [[UInt8]] { contents.withLock { contents in contents.logs.sorted { $0.key < $1.key }.flatMap(\.value.frames) } }

  /// How many frames of a file lie there more than once; files without any are left out. For checks.
  package var repeated: [RelayStream: Int] {
    contents.withLock { $0.logs.mapValues { $0.frames.count - Set($0.frames).count }.filter { $0.value > 0 } }
  }
}
