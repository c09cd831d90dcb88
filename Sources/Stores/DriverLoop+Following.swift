import CSystem
import Causality
import Foundation
import Logging
import Replica
import Storage
import Synchronization

/// Where the devices of a store meet, as all threads of a driver know it: one that is left behind takes nothing of it along.
final class MeetingPlace: Sendable {
  /// What a person has said in another program.
  enum News: Sendable, Hashable {
    case none
    /// Another relay is meant in the place that this driver uses.
    case anotherRelay(UInt64)
    /// The devices meet in another place, be it the same relay or not.
    case elsewhere
  }

  private struct Place: Hashable {
    var url: String
    var identity: UInt64
  }
  private struct State {
    /// Whether it was looked.
    var isKnown = false
    var place: Place?
    var isTold = false
    var isLookedOut = false
  }
  private let state = Mutex(State())

  /// How often it is looked while a call to the relay is under way, in milliseconds.
  static let gap: Int32 = 500

  /// What is new, compared with what was kept when it was taken last.
  ///
  /// - Parameter relay: The place that this driver uses.
  func news(_ kept: (url: String, identity: UInt64)?, at relay: String, in home: HomeFolder) -> News {
    state.withLock { Self.news($0, kept, relay, home) }
  }

  /// As ``news(_:at:in:)``; from now on it is nothing new.
  func take(_ kept: (url: String, identity: UInt64)?, at relay: String, in home: HomeFolder) -> News {
    state.withLock { state in
      let news = Self.news(state, kept, relay, home)
      Self.know(&state, kept)
      return news
    }
  }

  /// What is kept is nothing new.
  func know(_ kept: (url: String, identity: UInt64)?) { state.withLock { Self.know(&$0, kept) } }

  private static func know(_ state: inout State, _ kept: (url: String, identity: UInt64)?) {
    if let kept { state.place = Place(url: kept.url, identity: kept.identity) }
    state.isKnown = true
  }

  /// A place is another one where its name is: a relay that is carried to another folder is still the same relay.
  private static func news(_ state: State, _ kept: (url: String, identity: UInt64)?, _ relay: String, _ home: HomeFolder) -> News {
    guard state.isKnown, let kept else { return .none }
    if kept.url != relay, RelayLocation(kept: kept.url, in: home).description != relay {
      return kept.url == state.place?.url ? .none : .elsewhere
    }
    guard let before = state.place, before.identity != kept.identity else { return .none }
    return .anotherRelay(kept.identity)
  }

  /// - Returns: Whether nobody has told it yet: what is told once is followed once.
  func tellOnce() -> Bool {
    state.withLock { state in
      defer { state.isTold = true }
      return !state.isTold
    }
  }

  /// - Returns: Whether nobody looks out yet.
  func beginLookout() -> Bool {
    state.withLock { state in
      defer { state.isLookedOut = true }
      return !state.isLookedOut && !state.isTold
    }
  }

  func endLookout() { state.withLock { $0.isLookedOut = false } }
}

extension DriverLoop {
  /// A replica has found that another relay is meant in the place that it uses.
  ///
  /// - Parameter name: The place; empty where whoever exchanges has no name for it, and changes nothing about where it is.
  static func adopt(_ identity: UInt64, at name: String, in store: Store) throws {
    let place = (try? RelayLocation(name))?.kept(in: store.home) ?? name
    try store.write { transaction in
      let kept = try transaction.relayPlace()
      if kept?.identity != identity { try ExchangeStatus.forgetProgress(&transaction) }
      try transaction.setRelayPlace(name.isEmpty ? kept?.url ?? place : place, identity: identity)
    }
    store.renewEmergencyPlace()
  }

  /// Another process was told by the person which relay is meant from now on.
  func follow(_ place: (url: String, identity: UInt64)?, _ now: Moment) {
    switch peers.place.take(place, at: driver.relayName, in: store.home) {
    case .none: break
    case .anotherRelay(let identity):
      driver.relay.adopt(identity)
      events.append(.syncRequested)
    case .elsewhere:
      log.notice("meets elsewhere")
      live.add(.alarm, "the devices meet elsewhere now (`fullmind relay show`)", now)
      if peers.place.tellOnce() { observer.moved() }
    }
  }
}

extension ReplicaDriver {
  /// Looks where the devices meet while calls to the relay are made: a thread that waits for the old place hears nothing.
  ///
  /// It looks twice a second while a call is under way, and ends when none was for a while.
  func lookOut() {
    guard peers.place.beginLookout() else { return }
    let thread = Thread { [weak self] in
      var quiet = 0
      while quiet < 10 {
        fm_pause_ms(MeetingPlace.gap)
        guard let self else { return }
        quiet = self.lookElsewhere() ? 0 : quiet + 1
      }
      guard let self else { return }
      self.peers.place.endLookout()
      // One that began meanwhile was not seen.
      if self.shared.withLock({ $0.callSince != nil && !$0.isOver }) { self.lookOut() }
    }
    thread.name = "relay lookout"
    thread.start()
  }

  /// - Returns: Whether a call has been under way for long.
  private func lookElsewhere() -> Bool {
    let (since, isOver) = shared.withLock { ($0.callSince, $0.isOver) }
    let now = fm_uptime_ns()
    guard !isOver, let since, now > since, now - since >= UInt64(MeetingPlace.gap) * 1_000_000 else { return false }
    guard let place = try? store.read({ try $0.relayPlace() }) else { return true }
    if peers.place.news(place, at: relayName, in: store.home) == .elsewhere, peers.place.tellOnce() { observer.moved() }
    return true
  }
}
