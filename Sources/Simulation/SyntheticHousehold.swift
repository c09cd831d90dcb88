import Causality
import ConflictResolution
import Foundation
import Therapy

/// A person who writes on several devices that do not always know of each other, and who afterwards says which
/// version was meant. What the assistant is trained on, and measured with; docs/ASSISTANT.md describes it.
///
/// People differ: every household has habits of its own, which the assistant has to find out from choices.
package struct SyntheticHousehold {
  /// What households are drawn from. ``usual`` is trained on; ``other`` only measures how far that carries.
  package struct Population: Sendable {
    /// How often each reason for a conflict occurs, in thousandths.
    var causes: [(cause: Cause, permille: Int)]
    /// The range that a person's trust in hindsight is drawn from, in hundredths.
    var hindsight: ClosedRange<Int>
    /// How often a choice has no reason at all, in thousandths.
    var whim: ClosedRange<Int>

    package static let usual = Population(
      causes: [(.correction, 250), (.extension, 200), (.cut, 110), (.staleDraft, 120), (.slip, 90), (.hindsight, 170), (.secondThought, 60)],
      hindsight: 5...95, whim: 20...60)
    /// More of what is hard, and people of more whims.
    package static let other = Population(
      causes: [(.correction, 150), (.extension, 150), (.cut, 160), (.staleDraft, 170), (.slip, 120), (.hindsight, 170), (.secondThought, 80)],
      hindsight: 20...80, whim: 30...90)
  }

  enum Cause: Sendable { case correction, `extension`, cut, staleDraft, slip, hindsight, secondThought }

  /// A conflict as a store would find it, and what the person chose.
  package struct Case {
    package var record: RecordState
    package var conflict: Conflict
    package var chosen: OperationID
    package var isLater: Bool
  }

  private let population: Population
  private var random: SeededRandom
  /// How often a value that is typed on a device is a slip, in thousandths.
  private let devices: [(id: DeviceID, slips: Int)]
  private let hindsight: Int
  private let neatness: Int
  private let whim: Int
  private var clock: UInt64 = 1_790_000_000_000
  private var sequence: UInt64 = 0

  package init(seed: UInt64, _ population: Population = .usual) {
    self.population = population
    random = SeededRandom(seed: seed)
    // The first numbers of neighbouring seeds are alike enough to be seen.
    for _ in 0..<4 { _ = random.next() }
    var devices = [(DeviceID, Int)]()
    for _ in 0..<random.number(2...4) { devices.append((DeviceID(using: &random), random.number(5...60))) }
    // One of them is small, and easily touched by accident.
    devices[devices.count - 1].1 = random.number(150...500)
    self.devices = devices
    hindsight = random.number(population.hindsight)
    neatness = random.number(75...98)
    whim = random.number(population.whim)
  }

  /// The next conflict of this household.
  package mutating func next() -> Case {
    clock += UInt64(random.number(2...72)) * 3_600_000
    var cause = population.causes[0].cause
    var draw = random.number(0...999)
    for (each, permille) in population.causes {
      cause = each
      if draw < permille { break }
      draw -= permille
    }
    switch cause {
    case .correction: return correction()
    case .extension: return text(later: .longer, minutes: random.number(5...600), keepsLater: neatness)
    case .cut: return text(later: .shorter, minutes: random.number(1...240), keepsLater: 10)
    case .staleDraft: return staleDraft()
    case .slip: return slip()
    case .hindsight: return number(minutes: random.number(90...1_200), change: random.number(1...4), keepsLater: hindsight)
    case .secondThought: return text(later: .different, minutes: random.number(30...4_000), keepsLater: 50)
    }
  }

  // MARK: Causes

  private mutating func correction() -> Case {
    if random.happens(permille: 500) { return text(later: .changed, minutes: random.number(1...18), keepsLater: 95) }
    return number(minutes: random.number(1...18), change: random.number(1...2), keepsLater: 93)
  }

  /// A device that was offline sends late what was begun long ago: later by its clock, older by its thought.
  private mutating func staleDraft() -> Case {
    text(later: random.happens(permille: 800) ? .thinner : .longer, minutes: random.number(600...9_000), keepsLater: 20)
  }

  /// A number at the end of the scale that nobody meant, mostly from the small device.
  private mutating func slip() -> Case {
    let isLaterSlip = random.happens(permille: 600)
    let meant = Int64(random.number(3...7)), slipped: Int64 = random.happens(permille: 500) ? 0 : 10
    let small = devices.count - 1, other = random.number(0...small - 1)
    let minutes = random.number(1...300)
    let isSmall = random.happens(permille: 850)
    let (slippery, sure) = isSmall ? (small, other) : (other, small)
    return isLaterSlip
      ? make(.scale(meant, slipped), by: (sure, slippery), minutes, keepsLater: 6)
      : make(.scale(slipped, meant), by: (slippery, sure), minutes, keepsLater: 94)
  }

  private mutating func number(minutes: Int, change: Int, keepsLater: Int) -> Case {
    let first = random.number(1...9)
    let second = random.happens(permille: 500) ? min(10, first + change) : max(0, first - change)
    let (one, other) = twoDevices()
    // A slip on either device spoils what would have been chosen.
    var keepsLater = keepsLater
    if random.happens(permille: devices[other].slips) { keepsLater = 10 } else if random.happens(permille: devices[one].slips) { keepsLater = 92 }
    return make(.scale(Int64(first), Int64(second == first ? first - 1 : second)), by: (one, other), minutes, keepsLater: keepsLater)
  }

  private enum Later { case longer, shorter, thinner, changed, different }

  private mutating func text(later: Later, minutes: Int, keepsLater: Int) -> Case {
    let words = sentence(random.number(6...30))
    var other = words
    switch later {
    case .longer: other += sentence(random.number(2...12))
    case .shorter: other = Array(words.prefix(max(2, words.count * random.number(30...80) / 100)))
    case .thinner:
      other = words.enumerated().filter { $0.offset % 3 != 1 }.map(\.element) + sentence(random.number(0...3))
    case .changed: for _ in 0..<random.number(1...3) { other[random.number(0...other.count - 1)] = word() }
    case .different: other = Array(words.prefix(random.number(1...3))) + sentence(random.number(5...25))
    }
    if other == words { other.append(word()) }
    return make(.text(words.joined(separator: " "), other.joined(separator: " ")), by: twoDevices(), minutes, keepsLater: keepsLater)
  }

  // MARK: Making

  private enum Versions { case scale(Int64, Int64), text(String, String) }

  /// - Parameter keepsLater: How many of a hundred such people would keep the later version.
  private mutating func make(_ versions: Versions, by devices: (Int, Int), _ minutes: Int, keepsLater: Int) -> Case {
    let schema: RecordSchema, field: String, values: (Value, Value)
    switch versions {
    case .scale(let one, let other):
      (schema, field) = (RecordCatalogue.checkIn, ["mood", "sleep", "energy"][random.number(0...2)])
      values = (.integer(one), .integer(other))
    case .text(let one, let other):
      let isJournal = random.happens(permille: 500)
      (schema, field) = (isJournal ? RecordCatalogue.journal : RecordCatalogue.checkIn, isJournal ? "text" : ["thoughts", "need", "review"][random.number(0...2)])
      values = (.text(one), .text(other))
    }
    let id = RecordID(using: &random)
    // Some are edits of what was written before; mostly the earlier one was a part of making the record.
    let age = random.happens(permille: 250) ? UInt64(random.number(60...5_000)) * 60_000 : UInt64(random.number(0...5)) * 60_000
    var (record, hash) = (RecordState(id: id, kind: schema.kind), StateHash())
    func write(_ device: Int, _ field: String, _ value: Value, at: UInt64) -> OperationID {
      sequence += 1
      let id = OperationID(stream: StreamID(device: self.devices[device].id, incarnation: Incarnation(rawValue: 1), lane: schema.lane), sequence: sequence, mark: 0)
      record.apply(
        Causality.Operation(
          id: id, timestamp: Timestamp(milliseconds: at), record: record.id, kind: schema.kind, field: field, mutation: .set(value), replaces: []),
        hasArrived: { _ in true }, hash: &hash)
      return id
    }
    let made = clock
    _ = write(devices.0, schema.kind == RecordCatalogue.journal.kind ? "title" : "part", .text("morning"), at: made)
    _ = write(devices.0, field, values.0, at: made + age)
    let later = write(devices.1, field, values.1, at: made + age + UInt64(minutes) * 60_000 + UInt64(random.number(1...59_000)))
    guard let conflict = record.openConflicts.first, conflict.versions.count == 2 else {
      preconditionFailure("two writes that did not know of each other are a conflict")
    }
    let isLater = random.happens(permille: whim) ? random.happens(permille: 500) : random.number(1...100) <= keepsLater
    let versions = conflict.versions
    let chosen = versions.first { ($0.id == later) == isLater } ?? versions[0]
    return Case(record: record, conflict: conflict, chosen: chosen.id, isLater: isLater)
  }

  private mutating func twoDevices() -> (Int, Int) {
    let one = random.number(0...devices.count - 1)
    let other = (one + random.number(1...devices.count - 1)) % devices.count
    return (one, other)
  }

  private mutating func sentence(_ count: Int) -> [String] { count > 0 ? (0..<count).map { _ in word() } : [] }
  private mutating func word() -> String { Self.words[random.number(0...Self.words.count - 1)] }

  private static let words = """
    today morning evening walk tea rain garden slept well badly tired calm tense quiet friend called work long short breath
    noticed shoulders jaw warm cold kitchen window light music bread soup bus late early letter sister brother laughed cried
    worried about tomorrow again better worse same slowly room door listened read page thought feeling went came back after
    before little lot outside inside trees river dog stairs phone kind to myself rested nothing something almost enough
    """.split(whereSeparator: \.isWhitespace).map(String.init)
}
