import Causality

/// What is shown of a field that two devices wrote without knowing of each other.
///
/// A policy is a pure function of the *set* of live writes, so it is commutative, associative and
/// idempotent; `MergeLawsTests` proves it for each case. It reads no clock, no setting, no device
/// name. No policy takes anything away: the other writes stay until a later write replaces them.
package enum MergePolicy: String, Sendable, CaseIterable {
  /// The later write. For bookkeeping, where a loser is of no interest.
  case latest
  /// The later write, provisionally; the person is asked.
  case multiValue
  /// Every entry; adding wins over a removal that had not seen it.
  case set
  /// Every entry, in the order of writing; nothing but an explicit removal takes one out.
  case unionList
  /// The sum of everything that was added.
  case counter
  /// What was there first, provisionally; the person is asked. For what an exchange must never overwrite.
  case kept
  /// The largest number. For progress, which never goes back.
  case maximum
  /// The number that stands for more risk, provisionally; the person is asked.
  case highestRisk
  /// The most severe level. Nobody is asked: help is not withheld over a disagreement.
  case mostSevere
}

/// One field as a person sees it.
package struct FieldView: Hashable, Sendable {
  /// The write that counts, for single-valued fields.
  package var chosen: Dot?
  /// The entries of a list, oldest first, each once.
  package var entries: [Dot]
  /// The writes that ``chosen`` was preferred to, latest first. Not lost: one key away.
  package var others: [Dot]
  /// Whether the person has to decide; ``chosen`` is provisional until then.
  package var isOpen: Bool
  /// For a counter: what it counts to.
  package var sum: Int64 = 0
}

extension MergePolicy {
  package var isList: Bool { self == .set || self == .unionList }
  /// Whether writes stand beside each other instead of taking each other's place.
  package var isAdditive: Bool { isList || self == .counter }

  /// Whether different concurrent values are put before the person.
  package var asksThePerson: Bool { [.multiValue, .highestRisk, .kept].contains(self) }

  /// Looks at the live writes of a field.
  ///
  /// - Complexity: O(n log n) in the number of live writes, which is one per device at most for
  ///   single-valued fields.
  package func view(_ dots: [Dot]) -> FieldView {
    if isList { return listView(dots) }
    if self == .counter {
      let sum = dots.reduce(Int64(0)) { $0.addingReportingOverflow(Int64($1.value?.number ?? 0)).partialValue }
      return FieldView(chosen: nil, entries: [], others: [], isOpen: false, sum: sum)
    }
    let ranked = dots.sorted { isLess($1, than: $0) }
    let chosen = ranked.first
    let others = Array(ranked.dropFirst())
    let differ = others.contains { $0.value != chosen?.value }
    return FieldView(chosen: chosen, entries: [], others: others, isOpen: asksThePerson && differ)
  }

  private func listView(_ dots: [Dot]) -> FieldView {
    var seen = Set<Value>()
    let entries = dots.sorted { $0.isEarlier(than: $1) }
      .filter { dot in dot.value.map { seen.insert($0).inserted } ?? false }
    return FieldView(chosen: nil, entries: entries, others: [], isOpen: false)
  }

  /// A total order: equal only for the same write.
  private func isLess(_ one: Dot, than other: Dot) -> Bool {
    switch self {
    case .maximum, .highestRisk, .mostSevere:
      let (left, right) = (one.value?.number ?? -.infinity, other.value?.number ?? -.infinity)
      if left != right { return left < right }
    case .kept: return other.isEarlier(than: one)
    case .latest, .multiValue, .set, .unionList, .counter: break
    }
    return one.isEarlier(than: other)
  }
}

extension Value {
  /// The number to compare by; `nil` for text, and for what is no number.
  package var number: Double? {
    switch self {
    case .integer(let integer): Double(integer)
    case .decimal(let decimal): decimal.isNaN ? nil : decimal
    case .flag(let flag): flag ? 1 : 0
    case .text: nil
    }
  }
}
