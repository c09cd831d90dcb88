import ArgumentParser
import Causality
import Crisis
import Foundation
import Replica
import Storage
import Stores
import Therapy

/// `fullmind status`: everything the dashboard shows, once; never needs a terminal.
struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Print what the dashboard shows, once.")
  @OptionGroup var location: Location
  @OptionGroup var output: OutputOptions

  func run() throws {
    try Output.reporting(asJSON: output.json) { try Self.show(location, asJSON: output.json) }
  }

  static func show(_ location: Location, asJSON json: Bool) throws {
    do {
      let snapshot = try StatusReport.snapshot(location)
      if json { try Output.json(StatusReport(snapshot)) } else { Output.write(StatusText.text(snapshot)) }
    } catch StorageError.noStore(let path) {
      try welcome(path, asJSON: json)
    }
  }

  /// A newcomer's status is a welcome, not an error.
  private static func welcome(_ path: String, asJSON json: Bool) throws {
    if json { return try Output.json(["store": "none"]) }
    Output.write(
      """
      There is no store in \(path). If one was there, its drive is not mounted or --home names
      another folder; otherwise choose one:

        fullmind init --device NAME     start an account on this device
        fullmind join CODE --device NAME --relay folder:PATH
                                        join with a code from another device
        fullmind demo                   look at a living household first
        fullmind crisis card            help lines, always

      """)
  }
}

/// The documented object of `status --json`.
struct StatusReport: Encodable {
  struct Device: Encodable {
    var id, name, kind, presence: String
    var thisDevice: Bool
    /// Whether anything was ever heard of it.
    var heardOf: Bool
    /// Absent while it has said nothing.
    var behind: UInt64?
    var roundTrip_ms: Double?
    var lastHeard_ms: UInt64?

    init(_ device: Snapshot.Device) {
      (id, name, kind) = (device.id.description, device.name, device.kind)
      (presence, thisDevice, heardOf, behind) = (device.presence.rawValue, device.isThisOne, device.isHeardOf, device.behind)
      roundTrip_ms = device.roundTrip.map { Double($0 / 1_000) / 1_000 }
      lastHeard_ms = device.heard
    }
  }
  struct Sync: Encodable {
    var state, relay: String
    var pending: Int
    var savedHere, acceptedByRelay: UInt64
    /// Other devices that have all of it, of those that were heard of.
    var confirmedOn, others: Int
    var quarantined: Int
    var lanes: [String: Int]
    var reason, code: String
    var missing: [ExchangeStatus.Missing]
    var damagedFiles, failingFiles, livingCopies: Int
    /// Absent where this home was not put back or copied in the last days.
    var closedLife_ms: UInt64?
    var clocks: String

    init(_ sync: Snapshot.Sync) {
      (state, relay, quarantined) = (sync.state.rawValue, sync.relay, sync.quarantined)
      pending = Int(sync.saved - min(sync.saved, sync.accepted))
      (savedHere, acceptedByRelay, confirmedOn, others) = (sync.saved, sync.accepted, sync.confirmedOn, sync.others)
      let status = sync.status
      (reason, code, missing, clocks) = (status.reason, status.code, status.missing, status.clocks)
      (damagedFiles, failingFiles, livingCopies) = (status.damagedStreams, status.failingStreams, status.livingCopies)
      closedLife_ms = sync.closedLife
      lanes = Dictionary(uniqueKeysWithValues: Lane.allCases.map { ($0.name, sync.pending[$0] ?? 0) })
    }
  }
  struct Crisis: Encodable { var level: String; var active: Bool; var since: UInt64? }
  struct Conflicts: Encodable {
    var open: Int
    var detected, churn, asked: UInt64
    var settled: [String: UInt64]
    var oldestOpen_ms: UInt64?
    struct Decided: Encodable { var name: String; var made, takenBack: Int }
    var decidedBy, decidedIn: [Decided]
    var recommendationFollowed, recommendationNotFollowed: Int
    /// How long people took.
    var decidedAfter_ms: [String: UInt64]
    var settling: [Guarantee]

    init(_ snapshot: Snapshot) {
      let tally = snapshot.conflictTally
      (open, detected, churn, asked) = (snapshot.conflictCount, tally.detected, tally.churn, tally.asked)
      settled = Dictionary(uniqueKeysWithValues: tally.settled.map { ($0.key.rawValue, $0.value) })
      let decisions = snapshot.decisions
      (decidedBy, decidedIn) = (decisions.methods.map(Self.decided), decisions.types.map(Self.decided))
      (recommendationFollowed, recommendationNotFollowed) = (decisions.agreed, decisions.disagreed)
      decidedAfter_ms = ["p50": decisions.p50, "p95": decisions.p95, "p99": decisions.p99, "max": decisions.max].compactMapValues { $0 }
      settling = snapshot.settling.filter { $0.count > 0 }.map(Guarantee.init)
      oldestOpen_ms = snapshot.oldestConflict.map { snapshot.moment.wall > $0 ? snapshot.moment.wall - $0 : 0 }
    }

    private static func decided(_ row: DecisionTally.Report.Row) -> Decided { Decided(name: row.name, made: row.made, takenBack: row.takenBack) }
  }
  struct Quota: Encodable { var tier: String; var used: Int; var limit: Int?; var percent: Int }
  struct Guarantee: Encodable {
    var operation, mode: String
    var count: Int
    var p50_ms, p95_ms, p99_ms, max_ms: Double?
    var target_ms: Double
    var violations: Int

    init(_ row: GuaranteeRow) {
      (operation, mode, count) = (row.operation.rawValue, row.mode.rawValue, row.count)
      (p50_ms, p95_ms, p99_ms, max_ms) = (row.p50, row.p95, row.p99, row.max)
      (target_ms, violations) = (row.target, row.violations)
    }
  }
  var account, device: String
  var devices: [Device]
  var sync: Sync
  var crisis: Crisis
  var conflicts: Conflicts
  var quota: Quota
  var guarantees, crisisPath: [Guarantee]
  var operations: UInt64
  var stateHash: String

  init(_ snapshot: Snapshot) {
    (account, device) = (snapshot.account, snapshot.device.description)
    devices = snapshot.devices.map(Device.init)
    sync = Sync(snapshot.sync)
    crisis = Crisis(
      level: snapshot.isCrisisUnknown || snapshot.hasLookedAtCrisis == false ? "unknown" : snapshot.crisis.level.name, active: snapshot.crisis.isActive, since: snapshot.crisis.since)
    conflicts = Conflicts(snapshot)
    quota = Quota(
      tier: snapshot.quota.tier.name, used: snapshot.quota.used, limit: snapshot.quota.tier.operationsPerDay,
      percent: snapshot.quota.percent)
    (guarantees, crisisPath) = (snapshot.guarantees.map(Guarantee.init), snapshot.crisisPath.map(Guarantee.init))
    (operations, stateHash) = (snapshot.operations, snapshot.stateHash.description)
  }

  static func snapshot(_ location: Location) throws -> Snapshot {
    let store = try location.openStore()
    let relay = try location.relayLocation(store).description
    let look = CrisisReport.look(location, store)
    var snapshot = try SnapshotBuilder.fromStore(store, relay: relay, beside: CrisisReport.beside(look, store), sent: look.sent)
    snapshot.hasLookedAtCrisis = look.isAll
    snapshot.sync.status.note(look.missingAboutCrises)
    return snapshot
  }

  /// Finds a device by its name or the beginning of its id.
  ///
  /// - Throws: ``InputError``.
  static func device(named name: String, in store: Store) throws -> DeviceID {
    let devices = try SnapshotBuilder.fromStore(store, relay: "").devices
    let exact = devices.filter { $0.name == name }
    let found = exact.isEmpty ? devices.filter { $0.id.description.hasPrefix(name.lowercased()) } : exact
    guard let device = found.first else { throw InputError.unknownDevice }
    guard found.count == 1 else { throw InputError.ambiguous("device") }
    return device.id
  }
}

/// The same in words, for people and screen readers.
enum StatusText {
  static func text(_ snapshot: Snapshot) -> String {
    var lines = [String]()
    if snapshot.crisis.isActive {
      lines += ["CRISIS: \(snapshot.crisis.level.name), raised on \(snapshot.crisis.source). Help: `fullmind crisis card`.", ""].map(Invocation.here)
    }
    let sync = snapshot.sync
    lines += [
      "Account \(snapshot.account)   state \(snapshot.stateHash.description.prefix(12))",
      "Sync: \(sync.state.word)\(sync.reason.isEmpty ? "" : " — \(Invocation.here(sync.reason))")",
      "  saved here \(sync.saved) · at the relay \(sync.accepted) · on \(sync.confirmedOn) of \(sync.others) other devices",
    ]
    lines += attention(snapshot).map { "  \(Invocation.here($0))" }
    lines += ["  relay \(sync.relay)", "Devices:"]
    lines += devices(snapshot).map { "  " + $0 }
    lines.append("Crisis: \(snapshot.crisis.level.name)\(doubt(snapshot))")
    lines.append("Conflicts open: \(snapshot.conflictCount)")
    lines.append("Quota: \(QuotaCommand.text(snapshot.quota))")
    let running = snapshot.sessions.filter { $0.phase == "running" || $0.phase == "paused" }
    lines.append("Sessions: \(running.isEmpty ? "none" : "")")
    lines += running.map { "  \($0.type) \($0.phase) on \($0.owner), \(Int($0.elapsed)) of \(Int($0.seconds)) s" }
    lines.append("Guarantees (ms):")
    lines += snapshot.guarantees.filter { $0.count > 0 }.map(guarantee)
    return lines.joined(separator: "\n") + "\n"
  }

  static func devices(_ snapshot: Snapshot) -> [String] {
    snapshot.devices.map { device in
      let trip = device.roundTrip.map { ", round trip \(milliseconds(Double($0) / 1e6)) ms" } ?? ""
      let behind = progress(device, snapshot.sync.status.missing)
      return "\(device.name) (\(device.kind)) \(device.presence.rawValue), \(behind)\(trip)   \(device.id)"
    }
  }

  /// What is not known of the crisis.
  private static func doubt(_ snapshot: Snapshot) -> String {
    if snapshot.isCrisisUnknown { return " known here; what other devices raised is not known" }
    return snapshot.hasLookedAtCrisis == false ? ", as far as this device knows; whether it is over elsewhere is not known" : ""
  }

  private static func progress(_ device: Snapshot.Device, _ missing: [ExchangeStatus.Missing]) -> String {
    if device.isThisOne { return "this device" }
    guard device.isHeardOf else { return "not heard of yet" }
    let lacking = missing.filter { $0.device == device.id.description }
    if !lacking.isEmpty { return "\(lacking.reduce(0) { $0 + max(1, $1.count) }) of it missing here" }
    guard let behind = device.behind else { return "has said nothing yet" }
    if behind > 0 { return "\(behind) behind" }
    return device.heldBack > 0 ? "has everything, and keeps some until it is due" : "up to date"
  }

  /// What is not as it should be.
  private static func attention(_ snapshot: Snapshot) -> [String] {
    let (sync, status) = (snapshot.sync, snapshot.sync.status)
    func name(_ id: String) -> String { snapshot.devices.first { $0.id.description == id }?.name ?? "a device" }
    var lines = status.missing.map { entry in
      "\(entry.isCrisis ? "ABOUT A CRISIS: " : "")missing here: \(max(1, entry.count)) of \(name(entry.device)), which \(name(entry.saidBy)) has and the relay does not"
    }
    let waiting = snapshot.crisis.isActive ? snapshot.crisis.tellings.filter(\.state.isDue).map(\.name) : []
    if !waiting.isEmpty { lines.append("\(waiting.joined(separator: ", ")) \(waiting.count == 1 ? "has" : "have") not been told of the crisis: `fullmind sync` does it now, if the relay can be reached; else please call") }
    if sync.quarantined > 0 { lines.append("\(sync.quarantined) from the future: kept, not shown until due") }
    if !status.clocks.isEmpty { lines.append(status.clocks) }
    if let closed = sync.closedLife { lines.append(PutBack.words(closed: closed)) }
    if status.livingCopies > 0 { lines.append("this home is used in several places: use it in one, and join the others as devices of their own") }
    if status.damagedStreams > 0 { lines.append("\(status.damagedStreams) damaged files on the relay: nothing was taken from the damage") }
    if status.failingStreams > 0 { lines.append("\(status.failingStreams) files of other devices cannot be read now") }
    return lines
  }

  private static func guarantee(_ row: GuaranteeRow) -> String {
    "  \(row.operation.rawValue) (\(row.mode.rawValue)): p50 \(milliseconds(row.p50)) p95 \(milliseconds(row.p95)) "
      + "p99 \(milliseconds(row.p99)) max \(milliseconds(row.max)), target \(Int(row.target)), "
      + "\(row.count) measured, \(row.violations) over"
  }

  static func milliseconds(_ value: Double?) -> String {
    guard let value else { return "–" }
    return value < 10 ? String(format: "%.2f", value) : String(format: "%.0f", value)
  }
}

/// `fullmind quota`: what was used today.
struct QuotaCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "quota", abstract: "Show what was used today.")
  @OptionGroup var location: Location
  @OptionGroup var output: OutputOptions

  func run() throws {
    try Output.reporting(asJSON: output.json) {
      let quota = try StatusReport.snapshot(location).quota
      if output.json {
        try Output.json(
          StatusReport.Quota(
            tier: quota.tier.name, used: quota.used, limit: quota.tier.operationsPerDay, percent: quota.percent))
      } else {
        Output.line(Self.text(quota))
      }
    }
  }

  static func text(_ quota: Snapshot.Quota) -> String {
    let limit = quota.tier.operationsPerDay.map { " of \($0) (\(quota.percent) %)" } ?? ", not limited"
    return "\(quota.tier.name): \(quota.used) sync operations today\(limit), \(quota.deviceCount) of \(quota.tier.devices) devices"
  }
}
