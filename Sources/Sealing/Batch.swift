import Causality
import Crypto
import Foundation
import WireFormat

/// What travels: the plain header of a sealed batch. 126 bytes, laid out in docs/PROTOCOL.md.
package struct BatchHeader: Sendable, Hashable {
  package static let byteCount = 126
  package static let suite: UInt8 = 2
  /// In the place of an epoch: sealed with an emergency key.
  package static let emergencyEpoch = UInt32.max

  /// A ``Lane``'s raw value, or one of the two below.
  package var channel: UInt8
  package var account: [UInt8]
  package var device: [UInt8]
  package var incarnation: Incarnation
  package var epoch: UInt32
  package var keyID: [UInt8]
  /// Sequence number of the first operation; for presence, its counter.
  package var first: UInt64
  /// SHA-256 of the frame before this one in its stream; zeros for the first.
  package var previous: [UInt8]
  package var salt: [UInt8]
  package var nonce: [UInt8]
  package var paddedLength: UInt32

  package static let membershipChannel: UInt8 = 5
  package static let presenceChannel: UInt8 = 16

  package var bytes: [UInt8] {
    var bytes: [UInt8] = [Self.suite, channel]
    bytes.reserveCapacity(Self.byteCount)
    bytes += account + device + incarnation.rawValue.bigEndianBytes + epoch.bigEndianBytes + keyID
    bytes += first.bigEndianBytes
    bytes += previous + salt + nonce + paddedLength.bigEndianBytes
    return bytes
  }

  /// Reads fixed positions; nothing is allocated from a length in the bytes.
  ///
  /// - Throws: ``SealingError/malformed``, ``SealingError/unknownSuite(_:)``.
  package init(frame: [UInt8]) throws(SealingError) {
    guard frame.count > Self.byteCount, frame.count <= Limits.frameBytes else { throw .malformed }
    guard frame[0] == Self.suite else { throw .unknownSuite(frame[0]) }
    channel = frame[1]
    account = Array(frame[2..<18])
    device = Array(frame[18..<34])
    incarnation = Incarnation(rawValue: UInt64(bigEndianBytes: frame[34..<42]))
    epoch = UInt32(bigEndianBytes: frame[42..<46])
    keyID = Array(frame[46..<54])
    first = UInt64(bigEndianBytes: frame[54..<62])
    previous = Array(frame[62..<94])
    salt = Array(frame[94..<110])
    nonce = Array(frame[110..<122])
    paddedLength = UInt32(bigEndianBytes: frame[122..<126])
    guard Int(paddedLength) == frame.count - Self.byteCount - 16 else { throw .malformed }
  }

  init(
    channel: UInt8, account: [UInt8], device: [UInt8], incarnation: Incarnation, epoch: UInt32, keyID: [UInt8],
    first: UInt64, previous: [UInt8]
  ) {
    self.channel = channel
    self.account = account
    self.device = device
    self.incarnation = incarnation
    self.epoch = epoch
    self.keyID = keyID
    self.first = first
    self.previous = previous
    (salt, nonce, paddedLength) = ([], [], 0)
  }

  /// The bytes with which every frame of a device in a channel begins: by them frames are found again behind
  /// damage.
  package static func beginning(channel: UInt8, account: [UInt8], device: [UInt8]) -> [UInt8] {
    [suite, channel] + account + device
  }
}

/// The content of a batch after it proved authentic.
package struct OpenedBatch: Sendable {
  package enum Content: Sendable {
    case operations([UInt8])
    case membership([UInt8])
    case presence([UInt8])
  }
  package var header: BatchHeader
  package var content: Content
  package var headsDigest: [UInt8]
  /// Sequence numbers that the batch covers.
  package var count: UInt64
  /// Sealed and signed with an emergency key.
  package var isEmergency: Bool { header.epoch == BatchHeader.emergencyEpoch }
}

/// What opens and proves what one device writes.
package struct MemberKeys: Sendable {
  package var signing: Curve25519.Signing.PublicKey
  package var emergency: [EmergencyKey]

  package init(signing: Curve25519.Signing.PublicKey, emergency: [EmergencyKey] = []) {
    (self.signing, self.emergency) = (signing, emergency)
  }
}

/// Seals and opens batches of one account.
package struct BatchSealer: Sendable {
  package let tags: BlindTags
  private let epochs: [UInt32: (key: EpochKey, secret: SymmetricKey)]
  private let current: EpochKey

  /// - Precondition: At least one key.
  package init(tags: BlindTags, epochKeys: [EpochKey]) {
    self.tags = tags
    guard let current = epochKeys.max(by: { $0.epoch < $1.epoch }) else {
      preconditionFailure("an account has an epoch key from its first moment")
    }
    self.current = current
    epochs = Dictionary(
      uniqueKeysWithValues: epochKeys.map { ($0.epoch, ($0, SymmetricKey(data: $0.bytes))) })
  }

  /// Signs, pads and seals.
  ///
  /// - Returns: The frame as it lies on the relay.
  package func seal(
    _ content: OpenedBatch.Content, channel: UInt8, incarnation: Incarnation, first: UInt64, count: UInt64,
    previous: [UInt8], headsDigest: [UInt8], from device: DeviceID, keys: DeviceKeys,
    using random: inout some RandomNumberGenerator
  ) throws -> [UInt8] {
    let header = BatchHeader(
      channel: channel, account: tags.account, device: tags.device(device), incarnation: incarnation,
      epoch: current.epoch, keyID: current.id, first: first, previous: previous)
    guard let secret = epochs[current.epoch]?.secret else { preconditionFailure("the current key is one of them") }
    return try Self.seal(
      content, header, count: count, headsDigest: headsDigest, secret: secret, signing: keys.signing, using: &random)
  }

  static func seal(
    _ content: OpenedBatch.Content, _ header: BatchHeader, count: UInt64, headsDigest: [UInt8], secret: SymmetricKey,
    signing: Curve25519.Signing.PrivateKey, using random: inout some RandomNumberGenerator
  ) throws -> [UInt8] {
    var header = header
    header.salt = random.bytes(16)
    header.nonce = random.bytes(12)
    var body = WireBatchBody()
    switch content {
    case .operations(let bytes): body.operations = Data(bytes)
    case .membership(let bytes): body.membership = Data(bytes)
    case .presence(let bytes): body.presence = Data(bytes)
    }
    body.headsDigest = Data(headsDigest)
    body.count = UInt32(count)
    body.signature = Data(repeating: 0, count: 64)
    header.paddedLength = UInt32(Padding.size(for: body.encoded.count + 4))
    body.signature = try signing.signature(for: signedBytes(header, body))
    let encoded = body.encoded
    var plaintext = UInt32(encoded.count).bigEndianBytes + encoded
    plaintext += [UInt8](repeating: 0, count: Int(header.paddedLength) - plaintext.count)
    let headerBytes = header.bytes
    let box = try ChaChaPoly.seal(
      plaintext, using: key(secret, salt: header.salt), nonce: .init(data: header.nonce), authenticating: headerBytes)
    return headerBytes + box.ciphertext + box.tag
  }

  /// Opens a frame and checks its signature, in that order; parses nothing that is not authentic.
  ///
  /// - Parameter keys: Of the device that the header names.
  /// - Throws: ``SealingError``.
  package func open(_ frame: [UInt8], keys: MemberKeys) throws(SealingError) -> OpenedBatch {
    let header = try BatchHeader(frame: frame)
    guard header.account == tags.account else { throw .otherAccount }
    guard header.epoch != BatchHeader.emergencyEpoch else { return try Self.open(frame, header, emergency: keys.emergency) }
    guard let epoch = epochs[header.epoch], epoch.key.id == header.keyID else {
      throw .unknownEpoch(header.epoch)
    }
    guard !header.incarnation.isEmergency else { throw .malformed }
    return try Self.open(frame, header, secret: epoch.secret, signing: keys.signing)
  }

  /// Whether whoever sealed a frame has the keys of this account.
  package func isOfThisAccount(_ frame: [UInt8]) -> Bool {
    guard let header = try? BatchHeader(frame: frame), header.account == tags.account, let epoch = epochs[header.epoch],
      epoch.key.id == header.keyID
    else { return false }
    return (try? Self.decrypted(frame, header, epoch.secret)) != nil
  }

  /// The membership entries in a frame of somebody who is not known: whoever sealed it has the keys of the account, and who
  /// that was is not proven. Each entry has to prove itself.
  package func membership(inUnproven frame: [UInt8]) -> [UInt8]? {
    guard let header = try? BatchHeader(frame: frame), header.account == tags.account, header.channel == BatchHeader.membershipChannel,
      let epoch = epochs[header.epoch], epoch.key.id == header.keyID,
      let plaintext = try? Self.decrypted(frame, header, epoch.secret), let body = try? Self.body(plaintext),
      case .membership(let bytes)? = body.content
    else { return nil }
    return Array(bytes)
  }

  static func open(_ frame: [UInt8], _ header: BatchHeader, emergency keys: [EmergencyKey]) throws(SealingError)
    -> OpenedBatch
  {
    guard header.incarnation.isEmergency, header.channel == Lane.crisis.rawValue else { throw .malformed }
    guard let key = keys.first(where: { $0.id == header.keyID }) else { throw .unknownEpoch(header.epoch) }
    return try open(frame, header, secret: SymmetricKey(data: key.sealing), signing: key.signing)
  }

  private static func open(
    _ frame: [UInt8], _ header: BatchHeader, secret: SymmetricKey, signing signingKey: Curve25519.Signing.PublicKey
  ) throws(SealingError) -> OpenedBatch {
    let body = try Self.body(decrypted(frame, header, secret))
    guard signingKey.isValidSignature(body.signature, for: signedBytes(header, body)) else {
      throw .badSignature
    }
    let content: OpenedBatch.Content
    switch body.content {
    case .operations(let bytes)?: content = .operations(Array(bytes))
    case .membership(let bytes)?: content = .membership(Array(bytes))
    case .presence(let bytes)?: content = .presence(Array(bytes))
    case nil: throw .malformed
    }
    return OpenedBatch(
      header: header, content: content, headsDigest: Array(body.headsDigest), count: UInt64(body.count))
  }

  private static func decrypted(_ frame: [UInt8], _ header: BatchHeader, _ secret: SymmetricKey) throws(SealingError) -> [UInt8] {
    let sealed = frame[BatchHeader.byteCount...]
    guard
      let box = try? ChaChaPoly.SealedBox(
        nonce: .init(data: header.nonce), ciphertext: sealed.dropLast(16), tag: sealed.suffix(16)),
      let plaintext = try? ChaChaPoly.open(
        box, using: key(secret, salt: header.salt), authenticating: frame[..<BatchHeader.byteCount])
    else { throw .notAuthentic }
    return [UInt8](plaintext)
  }

  private static func body(_ plaintext: [UInt8]) throws(SealingError) -> WireBatchBody {
    guard plaintext.count >= 4 else { throw .malformed }
    let length = Int(UInt32(bigEndianBytes: plaintext[..<4]))
    guard length <= plaintext.count - 4, plaintext[(4 + length)...].allSatisfy({ $0 == 0 }),
      let body = try? WireBatchBody(serializedBytes: Array(plaintext[4..<4 + length]))
    else { throw .malformed }
    return body
  }

  private static func key(_ secret: SymmetricKey, salt: [UInt8]) -> SymmetricKey {
    LabelledInput("fullmind/1/batch key").derive(from: secret, salt: salt)
  }

  private static func signedBytes(_ header: BatchHeader, _ body: WireBatchBody) -> [UInt8] {
    let (kind, content): (UInt8, Data) =
      switch body.content {
      case .operations(let bytes)?: (1, bytes)
      case .membership(let bytes)?: (2, bytes)
      case .presence(let bytes)?: (3, bytes)
      case nil: (0, Data())
      }
    let root = LabelledInput("fullmind/1/content", [kind], Array(content)).sha256
    return LabelledInput(
      "fullmind/1/batch", header.bytes, root, Array(body.headsDigest), body.count.bigEndianBytes
    ).bytes
  }

  /// The link from one frame to the next.
  package static func hash(of frame: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: frame)) }

  package static let noPrevious = [UInt8](repeating: 0, count: 32)
}

/// The sizes that sealed content is padded to, so that its length says little.
///
/// 256, 384, 512, 768, 1024, 1536 … bytes: powers of two and the middles between them. At most a
/// third is padding; above the limit of a batch nothing is written.
package enum Padding {
  package static func size(for length: Int) -> Int {
    var size = 256
    while size < length {
      let middle = size + size / 2
      if middle >= length { return middle }
      size *= 2
    }
    return size
  }
}
