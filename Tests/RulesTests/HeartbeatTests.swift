import Causality
import Replica
import Testing
import Therapy

/// A replica whose relay is four numbers: what it does when nobody tells it anything.
@Suite("Heartbeat")
struct HeartbeatTests {
  private static let own = BlindTag(high: 1, low: 1)
  private static let other = BlindTag(high: 2, low: 2)
  private static let ordinary = Channel(.ordinary)
  private static let mine = RelayStream(tag: own, channel: ordinary)
  private static let theirs = RelayStream(tag: other, channel: ordinary)

  private var random = SeededRandom(seed: 1)
  private var replica: Replica
  private var seconds = 1.0
  /// What the store has made, and where the stream of this device ends on the relay.
  private var made = OwnProgress(saved: 3, batched: 3, position: 3)
  private var end = RelayPosition(generation: 7, offset: 30)
  private var wake: UInt64 = 0

  init() {
    let now = Moment(wall: 1, uptime: 1_000_000_000)
    let device = DeviceID(high: 1, low: 1)
    let report = OwnReport(progress: [Self.ordinary: made], openLives: 0)
    let beginning = Replica.Beginning(members: [Self.own: device, Self.other: DeviceID(high: 2, low: 2)], own: report, heads: [:])
    replica = Replica(device: device, beginning, now: now)
  }

  private var report: OwnReport { OwnReport(progress: [Self.ordinary: made], openLives: 0) }
  private func sent(_ channel: Channel) -> SentThrough {
    channel == Self.ordinary ? SentThrough(position: made.position, operations: made.batched, end: end) : SentThrough(position: 0, operations: 0, end: .start)
  }

  /// Answers what the replica asks until it rests.
  ///
  /// - Returns: What it asked, in order.
  private mutating func follow(_ event: ReplicaEvent) -> [ReplicaEffect] {
    var (events, asked) = ([event], [ReplicaEffect]())
    while !events.isEmpty {
      for effect in replica.handle(events.removeFirst(), now: Moment(wall: 1, uptime: UInt64(seconds * 1e9)), using: &random) {
        switch effect {
        case .wake(let at): wake = at
        case .report: break
        default: asked.append(effect)
        }
        switch effect {
        case .survey: events.append(.surveyed(.init(identity: 5, streams: [Self.mine, Self.theirs], ownEnds: [Self.mine: end], presences: [])))
        case .reconcile(let channel, _, _, _):
          events.append(.reconciled(channel, sent(channel), healed: false, sent: .init(), taken: nil))
        case .read(let stream, let from):
          events.append(.read(stream, from: from, RelayChunk(frames: [], positions: [from], isAtEnd: true, isDamaged: false)))
        case .writePresence: events.append(.wrotePresence(report))
        case .cut(let lane, _):
          (made.batched, made.position) = (made.saved, made.saved)
          events.append(.cut(lane, report))
        case .append(let channel, _, _):
          end.offset += 10
          events.append(.appended(channel, sent(channel), sent: .init()))
        case .audit(let stream, _): events.append(.audited(stream, []))
        default: break
        }
      }
    }
    return asked
  }

  @Test("the relay is looked through once in 30 s, and what others wrote is read although nobody told")
  mutating func others() {
    _ = follow(.timer)
    seconds = 20
    #expect(follow(.timer) == [], "not before it is time")
    seconds = 40
    let asked = follow(.timer)
    #expect(asked.count { $0 == .survey } == 1 && asked.contains { if case .read(Self.theirs, _) = $0 { true } else { false } })
    #expect(!asked.contains { if case .reconcile = $0 { true } else { false } }, "the own stream ends where it was left")
    #expect(wake == UInt64(70e9), "one wake-up for the presence and the look")
  }

  @Test("it is looked through although something is said all the time")
  mutating func busy() {
    _ = follow(.timer)
    var looks = 0
    for second in 2...100 {
      seconds = Double(second)
      made.saved += 1
      looks += follow(.committed(report)).count { $0 == .survey } + follow(.timer).count { $0 == .survey }
    }
    #expect(looks == 3)
  }

  @Test("an own stream that ends elsewhere is compared; what was saved without a word is sent")
  mutating func own() {
    _ = follow(.timer)
    end.offset = 10
    seconds = 40
    #expect(follow(.timer).contains { if case .reconcile(Self.ordinary, _, 3, _) = $0 { true } else { false } }, "a backup was restored")
    made.saved = 5
    seconds = 80
    let asked = follow(.timer)
    #expect(asked.contains(.cut(.ordinary, counted: true)) && asked.contains(.append(Self.ordinary, after: 3, operations: 3)))
  }
}
