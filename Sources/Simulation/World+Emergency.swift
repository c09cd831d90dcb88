import Causality
import Crisis
import Relays
import Replica
import Sealing
import Therapy

/// A crisis that is raised past the store: kept beside it, put on the relay beside the device's lane, taken over by the
/// store later, twice or not at all.
extension World {
  /// Sometimes, and whenever the disk of the store is full, the person raises a crisis past the store, or takes back what
  /// was raised that way.
  mutating func actPastStore(_ index: Int) throws {
    let device = devices[index]
    let writer = device.emergency
    let wall = moment(index).wall
    var entries = [EmergencyWriter.Entry]()
    let known = device.journal + device.unkept
    if writer.isActive(in: known), random.happens(permille: 400) {
      entries = try writer.withdrawals(from: known, wall: wall, using: &random)
      perhapsResolved.formUnion(entries.flatMap(\.operation.replaces))
    } else {
      entries = [try writer.activation(CrisisLevel.allCases[random.number(1...4)], source: "person", wall: wall, using: &random)]
    }
    for entry in entries { try raise(entry, index) }
  }

  /// Disk and relay are tried side by side; either is enough for the person to be told so.
  private mutating func raise(_ entry: EmergencyWriter.Entry, _ index: Int) throws {
    let isKept = !devices[index].store.isFull
    if isKept { devices[index].journal.append(entry.frame) } else { devices[index].unkept.append(entry.frame) }
    let isSent = !random.happens(permille: 200) && send([entry.frame], index, isFirst: true)
    guard isKept || isSent else { return }
    try remember(entry.operation)
    if entry.operation.replaces.isEmpty {
      probes.count(.raisedPastStore)
      raised.insert(entry.operation.id)
      let others = devices.indices.filter { devices[$0].id != devices[index].id }
      if isSent { household.underWay.append((entry.operation.id, now, Set(others))) }
    } else {
      probes.count(.takenBackPastStore)
      resolved[entry.operation.id] = entry.operation.replaces
    }
    devices[index].journalIsDue = true
    if !isKept { mayLose = true }
  }

  private mutating func send(_ frames: [[UInt8]], _ index: Int, isFirst: Bool) -> Bool {
    guard let file = devices[index].emergency.file else { return false }
    defer { notify(from: index) }
    do throws(RelayError) {
      guard isFirst else {
        try devices[index].connection.deliver(frames, to: file)
        return true
      }
      try devices[index].connection.appendAnyway(frames, to: file)
      try devices[index].connection.complete(frames, after: [], in: file)
      if !devices[index].introduction.isEmpty {
        try devices[index].connection.deliver(devices[index].introduction, to: RelayStream(tag: file.tag, channel: .membership))
      }
    } catch { return false }
    if isCalm || !random.happens(permille: faults.lostNotifications) {
      schedule(index, .event(.relayChanged([file]), run: devices[index].run), after: delay())
    }
    return true
  }

  /// The store takes over what lies beside it; while it cannot, who exchanges puts that on the relay.
  mutating func takeOverJournal(_ index: Int) throws {
    guard devices[index].journalIsDue, devices[index].replica != nil, devices[index].stoppedUntil <= now,
      let file = devices[index].emergency.file
    else { return }
    // Who raised it tries the disk until it takes it.
    if !devices[index].store.isFull {
      devices[index].journal += devices[index].unkept
      devices[index].unkept = []
    }
    if sabotage == .forgetsJournal { return devices[index].journalIsDue = false }
    armPowerCut(index)
    do {
      // Another process of the device may be about to do the same.
      for _ in 0..<(random.happens(permille: 300) ? 2 : 1) {
        var outcome = ApplyOutcome(next: .start)
        try devices[index].performer.take(devices[index].journal, from: file, limit: moment(index).wall, &outcome)
        guard var replica = devices[index].replica else { return }
        if !outcome.changes.isEmpty { probes.count(.takenOver) }
        try note(outcome, index, &replica)
        devices[index].replica = replica
      }
      devices[index].journalIsDue = !devices[index].unkept.isEmpty
      try feed(index, .committed(devices[index].store.read { try $0.ownReport(of: devices[index].ring) }))
    } catch is PowerCut { powerCut(index) } catch is MemoryStore.Unreadable {
      _ = send(devices[index].journal + devices[index].unkept, index, isFirst: false)
    } catch is MemoryStore.DiskFull {
      _ = send(devices[index].journal + devices[index].unkept, index, isFirst: false)
    }
  }
}
