import Causality
import Stores

/// How far changes have come: saved here, at the relay, on the other devices.
enum SyncPanel {
  static func lines(_ context: PanelContext) -> [Line] {
    let (snapshot, sync) = (context.snapshot, context.snapshot.sync)
    let status = sync.status
    var lines = [
      Line([state(sync, context.glyphs)] + (sync.reason.isEmpty || context.isZoomed ? [] : [Span("  \(sync.reason)", .dim)]),
        right: [Span(Wording.ago(status.lastExchange, now: context.wall), .dim)])
    ]
    // What to do about it is read in the large panel.
    if context.isZoomed { lines += CellText.wrap(CellText.clean(sync.reason), context.columns).filter { !$0.isEmpty }.map { Line($0) } }
    lines += [
      Line([
        Span("saved here "), Span("\(sync.saved)", .strong), Span(" \(context.glyphs.arrow) relay "),
        Span("\(sync.accepted)", sync.accepted < sync.saved ? .waiting : .good),
        Span(" \(context.glyphs.arrow) on "), Span("\(sync.confirmedOn)", sync.confirmedOn < sync.others ? .waiting : .good),
        Span(" of \(sync.others)"),
      ]),
    ]
    lines += missing(snapshot)
    // What is wrong stands above what is usual: a small panel ends early.
    if sync.quarantined > 0 { lines.append(Line("\(sync.quarantined) from the future: kept, not shown until due", .waiting)) }
    if !status.clocks.isEmpty { lines.append(Line(CellText.clean(status.clocks), .waiting)) }
    if let closed = sync.closedLife, context.isZoomed { lines += CellText.wrap(PutBack.words(closed: closed), context.columns).map { Line($0) } }
    if status.livingCopies > 0 { lines.append(Line("this home is used in several places", .bad)) }
    if status.damagedStreams > 0 { lines.append(Line("\(status.damagedStreams) damaged files on the relay", .bad)) }
    if let obstacle = context.obstacle {
      lines.append(Line("the store takes nothing now: \(CellText.clean(obstacle))", .waiting))
    } else if status.failingStreams > 0 {
      lines.append(Line("\(status.failingStreams) \(status.failingStreams == 1 ? "file" : "files") of others cannot be taken in now", .waiting))
    }
    lines += [
      queue(sync),
      Line(
        [Span("up \(sync.batchesUp) batches, \(Wording.bytes(sync.bytesUp))", .dim)],
        right: [Span("down \(sync.batchesDown), \(Wording.bytes(sync.bytesDown))", .dim)]),
    ]
    let line = Wording.sparkline(context.traffic, columns: context.columns - 10, context.glyphs)
    if !line.isEmpty { lines.append(Line([Span("traffic  ", .dim), Span(line, .plotLow)])) }
    let identity = status.relayIdentity.map { " \(String($0, radix: 16).prefix(6))" } ?? ""
    lines.append(Line([Span("\(sync.relay)\(identity)", .dim)]))
    if !sync.isExchanging { lines.append(Line(status.state == .resting ? "no program of this device exchanges" : "another program of this device exchanges", .dim)) }
    lines.append(Line([Span("state \(snapshot.stateHash.description.prefix(12))", .dim)], right: [Span("\(snapshot.operations) operations", .dim)]))
    // What matters stands first; the rest is for larger panels.
    return context.isZoomed ? lines : Array(lines.prefix(context.rows))
  }

  /// What others have signed for and the relay does not have.
  private static func missing(_ snapshot: Snapshot) -> [Line] {
    snapshot.sync.status.missing.map { entry in
      func name(_ id: String) -> String { snapshot.devices.first { $0.id.description == id }.map { CellText.clean($0.name) } ?? "a device" }
      let count = max(1, entry.count)
      return Line(
        "\(entry.isCrisis ? "ABOUT A CRISIS: " : "")missing here: \(count) of \(name(entry.device)), which \(name(entry.saidBy)) has", entry.isCrisis ? .critical : .waiting)
    }
  }

  private static func state(_ sync: Snapshot.Sync, _ glyphs: Glyphs) -> Span {
    let word = sync.state.word
    return switch sync.state {
    case .starting: Span("\(glyphs.unknown) \(word)", .waiting)
    case .upToDate: Span("\(glyphs.here) \(word)", .good)
    case .exchanging: Span("\(glyphs.here) \(word)", .accent)
    case .waiting, .resting: Span("\(glyphs.away) \(word)", .waiting)
    case .incomplete: Span("\(glyphs.warning) \(word)", .waiting)
    case .offline, .strange: Span("\(glyphs.warning) \(word)", .bad)
    }
  }

  private static func queue(_ sync: Snapshot.Sync) -> Line {
    let waiting = Lane.allCases.compactMap { lane in
      sync.pending[lane].flatMap { $0 > 0 ? "\(lane.name) \($0)" : nil }
    }
    if !waiting.isEmpty { return Line([Span("waits: "), Span(waiting.joined(separator: ", "), .waiting)]) }
    guard sync.saved > sync.accepted else { return Line("nothing waits in any lane", .dim) }
    return Line([Span("waits for the relay: "), Span("\(sync.saved - sync.accepted)", .waiting)])
  }
}
