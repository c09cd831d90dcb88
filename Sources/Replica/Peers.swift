import Causality
import ConflictResolution

/// What is known of another device, from what it said itself.
package struct Peer: Hashable, Sendable {
  package var incarnation: UInt64 = 0
  package var counter: UInt64 = 0
  package var heads: [StreamKey: UInt64] = [:]
  package var damaged: [StreamKey] = []
  package var stateHash = StateHash()
  package var isLeaving = false
  /// Our uptime when we last heard of it in this run; `nil` when we only remember it.
  package var heard: UInt64?
  /// Our wall clock when we last heard of it.
  package var heardWall: UInt64 = 0
  /// Nanoseconds there and back, without the time it spent there.
  package var roundTrip: UInt64?

  package init() {}
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
    var peer = all[presence.device] ?? Peer()
    let isNewer = presence.incarnation != peer.incarnation || presence.counter > peer.counter
    guard isNewer else { return false }
    peer.incarnation = presence.incarnation
    peer.counter = presence.counter
    peer.heads = presence.heads
    peer.damaged = presence.damaged
    peer.stateHash = presence.stateHash
    peer.isLeaving = presence.isLeaving
    // The last presence of a device that went away still lies on the relay: only its first reading
    // in this run says nothing about now, unless its clock and ours agree that it is fresh.
    let isFresh = peer.heard != nil || now.wall &- presence.wall < Self.hereFor / 1_000_000
    peer.heard = isFresh ? now.uptime : nil
    peer.heardWall = now.wall
    if let echo = presence.echoes.last(where: { $0.device == own }),
      let sent = written.last(where: { $0.counter == echo.counter })
    {
      let elapsed = now.uptime &- sent.uptime
      peer.roundTrip = elapsed > echo.held ? elapsed - echo.held : 0
    }
    all[presence.device] = peer
    return true
  }

  package mutating func didWrite(counter: UInt64, now: Moment) {
    written.append((counter, now.uptime))
    if written.count > 64 { written.removeFirst() }
  }

  package func state(of device: DeviceID, now: UInt64) -> PresenceState {
    guard let peer = all[device] else { return .unknown }
    if peer.isLeaving { return .away }
    guard let heard = peer.heard else { return .away }
    return now &- heard < Self.hereFor ? .here : .away
  }

  /// What to tell each device about its presences.
  package func echoes(now: Moment) -> [Presence.Echo] {
    all.sorted { $0.key < $1.key }.compactMap { device, peer in
      peer.heard.map { Presence.Echo(device: device, counter: peer.counter, held: now.uptime &- $0) }
    }
  }
}
