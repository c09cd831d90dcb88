import Causality
import Sealing

/// What a look at the crisis lane finds on a relay, and whether that is all of it: that no crisis is active is said only
/// then.
package struct CrisisLook: Sendable {
  /// A place in a stream that somebody has signed for, and that is not here.
  package struct Place: Hashable, Sendable {
    package var stream: StreamKey
    package var cursor: StreamCursor
    /// Changes that are missing here; 0 for another history of what is known.
    package var count: UInt64
    package var saidBy: DeviceID

    package var isCrisis: Bool { stream.channel.lane == .crisis }
  }
  /// Writes about the crisis.
  package var operations: [Operation] = []
  /// What lies in the file of this device; `nil` where it cannot be read.
  package var own: [[UInt8]]?
  /// Whether everything is by members, under keys that are known here.
  package var isUnderstood = true
  /// Whose crisis file could not be read to its end, frame by frame.
  package var unread = Set<DeviceID>()
  /// Something that this store has of others has gone from the relay: what else has gone nobody knows.
  package var hasLost = false
  /// In every lane. What lies on the relay and was read in this look is not missing.
  package var missing = Set<Place>()

  package init() {}

  package var isAll: Bool { isUnderstood && unread.isEmpty && !hasLost && !missing.contains(where: \.isCrisis) }
}

/// What a look at the relay finds that changes nothing, neither here nor there.
package struct RelayFindings: Sendable, Equatable {
  package var identity: UInt64
  package var files = 0
  /// Files of members that cannot be read, and folders of nobody in the account.
  package var unreadable = 0
  package var strangers = 0
  /// Those of them in which something of this account lies.
  package var unexplained = 0
  /// Files in which something lies that is no frame of their author.
  package var damaged = 0
  /// Files that end in the middle of something: what comes there is not read yet.
  package var torn = 0
  /// Frames of members that this store does not have.
  package var unread = 0
  /// Changes of this device that are not on the relay, without a gap.
  package var unsent: UInt64 = 0
  /// Histories of others of which the relay lacks something that this store has.
  package var lacking = 0
  /// Places in streams that others have signed for, and that are in no history here.
  package var missing = 0

  package init(identity: UInt64) { self.identity = identity }
}

extension EffectPerformer {
  /// Compares everything on the relay with the log.
  ///
  /// - Throws: ``RelayError`` where the relay as a whole cannot be used; what the store throws.
  package mutating func examineRelay() throws -> RelayFindings {
    let survey = try relay.survey()
    var findings = RelayFindings(identity: survey.identity)
    var seen: [RelayStream: SeenStreams] = [:]
    findings.strangers = Set(survey.streams.map(\.tag)).filter { tags[$0] == nil }.count
    findings.unexplained = Set(survey.streams.filter { tags[$0.tag] == nil && isUnexplained(beginning(of: $0), in: $0) }.map(\.tag)).count
    for file in survey.streams where tags[file.tag] != nil {
      findings.files += 1
      do { seen[file] = try examine(file, &findings) } catch is RelayError { findings.unreadable += 1 }
    }
    for channel in Channel.all {
      let carried = seen.filter { $0.key.isCarried && $0.key.channel == channel }.values
      for (tag, device) in tags {
        var there = seen[RelayStream(tag: tag, channel: channel)] ?? SeenStreams()
        for other in carried { there.formUnion(other) }
        try compare(there, device, channel, &findings)
      }
    }
    for tag in survey.presences where tag != ownTag {
      guard let presence = try? presence(of: tag) else { continue }
      findings.missing += try unknown(among: presence.cursors.compactMapValues { cursors in cursors.filter { $0.sequence > 0 } })
        .values.reduce(0) { $0 + $1.count }
    }
    return findings
  }

  private func examine(_ file: RelayStream, _ findings: inout RelayFindings) throws -> SeenStreams {
    var (position, seen, isDamaged, isTorn) = (RelayPosition.start, SeenStreams(), false, false)
    while true {
      let chunk = try relay.read(file, from: position)
      try store.read { transaction in
        for frame in chunk.frames {
          guard let header = try? BatchHeader(frame: frame), header.first > 0, let tag = BlindTag(bytes: header.device),
            header.channel == file.channel.rawValue, file.isCarried || tag == file.tag, let author = tags[tag]
          else {
            isDamaged = true
            continue
          }
          let key = StreamKey(device: author, incarnation: header.incarnation, channel: file.channel)
          let hash = BatchSealer.hash(of: frame)
          if let known = try transaction.logged(of: key, from: header.first, through: header.first).first(where: { $0.hash == hash }) {
            seen.note(SeenStreams.Frame(stream: key, after: SeenStreams.Frame.after(header), end: StreamCursor(sequence: known.last, hash: hash)))
          } else if let keys = members.keys(of: author), (try? sealer.open(frame, keys: keys)) != nil {
            findings.unread += 1
          } else {
            isDamaged = true
          }
        }
      }
      position = chunk.positions[chunk.frames.count]
      (isDamaged, isTorn) = (isDamaged || chunk.isDamaged, isTorn || chunk.isTorn)
      if chunk.isAtEnd || chunk.frames.isEmpty { break }
    }
    // What a full disk has left of this device's own file is nobody's word: it is compared with the log, and written anew.
    if isDamaged { findings.damaged += 1 } else if isTorn, file.tag != ownTag || file.isCarried { findings.torn += 1 }
    return seen
  }

  // MARK: The crisis lane

  /// Reads the crisis lane to its end, as far as it can be, and compares it with what others have signed for. Waits for
  /// nobody's lock, and writes nothing.
  ///
  /// - Throws: What the store throws.
  package mutating func lookAtCrisis(in survey: RelaySurvey) throws -> CrisisLook {
    var (look, seen) = (CrisisLook(), SeenStreams())
    look.isUnderstood = !hasStrangers(in: survey)
    for (tag, device) in tags {
      for isCarried in [false, true] {
        let file = RelayStream(tag: tag, channel: Channel(.crisis), isCarried: isCarried)
        guard let contents = try? relay.contents(of: file) else {
          look.unread.insert(device)
          continue
        }
        if !contents.isWhole, tag != ownTag || isCarried { look.unread.insert(device) }
        if tag == ownTag, !isCarried { look.own = contents.frames }
        look.operations += glance(contents.frames, from: file)
        try note(contents.frames, in: file, of: device, &look, &seen)
      }
    }
    try store.read { transaction in
      for device in tags.values where device != ring.device {
        for (stream, heads) in try transaction.allHeads(of: device, channel: Channel(.crisis)) {
          if heads.contains(where: { $0.batched > 0 && !seen.has(stream, $0.cursor) }) { look.hasLost = true }
        }
      }
    }
    for tag in survey.presences where tag != ownTag {
      guard let presence = try? presence(of: tag) else { continue }
      look.missing.formUnion(try missing(among: presence.cursors, saidBy: presence.device, seen))
    }
    for (stream, ends) in try store.read({ try $0.openClosings() }) {
      look.missing.formUnion(try missing(among: [stream: ends], saidBy: stream.device, seen))
    }
    return look
  }

  private func missing(among cursors: [StreamKey: [StreamCursor]], saidBy: DeviceID, _ seen: SeenStreams) throws -> [CrisisLook.Place] {
    let open = cursors.compactMapValues { cursors in cursors.filter { $0.sequence > 0 } }
    return try unknown(among: open).flatMap { stream, cursors -> [CrisisLook.Place] in
      let last = try store.read { try $0.heads(of: stream).map(\.batched).max() ?? 0 }
      return cursors.filter { !seen.has(stream, $0) }.map { cursor in
        CrisisLook.Place(stream: stream, cursor: cursor, count: cursor.sequence > last ? cursor.sequence - last : 0, saidBy: saidBy)
      }
    }
  }

  /// Notes what lies in a crisis file: what is in the log is known, and everything else has to open and to be understood.
  private func note(
    _ frames: [[UInt8]], in file: RelayStream, of device: DeviceID, _ look: inout CrisisLook, _ seen: inout SeenStreams
  ) throws {
    guard !frames.isEmpty else { return }
    let explained = Set(members.certificates.keys.map { BlindTag(of: $0, sealer) })
    try store.read { transaction in
      for frame in frames {
        guard let header = try? BatchHeader(frame: frame), header.first > 0, header.channel == file.channel.rawValue,
          let tag = BlindTag(bytes: header.device), file.isCarried || tag == file.tag
        else {
          look.unread.insert(device)
          continue
        }
        guard let author = tags[tag], let keys = members.keys(of: author) else {
          // Of those who were taken back nothing counts; of those who are not known yet nobody can say.
          if !explained.contains(tag) { look.isUnderstood = false }
          continue
        }
        let key = StreamKey(device: author, incarnation: header.incarnation, channel: file.channel)
        let hash = BatchSealer.hash(of: frame)
        var count = try transaction.logged(of: key, from: header.first, through: header.first).first { $0.hash == hash }?.count
        if count == nil {
          switch reading(frame, header, key, keys) {
          case .success(let found): count = found
          case .failure(.unknownEpoch): look.isUnderstood = false
          case .failure: look.unread.insert(device)
          }
        }
        guard let count, count > 0 else { continue }
        seen.note(SeenStreams.Frame(stream: key, after: SeenStreams.Frame.after(header), end: StreamCursor(sequence: header.first &+ count &- 1, hash: hash)))
      }
    }
  }

  /// Opens a frame of operations.
  ///
  /// - Returns: How many it holds; ``SealingError/malformed`` also where a newer version has made them.
  private func reading(_ frame: [UInt8], _ header: BatchHeader, _ key: StreamKey, _ keys: MemberKeys) -> Result<UInt64, SealingError> {
    let opened: OpenedBatch
    do throws(SealingError) { opened = try sealer.open(frame, keys: keys) } catch { return .failure(error) }
    guard case .operations(let content) = opened.content, let stream = key.id,
      (try? OperationCodec.decode(content, .run(stream: stream, first: header.first))) != nil
    else { return .failure(.malformed) }
    return .success(opened.count)
  }

  // MARK: Comparing

  private func compare(_ there: SeenStreams, _ device: DeviceID, _ channel: Channel, _ findings: inout RelayFindings) throws {
    // Who belongs to an account of one device is nobody's news.
    guard channel.lane != nil || tags.count > 1 else { return }
    try store.read { transaction in
      for (stream, heads) in try transaction.allHeads(of: device, channel: channel) {
        for head in heads where head.batched > 0 && !there.has(stream, head.cursor) {
          let shared = try there.ends(of: stream).filter { try $0.sequence <= head.batched && transaction.knows($0, in: stream) }
          if device == ring.device { findings.unsent += head.batched - (shared.map(\.sequence).max() ?? 0) } else { findings.lacking += 1 }
        }
        if device == ring.device { findings.unsent += heads.reduce(0) { $0 + ($1.applied - min($1.applied, $1.batched)) } }
      }
    }
  }
}
