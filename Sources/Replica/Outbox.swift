import Causality

/// What waits to leave this device, per channel.
package struct Outbox: Sendable {
  package struct Queue: Hashable, Sendable {
    /// Operations made, in all lives of this store. All numbers only grow, so that news may come in any order.
    package var saved: UInt64 = 0
    /// Uptime at which the oldest of them was noticed.
    package var oldest: UInt64 = 0
    /// Operations in batches.
    package var batched: UInt64 = 0
    /// The place of the last batch in the log.
    package var position: UInt64 = 0
    /// The place in the log up to which the relay has everything.
    package var sent: UInt64 = 0
    /// Operations that the relay has.
    package var accepted: UInt64 = 0
    /// Where that ends on the relay.
    package var end = RelayPosition.start
    /// How much of the relay's copy has to be compared with the log.
    package var needed = Comparison.whole
    /// Uptime before which it is not tried again; only what goes forward ends the wait.
    package var retryAt: UInt64?
    /// Whether the relay's copy was compared with the log in this run: what is known of it was seen there.
    package internal(set) var isCompared = false
    /// Why it could not be sent the last time.
    package var problem: RelayError?
    var backoff = RetryBackoff()

    /// An append came too late since the last one that did not.
    var wasOvertaken = false

    package var isReconciled: Bool { needed == .none }

    package var hasUnsent: Bool { sent < position }
    /// Operations in no batch yet.
    package var pending: Int { Int(clamping: saved - min(saved, batched)) }
    /// Whether everything that was made here lies on the relay, without a gap.
    package var isComplete: Bool { isReconciled && !hasUnsent && pending == 0 }
  }

  package enum Comparison: Int, Sendable, Comparable {
    case none
    /// What follows the known end: another process of this device may have appended.
    case tail
    case whole

    package static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
  }

  package private(set) var queues: [Channel: Queue]

  /// - Parameter own: How far this device has come, as the store has it.
  package init(own: [Channel: OwnProgress], now: Moment) {
    queues = Dictionary(Channel.all.map { ($0, Queue()) }, uniquingKeysWith: { first, _ in first })
    note(own, now: now)
  }

  package subscript(channel: Channel) -> Queue {
    get { queues[channel] ?? Queue() }
    set { queues[channel] = newValue }
  }

  /// Takes over how far the store has come; what is older than what is known changes nothing.
  package mutating func note(_ own: [Channel: OwnProgress], now: Moment) {
    for (channel, progress) in own {
      let wasEmpty = self[channel].pending == 0
      if progress.position > self[channel].position { self[channel].retryAt = nil }
      self[channel].saved = max(self[channel].saved, progress.saved)
      self[channel].batched = max(self[channel].batched, progress.batched)
      self[channel].position = max(self[channel].position, progress.position)
      if wasEmpty, self[channel].pending > 0 { self[channel].oldest = now.uptime }
    }
  }

  package mutating func compare(_ channel: Channel, _ comparison: Comparison) {
    self[channel].needed = max(self[channel].needed, comparison)
  }

  /// The relay has everything up to a place in the log.
  package mutating func didSend(_ channel: Channel, _ sent: SentThrough) {
    let hasGrown = sent.position > self[channel].sent
    self[channel].sent = sent.position
    self[channel].accepted = sent.operations
    self[channel].end = sent.end
    self[channel].isCompared = true
    // A comparison that finds no more than before is no progress.
    guard hasGrown || !self[channel].hasUnsent else { return }
    self[channel].retryAt = nil
    self[channel].problem = nil
    self[channel].backoff.succeed()
  }

  /// Sending failed: it is tried again later, and nothing else waits for it.
  ///
  /// - Parameter isPressing: What waits is a crisis: it is tried again within half a second.
  mutating func didFail(_ channel: Channel, _ error: RelayError, isPressing: Bool, now: UInt64, using random: inout some RandomNumberGenerator) {
    var wait = self[channel].backoff.fail(using: &random)
    if isPressing { wait = min(wait, 500_000_000) }
    self[channel].retryAt = now &+ wait
    self[channel].problem = error
  }

  /// A comparison begins: whatever is heard from now on needs another one.
  mutating func beginComparing(_ channel: Channel) { self[channel].needed = .none }

  /// Everything on the relay has to be compared.
  package mutating func compareAll() {
    for channel in Channel.all { compare(channel, .whole) }
  }

  package var pendingCount: Int { queues.values.reduce(0) { $0 + $1.pending } }
}

/// How far an own file on the relay agrees with the log.
package struct SentThrough: Sendable, Hashable {
  /// The place of the last batch of the log that lies there.
  package var position: UInt64
  /// Operations in all batches up to there.
  package var operations: UInt64
  /// Where the file ends.
  package var end: RelayPosition

  package init(position: UInt64, operations: UInt64, end: RelayPosition) {
    (self.position, self.operations, self.end) = (position, operations, end)
  }

  /// The next batch of the log lies there too.
  mutating func pass(_ next: (position: UInt64, batch: StoredBatch)) {
    position = next.position
    operations += next.batch.count
  }
}
