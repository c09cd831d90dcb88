import CSystem
import Causality
import Foundation
import Replica
import Storage
import Therapy

/// What others are shown: the faces of this process, and the other processes of the device.
extension DriverLoop {
  // MARK: What there is to see

  /// In a crisis what is not about it is shown a little less often.
  var publishGap: UInt64 { (live.isCrisisActive ? 3 : 1) * 1_000_000_000 / UInt64(Limits.framesPerSecond) }
  var names: [DeviceID: String] {
    if let knownNames { return knownNames }
    let names = (try? store.read { try SnapshotBuilder.names($0, performer.members) }) ?? [:]
    knownNames = names
    return names
  }

  func publishIfDue(_ now: Moment) {
    // A crisis is drawn at once, also in the middle of a long catch-up.
    guard needsPublishing, let publish = observer.snapshot, crisisIsNews || now.uptime >= lastPublished + publishGap else { return }
    (needsPublishing, crisisIsNews) = (false, false)
    lastPublished = now.uptime
    let builder = SnapshotBuilder(ring: store.ring, members: performer.members, relay: driver.relayName)
    do {
      publish(try store.read {
        try live.refresh($0)
        live.measurements.makeRows()
        let isElsewhere = isLeader ? false : PeerProcesses.isLed(store.home, now: now.uptime)
        var snapshot = try builder.build($0, live: live, isLeader ? .here(replica) : isElsewhere ? .elsewhere : .nowhere, now: now)
        try tellCrisis($0, &snapshot)
        return snapshot
      })
    } catch { observer.failed(error) }
  }

  /// What is told to whom, as this process counts it and does it.
  private func tellCrisis(_ transaction: SQLiteTransaction, _ snapshot: inout Snapshot) throws {
    guard snapshot.crisis.isActive else { return }
    let record = try transaction.record(CrisisState.record(ofAccount: store.ring.account.account))
    let crisis = CrisisState(try live.glimpse.over(record, hasArrived: transaction.hasArrived))
    snapshot.crisis.tellings = live.duty.tellings(snapshot.plan.contacts, crisis, snapshot.moment)
    snapshot.crisis.step = live.duty.step(snapshot.moment)
  }

  func flushIfDue(_ now: Moment) {
    guard flush.isDirty || live.measurements.hasChanged || live.hasProgress, isLeader,
      now.uptime >= flush.due(inCrisis: live.isCrisisActive)
    else {
      if live.measurements.hasChanged || live.hasProgress { flush.isDirty = isLeader }
      return
    }
    remember(now)
  }

  /// Keeps what other processes of this device, and the next run, want to know.
  func remember(_ now: Moment) {
    guard isLeader else { return }
    live.hasProgress = false
    let presences = flush.take(now: now.uptime)
    let measurements = live.measurements.takeChanged()
    let progress = replica.outbox.queues.mapValues(\.accepted)
    let known = replica.peers.all
    let status = status(now)
    var tally = live.conflicts
    do {
      try store.write(within: Self.patience) { transaction in
        for (device, presence) in presences.sorted(by: { $0.key < $1.key }) {
          try transaction.remember(
            presence, heard: known[device]?.heardWall ?? now.wall, roundTrip: known[device]?.roundTrip)
        }
        for measurement in measurements {
          try transaction.setMeasurement(measurement.operation, measurement.mode, measurement.bytes)
        }
        try transaction.setRelayProgress(progress)
        try transaction.setLeaderStatus(status.bytes)
        try tally.keep(&transaction)
      }
      live.conflicts = tally
      accepted()
      let isNews = status.isOtherThan(keptStatus)
      keptStatus = status
      if isNews || !presences.isEmpty || !measurements.isEmpty { store.pingOthers(except: peers.path) }
    } catch { refused(error) }
  }
}
