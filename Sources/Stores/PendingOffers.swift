import Causality
import Replica

/// What is to be looked at, and when: an item stays until a look at it has come to an end. What the store refused is
/// looked at again, after a wait that grows from a quarter of a second to ``highestWait``.
package struct PendingLooks<Item: Hashable & Sendable>: Sendable {
  package private(set) var items: Set<Item> = []
  /// Uptime of the next look; `nil` while nothing waits.
  package private(set) var due: UInt64?
  private var backoff = RetryBackoff(highest: Self.highestWait)
  private let limit: Int

  /// Nanoseconds.
  package static var highestWait: UInt64 { 5_000_000_000 }

  /// - Parameter limit: How many items wait at most.
  package init(limit: Int) { self.limit = limit }

  /// Has these looked at now, together with what waits.
  ///
  /// - Returns: Whether there was room for all of them.
  @discardableResult
  package mutating func insert(_ more: some Collection<Item>, now: UInt64) -> Bool {
    let news = more.filter { !items.contains($0) }
    let room = max(0, limit - items.count)
    items.formUnion(news.prefix(room))
    if !more.isEmpty, !items.isEmpty { due = min(due ?? .max, now) }
    return news.count <= room
  }

  package func isDue(_ now: UInt64) -> Bool { due.map { $0 <= now } ?? false }

  /// A look at this has come to an end, whatever it has shown.
  package mutating func end(_ item: Item) { items.remove(item) }

  /// Everything that is due was looked at: what is left was refused.
  package mutating func endRound(now: UInt64) {
    guard !items.isEmpty else {
      backoff.succeed()
      return due = nil
    }
    due = now + backoff.fail()
  }
}

/// Sessions that may be offered to this device and that it has not taken.
///
/// | an entry comes            | it is looked at                         | it goes                                        |
/// |---------------------------|-----------------------------------------|------------------------------------------------|
/// | with a change that came   | at once, and again after each refusal   | taken, or the offer is gone                    |
/// | with a search of the store| likewise                                | likewise                                       |
/// | as too old by a clock     | when that clock becomes known or is set | the same; of more than ``limit`` the oldest go |
///
/// The store is searched when this process begins to exchange: an offer that another run could not take lies there.
package struct PendingOffers: Sendable {
  /// What a look at a session has shown.
  package enum Finding: Hashable, Sendable {
    /// It was taken, or is offered to this device no more.
    case ended
    /// It is offered, and its offer is too old by what was known of the clock that stamped it.
    case late(Offer)
  }

  /// An offer, and how far its writer's clock was held to be ahead of ours, in milliseconds; `nil` where that was unknown.
  package struct Offer: Hashable, Sendable {
    package var writer: DeviceID
    package var timestamp: Timestamp
    package var offset: Int64?

    package init(writer: DeviceID, timestamp: Timestamp, offset: Int64?) {
      (self.writer, self.timestamp, self.offset) = (writer, timestamp, offset)
    }
  }

  private enum Look: Hashable, Sendable {
    case store
    case session(RecordID)

    var record: RecordID? { if case .session(let id) = self { return id } else { return nil } }
  }

  private var looks = PendingLooks<Look>(limit: Self.limit + 1)
  private var late: [RecordID: Offer] = [:]

  /// Offers that are kept in mind at once; a device has one session at a time, and what is beyond lies in the store.
  package static let limit = 64
  /// Milliseconds by which a clock has to be held to be another one before an old offer is looked at again.
  private static let notable: UInt64 = 1_000

  package init() {}

  /// Uptime of the next look; `nil` while nothing waits but for a clock.
  package var due: UInt64? { looks.due }
  package func isDue(_ now: UInt64) -> Bool { looks.isDue(now) }
  /// Whether the store is to be searched for offers.
  package var mustSearch: Bool { looks.items.contains(.store) }
  /// The sessions to look at.
  package var sessions: [RecordID] { looks.items.compactMap(\.record).sorted() }

  /// Something that was not seen here may lie in the store.
  package mutating func search(now: UInt64) { looks.insert([.store], now: now) }

  /// Something came about these sessions.
  package mutating func insert(_ sessions: some Collection<RecordID>, now: UInt64) {
    let isRoom = sessions.count <= Self.limit - self.sessions.count
    // What there is no room for is found in the store.
    if !isRoom { search(now: now) }
    looks.insert(sessions.map(Look.session), now: now)
  }

  /// The store was searched.
  ///
  /// - Parameter found: The sessions that it offers to this device; the newest ones count.
  package mutating func didSearch(_ found: [RecordID: Timestamp], now: UInt64) {
    for id in sessions { looks.end(.session(id)) }
    looks.end(.store)
    let newest = found.sorted { ($0.value, $0.key) > ($1.value, $1.key) }.prefix(Self.limit)
    looks.insert(newest.map { Look.session($0.key) }, now: now)
  }

  /// A session was looked at.
  package mutating func note(_ id: RecordID, _ finding: Finding) {
    looks.end(.session(id))
    switch finding {
    case .ended: late[id] = nil
    case .late(let offer):
      late[id] = offer
      guard late.count > Self.limit, let oldest = late.min(by: { ($0.value.timestamp, $0.key) < ($1.value.timestamp, $1.key) }) else { return }
      late[oldest.key] = nil
    }
  }

  /// Everything that is due was looked at: what is left was refused.
  package mutating func endRound(now: UInt64) { looks.endRound(now: now) }

  /// Something was heard of the clocks: offers that were too old by what was held of theirs are looked at again.
  ///
  /// - Returns: Whether there are any.
  package mutating func learn(_ clocks: HouseholdClocks, now: UInt64) -> Bool {
    let again = late.keys.filter { id in late[id].map { Self.isNews(clocks.offsets[$0.writer], before: $0.offset) } ?? false }
    if !again.isEmpty { insert(again, now: now) }
    return !again.isEmpty
  }

  private static func isNews(_ offset: Int64?, before: Int64?) -> Bool {
    guard let offset else { return false }
    guard let before else { return true }
    let (difference, isBeyond) = offset.subtractingReportingOverflow(before)
    return isBeyond || difference.magnitude >= notable
  }
}
