import Causality
import ConflictResolution
import Foundation

/// Two versions of one field, side by side: everything that the assistant looks at.
package struct VersionComparison: Sendable, Hashable {
  package var kind: String
  package var field: String
  package var earlier: Dot
  package var later: Dot
  /// Minutes between the two.
  package var minutes: Double
  /// Minutes between the first write to the record and the earlier version, and the later one.
  package var minutesIn: (earlier: Double, later: Double) { (earlierIn, laterIn) }
  private var earlierIn: Double
  private var laterIn: Double
  fileprivate var words: (earlier: [Substring], later: [Substring]) { (Self.words(earlier), Self.words(later)) }
  /// Words in the same order in both.
  fileprivate var common: Int
  fileprivate var counts: (earlier: Int, later: Int) { (earlierWords, laterWords) }
  private var earlierWords: Int
  private var laterWords: Int

  /// What people decide alike: their choices are counted by it.
  package enum Situation: String, Sendable, Hashable, CaseIterable {
    case scaleCorrected = "scale, corrected at once"
    case scaleAtItsEnd = "scale, one at its end"
    case scaleLookedBack = "scale, looked back at"
    case textLonger = "text, longer"
    case textShorter = "text, shorter"
    case textCorrected = "text, corrected at once"
    case textRewritten = "text, rewritten"
  }

  package var situation: Situation {
    let isSitting = AssistantFeature.sitting.value(self) > 0
    if isScale {
      if AssistantFeature.extreme.value(self) != 0 { return .scaleAtItsEnd }
      return isSitting ? .scaleCorrected : .scaleLookedBack
    }
    let containment = AssistantFeature.containment.value(self)
    if containment != 0 { return containment > 0 ? .textLonger : .textShorter }
    return isSitting ? .textCorrected : .textRewritten
  }

  package var isScale: Bool { earlier.value?.number != nil }

  /// A month: nobody knows what people meant who wrote further apart.
  private static let longest: UInt64 = 30 * 24 * 60 * 60 * 1_000

  /// - Throws: ``Abstention`` for what the assistant must not or cannot judge.
  package init(_ conflict: Conflict, in record: RecordState) throws(Abstention) {
    guard conflict.field != Operation.recordField else { throw .isRemoval }
    guard ConflictRule.isForAssistant(kind: record.kind, field: conflict.field),
      let schema = RecordCatalogue[record.kind]?[conflict.field]
    else { throw .isNotItsBusiness }
    let versions = conflict.versions.sorted { $0.isEarlier(than: $1) }
    guard versions.count == 2 else { throw .hasManyVersions }
    (kind, field, earlier, later) = (record.kind, conflict.field, versions[0], versions[1])
    for version in versions {
      guard let value = version.value, schema.holds(value) else { throw .isStrange }
      if case .text(let text) = value, text.allSatisfy(\.isWhitespace) { throw .isEmpty }
    }
    guard earlier.value != later.value else { throw .isStrange }
    guard earlier.id.stream.device != later.id.stream.device else { throw .isFromOneDevice }
    let (one, other) = (earlier.timestamp.milliseconds, later.timestamp.milliseconds)
    guard other > one, other - one <= Self.longest else { throw .isOutOfTime }
    minutes = Double(other - one) / 60_000
    // The first write that is left of the record; its other fields were mostly written in the same sitting.
    let began = record.dataFields.flatMap(\.dots).map(\.timestamp.milliseconds).min() ?? one
    earlierIn = Double(one - min(one, began)) / 60_000
    laterIn = Double(other - min(other, began)) / 60_000
    (common, earlierWords, laterWords) = (0, 0, 0)
    guard !isScale else { return }
    let (old, new) = words
    let removed = new.difference(from: old).removals.count
    (common, earlierWords, laterWords) = (old.count - removed, old.count, new.count)
    if common == 0 { throw .hasNothingInCommon }
  }

  private static func words(_ dot: Dot) -> [Substring] {
    guard case .text(let text)? = dot.value else { return [] }
    return text.split(whereSeparator: \.isWhitespace)
  }
}

extension FieldSchema {
  /// Whether a value is one that this version would have written.
  fileprivate func holds(_ value: Value) -> Bool {
    switch (content, value) {
    case (.text, .text(let text)):
      return WriteLimits.holds(text: text)
        && !text.unicodeScalars.contains { $0.properties.generalCategory == .control && $0 != "\n" && $0 != "\t" }
    case (.integer(let range), .integer(let number)): return range.contains(number)
    case (.decimal(let range), .decimal(let number)): return range.contains(number)
    case (.choice(let words), .text(let text)): return words.contains(text)
    case (.flag, .flag): return true
    default: return false
    }
  }
}

/// What speaks for the later version (above 0) or for the earlier one, each between -1 and 1.
package enum AssistantFeature: String, Sendable, CaseIterable {
  /// 1: what people do on the whole.
  case habit
  /// 1 for a number on a scale.
  case scale
  /// How much later, for texts and for numbers: the logarithm of the minutes, 1 for a month. (HLC order.)
  case textRecency = "text recency"
  case scaleRecency = "scale recency"
  /// 1 when both were written in one sitting of 20 minutes: then the later one is mostly a correction.
  case sitting
  /// -1 when the earlier one was written while the record was made, and the later one long after.
  case moment
  /// Difference in words, as a share of the longer one.
  case completeness
  /// 1 when the later one has every word of the earlier one, -1 the other way round.
  case containment
  /// Edit distance: words or steps of the scale that differ, as a share.
  case distance
  /// -1 when only the later one is at an end of the scale: a slip of the finger, perhaps.
  case extreme
  /// How much more distress the later one stands for.
  case therapeuticWeight = "therapeutic weight"
  /// How much more often versions of the device that wrote the later one were chosen.
  case reliability = "device reliability"
  /// How much more often the later one was chosen in such a situation.
  case pastChoices = "past choices"

  private static let sittingMinutes = 20.0

  package func value(_ comparison: VersionComparison) -> Double {
    let recency = log1p(comparison.minutes) / log1p(30 * 24 * 60)
    let words = comparison.counts
    let most = Double(max(words.earlier, words.later, 1))
    let (old, new) = (comparison.earlier.value?.number ?? 0, comparison.later.value?.number ?? 0)
    switch self {
    case .habit: return 1
    case .scale: return comparison.isScale ? 1 : 0
    case .textRecency: return comparison.isScale ? 0 : recency
    case .scaleRecency: return comparison.isScale ? recency : 0
    case .sitting: return comparison.minutes <= Self.sittingMinutes ? 1 : 0
    case .moment:
      let isHindsight = comparison.minutesIn.earlier <= Self.sittingMinutes && comparison.minutesIn.later > 3 * Self.sittingMinutes
      return isHindsight ? -1 : 0
    case .completeness: return Double(words.later - words.earlier) / most
    case .containment:
      guard !comparison.isScale, words.later != words.earlier else { return 0 }
      return comparison.common == words.earlier ? 1 : comparison.common == words.later ? -1 : 0
    case .distance: return comparison.isScale ? min(1, abs(new - old) / 10) : 1 - Double(comparison.common) / most
    case .extreme:
      guard comparison.isScale else { return 0 }
      let isEnd = { (value: Double) in value <= 0 || value >= 10 }
      return (isEnd(old) ? 1 : 0) - (isEnd(new) ? 1 : 0)
    case .therapeuticWeight:
      guard let burden = RecordCatalogue.burden(of: comparison.field, kind: comparison.kind) else { return 0 }
      return (burden == .high ? 1 : -1) * (new - old) / 10
    // What was learned is added by the assistant.
    case .reliability, .pastChoices: return 0
    }
  }

  /// Why it speaks for a version, in words.
  func words(_ comparison: VersionComparison, value: Double, isLater: Bool) -> String? {
    switch self {
    case .habit: return isLater ? "people mostly keep what they wrote last" : nil
    case .scale: return nil
    case .textRecency, .scaleRecency: return isLater ? "it was written \(Self.span(comparison.minutes)) later" : "the other was written \(Self.span(comparison.minutes)) later, and may be about another time"
    case .sitting: return isLater ? "it was written within \(Self.span(comparison.minutes)) of the other, like a correction" : nil
    case .moment: return isLater ? "you had time to look back at it" : "it was written in the moment, the other in hindsight"
    case .completeness: return (value > 0) == isLater ? "it says more" : "it says less"
    case .containment:
      return (value > 0) == isLater ? "it has every word of the other, and more" : "it is a shorter form of the other"
    case .distance: return comparison.isScale || value > 0.5 ? "the two are far apart" : "the two are close to each other"
    case .extreme: return (value > 0) == isLater ? "the other is at the end of the scale, like a slip of the finger" : nil
    case .therapeuticWeight: return (value > 0) == isLater ? "it stands for the harder moment" : "it stands for the easier moment"
    case .reliability: return "you have mostly kept what was written on this device"
    case .pastChoices: return "you have mostly chosen the \(isLater ? "later" : "earlier") one in such cases"
    }
  }

  private static func span(_ minutes: Double) -> String {
    func count(_ number: Double, _ unit: String) -> String { "\(Int(number)) \(unit)\(Int(number) == 1 ? "" : "s")" }
    if minutes < 1 { return "a minute" }
    return minutes < 120 ? count(minutes, "minute") : minutes < 48 * 60 ? count(minutes / 60, "hour") : count(minutes / 1_440, "day")
  }
}
