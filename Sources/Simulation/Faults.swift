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

  package init() {}

  package static let names = ["loss", "repeat", "delay", "partition", "crash", "wipe", "rollback", "damage", "skew"]

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
}
