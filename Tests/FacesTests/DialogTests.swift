import Causality
import Crisis
import Dashboard
import Foundation
import Stores
import Testing
import Therapy

/// What keys do in the dialogs, and what the dialogs show.
@Suite("Dialogs")
struct DialogTests {
  @Test("the crisis key works in every dialog, blank, and before there is a store")
  func crisisKey() {
    let dialogs: [Dialog] = [
      .help, .palette(query: "", selected: 0), .new(selected: 0), .form(.journal), .questionnaire(Questionnaire(.phq9)),
      .filter(""), .plan(PlanEditor()), .note(title: "t", text: []), .confirmResolve, .practice, .conflict(ConflictDialog(Snapshot.sample().conflicts[0])),
      .invitation(code: "c", relay: "folder:/r", digits: nil, name: ""),
    ]
    for dialog in dialogs {
      var state = dashboard(80, 24)
      state.dialogs = [dialog]
      #expect(state.press(.character("!")) == [.activateCrisis(level: .severe, source: "person")], "\(dialog)")
      #expect(state.dialogs.last == .crisis)
    }
    var blank = dashboard(80, 24)
    blank.isBlank = true
    #expect(blank.press(.character("!")) == [.activateCrisis(level: .severe, source: "person")])
    var newcomer = dashboard(80, 24, nil)
    _ = newcomer.press(.character("!"))
    #expect(DashboardFrame.render(newcomer).text.contains("112"))
  }

  @Test("the crisis screen says who has it, who acknowledged, what follows, and has plan and contacts")
  func crisisScreen() {
    var snapshot = Snapshot.sample().inCrisis()
    snapshot.crisis.acknowledgements = [.init(device: "phone", after: 12_000)]
    snapshot.crisis.step = .wait(.family, milliseconds: 40_000)
    snapshot.crisis.tellings = [.init(name: "Ana", phone: "", state: .unanswered)]
    snapshot.crisis.showsContacts = true
    snapshot.plan.steps[1].entries = ["walk to the river"]
    snapshot.plan.contacts = [.init(record: RecordID(high: 1, low: 1), name: "Jo", phone: "555 0100", isPrimary: true, consent: .prompt)]
    for glyphs in [Glyphs.unicode, .ascii] {
      var state = DashboardState(size: CellSize(rows: 40, columns: 120), glyphs: glyphs, themeName: "monochrome")
      state.crisisLines = ["TALK TO SOMEBODY NOW"]
      state.update(snapshot)
      let text = DashboardFrame.render(state).text
      for words in ["1 of 2 other devices", "acknowledged on phone after 12 s", "in 40 s", "CALL ONE OF THEM", "Jo  555 0100", "walk to the river"] {
        #expect(text.contains(words), "\(words)")
      }
    }
    snapshot.crisis.tellings = []
    #expect(DashboardFrame.render(dashboard(120, 40, snapshot)).text.contains("told by itself"), "what nobody agreed to is not promised")
    var small = DashboardState(size: CellSize(rows: 12, columns: 60), glyphs: .unicode, themeName: "monochrome")
    small.crisisLines = (1...9).map { "line \($0)" }
    small.update(snapshot)
    #expect(!DashboardFrame.render(small).text.contains("walk to the river"))
    for _ in 0..<9 { _ = small.press(.down) }
    #expect(DashboardFrame.render(small).text.contains("walk to the river"))
  }

  @Test("the crisis screen says what is told to whom; Enter says now while somebody waits")
  func tellings() {
    var snapshot = Snapshot.sample().inCrisis()
    typealias Telling = Snapshot.CrisisStatus.Telling
    let states: [(Telling.State, String)] = [
      (.later(8_000), "goes out in 8 s"), (.now, "is being put up"), (.unanswered, "when nobody acknowledges"),
      (.told(Snapshot.sampleWall, nil), "not known yet who reads it"), (.told(Snapshot.sampleWall, .unopened), "no opening of it is known here: please call"),
      (.told(Snapshot.sampleWall, .followed), "on no screen there yet"), (.told(1_000, .shown(3_000)), "a screen of theirs shows it, after 2.0 s"),
      (.told(1_000, .seen(9_000)), "has seen it, after 8.0 s"), (.notInvited, "has no link"),
    ]
    snapshot.crisis.tellings = states.map { Telling(name: "Jo", phone: "", state: $0.0) }
    var state = dashboard(120, 40, snapshot)
    state.crisisLines = ["TALK TO SOMEBODY NOW"]
    let text = DashboardFrame.render(state).text
    for (_, words) in states { #expect(text.contains(words), "\(words)") }
    #expect(text.contains("tell my contacts now") && !text.contains("u takes it back"), "only where it was raised")
    #expect(state.press(.enter) == [.tellContacts(snapshot.crisis.activations)] && state.dialogs.last == .crisis)
    snapshot.crisis.tellings = [Telling(name: "Jo", phone: "", state: .told(Snapshot.sampleWall, nil))]
    state.update(snapshot)
    #expect(state.press(.enter).isEmpty && state.press(.escape) == [.acknowledgeCrisis], "nobody waits any more: it closes")
  }

  @Test("an alert is being put up only where that is done; what was said stays said, and what holds it up is named")
  func dueAlerts() {
    typealias Telling = Snapshot.CrisisStatus.Telling
    var snapshot = Snapshot.sample().inCrisis()
    snapshot.crisis.latest = "abc.7"
    func text(_ state: Telling.State) -> String {
      snapshot.crisis.tellings = [Telling(name: "Jo", phone: "", state: state)]
      return DashboardFrame.render(dashboard(120, 40, snapshot)).text
    }
    #expect(text(.later(0)).contains("no alert is known to lie at their link yet: please call") && !text(.later(0)).contains("being put up"))
    snapshot.sync.status.sendingProblem = "full"
    snapshot.sync.status.code = CrisisDelivery.relayFull
    #expect(text(.now).contains("while the relay's disk is full: please call") && !text(.now).contains("being put up"))
    (snapshot.sync.status.sendingProblem, snapshot.sync.status.code) = ("", "")
    snapshot.crisis.tellings = [Telling(name: "Jo", phone: "", state: .later(8_000))]
    var state = dashboard(120, 40, snapshot)
    #expect(state.press(.enter) == [.tellContacts(snapshot.crisis.activations)] && !state.canTellNow && state.press(.enter).isEmpty)
    state.update(snapshot)
    let said = DashboardFrame.render(state).text
    #expect(said.contains("you said now; no alert is known") && !said.contains("tell my contacts now"))
    // Another one, raised since, is another decision.
    snapshot.crisis.latest = "xyz.1"
    state.update(snapshot)
    #expect(state.canTellNow)
  }

  @Test("why the store takes nothing is said for as long as it is so; what a relay holds up is no lock")
  func held() {
    var snapshot = Snapshot.sample().inCrisis()
    snapshot.crisis.isSaved = false
    var state = dashboard(120, 40, Snapshot.sample())
    state.hold("another program holds it", saying: "The store cannot be written now.")
    #expect(DashboardFrame.render(state).text.contains("The store cannot be written now."))
    state.hold(nil)
    #expect(!DashboardFrame.render(state).text.contains("The store cannot be written now."))
    _ = state.press(.character("!"))
    var delivery = CrisisDelivery()
    delivery.disk = .done
    state.note(delivery)
    state.update(snapshot)
    let slow = DashboardFrame.render(state).text
    #expect(slow.contains("which does not have it yet.") && !slow.contains("program holds") && slow.contains("not known to lie at the relay"))
    state.hold("it is held", saying: "The store cannot be written now.")
    let locked = DashboardFrame.render(state).text
    #expect(locked.contains("which does not have it yet: it is held") && !locked.contains("cannot be written now"))
  }

  @Test("what goes on although it was to be over stays said, and asks nobody how they are now, until it is over or the person decides otherwise")
  func goesOn() {
    let words = "It goes on: the store is held by another program; it is ended as soon as that is over."
    var snapshot = Snapshot.sample().inCrisis()
    (snapshot.crisis.activation, snapshot.crisis.latest) = ("abc.7", "abc.7")
    func asked() -> DashboardState {
      var state = dashboard(120, 40, snapshot)
      _ = state.press(.character("r"))
      _ = state.press(.character("y"))
      state.resolved(words, isOver: false)
      // Whatever is told fades.
      _ = state.tick(Moment(wall: 1, uptime: state.now.uptime + 60_000_000_000))
      return state
    }
    var state = asked()
    #expect(state.dialogs == [.crisis] && DashboardFrame.render(state).text.contains("It goes on: the store is held"))
    state.resolved("Resolved.", isOver: true)
    #expect(DashboardFrame.render(state).text.contains("How are you now?") && !DashboardFrame.render(state).text.contains("It goes on"))
    state = asked()
    _ = state.press(.character("!"))
    #expect(!DashboardFrame.render(state).text.contains("It goes on"))
  }

  @Test("what follows by itself does not contradict the alert that is still due")
  func stopped() {
    var snapshot = Snapshot.sample().inCrisis()
    snapshot.crisis.step = .stopped
    snapshot.crisis.tellings = [.init(name: "Ana", phone: "", state: .later(5_000))]
    let text = DashboardFrame.render(dashboard(120, 40, snapshot)).text
    #expect(text.contains("goes out in 5 s") && text.contains("beyond the alert to Ana nothing follows by itself"))
    snapshot.crisis.tellings = [.init(name: "Ana", phone: "", state: .told(Snapshot.sampleWall, nil))]
    #expect(DashboardFrame.render(dashboard(120, 40, snapshot)).text.contains("half of your devices: nothing follows by itself"))
  }

  @Test("what the journal has is saved here, beside a store that cannot be written; without evidence it is not said")
  func savedBeside() {
    var snapshot = Snapshot.sample().inCrisis()
    snapshot.crisis.isSaved = false
    var state = dashboard(120, 40, snapshot)
    #expect(DashboardFrame.render(state).text.contains("Not saved on this device yet"))
    _ = state.press(.character("!"))
    #expect(DashboardFrame.render(state).text.contains("Not saved on this device yet"), "it is still being tried")
    var delivery = CrisisDelivery()
    delivery.disk = .done
    state.note(delivery)
    let text = DashboardFrame.render(state).text
    #expect(text.contains("saved on this device, beside its store") && !text.contains("Not saved"))
    _ = state.press(.escape)
    let panels = DashboardFrame.render(state).text
    #expect(panels.contains("saved beside the store") && !panels.contains("not saved here yet"))
  }

  @Test("the crisis screen stays until it is resolved; what failed says why, and asks nobody how they are now")
  func resolvingTakesTime() {
    var snapshot = Snapshot.sample().inCrisis()
    (snapshot.crisis.activation, snapshot.crisis.latest, snapshot.crisis.isAcknowledgedHere) = ("abc.7", "abc.7", true)
    var state = dashboard(80, 24, snapshot)
    func resolve() {
      _ = state.press(.character("r"))
      let intents = state.press(.character("y"))
      #expect(intents == [.resolveCrisis("Resolved. Be kind to yourself today.")])
    }
    resolve()
    #expect(state.dialogs == [.crisis] && DashboardFrame.render(state).text.contains("Resolving…"))
    state.update(snapshot)
    state.resolved("It could not be taken back yet.", isOver: false)
    let text = DashboardFrame.render(state).text
    #expect(state.dialogs == [.crisis] && text.contains("It could not be taken back yet.") && text.contains("112"))
    #expect(!text.contains("Resolving…") && text.contains("it is over for now"), "the keys stay on the screen")
    resolve()
    state.resolved("Resolved.", isOver: true)
    #expect(state.dialogs.count == 1 && DashboardFrame.render(state).text.contains("How are you now?"))

    // The store may say so before the answer comes.
    state = dashboard(80, 24, snapshot)
    resolve()
    state.update(Snapshot.sample())
    #expect(state.dialogs.isEmpty)
    state.resolved("Resolved.", isOver: true)
    #expect(DashboardFrame.render(state).text.contains("How are you now?"))

    // Somebody writes something else by then.
    state = dashboard(80, 24, snapshot)
    resolve()
    _ = state.press(.escape)
    _ = state.press(.character("n"))
    _ = state.press(.character("8"))
    state.resolved("Resolved.", isOver: true)
    #expect(state.dialogs.count == 2 && state.dialogs.last == .form(.journal))

    // What is raised after it, here or elsewhere, is not over.
    state = dashboard(80, 24, snapshot)
    resolve()
    _ = state.press(.character("!"))
    state.resolved("Resolved.", isOver: true)
    #expect(state.dialogs == [.crisis] && state.isRaisedHere)
    state = dashboard(80, 24, snapshot)
    resolve()
    snapshot.crisis.latest = "xyz.1"
    state.update(snapshot)
    state.resolved("Resolved.", isOver: true)
    #expect(state.dialogs.count == 2 && state.dialogs.last == .crisis)
  }

  @Test("a store that waits for its passphrase has the field open: every letter is a part of it but a ! at its beginning, and ^X raises a crisis")
  func passphrase() {
    let problem = ["This passphrase does not open the store.", "", "storage.wrong-passphrase"]
    let raised = [Intent.activateCrisis(level: .severe, source: "person")]
    var state = dashboard(80, 24, nil)
    func write(_ words: String) -> [Intent] {
      var intents: [Intent] = []
      for character in words { intents += state.press(.character(character)) }
      return intents
    }
    state.lose(problem)
    let first = write("q!s r")
    #expect(first.isEmpty && !state.isFinished)
    let text = DashboardFrame.render(state).text
    for words in ["*****", "^X crisis", "Everything else is a part of it", "does not open the store"] { #expect(text.contains(words), "\(words)") }
    #expect(state.press(.enter) == [.unlock("q!s r")])
    // What is typed while it is tried has a place, too.
    let second = write("q!")
    state.lose(problem)
    #expect(second.isEmpty && state.press(.enter) == [.unlock("q!")])
    #expect(state.press(.enter).isEmpty, "nothing was typed")
    state.lose(problem)
    #expect(DashboardFrame.render(state).text.contains("! crisis") && state.press(.character("!")) == raised)
    _ = state.press(.escape)
    #expect(state.press(.control("x")) == raised && state.dialogs.last == .crisis)
    _ = state.press(.escape)
    _ = state.press(.escape)
    #expect(state.dialogs.isEmpty)
    let third = write("sbtnpzhijkl5?:/")
    #expect(third.isEmpty && state.dialogs.isEmpty && !state.isBlank, "only what the key bar names")
    #expect(DashboardFrame.render(state).text.contains("Enter type the passphrase"))
    #expect(state.press(.character("!")) == raised)
    _ = state.press(.escape)
    #expect(state.press(.enter).isEmpty && DashboardFrame.render(state).text.contains("The passphrase of this store"))
    state.found()
    state.update(Snapshot.sample())
    #expect(state.dialogs.isEmpty)

    // What lies open stays on top; and nobody types on a blank screen.
    state.dialogs = [.form(.journal)]
    state.lose(problem)
    #expect(state.dialogs == [.form(.journal)])
    var blank = dashboard(80, 24)
    blank.isBlank = true
    blank.lose(problem)
    #expect(blank.press(.character("!")) == raised)
  }

  @Test("what is drawn is told once: the time a key took, and which crisis is on the screen")
  func drawn() {
    var state = dashboard(80, 24)
    _ = state.tick(Moment(wall: Snapshot.sampleWall, uptime: 1_000))
    _ = state.press(.character("!"))
    #expect(state.didDraw(Moment(wall: Snapshot.sampleWall, uptime: 4_000)) == [.time(.crisisScreen, nanoseconds: 3_000)])
    #expect(state.didDraw(Moment(wall: Snapshot.sampleWall, uptime: 5_000)).isEmpty)
    var snapshot = Snapshot.sample().inCrisis()
    snapshot.crisis.activation = "abc.7"
    state.update(snapshot)
    #expect(state.didDraw(Moment(wall: Snapshot.sampleWall, uptime: 6_000)) == [.crisisShown("abc.7")])
    #expect(state.didDraw(Moment(wall: Snapshot.sampleWall, uptime: 7_000)).isEmpty)
  }

  @Test("what the assistant says stands under the versions, with how sure it is and why; one key follows it")
  func recommendation() throws {
    var snapshot = Snapshot.sample()
    let conflict = snapshot.conflicts[0], record = conflict.record.description
    var state = dashboard(80, 24, snapshot)
    _ = state.press(.character("5"))
    #expect(state.press(.enter) == [.look(record: record, field: "item9")], "only what is looked at is asked about")
    #expect(!DashboardFrame.render(state).text.contains("a follow"))
    #expect(state.press(.character("a")).isEmpty)
    snapshot.conflicts[0].advice = .abstains("The assistant keeps out of this.")
    state.update(snapshot)
    #expect(DashboardFrame.render(state).text.contains("No recommendation: The assistant keeps out of this."))
    snapshot.conflicts[0].advice = .recommends(.init(version: conflict.versions[1].id, permille: 874, reasons: ["it says more", "you mostly keep the later one"]))
    (snapshot.conflicts[0].moreVersions, snapshot.conflicts[0].moreInRecord) = (3, 2)
    state.update(snapshot)
    let text = DashboardFrame.render(state).text
    for words in ["Recommended: 2, with 87 %: it says more; you mostly keep the later one.", "3 more versions", "2 more conflicts in this record", "a follow", "e edit", "t ask", "Esc later"] { #expect(text.contains(words), "\(words)") }
    #expect(state.press(.character("a")) == [.save(.resolve(record: record, field: "item9", keeping: conflict.versions[1].id))])
  }

  @Test("somebody else can be asked: the versions stay open, and it says who was asked")
  func askSomebody() {
    var snapshot = Snapshot.sample()
    let record = snapshot.conflicts[0].record.description
    var state = dashboard(80, 24, snapshot)
    _ = state.press(.character("5"))
    _ = state.press(.enter)
    #expect(state.press(.character("t")).isEmpty && DashboardFrame.render(state).text.contains("they see these versions, nothing else"))
    for character in "Jo, Ben" { _ = state.press(.character(character)) }
    _ = state.press(.enter)
    #expect(state.press(.enter).isEmpty && DashboardFrame.render(state).text.contains("Please fill in every line"), "by which name?")
    for character in "Kim" { _ = state.press(.character(character)) }
    #expect(state.press(.enter) == [.ask(names: ["Jo", "Ben"], person: "Kim", record: record, field: "item9")])
    snapshot.conflicts[0].review = "Asked Jo, Ben. 2 of 2 have to agree; what is shown holds meanwhile."
    state.update(snapshot)
    #expect(DashboardFrame.render(state).text.contains("Asked Jo, Ben."))
    #expect(state.press(.character("t")).isEmpty && state.dialogs.count == 1, "nobody is asked twice")
  }

  @Test("the list of conflicts is narrowed by type, impact or title; what is opened is what is seen")
  func conflictFilter() throws {
    var snapshot = Snapshot.sample()
    var other = snapshot.conflicts[0]
    (other.record, other.title, other.field, other.type, other.impact) = (RecordID(high: 7, low: 7), "Journal: Tuesday", "text", "data divergence", .moderate)
    snapshot.conflicts.append(other)
    snapshot.conflictCount = 2
    var state = dashboard(120, 40, snapshot)
    _ = state.press(.character("5"))
    _ = state.press(.character("/"))
    for character in "divergence" { _ = state.press(.character(character)) }
    #expect(DashboardFrame.render(state).text.contains("Filter conflicts"))
    _ = state.press(.enter)
    let text = DashboardFrame.render(state).text
    #expect(text.contains("Journal: Tuesday") && !text.contains("phq9") && text.contains("filter: divergence"))
    #expect(state.press(.enter) == [.look(record: other.record.description, field: "text")])
    _ = state.press(.escape)
    _ = state.press(.character("/"))
    for character in "xyz" { _ = state.press(.character(character)) }
    _ = state.press(.enter)
    #expect(DashboardFrame.render(state).text.contains("nothing matches “divergencexyz”"))
    #expect(state.press(.enter).isEmpty && state.dialogs.isEmpty, "there is nothing to open")
    _ = state.press(.escape)
    #expect(DashboardFrame.render(state).text.contains("phq9"))
    snapshot.conflictCount = 10_000
    state.update(snapshot)
    #expect(DashboardFrame.render(state).text.contains("and 9998 lighter or older ones: fullmind conflicts list"))
  }

  @Test("the zoomed list says what has become of conflicts, and how long people and rules took")
  func conflictMetrics() {
    var snapshot = Snapshot.sample()
    var decisions = DecisionTally()
    var decision = Decision(method: "the person's choice")
    (decision.waited, decision.model, decision.isFollowed) = (3_600_000, "assistant 1", true)
    decisions.take(decision, kind: "journal", field: "text")
    decision.isFollowed = false
    decisions.take(decision, kind: "journal", field: "text")
    decision.reopens = true
    decisions.take(decision, kind: "journal", field: "text")
    snapshot.decisions = decisions.report
    #expect(snapshot.decisions.made == 2 && snapshot.decisions.takenBack == 1 && snapshot.decisions.agreed == 1 && snapshot.decisions.disagreed == 1)
    var state = dashboard(120, 40, snapshot)
    for _ in 0..<2 { _ = state.press(.character("5")) }
    let text = DashboardFrame.render(state).text
    for words in ["decided 2, taken back 1 · recommendation followed 1 of 2", "data divergence: 1 of 2 stand", "by people: after 60 min", "the oldest for 5.0 s"] { #expect(text.contains(words), "\(words)") }
  }

  @Test("a conflict shows both versions with their differences marked, and is settled by its own name")
  func conflictDialog() throws {
    var snapshot = Snapshot.sample()
    snapshot.conflicts[0].versions[0].value = "I slept well and went to the river"
    snapshot.conflicts[0].versions[1].value = "I slept badly and went to the river"
    snapshot.conflicts[0].canKeepBoth = true
    let conflict = snapshot.conflicts[0]
    let record = conflict.record.description
    func open(_ columns: Int = 120, _ rows: Int = 40) -> DashboardState {
      var opened = dashboard(columns, rows, snapshot)
      _ = opened.press(.character("5"))
      _ = opened.press(.enter)
      return opened
    }
    for (columns, rows) in [(120, 40), (80, 24)] {
      let text = DashboardFrame.render(open(columns, rows)).text
      for words in ["1 laptop", "2 phone", "shown for now", "[well]", "[badly]", "stands for more risk"] { #expect(text.contains(words), "\(columns): \(words)") }
    }
    var dialog = open()
    _ = dialog.press(.right)
    #expect(dialog.press(.enter) == [.save(.resolve(record: record, field: "item9", keeping: conflict.versions[1].id))])
    dialog = open()
    #expect(dialog.press(.character("m")) == [.save(.resolveBy(.unionMerge, record: record, field: "item9"))])
    dialog = open()
    _ = dialog.press(.character("e"))
    _ = dialog.press(.control("u"))
    for character in "2" { _ = dialog.press(.character(character)) }
    #expect(dialog.press(.enter) == [.save(.resolveWith(record: record, field: "item9", text: "2"))])
    dialog = open()
    _ = dialog.press(.character("e"))
    #expect(dialog.press(.enter).isEmpty, "words are no answer to item 9: it says so, and stays open")
    #expect(DashboardFrame.render(dialog).text.contains("item9"))
    _ = dialog.press(.escape)
    _ = dialog.press(.character("A"))
    #expect(dialog.press(.character("n")).isEmpty && dialog.dialogs.count == 1)
    _ = dialog.press(.character("A"))
    #expect(dialog.press(.character("y")) == [.save(.resolveAll(type: "assessment conflict"))])
    dialog = open()
    snapshot.conflicts = []
    dialog.update(snapshot)
    #expect(DashboardFrame.render(dialog).text.contains("It is settled."), "by another device meanwhile")
    #expect(dialog.press(.enter).isEmpty && dialog.dialogs.isEmpty)
    dialog = open()
    #expect(dialog.dialogs.isEmpty)
  }

  @Test("saved is said when it is; what could not be saved is still there, never above help")
  func savingSaysWhatIsSo() {
    var state = dashboard(80, 24, Snapshot.sample())
    func write(_ text: String) {
      _ = state.press(.character("n"))
      _ = state.press(.character("8"))
      for character in text { _ = state.press(.character(character)) }
      for _ in 0..<4 where state.dialogs.count == 1 { _ = state.press(.enter) }
    }
    write("rain")
    #expect(state.dialogs.isEmpty && !DashboardFrame.render(state).text.contains("Saved"), "nobody knows yet")
    state.saved(problem: nil)
    #expect(DashboardFrame.render(state).text.contains("Saved on this device."))
    write("a long walk")
    state.saved(problem: "This store was moved or replaced under this program. Start it again; what was read here is still on the disk where it was moved to. (storage.replaced)")
    let text = DashboardFrame.render(state).text
    #expect(text.contains("a long walk") && text.contains("Not saved") && text.contains("storage.replaced"), "all of the reason, and all that was written")
    _ = state.press(.character("x"))
    for _ in 0..<4 where state.dialogs.count == 1 { _ = state.press(.enter) }
    state.update(Snapshot.sample().inCrisis())
    state.saved(problem: "The disk is full.")
    #expect(state.dialogs.last == .crisis && state.dialogs.count == 2)
    state.saved(problem: nil)
    #expect(state.dialogs.count == 2, "nothing waits any more")
  }

  @Test("Esc leaves what is half-written and throws nothing away; what could not be saved does not come under the fingers")
  func unfinished() {
    var state = dashboard(100, 30, Snapshot.sample())
    func press(_ keys: String) { for key in keys { _ = state.press(.character(key)) } }
    press("n8rain")
    _ = state.press(.escape)
    #expect(state.dialogs.isEmpty && DashboardFrame.render(state).text.contains("Not saved. What you have written so far stays here"))
    press("n612")
    _ = state.press(.escape)
    press("n8")
    #expect(DashboardFrame.render(state).text.contains("rain"))
    for _ in 0..<4 where state.dialogs.count == 1 { _ = state.press(.enter) }
    #expect(DashboardFrame.render(state).text.contains("Saving…"))
    press("n6")
    #expect(DashboardFrame.render(state).text.contains("3 of 9"))
    state.saved(problem: "The disk is full.")
    press("2")
    #expect(DashboardFrame.render(state).text.contains("4 of 9"), "the keys go on where they were")
    _ = state.press(.escape)
    #expect(DashboardFrame.render(state).text.contains("rain"))
    // A second one does not take the place of the first, and what followed a crisis is an ordinary one later.
    press("n8")
    #expect(DashboardFrame.render(state).text.contains("rain"))
    _ = state.press(.escape)
    // Nothing written, nothing kept.
    _ = state.press(.escape)
    press("n7")
    _ = state.press(.escape)
    #expect(state.unfinished.count == 2)
  }

  @Test("a crisis that was raised here stays on the screen while the store does not show it; Enter acknowledges nothing")
  func raisedOverALock() {
    var state = dashboard(80, 24, Snapshot.sample())
    _ = state.press(.character("!"))
    var delivery = CrisisDelivery()
    (delivery.disk, delivery.relay) = (.done, .done)
    state.note(delivery)
    state.update(Snapshot.sample())
    _ = state.press(.escape)
    let text = DashboardFrame.render(state).text
    #expect(text.contains("CRISIS: raised here") && text.contains("RAISED HERE") && !text.contains("none   !"))
    _ = state.press(.character("r"))
    #expect(state.dialogs.last == .confirmResolve)
    _ = state.press(.character("y"))
    state.resolved("Resolved.", isOver: true)
    #expect(!DashboardFrame.render(state).text.contains("CRISIS"))
    // Without a way to tell anybody nothing was raised.
    _ = state.press(.character("!"))
    (delivery.disk, delivery.relay) = (.failed(code: CrisisDelivery.noKey), .failed(code: CrisisDelivery.noKey))
    state.note(delivery)
    #expect(!state.isCrisisKnown && !state.canUndoCrisis)
    #expect(!DashboardFrame.render(state).text.contains("take back"))
    state.update(Snapshot.sample().inCrisis())
    #expect(state.press(.enter).isEmpty && state.dialogs.last == .crisis)
  }

  @Test("a store that went away is not shown as if it were there; what was raised over it can be ended")
  func lostStore() {
    var state = dashboard(80, 24, Snapshot.sample())
    state.lose(["This store was replaced.", "storage.replaced"])
    let text = DashboardFrame.render(state).text
    #expect(text.contains("Your store cannot be used now.") && text.contains("storage.replaced") && !text.contains("up to date"))
    #expect(state.press(.character("n")).isEmpty && state.dialogs.isEmpty)
    #expect(state.press(.enter) == [.reopen])
    #expect(DashboardFrame.render(state).text.contains("Trying to open it"))
    state.lose(["This store was replaced.", "storage.replaced"])
    #expect(!DashboardFrame.render(state).text.contains("Trying to open it"), "it was tried")
    #expect(state.press(.character("!")) == [.activateCrisis(level: .severe, source: "person")])
    _ = state.press(.escape)
    #expect(DashboardFrame.render(state).text.contains(DashboardState.raisedHere))
    #expect(state.press(.character("u")) == [.takeBackCrisis("Taken back.")])
    state.resolved("It could not be taken back yet.", isOver: false)
    _ = state.press(.character("r"))
    #expect(state.press(.character("y")) == [.resolveCrisis("Resolved. Be kind to yourself today.")] && state.dialogs.isEmpty)
    state.resolved("Taken back.", isOver: true)
    #expect(!DashboardFrame.render(state).text.contains("CRISIS"))
    _ = state.press(.enter)
    state.found()
    state.update(Snapshot.sample())
    #expect(!DashboardFrame.render(state).text.contains("cannot be used") && !DashboardFrame.render(state).text.contains("Trying"))
  }

  @Test("the plan is edited entry by entry; nothing leaves it without a second key")
  func planEditor() {
    var snapshot = Snapshot.sample()
    snapshot.plan.steps[0].entries = ["sleeping badly"]
    snapshot.plan.contacts = [.init(record: RecordID(high: 1, low: 1), name: "Jo", phone: "1", isPrimary: true, consent: .never)]
    var state = dashboard(80, 24, snapshot)
    _ = state.press(.character("n"))
    #expect(state.press(.character("9")).isEmpty)
    #expect(DashboardFrame.render(state).text.contains("How I notice that it begins"))
    _ = state.press(.down)
    #expect(state.press(.character("d")).isEmpty)
    #expect(DashboardFrame.render(state).text.contains("take it out on every device?"))
    #expect(state.press(.character("n")).isEmpty, "kept")
    _ = state.press(.character("d"))
    #expect(state.press(.character("y")) == [.save(.editPlan(assignments: ["warnings-=sleeping badly"]))])
    _ = state.press(.down)
    _ = state.press(.enter)
    for character in "tea" { _ = state.press(.character(character)) }
    #expect(state.press(.character("!")).isEmpty, "while it is typed")
    _ = state.press(.backspace)
    #expect(state.press(.enter) == [.save(.editPlan(assignments: ["coping=tea"]))])
    #expect(state.press(.escape).isEmpty && state.dialogs.count == 1, "first the typing ends")
    _ = state.press(.end)
    _ = state.press(.character("d"))
    #expect(state.press(.character("y")) == [.save(.remove(record: RecordID(high: 1, low: 1).description))])
    _ = state.press(.up)
    _ = state.press(.enter)
    #expect(DashboardFrame.render(state).text.contains("A contact of yours"))
    _ = state.press(.escape)
    #expect(state.press(.character("!")) == [.activateCrisis(level: .severe, source: "person")])
  }

  @Test("closing a crisis from elsewhere acknowledges it, once; resolving offers a check-in that is kept with it")
  func acknowledging() {
    var snapshot = Snapshot.sample().inCrisis()
    snapshot.crisis.activation = "abc.7"
    var state = dashboard(80, 24, snapshot)
    #expect(state.dialogs.last == .crisis)
    #expect(state.press(.escape) == [.acknowledgeCrisis])
    snapshot.crisis.isAcknowledgedHere = true
    state.update(snapshot)
    _ = state.press(.character("3"))
    _ = state.press(.enter)
    #expect(state.press(.escape).isEmpty)
    _ = state.press(.enter)
    _ = state.press(.character("r"))
    #expect(state.press(.character("y")) == [.resolveCrisis("Resolved. Be kind to yourself today.")])
    state.resolved("Resolved.", isOver: true)
    _ = state.press(.character("4"))
    for _ in 0..<4 { _ = state.press(.enter) }
    guard case .save(.add("check-in", let words))? = state.press(.enter).first else {
      Issue.record("no check-in was saved")
      return
    }
    #expect(words.contains("crisis=abc.7") && words.contains("mood=4"))
  }

  @Test("a session is not interrupted by a crisis; p pauses it with its progress")
  func sessionInCrisis() {
    var snapshot = Snapshot.sample()
    snapshot.sessions[0].isOwn = true
    var state = dashboard(80, 24, snapshot)
    state.update(snapshot.inCrisis())
    #expect(state.dialogs == [.practice, .crisis])
    #expect(state.ownSession != nil)
    guard case .save(.saveProgress(_, let elapsed, "paused"))? = state.press(.character("p")).first else {
      Issue.record("the session was not paused")
      return
    }
    #expect(elapsed >= 67)
  }

  @Test("a crisis can be taken back for ten seconds, not longer")
  func undo() {
    var state = dashboard(80, 24)
    _ = state.tick(Moment(wall: 1, uptime: 1_000_000_000))
    _ = state.press(.character("!"))
    _ = state.tick(Moment(wall: 1, uptime: 10_900_000_000))
    #expect(state.canUndoCrisis)
    _ = state.tick(Moment(wall: 1, uptime: 11_100_000_000))
    #expect(!state.canUndoCrisis)
    #expect(state.press(.character("u")).isEmpty)
  }

  @Test("a mistake in a form costs nothing: it says what is wrong and keeps what was typed")
  func formMistake() {
    var state = dashboard(80, 24)
    _ = state.press(.character("n"))
    _ = state.press(.enter)
    for key in "eleven" { _ = state.press(.character(key)) }
    for _ in 0..<6 { _ = state.press(.enter) }
    #expect(state.press(.enter).isEmpty)
    let text = DashboardFrame.render(state).text
    #expect(text.contains("eleven") && text.contains("could not be read"))
  }

  @Test("a questionnaire proposes help as the answer is given, and the person decides")
  func questionnaire() {
    var state = dashboard(100, 30)
    state.dialogs = [.questionnaire(Questionnaire(.phq9))]
    for _ in 0..<8 { _ = state.press(.character("0")) }
    _ = state.press(.character("1"))
    #expect(DashboardFrame.render(state).text.contains("You decide"))
    _ = state.press(.character("x"))
    #expect(DashboardFrame.render(state).text.contains("Total 1"))
    #expect(state.press(.enter).count == 1)
  }

  @Test("a session that arrives opens its guide; one that leaves closes it")
  func sessionMoves() {
    var snapshot = Snapshot.sample()
    var state = dashboard(80, 24, snapshot)
    snapshot.sessions[0].isOwn = true
    state.update(snapshot)
    #expect(state.dialogs == [.practice])
    #expect(DashboardFrame.render(state).text.contains("gathering"))
    snapshot.sessions[0].isOwn = false
    state.update(snapshot)
    #expect(state.dialogs.isEmpty)
  }

  @Test("a newcomer's three ways open their forms, and what is typed there quits nothing")
  func newcomer() {
    var joining = dashboard(80, 24, nil)
    _ = joining.press(.character("j"))
    for key in "0qj5!d" { _ = joining.press(.character(key)) }
    #expect(!joining.isFinished)
    #expect(DashboardFrame.render(joining).text.contains("0qj5!d"))
    _ = joining.press(.tab)
    for key in "folder:/r" { _ = joining.press(.character(key)) }
    _ = joining.press(.tab)
    #expect(joining.press(.enter) == [.join(code: "0qj5!d", deviceName: "laptop", relay: "folder:/r")])
    var starting = dashboard(80, 24, nil)
    _ = starting.press(.enter)
    #expect(starting.press(.enter) == [.start(deviceName: "laptop")])
    var demo = dashboard(80, 24, nil)
    #expect(demo.press(.character("d")) == [.demo])
  }

  @Test("a session paused here can be taken up again for a day, if enough of it was done")
  func resume() {
    var snapshot = Snapshot.sample()
    (snapshot.sessions[0].isOwn, snapshot.sessions[0].phase) = (true, "paused")
    var state = dashboard(80, 24, snapshot)
    state.focus = .sessions
    let intents = state.press(.enter)
    #expect(intents == [.saveProgress(session: snapshot.sessions[0].id.description, elapsed: 67, phase: "running")])
    _ = state.tick(Moment(wall: Snapshot.sampleWall + 86_400_001, uptime: 5))
    #expect(state.pausedSession == nil)
    snapshot.sessions[0].elapsed = 17
    var early = dashboard(80, 24, snapshot)
    early.focus = .sessions
    #expect(early.press(.enter).isEmpty)
  }
}
