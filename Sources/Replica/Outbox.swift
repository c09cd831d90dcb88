import Causality

/// What waits to leave this device, per channel.
package struct Outbox: Sendable {
  package struct Queue: Hashable, Sendable {
    /// Operations in no batch yet.
    package var pending = 0
    /// Uptime at which the oldest of them was noticed.
    package var oldest: UInt64 = 0
    /// The last operation in a batch.
    package var batched: UInt64 = 0
    /// The last operation that the relay has accepted.
    package var accepted: UInt64 = 0
    /// Whether the relay's copy has been compared with the log since it was last in doubt.
    package var isReconciled = false

    package var hasUnsent: Bool { accepted < batched }
  }

  package private(set) var queues: [Channel: Queue]

  package init(heads: [Channel: StreamHead], pending: [Lane: Int], now: Moment) {
    queues = Dictionary(uniqueKeysWithValues: Channel.all.map { ($0, Queue()) })
    for (channel, head) in heads { queues[channel]?.batched = head.batched }
    notePending(pending, now: now)
  }

  package subscript(channel: Channel) -> Queue {
    get { queues[channel] ?? Queue() }
    set { queues[channel] = newValue }
  }

  /// Takes over the counts as the store has them.
  package mutating func notePending(_ pending: [Lane: Int], now: Moment) {
    for lane in Lane.allCases {
      let count = pending[lane] ?? 0
      if count > 0, self[Channel(lane)].pending == 0 { self[Channel(lane)].oldest = now.uptime }
      self[Channel(lane)].pending = count
    }
  }

  /// Everything on the relay is in doubt.
  package mutating func doubtAll() {
    for channel in Channel.all { self[channel].isReconciled = false }
  }

  package var pendingCount: Int { queues.values.reduce(0) { $0 + $1.pending } }
}
