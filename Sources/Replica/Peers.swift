import Causality
import ConflictResolution

/// What is known of another device, from what it said itself.
package struct Peer: Hashable, Sendable {
  package var presence: Presence
  /// Our uptime when we last heard of it in this run; `nil` when we only remember it.
  package var heard: UInt64?
  /// Our wall clock when we last heard of it.
  package var heardWall: UInt64 = 0
  /// Nanoseconds there and back, without the time it spent there.
  package var roundTrip: UInt64?
  /// How far its clock is ahead of ours, in milliseconds; `nil` where nothing fresh was heard. What is not fresh and
  /// from our future tells the least that it is ahead.
  package var clockOffset: Int64?
  /// A presence was read in this run: a newer one was written since.
  var wasRead = false

  package init(presence: Presence) { self.presence = presence }
}

/// How sure we are that a device is there.
package enum PresenceState: String, Sendable {
  /// Heard within ``Peers/hereFor``.
  case here
  /// Was heard in this run or said goodbye, but not lately.
  case away
  /// Never heard of.
  case unknown
}

/// The other devices, and what each has confirmed.
package struct Peers: Sendable {
  /// Nanoseconds between presences when nothing happens.
  package static let heartbeat: UInt64 = 30_000_000_000
  /// A device counts as here for this long after its last presence: two may be lost.
  package static let hereFor: UInt64 = 75_000_000_000

  package private(set) var all: [DeviceID: Peer]
  /// When each of our last presences was written, for round trips.
  private var written: [(counter: UInt64, uptime: UInt64)] = []

  package init(remembered: [DeviceID: Peer]) { all = remembered }

  /// Takes in a presence; `false` when it is an old one.
  package mutating func hear(_ presence: Presence, own: DeviceID, now: Moment) -> Bool {
    let before = all[presence.device]
    if let before, presence.run == before.presence.run, presence.counter <= before.presence.counter { return false }
    var peer = before ?? Peer(presence: presence)
    peer.presence = presence
    // The last presence of a device that went away still lies on the relay: only its first reading
    // in this run says nothing about now, unless its clock and ours agree that it is fresh.
    let distance = presence.wall > now.wall ? presence.wall - now.wall : now.wall - presence.wall
    let isFresh = peer.wasRead || distance < Self.hereFor / 1_000_000
    peer.wasRead = true
    peer.heard = isFresh ? now.uptime : nil
    peer.heardWall = now.wall
    if let echo = presence.echoes.last(where: { $0.device == own }),
      let sent = written.last(where: { $0.counter == echo.counter })
    {
      let elapsed = now.uptime &- sent.uptime
      peer.roundTrip = elapsed > echo.held ? elapsed - echo.held : 0
    }
    peer.clockOffset = isFresh || presence.wall > now.wall ? Self.offset(presence.wall, now.wall) : nil
    all[presence.device] = peer
    return true
  }

  /// Milliseconds by which one clock is ahead of another.
  private static func offset(_ there: UInt64, _ here: UInt64) -> Int64 {
    Int64(clamping: there) - Int64(clamping: here)
  }

  package mutating func didWrite(counter: UInt64, now: Moment) {
    written.append((counter, now.uptime))
    if written.count > 64 { written.removeFirst() }
  }

  package func state(of device: DeviceID, now: UInt64) -> PresenceState {
    guard let peer = all[device] else { return .unknown }
    if peer.presence.isLeaving { return .away }
    guard let heard = peer.heard else { return .away }
    return now &- heard < Self.hereFor ? .here : .away
  }

  /// What to tell each device about its presences.
  package func echoes(now: Moment) -> [Presence.Echo] {
    all.sorted { $0.key < $1.key }.compactMap { device, peer in
      peer.heard.map { Presence.Echo(device: device, counter: peer.presence.counter, held: now.uptime &- $0) }
    }
  }

  // MARK: Clocks

  /// The clocks of this household, as far as they were heard in this run: which time most of them have.
  package var clocks: HouseholdClocks {
    HouseholdClocks(offsets: all.compactMapValues(\.clockOffset))
  }
}

/// How the clocks of a household stand to each other.
///
/// Three clocks that are each a little off agree on a time: the one in the middle. What is from the future is
/// measured by it, so that a device whose clock is behind does not hide what all others show.
package struct HouseholdClocks: Sendable, Hashable {
  /// Milliseconds by which each other device's clock is ahead of ours.
  package let offsets: [DeviceID: Int64]

  package init(offsets: [DeviceID: Int64]) { self.offsets = offsets }

  /// Milliseconds by which the clock in the middle is ahead of ours; 0 where two clocks disagree and nobody can tell
  /// which is right.
  package var middle: Int64 {
    guard offsets.count > 1 else { return 0 }
    let sorted = ([0] + offsets.values).sorted()
    return sorted[sorted.count / 2]
  }

  /// The time by which it is decided what is from the future: never earlier than this device's own.
  package func limit(wall: UInt64) -> UInt64 { middle > 0 ? wall &+ UInt64(middle) : wall }

  /// What another device's clock shows now; ours where it was not heard of.
  package func wall(of device: DeviceID?, _ ours: UInt64) -> UInt64 {
    guard let offset = device.flatMap({ offsets[$0] }) else { return ours }
    return offset < 0 ? ours - min(ours, offset.magnitude) : ours &+ offset.magnitude
  }

  /// How wrong a clock has to be to be named: half of what is tolerated, in milliseconds.
  private static let notable = Int64(HybridClock.driftLimit / 2)

  package enum Verdict: Sendable, Hashable {
    case agree
    /// Our clock is wrong by so many milliseconds (ahead where positive): all others agree about that.
    case ours(Int64)
    /// The clock of another device is wrong by so many milliseconds, ahead where positive.
    case theirs(DeviceID, Int64)
    /// Two clocks disagree by so many milliseconds, and nobody can tell which is right.
    case apart(DeviceID, Int64)
  }

  /// Whose clock is wrong.
  package var verdict: Verdict {
    guard let farthest = offsets.max(by: { (abs($0.value - middle), $0.key) < (abs($1.value - middle), $1.key) }) else { return .agree }
    if offsets.count == 1 {
      return abs(farthest.value) >= Self.notable ? .apart(farthest.key, farthest.value) : .agree
    }
    let (ours, theirs) = (-middle, farthest.value - middle)
    if abs(ours) >= Self.notable, abs(ours) >= abs(theirs) { return .ours(ours) }
    return abs(theirs) >= Self.notable ? .theirs(farthest.key, theirs) : .agree
  }
}
