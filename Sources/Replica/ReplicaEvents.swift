import Causality
import ConflictResolution
import Sealing

/// What happens to a replica.
package enum ReplicaEvent: Sendable {
  /// This device's own streams have grown: the person did something, here or in another process.
  case committed([Channel: StreamHead])
  /// Something changed on the relay; `nil` when it is not known what.
  case relayChanged([RelayStream]?)
  case listingChanged
  case presenceChanged(BlindTag)
  case surveyed(RelaySurvey)
  case relayFailed(RelayError)
  /// The relay's copy of an own stream agrees with the log up to `through`, and ends at `end`.
  case reconciled(Channel, through: UInt64, end: RelayPosition, healed: Bool, sent: SentBatches)
  /// The relay's copy of an own stream goes on where our log ends: this store is an old copy.
  case ownStreamAhead(Channel)
  /// The own stream was taken back from the relay; what was made since lies behind it.
  case rewound(Channel, StreamHead)
  /// What was pending is in the log up to `through`.
  case cut(Lane, through: UInt64)
  case appended(Channel, through: UInt64, end: RelayPosition, sent: SentBatches)
  case read(RelayStream, from: RelayPosition, RelayChunk)
  case applied(RelayStream, ApplyOutcome)
  case heard(BlindTag, Presence?)
  /// With this device's own heads, as it told them to the others.
  case wrotePresence([Channel: StreamHead])
  /// An activation is drawn on a screen of this device.
  case shown(OperationID)
  case timer
  case syncRequested
  case stopping
}

extension ReplicaEvent {
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
    /// All frames were taken.
    case complete
    /// The frame at the position was refused: changed, or from nobody.
    case damaged
    /// It needs a member that has not come yet, or a newer program.
    case waiting
    /// It needs a key that has not come yet, or the bytes that name the key are damaged.
    case locked
    /// It does not follow what came before: two histories of one device.
    case forked
  }
  package var end: End
  /// Where reading goes on.
  package var next: RelayPosition
  package var changes: [AppliedChange]
  package var quarantined: Int
  /// Writes that met another one made without knowing of it.
  package var concurrent: Int
  package var admitted: Bool

  var hasTaken: Bool { !changes.isEmpty || quarantined > 0 || admitted }
}

/// What a replica wants done. A driver performs effects in order and returns the resulting events.
package enum ReplicaEffect: Sendable, Equatable {
  case survey
  /// Compares the relay's copy of an own stream with the log, from where they are known to agree;
  /// from the start when nothing follows there.
  case reconcile(Channel, from: RelayPosition, after: UInt64)
  case rewind(Channel)
  case cut(Lane, counted: Bool)
  case append(Channel, after: UInt64)
  case read(RelayStream, from: RelayPosition)
  case apply(RelayStream, RelayChunk)
  case readPresence(BlindTag)
  case writePresence(PresenceContent)
  case wake(at: UInt64)
  case report(ReplicaReport)
}

/// The parts of a presence that the replica decides; the driver adds what is durable.
package struct PresenceContent: Sendable, Hashable {
  package var counter: UInt64
  package var damaged: [StreamKey]
  package var echoes: [Presence.Echo]
  package var isLeaving: Bool
  package var shown: Presence.Shown?
}

/// What people are told.
package enum ReplicaReport: Sendable, Equatable {
  case applied(DeviceID?, [AppliedChange])
  case quarantined(DeviceID?, Int)
  case damaged(RelayStream)
  case healed(Channel)
  case forked(RelayStream)
  case admitted
  case heard(DeviceID)
  case relayLost(RelayError)
  case relayFound(epoch: UInt64, isNew: Bool)
  case accepted(Channel, through: UInt64)
  case ownStreamAhead(Channel)
  /// Nothing can be done now; `settled` when nothing waits either.
  case idle(settled: Bool)
}
