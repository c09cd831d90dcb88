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

/// One file of frames as a relay knows it: what a device wrote in a channel, in all lives of its store, or what it
/// carries there for others.
package struct RelayStream: Hashable, Sendable, Comparable {
  /// The device that writes the file.
  package var tag: BlindTag
  package var channel: Channel
  /// Frames of others that the relay had lost.
  package var isCarried: Bool

  package init(tag: BlindTag, channel: Channel, isCarried: Bool = false) {
    (self.tag, self.channel, self.isCarried) = (tag, channel, isCarried)
  }

  package static func < (one: Self, other: Self) -> Bool {
    if one.channel != other.channel { return one.channel < other.channel }
    if one.isCarried != other.isCarried { return !one.isCarried }
    return one.tag < other.tag
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
  /// The stream ends in the middle of something: it is being written, was brought in part, or was cut off. What was read
  /// is not all of it.
  package var isTorn: Bool

  package init(frames: [[UInt8]], positions: [RelayPosition], isAtEnd: Bool, isDamaged: Bool, isTorn: Bool = false) {
    precondition(positions.count == frames.count + 1, "one position per frame, and where it began")
    self.frames = frames
    self.positions = positions
    self.isAtEnd = isAtEnd
    self.isDamaged = isDamaged
    self.isTorn = isTorn
  }
}

/// Everything that can be read of a file.
package struct RelayContents: Sendable, Equatable {
  package var frames: [[UInt8]] = []
  /// Whether nothing lies behind them, or between them, that is none.
  package var isWhole = true

  package init() {}

  /// - Returns: Where the next read goes on; `nil` at the end.
  package mutating func add(_ chunk: RelayChunk) -> RelayPosition? {
    frames += chunk.frames
    let next = chunk.positions[chunk.frames.count]
    let isOver = chunk.isAtEnd || chunk.frames.isEmpty || next.offset > Limits.searchedBytes
    if chunk.isDamaged || chunk.isTorn || (isOver && !chunk.isAtEnd) { isWhole = false }
    return isOver ? nil : next
  }
}

/// Everything that lies on a relay for this account.
package struct RelaySurvey: Sendable, Equatable {
  /// Which relay it is; drawn when it was made.
  package var identity: UInt64
  package var streams: [RelayStream]
  /// Where the streams of this device end.
  package var ownEnds: [RelayStream: RelayPosition]
  package var presences: [BlindTag]

  package init(identity: UInt64, streams: [RelayStream], ownEnds: [RelayStream: RelayPosition], presences: [BlindTag]) {
    (self.identity, self.streams, self.ownEnds, self.presences) = (identity, streams, ownEnds, presences)
  }
}

/// Why a relay did not do what was asked. Local changes are kept in any case.
package enum RelayError: Error, Sendable, Hashable {
  /// It cannot be reached, read or written.
  case unreachable(String)
  /// It has not answered within the time that every call has.
  case unanswered(String)
  /// Another program holds the lock of a file.
  case busy(String)
  /// There is a place, but no relay in it: a drive that is not mounted, for instance.
  case noRelay(String)
  /// There is a relay, but not the one that this device had.
  case another(String, identity: UInt64)
  /// The stream is not as this device left it; it has to be compared with the log.
  case changed
  /// The disk behind it is full.
  case full
  /// Somebody else has put another message there.
  case taken
}

extension RelayError: ActionableError {
  package var code: String {
    switch self {
    case .unreachable: "relay.unreachable"
    case .unanswered: "relay.unanswered"
    case .busy: "relay.busy"
    case .noRelay: "relay.none"
    case .another: "relay.another"
    case .changed: "relay.changed"
    case .full: "relay.full"
    case .taken: "relay.taken"
    }
  }
  package var summary: String {
    switch self {
    case .unreachable(let place): "The relay \(place) cannot be used. Everything is saved on this device."
    case .unanswered(let place): "The relay \(place) does not answer. Everything is saved on this device."
    case .busy(let place): "Another program holds \(place). Everything is saved on this device."
    case .noRelay(let place): "There is no relay in \(place): nothing was sent and nothing was made there. Everything is saved on this device."
    case .another(let place, _): "\(place) is not the relay that this device had: nothing was sent there. Everything is saved on this device."
    case .changed: "The relay was changed by something else. Everything is saved on this device."
    case .full: "The relay's disk is full. Everything is saved on this device and is sent later."
    case .taken: "Another device has answered there already. Nothing was changed."
    }
  }
  package var remedy: String {
    switch self {
    case .unreachable: "It is tried again by itself. Mount the drive, or check --relay, the folder's permissions or the connection; then `fullmind sync`. If the folder is gone for good, `fullmind relay make folder:PATH` makes a new one there."
    case .unanswered: "Check the connection or the drive; it is tried again by itself."
    case .busy: "Close that program; it is tried again by itself."
    case .noRelay: "Mount the drive; where it lies somewhere else now, say so once with `fullmind relay move folder:PATH`. If it is lost for good, `fullmind relay make folder:PATH` makes a new one there."
    case .another: "Mount the right drive or correct --relay. If this one is meant from now on: `fullmind relay move folder:PATH`, on each device that says so."
    case .changed: "Nothing to do: it is compared with the log and healed by the next `fullmind sync`."
    case .full: "Free space where the relay lies; then `fullmind sync`."
    case .taken: "Ask for a new code: each serves one device."
    }
  }
  package var exitStatus: ExitStatus { .unavailable }

  /// Whether the place is there and answers, but is not this account's relay.
  package var isStrange: Bool {
    switch self {
    case .noRelay, .another: true
    default: false
    }
  }
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
  /// Whether it hears of everything; otherwise the relay has to be asked as well.
  var isComplete: Bool { get }
  /// What changed since the last call; never waits.
  func changes() -> [RelayChange]
  /// Stops watching; nothing more is told.
  func end()
}

extension RelayWatch {
  package var isComplete: Bool { true }
  package func end() {}
}

/// What a relay may know of frames: how they begin.
package enum RelayFrames {
  package static func beginning(_ channel: Channel, account: [UInt8], device: [UInt8]) -> [UInt8] {
    BatchHeader.beginning(channel: channel.rawValue, account: account, device: device)
  }
}

/// Where replicas meet: a lossy cache of sealed streams, one writer each.
///
/// Nothing here is durable: a relay may be wiped, rolled back, duplicated or damaged at any time, and
/// is refilled from the logs. Calls return quickly or throw; they never wait for another device.
package protocol Relay: AnyObject, Sendable {
  /// - Throws: ``RelayError/noRelay(_:)`` and ``RelayError/another(_:identity:)`` where it is not the one that is meant.
  func survey() throws(RelayError) -> RelaySurvey

  /// From now on this relay is meant: the person said so, or another device of the account uses it.
  func adopt(_ identity: UInt64)

  /// Looks through a relay that is not the one that is meant; nothing is written.
  func surveyStranger() throws(RelayError) -> RelaySurvey

  /// Reads frames from a position; a position of another generation reads from the start.
  func read(_ stream: RelayStream, from position: RelayPosition) throws(RelayError) -> RelayChunk

  /// Every frame of a file that others can read; waits for nobody's lock.
  func frames(in stream: RelayStream) throws(RelayError) -> [[UInt8]]

  /// The same, and whether that is the whole file.
  func contents(of stream: RelayStream) throws(RelayError) -> RelayContents

  /// Every frame of an own file that can be made out, also behind damage.
  func salvage(_ stream: RelayStream) throws(RelayError) -> [[UInt8]]

  /// Appends to one of this device's own files.
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

  /// Appends frames to an own file, whatever lies there and whoever holds it: for a crisis.
  func appendAnyway(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError)

  /// Writes one of this device's own files anew, in a new generation; none for no frames.
  ///
  /// - Returns: Where the stream ends now.
  @discardableResult
  func replace(_ stream: RelayStream, with frames: [[UInt8]]) throws(RelayError) -> RelayPosition

  func putPresence(_ sealed: [UInt8], of tag: BlindTag) throws(RelayError)
  func presence(of tag: BlindTag) throws(RelayError) -> [UInt8]?

  /// Puts a message into a slot of a mailbox. Putting the same bytes again succeeds: the sender cannot know whether
  /// the first time arrived.
  ///
  /// - Throws: ``RelayError/taken`` when another message lies there.
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

extension Relay {
  package func contents(of stream: RelayStream) throws(RelayError) -> RelayContents {
    var (contents, next) = (RelayContents(), RelayPosition?.some(.start))
    while let position = next { next = contents.add(try read(stream, from: position)) }
    return contents
  }

  /// Puts frames into an own file that do not lie there, and makes sure that others can read them.
  package func deliver(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) {
    let there = Set(try self.frames(in: stream))
    let new = frames.filter { !there.contains($0) }
    guard !new.isEmpty else { return }
    try appendAnyway(new, to: stream)
    try complete(new, after: [], in: stream)
  }

  /// Makes sure that others can read frames that were just put into an own file, and what they follow: what was cut off
  /// before them, by a service or a disk, would swallow their beginning.
  ///
  /// - Parameters:
  ///   - frames: What was put there.
  ///   - earlier: What it follows.
  /// - Throws: ``RelayError/changed`` where it cannot be read there all the same.
  package func complete(_ frames: [[UInt8]], after earlier: [[UInt8]], in stream: RelayStream) throws(RelayError) {
    func lacking() throws(RelayError) -> [[UInt8]] {
      let there = Set(try self.frames(in: stream))
      return (earlier + frames).filter { !there.contains($0) }
    }
    let lacks = try lacking()
    guard !lacks.isEmpty else { return }
    if lacks.contains(where: frames.contains) {
      let kept = try salvage(stream)
      try replace(stream, with: kept + lacks.filter { !kept.contains($0) })
    } else {
      try appendAnyway(lacks, to: stream)
    }
    guard try lacking().isEmpty else { throw .changed }
  }
}
