import Causality
import Crisis
import Relays
import Replica
import Sealing
import Therapy

/// The people whom the person allowed to be told of a crisis, what they were told, and the promises about it.
struct Household {
  struct Contact {
    var record: RecordID
    var link: SecretLink
    var consent: AlertConsent
    /// What the contact has read, and the alerts that were news to it.
    var reader: AlertReader
    var shown: [Set<[UInt8]>] = []
    /// Alerts that were put up, each with what it is about.
    var posted: [[OperationID]] = []
    var last: UInt64 = 0

    /// How often the contact was shown that this crisis is there.
    func times(_ crisis: CrisisState) -> Int {
      let board = NoticeBoard(link)
      let marks = Set(crisis.activations.map { board.mark($0.id) })
      return shown.filter { !$0.isDisjoint(with: marks) }.count
    }
    func wasShown(_ crisis: CrisisState) -> Bool { crisis.told.contains(record) && times(crisis) > 0 }
  }
  /// The name contacts know the person by.
  static let person = "P"
  var contacts: [Contact] = []
  /// Stages that were taken, each with the crisis it was taken for.
  var stages: [(stage: EscalationStage, about: Set<OperationID>)] = []
  /// Activations that are on their way, when they were raised, and devices that do not have them yet.
  var underWay: [(id: OperationID, at: UInt64, missing: Set<Int>)] = []
}

extension World {
  /// Nanoseconds within which every device that stayed connected shows an activation, in a network that
  /// loses 7 in 100 requests and 15 in 100 notifications and takes up to 0.4 s for each hop.
  var crisisBound: UInt64 { 15_000_000_000 + (isPolled ? 0 : Peers.heartbeat) }

  // MARK: Making

  mutating func inviteContacts() throws {
    for consent in [AlertConsent.prompt, .unanswered] {
      let (record, link) = (RecordID(using: &random), SecretLink(using: &random))
      household.contacts.append(Household.Contact(record: record, link: link, consent: consent, reader: AlertReader(link)))
      let fields = [
        ("name", Person.canary), ("phone", Person.canary), ("alert", consent.rawValue), ("links", link.description),
        ("person", Household.person),
      ]
      let drafts = fields.map { field, text in
        Draft(
          record: record, kind: RecordCatalogue.contact.kind, field: field,
          mutation: field == "links" ? .add(.text(text)) : .set(.text(text)), lane: .crisis)
      }
      let (id, wall) = (devices[0].id, moment(0).wall)
      devices[0].store.powerFails = nil
      let operations = try devices[0].store.write { try $0.withLedger { try $0.commit(drafts, by: id, wall: wall, using: &random) } }
      for operation in operations {
        devices[0].acknowledged[StreamKey(operation.id.stream)] = operation.id.sequence
        try remember(operation)
      }
    }
    try feed(0, .committed(devices[0].store.read { try $0.ownReport(of: devices[0].ring) }))
  }

  // MARK: What a device does by itself

  /// What a driver does after every event: looks at the crisis, and does what is due.
  mutating func doCrisisDuty(_ index: Int) throws {
    guard let replica = devices[index].replica, devices[index].stoppedUntil <= now else { return }
    let contents = devices[index].store.contents
    let state = contents.records[person.crisis]
    let about = [state] + household.contacts.map { contents.records[$0.record] }
    guard about != devices[index].seen || devices[index].watch.due.map({ $0 <= now }) ?? false else { return }
    devices[index].seen = about
    let crisis = CrisisState(state)
    let contacts = SafetyPlan(
      plans: [], contacts: contents.records.values.filter { $0.kind == RecordCatalogue.contact.kind }
    ).contacts
    let (moment, kept) = (moment(index), devices[index].crisisSeen)
    if let new = devices[index].watch.follow(crisis, moment, kept: { kept }) { devices[index].crisisSeen = new }
    let duties = devices[index].watch.look(
      crisis, contacts: contacts, own: replica.device, others: replica.others,
      isHere: { replica.peers.state(of: $0, now: moment.uptime) == .here }, now: moment)
    let isHasty = sabotage == .hastyAlert
    let outreach = CrisisOutreach(
      ring: devices[index].ring, relay: devices[index].connection,
      isPublished: isHasty || replica.outbox[Channel(.crisis)].isComplete, isPatient: !isHasty && devices[index].watch.isPatient
    ) { [store = devices[index].store] id in try store.read { try $0.hasArrived(id) } }
    for duty in duties + (sabotage == .hastyEnd ? [.end] : []) {
      // Broken on purpose: what is active is taken for over.
      let crisis = sabotage == .hastyEnd && duty == .end ? CrisisState(nil) : crisis
      do { try perform(duty, outreach, crisis, contacts, index) } catch is RelayError {
        devices[index].watch.postpone(until: now + milliseconds(1_000))
      } catch is PowerCut {
        try noteNotices()
        return powerCut(index)
      } catch is MemoryStore.DiskFull {
        devices[index].watch.postpone(until: now + milliseconds(1_000))
      } catch is MemoryStore.Unreadable {
        devices[index].watch.postpone(until: now + milliseconds(1_000))
      }
      try noteNotices()
    }
    if let due = devices[index].watch.due { schedule(index, .duty(run: devices[index].run), after: due > now ? due - now : 0) }
  }

  private mutating func perform(
    _ duty: CrisisWatch.Duty, _ outreach: CrisisOutreach, _ crisis: CrisisState, _ contacts: [SafetyPlan.Contact], _ index: Int
  ) throws {
    var drafts = [Draft]()
    let wall = moment(index).wall
    switch duty {
    case .tell(let id):
      guard let contact = contacts.first(where: { $0.record == id }) else { return }
      let outcome = try isLittered(contact) ? .doneElsewhere : outreach.tell(contact, of: crisis, wall: wall, using: &random)
      if outcome == .early || outcome == .closed { return postpone(index) }
      if outcome == .doneElsewhere { probes.count(.alertFoundDone) }
      drafts = crisis.telling(id, record: person.crisis)
    case .end:
      for contact in contacts where contact.isInvited {
        if try outreach.end(contact, in: crisis, wall: wall, using: &random) { probes.count(.alertEnded) }
      }
      return devices[index].watch.didEnd()
    case .take(let stage):
      switch try outreach.take(stage, of: crisis, wall: wall, using: &random) {
      case .early, .closed: return postpone(index)
      case .doneElsewhere:
        devices[index].watch.noteTaken(stage)
        return devices[index].watch.postpone(until: now)
      case .done: drafts = crisis.escalation(to: stage, record: person.crisis)
      }
    }
    guard !drafts.isEmpty else { return }
    armPowerCut(index)
    let id = devices[index].id
    let operations = try devices[index].store.write { try $0.withLedger { try $0.commit(drafts, by: id, wall: wall, using: &random) } }
    for operation in operations {
      devices[index].acknowledged[StreamKey(operation.id.stream)] = operation.id.sequence
      try remember(operation)
    }
    if case .take(let stage) = duty { try noteStage(stage, Set(crisis.activations.map(\.id))) }
    try feed(index, .committed(devices[index].store.read { try $0.ownReport(of: devices[index].ring) }))
  }

  /// Broken on purpose: whatever lies last on a board is taken for the alert.
  private func isLittered(_ contact: SafetyPlan.Contact) throws -> Bool {
    guard sabotage == .trustsJunk else { return false }
    return try contact.links.compactMap { SecretLink($0) }.contains { link in
      let board = NoticeBoard(link)
      return try relay.connection(of: nil).notices(on: board.name, after: 0).last.map { board.open($0.sealed, number: $0.number) == nil } ?? false
    }
  }

  private mutating func postpone(_ index: Int) {
    probes.count(.alertWaited)
    devices[index].watch.postpone(until: now + milliseconds(1_000))
  }

  /// A contact looks at its board; the network is as careless to it as to the devices.
  mutating func readBoard(_ index: Int) throws {
    if !isCalm, random.happens(permille: faults.lostRequests + faults.lostAnswers) { return }
    let news = try household.contacts[index].reader.read(relay.connection(of: nil))
    for case .alert(let notice) in news { household.contacts[index].shown.append(notice.marks) }
  }

  // MARK: Promises

  /// Whether the relay kept what it was given: one that forgets can make two devices tell the same.
  var isRelayFaithful: Bool {
    // So can a device that forgets what it has done, or that is two.
    [.wiped, .rolledBack, .damaged, .putBack, .putBackUnnoticed, .putBackWithRelay, .cloned].allSatisfy { probes.all[$0] == nil }
  }

  /// Looks at every notice that is new on the relay.
  private mutating func noteNotices() throws {
    guard let account = devices.first?.ring.account else { return }
    for index in household.contacts.indices {
      let board = NoticeBoard(household.contacts[index].link)
      for found in try relay.connection(of: nil).notices(on: board.name, after: household.contacts[index].last) {
        guard let notice = board.open(found.sealed, number: found.number) else { continue }
        household.contacts[index].last = found.number
        if notice.kind == .ended { try checkEnd(notice, index) }
        guard notice.kind == .alert, let subject = NoticeSubject(notice.about, account) else { continue }
        // What was told there as over is not told again.
        let marks = Set(subject.activations.map(board.mark))
        guard [Household.person, ""].contains(notice.person), !notice.marks.isEmpty, notice.marks.isSubset(of: marks) else {
          throw Violation(promise: "an alert holds a name and nothing else", detail: "contact \(index)")
        }
        probes.count(.alert)
        // An event lasts as long as anything that the contact was told of is not resolved.
        let open = household.contacts[index].posted.contains { !$0.allSatisfy(perhapsResolved.contains) }
        if open, isRelayFaithful {
          let words = (household.contacts[index].posted + [subject.activations]).map { about in
            about.map { "\($0.stream.device.low % 1_000).\($0.sequence)\(perhapsResolved.contains($0) ? "-" : "+")" }.joined(separator: " ")
          }
          throw Violation(promise: "a contact is told once per event", detail: "contact \(index) of \(words) by \(subject.device.low % 1_000), \(now / 1_000_000) ms")
        }
        household.contacts[index].posted.append(subject.activations)
      }
    }
  }

  /// That it is over is said after somebody has said so.
  private func checkEnd(_ notice: Notice, _ index: Int) throws {
    let board = NoticeBoard(household.contacts[index].link)
    let open = household.contacts[index].posted.joined().filter { !perhapsResolved.contains($0) && notice.marks.contains(board.mark($0)) }
    guard open.isEmpty else { throw Violation(promise: "over is said when it is over", detail: "contact \(index), \(open.count) active") }
  }

  private mutating func noteStage(_ stage: EscalationStage, _ about: Set<OperationID>) throws {
    probes.count(stage == .family ? .familyStage : .contactsStage)
    if isRelayFaithful, household.stages.contains(where: { $0.stage == stage && !$0.about.isDisjoint(with: about) }) {
      throw Violation(promise: "a stage is taken once", detail: "\(stage)")
    }
    household.stages.append((stage, about))
  }

  /// An activation that was read is shown at once, whatever of its stream has not arrived.
  func checkShown(_ effect: ReplicaEffect, _ answer: ReplicaEvent, _ index: Int) throws {
    guard case .apply(let stream, let chunk, _, _) = effect, stream.channel.lane == .crisis,
      case .applied(_, _, let outcome) = answer, outcome.gaps > 0, outcome.bad == 0
    else { return }
    let device = devices[index]
    for frame in chunk.frames {
      guard let header = BlindHeader(frame), let owner = device.performer.tags[header.tag],
        let keys = device.performer.members.keys(of: owner),
        let id = StreamKey(device: owner, incarnation: header.incarnation, channel: header.channel).id,
        case .operations(let content)? = try? device.ring.account.sealer.open(frame, keys: keys).content
      else { continue }
      for operation in try OperationCodec.decode(content, .run(stream: id, first: header.first)) where raised.contains(operation.id) {
        guard try device.store.read({ try $0.hasArrived(operation.id) || $0.isQuarantined(operation.id) }) else {
          throw Violation(promise: "a crisis that was read is shown at once", detail: "device \(index), number \(operation.id.sequence)")
        }
      }
    }
  }

  /// Every device that was connected all the time has an activation within the bound.
  mutating func checkReach() throws {
    for (place, entry) in household.underWay.enumerated().reversed() {
      let raiser = devices.firstIndex { $0.id == entry.id.stream.device } ?? 0
      let missing = entry.missing.filter { index in
        let hasArrived = try? devices[index].store.read { try $0.hasArrived(entry.id) }
        return !(hasArrived ?? false)
      }
      for index in missing where max(devices[index].connectedSince, devices[raiser].connectedSince) <= entry.at {
        guard devices[index].replica != nil, devices[raiser].replica != nil, now > entry.at + crisisBound else { continue }
        throw Violation(
          promise: "a crisis is on every connected device within \(crisisBound / 1_000_000_000) s",
          detail: "device \(index), after \((now - entry.at) / 1_000_000) ms: "
            + stuck(StreamKey(entry.id.stream), entry.id.sequence, at: index))
      }
      household.underWay[place].missing = missing
      if missing.isEmpty || now > entry.at + 2 * crisisBound { household.underWay.remove(at: place) }
    }
  }

  /// Lets everybody do what is due in a crisis that nobody resolves any more, then looks who was told.
  mutating func checkAlerts() throws {
    let crisis = CrisisState(devices[0].store.contents.records[person.crisis])
    guard crisis.level >= .severe, random.happens(permille: 300) else { return }
    let end = now + 400_000_000_000
    while let (at, entry) = queue.pop() {
      if at > end { break }
      now = max(now, at)
      if case .act = entry.item { continue }
      try step(entry.device, entry.item)
      let state = CrisisState(devices[0].store.contents.records[person.crisis])
      if agrees, state.stages.contains(.contacts), household.contacts.allSatisfy({ $0.wasShown(state) }) { break }
    }
    for index in household.contacts.indices { try readBoard(index) }
    let state = CrisisState(devices[0].store.contents.records[person.crisis])
    let isAnswered = state.acknowledgements.count * 2 >= Set(devices.map(\.id)).count
    guard isAnswered || state.stages.contains(.contacts) else {
      throw Violation(promise: "a crisis that nobody acknowledges escalates", detail: "stages \(state.stages.map(\.rawValue)); \(devices.indices.map(duty(of:)).joined(separator: "; "))")
    }
    for (index, contact) in household.contacts.enumerated() where contact.consent == .prompt || state.stages.contains(.family) {
      let times = contact.times(state)
      guard times == 1 || times > 1 && !isRelayFaithful else {
        let words = contact.posted.map { about in
          about.map { "\($0.stream.device.low % 1_000).\($0.sequence)\(perhapsResolved.contains($0) ? "-" : "+")" }.joined(separator: " ")
        }
        throw Violation(promise: "a contact is told exactly once", detail: "contact \(index), \(times) times; put up \(words), told \(state.told.contains(contact.record))")
      }
      guard state.told.contains(contact.record) else {
        throw Violation(promise: "what was told is on every device", detail: "contact \(index)")
      }
    }
    probes.count(.alertedInTheEnd)
  }

  /// Where a device stands with its duty, for whoever replays the run.
  private func duty(of index: Int) -> String {
    let watch = devices[index].watch
    let due = watch.due.map { "\(($0 > now ? $0 - now : 0) / 1_000_000) ms" } ?? "never"
    let isPublished = devices[index].replica?.outbox[Channel(.crisis)].isComplete ?? false
    return "\(index): \(watch.step), due in \(due), patient \(watch.isPatient), published \(isPublished)"
  }
}
