import Causality
import Crisis
import Stores
import Therapy

/// What keys do in the panels, and what each command of the table does.
extension DashboardState {
  /// Before there is a store: three ways to begin.
  mutating func welcome(_ key: Key) -> [Intent]? {
    switch key {
    case .enter:
      dialogs.append(.form(Form(purpose: .start, title: "Start on this device", fields: [Form.Field(name: "device", hint: "what to call it", text: "laptop")])))
    case .character("j"):
      dialogs.append(.form(Form(purpose: .join, title: "Join an account", fields: [Form.Field(name: "code", hint: "from the other device"), Form.Field(name: "relay", hint: "folder:PATH that both devices use", text: chosenRelay), Form.Field(name: "device", hint: "what to call this one", text: "laptop")])))
    case .character("d"): return [.demo]
    default: return nil
    }
    return []
  }

  mutating func moveFocus(_ step: Int) -> [Intent] {
    let count = Panel.allCases.count
    focus = Panel(rawValue: (focus.rawValue + step + count) % count) ?? .sync
    return []
  }

  mutating func select(_ step: Int) -> [Intent] {
    let count = shown.map { focus.count(in: $0, filters[focus] ?? "") } ?? 0
    if count > 0 { selections[focus] = max(0, min(count - 1, selected(focus) + step)) }
    return []
  }

  mutating func walk(_ step: Int) -> [Intent] {
    pausedAt = max(0, min(past.count - 1, (pausedAt ?? 0) + step))
    return []
  }

  mutating func click(_ row: Int, _ column: Int) -> [Intent] {
    for (panel, rect) in DashboardLayout.panels(self) where rect.contains(row: row, column: column) {
      focus = panel
      let entry = row - rect.row - 1
      if let shown, entry >= 0, entry < panel.count(in: shown, filters[panel] ?? "") { selections[panel] = entry }
    }
    return []
  }

  /// Performs a command of the table, or says why it cannot be done now.
  package mutating func run(_ command: Command) -> [Intent] {
    if let reason = command.unavailable(in: self) {
      tell("\(command.title): \(reason)")
      return []
    }
    switch command {
    case .crisis: return raiseCrisis()
    case .undo: return takeBack()
    case .resolveCrisis:
      dialogs.append(.confirmResolve)
      return []
    case .sync:
      tell([.offline, .strange].contains(snapshot?.sync.state) ? "The relay could not be used; it is tried again now." : "Exchanging now.")
      return [.sync]
    case .handOff:
      if let session = ownSession { dialogs.append(.handOff(session: session.id, selected: 0)) }
    case .new: dialogs.append(.new(selected: 0))
    case .invite: return [.invite]
    case .open: return open()
    case .zoom: isZoomed.toggle()
    case .filter:
      if focus != .conflicts { focus = .events }
      dialogs.append(.filter(filters[focus] ?? ""))
    case .palette: dialogs.append(.palette(query: "", selected: 0))
    case .help: dialogs.append(.help)
    case .pause: pausedAt = pausedAt == nil ? 0 : nil
    case .theme: nextTheme()
    case .blank: isBlank = true
    case .nextDevice: return [.watch(1)]
    case .life, .partition, .loss, .delay: return [.network(command.rawValue)]
    case .suspend: return [.suspend]
    case .quit: return quit()
    }
    return []
  }

  private mutating func nextTheme() {
    let names = Theme.names
    let index = names.firstIndex(of: themeName) ?? 0
    themeName = names[(index + 1) % names.count]
    tell("theme: \(themeName)")
  }

  private mutating func open() -> [Intent] {
    if focus == .sessions, ownSession == nil, let session = pausedSession {
      return [.saveProgress(session: session.id.description, elapsed: session.elapsed, phase: "running")]
    }
    switch focus {
    case .conflicts:
      let conflicts = ConflictsPanel.matching(snapshot?.conflicts ?? [], filters[.conflicts] ?? "")
      guard conflicts.indices.contains(selected(.conflicts)) else { return [] }
      let conflict = conflicts[selected(.conflicts)]
      dialogs.append(.conflict(ConflictDialog(conflict)))
      return [.look(record: conflict.record.description, field: conflict.field)]
    case .sessions: dialogs.append(.practice)
    case .crisis: showCrisis()
    case .sync, .devices, .quota, .guarantees, .events: isZoomed.toggle()
    }
    return []
  }
}

extension DashboardState {
  /// Whether the store only waits for its passphrase.
  var needsPassphrase: Bool { ["storage.wrong-passphrase", "storage.passphrase-needed"].contains(problem.last ?? "") }

  /// Opens the field for it, where nothing else lies; one that is open says what came of the last try, and keeps what was
  /// typed since.
  mutating func askForPassphrase() {
    if dialogs.isEmpty { dialogs.append(.form(.unlock)) }
    let words = problem.last == "storage.wrong-passphrase" ? "This passphrase does not open the store. Nothing was changed." : nil
    for (index, dialog) in dialogs.enumerated() {
      guard case .form(var form) = dialog, form.purpose == .unlock else { continue }
      form.problem = words
      dialogs[index] = .form(form)
    }
  }

  /// What can be done by a letter while the store cannot be used, as the key bar lists it.
  var lockedCommands: [Command] {
    let own = [Command.undo, .resolveCrisis].filter { $0.unavailable(in: self) == nil }
    return [Command.crisis] + own + [Command.quit]
  }
}
