import CSystem
import Causality
import Foundation
import Replica
import Storage
import Synchronization

/// The other processes over the same store: their pings, the lock and the beat that say which of all exchanges with the
/// relay, and commits whose ping was lost. What is decided stands in ``LeaderElection``.
final class PeerProcesses: Sendable {
  private struct State {
    /// Uptime of the last look.
    var looked: UInt64 = 0
    var election: LeaderElection
    /// The descriptor that a ping wakes; -1 where there is none.
    var ping: Int32 = -1
    var path = ""
    var lock: Int32 = -1
    var dataVersion = -1
    var isYielding = false
    /// The file in which this process said last that it leads; -1 where it did not. The home may be moved under it.
    var said: Int32 = -1
  }
  private let store: Store
  /// Where the devices meet, as the person has said it in any of the processes.
  let place = MeetingPlace()
  private let state: Mutex<State>

  init(_ store: Store) {
    self.store = store
    var random = SystemRandomNumberGenerator()
    state = Mutex(State(election: LeaderElection(process: random.next())))
    // Before the first thread begins: what is said from now on is news.
    if let meant = try? store.read({ try $0.relayPlace() }) { place.know(meant) }
  }

  /// Whether this process exchanges with the relay.
  var isLeader: Bool { state.withLock { $0.election.role == .leader } }
  /// Uptime at which it is looked again who leads.
  var due: UInt64 { state.withLock { $0.election.role == .leader ? .max : $0.election.due } }
  var ping: Int32 { state.withLock { $0.ping } }
  /// Where this process is pinged.
  var path: String { state.withLock { $0.path } }

  func open() {
    // Whoever restored the home may have left it out: it holds nothing but sockets.
    mkdir(store.home.sockets, 0o700)
    let path = store.home.sockets + "/\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
    let version = (try? store.dataVersion()) ?? -1
    state.withLock { ($0.path, $0.ping, $0.dataVersion) = (path, fm_ping_open(path), version) }
  }

  func end() {
    state.withLock { state in
      if state.ping >= 0 { close(state.ping) }
      unlink(state.path)
      // Whoever looks from now on sees that nobody exchanges.
      if state.election.role == .leader { takeBack(&state) }
      if state.said >= 0 { close(state.said) }
      if state.lock >= 0 { fm_unlock(state.lock) }
      (state.ping, state.lock, state.said) = (-1, -1, -1)
    }
  }

  /// Nanoseconds.
  private static let lookGap: UInt64 = 50_000_000

  /// Looks who leads.
  ///
  /// - Returns: Whether that has changed.
  func look(now: UInt64) -> Bool {
    // Between two looks that are this close nobody can have missed this process.
    let isFresh = state.withLock { state in
      let isFresh = state.election.role == .leader && now &- state.looked < Self.lookGap
      if !isFresh { state.looked = now }
      return isFresh
    }
    guard !isFresh else { return false }
    let beat = readBeat()
    return state.withLock { state in
      guard !state.isYielding else { return false }
      let before = state.election.role
      if before == .follower, now < state.election.due { return false }
      perform(state.election.look(beat, now: now), beat, now, &state)
      return state.election.role != before
    }
  }

  /// This process is about to stop: another one may lead.
  func yield() {
    state.withLock { state in
      state.isYielding = true
      let now = fm_uptime_ns()
      // Whoever looks next need not wait until this process is missed.
      if state.election.role == .leader { takeBack(&state) }
      perform(state.election.yield(now: now), nil, now, &state)
    }
    store.pingOthers(except: path)
  }

  func goOn() { state.withLock { $0.isYielding = false } }

  private func perform(_ actions: [LeaderElection.Action], _ beat: LeaderElection.Beat?, _ now: UInt64, _ state: inout State) {
    for action in actions {
      switch action {
      case .tryLock:
        guard state.lock < 0, state.election.role == .follower else { continue }
        state.lock = fm_lock(store.home.exchangeLock, 0)
        guard state.lock >= 0 else { continue }
        return perform(state.election.didLock(beat, now: now), beat, now, &state)
      case .challenge: store.pingOthers(except: state.path)
      case .beat(let beat): write(beat, &state)
      case .unlock:
        if state.lock >= 0 { fm_unlock(state.lock) }
        state.lock = -1
      }
    }
    // Who leads without the lock takes it once it is given back.
    if state.election.role == .leader, state.lock < 0 { state.lock = fm_lock(store.home.exchangeLock, 0) }
  }

  /// What the others have said since the last call.
  func hear() -> (isPinged: Bool, heard: [HeardFrame]) {
    let ping = ping
    var (isPinged, heard) = (false, [HeardFrame]())
    var message = [UInt8](repeating: 0, count: HeardFrame.longest)
    while ping >= 0 {
      let length = fm_ping_next(ping, &message, message.count)
      guard length > 0 else { break }
      if let frame = HeardFrame(bytes: message[..<length]) { heard.append(frame) } else { isPinged = true }
    }
    return (isPinged, heard)
  }

  /// The other processes show what was read on the relay although the store cannot take it.
  func passOn(_ frames: some Sequence<[UInt8]>, from file: RelayStream) {
    for frame in frames {
      guard let bytes = HeardFrame(file: file, frame: frame, isAtRelay: true).bytes else { continue }
      store.home.tellOthers(bytes, except: path)
    }
  }

  /// Whether another process has committed since the last call.
  func haveCommitted() -> Bool {
    guard let version = try? store.dataVersion() else { return false }
    return state.withLock { state in
      defer { state.dataVersion = version }
      return state.dataVersion != version
    }
  }

  // MARK: The beat: term, process and uptime, then the system's number of the process and when that began, 8 bytes each

  private func readBeat() -> LeaderElection.Beat? { Self.words(in: store.home)?.beat }

  /// Whether some process exchanges with the relay: what it said of itself counts while it was said lately, and while the
  /// process that said it is there and goes on.
  static func isLed(_ home: HomeFolder, now: UInt64) -> Bool {
    guard let words = words(in: home), words.beat.uptime <= now, now - words.beat.uptime < 2 * Peers.heartbeat else { return false }
    return words.speaker.isAtWork
  }

  /// What the leader of a home last said, and which process that was.
  private static func words(in home: HomeFolder) -> (beat: LeaderElection.Beat, speaker: SystemProcess)? {
    let descriptor = Foundation.open(home.leader, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    return words(in: descriptor)
  }

  private static func words(in descriptor: Int32) -> (beat: LeaderElection.Beat, speaker: SystemProcess)? {
    var bytes = [UInt8](repeating: 0, count: 40)
    guard pread(descriptor, &bytes, bytes.count, 0) == bytes.count else { return nil }
    let beat = LeaderElection.Beat(
      term: UInt64(bigEndianBytes: bytes[..<8]), process: UInt64(bigEndianBytes: bytes[8..<16]), uptime: UInt64(bigEndianBytes: bytes[16..<24]))
    return (beat, SystemProcess(number: Int32(truncatingIfNeeded: UInt64(bigEndianBytes: bytes[24..<32])), began: UInt64(bigEndianBytes: bytes[32...])))
  }

  private func write(_ beat: LeaderElection.Beat, _ state: inout State) {
    let descriptor = Foundation.open(store.home.leader, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    guard descriptor >= 0 else { return }
    if state.said >= 0 { close(state.said) }
    state.said = descriptor
    let this = SystemProcess.this
    let bytes = beat.term.bigEndianBytes + beat.process.bigEndianBytes + beat.uptime.bigEndianBytes
      + UInt64(this.number).bigEndianBytes + this.began.bigEndianBytes
    _ = pwrite(descriptor, bytes, bytes.count, 0)
  }

  /// This process leads no more, and says so: also in a home that was moved under it.
  private func takeBack(_ state: inout State) {
    if state.election.isOurs(readBeat()) { unlink(store.home.leader) }
    if state.said >= 0, state.election.isOurs(Self.words(in: state.said)?.beat) { ftruncate(state.said, 0) }
  }
}

/// A process as the system knows it. Numbers are used again: the moment at which one began tells two of them apart.
struct SystemProcess: Sendable, Hashable {
  var number: Int32
  /// In ticks since the system began; 0 where the system does not say.
  var began: UInt64

  /// This one.
  static let this = SystemProcess(number: getpid(), began: SystemProcess.look(getpid())?.began ?? 0)

  /// Whether it is there, and neither over nor stopped.
  var isAtWork: Bool {
    guard let found = Self.look(number) else { return kill(number, 0) == 0 || errno == EPERM }
    return !["T", "t", "Z", "X"].contains(found.state) && (began == 0 || found.began == began)
  }

  /// - Returns: `nil` where the system does not tell.
  private static func look(_ number: Int32) -> (state: String, began: UInt64)? {
    // The name, which comes before, may hold anything.
    guard let text = try? String(contentsOfFile: "/proc/\(number)/stat", encoding: .utf8), let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ").map(String.init)
    guard fields.count > 19, let began = UInt64(fields[19]) else { return nil }
    return (fields[0], began)
  }
}

extension HomeFolder {
  /// Whether some program of this home exchanges with the relay, as far as its beat says.
  package var isExchanged: Bool { PeerProcesses.isLed(self, now: SystemClock.now.uptime) }
}
