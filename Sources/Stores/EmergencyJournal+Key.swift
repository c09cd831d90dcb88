import CSystem
import Causality
import Foundation
import Logging
import Relays
import Replica
import Sealing
import Storage
import Therapy

/// What lies where a key for emergencies belongs.
enum EmergencyKeyFile: Sendable {
  case nothing
  case kit(EmergencyKit)
  /// It is read, and is no key.
  case junk
  /// It is there, and cannot be read now, or by this user: it may be a key.
  case unreadable

  /// Looks. Waits for nobody.
  init(_ path: String) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
    guard descriptor >= 0 else {
      switch errno {
      case ENOENT, ENOTDIR: self = .nothing
      // A link, or a socket.
      case ELOOP, ENXIO: self = .junk
      default: self = .unreadable
      }
      return
    }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 8_192)
    let count = read(descriptor, &bytes, bytes.count)
    if count < 0 {
      self = errno == EISDIR ? .junk : .unreadable
    } else if count > 0, let kit = try? EmergencyKit(bytes: Array(bytes[..<count])) {
      self = .kit(kit)
    } else {
      self = .junk
    }
  }
}

extension HomeFolder {
  /// A key for emergencies on its way to its place: durable there before anybody is told of it.
  fileprivate var nextEmergencyKey: String { emergencyKey + ".next" }
}

/// Why a key for emergencies that was lost is not followed by another one.
package enum EmergencyKeyError: ActionableError {
  /// The other devices take no further one of this device.
  case usedUp

  package var code: String { "emergency.keys-used-up" }
  package var summary: String {
    "This device has lost its key for emergencies \(Limits.emergencyKeys) times, and the other devices take no further one of it: a crisis needs the store. Nothing else is changed."
  }
  package var remedy: String {
    "Join as a new device, which has a key: `fullmind devices invite` here or on another device shows a code; `fullmind join CODE --device NAME --relay folder:PATH --home FOLDER` with a new folder makes its home. Use that one from then on."
  }
  package var exitStatus: ExitStatus { .cannotCreate }
}

// MARK: Being known

extension EmergencyJournal {
  /// What makes this device known to who reads its crisis: by whom it belongs to the account, and with which key it writes
  /// in an emergency. Sealed as it lies on the relay.
  private static func introductionFile(_ home: HomeFolder) -> String { home.emergency + "/.introduction" }

  /// - Throws: ``StorageError``.
  static func keep(_ introduction: [[UInt8]], in home: HomeFolder) throws(StorageError) {
    try HomeFolder.writePrivate(introduction.flatMap { UInt32($0.count).bigEndianBytes + $0 }, to: introductionFile(home))
  }

  /// What is kept of that; nothing where it is gone or damaged.
  fileprivate var introduction: [[UInt8]] { frames(in: Self.introductionFile(home)) }

  /// Puts on the relay what it lacks of that: a crisis that nobody can ascribe to anybody is on no screen.
  package func introduce(to relay: any Relay) throws(RelayError) {
    let introduction = introduction
    guard let tag = file?.tag, !introduction.isEmpty else { return }
    try relay.deliver(introduction, to: RelayStream(tag: tag, channel: .membership))
  }
}

extension SQLiteTransaction {
  /// Of what this device wrote last about who belongs to the account: a key for emergencies that was renewed is among it.
  private static let renewals = 8

  /// The beginning of what this device wrote about who belongs to the account, and the end of it.
  package var introduction: [[UInt8]] {
    get throws {
      var (first, last, position) = ([[UInt8]](), [[UInt8]](), UInt64(0))
      while true {
        let page = try ownBatches(.membership, after: position, limit: 256)
        guard let end = page.last else { return first + last }
        position = end.position
        last += page.map(\.batch.frame)
        while first.count < Limits.introducedBy, !last.isEmpty { first.append(last.removeFirst()) }
        last = last.suffix(Self.renewals)
      }
    }
  }
}

// MARK: A key that was lost

extension Store {
  /// What became of a key for emergencies that this device has said it has.
  package enum EmergencyKeyState: Sendable, Hashable {
    /// It lies there, or the person did not want one.
    case asSaid
    /// It is gone, or holds no key any more; the next start makes another.
    case lost
    /// It is lost, and the other devices take no further one.
    case usedUp
    /// It lies in this file, and cannot be read now, or by this user.
    case unreadable(String)
  }

  package func emergencyKeyState() throws -> EmergencyKeyState {
    do {
      switch try emergencyKeyStep({ try read { try $0.membership() } }) {
      case .nothing: return .asSaid
      case .make, .announce, .place: return .lost
      case .usedUp: return .usedUp
      }
    } catch let problem as UnreadableKey { return .unreadable(problem.path) }
  }

  private struct UnreadableKey: Error { var path: String }

  /// - Throws: ``UnreadableKey``: what may be a key is not replaced.
  private func emergencyKeyStep(_ membership: () throws -> [[UInt8]]) throws -> EmergencyKeyStep {
    // In the order in which a kit moves: one that was missed at the first place lies at the second.
    let next = EmergencyKeyFile(home.nextEmergencyKey)
    switch EmergencyKeyFile(home.emergencyKey) {
    case .kit: return .nothing
    case .unreadable: throw UnreadableKey(path: home.emergencyKey)
    case .nothing, .junk: break
    }
    var pending: EmergencyKit?
    switch next {
    case .kit(let kit): pending = kit.belongs(to: ring) ? kit : nil
    case .unreadable: throw UnreadableKey(path: home.nextEmergencyKey)
    case .nothing, .junk: break
    }
    let members = SnapshotBuilder.members(try membership(), ring)
    return EmergencyKeyStep(pending: pending, announced: members.keys(of: ring.device)?.emergency ?? [])
  }

  /// A key for emergencies that was lost is followed by another one, which the other devices are told of. Whatever ends
  /// this early, the next start goes on with the same key.
  ///
  /// - Returns: Whether one was made.
  /// - Throws: ``StorageError``, ``EmergencyKeyError``: there is none, and why; ``emergencyKeyProblem(_:)`` has it in words.
  func mendEmergencyKey() throws -> Bool {
    do {
      if case .nothing = try emergencyKeyStep({ try read { try $0.membership() } }) {
        try mendIntroduction()
        return false
      }
      try announceEmergencyKey()
      guard try placeEmergencyKey() else { return false }
      // What was written by an earlier start may name a place that the devices have left since.
      renewEmergencyPlace()
      return true
    } catch {
      let problem = (error as? UnreadableKey).map { StorageError.unreadable($0.path, "it cannot be read") as any Error } ?? error
      HomeLog.logger(home).warning(
        "emergency key not mended", metadata: ["code": "\((problem as? any ActionableError)?.code ?? "unknown")"])
      throw problem
    }
  }

  /// Why there is no key for emergencies, or none that others know of; for a person.
  static func emergencyKeyProblem(_ error: any Error) -> String {
    let actionable = error as? any ActionableError
    let reason = (error as? StorageError)?.obstacle ?? actionable?.summary ?? "it could not be made"
    let sentence = reason.hasSuffix(".") ? reason : reason + "."
    return "the emergency key or what belongs to it is missing, and could not be mended: \(sentence) A crisis may need the store until then; `fullmind doctor` says what to do"
  }

  /// Writes a kit beside its place, where none waits there, and signs for it.
  ///
  /// All under the store's write lock: of two programs that start at once the second finds what the first one made.
  private func announceEmergencyKey() throws {
    var random = SystemRandomNumberGenerator()
    if mkdir(home.emergency, 0o700) == 0 { HomeFolder.syncFolder(of: home.emergency) }
    try write(within: DriverLoop.patience) { transaction in
      let membership = try transaction.membership()
      let kit: EmergencyKit
      switch try emergencyKeyStep({ membership }) {
      case .nothing, .place: return
      case .usedUp: throw EmergencyKeyError.usedUp
      case .announce(let pending): kit = pending
      case .make:
        guard let place = try transaction.relayPlace() else { throw StorageError.unreadable(home.database, "where the devices meet cannot be read") }
        let record = CrisisState.record(ofAccount: ring.account.account)
        kit = try EmergencyKit(for: ring, record: record, relay: place.url, relayIdentity: place.identity, using: &random)
        try Self.setAside(home.nextEmergencyKey)
        try HomeFolder.writePrivate(kit.bytes, to: home.nextEmergencyKey)
      }
      let entry = try MembershipEntry.signed(.emergency(kit.key), signer: ring.device, wall: SystemClock.now.wall, key: ring.keys.signing)
      var members = SnapshotBuilder.members(membership, ring)
      guard members.accept(entry) == .accepted else { throw SealingError.badMembership }
      try BatchCutter(ring: ring).file(membership: entry, in: &transaction, using: &random)
      try transaction.appendMembership(entry)
    }
  }

  /// Puts a kit that was signed for in its place; before it, what makes the device known that writes with it.
  ///
  /// - Returns: Whether one was waiting.
  private func placeEmergencyKey() throws -> Bool {
    try write(within: DriverLoop.patience) { transaction in
      guard case .place = try emergencyKeyStep({ try transaction.membership() }) else { return false }
      try EmergencyJournal.keep(try transaction.introduction, in: home)
      try Self.setAside(home.emergencyKey)
      guard rename(home.nextEmergencyKey, home.emergencyKey) == 0 else { throw Self.problem(errno, home.emergencyKey) }
      HomeFolder.syncFolder(of: home.emergencyKey)
      return true
    }
  }

  /// What makes a device known lies beside its key, also where a run was cut short.
  private func mendIntroduction() throws {
    guard let journal = EmergencyJournal(home), journal.kit.belongs(to: ring), journal.introduction.isEmpty else { return }
    let introduction = try read { try $0.introduction }
    if !introduction.isEmpty { try EmergencyJournal.keep(introduction, in: home) }
  }

  /// Keeps aside what nobody can read as a key, where anything lies there.
  private static func setAside(_ path: String) throws(StorageError) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    var aside = path + ".unreadable"
    while lstat(aside, &status) == 0 { aside += "x" }
    guard rename(path, aside) == 0 else { throw problem(errno, path) }
  }

  private static func problem(_ reason: Int32, _ path: String) -> StorageError {
    reason == ENOSPC ? .diskFull(path) : .unreadable(path, "it cannot be written")
  }
}
