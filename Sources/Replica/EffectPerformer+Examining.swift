import Causality
import Sealing

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
    var (position, seen, isDamaged) = (RelayPosition.start, SeenStreams(), false)
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
      isDamaged = isDamaged || chunk.isDamaged
      if chunk.isAtEnd || chunk.frames.isEmpty { break }
    }
    if isDamaged { findings.damaged += 1 }
    return seen
  }

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
