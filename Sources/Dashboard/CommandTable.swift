import Stores

/// Every action, once: key map, key bar, palette and help are made from this table.
package enum Command: String, Sendable, CaseIterable {
  case crisis, undo, resolveCrisis, sync, handOff, new, invite, open, zoom, filter, palette, help, pause, theme, blank
  case nextDevice, life, partition, loss, delay, suspend, quit

  package var key: Key {
    switch self {
    case .crisis: .character("!")
    case .undo: .character("u")
    case .resolveCrisis: .character("r")
    case .sync: .character("s")
    case .handOff: .character("h")
    case .new: .character("n")
    case .invite: .character("i")
    case .open: .enter
    case .zoom: .character("z")
    case .filter: .character("/")
    case .palette: .character(":")
    case .help: .character("?")
    case .pause: .character("p")
    case .theme: .character("t")
    case .blank: .character("b")
    case .nextDevice: .character("v")
    case .life: .character("y")
    case .partition: .character("P")
    case .loss: .character("O")
    case .delay: .character("D")
    case .suspend: .control("z")
    case .quit: .character("q")
    }
  }

  /// The key as it is shown.
  package var keyName: String {
    switch key {
    case .character(let character): String(character)
    case .control(let character): "^\(character.uppercased())"
    case .enter: "Enter"
    default: ""
    }
  }

  package var title: String {
    switch self {
    case .crisis: "crisis"
    case .undo: "take back"
    case .resolveCrisis: "resolve crisis"
    case .sync: "sync now"
    case .handOff: "hand off"
    case .new: "new"
    case .invite: "invite device"
    case .open: "open"
    case .zoom: "zoom"
    case .filter: "filter"
    case .palette: "commands"
    case .help: "help"
    case .pause: "pause"
    case .theme: "theme"
    case .blank: "blank"
    case .nextDevice: "next device"
    case .life: "still life"
    case .partition: "cut network"
    case .loss: "lose messages"
    case .delay: "slow network"
    case .suspend: "suspend"
    case .quit: "quit"
    }
  }

  /// What it does, in a sentence.
  package var explanation: String {
    switch self {
    case .crisis: "Raise a crisis on all your devices and show help lines and your plan. Works everywhere, always."
    case .undo: "Take back the crisis raised in the last ten seconds."
    case .resolveCrisis: "Say that the crisis is over for now."
    case .sync: "Exchange with the relay now."
    case .handOff: "Move the selected session to another device, without losing a breath."
    case .new: "Begin something: check-in, questionnaire, practice, journal."
    case .invite: "Let another device join this account."
    case .open: "Open what is selected."
    case .zoom: "Show the selected panel on the whole screen."
    case .filter: "Show only conflicts (from their panel) or events with a word; !word shows those without it."
    case .palette: "Every command, found by typing a part of its name."
    case .help: "This help."
    case .pause: "Hold the picture; left and right walk through the last hour."
    case .theme: "The next theme."
    case .blank: "Hide everything until the next key."
    case .life: "Let the household rest, or live on."
    case .nextDevice: "Look at the household from its next device."
    case .partition: "Cut this device off from the relay, or connect it again."
    case .loss: "Let every third request to the relay get lost, or stop that."
    case .delay: "Let news from the relay take a second and a half, or stop that."
    case .suspend: "Stop, and give the terminal back until fg."
    case .quit: "Leave."
    }
  }

  /// Only in the demo household.
  package var isForDemo: Bool {
    switch self {
    case .nextDevice, .life, .partition, .loss, .delay: true
    default: false
    }
  }

  /// Why it cannot be done now; `nil` when it can.
  package func unavailable(in state: DashboardState) -> String? {
    guard let snapshot = state.snapshot else {
      switch self {
      case .quit, .crisis, .help, .theme, .blank, .palette, .suspend: return nil
      case .undo: return state.canUndoCrisis ? nil : "nothing to take back"
      // What was raised here can be taken back without a store.
      case .resolveCrisis: return state.isCrisisKnown ? nil : "no crisis is known here; what other devices raised is not known"
      default: return state.problem.isEmpty ? "no store yet" : "the store cannot be used now"
      }
    }
    switch self {
    case .undo: return state.canUndoCrisis ? nil : "nothing to take back"
    case .resolveCrisis: return state.isCrisisKnown ? nil : "no crisis is active"
    case .handOff:
      if snapshot.devices.count < 2 { return "there is no other device" }
      return state.ownSession == nil ? "no session runs here" : nil
    case .open: return state.canOpen ? nil : "nothing to open here"
    default: return nil
    }
  }
}
