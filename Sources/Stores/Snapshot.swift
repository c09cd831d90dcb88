import Causality
import ConflictResolution
import Crisis
import Replica
import Therapy

/// Everything the faces show, at one moment. An immutable value; equal values draw equal pictures.
package struct Snapshot: Sendable, Hashable {
  package struct Device: Sendable, Hashable {
    package var id: DeviceID
    package var name: String
    package var kind: String
    package var isThisOne: Bool
    /// Whether anything was ever heard of it: a newcomer may not have its keys yet.
    package var isHeardOf: Bool
    package var presence: PresenceState
    /// Our wall clock, in milliseconds, when it was last heard of; `nil` for never.
    package var heard: UInt64?
    /// Operations known here that it has not confirmed; `nil` while it has said nothing.
    package var behind: UInt64?
    /// Streams of which it keeps something that it does not show yet.
    package var heldBack: Int
    /// Nanoseconds.
    package var roundTrip: UInt64?
    /// Whether it shows the same state, where it has confirmed everything.
    package var isSameState: Bool?
  }

  package struct Sync: Sendable, Hashable {
    /// What the sync leader of this device knows.
    package var status: ExchangeStatus
    package var state: ExchangeStatus.State { status.state }
    /// Why it waits, or what it waits for.
    package var reason: String { status.reason }
    package var relay: String
    /// Whether this process exchanges.
    package var isExchanging: Bool
    package var pending: [Lane: Int]
    package var saved: UInt64
    package var accepted: UInt64
    package var confirmedOn: Int
    /// Other devices of which something was heard.
    package var others: Int
    package var batchesUp: UInt64
    package var batchesDown: UInt64
    package var bytesUp: UInt64
    package var bytesDown: UInt64
    package var quarantined: Int
    /// When an earlier life of this home was closed in the last days, in milliseconds since 1970: it was put back, or copied.
    package var closedLife: UInt64?
  }

  package struct CrisisStatus: Sendable, Hashable {
    package var level: CrisisLevel
    package var since: UInt64?
    package var source: String
    /// The activation that counts, as check-ins name it.
    package var activation = ""
    /// The last activation that is active.
    package var latest = ""
    /// Every activation that is active.
    package var activations: [OperationID] = []
    /// Devices that have the latest activation: how long after it was raised here, in nanoseconds,
    /// where this process has seen it.
    package var receipts: [Receipt]
    /// Devices at which somebody has seen it, with the milliseconds after it was raised by the stamps of both.
    package var acknowledgements: [Acknowledgement] = []
    package var isAcknowledgedHere = false
    /// Whether the store of this device has all of it; otherwise it was heard and could not be written yet.
    package var isSaved = true
    /// What happens next by itself.
    package var step = CrisisEscalation.Step.notNeeded
    /// Whether the contacts belong on every screen.
    package var showsContacts = false
    package var isActive: Bool { level > .none }

    /// Whom the person agreed to tell, in order.
    package var tellings: [Telling] = []
    /// Contacts for whom an alert was noted and who cannot be named here: their rows are damaged, or gone.
    package var toldUnnamed = 0

    package struct Telling: Sendable, Hashable {
      package enum State: Sendable, Hashable {
        /// It is not settled when: when nobody acknowledges.
        case unanswered
        /// In so many milliseconds.
        case later(UInt64)
        /// It is being told, as soon as the relay can be reached.
        case now
        /// An alert was put up, then, by the clock of the device that did; and how far it has come with the contact, as
        /// far as this process knows.
        case told(UInt64, CrisisOutreach.Arrival?)
        /// The person agreed, but never gave the contact a link.
        case notInvited
        /// The devices say different things of what the contact may learn, and until the person decides it learns nothing.
        case undecided

        /// Whether it goes out by itself, soon.
        package var isDue: Bool {
          switch self {
          case .later, .now: true
          case .unanswered, .told, .notInvited, .undecided: false
          }
        }
      }
      package var name: String
      package var phone: String
      package var state: State

      package init(name: String, phone: String, state: State) { (self.name, self.phone, self.state) = (name, phone, state) }
    }
    package struct Receipt: Sendable, Hashable {
      package var device: String
      package var hasIt: Bool
      package var after: UInt64?
      /// How long after the key it was drawn on a screen there, in nanoseconds, where this process has seen it.
      package var shown: UInt64?
    }
    package struct Acknowledgement: Sendable, Hashable {
      package var device: String
      /// Milliseconds.
      package var after: UInt64

      package init(device: String, after: UInt64) { (self.device, self.after) = (device, after) }
    }
  }

  package struct Conflict: Sendable, Hashable {
    package var record: RecordID
    package var kind: String
    package var title: String
    /// ``Operation/recordField`` for the record as a whole.
    package var field: String
    package var isWhole: Bool { field == Operation.recordField }
    package var type: String
    package var impact: ConflictImpact
    package var urgency: String
    package var area: String
    /// What happened, what is shown meanwhile, and why it matters, in plain words.
    package var happened: String
    package var meanwhile: String
    package var why: String
    package var versions: [Version]
    /// Versions beyond those that are listed; all are in the history.
    package var moreVersions = 0
    /// Conflicts of this record beyond those that are listed.
    package var moreInRecord = 0
    /// Who was asked about it, in words.
    package var review: String?
    /// What the assistant says about it, where it was asked.
    package var advice: Assistant.Advice?
    /// Whether both texts can be kept, one after the other.
    package var canKeepBoth: Bool

    package struct Version: Sendable, Hashable {
      package var id: OperationID
      package var value: String
      package var device: String
      package var timestamp: UInt64
      package var isChosen: Bool
      /// What keeping it would mean.
      package var consequence = ""
    }
  }

  package struct Session: Sendable, Hashable {
    package var id: RecordID
    package var type: String
    package var phase: String
    package var owner: String
    package var isOwn: Bool
    package var offeredTo: String?
    /// Seconds at the moment of the snapshot.
    package var elapsed: Double
    package var seconds: Double
    package var stage: String
    /// How often it was taken up again.
    package var resumed: Int64 = 0
    /// Wall clock, in milliseconds, when it was last written.
    package var written: UInt64
  }

  package struct Quota: Sendable, Hashable {
    package var tier: Tier
    package var used: Int
    package var deviceCount: Int
    /// Whole percent of the day's limit; 0 where nothing is limited.
    package var percent: Int { tier.operationsPerDay.map { used * 100 / max(1, $0) } ?? 0 }
  }

  package struct Event: Sendable, Hashable {
    package enum Weight: String, Sendable { case quiet, notable, warning, alarm }
    package var number: Int
    package var wall: UInt64
    package var weight: Weight
    package var text: String
  }

  package var moment: Moment
  package var account: String
  package var device: DeviceID
  package var devices: [Device]
  package var sync: Sync
  /// Whether another device may have raised a crisis that could not be heard of.
  package var isCrisisUnknown: Bool {
    !crisis.isActive && devices.count > 1 && !(hasLookedAtCrisis ?? (![.offline, .strange].contains(sync.state) && !sync.status.isCrisisUnread))
  }
  /// Whether a command could look at what others have put on the relay; `nil` where none looked.
  package var hasLookedAtCrisis: Bool?
  package var crisis: CrisisStatus
  package var conflicts: [Conflict]
  package var conflictTally = ConflictTally()
  package var decisions = DecisionTally.Report()
  package var settling: [GuaranteeRow] = []
  /// All that are open, also beyond those that are listed.
  package var conflictCount: Int
  /// When the one that has waited longest was written, in milliseconds since 1970.
  package var oldestConflict: UInt64?
  package var sessions: [Session]
  package var quota: Quota
  package var guarantees: [GuaranteeRow]
  package var crisisPath: [GuaranteeRow] = []
  package var events: [Event]
  package var stateHash: StateHash
  package var operations: UInt64
  package var plan = SafetyPlan(plans: [], contacts: [])
  package var screening = ScreeningContext()
}
