/// What can go wrong in a simulated world, and how often.
package struct Faults: Sendable, Hashable {
  /// Requests to the relay that never arrive, per thousand.
  package var lostRequests = 40
  /// Requests that arrive but whose answer is lost, per thousand.
  package var lostAnswers = 30
  /// Answers and notifications that come twice, per thousand.
  package var repeated = 40
  /// Notifications that never come, per thousand.
  package var lostNotifications = 150
  /// Milliseconds that answers and notifications take.
  package var delay = 1...400
  /// Partitions that begin, per thousand steps of a device's life.
  package var partitions = 15
  /// Power cuts, per thousand commits.
  package var powerCuts = 12
  /// Wiped relays, per thousand steps.
  package var wipes = 2
  /// Relays restored from a backup, per thousand steps.
  package var rollbacks = 3
  /// Damaged bytes on the relay, per thousand steps.
  package var damage = 4
  /// Clocks that are wrong by up to this many seconds, in either direction.
  package var skewSeconds = 420
  /// Clocks that are set while the program runs, per thousand steps.
  package var clockJumps = 2
  /// Homes that are put back to an earlier moment, per thousand steps; sometimes with the relay, sometimes unnoticed.
  package var putBacks = 3
  /// Homes that are copied and used twice, per thousand steps.
  package var clones = 1
  /// Relay folders that are empty, or another relay, for a while, per thousand steps.
  package var unmounts = 4
  /// Files of which a service shows only the beginning for a while, per thousand steps.
  package var delayedFiles = 5
  /// Sync leaders that are stopped while they do something, per thousand steps.
  package var stops = 4
  /// Disks of devices that are full for a while, per thousand steps.
  package var fullDisks = 3
  /// Crises that are raised past the store, or taken back so, per thousand acts of a person.
  package var pastStore = 25
  /// Devices that are let in, per thousand steps; half of them together with another one.
  package var enrolments = 2
  /// What somebody else puts on a board, where a notice could lie, per thousand steps.
  package var junk = 6
  /// Frames under a key that nobody has, in files of the crisis lane, per thousand steps.
  package var keyless = 5
  /// Rows of a device that cannot be read for a while, per thousand steps.
  package var unreadableRows = 6
  /// Commands that take in what others wrote about a crisis, beside the process that exchanges, per thousand steps.
  package var takeIns = 8
  /// Worlds in which nobody does anything for ten minutes in the end, per thousand.
  package var idleWorlds = 15

  package init() {}

  /// A world in which homes are put back and relays lose things all the time.
  package static var harsh: Faults {
    var faults = Faults()
    (faults.putBacks, faults.rollbacks, faults.wipes, faults.partitions) = (12, 12, 8, 40)
    return faults
  }

  package static let names = [
    "loss", "repeat", "delay", "partition", "crash", "wipe", "rollback", "damage", "skew", "jump", "restore", "clone",
    "unmount", "defer", "stop", "full", "enrol", "junk", "keyless", "unreadable", "command", "idle",
  ]

  /// Only the named faults; `nil` when a name is unknown.
  package init?(only names: [String]) {
    guard names.allSatisfy(Self.names.contains) else { return nil }
    self.init()
    if !names.contains("loss") { (lostRequests, lostAnswers, lostNotifications) = (0, 0, 0) }
    if !names.contains("repeat") { repeated = 0 }
    if !names.contains("delay") { delay = 1...1 }
    if !names.contains("partition") { partitions = 0 }
    if !names.contains("crash") { powerCuts = 0 }
    if !names.contains("wipe") { wipes = 0 }
    if !names.contains("rollback") { rollbacks = 0 }
    if !names.contains("damage") { damage = 0 }
    if !names.contains("skew") { skewSeconds = 0 }
    if !names.contains("jump") { clockJumps = 0 }
    if !names.contains("restore") { putBacks = 0 }
    if !names.contains("clone") { clones = 0 }
    if !names.contains("unmount") { unmounts = 0 }
    if !names.contains("defer") { delayedFiles = 0 }
    if !names.contains("stop") { stops = 0 }
    if !names.contains("full") { fullDisks = 0 }
    if !names.contains("enrol") { enrolments = 0 }
    if !names.contains("junk") { junk = 0 }
    if !names.contains("keyless") { keyless = 0 }
    if !names.contains("unreadable") { unreadableRows = 0 }
    if !names.contains("command") { takeIns = 0 }
    if !names.contains("idle") { idleWorlds = 0 }
  }
}

/// Rare situations that a sweep must really have met.
package enum Probe: String, Sendable, CaseIterable {
  case concurrentEdit = "merge.concurrent-edit"
  case openConflict = "merge.open-conflict"
  case replacedBeforeArrival = "merge.replaced-before-arrival"
  case eraseAgainstEdit = "merge.erase-against-edit"
  case decided = "conflict.decided"
  case assisted = "conflict.decided-by-the-assistant"
  case decidedApart = "conflict.decided-in-two-places"
  case concurrentCrisis = "crisis.resolved-while-activated"
  case alert = "crisis.contact-told"
  case alertFoundDone = "crisis.another-device-had-told"
  case alertEnded = "crisis.told-that-it-is-over"
  case alertWaited = "crisis.alert-waited-for-an-activation"
  case familyStage = "crisis.first-stage"
  case contactsStage = "crisis.second-stage"
  case alertedInTheEnd = "crisis.everybody-told-in-the-end"
  case quarantine = "clock.quarantine"
  case lostRequest = "network.lost-request"
  case lostAnswer = "network.lost-answer"
  case repeatedAnswer = "network.repeated-answer"
  case partition = "network.partition"
  case cutBeforeCommit = "disk.power-cut-before-commit"
  case cutAfterCommit = "disk.power-cut-after-commit"
  case wiped = "relay.wiped"
  case rolledBack = "relay.rolled-back"
  case damaged = "relay.damaged"
  case healed = "relay.healed"
  case siblingAppend = "relay.appended-by-another-process"
  case fullBatch = "lane.several-operations-in-a-batch"
  case putBack = "home.put-back"
  case putBackUnnoticed = "home.put-back-unnoticed"
  case putBackWithRelay = "home.put-back-with-the-relay"
  case cloned = "home.cloned"
  case tookBack = "home.took-back-what-it-had-written"
  case forked = "stream.two-histories"
  case lifeClosed = "stream.life-closed"
  case copyTold = "home.copy-told"
  case carried = "relay.carried-for-another"
  case missing = "relay.something-missing-was-told"
  case unmounted = "relay.unmounted"
  case relayAdopted = "relay.adopted"
  case delayedFile = "relay.file-shown-in-part"
  case shownAcrossGap = "crisis.shown-across-a-gap"
  case released = "clock.released"
  case clockJump = "clock.jump"
  case stopped = "process.stopped"
  case diskFull = "disk.full"
  case enrolled = "membership.enrolled"
  case enrolledTwice = "membership.two-at-once"
  case beganLate = "membership.first-exchange-cut-short"
  case introduced = "membership.made-itself-known"
  case raisedPastStore = "crisis.raised-past-the-store"
  case takenBackPastStore = "crisis.taken-back-past-the-store"
  case takenOver = "crisis.taken-over-by-the-store"
  case takenIn = "crisis.taken-in-by-a-command"
  case junk = "relay.junk-on-a-board"
  case keyless = "relay.frames-under-no-key"
  case unreadableRow = "disk.row-not-readable"
  case idle = "process.idle"
}

/// A promise that a run broke.
package struct Violation: Error, Sendable, Hashable {
  package var promise: String
  package var detail: String
}

/// A bug put in on purpose, to prove that the checks notice it. Used by tests alone.
package enum Sabotage: String, Sendable, CaseIterable {
  /// The state depends on the order of arrival.
  case orderedMerge
  /// A commit is acknowledged before it is on the disk.
  case lazyDisk
  /// What travels is not sealed.
  case plainRelay
  /// Alerts do not wait for anything.
  case hastyAlert
  /// Those who were told hear that it is over while it goes on.
  case hastyEnd
  /// What was raised past the store is not taken over by it.
  case forgetsJournal
  /// What others have signed for is not looked at.
  case hidesMissing
  /// A store that was put back goes on in the life that it had.
  case reusesNumbers
  /// A reader takes a number for known without comparing the frame.
  case numbersAlone
  /// What a device wrote and its log lacks is not taken back.
  case neverTakesBack
  /// What the relay lacks of others is not put there.
  case neverCarries
  /// Nobody looks whether a life that was closed is complete here.
  case ignoresClosings
  /// Raising a crisis waits for what was written before it.
  case waitsAtGaps
  /// Whatever lies in the folder is the relay.
  case writesAnywhere
  /// Of two devices that are let in at once the second is forgotten.
  case forgetsNewcomers
  /// Who is not known is not read, also where it introduces itself.
  case knowsNoStrangers
  /// Whatever lies on a board is a notice.
  case trustsJunk
  /// What cannot be read is taken for absent.
  case passesOverDamage
  /// What was done in a whole life counts as a loop.
  case countsForever
}
