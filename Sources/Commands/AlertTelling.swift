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

/// Time that everything together may take.
struct TimeBudget {
  private let end: UInt64

  init(seconds: Int) { end = SystemClock.now.uptime + UInt64(seconds) * 1_000_000_000 }
  private init(end: UInt64) { self.end = end }

  /// With time that is spent waiting for a person, and not for a disk or a relay.
  func extended(milliseconds: UInt64) -> Self { Self(end: end + milliseconds * 1_000_000) }

  var isSpent: Bool { SystemClock.now.uptime >= end }

  /// Milliseconds for something that may take so many by itself; a moment also where nothing is left.
  func milliseconds(atMost most: Int) -> Int {
    let now = SystemClock.now.uptime
    return max(Self.moment, min(most, end > now ? Int((end - now) / 1_000_000) : 0))
  }

  private static let moment = 200
}

/// Tells the contacts of a crisis that a command has raised, and says of each how far that has come.
struct AlertTelling {
  let location: Location
  let output: OutputOptions
  let store: Store

  /// Tells them when the time to take it back is over; a dashboard or agent may be faster.
  ///
  /// - Parameter raised: What this command has written.
  func tell(now: Bool, raised: OperationID?, _ delivery: CrisisDelivery, _ whole: TimeBudget) throws {
    var budget = whole
    var relay = try patient(budget)
    if (try? store.read { try $0.allRecords(kind: RecordCatalogue.contact.kind) }) == nil {
      Output.note("One of your contacts cannot be read on this device, and may not be told: please call.")
    }
    var contacts = try meant(try prompt(), relay, delivery, budget)
    guard !contacts.isEmpty else { return }
    let names = Self.list(contacts)
    // Who reads JSON is not kept waiting: it is said who tells them.
    guard now || !output.json else { return Output.note("\(names): told by a dashboard or an agent, or by `fullmind sync` from 10 s on.") }
    if !now {
      let condition = delivery.relay.isDone ? "" : ", if the relay can be reached by then"
      Output.hint("\(names): an alert goes out in 10 s\(condition). `fullmind crisis resolve`, here or on any device, takes it back.")
      Thread.sleep(forTimeInterval: Double(CrisisAlert.undoMilliseconds) / 1_000)
      budget = whole.extended(milliseconds: CrisisAlert.undoMilliseconds)
      relay = try patient(budget)
      // It may have been taken back on another device, or the link: then nobody is told.
      exchange(within: budget.milliseconds(atMost: 5_000))
      contacts = try meant(contacts, relay, delivery, budget)
      guard !contacts.isEmpty else { return }
    }
    // That somebody is told waits for no lock: it is noted here by the next program that can.
    let actions = Actions(store, courier: Courier { [location, store] in try location.openRelay(store) }, patience: Self.notePatience)
    // A share that hangs holds up nobody who waits for this command.
    let glimpse = try beside(raised)
    let telling = Attempt<Result<Actions.Told, any Error>> { [relay] in Result { try actions.tellNow(relay, beside: glimpse) } }
      .answer(within: budget.milliseconds(atMost: 6_000))
    let put = try? telling?.get()
    if put?.contacts.isEmpty == false, put?.isNoted == true { send(actions, budget) }
    let state = try store.read { CrisisState(try glimpse.over($0.record(actions.crisisRecord), hasArrived: $0.hasArrived)) }
    // What is noted of somebody is no evidence of what lies there: only what was read in this run is.
    let lying = Set((put?.contacts ?? []).map(\.record))
    if state.isActive {
      for wasTold in [false, true] {
        let unread = contacts.filter { !lying.contains($0.record) && state.told.contains($0.record) == wasTold }
        guard !unread.isEmpty else { continue }
        let words = "\(Self.list(unread)): \(wasTold ? Self.wordsAgain(telling) : Self.words(telling))"
        if output.json { Output.note(words) } else { Output.hint(words) }
      }
    }
    guard !output.json else { return }
    guard state.isActive else { return try sayOver(contacts, raised, lying, glimpse) }
    let end = SystemClock.now.uptime + UInt64(budget.milliseconds(atMost: Self.answered)) * 1_000_000
    let asked = try patient(budget, atMost: Self.answered, isAskedOnce: true)
    for contact in contacts where lying.contains(contact.record) {
      Output.line("\(contact.name): \(Self.arrival(contact, state, asked, until: end))")
    }
  }

  /// The relay, with an end to every call; after one that hung nothing waits for it again.
  private func patient(_ budget: TimeBudget, atMost most: Int = PatientRelay.patience, isAskedOnce: Bool = false) throws -> PatientRelay {
    PatientRelay(
      try location.openRelay(store), named: try location.relayLocation(store).description,
      patience: budget.milliseconds(atMost: most), isAskedOnce: isAskedOnce)
  }

  /// What is written about the crisis and not in the store. Where no disk took what was raised, it is looked for at the relay:
  /// nobody is told of what is not there.
  private func beside(_ raised: OperationID?) throws -> CrisisGlimpse {
    let kept = CrisisReport.beside(CrisisReport.Look(), store)
    guard let raised, !kept.operations.contains(where: { $0.id == raised }), try !store.read({ try $0.hasArrived(raised) }) else { return kept }
    return CrisisReport.beside(CrisisReport.look(location, store), store)
  }

  /// Who is told without waiting for anybody to acknowledge.
  private func prompt() throws -> [SafetyPlan.Contact] {
    try store.read { try SafetyPlan.contacts($0) }.filter { $0.isInvited && $0.consent == .prompt }
  }

  /// Whom to tell, with what other devices have changed about that and what they have told; says whose link was taken back.
  private func meant(
    _ before: [SafetyPlan.Contact], _ relay: PatientRelay, _ delivery: CrisisDelivery, _ budget: TimeBudget
  ) throws -> [SafetyPlan.Contact] {
    CrisisReport.takeIn(location, store, within: budget.milliseconds(atMost: 2_000))
    let all = try prompt()
    let withdrawn = try store.read { try SafetyPlan.contacts($0) }.filter { !$0.isInvited }.map(\.record)
    // Where that has not arrived here, it stands at the link.
    let look: Attempt<[RecordID]>? = delivery.relay.isDone
      ? Attempt { all.filter { (try? CrisisOutreach.isTakenBack($0, on: relay)) ?? false }.map(\.record) } : nil
    let closed = Set(look?.answer(within: budget.milliseconds(atMost: 2_000)) ?? [])
    let gone = before.filter { withdrawn.contains($0.record) || closed.contains($0.record) }
    if !gone.isEmpty {
      let words = "The link of \(Self.list(gone)) was taken back: nobody is told there. Please call."
      if output.json { Output.note(words) } else { Output.line(words) }
    }
    return all.filter { !closed.contains($0.record) }
  }

  private func exchange(within milliseconds: Int) {
    guard let relay = try? location.openRelay(store) else { return }
    try? ExchangeOnce(store: store, relay: relay, relayName: "").run(timeout: Double(milliseconds) / 1_000)
  }

  /// That they were told is a write like any other: the other devices can read it before this command is done.
  private func send(_ actions: Actions, _ budget: TimeBudget) {
    func isSent() -> Bool { (try? actions.isCrisisSent(seen: CrisisReport.look(location, store).sent)) ?? false }
    if isSent() { return }
    exchange(within: budget.milliseconds(atMost: 5_000))
    if isSent() { return }
    Output.note("Your other devices may not know yet that somebody was told: that is saved here, and `fullmind sync` sends it.")
  }

  /// - Parameter lying: At whose link this run has read an alert.
  private func sayOver(_ contacts: [SafetyPlan.Contact], _ raised: OperationID?, _ lying: Set<RecordID>, _ glimpse: CrisisGlimpse) throws {
    // What neither a disk nor the relay is known to have is not known to be over.
    guard let raised, try glimpse.operations.contains(where: { $0.id == raised }) || store.read({ try $0.hasArrived(raised) }) else {
      return Output.line("\(Self.list(contacts)): not told, because the crisis is not known to lie on this device or at the relay. Please call.")
    }
    // What ended with it was one event, and the alert may have been put up for the other.
    let entries = try CrisisReport.history(of: store).0.entries
    let end = entries.first { $0.activation == raised }?.resolved?.at
    let event = entries.filter { $0.activation == raised || end != nil && $0.resolved?.at == end }
    let told = event.reduce(into: lying) { $0.formUnion($1.informed) }
    let names = Self.list(contacts.filter { told.contains($0.record) })
    Output.line(names.isEmpty ? "Taken back. Nobody was told." : "Taken back. An alert had been put up for \(names).")
  }

  private static func list(_ contacts: [SafetyPlan.Contact]) -> String { contacts.map(\.name).joined(separator: ", ") }

  /// Why somebody is not known to have been told.
  ///
  /// - Parameter telling: `nil` where the relay has not answered.
  private static func words(_ telling: Result<Actions.Told, any Error>?) -> String {
    switch telling {
    case nil: "whether an alert lies at the link is not known, because the relay does not answer. Please call; `fullmind sync` looks once it does."
    case .failure(let error as StorageError)?:
      "whether an alert lies at the link is not known, because nothing can be saved here\(error.obstacle.map { ": \($0)" } ?? ""). Please call."
    case .failure?: "not told yet. Please call; `fullmind sync` tells them once the relay can be reached, and a dashboard or an agent does it by itself."
    case .success?: "not told yet: something of another device has to arrive here first. Please call; `fullmind sync` fetches it and tells them."
    }
  }

  /// Why it is not known what lies at the link of somebody who was told before.
  private static func wordsAgain(_ telling: Result<Actions.Told, any Error>?) -> String {
    let why = switch telling {
    case nil: ", because the relay does not answer"
    case .failure?: ", because it could not be looked at"
    case .success?: ": something of another device has to arrive here first"
    }
    return "an alert was put up at the link before; whether it lies there now is not known\(why). Please call; `fullmind sync` looks again, and puts it up where it is lost."
  }

  /// Milliseconds for which a lock is waited for.
  private static let notePatience = 500

  /// Milliseconds for which it is waited until a contact's screen has the alert: it looks once a second.
  private static let answered = 2_500

  private static func arrival(_ contact: SafetyPlan.Contact, _ state: CrisisState, _ relay: any Relay, until end: UInt64) -> String {
    while true {
      let arrival = try? CrisisOutreach.arrival(with: contact, of: state, on: relay)
      switch arrival {
      case .shown?: return "a screen there shows it."
      case .seen?: return "has seen it."
      case .unopened?: return "an alert lies at the link; no opening of it is known here. Please call."
      case .followed?, nil:
        guard SystemClock.now.uptime < end else { return "an alert lies at the link; it is on no screen there yet." }
        Thread.sleep(forTimeInterval: 0.1)
      }
    }
  }
}
