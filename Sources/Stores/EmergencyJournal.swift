import CSystem
import Causality
import Crisis
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Synchronization
import Therapy

/// The crisis write's own way: a file of its own, numbers and keys of its own, so that no transaction, lock, passphrase,
/// damaged or full store holds it up.
///
/// What is written is ``EmergencyWriter``'s. It lies in `HOME/emergency/LIFE.log` (length₃₂ ‖ frame, again for each frame) and on
/// the relay beside the crisis lane of the device. The store takes it over by content: what it has is known by its hash.
package struct EmergencyJournal: Sendable {
  package let home: HomeFolder
  package let writer: EmergencyWriter
  package var kit: EmergencyKit { writer.kit }

  /// - Returns: `nil` where the person did not want an emergency key, or it cannot be read.
  package init?(_ home: HomeFolder) {
    guard case .kit(let kit) = EmergencyKeyFile(home.emergencyKey) else { return nil }
    (self.home, writer) = (home, EmergencyWriter(kit))
  }

  package typealias Entry = EmergencyWriter.Entry

  /// Seals an activation. Touches no file.
  package func activation(_ level: CrisisLevel, source: String, wall: UInt64) throws -> Entry {
    var random = SystemRandomNumberGenerator()
    return try writer.activation(level, source: source, wall: wall, using: &random)
  }

  /// Seals that activations of this journal are taken back: one write for each that has not been.
  ///
  /// - Parameter more: Frames that this device sealed in an emergency and that do not lie here, because no disk took
  ///   them: from the relay, or from whoever raised it.
  package func withdrawal(with more: [[UInt8]] = [], wall: UInt64) throws -> [Entry] {
    var random = SystemRandomNumberGenerator()
    return try writer.withdrawals(among: goingOn((frames + more).flatMap(operations(in:))), wall: wall, using: &random)
  }

  // MARK: The files

  /// Writes an entry durably.
  ///
  /// - Throws: ``StorageError``; it may be on the relay all the same.
  package func keep(_ entry: Entry) throws {
    let path = self.path(entry.life)
    var descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
    if descriptor < 0, errno == ENOENT {
      mkdir(home.emergency, 0o700)
      descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
    }
    guard descriptor >= 0 else { throw errno == ENOSPC ? StorageError.diskFull(path) : .unreadable(path, "it cannot be written") }
    defer { close(descriptor) }
    var status = stat()
    _ = fstat(descriptor, &status)
    guard HomeFolder.writeAll(UInt32(entry.frame.count).bigEndianBytes + entry.frame, to: descriptor), fsync(descriptor) == 0 else {
      let isFull = errno == ENOSPC
      _ = ftruncate(descriptor, status.st_size)
      throw isFull ? StorageError.diskFull(path) : .unreadable(path, "it cannot be written")
    }
    if status.st_size == 0 { HomeFolder.syncFolder(of: path) }
  }

  private func path(_ life: Incarnation) -> String { "\(home.emergency)/\(life.rawValue.bigEndianBytes.hexadecimal).log" }

  /// Whether anything lies in the journal of a home.
  static func isUsed(_ home: HomeFolder) -> Bool {
    guard let folder = opendir(home.emergency) else { return false }
    defer { closedir(folder) }
    while let entry = readdir(folder) {
      // Its own name and that of the folder above begin with a dot.
      if entry.pointee.d_name.0 != 0x2E { return true }
    }
    return false
  }

  /// Every life that lies here, with its frames.
  package func lives() -> [(life: Incarnation, frames: [[UInt8]])] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: home.emergency)) ?? []
    return names.sorted().compactMap { name in
      guard name.hasSuffix(".log"), let bytes = [UInt8](hexadecimal: name.dropLast(4)), bytes.count == 8 else { return nil }
      let life = Incarnation(rawValue: UInt64(bigEndianBytes: bytes))
      return (life, frames(in: path(life)))
    }
  }

  /// Every frame that lies here.
  package var frames: [[UInt8]] { lives().flatMap(\.frames) }

  /// What was written here by this journal, the oldest first.
  package var operations: [Causality.Operation] { goingOn(frames.flatMap(operations(in:))).sorted { $0.timestamp < $1.timestamp } }

  /// What this device sealed in an emergency and that lies on the relay.
  package func sent(_ relay: any Relay) throws -> [[UInt8]] {
    guard let file else { return [] }
    return try relay.frames(in: file).filter { (try? BatchHeader(frame: $0))?.incarnation.isEmergency ?? false }
  }

  /// The frames of a file, as far as they are whole.
  func frames(in path: String) -> [[UInt8]] {
    guard let data = FileManager.default.contents(atPath: path), data.count <= Limits.journalBytes else { return [] }
    var rest = Array(data)[...]
    var frames = [[UInt8]]()
    while rest.count >= 4 {
      let length = Int(UInt32(bigEndianBytes: rest.prefix(4)))
      guard length > 0, length <= Limits.frameBytes, rest.count >= 4 + length else { break }
      frames.append(Array(rest.dropFirst(4).prefix(length)))
      rest = rest.dropFirst(4 + length)
    }
    return frames
  }

  /// What a frame of this journal says; nothing where it is not authentic.
  package func operations(in frame: [UInt8]) -> [Causality.Operation] {
    if let known = Self.opened.withLock({ $0[kit.device]?[frame] }) { return known }
    let operations = writer.operations(in: frame)
    guard !operations.isEmpty else { return [] }
    Self.opened.withLock { known in
      if known[kit.device, default: [:]].count >= Limits.openedFrames { known = [:] }
      known[kit.device, default: [:]][frame] = operations
    }
    return operations
  }

  /// What was opened once, and is opened again at every look at the journal: a frame never says anything else.
  private static let opened = Mutex<[DeviceID: [[UInt8]: [Causality.Operation]]]>([:])

  /// Whether a frame names this device as its author; nothing is opened.
  func isOwn(_ frame: [UInt8]) -> Bool {
    guard let header = try? BatchHeader(frame: frame) else { return false }
    return header.device == kit.deviceTag && header.incarnation.isEmergency
  }

  /// Whether anything that was raised here was not taken back here.
  package var isActive: Bool { isActive(with: []) }

  /// The same with frames that lie elsewhere: what no disk took can have been taken back at the relay alone.
  package func isActive(with more: [[UInt8]]) -> Bool {
    EmergencyWriter.isActive(among: goingOn((frames + more).flatMap(operations(in:))))
  }

  // MARK: What is over

  /// Where it is noted which activations of this journal the store has as over: it may not be readable the next time, and
  /// nobody is to be told of what has ended.
  private var overFile: String { home.emergency + "/.over" }

  /// Writes without the activations that are known to be over.
  private func goingOn(_ operations: [Causality.Operation]) -> [Causality.Operation] {
    guard let bytes = FileManager.default.contents(atPath: overFile), bytes.count <= Limits.journalBytes else { return operations }
    let over = Set(String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { OperationID(name: $0) })
    return operations.filter { !over.contains($0.id) }
  }

  /// Notes what the store has and knows to be over, of what these frames raised.
  fileprivate func noteOver(among frames: [[UInt8]], in store: Store) {
    let operations = goingOn(frames.flatMap(operations(in:)))
    guard EmergencyWriter.isActive(among: operations) else { return }
    let raised = operations.filter { if case .add = $0.mutation { true } else { false } }.map(\.id)
    let record = CrisisState.record(ofAccount: store.ring.account.account)
    let over = try? store.read(within: 200) { transaction in
      let active = CrisisState(try transaction.record(record)).activations.map(\.id)
      return try raised.filter { try transaction.hasArrived($0) && !active.contains($0) }
    }
    guard let over, !over.isEmpty else { return }
    let before = FileManager.default.contents(atPath: overFile).map { Array($0) } ?? []
    try? HomeFolder.writePrivate(before + Array(over.map { $0.name + "\n" }.joined().utf8), to: overFile)
  }

  /// Removes files of which the store has everything, and that are a day old: nothing is decided by it.
  func forgetOld(_ isKnown: ([[UInt8]]) -> Bool) {
    for (life, frames) in lives() {
      var status = stat()
      guard stat(path(life), &status) == 0, Date().timeIntervalSince1970 - Double(status.st_mtim.tv_sec) > 86_400, isKnown(frames) else { continue }
      unlink(path(life))
    }
  }

  // MARK: The relay

  /// The relay that the kit names; nothing is touched.
  ///
  /// - Parameter place: Where it is looked for instead.
  package func relay(at place: RelayLocation? = nil) -> FolderRelay {
    FolderRelay(
      path: (place ?? location).folder, account: kit.accountTag, ownTag: BlindTag(bytes: kit.deviceTag),
      meaning: kit.relayIdentity == 0 ? nil : kit.relayIdentity)
  }

  /// Where the devices meet.
  package var location: RelayLocation { RelayLocation(kept: kit.relay, in: home) }

  /// Keeps where the devices meet from now on.
  func remember(_ location: RelayLocation, _ identity: UInt64) throws {
    var kit = kit
    (kit.relay, kit.relayIdentity) = (location.kept(in: home), identity)
    try HomeFolder.writePrivate(kit.bytes, to: home.emergencyKey)
  }

  /// The file in which the crisis lane of this device lies on the relay.
  package var file: RelayStream? { writer.file }
}

extension Store {
  /// The way of a crisis past the store leads to the relay that the store means; it is told apart by nobody else.
  func renewEmergencyPlace() {
    guard let journal = EmergencyJournal(home), let place = try? read({ try $0.relayPlace() }),
      journal.kit.relayIdentity != place.identity || journal.kit.relay != place.url
    else { return }
    try? journal.remember(RelayLocation(kept: place.url, in: home), place.identity)
  }

  /// Notes beside the emergency journal what of it the store has as over.
  func noteEmergenciesOver() {
    guard EmergencyJournal.isUsed(home), let journal = EmergencyJournal(home) else { return }
    journal.noteOver(among: journal.frames, in: self)
  }

  /// Writes in the emergency journal that are not in this store.
  ///
  /// - Returns: Those that it will take, and those of another device or account, which it never will.
  package func waitingInJournal() throws -> (own: Int, foreign: Int) {
    guard let journal = EmergencyJournal(home) else { return (0, 0) }
    let frames = journal.frames
    let waiting = try read { transaction in try frames.filter { try !transaction.holds($0, of: ring.device) } }
    let own = waiting.filter { !journal.operations(in: $0).isEmpty }.count
    return (own, waiting.count - own)
  }

  /// Takes over what lies in the emergency journal of this home and is not in the store.
  ///
  /// - Parameter milliseconds: How long a lock of another program is waited for; `nil` for as long as usual.
  /// - Returns: What changed.
  /// - Throws: ``StorageError``; the journal is as before, and is taken over later.
  @discardableResult
  package func takeOverJournal(within milliseconds: Int? = nil) throws -> [AppliedChange] {
    // Asked after every commit of every process: nothing is read where nothing was ever raised.
    guard EmergencyJournal.isUsed(home), let journal = EmergencyJournal(home), let file = journal.file else { return [] }
    let all = journal.frames
    guard !all.isEmpty else { return [] }
    defer { journal.noteOver(among: all, in: self) }
    let unknown = try read(within: milliseconds) { transaction in try all.filter { try !transaction.holds($0, of: ring.device) } }
    // What another device or account has left in this home is not waited for.
    let frames = unknown.filter { !journal.operations(in: $0).isEmpty }
    guard !frames.isEmpty else { return [] }
    let relay = FolderRelay(path: "/nowhere", account: [], ownTag: nil)
    var performer = try EffectPerformer(store: HurriedStore(self, milliseconds), relay: relay, ring: ring, run: 0)
    var outcome = ApplyOutcome(next: .start)
    try performer.take(frames, from: file, limit: SystemClock.now.wall, &outcome)
    return outcome.changes
  }
}

/// A store for who cannot wait for a lock of another program.
private final class HurriedStore: ReplicaStore {
  private let store: Store
  private let milliseconds: Int?

  init(_ store: Store, _ milliseconds: Int?) { (self.store, self.milliseconds) = (store, milliseconds) }

  func write<Result>(within _: Int?, _ body: (inout SQLiteTransaction) throws -> Result) throws -> Result {
    try store.write(within: milliseconds, body)
  }
  func read<Result>(_ body: (SQLiteTransaction) throws -> Result) throws -> Result { try store.read(within: milliseconds, body) }
}

extension SQLiteTransaction {
  /// Whether a frame of this device's crisis lane is in the log.
  fileprivate func holds(_ frame: [UInt8], of device: DeviceID) throws -> Bool {
    guard let header = try? BatchHeader(frame: frame) else { return true }
    let key = StreamKey(device: device, incarnation: header.incarnation, channel: Channel(.crisis))
    let hash = BatchSealer.hash(of: frame)
    return try logged(of: key, from: header.first, through: header.first).contains { $0.hash == hash }
  }
}
