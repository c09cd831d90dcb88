import Causality
import Sealing

/// Cuts batches of this device's own operations: seals what is pending and files it, inside one
/// transaction.
///
/// The exchanging process cuts what waits in a lane. A process that saves a change in an idle lane
/// cuts it in the very transaction that saves it, so that nothing is left to do but to send it.
package struct BatchCutter: Sendable {
  package let ring: KeyRing
  private let sealer: BatchSealer

  package init(ring: KeyRing) {
    self.ring = ring
    sealer = ring.account.sealer
  }

  /// Cuts and files one batch; `nil` when nothing was pending.
  ///
  package func cut(
    _ lane: Lane, in transaction: inout some StoreTransaction, using random: inout some RandomNumberGenerator
  ) throws -> StoredBatch? {
    let key = StreamKey(device: ring.device, channel: Channel(lane))
    let digest = try Self.digest(of: transaction.heads())
    return try transaction.withLedger { ledger in
      guard let (operations, previous) = try ledger.cut(lane, of: ring.device) else { return nil }
      let first = operations[0].id.sequence
      let content = OperationCodec.encode(operations, .run(stream: operations[0].id.stream, first: first))
      let batch = try seal(
        .operations(content), key, first: first, count: UInt64(operations.count), previous: previous, digest: digest,
        using: &random)
      try ledger.file(batch)
      return batch
    }
  }

  /// Files a membership entry that this device signed.
  package func file(
    membership entry: [UInt8], in transaction: inout some StoreTransaction,
    using random: inout some RandomNumberGenerator
  ) throws {
    let key = StreamKey(device: ring.device, channel: .membership)
    let head = try transaction.head(key) ?? StreamHead(hash: BatchSealer.noPrevious)
    let batch = try seal(
      .membership(MembershipCodec.encode([entry])), key, first: head.batched + 1, count: 1, previous: head.hash,
      digest: [], using: &random)
    try transaction.withLedger { try $0.file(batch) }
    try transaction.appendMembership(entry)
  }

  private func seal(
    _ content: OpenedBatch.Content, _ key: StreamKey, first: UInt64, count: UInt64, previous: [UInt8],
    digest: [UInt8], using random: inout some RandomNumberGenerator
  ) throws -> StoredBatch {
    let frame = try sealer.seal(
      content, channel: key.channel.rawValue, first: first, count: count, previous: previous, headsDigest: digest,
      from: ring.device, keys: ring.keys, using: &random)
    return StoredBatch(stream: key, first: first, count: count, hash: BatchSealer.hash(of: frame), frame: frame)
  }

  private static func digest(of heads: [StreamKey: StreamHead]) -> [UInt8] {
    var bytes = [UInt8]()
    for (key, head) in heads.sorted(by: { $0.key < $1.key }) {
      bytes += key.device.bytes + [key.channel.rawValue] + head.applied.bigEndianBytes
    }
    return LabelledInput("fullmind/1/heads", bytes).sha256
  }
}
