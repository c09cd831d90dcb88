import Crisis
import Replica
import Stores

/// The crisis screen: help first, then who knows. Large, calm, readable without colours.
enum CrisisScreen {
  static func draw(_ state: DashboardState, _ frame: inout Frame) {
    let rect = CellRect(row: 1, column: 0, rows: state.size.rows - 2, columns: state.size.columns)
    frame.clear(rect)
    frame.box(rect, title: "You are not alone", isFocused: true, role: .crisis)
    let words = message(state)
    let inside = CellRect(row: rect.row + 1, column: 2, rows: rect.rows - 2 - words.count, columns: max(1, rect.columns - 4))
    let all = lines(state)
    frame.draw(Array(all.dropFirst(max(0, min(state.crisisOffset, all.count - inside.rows)))), in: inside)
    for (index, line) in words.enumerated() {
      frame.draw(line, row: inside.row + inside.rows + index, column: inside.column, columns: inside.columns)
    }
  }

  /// What was told last, at the lower edge: the key bar is for the keys here, and half of the room stays for help.
  private static func message(_ state: DashboardState) -> [Line] {
    guard state.dialogs.last == .crisis, let text = state.message?.text ?? state.goesOn else { return [] }
    let lines = CellText.wrap(CellText.clean(text), max(1, state.size.columns - 4))
    return lines.prefix(max(0, (state.size.rows - 4) / 2)).map { Line($0, .accent) }
  }

  private static func lines(_ state: DashboardState) -> [Line] {
    var lines = state.crisisLines.map { Line($0, $0.first?.isLetter ?? false ? .strong : .text) }
    if let alone = alone(state) { lines.insert(alone, at: min(afterFirstHelp, lines.count)) }
    lines += [.empty] + told(state)
    if let session = state.ownSession {
      lines += [.empty, Line("Your \(CellText.clean(session.type)) session goes on. p pauses it; nothing of it is lost.", .dim)]
    }
    let plan = state.snapshot?.plan.lines ?? state.planLines
    if !plan.isEmpty { lines += [.empty, Line("YOUR PLAN", .strong)] + plan.map { Line("  " + CellText.clean($0)) } }
    return lines.flatMap { wrapped($0, max(1, state.size.columns - 4)) }
  }

  /// Lines of the heading and the first help line.
  static let afterFirstHelp = 2

  /// That nobody may know of what was raised here: where help is, for it is the only help there is.
  private static func alone(_ state: DashboardState) -> Line? {
    guard state.onlyHere != nil, let delivery = state.delivery else { return nil }
    return Line(delivery.textWhileTrying, .waiting)
  }

  /// How far it can be scrolled.
  static func lastOffset(_ state: DashboardState) -> Int {
    max(0, lines(state).count - max(0, state.size.rows - 4 - message(state).count))
  }

  private static func told(_ state: DashboardState) -> [Line] {
    // What stands beneath the first help line is not said twice.
    let isSaid = state.onlyHere != nil
    let delivery = state.delivery.map { Line($0.textWhileTrying, $0.word == .savedAndSent ? .good : .waiting) }
    guard let snapshot = state.snapshot else {
      guard !state.problem.isEmpty else { return isSaid ? [] : [delivery ?? Line("There is no store on this device, so nothing was sent to other devices.", .dim)] }
      var lines = isSaid ? [] : [delivery ?? standing(state)]
      if state.isCrisisKnown, state.delivery?.word != .noWay {
        lines.append(Line("Which devices have it is not known here. Contacts are told by another device of yours, or by this one once its store can be used.", .dim))
      }
      return lines
    }
    guard snapshot.crisis.isActive else { return (delivery.map { (isSaid ? [] : [$0]) + untold(state, snapshot) }) ?? [Line(snapshot.isCrisisUnknown ? "No crisis is known here; what other devices raised is not known." : "No crisis is active.", .dim)] }
    let others = snapshot.crisis.receipts
    let have = others.filter(\.hasIt).count
    var lines = [
      Line(
        others.isEmpty ? "Raised on \(CellText.clean(snapshot.crisis.source))." : "\(have) of \(others.count) other devices of yours have this now.",
        .strong)
    ]
    if !snapshot.crisis.isSaved { lines.append(Line(unsaved(state), .waiting)) }
    // What other devices show has reached them, whichever way.
    if let delivery, !isSaid, state.delivery?.isComplete == false, have == 0 { lines.append(delivery) }
    let isRelayAway = [.offline, .strange].contains(snapshot.sync.state)
    // What was raised here and is not known to lie where the others look is seen by none of them.
    let isUnsent = state.delivery.map { !$0.relay.isDone } ?? false
    let away = isRelayAway
      ? "not yet: it will, as soon as the relay is back"
      : isUnsent ? "not yet: it is not known to lie at the relay" : "not yet: it will, as soon as it looks"
    for receipt in others {
      let after = (receipt.shown ?? receipt.after).map { " after \(Wording.duration(nanoseconds: $0))" } ?? ""
      lines.append(Line([
        Span("  \(receipt.hasIt ? state.glyphs.here : state.glyphs.away) \(CellText.clean(receipt.device))  "),
        receipt.hasIt
          ? Span("\(receipt.shown == nil ? "has it" : "shows it")\(after)", .good) : Span(away, .waiting),
      ]))
    }
    return lines + people(state, snapshot) + acknowledged(state, snapshot)
  }

  /// What is known of a crisis without a store. That one is active is not: others may have ended it.
  private static func standing(_ state: DashboardState) -> Line {
    if state.isInJournal { return Line(DashboardState.raisedHere, .strong) }
    if state.isOverHere { return Line(DashboardState.overHere, .strong) }
    return Line(state.wasActive ? "A crisis was active when your store could be read last." : "Whether a crisis is active is not known: the store cannot be used now.", .dim)
  }

  /// What was raised here has come no further than the relay: no program of this device knows of it that would tell anybody.
  private static func untold(_ state: DashboardState, _ snapshot: Snapshot) -> [Line] {
    guard let delivery = state.delivery, delivery.relay.isDone, !delivery.disk.isDone else { return [] }
    return snapshot.plan.contacts.filter { $0.isInvited && $0.consent == .prompt }.map {
      Line("  \(CellText.clean($0.name))  is not told by this device, which cannot save anything now: please call", .waiting)
    }
  }

  /// What the store lacks: where it was raised here it lies beside it, if the disk took it. Why is said where it is known.
  private static func unsaved(_ state: DashboardState) -> String {
    let why = state.held.map { ": \(CellText.clean($0.obstacle))" } ?? ""
    return state.isRaisedOnDisk
      ? "What was raised here is saved on this device, beside its store, which does not have it yet\(why)."
      : "Not saved on this device yet\(why). It is tried again."
  }

  /// What is told to whom.
  private static func people(_ state: DashboardState, _ snapshot: Snapshot) -> [Line] {
    let tellings = snapshot.crisis.tellings
    let unnamed = snapshot.crisis.toldUnnamed
    let others = unnamed == 0 ? [] : [Line("  An alert was put up for \(unnamed) more of your contacts, which cannot be read on this device.", .waiting)]
    guard !tellings.isEmpty else { return others.isEmpty ? [Line("Nobody outside your devices was told.", .dim)] : others }
    return others + tellings.map { telling in
      var (text, role) = words(telling.state, state)
      switch telling.state {
      case .later, .now: if let why = obstacle(snapshot.sync) { (text, role) = ("no alert can go out while \(why): please call", .waiting) }
      case .unanswered, .told, .notInvited, .undecided: break
      }
      return Line("  \(CellText.clean(telling.name))  \(text)", role)
    } + [Line("They learn that you asked for support, and nothing else.", .dim)]
  }

  /// What keeps alerts from the relay; `nil` where nothing is known to.
  private static func obstacle(_ sync: Snapshot.Sync) -> String? {
    let isAway = [.offline, .strange].contains(sync.state)
    guard isAway || !sync.status.sendingProblem.isEmpty else { return nil }
    switch sync.status.code {
    case CrisisDelivery.relayFull: return "the relay's disk is full"
    case "relay.unanswered": return "the relay does not answer"
    default: return isAway ? "the relay is away" : "the relay cannot be written"
    }
  }

  private static func words(_ telling: Snapshot.CrisisStatus.Telling.State, _ state: DashboardState) -> (String, Role) {
    switch telling {
    case .unanswered: ("an alert goes out when nobody acknowledges", .dim)
    case .later where state.saidNow != nil && !state.canTellNow: ("you said now; no alert is known to lie at their link yet: please call", .waiting)
    case .later(let milliseconds) where milliseconds > state.sinceSnapshot:
      ("an alert goes out in \((milliseconds - state.sinceSnapshot + 999) / 1_000) s: Enter says now\(state.canUndoCrisis ? ", u takes it back" : "")", .waiting)
    case .later: ("its time has come; no alert is known to lie at their link yet: please call", .waiting)
    case .now: ("an alert is being put up; tried again until it is", .waiting)
    case .told(let put, let arrival): arrived(arrival, put, state)
    case .notInvited: ("agreed, but has no link yet, so is not told by itself", .dim)
    case .undecided: ("your devices say different things of what they may learn: not told by itself, please call", .waiting)
    }
  }

  /// How far an alert has come, as the other side says.
  private static func arrived(_ arrival: CrisisOutreach.Arrival?, _ put: UInt64, _ state: DashboardState) -> (String, Role) {
    func after(_ wall: UInt64) -> String { Wording.seconds(Double(wall > put ? wall - put : 0) / 1_000) }
    let lies = "an alert lies at their link since \(Wording.ago(put, now: state.now.wall).replacing(" ago", with: ""))"
    return switch arrival {
    case nil: ("\(lies); not known yet who reads it", .waiting)
    case .unopened: ("\(lies); no opening of it is known here: please call", .waiting)
    case .followed: ("\(lies); on no screen there yet", .waiting)
    case .shown(let wall): ("a screen of theirs shows it, after \(after(wall))", .good)
    case .seen(let wall): ("has seen it, after \(after(wall))", .good)
    }
  }

  /// Who has seen it, and what follows by itself.
  private static func acknowledged(_ state: DashboardState, _ snapshot: Snapshot) -> [Line] {
    var lines = snapshot.crisis.acknowledgements.map { entry in
      Line("  acknowledged on \(CellText.clean(entry.device)) after \(Wording.seconds(Double(entry.after) / 1_000))", .good)
    }
    if let next = nextStep(snapshot, since: state.sinceSnapshot) { lines.append(Line(next, .dim)) }
    if snapshot.crisis.showsContacts, !snapshot.plan.contacts.isEmpty {
      lines += [.empty, Line("CALL ONE OF THEM", .strong)]
      lines += snapshot.plan.contacts.map { Line("  \(CellText.clean($0.name))  \(CellText.clean($0.phone))", .strong) }
    }
    return lines
  }

  /// What happens next by itself, in words.
  static func nextStep(_ snapshot: Snapshot, since: UInt64) -> String? {
    switch snapshot.crisis.step {
    case .wait(let stage, let milliseconds):
      let waits = snapshot.crisis.tellings.contains { $0.state == .unanswered }
      // What nobody agreed to is not promised.
      let follows = stage == .contacts ? !snapshot.plan.contacts.isEmpty : waits
      guard follows else { return "Nobody else is told by itself. The help lines above are always there." }
      return "Next, in \((milliseconds - min(milliseconds, since) + 999) / 1_000) s, unless you acknowledge: \(stage.meaning)."
    case .stopped:
      let due = snapshot.crisis.tellings.filter(\.state.isDue).map { CellText.clean($0.name) }
      let alert = due.isEmpty ? "" : "beyond the alert to \(due.joined(separator: ", ")) "
      return "Acknowledged on at least half of your devices: \(alert)nothing follows by itself."
    case .take, .complete, .notNeeded: return nil
    }
  }

  private static func wrapped(_ line: Line, _ columns: Int) -> [Line] {
    guard line.left.count == 1, let span = line.left.first, CellText.width(span.text) > columns else { return [line] }
    let indent = String(span.text.prefix { $0 == " " })
    return CellText.wrap(span.text, columns - indent.count).map { Line(indent + $0, span.role) }
  }
}
