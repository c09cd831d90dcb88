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
  /// What was seen to lie on the relay, beyond what the program that exchanges has kept of it.
  var sent: [Channel: UInt64] = [:]

  package init(ring: KeyRing, members: Members, relay: String) {
    self.ring = ring
    self.members = members
    self.relay = relay
  }

  /// What the store alone tells: for commands, and for processes that only watch.
  /// - Parameter glimpse: What is written about the crisis and may not be in the store.
  package static func fromStore(
    _ store: Store, relay: String, beside glimpse: CrisisGlimpse = CrisisGlimpse(), sent: [Channel: UInt64] = [:]
  ) throws -> Snapshot {
    let now = SystemClock.now
    let isExchanged = PeerProcesses.isLed(store.home, now: now.uptime)
    return try store.read { transaction in
      var builder = SnapshotBuilder(ring: store.ring, members: members(try transaction.membership(), store.ring), relay: relay)
      builder.sent = sent
      var live = try LiveState(tier: .selfHosted, transaction)
      live.glimpse = glimpse
      try live.glimpse.forget(where: transaction.hasArrived)
      return try builder.build(transaction, live: live, isExchanged ? .elsewhere : .nowhere, now: now)
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
    try store.read { try names($0, members(try $0.membership(), store.ring)) }
  }

  static func members(_ log: [[UInt8]], _ ring: KeyRing) -> Members { Members(rootKey: ring.account.rootKey, trusted: log) }

  /// Who exchanges with the relay for this device.
  enum Exchange {
    case here(Replica)
    /// Another process of this device.
    case elsewhere
    /// None, as far as can be seen.
    case nowhere

    var replica: Replica? { if case .here(let replica) = self { replica } else { nil } }
  }

  func build(_ transaction: SQLiteTransaction, live: LiveState, _ exchange: Exchange, now: Moment) throws -> Snapshot {
    let names = try Self.names(transaction, members)
    let replica = exchange.replica
    let peers = try replica?.peers.all ?? Self.peers(transaction.rememberedPeers())
    let state = try Held(transaction, own: ring.device)
    let hash = state.hash
    let record = try transaction.record(CrisisState.record(ofAccount: ring.account.account))
    let crisis = CrisisState(try live.glimpse.over(record, hasArrived: transaction.hasArrived))
    let plan = try SafetyPlan(transaction)
    let open = try transaction.openRecords(limit: Limits.listedConflicts)
    let found = Self.reviewed(open.flatMap { Self.conflicts($0, names) }, live.reviews.open)
    let summary = open.count < Limits.listedConflicts ? nil : try transaction.openRecordSummary()
    let listed = try advised(Self.ordered(found), live.looked, live, transaction)
    return Snapshot(
      moment: now, account: Self.accountName(ring), device: ring.device,
      devices: devices(names, state, peers, replica, isDeaf: try isDeaf(transaction, exchange), now),
      sync: try sync(transaction, live, exchange, state, peers, names, now),
      crisis: try crisisStatus(crisis, plan.contacts, live, peers, names, transaction),
      conflicts: listed, conflictTally: live.conflicts, decisions: live.decisions.report,
      settling: live.measurements.settling,
      conflictCount: summary?.count ?? listed.count,
      oldestConflict: summary?.oldest?.milliseconds ?? listed.compactMap { $0.versions.map(\.timestamp).max() }.min(),
      sessions: try sessions(transaction, names, now),
      quota: Snapshot.Quota(
        tier: live.tier, used: try transaction.syncOperations(onDay: now.wall / millisecondsPerDay),
        deviceCount: members.devices.count),
      guarantees: live.measurements.rows, crisisPath: live.measurements.crisisPath, events: live.events, stateHash: hash,
      operations: state.operations, plan: plan,
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
      var peer = Peer(presence: entry.presence)
      (peer.heardWall, peer.roundTrip) = (entry.heard, entry.roundTrip)
      peers[entry.presence.device] = peer
    }
    return peers
  }

  /// What this store has.
  private struct Held {
    let heads: [StreamKey: [StreamHead]]
    let folded: [DeviceID: UInt64]
    let hash: StateHash
    /// Streams of which something is kept and not shown yet.
    let heldBack: [StreamKey: UInt64]
    let report: [Channel: OwnProgress]

    init(_ transaction: SQLiteTransaction, own: DeviceID) throws {
      (heads, folded, hash) = (try transaction.openHeads(), try transaction.foldedOperations(), try transaction.stateHash())
      (heldBack, report) = (try transaction.heldBack(), try transaction.ownProgress(of: own))
    }

    /// Whether what is shown here is what others are told of.
    var isComparable: Bool { heldBack.isEmpty && heads.allSatisfy { $0.value.allSatisfy { $0.applied == $0.batched } } }
    var cursors: [StreamKey: [StreamCursor]] { heads.mapValues { $0.map(\.cursor) } }
    var operations: UInt64 {
      heads.filter { $0.key.channel.lane != nil }.reduce(folded.values.reduce(0, +)) { $0 + $1.value.reduce(0) { $0 + $1.applied } }
    }

    /// Changes of others and of this device that a device has not said that it has; `nil` where that is not known.
    func behind(_ presence: Presence, _ device: DeviceID) -> UInt64 {
      heads.reduce(0) { sum, entry in
        // Nobody is behind in what it wrote itself, whatever it has told so far.
        guard entry.key.device != device, entry.key.channel.lane != nil else { return sum }
        let there = presence.cursors[entry.key] ?? []
        return entry.value.reduce(sum) { sum, head in
          if there.contains(head.cursor) { return sum }
          // Where a history is still the only one, numbers compare.
          let reached = entry.value.count == 1 ? there.map(\.sequence).filter { $0 < head.batched }.max() ?? 0 : 0
          let isAhead = entry.value.count == 1 && there.contains { $0.sequence > head.batched }
          return isAhead ? sum : sum + (head.batched - reached)
        }
      }
    }

    /// Whether everything that this device wrote is there, in the same history: streams that were folded are behind
    /// the entries that closed them.
    func isConfirmed(by presence: Presence, own: DeviceID) -> Bool {
      heads.allSatisfy { stream, histories in
        guard stream.device == own else { return true }
        let there = presence.cursors[stream] ?? []
        return histories.allSatisfy { $0.batched == $0.applied && ($0.batched == 0 || there.contains($0.cursor)) }
          && presence.heldBack[stream] == nil
      }
    }
  }

  // MARK: Parts

  /// Whether anything was ever heard of a device.
  private func isHeardOf(_ device: DeviceID, _ held: Held, _ peers: [DeviceID: Peer]) -> Bool {
    device == ring.device || peers[device] != nil || held.folded[device] != nil
      || held.heads.contains { $0.key.device == device && $0.value.contains { $0.applied > 0 } }
  }

  private func devices(
    _ names: [DeviceID: String], _ held: Held, _ peers: [DeviceID: Peer], _ replica: Replica?, isDeaf: Bool, _ now: Moment
  ) -> [Snapshot.Device] {
    let cursors = held.cursors
    return members.devices.map { device in
      let certificate = members.certificates[device]
      let peer = peers[device]
      let isThisOne = device == ring.device
      // Its hash speaks of the operations it had when it said so: only the very same ones compare.
      let isComparable = !isThisOne && held.isComparable && peer.map { $0.presence.heldBack.isEmpty && $0.presence.cursors == cursors } ?? false
      return Snapshot.Device(
        id: device, name: names[device] ?? "device", kind: certificate?.kind ?? "laptop", isThisOne: isThisOne,
        isHeardOf: isHeardOf(device, held, peers), presence: isThisOne ? .here : isDeaf ? .unknown : presence(device, peer, replica, now),
        heard: isThisOne ? now.wall : peer.map(\.heardWall),
        behind: isThisOne ? 0 : peer.map { held.behind($0.presence, device) },
        heldBack: peer?.presence.heldBack.count ?? 0, roundTrip: peer?.roundTrip,
        isSameState: isComparable ? peer?.presence.stateHash == held.hash : nil)
    }.sorted { ($0.isThisOne ? 0 : 1, $0.name, $0.id) < ($1.isThisOne ? 0 : 1, $1.name, $1.id) }
  }

  /// Whether the process that exchanges cannot reach the relay: then nobody can be heard.
  private func isDeaf(_ transaction: SQLiteTransaction, _ exchange: Exchange) throws -> Bool {
    guard case .elsewhere = exchange else { return false }
    let status = ExchangeStatus(transaction, saved: 0, accepted: 0, isExchanged: true)
    return status.state == .offline || status.state == .strange
  }

  private func presence(_ device: DeviceID, _ peer: Peer?, _ replica: Replica?, _ now: Moment) -> PresenceState {
    if let replica {
      let state = replica.peers.state(of: device, now: now.uptime)
      // Without a relay nobody can be heard.
      return state == .here && !replica.relay.isReachable ? .unknown : state
    }
    guard let peer else { return .unknown }
    let isRecent = now.wall &- peer.heardWall < Peers.hereFor / 1_000_000
    return isRecent && !peer.presence.isLeaving ? .here : .away
  }

  /// Operations that were made here, and those of them that lie on the relay without a gap.
  static func ownCounts(_ own: [Channel: OwnProgress], _ progress: [Channel: UInt64]) -> (saved: UInt64, accepted: UInt64) {
    own.reduce((0, 0)) { sum, entry in
      guard entry.key.lane != nil else { return sum }
      return (sum.0 + entry.value.saved, sum.1 + min(entry.value.saved, progress[entry.key] ?? 0))
    }
  }

  private func sync(
    _ transaction: SQLiteTransaction, _ live: LiveState, _ exchange: Exchange, _ held: Held, _ peers: [DeviceID: Peer],
    _ names: [DeviceID: String], _ now: Moment
  ) throws -> Snapshot.Sync {
    let replica = exchange.replica
    let remembered = try ExchangeStatus.progress(transaction)
    let progress = (replica.map { ExchangeStatus.progress($0, remembered: remembered) } ?? remembered).merging(sent, uniquingKeysWith: { $1 })
    let (saved, accepted) = Self.ownCounts(held.report, progress)
    let others = members.devices.filter { $0 != ring.device && isHeardOf($0, held, peers) }
    let confirmed = others.filter { device in peers[device].map { held.isConfirmed(by: $0.presence, own: ring.device) } ?? false }
    var status = replica.map { ExchangeStatus($0, saved: saved, accepted: accepted, names: names, now: now) }
      ?? ExchangeStatus(transaction, saved: saved, accepted: accepted, isExchanged: { if case .elsewhere = exchange { true } else { false } }())
    if !live.glimpse.operations.isEmpty, status.state == .upToDate {
      (status.state, status.reason) = (.incomplete, "something about a crisis is not saved here yet")
    }
    return Snapshot.Sync(
      status: status, relay: relay, isExchanging: replica != nil, pending: try transaction.pendingCounts(), saved: saved,
      accepted: accepted, confirmedOn: confirmed.count, others: others.count, batchesUp: live.batchesUp,
      batchesDown: live.batchesDown, bytesUp: live.bytesUp, bytesDown: live.bytesDown,
      quarantined: try transaction.quarantinedCount(),
      closedLife: try transaction.lastClosing(of: ring.device).flatMap { PutBack.isRecent($0, now: now.wall) ? $0 : nil })
  }

  /// Whether a device says that it has a write.
  private func has(_ peer: Peer?, _ id: OperationID, _ transaction: SQLiteTransaction) throws -> Bool {
    let stream = StreamKey(id.stream)
    let there = (peer?.presence.cursors[stream] ?? []).filter { $0.sequence >= id.sequence }
    guard !there.isEmpty else { return false }
    let histories = try transaction.heads(of: stream)
    // Of a stream with several histories a number says nothing: all of them have to be there.
    guard histories.count > 1 else { return true }
    return histories.allSatisfy { there.contains($0.cursor) }
  }

  private func crisisStatus(
    _ crisis: CrisisState, _ contacts: [SafetyPlan.Contact], _ live: LiveState, _ peers: [DeviceID: Peer], _ names: [DeviceID: String],
    _ transaction: SQLiteTransaction
  ) throws -> Snapshot.CrisisStatus {
    let latest = crisis.activations.last
    let receipts = try members.devices.filter { $0 != ring.device && $0 != latest?.id.stream.device }.map { device in
      let hasIt = try latest.map { try has(peers[device], $0.id, transaction) } ?? false
      return Snapshot.CrisisStatus.Receipt(
        device: names[device] ?? "device", hasIt: hasIt,
        after: latest?.id.stream.device == ring.device ? live.receipts[device] : nil,
        shown: latest?.id.stream.device == ring.device ? live.shown[device] : nil)
    }
    return Snapshot.CrisisStatus(
      level: crisis.level, since: crisis.leading?.timestamp.milliseconds, source: crisis.leading.flatMap { names[$0.id.stream.device] } ?? "",
      activation: crisis.leading?.id.name ?? "", latest: latest?.id.name ?? "", activations: crisis.activations.map(\.id),
      receipts: crisis.isActive ? receipts.sorted { $0.device < $1.device } : [],
      acknowledgements: crisis.acknowledgements.map { entry in
        let raised = crisis.activations.first { $0.id == entry.activation }?.timestamp.milliseconds ?? 0
        return Snapshot.CrisisStatus.Acknowledgement(
          device: names[entry.device] ?? "device", after: max(raised, entry.timestamp.milliseconds) - raised)
      }, isAcknowledgedHere: crisis.acknowledgements.contains { $0.device == ring.device },
      isSaved: live.glimpse.operations.isEmpty, step: live.duty.watch.step, showsContacts: crisis.stages.contains(.contacts),
      tellings: contacts.compactMap { contact in
        Self.telling(contact, crisis, live.duty).map {
          Snapshot.CrisisStatus.Telling(name: contact.name, phone: contact.phone, state: $0)
        }
      }, toldUnnamed: crisis.isActive ? Set(crisis.told).subtracting(contacts.map(\.record)).count : 0)
  }

  /// What a contact learns of the crisis; `nil` for one that is never told.
  private static func telling(
    _ contact: SafetyPlan.Contact, _ crisis: CrisisState, _ duty: CrisisDuty
  ) -> Snapshot.CrisisStatus.Telling.State? {
    if let told = crisis.tellings.first(where: { $0.contact == contact.record })?.timestamp.milliseconds {
      return .told(told, duty.arrivals[contact.record])
    }
    guard crisis.level >= .severe else { return nil }
    if contact.isUndecided, contact.consent == .never || !contact.isInvited { return .undecided }
    guard contact.consent != .never else { return nil }
    if !contact.isInvited { return .notInvited }
    if duty.watch.alert.later.contains(contact.record) { return .later(duty.watch.alert.milliseconds ?? 0) }
    return duty.watch.alert.now.contains(contact.record) || contact.consent == .prompt ? .now : .unanswered
  }

  private func sessions(_ transaction: SQLiteTransaction, _ names: [DeviceID: String], _ now: Moment) throws
    -> [Snapshot.Session]
  {
    try transaction.records(kind: RecordCatalogue.session.kind, limit: 20).compactMap(SessionState.init)
      .map { session in
        let isOwn = session.owner == ring.device
        let (total, elapsed) = (session.practice?.seconds ?? 0, session.elapsed(at: now.wall))
        let stage = session.practice.map { $0.stages[$0.stage(at: elapsed).index].name } ?? ""
        return Snapshot.Session(
          id: session.id, type: session.type, phase: session.phase.rawValue,
          owner: session.owner.flatMap { names[$0] } ?? "nobody", isOwn: isOwn,
          offeredTo: session.offer.flatMap { names[$0.device] }, elapsed: elapsed, seconds: total, stage: stage, resumed: session.resumed,
          written: session.written.milliseconds)
      }
  }
}
