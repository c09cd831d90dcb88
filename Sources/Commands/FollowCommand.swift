import ArgumentParser
import CSystem
import Causality
import Crisis
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Stores
import Therapy

extension FamilyCommand {
  /// `fullmind family follow`: the other side of an invitation, which needs no account.
  struct Follow: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "follow", abstract: "Be told when somebody who invited you asks for support.",
      discussion: """
        Needs no account. Without a link it follows every link that was given before. Stays until it is interrupted;
        Enter says that you have seen the alert, and the other person sees that.
        """)
    @OptionGroup var location: Location
    @OptionGroup var output: OutputOptions
    @Argument(help: "The link you were given.") var link: String?
    @Flag(help: "Print what is new, then exit.") var once = false
    @Flag(help: "With --once: say that you have seen it.") var seen = false

    /// One of the links, and how far what came by it has been answered.
    private struct Followed {
      var following: AlertFollowing
      /// Alerts that nobody here has said to have seen.
      var open: [Notice] = []
      /// Alerts that were told here, which the other side does not know yet.
      var shown: [Notice] = []
      var isKnown = false
      /// Why nothing can be heard.
      var problem: RelayError?
      /// Why nothing can be answered.
      var unsaid: RelayError?
      /// Whether what was read is kept on this machine, and why it is not.
      var isKept = true
      var obstacle: StorageError?
      /// What the last look lacked.
      var lack: AlertReader.Lack?
      var name: String { FamilyCommand.name(following.reader) }
      var place: String { following.relay.description }

      var failure: (any Error)? {
        if let problem { return FollowingError.unheard(problem, at: place) }
        if let lack { return LinkNotWhole(lack: lack, name: name, place: place) }
        if let unsaid { return FollowingError.unsaid(unsaid, at: place) }
        return obstacle
      }
    }

    /// What was said on this screen. Somebody who was given two links finds the same sealed bytes at both for one event; no
    /// other event has them, whatever the clocks say. A notice without them is an event of its own.
    private final class Events {
      private struct Event: Hashable {
        var kind: Notice.Kind
        var about: [UInt8]
        /// Where nothing else tells events apart: marks are others at every link.
        var marks: Set<[UInt8]>
      }
      private var said: Set<Event> = []

      func isNew(_ notice: Notice) -> Bool {
        said.insert(Event(kind: notice.kind, about: notice.about, marks: notice.about.isEmpty ? notice.marks : [])).inserted
      }
    }

    func run() throws {
      let events = Events()
      try Output.reporting(asJSON: output.json) {
        var followed = try followed(events)
        let signals = fm_signals_open()
        if !once, !output.json {
          for one in followed { Output.line("Following \(one.name). ^C ends it.") }
        }
        while true {
          // Each link by itself: one relay that is away keeps nothing of another one from the screen.
          for index in followed.indices { try look(&followed[index], events) }
          if once {
            if seen { confirm(&followed) }
            if let failure = followed.lazy.compactMap(\.failure).first { throw failure }
            return
          }
          guard followed.contains(where: { !$0.following.reader.isClosed }) else { return }
          var ready: [UInt8] = [0, 0]
          // Nothing tells of changes on a relay that belongs to somebody else: it is looked at every second.
          _ = fm_wait([signals, STDIN_FILENO], &ready, isatty(STDIN_FILENO) == 1 ? 2 : 1, 1_000)
          if ready[0] != 0, [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(fm_signal_next(signals)) { return }
          if ready[1] == 1, readLine() != nil { confirm(&followed) }
        }
      }
    }

    private func followed(_ events: Events) throws -> [Followed] {
      guard let text = link else {
        let all = AlertFollowing.all(in: location.homeFolder)
        for path in all.unreadable { Output.note("\(path) cannot be read: that link is not followed. Give it again: fullmind family follow LINK --relay folder:PATH") }
        guard !all.followed.isEmpty else {
          throw InputError.invalid("No link is followed here yet.", remedy: "Give the link you got: fullmind family follow LINK --relay folder:PATH")
        }
        // A link that was taken back is named where there is no other.
        let open = all.followed.filter { !$0.reader.isClosed }
        if open.isEmpty { for one in all.followed { Output.note(CrisisAlert.closedText(person: FamilyCommand.name(one.reader))) } }
        return (open.isEmpty ? all.followed : open).map { Followed(following: $0) }
      }
      guard let link = SecretLink(text) else {
        throw InputError.invalid("This is not a link. Nothing was changed.", remedy: "It has 26 letters and digits in six groups.")
      }
      guard var one = AlertFollowing(link, relay: try location.namedRelay(), home: location.homeFolder).map({ Followed(following: $0) }) else { throw FamilyCommand.relayNotNamed }
      // A mistyped link would be silent for ever: it has to be found once.
      if one.following.reader.person == nil {
        let news: [AlertReader.News]
        do throws(RelayError) { news = try one.following.read() } catch { throw FollowingError.unheard(error, at: one.place) }
        if one.following.reader.person == nil, let lack = one.following.reader.lack {
          throw LinkNotWhole(lack: lack, name: one.name, place: one.place)
        }
        guard one.following.reader.person != nil else {
          throw InputError.invalid(
            "Nobody is found under this link at \(one.following.relay). Nothing was changed.",
            remedy: "Compare the link with the one you were given, and name the relay with --relay.")
        }
        try tell(news, &one, events)
        guard Output.failure == 0 else { throw OutputError() }
      }
      one.isKept = false
      keep(&one)
      return [one]
    }

    /// A relay that cannot be reached is looked at again, and that is said: nothing is heard meanwhile.
    private func look(_ one: inout Followed, _ events: Events) throws {
      do { try hear(&one, events) } catch let error as RelayError {
        if one.problem != error, !once { Output.note(FollowingError.unheard(error, at: one.place).meanwhile(one.name)) }
        one.problem = error
        return keep(&one)
      }
      if one.problem != nil { Output.note("\(one.place) can be reached again.") }
      one.problem = nil
      let lack = one.following.reader.lack
      if let lack, one.lack != lack, !once { Output.note(LinkNotWhole(lack: lack, name: one.name, place: one.place).meanwhile) }
      one.lack = lack
      do throws(RelayError) {
        try answer(&one)
        one.unsaid = nil
      } catch {
        if one.unsaid != error, !once { Output.note(FollowingError.unsaid(error, at: one.place).meanwhile(one.name)) }
        one.unsaid = error
      }
    }

    private func hear(_ one: inout Followed, _ events: Events) throws {
      let before = one.following.reader
      if !one.isKnown, !before.isClosed { try recall(&one, events) }
      try tell(try one.following.read(), &one, events)
      // After it was told: a crash in between tells it twice, and never not at all; what could not be written was not.
      guard Output.failure == 0 else { throw OutputError() }
      if one.following.reader != before { one.isKept = false }
      keep(&one)
    }

    /// A disk that is full, or that may not be written, ends nothing: it is followed from memory, and tried again.
    private func keep(_ one: inout Followed) {
      guard !one.isKept else { return }
      do throws(StorageError) { try one.following.save() } catch {
        if one.obstacle != error, !once {
          let obstacle = error.obstacle ?? "the folder \(location.homeFolder.path) cannot be written"
          Output.note("What was read of \(one.name) cannot be kept: \(obstacle). It is heard all the same, and tried again every second.")
        }
        one.obstacle = error
        return
      }
      if one.obstacle != nil { Output.note("What was read of \(one.name) is kept now.") }
      (one.isKept, one.obstacle) = (true, nil)
    }

    /// What an earlier run has told and nobody has answered is still open: said once more, quietly.
    private func recall(_ one: inout Followed, _ events: Events) throws(RelayError) {
      for alert in try one.following.unanswered() where !one.open.contains(alert) {
        one.open.append(alert)
        guard !output.json, !once, events.isNew(alert) else { continue }
        Output.line("\(Self.clock(alert.wall))  Still open: \(CrisisAlert.text(person: one.name))")
        if isatty(STDIN_FILENO) == 1 { Output.line("         Enter says that you have seen this.") }
      }
    }

    /// The other side learns that somebody follows, and what is on this screen.
    private func answer(_ one: inout Followed) throws(RelayError) {
      guard !one.following.reader.isClosed else { return }
      if !one.isKnown { try one.following.follow() }
      one.isKnown = true
      while let alert = one.shown.first {
        try one.following.confirm(alert, as: .shown)
        one.shown.removeFirst()
      }
    }

    private func tell(_ news: [AlertReader.News], _ one: inout Followed, _ events: Events) throws {
      for item in news {
        switch item {
        case .alert(let alert):
          if events.isNew(alert) {
            try tell("alert", alert, CrisisAlert.text(person: one.name))
            if !output.json, !once, isatty(STDIN_FILENO) == 1 { Output.line("         Enter says that you have seen this.") }
          }
          one.open.append(alert)
          if Output.failure == 0 { one.shown.append(alert) }
        case .ended(let notice):
          if events.isNew(notice) { try tell("ended", notice, CrisisAlert.endedText(person: one.name)) }
          one.open.removeAll { $0.marks.isSubset(of: one.following.reader.over) }
        case .closed(let notice):
          try tell("closed", notice, CrisisAlert.closedText(person: one.name))
          (one.open, one.shown) = ([], [])
        }
      }
    }

    private func tell(_ event: String, _ notice: Notice, _ text: String) throws {
      if output.json { return try Output.json(Report(event: event, at_ms: notice.wall, text: text)) }
      Output.line("\(event == "alert" ? "\u{7}" : "")\(Self.clock(notice.wall))  \(text)")
    }

    private struct Report: Encodable { var event: String; var at_ms: UInt64; var text: String }

    private func confirm(_ followed: inout [Followed]) {
      var names = [String]()
      for index in followed.indices where confirm(&followed[index]) && !names.contains(followed[index].name) { names.append(followed[index].name) }
      guard !output.json else { return }
      for name in names { Output.line("         Said. \(name)'s devices show it when they look.") }
      guard names.isEmpty else { return }
      if followed.allSatisfy({ $0.problem == nil && $0.lack == nil && $0.open.isEmpty }) {
        Output.line("         Nothing has come that was not answered.")
      } else if !once {
        Output.line("         Nothing could be answered now: press Enter again later.")
      }
    }

    /// - Returns: Whether an alert was answered.
    private func confirm(_ one: inout Followed) -> Bool {
      var hasAnswered = false
      do throws(RelayError) {
        while let alert = one.open.first {
          try one.following.confirm(alert, as: .seen)
          one.open.removeFirst()
          hasAnswered = true
        }
      } catch { one.unsaid = error }
      return hasAnswered
    }

    /// A moment by the clock of whoever put it there; one that is on another day by this clock has its date.
    private static func clock(_ wall: UInt64) -> String {
      let formatter = DateFormatter()
      formatter.dateFormat = "yyyy-MM-dd"
      func day(_ wall: UInt64) -> String { formatter.string(from: Date(timeIntervalSince1970: Double(wall) / 1_000)) }
      let isToday = day(wall) == day(SystemClock.now.wall)
      formatter.dateFormat = isToday ? "HH:mm:ss" : "yyyy-MM-dd HH:mm:ss"
      return day(wall) + (isToday ? "" : " by their clock")
    }
  }
}

/// What lies at a link is not all that was, or can be, put there: whether support was asked for is not known.
struct LinkNotWhole: ActionableError {
  var lack: AlertReader.Lack
  var name: String
  var place: String

  private var what: String {
    switch lack {
    case .torn: "something lies there that cannot be read, perhaps because only a part of it has come"
    case .gone: "what was read there before is not there any more"
    }
  }

  /// What is said while it is followed on.
  var meanwhile: String {
    "NOT EVERYTHING FROM \(name) COULD BE LOOKED AT: in \(place), \(what). It is looked again every second. If you are in doubt, get in touch with them."
  }

  var code: String { "follow.not-whole" }
  var summary: String { "Not everything from \(name) could be looked at: in \(place), \(what). Whether support was asked for is not known." }
  var remedy: String { "Look again in a minute: fullmind family follow. If you are in doubt, or it stays so, get in touch with the person who invited you." }
  var exitStatus: ExitStatus { .temporary }
}
