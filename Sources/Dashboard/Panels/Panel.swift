import Stores

/// The panels, in the order of their number keys.
package enum Panel: Int, Sendable, CaseIterable, Hashable {
  case sync, devices, crisis, sessions, conflicts, quota, guarantees, events

  package var title: String {
    switch self {
    case .sync: "Sync"
    case .devices: "Devices"
    case .crisis: "Crisis"
    case .sessions: "Sessions"
    case .conflicts: "Conflicts"
    case .quota: "Quota"
    case .guarantees: "Guarantees"
    case .events: "Events"
    }
  }
}

/// All a panel needs to draw itself. Equal contexts draw equal lines.
package struct PanelContext: Sendable {
  package var snapshot: Snapshot
  package var columns: Int
  package var rows: Int
  /// The selected entry; `nil` while another panel has the keys.
  package var selected: Int?
  package var glyphs: Glyphs
  /// Milliseconds since 1970.
  package var wall: UInt64
  package var filter = ""
  package var traffic: [UInt64] = []
  package var isZoomed = false
  /// A crisis was raised at this screen, whether the store shows it or not.
  package var isRaisedHere = false
  /// What was raised at this screen lies on this disk, whether the store has it or not.
  package var isRaisedOnDisk = false
  /// Why the store takes nothing now.
  package var obstacle: String?

  package init(snapshot: Snapshot, columns: Int, rows: Int, selected: Int?, glyphs: Glyphs, wall: UInt64) {
    (self.snapshot, self.columns, self.rows) = (snapshot, columns, rows)
    (self.selected, self.glyphs, self.wall) = (selected, glyphs, wall)
  }
}

extension Panel {
  /// What contains a filter; with `!` in front, what does not.
  static func matching<Entry>(_ entries: [Entry], _ filter: String, _ text: (Entry) -> String) -> [Entry] {
    guard !filter.isEmpty else { return entries }
    let isInverse = filter.hasPrefix("!")
    let words = (isInverse ? String(filter.dropFirst()) : filter).lowercased()
    return entries.filter { text($0).lowercased().contains(words) != isInverse }
  }

  /// The panel's content as lines.
  package func lines(_ context: PanelContext) -> [Line] {
    switch self {
    case .sync: SyncPanel.lines(context)
    case .devices: DevicesPanel.lines(context)
    case .crisis: CrisisPanel.lines(context)
    case .sessions: SessionsPanel.lines(context)
    case .conflicts: ConflictsPanel.lines(context)
    case .quota: QuotaPanel.lines(context)
    case .guarantees: GuaranteesPanel.lines(context)
    case .events: EventsPanel.lines(context)
    }
  }

  /// How many entries can be selected.
  ///
  /// - Parameter filter: What the list is narrowed to.
  package func count(in snapshot: Snapshot, _ filter: String) -> Int {
    switch self {
    case .devices: snapshot.devices.count
    case .sessions: snapshot.sessions.count
    case .conflicts: ConflictsPanel.matching(snapshot.conflicts, filter).count
    case .events: EventsPanel.matching(snapshot.events, filter).count
    case .guarantees: snapshot.guarantees.count
    case .sync, .crisis, .quota: 0
    }
  }
}
