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
  package func cut(
    _ lane: Lane, in transaction: inout some StoreTransaction, using random: inout some RandomNumberGenerator
  ) throws -> StoredBatch? {
    let digest = try Self.digest(of: transaction.openHeads())
    return try transaction.withLedger { ledger in
      guard let (operations, previous) = try ledger.cut(lane) else { return nil }
      let (stream, first) = (operations[0].id.stream, operations[0].id.sequence)
      let content = OperationCodec.encode(operations, .run(stream: stream, first: first))
      let batch = try seal(
        .operations(content), StreamKey(stream), first: first, marks: operations.map(\.id.mark),
        count: UInt64(operations.count), previous: previous, digest: digest, using: &random)
      try ledger.file(batch)
      return batch
    }
  }

  /// Files a membership entry that this device signed.
  package func file(
    membership entry: [UInt8], in transaction: inout some StoreTransaction,
    using random: inout some RandomNumberGenerator
  ) throws {
    try transaction.withLedger { ledger in
      let key = StreamKey(device: ring.device, incarnation: try ledger.incarnation(using: &random), channel: .membership)
      let head = try ledger.end(of: key)
      let batch = try seal(
        .membership(MembershipCodec.encode([entry])), key, first: head.batched + 1, marks: [], count: 1,
        previous: head.hash, digest: [], using: &random)
      try ledger.file(batch)
    }
  }

  private func seal(
    _ content: OpenedBatch.Content, _ key: StreamKey, first: UInt64, marks: [UInt64], count: UInt64, previous: [UInt8],
    digest: [UInt8], using random: inout some RandomNumberGenerator
  ) throws -> StoredBatch {
    let frame = try sealer.seal(
      content, channel: key.channel.rawValue, incarnation: key.incarnation, first: first, count: count,
      previous: previous, headsDigest: digest, from: ring.device, keys: ring.keys, using: &random)
    return StoredBatch(
      stream: key, first: first, count: count, hash: BatchSealer.hash(of: frame), frame: frame, marks: marks)
  }

  private static func digest(of heads: [StreamKey: [StreamHead]]) -> [UInt8] {
    var bytes = [UInt8]()
    for (key, histories) in heads.sorted(by: { $0.key < $1.key }) {
      bytes += key.device.bytes + key.incarnation.rawValue.bigEndianBytes + [key.channel.rawValue]
      for head in histories { bytes += head.applied.bigEndianBytes }
    }
    return LabelledInput("fullmind/1/heads", bytes).sha256
  }
}
