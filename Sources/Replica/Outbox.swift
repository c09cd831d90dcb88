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
    /// Whether the relay's copy has been compared with the log since it was last in doubt.
    package var isReconciled = false

    package var hasUnsent: Bool { accepted < batched }
    /// Operations in no batch yet.
    package var pending: Int { Int(saved - min(saved, batched)) }
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

  /// Everything on the relay is in doubt.
  package mutating func doubtAll() {
    for channel in Channel.all { self[channel].isReconciled = false }
  }

  package var pendingCount: Int { queues.values.reduce(0) { $0 + $1.pending } }
}
