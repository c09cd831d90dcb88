import Causality
import ConflictResolution
import Crisis
import Foundation
import Relays
import Replica
import Sealing
import Storage
import Synchronization
import Therapy

/// A living household of real replicas in this process, over a relay in memory.
///
/// Real stores (in a temporary folder that is removed at the end), real sealing, real threads; only
/// the people are made up, from a seed.
package final class DemoHousehold: Sendable {
  package let devices: [Member]
  private let folder: String
  private let life: Life

  package struct Member: Sendable {
    package var name: String
    package var store: Store
    package var driver: ReplicaDriver
    package var relay: ConditionedRelay
  }

  private static let names = ["laptop", "phone", "tablet", "desktop", "watch", "server"]

  /// - Parameters:
  ///   - deviceCount: From 1 to 10.
  ///   - history: Operations that exist already when it opens.
  ///   - opened: Called with the first device's picture, before the others and the history are made.
  ///   - observer: For each device's driver, by its number.
  package init(
    deviceCount: Int, seed: UInt64, history: Int, isPaused: Bool, opened: (Snapshot) -> Void,
    observer: (Int) -> ReplicaDriver.Observer
  ) throws {
    folder = Self.temporaryFolder + "/fullmind-demo-\(getpid())"
    var random = SeededRandom(seed: seed)
    let memory = MemoryRelay()
    let stores = try Self.makeStores(deviceCount, folder: folder, opened: opened)
    for entry in stores { try entry.store.checkpointOften() }
    try Self.fill(stores[0].store, operations: history, using: &random)
    devices = try stores.enumerated().map { index, entry in
      let ring = entry.store.ring
      let tag = BlindTag(bytes: ring.account.sealer.tags.device(ring.device))
      let relay = ConditionedRelay(memory.connection(of: tag), seed: random.next())
      let driver = try ReplicaDriver(
        store: entry.store, relay: relay, relayName: "memory", tier: .selfHosted, observer: observer(index))
      return Member(name: entry.name, store: entry.store, driver: driver, relay: relay)
    }
    life = Life(seed: random.next(), isPaused: isPaused)
    for device in devices { device.driver.start() }
    life.start(devices)
  }

  /// In memory where the system has such a place: the household ends with the program, and removing
  /// its files from a disk takes longer than quitting may.
  private static var temporaryFolder: String {
    access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : NSTemporaryDirectory()
  }

  private static func makeStores(_ count: Int, folder: String, opened: (Snapshot) -> Void) throws -> [(name: String, store: Store)] {
    let names = (0..<max(1, count)).map { $0 < Self.names.count ? Self.names[$0] : "device \($0 + 1)" }
    let stores = try AccountSetup.household(at: names.indices.map { HomeFolder(path: folder + "/\($0)") }, names: names)
    opened(try SnapshotBuilder.fromStore(stores[0], relay: "memory"))
    return Array(zip(names, stores))
  }

  private static func fill(_ store: Store, operations: Int, using random: inout SeededRandom) throws {
    let actions = Actions(store)
    var left = operations
    while left > 0 {
      var drafts: [Draft] = []
      while drafts.count < min(left, 500) { drafts += Life.checkIn(RecordID(using: &random), &random) }
      _ = try actions.commit(drafts)
      left -= drafts.count
    }
  }

  package func pauseLife(_ isPaused: Bool) { life.isPaused = isPaused }
  package var isLifePaused: Bool { life.isPaused }

  /// Ends the household with the program: nobody outside knows of it, so nobody is told goodbye.
  package func end() {
    life.end()
    Self.remove(folder)
  }

  /// The household's own few files, ten times as fast as a careful removal of anything.
  private static func remove(_ folder: String) {
    for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
      let path = folder + "/" + name
      if unlink(path) != 0 { remove(path) }
    }
    rmdir(folder)
  }
}

/// The small life of the household: check-ins, sessions, and edits that collide.
private final class Life: Sendable {
  private struct State: Sendable {
    var isPaused: Bool
    var isOver = false
    var isScheduled = false
    var devices: [DemoHousehold.Member] = []
    var random: SeededRandom
    var shared: [RecordID] = []
  }
  private let state: Mutex<State>
  private let queue = DispatchQueue(label: "life")

  init(seed: UInt64, isPaused: Bool) { state = Mutex(State(isPaused: isPaused, random: SeededRandom(seed: seed))) }

  var isPaused: Bool {
    get { state.withLock { $0.isPaused } }
    set {
      state.withLock { $0.isPaused = newValue }
      schedule()
    }
  }

  func end() { state.withLock { $0.isOver = true } }

  func start(_ devices: [DemoHousehold.Member]) {
    state.withLock { $0.devices = devices }
    schedule()
  }

  /// At rest no timer runs at all.
  private func schedule() {
    let milliseconds = state.withLock { state -> Int? in
      guard !state.isPaused, !state.isOver, !state.isScheduled else { return nil }
      state.isScheduled = true
      return state.random.number(600...2_600)
    }
    guard let milliseconds else { return }
    queue.asyncAfter(deadline: .now() + .milliseconds(milliseconds)) { [self] in
      let devices = state.withLock { state in
        state.isScheduled = false
        return state.isPaused || state.isOver ? [] : state.devices
      }
      if !devices.isEmpty { live(devices) }
      schedule()
    }
  }

  /// One moment of the household's day.
  private func live(_ devices: [DemoHousehold.Member]) {
    state.withLock { state in
      let device = devices[state.random.number(0...devices.count - 1)]
      switch state.random.number(0...9) {
      case 0...3:
        let id = RecordID(using: &state.random)
        state.shared.append(id)
        if state.shared.count > 8 { state.shared.removeFirst() }
        device.driver.send(.commit(Self.checkIn(id, &state.random)))
      case 4...6: collide(devices, &state)
      case 7: device.driver.send(.commit(Self.journal(RecordID(using: &state.random), &state.random)))
      default: practise(device, &state)
      }
    }
  }

  /// Two devices write the same field without knowing of each other.
  private func collide(_ devices: [DemoHousehold.Member], _ state: inout State) {
    guard devices.count > 1, let id = state.shared.randomElement(using: &state.random) else { return }
    let first = state.random.number(0...devices.count - 1)
    let second = (first + state.random.number(1...devices.count - 1)) % devices.count
    let field = ["mood", "anxiety", "energy"][state.random.number(0...2)]
    for index in [first, second] {
      let value = Value.integer(Int64(state.random.number(0...10)))
      devices[index].driver.send(.commit([Self.draft(id, field, .set(value))]))
    }
  }

  private func practise(_ device: DemoHousehold.Member, _ state: inout State) {
    let id = RecordID(using: &state.random)
    let elapsed = Double(state.random.number(20...170))
    device.driver.send(
      .perform { actions in
        // One session at a time is enough to look at.
        guard try !actions.sessions().contains(where: { $0.isOpen }) else {
          for session in try actions.sessions() where session.isOpen && session.owner == actions.device {
            _ = try actions.commit(session.progressed(to: session.elapsed + 15, phase: session.elapsed > 150 ? .finished : nil))
          }
          return
        }
        _ = try actions.commit(SessionState.start("meditation", owner: actions.device, id: id))
        if let session = try actions.session(id) { _ = try actions.commit(session.progressed(to: elapsed)) }
      })
  }

  static func checkIn(_ id: RecordID, _ random: inout SeededRandom) -> [Draft] {
    let part = ["morning", "midday", "evening"][random.number(0...2)]
    let emotions = ["calm", "tired", "hopeful", "tense", "content"]
    return [
      draft(id, "part", .set(.text(part))), draft(id, "mood", .set(.integer(Int64(random.number(0...10))))),
      draft(id, "sleep", .set(.integer(Int64(random.number(0...10))))),
      draft(id, "anxiety", .set(.integer(Int64(random.number(0...10))))),
      draft(id, "emotions", .add(.text(emotions[random.number(0...emotions.count - 1)]))),
    ]
  }

  private static func journal(_ id: RecordID, _ random: inout SeededRandom) -> [Draft] {
    let titles = ["a walk by the river", "the phone call", "rain", "what went well"]
    let title = titles[random.number(0...titles.count - 1)]
    return [Draft(record: id, kind: "journal", field: "title", mutation: .set(.text(title)), lane: .ordinary)]
  }

  private static func draft(_ id: RecordID, _ field: String, _ mutation: Mutation) -> Draft {
    Draft(record: id, kind: "check-in", field: field, mutation: mutation, lane: .ordinary)
  }
}
