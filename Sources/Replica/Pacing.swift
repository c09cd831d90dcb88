import Causality
import Therapy

/// Decides when a lane may send its next batch.
///
/// An idle lane sends at once. Two things slow it down: load (many small batches in a row are turned
/// into fewer, fuller ones) and, on tiers that count, the day's budget. The crisis lane and uncounted
/// kinds are never held back; they do not even ask.
package struct Pacing: Sendable {
  package var tier: Tier
  /// Sync operations counted today.
  package var usedToday = 0
  private var day: UInt64 = 0
  private var lastCut: UInt64?
  /// Batches that may still leave at once, before they are gathered for ``Limits/batchAge``.
  private var burst = burstCapacity
  private var refilled: UInt64 = 0

  /// 100 batches a second may leave alone; beyond that they are gathered. One costs two commits on
  /// each side, about 1 ms.
  private static let burstCapacity = 32.0
  private static let refillPerSecond = 100.0
  /// Share of the day's budget kept for the evening: real time ends when it is reached ahead of time.
  private static let reserve = 0.2

  package init(tier: Tier) { self.tier = tier }

  /// When a lane with something to send may cut a batch.
  ///
  /// - Parameters:
  ///   - pending: Operations waiting.
  ///   - oldest: Uptime at which the oldest of them was seen, in nanoseconds.
  /// - Returns: An uptime in nanoseconds, now or later; `nil` when not before the next day.
  package mutating func nextCut(pending: Int, oldest: UInt64, now: Moment) -> UInt64? {
    startDay(now)
    refill(now)
    guard let earliest = budgetAllows(now) else { return nil }
    if pending >= Limits.operationsPerBatch || burst >= 1 { return max(earliest, now.uptime) }
    return max(earliest, oldest + Limits.batchAge * 1_000_000)
  }

  /// Notes that a counted batch left.
  package mutating func didCut(now: Moment) {
    startDay(now)
    refill(now)
    burst = max(0, burst - 1)
    lastCut = now.uptime
    usedToday += 1
  }

  /// Why the lane waits, in words; `nil` while nothing is held back.
  package func reason(now: Moment) -> String? {
    guard let limit = tier.operationsPerDay else { return nil }
    if usedToday >= limit { return "the day's \(limit) sync operations are used; everything is saved here" }
    if !tier.isRealTime || isAheadOfBudget(limit, now) { return "one batch every \(tier.intervalSeconds) s" }
    return nil
  }

  private func budgetAllows(_ now: Moment) -> UInt64? {
    guard let limit = tier.operationsPerDay else { return now.uptime }
    if usedToday >= limit { return nil }
    if tier.isRealTime && !isAheadOfBudget(limit, now) { return now.uptime }
    guard let lastCut else { return now.uptime }
    return lastCut + UInt64(tier.intervalSeconds) * 1_000_000_000
  }

  /// Whether more of the budget than of the day is gone, with the reserve taken off.
  private func isAheadOfBudget(_ limit: Int, _ now: Moment) -> Bool {
    let dayShare = Double(now.wall % millisecondsPerDay) / Double(millisecondsPerDay)
    return Double(usedToday) > Double(limit) * max(Self.reserve, dayShare)
  }

  private mutating func startDay(_ now: Moment) {
    let today = now.wall / millisecondsPerDay
    // A clock set back does not give the budget back; one set forward does, as midnight would.
    if today > day {
      if day != 0 { usedToday = 0 }
      day = today
    }
  }

  private mutating func refill(_ now: Moment) {
    let seconds = Double(now.uptime &- refilled) / 1e9
    burst = min(Self.burstCapacity, burst + max(0, seconds) * Self.refillPerSecond)
    refilled = now.uptime
  }
}

/// How long to wait before something that failed is tried again.
///
/// | failures in a row | 1      | 2     | 4   | 8 and more |
/// |-------------------|--------|-------|-----|------------|
/// | ceiling           | 0.25 s | 0.5 s | 2 s | 30 s       |
///
/// The wait is drawn from the upper half of the ceiling. ("Equal jitter" of Brooker, *Exponential
/// Backoff And Jitter*, 2015.)
package struct RetryBackoff: Sendable, Hashable {
  package var failures = 0
  private let highest: UInt64
  private static let first: UInt64 = 250_000_000

  /// - Parameter highest: The highest ceiling, in nanoseconds.
  package init(highest: UInt64 = 30_000_000_000) { self.highest = highest }

  /// Notes a failure; returns the nanoseconds to wait.
  package mutating func fail(using random: inout some RandomNumberGenerator) -> UInt64 {
    let ceiling = fail()
    return ceiling / 2 + UInt64.random(in: 0...ceiling / 2, using: &random)
  }

  /// Notes a failure; returns the ceiling.
  package mutating func fail() -> UInt64 {
    failures += 1
    return min(Self.first << UInt64(min(failures - 1, 10)), highest)
  }

  package mutating func succeed() { failures = 0 }
}
