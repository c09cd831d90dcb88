import Causality
import ConflictResolution
import Crisis
import Foundation
import Replica
import Sealing
import Storage
import Therapy

/// Puts a ``Snapshot`` together from the store, and from the replica where this process runs it.
package struct SnapshotBuilder {
  package var ring: KeyRing
  package var members: Members
  package var relay: String

  package init(ring: KeyRing, members: Members, relay: String) {
    self.ring = ring
    self.members = members
    self.relay = relay
  }

  /// What the store alone tells: for commands, and for processes that only watch.
  package static func fromStore(_ store: Store, relay: String) throws -> Snapshot {
    try store.read { transaction in
      let builder = SnapshotBuilder(ring: store.ring, members: try members(transaction, store.ring), relay: relay)
      let live = try LiveState(tier: .selfHosted, transaction)
      return try builder.build(transaction, live: live, replica: nil, now: SystemClock.now)
    }
  }

  /// Names as people chose them; the name a device joined with where nobody did.
  package static func names(_ transaction: SQLiteTransaction, _ members: Members) throws -> [DeviceID: String] {
    var names = members.certificates.mapValues(\.name)
    for device in members.devices {
      guard let id = RecordID(bytes: device.bytes), let name = try transaction.record(id)?.text("name") else { continue }
      names[device] = name
    }
    return names
  }

  package static func names(of store: Store) throws -> [DeviceID: String] {
    try store.read { try names($0, members($0, store.ring)) }
  }

  static func members(_ transaction: SQLiteTransaction, _ ring: KeyRing) throws -> Members {
    var members = Members(rootKey: ring.account.rootKey)
    for entry in try transaction.membership() { _ = try members.accept(entry) }
    return members
  }

  func build(_ transaction: SQLiteTransaction, live: LiveState, replica: Replica?, now: Moment) throws -> Snapshot {
    let names = try Self.names(transaction, members)
    let heads = try transaction.heads().filter { $0.key.channel.lane != nil }.mapValues(\.applied)
    let hash = try transaction.stateHash()
    let remembered = replica == nil ? try transaction.rememberedPeers() : []
    let peers = replica?.peers.all ?? Self.peers(remembered)
    let crisis = CrisisState(try transaction.record(CrisisState.record(ofAccount: ring.account.account)))
    let plan = try SafetyPlan(transaction)
    let open = try transaction.openRecords(limit: Limits.listedConflicts)
    let found = Self.reviewed(open.flatMap { Self.conflicts($0, names) }, live.reviews.open)
    let summary = open.count < Limits.listedConflicts ? nil : try transaction.openRecordSummary()
    let listed = try advised(Self.ordered(found), live.looked, live, transaction)
    return Snapshot(
      moment: now, account: Self.accountName(ring), device: ring.device,
      devices: devices(names, heads, hash, peers, replica, now),
      sync: try sync(transaction, live, replica, heads, peers, now),
      crisis: crisisStatus(crisis, plan.contacts, live, peers, names, now),
      conflicts: listed, conflictTally: live.conflicts, decisions: live.decisions.report,
      settling: live.measurements.settling,
      conflictCount: summary?.count ?? listed.count,
      oldestConflict: summary?.oldest?.milliseconds ?? listed.compactMap { $0.versions.map(\.timestamp).max() }.min(),
      sessions: try sessions(transaction, names, now),
      quota: Snapshot.Quota(
        tier: live.tier, used: try transaction.syncOperations(onDay: now.wall / millisecondsPerDay),
        deviceCount: members.devices.count),
      guarantees: live.measurements.rows, crisisPath: live.measurements.crisisPath, events: live.events, stateHash: hash,
      operations: heads.values.reduce(0, +), plan: plan,
      screening: ScreeningContext(
        try transaction.records(kind: RecordCatalogue.assessment.kind, limit: 50), wall: now.wall))
  }

  /// A short name for the account that says nothing about the person.
  static func accountName(_ ring: KeyRing) -> String {
    String(RecordID(bytes: ring.account.account)?.description.suffix(8) ?? "")
  }

  /// What was known of the others when it was last kept.
  static func peers(_ remembered: [(presence: Presence, heard: UInt64, roundTrip: UInt64?)]) -> [DeviceID: Peer] {
    var peers: [DeviceID: Peer] = [:]
    for entry in remembered {
      var peer = Peer()
      peer.incarnation = entry.presence.incarnation
      peer.counter = entry.presence.counter
      peer.heads = entry.presence.heads
      peer.stateHash = entry.presence.stateHash
      peer.isLeaving = entry.presence.isLeaving
      peer.heardWall = entry.heard
      peer.roundTrip = entry.roundTrip
      peers[entry.presence.device] = peer
    }
    return peers
  }

  // MARK: Parts

  private func devices(
    _ names: [DeviceID: String], _ heads: [StreamKey: UInt64], _ hash: StateHash, _ peers: [DeviceID: Peer],
    _ replica: Replica?, _ now: Moment
  ) -> [Snapshot.Device] {
    members.devices.map { device in
      let certificate = members.certificates[device]
      let peer = peers[device]
      let behind = heads.reduce(UInt64(0)) { sum, head in
        // Nobody is behind in what it wrote itself, whatever it has told so far.
        if head.key.device == device { return sum }
        let there = peer?.heads[head.key] ?? 0
        return sum + (head.value > there ? head.value - there : 0)
      }
      let isThisOne = device == ring.device
      // Its hash speaks of the operations it had when it said so: only the very same ones compare.
      let there = peer?.heads.filter { $0.key.channel.lane != nil && $0.value > 0 }
      let isComparable = !isThisOne && there == heads
      return Snapshot.Device(
        id: device, name: names[device] ?? "device", kind: certificate?.kind ?? "laptop", isThisOne: isThisOne,
        presence: isThisOne ? .here : presence(device, peer, replica, now),
        heard: isThisOne ? now.wall : peer.map(\.heardWall), behind: isThisOne ? 0 : behind,
        roundTrip: peer?.roundTrip,
        isSameState: isComparable ? peer?.stateHash == hash : nil)
    }.sorted { ($0.isThisOne ? 0 : 1, $0.name, $0.id) < ($1.isThisOne ? 0 : 1, $1.name, $1.id) }
  }

  private func presence(_ device: DeviceID, _ peer: Peer?, _ replica: Replica?, _ now: Moment) -> PresenceState {
    if let replica { return replica.peers.state(of: device, now: now.uptime) }
    guard let peer else { return .unknown }
    let isRecent = now.wall &- peer.heardWall < Peers.hereFor / 1_000_000
    return isRecent && !peer.isLeaving ? .here : .away
  }

  private func sync(
    _ transaction: SQLiteTransaction, _ live: LiveState, _ replica: Replica?, _ heads: [StreamKey: UInt64],
    _ peers: [DeviceID: Peer], _ now: Moment
  ) throws -> Snapshot.Sync {
    let own = heads.filter { $0.key.device == ring.device && $0.key.channel.lane != nil }
    let saved = own.values.reduce(0, +)
    let progress = try replica.map { $0.outbox.queues.mapValues(\.accepted) } ?? transaction.relayProgress()
    let accepted = own.reduce(UInt64(0)) { $0 + min($1.value, progress[$1.key.channel] ?? 0) }
    let confirmed = members.devices.filter { device in
      device != ring.device && own.allSatisfy { peers[device]?.heads[$0.key] ?? 0 >= $0.value }
    }
    let (state, reason) = stateAndReason(replica, saved: saved, accepted: accepted, now)
    return Snapshot.Sync(
      state: state, reason: reason, relay: relay, epoch: replica?.relay.epoch,
      lastExchange: replica?.relay.lastExchange, isExchanging: replica != nil,
      pending: try transaction.pendingCounts(), saved: saved, accepted: accepted, confirmedOn: confirmed.count,
      batchesUp: live.batchesUp, batchesDown: live.batchesDown, bytesUp: live.bytesUp, bytesDown: live.bytesDown,
      quarantined: try transaction.quarantinedCount(), damagedStreams: replica?.inbox.damaged.count ?? 0)
  }

  private func stateAndReason(
    _ replica: Replica?, saved: UInt64, accepted: UInt64, _ now: Moment
  ) -> (Snapshot.Sync.State, String) {
    guard let replica else {
      return saved > accepted ? (.waiting, "saved here; another program of this device sends it") : (.idle, "")
    }
    if !replica.relay.isReachable {
      guard let retryAt = replica.relay.retryAt else { return (.starting, "looking at the relay") }
      let seconds = retryAt > now.uptime ? (retryAt - now.uptime + 999_999_999) / 1_000_000_000 : 0
      return (.offline, "the relay cannot be reached; trying again in \(seconds) s; everything is saved here")
    }
    if saved > accepted, let reason = replica.pacing.reason(now: now) { return (.waiting, reason) }
    return replica.isSettled ? (.idle, "") : (.syncing, "")
  }

  private func crisisStatus(
    _ crisis: CrisisState, _ contacts: [SafetyPlan.Contact], _ live: LiveState, _ peers: [DeviceID: Peer], _ names: [DeviceID: String], _ now: Moment
  ) -> Snapshot.CrisisStatus {
    let latest = crisis.activations.last
    let receipts = members.devices.filter { $0 != ring.device && $0 != latest?.id.stream.device }.map { device in
      let hasIt = latest.map { peers[device]?.heads[StreamKey($0.id.stream)] ?? 0 >= $0.id.sequence } ?? false
      return Snapshot.CrisisStatus.Receipt(
        device: names[device] ?? "device", hasIt: hasIt,
        after: latest?.id.stream.device == ring.device ? live.receipts[device] : nil,
        shown: latest?.id.stream.device == ring.device ? live.shown[device] : nil)
    }
    return Snapshot.CrisisStatus(
      level: crisis.level, since: crisis.since, source: latest.flatMap { names[$0.id.stream.device] } ?? "",
      activation: crisis.leading.map { "\($0.id.stream.device).\($0.id.sequence)" } ?? "",
      receipts: crisis.isActive ? receipts.sorted { $0.device < $1.device } : [],
      acknowledgements: crisis.acknowledgements.map { entry in
        let raised = crisis.activations.first { $0.id == entry.activation }?.timestamp.milliseconds ?? 0
        return Snapshot.CrisisStatus.Acknowledgement(
          device: names[entry.device] ?? "device", after: max(raised, entry.timestamp.milliseconds) - raised)
      }, isAcknowledgedHere: crisis.acknowledgements.contains { $0.device == ring.device },
      step: live.duty.watch.step, showsContacts: crisis.stages.contains(.contacts),
      tellings: contacts.compactMap { contact in
        Self.telling(contact, crisis, live.duty).map {
          Snapshot.CrisisStatus.Telling(name: contact.name, phone: contact.phone, state: $0)
        }
      })
  }

  /// What a contact learns of the crisis; `nil` for one that is never told.
  private static func telling(
    _ contact: SafetyPlan.Contact, _ crisis: CrisisState, _ duty: CrisisDuty
  ) -> Snapshot.CrisisStatus.Telling.State? {
    if let told = crisis.tellings.first(where: { $0.contact == contact.record })?.timestamp.milliseconds {
      return duty.seen[contact.record].map { .seen(told: told, $0) } ?? .told(told)
    }
    guard crisis.level >= .severe, contact.consent != .never else { return nil }
    if contact.link == nil { return .notInvited }
    if duty.watch.alert.later.contains(contact.record) { return .later(duty.watch.alert.milliseconds ?? 0) }
    return duty.watch.alert.now.contains(contact.record) || contact.consent == .prompt ? .now : .unanswered
  }

  private func sessions(_ transaction: SQLiteTransaction, _ names: [DeviceID: String], _ now: Moment) throws
    -> [Snapshot.Session]
  {
    try transaction.records(kind: RecordCatalogue.session.kind, limit: 20).compactMap(SessionState.init)
      .map { session in
        let isOwn = session.owner == ring.device
        let isRunning = session.phase == .running
        let since = now.wall > session.written.milliseconds ? now.wall - session.written.milliseconds : 0
        // Between two writes a running session goes on; after a minute without one nobody knows.
        let drift = isRunning && since < 60_000 ? Double(since) / 1_000 : 0
        let total = session.practice?.seconds ?? 0
        let elapsed = total > 0 ? min(total, session.elapsed + drift) : session.elapsed
        let stage = session.practice.map { $0.stages[$0.stage(at: elapsed).index].name } ?? ""
        return Snapshot.Session(
          id: session.id, type: session.type, phase: session.phase.rawValue,
          owner: session.owner.flatMap { names[$0] } ?? "nobody", isOwn: isOwn,
          offeredTo: session.offer.flatMap { names[$0.device] }, elapsed: elapsed, seconds: total, stage: stage, resumed: session.resumed,
          written: session.written.milliseconds)
      }
  }
}
