import Causality
import Sealing

/// A lane, or the channel of membership entries.
package struct Channel: Hashable, Sendable, Comparable {
  package let rawValue: UInt8

  package init(_ lane: Lane) { rawValue = lane.rawValue }

  /// `nil` for a number this version does not know; such streams are left alone.
  package init?(rawValue: UInt8) {
    guard Lane(rawValue: rawValue) != nil || rawValue == BatchHeader.membershipChannel else { return nil }
    self.rawValue = rawValue
  }

  package static let membership = Channel(unchecked: BatchHeader.membershipChannel)
  private init(unchecked rawValue: UInt8) { self.rawValue = rawValue }

  package var lane: Lane? { Lane(rawValue: rawValue) }

  /// Crisis first; then who belongs to the account, without which nobody else can be understood.
  private var priority: UInt8 { self == .membership ? 1 : rawValue == 0 ? 0 : rawValue + 1 }
  package static func < (one: Self, other: Self) -> Bool { one.priority < other.priority }

  package static let all = (Lane.allCases.map(Channel.init) + [.membership]).sorted()
}

package enum BlindDeviceTag {}
/// A device's name on a relay.
package typealias BlindTag = Identifier<BlindDeviceTag>

/// One stream as a relay knows it.
package struct RelayStream: Hashable, Sendable, Comparable {
  package var tag: BlindTag
  package var channel: Channel

  package init(tag: BlindTag, channel: Channel) {
    self.tag = tag
    self.channel = channel
  }

  package static func < (one: Self, other: Self) -> Bool {
    one.channel != other.channel ? one.channel < other.channel : one.tag < other.tag
  }
}

/// A place in a stream on a relay. The generation changes when the stream was written anew.
package struct RelayPosition: Hashable, Sendable {
  package var generation: UInt64
  package var offset: UInt64

  package init(generation: UInt64, offset: UInt64) {
    self.generation = generation
    self.offset = offset
  }

  /// Before everything, in any generation.
  package static let start = RelayPosition(generation: 0, offset: 0)
}

/// What one read of a stream brought.
package struct RelayChunk: Sendable, Equatable {
  package var frames: [[UInt8]]
  /// Where the next read goes on, for each frame and at the end: `frames.count + 1` positions, of
  /// which the first is where this read began.
  package var positions: [RelayPosition]
  /// Nothing follows at the moment.
  package var isAtEnd: Bool
  /// What follows cannot be a frame: the stream is damaged here.
  package var isDamaged: Bool

  package init(frames: [[UInt8]], positions: [RelayPosition], isAtEnd: Bool, isDamaged: Bool) {
    precondition(positions.count == frames.count + 1, "one position per frame, and where it began")
    self.frames = frames
    self.positions = positions
    self.isAtEnd = isAtEnd
    self.isDamaged = isDamaged
  }
}

/// Everything that lies on a relay for this account.
package struct RelaySurvey: Sendable, Equatable {
  /// Changes when the relay was wiped.
  package var epoch: UInt64
  package var streams: [RelayStream]
  /// Where the streams of this device end.
  package var ownEnds: [RelayStream: RelayPosition]
  package var presences: [BlindTag]

  package init(epoch: UInt64, streams: [RelayStream], ownEnds: [RelayStream: RelayPosition], presences: [BlindTag]) {
    self.epoch = epoch
    self.streams = streams
    self.ownEnds = ownEnds
    self.presences = presences
  }
}

/// Why a relay did not do what was asked. Local changes are kept in any case.
package enum RelayError: Error, Sendable, Hashable {
  /// It cannot be reached, read or written.
  case unreachable(String)
  /// The stream is not as this device left it; it has to be compared with the log.
  case changed
  /// The disk behind it is full.
  case full
}

extension RelayError: ActionableError {
  package var code: String {
    switch self {
    case .unreachable: "relay.unreachable"
    case .changed: "relay.changed"
    case .full: "relay.full"
    }
  }
  package var summary: String {
    switch self {
    case .unreachable(let place): "The relay \(place) cannot be used. Everything is saved on this device."
    case .changed: "The relay was changed by something else. Everything is saved on this device."
    case .full: "The relay's disk is full. Everything is saved on this device and is sent later."
    }
  }
  package var remedy: String {
    switch self {
    case .unreachable: "Check --relay, the folder's permissions or the connection; then `fullmind sync`."
    case .changed: "Nothing to do: it is compared with the log and healed by the next `fullmind sync`."
    case .full: "Free space where the relay lies; then `fullmind sync`."
    }
  }
  package var exitStatus: ExitStatus { .unavailable }
}

/// A sealed notice on a board of a relay.
package struct RelayNotice: Sendable, Hashable {
  package var number: UInt64
  package var sealed: [UInt8]

  package init(number: UInt64, sealed: [UInt8]) { (self.number, self.sealed) = (number, sealed) }
}

/// What a relay noticed.
package enum RelayChange: Sendable, Hashable {
  case stream(RelayStream)
  case presence(BlindTag)
  /// Something appeared or disappeared: list anew.
  case listing
  /// Anything may have happened: list anew, and compare the own streams with the log.
  case unknown
}

/// Tells of changes on a relay as they happen.
package protocol RelayWatch: AnyObject, Sendable {
  /// Becomes readable when something changed.
  var descriptor: Int32 { get }
  /// What changed since the last call; never waits.
  func changes() -> [RelayChange]
  /// Stops watching; nothing more is told.
  func end()
}

extension RelayWatch {
  package func end() {}
}

/// Where replicas meet: a lossy cache of sealed streams, one writer each.
///
/// Nothing here is durable: a relay may be wiped, rolled back, duplicated or damaged at any time, and
/// is refilled from the logs. Calls return quickly or throw; they never wait for another device.
package protocol Relay: AnyObject, Sendable {
  func survey() throws(RelayError) -> RelaySurvey

  /// Reads frames from a position; a position of another generation reads from the start.
  func read(_ stream: RelayStream, from position: RelayPosition) throws(RelayError) -> RelayChunk

  /// Appends to one of this device's own streams.
  ///
  /// - Returns: Where the stream ends now.
  /// - Throws: ``RelayError/changed`` when the stream does not end where this object last saw its end.
  @discardableResult
  func append(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) -> RelayPosition

  /// Appends one frame from a process that does not exchange, and so has not compared the stream with
  /// the log: only when the stream ends with the frame before it, or is empty and there was none.
  ///
  /// - Returns: Whether it was appended; otherwise the exchanging process has to.
  func appendNext(_ frame: [UInt8], after previous: [UInt8]?, to stream: RelayStream) throws(RelayError) -> Bool

  /// Writes one of this device's own streams anew, in a new generation.
  ///
  /// - Returns: Where the stream ends now.
  @discardableResult
  func replace(_ stream: RelayStream, with frames: [[UInt8]]) throws(RelayError) -> RelayPosition

  func putPresence(_ sealed: [UInt8], of tag: BlindTag) throws(RelayError)
  func presence(of tag: BlindTag) throws(RelayError) -> [UInt8]?

  func putMail(_ sealed: [UInt8], mailbox: String, slot: UInt8) throws(RelayError)
  func mail(in mailbox: String, slot: UInt8) throws(RelayError) -> [UInt8]?
  func removeMailbox(_ mailbox: String) throws(RelayError)

  /// Puts a sealed notice up under a number; whoever comes first has the number.
  ///
  /// - Returns: Whether this call put it up; `false` when another lies there.
  func putNotice(_ sealed: [UInt8], board: String, number: UInt64) throws(RelayError) -> Bool
  /// The notices of a board with a higher number, in order; none for a board that is not there.
  func notices(on board: String, after number: UInt64) throws(RelayError) -> [RelayNotice]

  /// `nil` when the relay cannot tell; it is then asked every few seconds.
  func watch() -> (any RelayWatch)?
}
