import CSystem
import Causality
import Crisis
import Dashboard
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Stores
import Synchronization
import Terminal
import Therapy

/// Accounts that begin, and devices that join.
extension DashboardHost {
  // MARK: Newcomers

  func start(_ name: String) throws {
    let name = try DeviceName.checked(name)
    let home = location.homeFolder
    try AccountSetup.check(home, replacing: false)
    let choices = AccountSetup.Choices(deviceName: name, passphrase: nil, relay: try location.chosenRelay())
    let (prepared, code) = try AccountSetup.found(at: home, choices)
    state.withLock { $0.prepared = prepared }
    let words = code.words.split(separator: " ").chunks(of: 6).map { "  " + $0.joined(separator: " ") }
    notices.post(
      .dialog(
        .recoveryCode(
          ["Write these 24 words on paper. They are shown once and kept nowhere;", "they are the only way back when every device is lost.", ""]
            + words + [
              "", "This store opens without a passphrase: who can read its files can",
              "read it. With one: `fullmind init --device NAME` instead.", "", "Enter goes on and makes the account. Esc leaves it.",
            ])))
  }

  /// The recovery code was read: now there is an account.
  func finishStart(_ isConfirmed: Bool) throws {
    let prepared = state.withLock { state in
      defer { state.prepared = nil }
      return state.prepared
    }
    guard let prepared else { return }
    guard isConfirmed else {
      prepared.discard()
      return notices.post(.tell("No account was made."))
    }
    do { _ = try prepared.place() } catch {
      prepared.discard()
      throw CodeIsVoid(cause: Output.actionable(error))
    }
    try drive(try prepared.open())
  }

  func join(_ code: String, _ name: String, _ place: String) throws {
    let name = try DeviceName.checked(name)
    guard !place.isEmpty else { throw JoinCommand.RelayNotNamed() }
    let relay = try RelayLocation(place)
    let home = location.homeFolder
    try AccountSetup.check(home, replacing: false)
    defer { notices.post(.closeInvitation) }
    var joining = try Joining(code: code, at: home, AccountSetup.Choices(deviceName: name, passphrase: nil, relay: relay))
    while true {
      switch try joining.step() {
      case .waiting: Thread.sleep(forTimeInterval: mailboxGap)
      case .compare(let digits, let admittedBy):
        notices.post(
          .dialog(
            .note(
              title: Dialog.compare,
              text: ["“\(CellText.clean(admittedBy))” must show the same digits:", "", "    \(digits)", "", "Say yes there only if they are the same."])))
      case .admitted(let prepared):
        do { try drive(try prepared.finish()) } catch let error as StorageError {
          joining.didNotFit(error)
          throw error
        }
        return notices.post(.tell("This device belongs to the account now."))
      }
    }
  }

  func invite() {
    guard let driver, state.withLock({ $0.household == nil }) else {
      return notices.post(.tell("In the demo nobody can be invited."))
    }
    // An earlier one ends by itself, and nothing that is said of this one is said of it.
    let number = state.withLock { state in
      state.invitation = (state.invitation.number + 1, .none)
      return state.invitation.number
    }
    slowly { [self] in
      let store = driver.store
      let relay = try location.openRelay(store)
      let place = try location.relayLocation(store)
      guard !place.isPrivate(to: store.home) else { throw DevicesCommand.RelayIsPrivate() }
      var performer = try EffectPerformer(store: store, relay: relay, ring: store.ring, run: 0)
      var invitation = try Invitation(store: store, relay: relay, members: performer.members)
      let code = invitation.code.description
      notices.post(.dialog(.invitation(code: code, relay: place.description, digits: nil, name: "")))
      while true {
        let current = state.withLock { $0.invitation }
        guard current.number == number else { return invitation.cancel() }
        switch current.answer {
        case .admit:
          let isSent = try invitation.admit(&performer)
          driver.send(.noticeCommit)
          return notices.post(.tell(isSent ? "Admitted: the new device is shown as “not heard of yet” until it has said something." : "Admitted. The account is handed over when the relay can be used again."))
        case .cancel:
          invitation.cancel()
          return notices.post(.tell("Cancelled. No device was added."))
        case .none: break
        }
        do {
          if case .compare(let digits, let name) = try invitation.step() {
            notices.post(.dialog(.invitation(code: code, relay: place.description, digits: digits, name: name)))
          }
        } catch {
          notices.post(.closeInvitation)
          throw error
        }
        Thread.sleep(forTimeInterval: mailboxGap)
      }
    }
  }
}
