import Causality

/// What waits to leave this device, per channel.
package struct Outbox: Sendable {
  package struct Queue: Hashable, Sendable {
    /// The last operation saved. All three numbers only grow, so that news may come in any order.
    package var saved: UInt64 = 0
    /// Uptime at which the oldest of them was noticed.
    package var oldest: UInt64 = 0
    /// The last operation in a batch.
    package var batched: UInt64 = 0
    /// The last operation that the relay has accepted.
    package var accepted: UInt64 = 0
    /// Where that ends on the relay.
    package var end = RelayPosition.start
    /// How much of the relay's copy has to be compared with the log.
    package var doubt = Doubt.whole

    /// An append came too late since the last one that did not.
    var wasOvertaken = false

    package var isReconciled: Bool { doubt == .none }

    package var hasUnsent: Bool { accepted < batched }
    /// Operations in no batch yet.
    package var pending: Int { Int(saved - min(saved, batched)) }
  }

  package enum Doubt: Int, Sendable, Comparable {
    case none
    /// What follows the known end: another process of this device may have appended.
    case tail
    case whole

    package static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
  }

  package private(set) var queues: [Channel: Queue]

  /// - Parameter heads: This device's own, as the store has them.
  package init(heads: [Channel: StreamHead], now: Moment) {
    queues = Dictionary(uniqueKeysWithValues: Channel.all.map { ($0, Queue()) })
    note(heads, now: now)
  }

  package subscript(channel: Channel) -> Queue {
    get { queues[channel] ?? Queue() }
    set { queues[channel] = newValue }
  }

  /// Takes over how far the store has come; what is older than what is known changes nothing.
  package mutating func note(_ heads: [Channel: StreamHead], now: Moment) {
    for (channel, head) in heads {
      let wasEmpty = self[channel].pending == 0
      self[channel].saved = max(self[channel].saved, head.applied)
      self[channel].batched = max(self[channel].batched, head.batched)
      if wasEmpty, self[channel].pending > 0 { self[channel].oldest = now.uptime }
    }
  }

  package mutating func doubt(_ channel: Channel, _ doubt: Doubt) {
    self[channel].doubt = max(self[channel].doubt, doubt)
  }

  /// The relay's copy agrees with the log up to an operation.
  package mutating func didAgree(_ channel: Channel, through: UInt64, end: RelayPosition) {
    self[channel].accepted = through
    self[channel].end = end
  }

  /// A comparison begins: whatever is heard from now on is new doubt.
  mutating func beginComparing(_ channel: Channel) { self[channel].doubt = .none }

  /// Everything on the relay is in doubt.
  package mutating func doubtAll() {
    for channel in Channel.all { doubt(channel, .whole) }
  }

  package var pendingCount: Int { queues.values.reduce(0) { $0 + $1.pending } }
}
