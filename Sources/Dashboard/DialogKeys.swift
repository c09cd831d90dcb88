import Foundation
import Causality
import Crisis
import Stores
import Therapy

/// What keys do while a dialog is open. Each dialog asks one thing.
extension DashboardState {
  mutating func press(_ key: Key, in dialog: Dialog) -> [Intent] {
    if key == .control("x") { return raiseCrisis() }
    if key == .escape, dialog != .crisis {
      if case .conflict(var open) = dialog, open.typing != nil || open.isSettlingAll {
        (open.typing, open.isSettlingAll) = (nil, false)
        return replaceTop(.conflict(open))
      }
      if case .plan(var editor) = dialog, editor.typing != nil || editor.isRemoving {
        (editor.typing, editor.isRemoving) = (nil, false)
        return replaceTop(.plan(editor))
      }
      dialogs.removeLast()
      setAside(dialog)
      if case .invitation = dialog { return [.cancelInvitation] }
      if case .recoveryCode = dialog { return [.confirmStart(false)] }
      if case .form(let form) = dialog, form.purpose == .start { isFinished = snapshot == nil && dialogs.isEmpty }
      return []
    }
    switch dialog {
    case .help, .note: return closeOn(key)
    case .recoveryCode:
      guard key == .enter else { return [] }
      dialogs.removeLast()
      return [.confirmStart(true)]
    case .palette(let query, let selected): return palette(key, query, selected)
    case .crisis: return crisis(key)
    case .confirmResolve: return confirm(key)
    case .conflict(let dialog): return conflict(key, dialog)
    case .handOff(let session, let selected): return handOff(key, session, selected)
    case .new(let selected): return new(key, selected)
    case .form(let form): return self.form(key, form)
    case .plan(let editor): return plan(key, editor)
    case .questionnaire(let questionnaire): return self.questionnaire(key, questionnaire)
    case .practice: return practice(key)
    case .filter(let text): return filter(key, text)
    case .invitation(_, _, let digits, _): return invitation(key, digits)
    }
  }

  private mutating func replaceTop(_ dialog: Dialog) -> [Intent] {
    dialogs[dialogs.count - 1] = dialog
    return []
  }

  private mutating func closeOn(_ key: Key) -> [Intent] {
    if [.enter, .character("q"), .character("?"), .character(" ")].contains(key) { dialogs.removeLast() }
    return []
  }

  // MARK: Choosing

  private func moved(_ key: Key, _ selected: Int, of count: Int) -> Int? {
    switch key {
    case .down, .character("j"), .tab, .right: min(count - 1, selected + 1)
    case .up, .character("k"), .backTab, .left: max(0, selected - 1)
    default: nil
    }
  }

  private mutating func conflict(_ key: Key, _ dialog: ConflictDialog) -> [Intent] {
    guard let conflict = dialog.conflict(in: snapshot) else {
      dialogs.removeLast()
      return []
    }
    let before = Dialog.conflict(dialog)
    var dialog = dialog
    let answer = dialog.press(key, conflict)
    _ = replaceTop(.conflict(dialog))
    guard let answer else { return [] }
    if answer == .ask {
      dialogs.append(.form(.ask(conflict)))
      return []
    }
    dialogs.removeLast()
    let record = conflict.record.description
    let intent: Intent
    switch answer {
    case .keep(let version): intent = .resolve(record: record, field: conflict.field, keeping: version)
    case .keepAll: intent = .resolveBy(.unionMerge, record: record, field: conflict.field)
    case .write(let text): intent = .resolveWith(record: record, field: conflict.field, text: text)
    case .settleAll: intent = .resolveAll(type: conflict.type)
    case .ask: return []
    }
    return save(intent, from: before, saying: "Settled. `fullmind conflicts undo` opens it again.")
  }

  /// The other devices, as the hand-off dialog lists them.
  package var otherDevices: [Snapshot.Device] { snapshot?.devices.filter { !$0.isThisOne } ?? [] }

  private mutating func handOff(_ key: Key, _ session: RecordID, _ selected: Int) -> [Intent] {
    if let next = moved(key, selected, of: otherDevices.count) { return replaceTop(.handOff(session: session, selected: next)) }
    guard key == .enter, otherDevices.indices.contains(selected) else { return [] }
    let target = otherDevices[selected]
    dialogs.removeLast()
    tell("Offered to \(CellText.clean(target.name)). It stays here until the receipt is back.")
    let elapsed = ownElapsed
    return [
      .saveProgress(session: session.description, elapsed: elapsed, phase: nil),
      .handOff(session: session.description, device: target.id.description),
    ]
  }

  /// What `n` offers.
  package static let beginnings = [
    "Check-in: morning", "Check-in: midday", "Check-in: evening", "Breathing space (3 minutes)", "Body scan (9 minutes)",
    "PHQ-9 questionnaire", "GAD-7 questionnaire", "Journal", "Safety plan",
  ]

  private mutating func new(_ key: Key, _ selected: Int) -> [Intent] {
    if let next = moved(key, selected, of: Self.beginnings.count) { return replaceTop(.new(selected: next)) }
    var choice = selected
    if case .character(let digit) = key, let number = digit.wholeNumberValue, Self.beginnings.indices.contains(number - 1) {
      choice = number - 1
    } else if key != .enter {
      return []
    }
    dialogs.removeLast()
    switch choice {
    case 0...2: begin(.form(.checkIn(["morning", "midday", "evening"][choice])))
    case 3: return [.startPractice(Practice.breathing.name)]
    case 4: return [.startPractice(Practice.bodyScan.name)]
    case 5: begin(.questionnaire(Questionnaire(.phq9, screening)))
    case 6: begin(.questionnaire(Questionnaire(.gad7, screening)))
    case 7: begin(.form(.journal))
    default: dialogs.append(.plan(PlanEditor()))
    }
    return []
  }

  /// Commands whose title contains the letters of the query, in order.
  package func found(_ query: String) -> [Command] {
    let letters = Array(query.lowercased())
    return Command.allCases.filter { command in
      guard !command.isForDemo || isDemo else { return false }
      var rest = letters[...]
      for character in "\(command.title) \(command.explanation)".lowercased() where character == rest.first { rest.removeFirst() }
      return rest.isEmpty
    }
  }

  private mutating func palette(_ key: Key, _ query: String, _ selected: Int) -> [Intent] {
    let found = found(query)
    switch key {
    case .enter:
      dialogs.removeLast()
      return found.indices.contains(selected) ? run(found[selected]) : []
    case .down, .tab: return replaceTop(.palette(query: query, selected: min(max(0, found.count - 1), selected + 1)))
    case .up, .backTab: return replaceTop(.palette(query: query, selected: max(0, selected - 1)))
    default: return replaceTop(.palette(query: Self.edited(query, key), selected: 0))
    }
  }

  // MARK: Unfinished

  /// Opens what was left half-written, or a new one.
  mutating func begin(_ dialog: Dialog) {
    guard let key = dialog.subject, let left = unfinished[key]?.popLast() else { return dialogs.append(dialog) }
    dialogs.append(left)
    tell("Here is what you had begun.")
  }

  /// Esc leaves what is half-written; it does not throw it away.
  private mutating func setAside(_ dialog: Dialog) {
    guard let key = dialog.subject, dialog.hasWords else { return }
    unfinished[key, default: []].append(dialog.detached)
    tell("Not saved. What you have written so far stays here until this program ends: begin the same again to go on.")
  }

  // MARK: Typing

  /// Text after a key.
  static func edited(_ text: String, _ key: Key) -> String {
    switch key {
    case .character(let character) where text.count < Limits.textCharacters: text + String(character)
    case .backspace, .delete: String(text.dropLast())
    case .control("u"): ""
    default: text
    }
  }

  private mutating func filter(_ key: Key, _ text: String) -> [Intent] {
    if key == .enter {
      dialogs.removeLast()
      return []
    }
    let edited = Self.edited(text, key)
    filters[focus] = edited
    return replaceTop(.filter(edited))
  }

  private mutating func form(_ key: Key, _ form: Form) -> [Intent] {
    var form = form
    switch key {
    case .tab, .down: form.index = (form.index + 1) % form.fields.count
    case .backTab, .up: form.index = (form.index + form.fields.count - 1) % form.fields.count
    case .enter where form.index < form.fields.count - 1: form.index += 1
    case .enter: return finish(form)
    default: form.fields[form.index].text = Self.edited(form.fields[form.index].text, key)
    }
    return replaceTop(.form(form))
  }

  private mutating func plan(_ key: Key, _ editor: PlanEditor) -> [Intent] {
    guard let plan = snapshot?.plan else { return [] }
    let before = Dialog.plan(editor)
    var editor = editor
    let answer = editor.press(key, plan)
    _ = replaceTop(.plan(editor))
    switch answer {
    case .edit(let words): return save(.editPlan(assignments: words), from: before, saying: "Saved here, in your plan.")
    case .removeContact(let id): return save(.remove(record: id.description), from: before, saying: "Taken out here.")
    case .newContact: begin(.form(.contact))
    case nil: break
    }
    return []
  }

  /// Checks what was typed before anything is closed: a mistake costs nothing.
  private mutating func finish(_ form: Form) -> [Intent] {
    var form = form
    let text = form.fields.map { $0.text.trimmingCharacters(in: .whitespaces) }
    switch form.purpose {
    case .unlock:
      let passphrase = form.fields[0].text
      guard !passphrase.isEmpty else { return [] }
      if problem.isEmpty {
        dialogs.removeLast()
        tell("Your store is open already.")
        return []
      }
      // It stays until the store is open, so that what is typed meanwhile has a place.
      (form.fields[0].text, form.problem) = ("", nil)
      tell(Self.opening)
      _ = replaceTop(.form(form))
      return [.unlock(passphrase)]
    case .start, .join, .ask:
      guard text.allSatisfy({ !$0.isEmpty }) else {
        form.problem = "Please fill in every line."
        return replaceTop(.form(form))
      }
      dialogs.removeLast()
      if case .ask(let record, let field) = form.purpose {
        let names = text[0].split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        return [.ask(names: names, person: text[1], record: record, field: field)]
      }
      return form.purpose == .start ? [.start(deviceName: text[0])] : [.join(code: text[0], deviceName: text[2], relay: text[1])]
    case .record(let kind, let fixed):
      guard isValid(&form, kind, fixed) else { return replaceTop(.form(form)) }
      dialogs.removeLast()
      return save(.add(kind: kind, assignments: fixed + form.assignments), from: .form(form), saying: "Saved on this device.")
    }
  }

  /// Whether the form can be saved; otherwise it says what is wrong.
  private func isValid(_ form: inout Form, _ kind: String, _ fixed: [String]) -> Bool {
    do throws(InputError) {
      guard let schema = RecordCatalogue[kind] else { throw InputError.unknownKind(kind) }
      guard !form.assignments.isEmpty else { throw InputError.noFields }
      _ = try schema.drafts(from: fixed + form.assignments, record: RecordID(high: 0, low: 0), current: nil)
      return true
    } catch {
      form.problem = "\(error.summary) \(error.remedy)"
      return false
    }
  }

  // MARK: Sessions

  private mutating func questionnaire(_ key: Key, _ questionnaire: Questionnaire) -> [Intent] {
    var questionnaire = questionnaire
    if let offer = questionnaire.offer {
      let isAccepted = key == .character("y")
      questionnaire.closeOffer(accepted: isAccepted)
      _ = replaceTop(.questionnaire(questionnaire))
      guard isAccepted else { return [] }
      if offer.level > .none { return raiseCrisis(offer.level, source: "detection") }
      showCrisis()
      return []
    }
    if questionnaire.isComplete {
      guard key == .enter else { return [] }
      dialogs.removeLast()
      return save(.add(kind: "assessment", assignments: questionnaire.assignments), from: .questionnaire(questionnaire), saying: "Saved on this device.")
    }
    switch key {
    case .character(let digit):
      if let value = digit.wholeNumberValue, (0...3).contains(value) { questionnaire.answer(value) }
      if questionnaire.offer != nil { didOffer() }
    case .left, .backspace: questionnaire.index = max(0, questionnaire.index - 1)
    case .right, .tab: questionnaire.skip()
    default: break
    }
    return replaceTop(.questionnaire(questionnaire))
  }

  private mutating func practice(_ key: Key) -> [Intent] {
    guard let session = ownSession else {
      dialogs.removeLast()
      return []
    }
    switch key {
    case .character("h"): return run(.handOff)
    case .character("p"), .character(" "):
      dialogs.removeLast()
      return [.saveProgress(session: session.id.description, elapsed: ownElapsed, phase: "paused")]
    default: return []
    }
  }

  private mutating func invitation(_ key: Key, _ digits: String?) -> [Intent] {
    guard digits != nil else { return [] }
    switch key {
    case .character("y"):
      dialogs.removeLast()
      return [.admit]
    case .character("n"):
      dialogs.removeLast()
      return [.cancelInvitation]
    default: return []
    }
  }
}
