import Causality
import ConflictResolution
import Sealing
import Therapy

/// What happens to a replica.
package enum ReplicaEvent: Sendable {
  /// This device's own streams have grown: the person did something, here or in another process.
  case committed(OwnReport)
  /// Something changed on the relay; `nil` when it is not known what.
  case relayChanged([RelayStream]?)
  case listingChanged
  case presenceChanged(BlindTag)
  case surveyed(RelaySurvey)
  /// A relay that was not the one that was meant was looked through: other devices of the account use it, or not.
  case examined(UInt64, isOurs: Bool)
  case relayFailed(RelayError)
  /// The store refused: a full disk, a lock that was held for too long. Nothing was half done.
  case storeFailed
  /// The relay's copy of an own file agrees with the log.
  case reconciled(Channel, SentThrough, healed: Bool, sent: SentBatches, taken: ApplyOutcome?)
  /// What was pending is in the log.
  case cut(Lane, OwnReport)
  case appended(Channel, SentThrough, sent: SentBatches)
  case read(RelayStream, from: RelayPosition, RelayChunk)
  case applied(RelayStream, isAtEnd: Bool, ApplyOutcome)
  case heard(BlindTag, Presence?)
  /// Which of the places that another device has named are in no history here.
  case verified(Witness, unknown: [StreamKey: [StreamCursor]])
  /// What the relay lacks of what a device wrote in a channel.
  case audited(RelayStream, [Carriage.Lack])
  /// Frames of somebody else lie in a file of ours; `isAll` when nothing of that stream is left to put up.
  case carried(RelayStream, Carriage.Lack, through: UInt64, isAll: Bool, frames: [SeenStreams.Frame])
  case droppedCarried(Channel)
  case released([AppliedChange], nextDue: UInt64?)
  /// Lives of this store that are over are closed.
  case closed(OwnReport)
  /// With how far this device has come, as it told the others.
  case wrotePresence(OwnReport)
  /// An activation is drawn on a screen of this device.
  case shown(OperationID)
  case timer
  case syncRequested
  case stopping
}

extension ReplicaEvent {
  /// What came of bytes that were taken in.
  package var outcome: ApplyOutcome? {
    switch self {
    case .applied(_, _, let outcome): outcome
    case .reconciled(_, _, _, _, let outcome): outcome
    default: nil
    }
  }

  /// What a relay noticed, as news for the replica.
  package init(_ change: RelayChange) {
    switch change {
    case .stream(let stream): self = .relayChanged([stream])
    case .presence(let tag): self = .presenceChanged(tag)
    case .listing: self = .listingChanged
    case .unknown: self = .relayChanged(nil)
    }
  }
}

/// How far this device has come, as its store has it.
package struct OwnReport: Sendable, Equatable {
  package var progress: [Channel: OwnProgress]
  /// Lives of this store that are over and that nobody has closed.
  package var openLives: Int
  /// Lives that say that this home is used in several places: they went on after they were closed, or more are open than
  /// restoring it can explain. What was raised in an emergency is a life of its own each time, and says nothing of the kind.
  package var livingCopies: Int

  package init(progress: [Channel: OwnProgress], openLives: Int, livingCopies: Int = 0) {
    (self.progress, self.openLives, self.livingCopies) = (progress, openLives, livingCopies)
  }
}

extension StoreTransaction {
  /// How far the device has come whose store this is.
  package func ownReport(of ring: KeyRing) throws -> OwnReport {
    let progress = try ownProgress(of: ring.device)
    // A life begins with its first write: until then nothing says that the one before is over.
    guard let current = try incarnation() else { return OwnReport(progress: progress, openLives: 0) }
    let lives = try openLives(of: ring, except: current)
    let ordinary = lives.filter { !$0.key.isEmergency }
    let (living, open) = (ordinary.filter { $0.value.state == .living }.count, ordinary.filter { $0.value.state == .open }.count)
    return OwnReport(
      progress: progress, openLives: lives.filter { $0.value.state == .open }.count,
      livingCopies: living + (open > Limits.openLives ? open : 0))
  }

  /// The lives of this store that are not folded. What was raised in an emergency is over when it was resolved.
  package func openLives(of ring: KeyRing, except current: Incarnation) throws -> [Incarnation: OpenLife] {
    var open = try openHeads().filter { $0.key.device == ring.device && $0.key.incarnation != current }
    if open.contains(where: \.key.incarnation.isEmergency) {
      let active = try record(CrisisState.record(ofAccount: ring.account.account))?["active"]?.dots.map(\.id.stream.incarnation) ?? []
      open = open.filter { !active.contains($0.key.incarnation) }
    }
    guard !open.isEmpty else { return [:] }
    let now = try clock().last.milliseconds
    return try Dictionary(grouping: open, by: \.key.incarnation).mapValues { streams in
      let streams = Dictionary(streams.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first })
      return OpenLife(streams: streams, state: try state(streams, now))
    }
  }

  private func state(_ streams: [StreamKey: [StreamHead]], _ now: UInt64) throws -> OpenLife.State {
    for stream in streams.keys {
      if let last = try outlived(stream), last &+ OpenLife.copyIsMissed > now { return .living }
    }
    let isIncomplete = try streams.contains { stream, _ in try closing(of: stream).contains { try !knows($0, in: stream) } }
    return isIncomplete ? .incomplete : .open
  }
}

/// A life of this store that is over, and not folded.
package struct OpenLife: Sendable {
  package enum State: Sendable, Hashable {
    /// Nobody has closed it, or it came to light later that it had gone further.
    case open
    /// It was closed, and a part of it is not here: that is told as missing.
    case incomplete
    /// It was written after it was closed: a copy of this home is alive.
    case living
  }
  package var streams: [StreamKey: [StreamHead]]
  package var state: State

  /// A copy that has written nothing for a week, in milliseconds, is taken for gone.
  package static let copyIsMissed: UInt64 = 7 * 86_400_000
}

/// What this device sent, in whichever of its processes.
package struct SentBatches: Sendable, Equatable {
  package var count = 0
  package var bytes = 0

  package init() {}
  package init(_ frames: some Sequence<[UInt8]>) { for frame in frames { add(frame) } }

  mutating func add(_ frame: [UInt8]) {
    count += 1
    bytes += frame.count
  }
}

/// What came of applying a chunk.
package struct ApplyOutcome: Sendable, Equatable {
  package enum End: Sendable, Hashable {
    /// All frames were looked at.
    case complete
    /// Nothing can be done before something has come: a member.
    case waiting
  }
  package var end = End.complete
  package var next: RelayPosition
  package var changes: [AppliedChange] = []
  package var quarantined = 0
  package var concurrent = 0
  /// Whether the membership has changed.
  package var admitted = false
  /// Its author has made itself known by it.
  package var introduced = false
  /// It lies in the folder of a device that nobody here knows, though it names this account.
  package var isUnexplained = false
  /// Frames that are not authentic, frames whose predecessor has not come, frames whose key has not come, and frames
  /// that only a newer program can read.
  package var bad = 0
  package var gaps = 0
  package var locked = 0
  package var newer = 0
  /// Batches that were filed.
  package var filed = 0
  /// Streams in which two histories use one number.
  package var forks: [StreamKey] = []
  /// How far the streams have come that went on.
  package var heads: [StreamKey: [StreamCursor]] = [:]
  package var seen: [SeenStreams.Frame] = []
  /// Where lives ended whose end was signed in what was taken.
  package var closings: [StreamKey: [StreamCursor]] = [:]
  /// The last frame that was looked at.
  package var tail: Inbox.Reading.Tail?
  /// Whether the reading began at the start of the file.
  package var startedAnew = false
  /// Batches of this device that its own store did not have: it is an older copy of itself, or one of two.
  package var takenBack = 0
  /// How far this device has come, where that has changed.
  package var own: OwnReport?
  /// When the next operation is due that waits, in milliseconds since 1970.
  package var nextDue: UInt64?

  package init(next: RelayPosition) { self.next = next }

  /// Whether anything is now durable here that was not.
  package var hasTaken: Bool { filed > 0 || !changes.isEmpty }
}

/// What a replica wants done. A driver performs effects in order and returns the resulting events.
package enum ReplicaEffect: Sendable, Equatable {
  case survey
  /// Looks through a relay that is not the one that was meant, and takes it where another device of the account does.
  case examine(UInt64)
  /// Compares the relay's copy of an own file with the log, from where they are known to agree;
  /// from the start when nothing follows there.
  case reconcile(Channel, from: RelayPosition, after: UInt64, operations: UInt64)
  case cut(Lane, counted: Bool)
  case append(Channel, after: UInt64, operations: UInt64)
  case read(RelayStream, from: RelayPosition)
  case apply(RelayStream, RelayChunk, startedAnew: Bool, limit: UInt64)
  case readPresence(BlindTag)
  case verify(Witness, [StreamKey: [StreamCursor]])
  case audit(RelayStream, SeenStreams)
  case carry(RelayStream, Carriage.Lack)
  case dropCarried(Channel)
  case release(limit: UInt64)
  case closeLives
  case writePresence(PresenceContent)
  case wake(at: UInt64)
  case report(ReplicaReport)

  /// Whether the relay is called for it, and may not answer.
  package var usesRelay: Bool {
    switch self {
    case .survey, .examine, .reconcile, .append, .read, .readPresence, .carry, .dropCarried, .writePresence: true
    case .cut, .apply, .verify, .audit, .release, .closeLives, .wake, .report: false
    }
  }
}

/// The parts of a presence that the replica decides; the driver adds what is durable.
package struct PresenceContent: Sendable, Hashable {
  package var counter: UInt64
  package var damaged: [StreamKey]
  package var echoes: [Presence.Echo]
  package var isLeaving: Bool
  package var shown: Presence.Shown?
  package var relay: UInt64
}

/// What people are told.
package enum ReplicaReport: Sendable, Equatable {
  case applied(DeviceID?, [AppliedChange])
  case quarantined(DeviceID?, Int)
  /// What had waited was due.
  case released([AppliedChange])
  case damaged(RelayStream)
  case healed(Channel)
  /// Two histories of one stream: both are kept, and both count.
  case forked(StreamKey)
  /// Batches of this device came back that its store did not have.
  case tookBack(Int)
  /// A life of this store goes on after it was closed, or more are open than restoring it can explain: this home is
  /// used in several places.
  case copied(lives: Int)
  case carried(DeviceID?)
  case admitted
  case heard(DeviceID)
  case missing([MissingStreams.Entry])
  case relayLost(RelayError)
  case relayFound(identity: UInt64, isNew: Bool)
  /// Sending alone fails: what others wrote is read all the same.
  case sendingFailed(Channel, RelayError)
  case accepted(Channel, through: UInt64)
  /// Nothing can be done now; `settled` when nothing waits either, `complete` when nothing is missing.
  case idle(settled: Bool, complete: Bool)
}
