import Causality
import Crisis
import Sealing
import Therapy

/// Does on a relay what ``CrisisWatch`` decided: exactly one device does each of it.
///
/// A board is a list in which every number is given away once. Whoever wants to put something up reads
/// the list first: what is there already about the same crisis is done. Two devices that raised a crisis
/// apart cannot miss each other either: an activation is on the relay before a notice about it is, and a
/// notice about an activation that is not known here yet is waited for.
package struct CrisisOutreach {
  package enum Outcome: Sendable, Hashable {
    /// This device has done it, now or before.
    case done
    /// Another device has.
    case doneElsewhere
    /// Something has to arrive first; see above.
    case early
    /// Every link was taken back, which has not arrived here.
    case closed
  }

  /// What is so at the links of a contact.
  package struct Telling: Sendable, Hashable {
    package fileprivate(set) var outcome: Outcome
    /// Whether an alert of what is active was read at one of them in this very call.
    package fileprivate(set) var lies: Bool
    /// Whether this call put one up.
    package fileprivate(set) var isNew: Bool
  }

  /// What is so on one board.
  private enum Found {
    /// It stands there that nobody reads it any more.
    case closed
    case early
    /// It was told there, and that it is over.
    case over
    /// Told there, by this device or by another one.
    case own, others
    /// Put up by this call, and read back.
    case new
  }

  private let ring: KeyRing
  private let relay: any Relay
  /// Whether a write is known here.
  private let hasArrived: (OperationID) throws -> Bool
  /// Whether everything that this device wrote about crises lies on the relay.
  private let isPublished: Bool
  /// Whether there is time to wait for operations that are under way.
  private let isPatient: Bool

  package init(
    ring: KeyRing, relay: any Relay, isPublished: Bool, isPatient: Bool, hasArrived: @escaping (OperationID) throws -> Bool
  ) {
    (self.ring, self.relay, self.hasArrived) = (ring, relay, hasArrived)
    (self.isPublished, self.isPatient) = (isPublished, isPatient)
  }

  /// Tells a contact that the person asked for support, unless it was told. A link that was taken back tells nobody: where
  /// that was done on another device, it has to arrive here first.
  package func tell(
    _ contact: SafetyPlan.Contact, of crisis: CrisisState, wall: UInt64, using random: inout some RandomNumberGenerator
  ) throws -> Outcome {
    try alert(contact, of: crisis, wall: wall, using: &random).outcome
  }

  /// As ``tell(_:of:wall:using:)``, with what was read there.
  package func alert(
    _ contact: SafetyPlan.Contact, of crisis: CrisisState, wall: UInt64, using random: inout some RandomNumberGenerator
  ) throws -> Telling {
    var notice = Notice(kind: .alert, wall: wall)
    notice.person = String(contact.person.prefix(Limits.personCharacters))
    notice.about = subject(crisis.activations.map(\.id), using: &random)
    var found = [Found]()
    var problem: (any Error)?
    // Whoever was given a link twice may follow either: one that fails, or has to wait, keeps nobody from the other.
    for link in contact.links.compactMap({ SecretLink($0) }) {
      do { found.append(try putUp(notice, about: crisis, on: NoticeBoard(link), using: &random)) } catch { problem = error }
    }
    if let problem { throw problem }
    let isNew = found.contains(.new)
    let lies = isNew || found.contains(.own) || found.contains(.others)
    let outcome: Outcome =
      if isNew || found.contains(.own) {
        .done
      } else if found.contains(.others) {
        .doneElsewhere
      } else if found.contains(.early) {
        .early
      } else {
        !found.isEmpty && found.allSatisfy { $0 == .closed } ? .closed : .doneElsewhere
      }
    return Telling(outcome: outcome, lies: lies, isNew: isNew)
  }

  /// Sealed once for all links of a contact: no other event has the same bytes, so that whoever follows two of them knows it.
  private func subject(_ activations: [OperationID], using random: inout some RandomNumberGenerator) -> [UInt8] {
    NoticeSubject(device: ring.device, activations: activations).sealed(ring.account, using: &random)
  }

  /// Takes a stage for the whole account.
  package func take(
    _ stage: EscalationStage, of crisis: CrisisState, wall: UInt64, using random: inout some RandomNumberGenerator
  ) throws -> Outcome {
    var notice = Notice(kind: .stage, wall: wall)
    notice.stage = UInt32(stage.rawValue)
    notice.about = subject(crisis.activations.map(\.id), using: &random)
    return switch try putUp(notice, about: crisis, on: NoticeBoard(ring.account), using: &random) {
    case .new, .own: .done
    case .others, .over: .doneElsewhere
    case .early, .closed: .early
    }
  }

  private func putUp(
    _ notice: Notice, about crisis: CrisisState, on board: NoticeBoard, using random: inout some RandomNumberGenerator
  ) throws -> Found {
    let activations = crisis.activations.map(\.id)
    let isOwn = activations.contains { $0.stream.device == ring.device }
    if isOwn, !isPublished, isPatient { return .early }
    var notice = notice
    notice.marks = Set(activations.prefix(Limits.noticeActivations).map(board.mark))
    for _ in 0..<Limits.noticeAttempts {
      var list = try NoticeList(board, on: relay)
      // The board of the account is closed by nobody.
      if notice.kind == .alert, list.isClosed { return .closed }
      var told: [(device: DeviceID, marks: Set<[UInt8]>)] = []
      let ended = list.notices.filter { $0.notice.kind == .ended }.reduce(into: Set<[UInt8]>()) { $0.formUnion($1.notice.marks) }
      for (_, other) in list.notices {
        guard other.kind == notice.kind, other.stage == notice.stage, let subject = NoticeSubject(other.about, ring.account) else { continue }
        if !Set(subject.activations).isDisjoint(with: activations) {
          told.append((subject.device, other.marks))
          continue
        }
        // What was told there as over is waited for by nobody.
        if !other.marks.isEmpty, other.marks.isSubset(of: ended) { continue }
        if isPatient, try subject.activations.contains(where: { try !hasArrived($0) }) { return .early }
      }
      // What was told there as over, by a device that knows more, is not what is told now.
      told.removeAll { $0.marks.isSubset(of: ended) }
      if let found = told.first { return found.device == ring.device ? .own : .others }
      notice.marks.subtract(ended)
      if notice.marks.isEmpty, !ended.isEmpty { return .over }
      if try list.put(notice, on: board, relay, using: &random) { return .new }
    }
    throw RelayError.changed
  }

  /// Opens the board of a contact, so that whoever follows the link sees that it is the right one.
  package static func open(
    _ link: SecretLink, person: String, on relay: any Relay, wall: UInt64, using random: inout some RandomNumberGenerator
  ) throws(RelayError) {
    let board = NoticeBoard(link)
    var notice = Notice(kind: .opened, wall: wall)
    notice.person = String(person.prefix(Limits.personCharacters))
    _ = try relay.putNotice(board.seal(notice, number: 1, using: &random), board: board.name, number: 1)
  }

  /// Says at the links of a contact that were taken back that they are good for nothing any more, where it does not stand
  /// there.
  package static func close(
    _ contact: SafetyPlan.Contact, on relay: any Relay, wall: UInt64, using random: inout some RandomNumberGenerator
  ) throws(RelayError) {
    for board in contact.withdrawn.compactMap({ SecretLink($0).map { NoticeBoard($0) } }) {
      guard try !NoticeList(board, on: relay).isClosed else { continue }
      try append(Notice(kind: .closed, wall: wall), to: board, on: relay, using: &random)
    }
  }

  /// Whether it stands at every link of a contact that it was taken back: on another device, where this one does not know of
  /// it. Nobody is told there.
  package static func isTakenBack(_ contact: SafetyPlan.Contact, on relay: any Relay) throws(RelayError) -> Bool {
    let boards = contact.links.compactMap { SecretLink($0).map { NoticeBoard($0) } }
    for board in boards {
      guard try NoticeList(board, on: relay).isClosed else { return false }
    }
    return !boards.isEmpty
  }

  /// Tells a contact that what it was told of is over. Says nothing where that was said, or where it is not over.
  ///
  /// - Returns: Whether something was put up.
  package func end(
    _ contact: SafetyPlan.Contact, in crisis: CrisisState, wall: UInt64, using random: inout some RandomNumberGenerator
  ) throws -> Bool {
    // An event goes on as long as anything is active.
    guard !crisis.isActive else { return false }
    var hasEnded = false
    let about = subject([], using: &random)
    for board in contact.links.compactMap({ SecretLink($0).map { NoticeBoard($0) } }) {
      var open = Set<[UInt8]>()
      var list = try NoticeList(board, on: relay)
      for (_, notice) in list.notices {
        if notice.kind == .ended { open.subtract(notice.marks) }
        guard notice.kind == .alert, let subject = NoticeSubject(notice.about, ring.account) else { continue }
        // What has not arrived may be active.
        if try subject.activations.allSatisfy(hasArrived) { open.formUnion(notice.marks) }
      }
      while !open.isEmpty {
        var notice = Notice(kind: .ended, wall: wall)
        notice.about = about
        notice.marks = Set(open.sorted { $0.lexicographicallyPrecedes($1) }.prefix(Limits.noticeActivations))
        // Another device was faster: it is looked again.
        guard try list.put(notice, on: board, relay, using: &random) else { throw RelayError.changed }
        open.subtract(notice.marks)
        hasEnded = true
      }
    }
    return hasEnded
  }

  /// How far an alert has come with a contact, as their side has said.
  package enum Arrival: Sendable, Hashable {
    /// No board shows that anybody has opened the link. One that was wiped since shows nothing of it either.
    case unopened
    /// Somebody follows the link; nothing says that the alert was shown there.
    case followed
    /// It is on a screen there, since that moment by its clock.
    case shown(UInt64)
    /// Somebody said that they have seen it, then, by their clock.
    case seen(UInt64)

    private var rank: Int {
      switch self {
      case .unopened: 0
      case .followed: 1
      case .shown: 2
      case .seen: 3
      }
    }
    fileprivate mutating func rise(to other: Self) { if other.rank > rank { self = other } }
  }

  /// Reads what a contact's side has said, of a crisis or of none.
  package static func arrival(
    with contact: SafetyPlan.Contact, of crisis: CrisisState?, on relay: any Relay
  ) throws(RelayError) -> Arrival {
    var arrival = Arrival.unopened
    for board in contact.links.compactMap({ SecretLink($0).map { NoticeBoard($0) } }) {
      var marks = Set((crisis?.activations ?? []).map { board.mark($0.id) })
      let notices = try relay.notices(on: board.name, after: 0).compactMap { board.open($0.sealed, number: $0.number) }
      for notice in notices where notice.kind == .ended { marks.subtract(notice.marks) }
      for notice in notices {
        let isAbout = !notice.marks.isDisjoint(with: marks)
        switch notice.kind {
        case .following: arrival.rise(to: .followed)
        case .shown: arrival.rise(to: isAbout ? .shown(notice.wall) : .followed)
        case .seen: arrival.rise(to: isAbout ? .seen(notice.wall) : .followed)
        case .opened, .alert, .stage, .ended, .closed: break
        }
      }
    }
    return arrival
  }

  /// Puts a notice up behind everything that lies on a board.
  fileprivate static func append(
    _ notice: Notice, to board: NoticeBoard, after: UInt64 = 0, on relay: any Relay, using random: inout some RandomNumberGenerator
  ) throws(RelayError) {
    for _ in 0..<Limits.noticeAttempts {
      var list = try NoticeList(board, after: after, on: relay)
      if try list.put(notice, on: board, relay, using: &random) { return }
    }
    throw .changed
  }
}

/// The side of a contact: which notices are new to it. A value; whoever owns it keeps it.
package struct AlertReader: Sendable, Hashable {
  /// What has to be told on the screen there.
  package enum News: Sendable, Hashable {
    case alert(Notice)
    /// What was told is over.
    case ended(Notice)
    /// The link was taken back.
    case closed(Notice)
  }

  /// Why a look may not have seen everything that was put up.
  package enum Lack: Sendable, Hashable {
    /// Behind what the person's devices have put up last lies something that cannot be read: a part of a notice, perhaps.
    case torn
    /// What was read there is there no more, and nothing new is: the relay was rolled back, or what lay there was damaged.
    case gone
  }

  package let link: SecretLink
  /// The highest number that was read, and the beginning of what lay there, by which it is known again.
  package private(set) var last: UInt64
  package private(set) var lastBytes: [UInt8]
  /// Marks of every activation that the contact was told of.
  package private(set) var told: Set<[UInt8]>
  /// Those of which it was told that they are over.
  package private(set) var over: Set<[UInt8]>
  package private(set) var isClosed: Bool
  /// Whether the last look found anything of the board.
  package private(set) var hasFound = true
  /// What the last look lacked; `nil` where it saw all that was to be seen.
  package private(set) var lack: Lack?
  /// The name the contact knows the person by; `nil` until the board was found.
  package private(set) var person: String?

  package init(
    _ link: SecretLink, last: UInt64 = 0, lastBytes: [UInt8] = [], told: Set<[UInt8]> = [], over: Set<[UInt8]> = [],
    isClosed: Bool = false, person: String? = nil
  ) {
    (self.link, self.last, self.lastBytes, self.told, self.over) = (link, last, lastBytes, told, over)
    (self.isClosed, self.person) = (isClosed, person)
  }

  /// Bytes of a notice that tell it from every other: its nonce.
  private static func beginning(_ sealed: [UInt8]) -> [UInt8] { Array(sealed.prefix(12)) }

  /// Takes in what lies on the board; what of it is news, in order.
  ///
  /// The same crisis is never news twice, also when the relay was wiped, rolled back or copied.
  private mutating func take(_ notices: some Sequence<RelayNotice>) -> [News] {
    let board = NoticeBoard(link)
    var (news, isWhole, isTorn, behind) = ([News](), true, false, last)
    for found in notices {
      guard let notice = board.open(found.sealed, number: found.number) else {
        // A service may have brought a part of it: it is read again, and what follows is not news twice.
        isWhole = false
        // A number that nobody would count up to is no notice.
        if found.number <= behind + UInt64(Limits.noticeAttempts) { (isTorn, behind) = (true, found.number) }
        continue
      }
      behind = found.number
      hasFound = true
      if isWhole { (last, lastBytes) = (found.number, Self.beginning(found.sealed)) }
      if !notice.person.isEmpty { person = notice.person } else if person == nil { person = "" }
      switch notice.kind {
      case .alert:
        // One that is also about something new is news: on a relay that was wiped it may have been put up for
        // a crisis that goes on, and hiding it could hide a cry for help.
        if !notice.marks.isSubset(of: told) { news.append(.alert(notice)) }
        told.formUnion(notice.marks)
      case .ended:
        let ended = notice.marks.intersection(told)
        if !ended.isSubset(of: over) { news.append(.ended(notice)) }
        over.formUnion(ended)
      case .closed:
        if !isClosed { news.append(.closed(notice)) }
        isClosed = true
      case .opened, .stage, .seen, .following, .shown: break
      }
      switch notice.kind {
      // Whoever puts something up looks at what lies there, and puts up again what cannot be read.
      case .opened, .alert, .stage, .ended, .closed: isTorn = false
      case .seen, .following, .shown: break
      }
    }
    lack = isTorn ? .torn : nil
    return news
  }

  /// Reads what is new on the board.
  package mutating func read(_ relay: any Relay) throws(RelayError) -> [News] {
    let name = NoticeBoard(link).name
    hasFound = false
    guard last > 0 else { return take(try relay.notices(on: name, after: 0)) }
    let notices = try relay.notices(on: name, after: last - 1)
    if let known = notices.first, known.number == last, Self.beginning(known.sealed) == lastBytes {
      hasFound = true
      return take(notices.dropFirst())
    }
    // Something else lies where we were: the relay was wiped or rolled back, and numbers are given away
    // anew. What was told stays told.
    let all = try relay.notices(on: name, after: 0)
    last = 0
    let news = take(all)
    if lack == nil, news.isEmpty { lack = .gone }
    return news
  }

  /// Alerts that were told here, are not over, and that nobody has said to have seen.
  package func unanswered(_ relay: any Relay) throws(RelayError) -> [Notice] {
    let board = NoticeBoard(link)
    let notices = try relay.notices(on: board.name, after: 0).compactMap { board.open($0.sealed, number: $0.number) }
    let seen = notices.filter { $0.kind == .seen }.reduce(into: Set<[UInt8]>()) { $0.formUnion($1.marks) }
    return notices.filter { $0.kind == .alert && $0.marks.isSubset(of: told) && !$0.marks.isSubset(of: over.union(seen)) }
  }

  /// Says how far an alert has come here: `shown` or `seen`.
  package func confirm(
    _ alert: Notice, as kind: Notice.Kind, on relay: any Relay, wall: UInt64, using random: inout some RandomNumberGenerator
  ) throws(RelayError) {
    var notice = Notice(kind: kind, wall: wall)
    notice.marks = alert.marks
    try CrisisOutreach.append(notice, to: NoticeBoard(link), after: last, on: relay, using: &random)
  }

  /// Says that somebody follows the link, unless the board says so.
  package func follow(on relay: any Relay, wall: UInt64, using random: inout some RandomNumberGenerator) throws(RelayError) {
    let board = NoticeBoard(link)
    for found in try relay.notices(on: board.name, after: 0) {
      switch board.open(found.sealed, number: found.number)?.kind {
      case .following, .shown, .seen: return
      default: break
      }
    }
    try CrisisOutreach.append(Notice(kind: .following, wall: wall), to: board, on: relay, using: &random)
  }
}

extension NoticeList {
  /// Whether it stands there that the link was taken back.
  fileprivate var isClosed: Bool { notices.contains { $0.notice.kind == .closed } }
}
