import Causality
import Replica
import Testing
import Therapy

@Suite("Pacing")
struct PacingTests {
  /// Noon, so that half of the day's budget may be gone.
  private func at(_ seconds: Double) -> Moment {
    Moment(wall: 20_000 * millisecondsPerDay + millisecondsPerDay / 2 + UInt64(seconds * 1_000), uptime: UInt64(seconds * 1e9) + 1)
  }

  @Test("an echo of an own write waits for 5 ms, and then is news; what others wrote never waits")
  func echoes() {
    let (own, other) = (BlindTag(high: 0, low: 1), BlindTag(high: 0, low: 2))
    let echo = RelayChange.stream(RelayStream(tag: own, channel: Channel(.ordinary)))
    let news = RelayChange.stream(RelayStream(tag: other, channel: Channel(.crisis)))
    var echoes = OwnEchoes()
    #expect(echoes.take([echo, news, .unknown], own: own, now: 100) == [news, .unknown])
    #expect(echoes.due == 100 + OwnEchoes.patience)
    #expect(echoes.take([echo], own: own, now: 2_000_000).isEmpty && echoes.due == 100 + OwnEchoes.patience, "one that goes on is not put off for ever")
    #expect(echoes.take([echo], own: own, now: 6_000_000) == [echo] && echoes.due == 6_000_000 + OwnEchoes.patience)
    #expect(echoes.take([], own: own, now: 20_000_000) == [echo] && echoes.due == nil)
    let crisis = RelayChange.stream(RelayStream(tag: own, channel: Channel(.crisis)))
    #expect(echoes.take([echo], own: own, now: 20_000_000).isEmpty)
    #expect(echoes.take([crisis], own: own, now: 20_000_001) == [echo, crisis] && echoes.due == nil, "about a crisis nothing is put off")
  }

  @Test("an idle lane sends at once")
  func idle() {
    var pacing = Pacing(tier: .selfHosted)
    #expect(pacing.nextCut(pending: 1, oldest: at(5).uptime, now: at(5)) == at(5).uptime)
  }

  @Test("under load operations are gathered for 50 ms, or until a batch is full")
  func load() {
    var pacing = Pacing(tier: .selfHosted)
    for _ in 0..<40 { pacing.didCut(now: at(5)) }
    #expect(pacing.nextCut(pending: 1, oldest: at(5).uptime, now: at(5)) == at(5).uptime + 50_000_000)
    #expect(pacing.nextCut(pending: 64, oldest: at(5).uptime, now: at(5)) == at(5).uptime)
    #expect(pacing.nextCut(pending: 1, oldest: at(6).uptime, now: at(6)) == at(6).uptime, "it is idle again")
  }

  @Test("free sends once in thirty seconds")
  func free() {
    var pacing = Pacing(tier: .free)
    #expect(pacing.nextCut(pending: 1, oldest: 0, now: at(1)) == at(1).uptime)
    pacing.didCut(now: at(1))
    #expect(pacing.nextCut(pending: 1, oldest: 0, now: at(2)) == at(31).uptime)
  }

  @Test("premium is real time until the budget is ahead of the day, then falls back to its interval")
  func premium() {
    var pacing = Pacing(tier: .premium)
    pacing.usedToday = 900
    #expect(pacing.nextCut(pending: 1, oldest: 0, now: at(1)) == at(1).uptime)
    for _ in 0..<150 { pacing.didCut(now: at(1)) }
    #expect(pacing.nextCut(pending: 1, oldest: 0, now: at(2)) == at(16).uptime)
    #expect(pacing.reason(now: at(2)) != nil)
  }

  @Test("an empty budget waits for the next day, and the next day gives it back")
  func exhausted() {
    var pacing = Pacing(tier: .free)
    _ = pacing.nextCut(pending: 1, oldest: 0, now: at(0))
    pacing.usedToday = 100
    #expect(pacing.nextCut(pending: 1, oldest: 0, now: at(1)) == nil)
    let tomorrow = Moment(wall: at(1).wall + millisecondsPerDay, uptime: at(90_000).uptime)
    #expect(pacing.nextCut(pending: 1, oldest: 0, now: tomorrow) == tomorrow.uptime)
  }

  @Test("waits double up to thirty seconds, drawn from the upper half")
  func backoff() {
    var (backoff, random) = (RetryBackoff(), SeededRandom(seed: 1))
    var ceiling: UInt64 = 250_000_000
    for _ in 0..<15 {
      let wait = backoff.fail(using: &random)
      #expect((ceiling / 2...ceiling).contains(wait))
      ceiling = min(ceiling * 2, 30_000_000_000)
    }
    backoff.succeed()
    #expect(backoff.fail(using: &random) <= 250_000_000)
  }
}
