import Causality
import Sealing

/// Getting to know devices by what they say of themselves.
///
/// A newcomer begins its own membership stream with the entries by which it belongs, each of which proves itself to who
/// knows the root. So it is known wherever its folder is read: also where who let it in never said so there, or has
/// forgotten it.
extension EffectPerformer {
  /// Takes a device in that introduces itself in its own membership file.
  ///
  /// - Returns: Whether its words can be read from now on.
  mutating func introduce(_ frames: [[UInt8]], from file: RelayStream) throws -> Bool {
    guard file.channel.lane == nil, !file.isCarried else { return false }
    let entries = introductions(in: frames, of: file.tag)
    guard !entries.isEmpty, Self.tags(of: Self.members(members, with: entries), ring.device, sealer)[file.tag] != nil else { return false }
    let (known, count) = try store.write(within: Self.patience) { transaction -> (Members, Int) in
      let before = Members(rootKey: ring.account.rootKey, trusted: try transaction.membership())
      let after = Self.members(before, with: entries)
      for entry in after.log.dropFirst(before.log.count) { try transaction.appendMembership(entry) }
      return (after, try transaction.membershipCount())
    }
    (members, entryCount) = (known, count)
    return tags[file.tag] != nil
  }

  /// Takes in what the relay says of who belongs to the account, also of those who are not known yet. Nothing is written
  /// where nothing is new.
  package mutating func meet(_ survey: RelaySurvey, limit: UInt64) {
    for _ in 0..<Limits.introductionRounds {
      let before = members.log.count
      for (file, frames) in introductions(in: survey, besides: ownTag) {
        guard Self.members(members, with: entries(in: frames, of: file.tag)).log.count > members.log.count else { continue }
        if tags[file.tag] == nil { guard (try? introduce(frames, from: file)) ?? false else { continue } }
        var outcome = ApplyOutcome(next: .start)
        try? take(frames, from: file, limit: limit, &outcome)
      }
      if members.log.count == before { return }
    }
  }

  /// The membership files on a relay that say something, each with its beginning.
  ///
  /// Anybody can make folders there, with names before all others. Those who are known take nobody's place; of the others
  /// ``Limits/strangersRead`` are looked at, and only what was sealed with the keys of the account is gone through.
  private func introductions(in survey: RelaySurvey, besides own: BlindTag? = nil) -> [(file: RelayStream, frames: [[UInt8]])] {
    let files = survey.streams.filter { $0.channel == .membership && !$0.isCarried && $0.tag != own }
    var found = files.filter { tags[$0.tag] != nil }.map { (file: $0, frames: beginning(of: $0)) }
    for file in files.filter({ tags[$0.tag] == nil }).prefix(Limits.strangersRead) {
      let frames = beginning(of: file)
      if !introductions(in: frames, of: file.tag).isEmpty { found.append((file: file, frames: frames)) }
    }
    return found
  }

  /// What a look reads of a file: introductions stand at its beginning.
  func beginning(of file: RelayStream) -> [[UInt8]] { (try? relay.read(file, from: .start))?.frames ?? [] }

  /// What a membership file says, of one who is known or not.
  private func entries(in frames: [[UInt8]], of tag: BlindTag) -> [[UInt8]] {
    guard let device = tags[tag], let keys = members.keys(of: device) else { return introductions(in: frames, of: tag) }
    return frames.prefix(Limits.introducedBy).flatMap { frame -> [[UInt8]] in
      guard let opened = try? sealer.open(frame, keys: keys), case .membership(let content) = opened.content else { return [] }
      return (try? MembershipCodec.decode(content)) ?? []
    }
  }

  private static func members(_ members: Members, with entries: [[UInt8]]) -> Members {
    var members = members
    for entry in entries { _ = members.accept(entry) }
    return members
  }

  /// Entries that say who belongs to the account, in frames of one who is not known.
  private func introductions(in frames: [[UInt8]], of tag: BlindTag) -> [[UInt8]] {
    frames.prefix(Limits.introducedBy).flatMap { frame -> [[UInt8]] in
      guard let header = try? BatchHeader(frame: frame), header.device == tag.bytes, let content = sealer.membership(inUnproven: frame),
        let entries = try? MembershipCodec.decode(content)
      else { return [] }
      return entries.filter { (try? MembershipEntry(bytes: $0))?.introduces ?? false }
    }
  }

  /// Whether frames are of this account, in the folder of a device that nobody here knows: who reads them does not know what
  /// they say.
  ///
  /// What can be opened is; of what was written in an emergency that cannot be told, and it counts.
  func isUnexplained(_ frames: [[UInt8]], in file: RelayStream) -> Bool {
    guard tags[file.tag] == nil else { return false }
    let isOurs = frames.contains { frame in
      guard let header = try? BatchHeader(frame: frame), header.account == sealer.tags.account, header.channel == file.channel.rawValue,
        file.isCarried || header.device == file.tag.bytes
      else { return false }
      return header.epoch == BatchHeader.emergencyEpoch || sealer.isOfThisAccount(frame)
    }
    // The folders of those who were taken back are explained.
    return isOurs && !members.certificates.keys.contains { BlindTag(of: $0, sealer) == file.tag }
  }

  // MARK: Looking

  /// The same, with everybody who is introduced on the relay, and with every key that is named there; nothing is written.
  ///
  /// It is for looking only: what the store has is as it was.
  package func acquainted(with survey: RelaySurvey) -> EffectPerformer {
    var known = self
    let files = introductions(in: survey)
    // One may be introduced by another.
    for _ in 0..<Limits.introductionRounds {
      let before = known.members.log.count
      for (file, frames) in files { known.members = Self.members(known.members, with: known.entries(in: frames, of: file.tag)) }
      if known.members.log.count == before { break }
    }
    return known
  }

  /// Whether devices that nobody here knows have written about a crisis. Where more folders lie there than are looked at,
  /// nobody can say that there are none.
  package func hasStrangers(in survey: RelaySurvey) -> Bool {
    let explained = Set(members.certificates.keys.map { BlindTag(of: $0, sealer) })
    let files = survey.streams.filter {
      $0.channel == Channel(.crisis) && !$0.isCarried && tags[$0.tag] == nil && !explained.contains($0.tag)
    }
    return files.count > Limits.strangersRead || files.contains { isUnexplained(beginning(of: $0), in: $0) }
  }
}
