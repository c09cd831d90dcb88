import Causality
import Replica
import Sealing

/// Rules that are broken on purpose, each as a program without it would behave.
extension World {
  /// Performs an effect; where a rule is broken, in the way that breaks it.
  mutating func answer(to effect: ReplicaEffect, _ moment: Moment, _ index: Int) throws -> ReplicaEvent? {
    switch (sabotage, effect) {
    case (.neverCarries, .carry(let file, let lack)):
      return .carried(file, lack, through: lack.after, isAll: true, frames: [])
    case (.ignoresClosings, .verify(.closing(let device), _)): return .verified(.closing(device), unknown: [:])
    case (.numbersAlone, .apply(let stream, let chunk, let startedAnew, let limit)):
      let answer = try perform(.apply(stream, withoutKnownNumbers(chunk, stream, index), startedAnew: startedAnew, limit: limit), moment, index)
      guard case .applied(let file, let isAtEnd, var outcome)? = answer else { return answer }
      // What was left out lies before the last frame: where that begins is not known, and the file would be begun again for ever.
      outcome.tail = nil
      return .applied(file, isAtEnd: isAtEnd, outcome)
    case (.knowsNoStrangers, .apply(let stream, let chunk, _, _)) where devices[index].performer.tags[stream.tag] == nil:
      var outcome = ApplyOutcome(next: chunk.positions[0])
      outcome.end = .waiting
      return .applied(stream, isAtEnd: chunk.isAtEnd, outcome)
    case (.neverTakesBack, _), (.waitsAtGaps, _), (.forgetsNewcomers, _):
      let before = devices[index].store.contents
      let answer = try perform(effect, moment, index)
      return answer.map { undone($0, before, index) }
    default:
      devices[index].connection.takesAnything = sabotage == .writesAnywhere
      return try perform(effect, moment, index)
    }
  }

  private mutating func perform(_ effect: ReplicaEffect, _ moment: Moment, _ index: Int) throws -> ReplicaEvent? {
    try devices[index].performer.perform(effect, now: moment, using: &random)
  }

  private func withoutKnownNumbers(_ chunk: RelayChunk, _ stream: RelayStream, _ index: Int) -> RelayChunk {
    let contents = devices[index].store.contents
    var kept = chunk
    (kept.frames, kept.positions) = ([], [chunk.positions[0]])
    for (frame, end) in zip(chunk.frames, chunk.positions.dropFirst()) {
      guard let header = BlindHeader(frame), let device = devices[index].performer.tags[header.tag] else { continue }
      let key = StreamKey(device: device, incarnation: header.incarnation, channel: header.channel)
      if contents.histories(of: key).contains(where: { header.first <= $0.batched }) { continue }
      kept.frames.append(frame)
      kept.positions.append(end)
    }
    kept.positions[kept.positions.count - 1] = chunk.positions[chunk.positions.count - 1]
    return kept
  }

  /// The store is as it was before what the broken rule would have done.
  private mutating func undone(_ answer: ReplicaEvent, _ before: MemoryStore.Contents, _ index: Int) -> ReplicaEvent {
    func isBroken(_ outcome: ApplyOutcome) -> Bool {
      switch sabotage {
      case .neverTakesBack: outcome.takenBack > 0
      case .waitsAtGaps: outcome.gaps > 0 && outcome.filed == 0 && !outcome.changes.isEmpty
      case .forgetsNewcomers: outcome.admitted && probes.all[.enrolledTwice] != nil
      default: false
      }
    }
    switch answer {
    case .reconciled(let channel, let sent, let healed, let counted, let outcome?) where isBroken(outcome):
      devices[index].store.putBack(before, isNoticed: devices[index].store.mustBegin)
      return .reconciled(channel, sent, healed: healed, sent: counted, taken: nil)
    case .applied(let stream, let isAtEnd, let outcome) where isBroken(outcome):
      devices[index].store.putBack(before, isNoticed: devices[index].store.mustBegin)
      var nothing = ApplyOutcome(next: outcome.next)
      nothing.startedAnew = outcome.startedAnew
      nothing.gaps = outcome.gaps
      return .applied(stream, isAtEnd: isAtEnd, nothing)
    default: return answer
    }
  }
}
