import Causality
import Replica
import Testing

/// What is known of other devices' clocks.
@Suite("Peers")
struct PeersTests {
  private let own = DeviceID(high: 1, low: 1)
  private let other = DeviceID(high: 2, low: 2)

  private func presence(_ counter: UInt64, wall: UInt64) -> Presence {
    Presence(device: other, run: 7, counter: counter, wall: wall, cursors: [:], stateHash: StateHash())
  }

  @Test("the clock of a device that is far off is known from what it says while this one listens")
  func offClock() {
    var peers = Peers(remembered: [:])
    let now = Moment(wall: 10_000_000, uptime: 1)
    _ = peers.hear(presence(1, wall: now.wall - 600_000), own: own, now: now)
    #expect(peers.clocks.offsets.isEmpty, "it may lie there since ten minutes")
    _ = peers.hear(presence(2, wall: now.wall - 599_000), own: own, now: Moment(wall: now.wall + 1_000, uptime: 1_000_000_001))
    #expect(peers.clocks.offsets == [other: -600_000])
    #expect(peers.state(of: other, now: 1_000_000_002) == .here)
  }

  @Test("what was written in our future tells at once that our clock is behind")
  func behind() {
    var peers = Peers(remembered: [:])
    _ = peers.hear(presence(1, wall: 10_360_000), own: own, now: Moment(wall: 10_000_000, uptime: 1))
    #expect(peers.clocks.offsets == [other: 360_000])
    #expect(peers.state(of: other, now: 2) == .away, "it may be gone since")
  }
}
