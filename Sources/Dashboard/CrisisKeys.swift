import Causality
import Crisis
import Stores

/// That a crisis be over was asked for at this screen. Nothing is closed for it before it is so: a store may be locked.
struct Resolving: Sendable, Hashable {
  /// The activation, as the check-in after it names it; `nil` where there was no store to keep one.
  var activation: String?
  /// The last activation that was known then; what is raised after it is not over.
  var latest: String
  /// What lay beneath the crisis screen.
  var beneath: [Dialog]
}

/// What lies beside the store about crises that were raised on this device, as a driver has looked last.
package struct Beside: Sendable, Hashable {
  /// Whether something was raised here that is not known to be over. That nothing is says nothing of other devices.
  package var isRaised: Bool
  /// What the person had decided when it was looked; see ``DashboardState/decisions``.
  package var decisions: Int
  /// Counts the looks: each is taken in once.
  package var look: Int

  package init(isRaised: Bool, decisions: Int, look: Int) { (self.isRaised, self.decisions, self.look) = (isRaised, decisions, look) }
}

/// Raising a crisis, ending it, and what the keys of its screen do.
extension DashboardState {
  /// Whether a crisis was raised at this screen that nobody has ended, as far as is known: a store that is locked or full
  /// does not show it.
  package var isRaisedHere: Bool { delivery.map { $0.word != .noWay } ?? false || snapshot == nil && isInJournal }

  /// Whether a crisis is known to be active: from the store, or because it was raised here.
  package var isCrisisKnown: Bool { snapshot?.crisis.isActive ?? wasActive || isRaisedHere }

  /// Whether what was raised at this screen lies on this disk: in the emergency journal, beside the store, where the
  /// store does not have it.
  package var isRaisedOnDisk: Bool { delivery?.disk.isDone ?? false }

  /// The store takes nothing now; `nil` once it does again, and then nothing stands any more of what was said of it.
  ///
  /// - Parameter words: Said where nothing else is: nothing that the person did was refused.
  package mutating func hold(_ obstacle: String?, saying words: String? = nil) {
    let isSaid = message == nil || message?.text == held?.words
    if isSaid { message = nil }
    held = obstacle.map { ($0, words ?? $0) }
    // The crisis screen says itself what is saved, and where.
    if let held, isSaid, dialogs.last != .crisis { tell(held.words) }
  }

  /// Something became known of a crisis that was raised here.
  package mutating func note(_ delivery: CrisisDelivery) { if self.delivery != nil { self.delivery = delivery } }

  /// Takes in what lies beside the store. One that was looked at before the person decided something says nothing of it.
  package mutating func learn(_ beside: Beside) {
    guard beside.look > lastLook, beside.decisions == decisions else { return }
    lastLook = beside.look
    let wasRaised = isInJournal || isRaisedHere
    isInJournal = beside.isRaised && snapshot == nil
    if beside.isRaised {
      isOverHere = false
      if message?.text == Self.overHere { message = nil }
    }
    guard wasRaised, !beside.isRaised else { return }
    (delivery, crisisRaised) = (nil, nil)
    guard snapshot == nil else { return }
    isOverHere = true
    if resolving == nil { tell(Self.overHere) }
  }

  /// Said where nothing is left of what was raised here, and no store says what others raised.
  package static let overHere = "What was raised here is over; whether others raised one is not known."
  /// The same words as `crisis status` has where the store cannot be opened.
  package static let raisedHere = "A crisis was raised on this device; whether it is over is not known."

  /// In few words, where nobody may know of what was raised at this screen; `nil` where somebody can.
  var onlyHere: String? {
    // What other devices show has reached them, whichever way.
    if let crisis = snapshot?.crisis, crisis.isActive, crisis.receipts.contains(where: \.hasIt) { return nil }
    return switch delivery?.word {
    case .onlyThisScreen?: "only here"
    case .noWay?: "not sent"
    case .trying?, .savedAndSent?, .savedAlone?, .saved?, .sent?, nil: nil
    }
  }

  /// What leaving would leave open of the crisis that was raised here; `nil` where nothing is.
  var leavesCrisisOpen: String? {
    guard let delivery, !delivery.isComplete, delivery.word != .noWay else { return nil }
    return switch (delivery.disk.isDone, delivery.relay.isDone) {
    case (true, _):
      "The crisis is saved on this device, and is not known to be at the relay: other devices learn of it once it lies there, which takes fullmind running here."
    case (false, true): "The crisis is at the relay, and not saved on this device yet; leaving ends the trying."
    case (false, false):
      "Leaving ends this crisis: as far as is known it is saved nowhere, neither here nor at the relay."
    }
  }

  /// First the screen, then everything else.
  mutating func raiseCrisis(_ level: CrisisLevel = .severe, source: String = "person") -> [Intent] {
    isBlank = false
    crisisRaised = now.uptime
    untimed[.crisisScreen] = now.uptime
    // What was told before, of an earlier one perhaps, would stand where help does.
    (resolving, goesOn, isRaisedSince, message) = (nil, nil, true, nil)
    (decisions, isOverHere) = (decisions + 1, false)
    showCrisis()
    delivery = CrisisDelivery()
    return [.activateCrisis(level: level, source: source)]
  }

  /// Opens the crisis screen, at its beginning.
  mutating func showCrisis() {
    crisisOffset = 0
    dialogs.removeAll { $0 == .crisis }
    dialogs.append(.crisis)
  }

  // MARK: Keys

  mutating func crisis(_ key: Key) -> [Intent] {
    switch key {
    case .character("u") where canUndoCrisis: return takeBack()
    case .down, .character("j"), .pageDown: crisisOffset = min(crisisOffset + 3, CrisisScreen.lastOffset(self))
    case .up, .character("k"), .pageUp: crisisOffset = max(0, crisisOffset - 3)
    case .character("p"):
      // A session is never interrupted by itself; its progress is kept, and Enter takes it up again.
      guard let session = ownSession else { return [] }
      return save(
        .saveProgress(session: session.id.description, elapsed: ownElapsed, phase: "paused"), from: nil,
        saying: "Your session is paused. Enter in Sessions takes it up again.")
    case .character("r") where isCrisisKnown:
      dialogs.append(.confirmResolve)
    case .enter where canTellNow:
      saidNow = snapshot?.crisis.latest
      tell("Your contacts are told as soon as this can be done. Each of them is listed above, with how far it has come.")
      return [.tellContacts(snapshot?.crisis.activations ?? [])]
    case .character("h") where snapshot != nil && !isCrisisKnown: return [.crisisHistory]
    // Enter does not: it may have been meant for what lay here before.
    case .escape:
      dialogs.removeLast()
      // Whoever closes it has seen it.
      let isNew = (snapshot?.crisis.isActive ?? false) && !(snapshot?.crisis.isAcknowledgedHere ?? true)
      return isNew ? [.acknowledgeCrisis] : []
    case .character("q") where snapshot == nil: return quit()
    default: break
    }
    return []
  }

  /// The screen stays, and says that it is tried, until ``resolved(_:isOver:)`` says that it is so.
  mutating func confirm(_ key: Key) -> [Intent] {
    dialogs.removeLast()
    guard key == .character("y") else { return [] }
    resolving = Resolving(
      activation: snapshot?.crisis.activation, latest: snapshot?.crisis.latest ?? "", beneath: dialogs.filter { $0 != .crisis })
    (isRaisedSince, goesOn) = (false, nil)
    decisions += 1
    tell("Resolving…", atLeast: Self.resolvingMayTake)
    return [.resolveCrisis("Resolved. Be kind to yourself today.\(toldWords)")]
  }

  /// Nanoseconds for which it is said that it is tried; an answer takes its place.
  private static let resolvingMayTake: UInt64 = 60_000_000_000

  mutating func takeBack() -> [Intent] {
    crisisRaised = nil
    (resolving, goesOn, isRaisedSince) = (nil, nil, false)
    decisions += 1
    dialogs.removeAll { $0 == .crisis }
    tell("Taking it back…")
    return [.takeBackCrisis("Taken back.\(toldWords)")]
  }

  /// To whom an alert had gone; that it is over is told to them, and said here when it is so.
  private var toldWords: String {
    let names = snapshot?.crisis.tellings.compactMap { telling -> String? in
      if case .told = telling.state { CellText.clean(telling.name) } else { nil }
    } ?? []
    return names.isEmpty ? "" : " An alert lay at the link of \(names.joined(separator: ", ")) already."
  }

  // MARK: What came of it

  /// A crisis was resolved or taken back, or could not be.
  ///
  /// - Parameters:
  ///   - words: What came of it; `nil` where none was active.
  ///   - isOver: Whether it is; otherwise it is still being tried.
  package mutating func resolved(_ words: String?, isOver: Bool) {
    // Without a store nothing is known of what other devices raised.
    tell(words ?? (snapshot == nil ? "Nothing that was raised here was active; whether others raised one is not known." : "No crisis was active here."))
    goesOn = isOver || resolving == nil ? nil : words
    guard isOver else { return }
    if !isRaisedSince { (delivery, isInJournal, wasActive) = (nil, false, false) }
    guard let asked = resolving else { return }
    resolving = nil
    close(asked)
  }

  /// Closes the crisis screen, and offers to say how one is now.
  private mutating func close(_ asked: Resolving) {
    let isAnotherActive = snapshot.map { $0.crisis.isActive && $0.crisis.latest != asked.latest } ?? false
    if !isAnotherActive { dialogs.removeAll { $0 == .crisis || $0 == .confirmResolve } }
    guard let activation = asked.activation else { return }
    // Never above help, nor under the fingers of somebody who does something else by now.
    let isFree = dialogs.isEmpty || dialogs == asked.beneath
    let top = isFree ? dialogs.count : dialogs.count - 1
    let form = Dialog.form(.afterCrisis(activation, hour: Wording.hour(now.wall)))
    dialogs.insert(form, at: min(dialogs.firstIndex(of: .crisis) ?? top, top))
  }
}
