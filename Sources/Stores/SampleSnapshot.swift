import Causality
import ConflictResolution
import Crisis
import Replica
import Therapy

extension Snapshot {
  /// A made-up household, for picture tests and benchmarks: equal for equal arguments.
  package static func sample(deviceCount: Int = 5, eventCount: Int = 50) -> Snapshot {
    var random = SeededRandom(seed: 1)
    let devices = ["laptop", "phone", "tablet", "desktop", "watch"].prefix(deviceCount).enumerated().map { number, name in
      Device(
        id: DeviceID(using: &random), name: name, kind: name, isThisOne: number == 0, isHeardOf: true, presence: number < 3 ? .here : .away,
        heard: sampleWall - UInt64(number) * 60_000, behind: number == 0 ? 0 : UInt64(number) * 4, heldBack: 0, roundTrip: number == 0 ? nil : 3_000_000,
        isSameState: nil)
    }
    let events = (0..<eventCount).map { number in
      Event(number: number, wall: sampleWall + UInt64(number) * 1_000, weight: .quiet, text: "\(number) changes from phone in 2 × check-in")
    }
    return Snapshot(
      moment: Moment(wall: sampleWall, uptime: 1), account: "abcdefgh", device: devices[0].id, devices: devices,
      sync: Sync(
        status: sampleStatus, relay: "folder:/somewhere", isExchanging: true, pending: [:], saved: 10_000, accepted: 10_000,
        confirmedOn: deviceCount - 1, others: deviceCount - 1, batchesUp: 10, batchesDown: 12, bytesUp: 1_000,
        bytesDown: 2_048, quarantined: 0),
      crisis: CrisisStatus(level: .none, since: nil, source: "", receipts: []), conflicts: [sampleConflict(&random)],
      conflictCount: 1, oldestConflict: sampleWall - 5_000, sessions: [sampleSession(&random)], quota: Quota(tier: .selfHosted, used: 3, deviceCount: deviceCount),
      guarantees: Measurements().rows, events: events, stateHash: StateHash(), operations: 10_000)
  }

  /// Milliseconds since 1970.
  package static let sampleWall: UInt64 = 1_790_000_000_000

  private static var sampleStatus: ExchangeStatus {
    var status = ExchangeStatus(state: .upToDate)
    (status.relayIdentity, status.lastExchange) = (0xABCDEF, sampleWall - 3_000)
    return status
  }

  private static func sampleConflict(_ random: inout SeededRandom) -> Conflict {
    let versions = [("3", "laptop"), ("0", "phone")].enumerated().map { index, version in
      let stream = StreamID(device: DeviceID(using: &random), incarnation: Incarnation(rawValue: 1), lane: .assessment)
      return Conflict.Version(
        id: OperationID(stream: stream, sequence: 1, mark: 0), value: version.0, device: version.1, timestamp: sampleWall - 5_000,
        isChosen: index == 0)
    }
    let rule = ConflictRule.rule(kind: "assessment", field: "item9")
    return Conflict(
      record: RecordID(using: &random), kind: "assessment", title: "Assessment: phq9", field: "item9",
      type: rule.type.rawValue, impact: rule.impact, urgency: rule.urgency.rawValue, area: rule.area.rawValue,
      happened: "Two devices wrote this apart from each other.",
      meanwhile: "The one that stands for more risk is shown until you decide.", why: rule.why, versions: versions,
      canKeepBoth: false)
  }

  private static func sampleSession(_ random: inout SeededRandom) -> Session {
    Session(
      id: RecordID(using: &random), type: "breathing", phase: "running", owner: "phone", isOwn: false, offeredTo: nil,
      elapsed: 67, seconds: 180, stage: "gathering", written: sampleWall)
  }

  /// The same with a crisis raised two seconds before.
  package func inCrisis(_ level: CrisisLevel = .severe) -> Snapshot {
    var snapshot = self
    snapshot.crisis = CrisisStatus(
      level: level, since: moment.wall - 2_000, source: "phone",
      receipts: [CrisisStatus.Receipt(device: "phone", hasIt: true, after: 4_200_000), CrisisStatus.Receipt(device: "watch", hasIt: false, after: nil)])
    return snapshot
  }
}
