import Causality
import Crisis

/// Crises of the last 90 days, from every write to the crisis record: what was resolved is no longer in
/// its state. (DOMAIN.md, *Crisis levels*.)
package struct CrisisHistory: Sendable, Hashable {
  package struct Entry: Sendable, Hashable {
    package var activation: OperationID
    package var level: CrisisLevel
    package var source: String
    /// Milliseconds since 1970, by the stamps of whoever wrote them.
    package var raised: UInt64
    /// The first resolution that had seen it, and its device.
    package var resolved: (at: UInt64, by: DeviceID)?
    /// When each device acknowledged it first.
    package var acknowledged: [DeviceID: UInt64] = [:]
    package var stages: Set<EscalationStage> = []
    /// Contacts who were told while this was active; the alert may be one that is counted with an earlier activation.
    package var informed: Set<RecordID> = []
    /// Those whose alert is counted here: each is counted once.
    package var told: Set<RecordID> = []
    /// Whether the stamp of its beginning can be right, as far as this clock can say.
    package fileprivate(set) var isDated = true
    /// Minutes until it was resolved; `nil` where it is not, or where the stamps cannot be by one clock.
    package fileprivate(set) var minutes: UInt64?

    package static func == (one: Self, other: Self) -> Bool {
      one.activation == other.activation && one.acknowledged == other.acknowledged && one.stages == other.stages
        && one.informed == other.informed && one.told == other.told && one.minutes == other.minutes && one.isDated == other.isDated
        && one.resolved?.at == other.resolved?.at && one.resolved?.by == other.resolved?.by
    }
    package func hash(into hasher: inout Hasher) { hasher.combine(activation) }
  }

  /// Newest first.
  package private(set) var entries: [Entry]

  package static let days: UInt64 = 90
  private static let day: UInt64 = 86_400_000
  /// Milliseconds since 1970 at the beginning of 2020: no stamp of an account can be from before that.
  private static let earliest: UInt64 = 1_577_836_800_000
  /// Days for which a crisis may last by stamps of which one cannot be right: both are wrong alike.
  private static let doubtedDays: UInt64 = 7

  /// Whether a stamp can be right for whoever reads it by this clock; one that is itself from before the beginning says nothing
  /// about the past.
  private static func isPossible(_ stamp: UInt64, wall: UInt64) -> Bool {
    (stamp >= earliest || wall < earliest) && stamp <= wall + day
  }

  /// - Parameters:
  ///   - writes: Every write to the record, in any order.
  ///   - wall: Now, in milliseconds since 1970.
  package init(_ writes: [Operation], wall: UInt64) {
    var entries: [OperationID: Entry] = [:]
    for write in writes where write.field == "active" {
      guard let activation = CrisisState.Activation(write) else { continue }
      entries[write.id] = Entry(
        activation: write.id, level: activation.level, source: activation.source, raised: write.timestamp.milliseconds)
    }
    for write in writes.sorted(by: { ($0.timestamp, $0.id) < ($1.timestamp, $1.id) }) {
      let at = write.timestamp.milliseconds
      if write.field == "active" {
        for id in write.replaces where entries[id] != nil && entries[id]?.resolved == nil {
          entries[id]?.resolved = (at, write.id.stream.device)
        }
      }
      guard case .add(.text(let text)) = write.mutation, let (id, rest) = CrisisEntry.read(text) else { continue }
      switch write.field {
      case "acknowledged":
        if entries[id]?.acknowledged[write.id.stream.device] == nil { entries[id]?.acknowledged[write.id.stream.device] = at }
      case "escalated":
        if let stage = Int(rest).flatMap(EscalationStage.init(rawValue:)) { entries[id]?.stages.insert(stage) }
      case "told":
        // Mild tells nobody: it is noted of whatever was active then.
        guard let contact = RecordID(rest), let entry = entries[id], entry.level >= .severe else { break }
        entries[id]?.informed.insert(contact)
        // An event goes on as long as anything is active: one alert is about all of it.
        let isCounted = entries.contains { $0.key != id && $0.value.resolved == nil && $0.value.told.contains(contact) }
        if !isCounted { entries[id]?.told.insert(contact) }
      default: break
      }
    }
    for (id, entry) in entries {
      let isDated = Self.isPossible(entry.raised, wall: wall)
      entries[id]?.isDated = isDated
      guard let end = entry.resolved?.at, end >= entry.raised else { continue }
      let isDoubted = !isDated || !Self.isPossible(end, wall: wall)
      if !isDoubted || end - entry.raised <= Self.doubtedDays * Self.day { entries[id]?.minutes = (end - entry.raised) / 60_000 }
    }
    let since = wall > Self.days * Self.day ? wall - Self.days * Self.day : 0
    // What is not resolved is never too old to be seen, and neither is what ended since, or has no date that can be right.
    self.entries = entries.values
      .filter { $0.raised >= since || $0.resolved.map { $0.at >= since } ?? true || !$0.isDated }
      .sorted { ($0.raised, $0.activation) > ($1.raised, $1.activation) }
  }
}
