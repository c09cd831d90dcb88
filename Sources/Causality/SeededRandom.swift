/// A source of chance that a seed determines: SplitMix64 (Steele, Lea, Flood 2014).
///
/// For simulations and the demo. Never for keys of a person.
package struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }

  /// Whether something happens that happens so many times in a thousand.
  package mutating func happens(permille: Int) -> Bool { Int(next() % 1_000) < permille }

  /// A number of a range; both ends included.
  package mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }
}
