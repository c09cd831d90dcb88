import Foundation
import Stores
import Testing

@Suite("Latch")
struct LatchTests {
  @Test("a latch that is opened and closed by two threads at once keeps nobody busy")
  func rests() {
    let latch = Latch()
    let end = Date().addingTimeInterval(0.5)
    let opener = Thread { while Date() < end { latch.open() } }
    opener.start()
    while Date() < end {
      _ = latch.wait(10)
      latch.close()
    }
    while !opener.isFinished { Thread.sleep(forTimeInterval: 0.01) }
    latch.close()
    // Processor time of this thread while it waits: resting costs next to nothing, looking again and again all of it.
    var (before, after) = (timespec(), timespec())
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before)
    #expect(!latch.wait(400))
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after)
    let used = Double(after.tv_sec - before.tv_sec) + Double(after.tv_nsec - before.tv_nsec) / 1e9
    #expect(used < 0.2, "\(used) s of 0.4 s")
  }
}
