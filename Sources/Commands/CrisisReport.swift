import ArgumentParser
import Causality
import ConflictResolution
import Crisis
import Foundation
import Replica
import Storage
import Stores
import Synchronization
import Therapy

/// What the crisis commands print. What is not known is absent.
struct CrisisReport: Encodable {
  /// `unknown` where what was looked at is not all that may be active, or may be over: ``active`` then says no more than
  /// what is known here.
  var level = "unknown"
  /// Whether one is known here that is not known to be over.
  var active = false
  var since: UInt64?
  var savedAt_us: UInt64?
  var atRelay: Bool?
  /// How far it has come; see ``CrisisDelivery/Word``.
  var word: String?
  var acknowledgedBy: [String]?
  var stages: [Int]?
  /// A crisis was raised on this device, and whether it is over cannot be looked at.
  var raisedHere: Bool?

  init() {}

  /// - Parameter isComplete: Whether everything was looked at: how it stands is said only then. What is known here to be
  ///   active is active all the same; elsewhere it may be over, or worse.
  init(_ state: CrisisState?, isComplete: Bool) {
    guard let state else { return }
    (active, since) = (state.isActive, state.since)
    if isComplete { level = state.level.name }
  }

  /// Says what answers call for, to whoever has just given them.
  static func note(_ offer: CrisisOffer?) {
    guard let offer else { return }
    Output.note("Because \(offer.reason.text): `fullmind crisis card` shows help lines; `fullmind crisis activate` tells your devices.")
  }

  /// The same for fields of a record that were written by another door than the questionnaire's.
  static func noteOffer(of id: RecordID, _ fields: [String], _ actions: Actions) throws {
    if fields.contains(where: RecordState.isAnswer) { note(try actions.offer(of: id)) }
  }

  /// Raises and resolves for this home; at the relay that was named, if one was.
  static func raiser(_ location: Location, _ store: Store?) -> CrisisRaiser {
    CrisisRaiser(home: location.homeFolder, store: store, relay: {
      let named = (try? location.namedRelay()) ?? nil
      if let journal = EmergencyJournal(location.homeFolder) { return journal.relay(at: named) }
      return try? store.map { try location.openRelay($0) }
    })
  }

  /// Somebody who cannot think of the passphrase now asked for help.
  static func raiseAtPrompt(_ location: Location) {
    printCard(home: location.homeFolder)
    let raiser = raiser(location, nil)
    guard raiser.raise(.severe, source: "person") else {
      Output.note("Nothing can be sent from here: this home has no emergency key.")
      return
    }
    Output.note(raiser.outcome(within: 1_000).text)
    guard let answer = getpass("Enter goes on; u takes it back: "), String(cString: answer) == "u" else { return }
    do {
      guard case .takenBack = try raiser.resolve() else { return }
      Output.note(raiser.outcome(within: 1_000).disk.isDone ? "Taken back." : "It could not be taken back here yet: `fullmind crisis resolve`, on any device.")
    } catch { Output.note("It could not be taken back: \(Output.actionable(error).summary)") }
  }

  /// What lies on the relay about the crisis.
  struct Look: Sendable {
    /// Of any device: nothing here may be able to take it in.
    var operations: [Causality.Operation] = []
    /// Whether everything that anybody has signed for was read to its end, and nothing has gone that was there: only then
    /// is nothing active that is not known here.
    var isAll = false
    /// Whether the relay could be looked at.
    var isReached = false
    /// How much of what was written here lies there without a gap, in the channels that were looked at.
    var sent: [Channel: UInt64] = [:]
    /// Places that others have signed for, and that are not here. In the crisis lane: nor at the relay.
    var missing = Set<CrisisLook.Place>()
    /// Whose crisis file could not be read to its end.
    var unread = Set<DeviceID>()

    /// What is missing about crises, as it is shown.
    var missingAboutCrises: [ExchangeStatus.Missing] { missing.filter(\.isCrisis).sorted { ($0.stream, $0.saidBy) < ($1.stream, $1.saidBy) }.map { ExchangeStatus.Missing($0) } }

    /// What is said where none is known here and this is not all.
    var unknown: String {
      isReached ? "No crisis is known on this device. Not everything about crises could be read at the relay, so what other devices raised is not known." : CrisisCommand.Status.unknown
    }
  }

  static func look(_ location: Location, _ store: Store) -> Look { look(store) { try location.openRelay(store) } }

  /// - Parameter relay: Asked for on a thread that may be left behind: a folder may hang.
  static func look(_ store: Store, _ relay: @escaping @Sendable () throws -> any Relay) -> Look {
    let attempt = Attempt<Look> {
      do {
        // What was known before the look is compared with it: a program that exchanges may send something meanwhile.
        let before = try store.read { try ExchangeStatus.progress($0) }
        var performer = try EffectPerformer(store: store, relay: try relay(), ring: store.ring, run: 0)
        guard let survey = try? performer.relay.survey() else {
          // Who is alone misses nobody's word.
          return Look(isAll: performer.tags.count == 1)
        }
        var found = try performer.lookAtCrisis(in: survey)
        if !found.isUnderstood {
          // Introductions are read only where somebody is not understood.
          performer = performer.acquainted(with: survey)
          found = try performer.lookAtCrisis(in: survey)
        }
        return try Look(found, survey, performer, store, before)
      } catch { return Look() }
    }
    return attempt.answer(within: 1_000) ?? Look()
  }

  /// Operations in the batches with which the log of a channel begins and that lie there.
  fileprivate static func sent(_ frames: [[UInt8]], of store: Store, _ channel: Channel) throws -> UInt64 {
    let there = Set(frames)
    var (position, operations) = (UInt64(0), UInt64(0))
    while true {
      let page = try store.read { try $0.ownBatches(channel, after: position, limit: 64) }
      for (place, batch) in page {
        guard there.contains(batch.frame) else { return operations }
        (position, operations) = (place, operations + batch.count)
      }
      if page.isEmpty { return operations }
    }
  }

  /// Takes in what other devices have put on the relay about a crisis, without waiting for a program that exchanges.
  ///
  /// - Parameter milliseconds: How long it may take.
  /// - Returns: Whether something came.
  @discardableResult
  static func takeIn(_ location: Location, _ store: Store, within milliseconds: Int = 2_000) -> Bool {
    let attempt = Attempt<Bool> {
      guard let relay = try? location.openRelay(store), var performer = try? EffectPerformer(store: store, relay: relay, ring: store.ring, run: 0)
      else { return false }
      var hasChanged = false
      // Those who are known come first: a crisis waits for nobody's introduction.
      var (read, isLocked) = (Set<BlindTag>(), false)
      for round in 0..<2 {
        if round == 1 {
          guard let survey = try? relay.survey(), isLocked || performer.hasStrangers(in: survey) else { break }
          let before = performer.members.log.count
          performer.meet(survey, limit: SystemClock.now.wall)
          // A new key may open what could not be.
          if performer.members.log.count > before { read = [] }
        }
        for tag in performer.tags.keys where tag != performer.ownTag && read.insert(tag).inserted {
          for isCarried in [false, true] {
            let file = RelayStream(tag: tag, channel: Channel(.crisis), isCarried: isCarried)
            guard let frames = try? relay.frames(in: file), !frames.isEmpty else { continue }
            // What lies before something that it follows is taken once that has been.
            for _ in 0..<Limits.noticeAttempts {
              var outcome = ApplyOutcome(next: .start)
              try? performer.take(frames, from: file, limit: SystemClock.now.wall, &outcome)
              (hasChanged, isLocked) = (hasChanged || !outcome.changes.isEmpty, isLocked || outcome.locked > 0)
              guard outcome.gaps > 0, outcome.filed > 0 else { break }
            }
          }
        }
      }
      return hasChanged
    }
    guard attempt.answer(within: milliseconds) ?? false else { return false }
    store.pingOthers(except: nil)
    return true
  }

  /// What is written about the crisis beside the store, here and on the relay: it may be locked, or the disk full.
  static func beside(_ look: Look, _ store: Store) -> CrisisGlimpse { CrisisGlimpse(writesBeside(look, store)) }

  private static func writesBeside(_ look: Look, _ store: Store) -> [Causality.Operation] {
    let id = Actions(store).crisisRecord
    return ((EmergencyJournal(store.home)?.operations ?? []) + look.operations).filter { $0.record == id }
  }

  /// Why nothing can be saved in a store now; `nil` where something can.
  static func obstacle(to store: Store) -> String? {
    store.obstacle(within: 200).map { error in
      let words = (error as? StorageError)?.obstacle ?? Output.actionable(error).summary
      // In the middle of a sentence.
      return words.hasSuffix(".") ? String(words.dropLast()) : words
    }
  }

  /// How the crisis stands, and with what look at the relay that is known.
  struct Known {
    var state: CrisisState
    var look: Look
    /// Whether everything was looked at: where not, another device may have raised one, or ended this one.
    var sawAll: Bool { look.isAll }
  }

  /// How the crisis stands, with what lies beside the store.
  static func known(_ location: Location, _ store: Store) throws -> Known {
    let (id, look) = (Actions(store).crisisRecord, look(location, store))
    let glimpse = beside(look, store)
    return Known(state: try store.read { CrisisState(try glimpse.over($0.record(id), hasArrived: $0.hasArrived)) }, look: look)
  }

  /// Keeps that what was just raised or ended here was seen at the relay; without waiting for a program that holds the store.
  static func keepSeen(_ location: Location, _ store: Store) {
    let seen = look(location, store).sent
    if !seen.isEmpty { try? store.keepSeen(seen, within: 100) }
  }

  /// Sends what was raised, or taken back, past a store that cannot be opened: no other program may come to it.
  ///
  /// - Returns: Whether nothing of it is left to send.
  @discardableResult
  static func sendJournal(_ home: HomeFolder) -> Bool {
    guard let journal = EmergencyJournal(home), let file = journal.file else { return true }
    let frames = journal.frames
    guard !frames.isEmpty else { return true }
    let attempt = Attempt {
      let relay = journal.relay()
      do throws(RelayError) {
        try relay.deliver(frames, to: file)
        try journal.introduce(to: relay)
      } catch { return false }
      return true
    }
    return attempt.answer(within: 2_000) ?? false
  }

  /// As ``known(_:_:)``, without a look at the relay.
  static func state(of store: Store) throws -> CrisisState {
    let id = Actions(store).crisisRecord
    // What lies in the journal counts, also while the store cannot take it over. One of another account may lie there:
    // nothing of it is about this one.
    let glimpse = CrisisGlimpse((EmergencyJournal(store.home)?.operations ?? []).filter { $0.record == id })
    return try store.read { CrisisState(try glimpse.over($0.record(id), hasArrived: $0.hasArrived)) }
  }

  /// The crises of the last days; also those of which the store has not taken in everything.
  ///
  /// - Parameter look: What was seen on the relay. What lies in the journal of this device counts anyway.
  static func history(of store: Store, beside look: Look = Look()) throws -> (CrisisHistory, [DeviceID: String]) {
    var writes = try RecordHistory(store).writes(of: Actions(store).crisisRecord)
    var known = Set(writes.map(\.id))
    writes += writesBeside(look, store).filter { known.insert($0.id).inserted }
    return (CrisisHistory(writes, wall: SystemClock.now.wall), try SnapshotBuilder.names(of: store))
  }

  /// Whether something about a crisis lies beside the store alone.
  static func isBeside(_ look: Look, _ store: Store) throws -> Bool {
    let writes = writesBeside(look, store)
    return try !writes.isEmpty && store.read { transaction in try writes.contains { try !transaction.hasArrived($0.id) } }
  }

  static func lines(_ history: CrisisHistory, _ names: [DeviceID: String]) -> [String] {
    if history.entries.isEmpty { return ["None in the last \(CrisisHistory.days) days."] }
    let formatter = DateFormatter()
    formatter.dateFormat = "yyyy-MM-dd HH:mm"
    return history.entries.map { entry in
      let at = formatter.string(from: Date(timeIntervalSince1970: Double(entry.raised) / 1_000))
      let raised = entry.isDated ? at : "\(at) by a clock that was wrong"
      let end =
        if entry.resolved == nil { "not resolved" }
        else if let minutes = entry.minutes { minutes == 0 ? "resolved within a minute" : "resolved after \(minutes) min" }
        else { "resolved; after how long is not known, because a clock was wrong" }
      let told = entry.told.isEmpty ? "" : ", an alert for \(entry.told.count)"
      return "\(raised)  \(entry.level.name) (\(entry.source)) on \(names[entry.activation.stream.device] ?? "a device"), acknowledged on \(entry.acknowledged.count), \(end)\(told)"
    }
  }

  /// The lines of the crisis screen in the dashboard.
  static func screenLines() -> [String] { CrisisCard.helpLines(for: region()) + [""] + CrisisCard.steps }

  /// The card for the region that was named, that the environment names, or that the locale suggests.
  ///
  /// - Parameter home: Where the plan lies, if the person keeps it readable. It is looked for after the card
  ///   is on the screen, and for 100 ms at most: a disk that hangs keeps nobody.
  static func printCard(region: String? = nil, home: HomeFolder? = nil) {
    Output.write(CrisisCard.text(for: Self.region(named: region)))
    guard let home else { return }
    let found = Mutex<[String]>([])
    let done = Latch()
    Thread {
      let lines = PlanCard.lines(home)
      found.withLock { $0 = lines }
      done.open()
    }.start()
    guard done.wait(100) else { return }
    let lines = found.withLock { $0 }.filter { !$0.isEmpty }
    if !lines.isEmpty { Output.write("\nYOUR PLAN\n" + lines.map { "  \($0)\n" }.joined()) }
  }

  private static func region(named region: String? = nil) -> HelpRegion? {
    let locale = Environment["LC_ALL"] ?? Environment["LC_MESSAGES"] ?? Environment["LANG"] ?? ""
    return HelpLines.region(named: region ?? Environment["FULLMIND_REGION"] ?? "") ?? HelpLines.region(ofLocale: locale)
  }
}

extension CrisisReport.Look {
  /// - Parameter before: How much was known to lie there before it was looked at.
  fileprivate init(_ found: CrisisLook, _ survey: RelaySurvey, _ performer: EffectPerformer<Store>, _ store: Store, _ before: [Channel: UInt64]) throws {
    (operations, isReached, missing, unread) = (found.operations, true, found.missing, found.unread)
    let own = Set(survey.streams.filter { $0.tag == performer.ownTag && !$0.isCarried }.map(\.channel))
    for channel in Channel.all where !own.contains(channel) { sent[channel] = 0 }
    let crisis = Channel(.crisis)
    if let frames = found.own { sent[crisis] = try CrisisReport.sent(frames, of: store, crisis) }
    // Where what this device has put there is gone, what others have put there may be gone as well.
    let hasLostOwn = sent[crisis].map { $0 < before[crisis] ?? 0 } ?? false
    isAll = found.isUnderstood && (performer.tags.count == 1 || (found.isAll && !hasLostOwn))
  }
}
