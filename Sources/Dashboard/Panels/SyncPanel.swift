import Causality
import Stores

/// How far changes have come: saved here, at the relay, on the other devices.
enum SyncPanel {
  static func lines(_ context: PanelContext) -> [Line] {
    let (snapshot, sync) = (context.snapshot, context.snapshot.sync)
    let others = max(0, snapshot.devices.count - 1)
    var lines = [
      Line([state(sync, context.glyphs)] + (sync.reason.isEmpty ? [] : [Span("  \(sync.reason)", .dim)]),
        right: [Span(Wording.ago(sync.lastExchange, now: context.wall), .dim)]),
      Line([
        Span("saved here "), Span("\(sync.saved)", .strong), Span(" \(context.glyphs.arrow) relay "),
        Span("\(sync.accepted)", sync.accepted < sync.saved ? .waiting : .good),
        Span(" \(context.glyphs.arrow) on "), Span("\(sync.confirmedOn)", sync.confirmedOn < others ? .waiting : .good),
        Span(" of \(others)"),
      ]),
      queue(sync),
      Line(
        [Span("up \(sync.batchesUp) batches, \(Wording.bytes(sync.bytesUp))", .dim)],
        right: [Span("down \(sync.batchesDown), \(Wording.bytes(sync.bytesDown))", .dim)]),
    ]
    let line = Wording.sparkline(context.traffic, columns: context.columns - 10, context.glyphs)
    if !line.isEmpty { lines.append(Line([Span("traffic  ", .dim), Span(line, .plotLow)])) }
    let epoch = sync.epoch.map { " epoch \(String($0, radix: 16).prefix(6))" } ?? ""
    lines.append(Line([Span("\(sync.relay)\(epoch)", .dim)]))
    if !sync.isExchanging { lines.append(Line("another program of this device exchanges", .dim)) }
    if sync.quarantined > 0 { lines.append(Line("\(sync.quarantined) from the future: kept until due", .waiting)) }
    if sync.damagedStreams > 0 { lines.append(Line("\(sync.damagedStreams) damaged streams on the relay", .bad)) }
    lines.append(Line([Span("state \(snapshot.stateHash.description.prefix(12))", .dim)], right: [Span("\(snapshot.operations) operations", .dim)]))
    // What matters stands first; the rest is for larger panels.
    return context.isZoomed ? lines : Array(lines.prefix(context.rows))
  }

  private static func state(_ sync: Snapshot.Sync, _ glyphs: Glyphs) -> Span {
    switch sync.state {
    case .starting: Span("\(glyphs.unknown) starting", .waiting)
    case .idle: Span("\(glyphs.here) up to date", .good)
    case .syncing: Span("\(glyphs.here) exchanging", .accent)
    case .waiting: Span("\(glyphs.away) waiting", .waiting)
    case .offline: Span("\(glyphs.warning) offline", .bad)
    }
  }

  private static func queue(_ sync: Snapshot.Sync) -> Line {
    let waiting = Lane.allCases.compactMap { lane in
      sync.pending[lane].flatMap { $0 > 0 ? "\(lane.name) \($0)" : nil }
    }
    return waiting.isEmpty ? Line("nothing waits in any lane", .dim) : Line([Span("waits: "), Span(waiting.joined(separator: ", "), .waiting)])
  }
}
