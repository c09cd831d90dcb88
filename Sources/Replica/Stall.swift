/// Ends loops: what is done again and again without going forward is done rarely.
///
/// A bucket that drains: looking at every file every two seconds, for days, is no loop; thousands of effects a second are
/// one. What was counted long ago says nothing, so an idle device hears as quickly as a busy one.
package struct Stall: Sendable, Hashable {
  private var level: Double = 0
  private var counted: UInt64 = 0
  /// Uptime before which nothing is done but what is about a crisis.
  package private(set) var until: UInt64 = 0

  /// So many effects may follow one another at once: a look at every file of a large household, several times.
  package static let burst = 2_000.0
  /// Effects a second that go on for ever, and one more for each file that is looked at.
  package static let perSecond = 20.0
  /// How many effects the bucket has room for after a pause.
  private static let room = 16.0

  package init() {}

  /// Something went forward.
  package mutating func progress() { (level, until) = (0, 0) }

  /// Counts an effect.
  ///
  /// - Parameter files: How many files of others there are.
  package mutating func count(files: Int, now: UInt64) {
    let rate = Self.perSecond + Double(files)
    level = max(0, level - Double(now &- min(now, counted)) / 1e9 * rate) + 1
    counted = now
    if level > Self.burst { until = now &+ UInt64(Self.room / rate * 1e9) }
  }
}
