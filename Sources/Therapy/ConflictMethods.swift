import Causality
import ConflictResolution

/// What becomes of a conflict.
package enum Settlement: Sendable, Hashable {
  /// A version is written anew, in place of all.
  case keep(Dot)
  /// A value that is none of the versions.
  case write(Value)
}

extension ConflictMethod {
  /// The methods that a person can name instead of a version.
  package static let named: [Self] = [
    .localWins, .remoteWins, .latestWins, .crisisPriority, .therapeuticPriority, .fieldMerge, .unionMerge,
  ]

  /// Milliseconds in which it is to be settled once it is known; `nil` where people take their time.
  package var budget: Double? {
    switch self {
    case .crisisPriority: 100
    case .latestWins, .localWins, .remoteWins: 200
    case .therapeuticPriority, .assistant: 500
    case .fieldMerge, .unionMerge: 1_000
    case .personsChoice, .therapistReview, .familyConsensus: nil
    }
  }
}

/// Which end of a scale stands for more distress.
package enum Burden: Sendable { case high, low }

extension RecordCatalogue {
  /// `nil` for what is no scale.
  package static func burden(of field: String, kind: String) -> Burden? {
    if [.highestRisk, .mostSevere].contains(policy(of: field, kind: kind)) { return .high }
    return kind == checkIn.kind && ["mood", "sleep", "energy"].contains(field) ? .low : nil
  }
}

extension Conflict {
  /// All versions, the one that is shown first.
  package var versions: [Dot] { [chosen].compactMap { $0 } + others }

  /// What a method makes of the versions.
  ///
  /// - Parameter own: The device that *local* stands for.
  /// - Returns: `nil` where the method does not apply: it needs people, numbers, texts, or a version of
  ///   that device. The merge of two edits of one text needs what both began with; see ``TextMerge``.
  package func settlement(by method: ConflictMethod, own: DeviceID) -> Settlement? {
    switch method {
    case .latestWins: return latest(of: versions)
    case .localWins: return latest(of: versions.filter { $0.id.stream.device == own })
    case .remoteWins: return latest(of: versions.filter { $0.id.stream.device != own })
    case .crisisPriority, .therapeuticPriority: return mostBurdened
    case .unionMerge: return texts.map { .write(.text($0)) }
    case .fieldMerge:
      guard RecordCatalogue.policy(of: field, kind: rule.kind) == .maximum else { return nil }
      return versions.max { ($0.value?.number ?? 0) < ($1.value?.number ?? 0) }.map { .keep($0) }
    case .personsChoice, .assistant, .therapistReview, .familyConsensus: return nil
    }
  }

  private func latest(of versions: [Dot]) -> Settlement? { versions.max { $0.isEarlier(than: $1) }.map { .keep($0) } }

  /// The version that stands for more distress; the later of equal ones.
  private var mostBurdened: Settlement? {
    guard let burden = RecordCatalogue.burden(of: field, kind: rule.kind), versions.allSatisfy({ $0.value?.number != nil }) else { return nil }
    let sign: Double = burden == .high ? 1 : -1
    let worst = versions.max { one, other in
      let (left, right) = (sign * (one.value?.number ?? 0), sign * (other.value?.number ?? 0))
      return left != right ? left < right : one.isEarlier(than: other)
    }
    return worst.map { .keep($0) }
  }

  /// Every text once, the oldest first; `nil` where something is no text.
  private var texts: String? {
    guard RecordCatalogue[rule.kind]?[field]?.content == .text else { return nil }
    var seen = Set<String>()
    let texts = versions.sorted { $0.isEarlier(than: $1) }.compactMap { dot in
      if case .text(let text)? = dot.value { text } else { nil }
    }
    guard texts.count == versions.count else { return nil }
    return texts.filter { seen.insert($0).inserted }.joined(separator: "\n")
  }
}
