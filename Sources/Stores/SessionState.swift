import Causality
import ConflictResolution
import Therapy

/// One practice or assessment session, as a view of its record.
///
/// One device owns a session at a time. Handing it over is an offer that the target takes up with a
/// higher fencing number; whoever holds a lower one has lost it, however late that is noticed.
package struct SessionState: Sendable, Hashable {
  package enum Phase: String, Sendable { case running, paused, finished, abandoned }

  package var id: RecordID
  package var type: String
  package var phase: Phase
  package var owner: DeviceID?
  /// The device it is offered to, who offered it, and when by the offerer's clock.
  package struct Offer: Sendable, Hashable {
    package var device: DeviceID
    package var writer: DeviceID
    package var timestamp: Timestamp
  }
  package private(set) var offer: Offer?
  package var fence: Int64
  /// Seconds done when it was last written.
  package var elapsed: Double
  /// When that was.
  package var written: Timestamp
  /// How often it was taken up again, on whichever device.
  package var resumed: Int64
  package var started: Timestamp

  /// How long an offer stands. (PROTOCOL.md, *Handoff*.)
  package static let offerLife: UInt64 = 120_000

  /// `nil` when the record is no session.
  package init?(_ record: RecordState) {
    guard record.isVisible, record.kind == RecordCatalogue.session.kind, let type = record.text("type") else { return nil }
    id = record.id
    self.type = type
    phase = record.text("state").flatMap(Phase.init(rawValue:)) ?? .running
    owner = record.text("owner").flatMap { DeviceID($0) }
    if let chosen = record.view("offered").chosen, case .text(let text)? = chosen.value, let device = DeviceID(text) {
      offer = Offer(device: device, writer: chosen.id.stream.device, timestamp: chosen.timestamp)
    }
    fence = record.integer("fence") ?? 0
    elapsed = record.decimal("elapsed") ?? 0
    // Going on after a pause, or on another device, begins where the time was left.
    resumed = record.view("resumed").sum
    written = ["elapsed", "state"].compactMap { record.view($0).chosen?.timestamp }.max() ?? .zero
    started = record.fields.flatMap(\.dots).map(\.timestamp).min() ?? .zero
  }

  package var practice: Practice? { Practice.all.first { $0.name == type } }

  package var isOpen: Bool { phase == .running || phase == .paused }

  /// Share done, from 0 to 1.
  package func progress(elapsed: Double) -> Double {
    practice.map { min(1, elapsed / $0.seconds) } ?? 0
  }

  /// Seconds done by now, as far as that is known: between two writes a running session goes on, and after a minute
  /// without one nobody knows.
  ///
  /// - Parameter wall: Milliseconds since 1970.
  package func elapsed(at wall: UInt64) -> Double {
    guard let total = practice?.seconds, phase == .running, wall > written.milliseconds else { return elapsed }
    let since = wall - written.milliseconds
    return since < 60_000 ? max(elapsed, min(total, elapsed + Double(since) / 1_000)) : elapsed
  }

  // MARK: The writes that change it

  package static func start(_ type: String, owner: DeviceID, id: RecordID) -> [Draft] {
    [
      draft(id, "type", .text(type)), draft(id, "state", .text(Phase.running.rawValue)),
      draft(id, "owner", .text(owner.description)), draft(id, "fence", .integer(1)),
      draft(id, "elapsed", .decimal(0)),
    ]
  }

  /// Seconds are kept to the millisecond.
  package func progressed(to elapsed: Double, phase: Phase? = nil) -> [Draft] {
    var drafts = [Draft]()
    let elapsed = (elapsed * 1_000).rounded() / 1_000
    if elapsed > self.elapsed { drafts.append(Self.draft(id, "elapsed", .decimal(elapsed))) }
    if let phase, phase != self.phase { drafts.append(Self.draft(id, "state", .text(phase.rawValue))) }
    if phase == .running, self.phase == .paused {
      drafts.append(
        Draft(
          record: id, kind: RecordCatalogue.session.kind, field: "resumed", mutation: .add(.integer(1)),
          lane: RecordCatalogue.session.lane, replaces: []))
    }
    return drafts
  }

  package func offering(to device: DeviceID, elapsed: Double) -> [Draft] {
    progressed(to: elapsed) + [Self.draft(id, "offered", .text(device.description))]
  }

  /// The target's receipt: written durably before the session is shown there.
  package func taking(by device: DeviceID) -> [Draft] {
    [
      Self.draft(id, "owner", .text(device.description)), Self.draft(id, "fence", .integer(fence + 1)),
      Self.draft(id, "offered", .text("")), Self.draft(id, "state", .text(Phase.running.rawValue)),
    ]
  }

  /// Whether this device should take it up now.
  package func isOffered(to device: DeviceID, wall: UInt64) -> Bool {
    guard let offer, offer.device == device, owner != device, isOpen else { return false }
    // A clock that is behind must not make an offer eternal, nor one ahead refuse it at once.
    let age = wall > offer.timestamp.milliseconds ? wall - offer.timestamp.milliseconds : 0
    return age <= Self.offerLife
  }

  private static func draft(_ id: RecordID, _ field: String, _ value: Value) -> Draft {
    Draft(
      record: id, kind: RecordCatalogue.session.kind, field: field, mutation: .set(value),
      lane: RecordCatalogue.session.lane)
  }
}
