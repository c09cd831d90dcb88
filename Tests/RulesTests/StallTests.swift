import Replica
import Testing

/// Ends loops, and nothing else.
@Suite("Stall")
struct StallTests {
  @Test("looking at every file every two seconds, for a day, holds up nothing")
  func idle() {
    var (stall, now, held) = (Stall(), UInt64(0), 0)
    for _ in 0..<43_200 {
      now += 2_000_000_000
      for _ in 0..<120 { stall.count(files: 120, now: now) }
      if stall.until > now { held += 1 }
    }
    #expect(held == 0)
  }

  @Test("what is done again and again is done rarely, and what goes forward ends that")
  func loop() {
    var (stall, now, done) = (Stall(), UInt64(0), 0)
    let end: UInt64 = 600_000_000_000
    while now < end {
      if now < stall.until {
        now = stall.until
        continue
      }
      stall.count(files: 6, now: now)
      done += 1
      now += 50_000
    }
    #expect(Double(done) < Stall.burst + 600 * (Stall.perSecond + 7), "\(done)")
    #expect(stall.until > now - 2_000_000_000)
    stall.progress()
    #expect(stall.until == 0)
  }
}
