import Replica
import Stores

/// The devices of the account: presence, round trip, and how far each has caught up.
enum DevicesPanel {
  static func lines(_ context: PanelContext) -> [Line] {
    context.snapshot.devices.enumerated().flatMap { index, device in
      var lines = [line(device, context, isSelected: index == context.selected)]
      if context.isZoomed { lines.append(detail(device, context)) }
      return lines
    }
  }

  /// Presence and progress are said in words as well as by colour.
  private static func line(_ device: Snapshot.Device, _ context: PanelContext, isSelected: Bool) -> Line {
    let (mark, role): (String, Role) =
      switch device.presence {
      case .here: (context.glyphs.here, .good)
      case .away: (context.glyphs.away, .dim)
      case .unknown: (context.glyphs.unknown, .dim)
      }
    let progress = progress(device)
    let trip = device.roundTrip.map { Span("\(Wording.duration(nanoseconds: $0))  ", .dim) }
    let presence = device.isThisOne ? "" : " \(device.presence == .here ? "here" : Wording.ago(device.heard, now: context.wall))"
    return Line(
      [Span("\(mark) ", role), Span(CellText.clean(device.name), .strong), Span(presence, .dim)],
      right: [trip, progress].compactMap { $0 }, isSelected: isSelected)
  }

  private static func progress(_ device: Snapshot.Device) -> Span {
    if device.isThisOne { return Span("this device", .accent) }
    guard device.isHeardOf else { return Span("not heard of yet", .waiting) }
    guard let behind = device.behind else { return Span("has said nothing yet", .waiting) }
    if behind > 0 { return Span("\(behind) behind", .waiting) }
    if device.heldBack > 0 { return Span("keeps some until due", .waiting) }
    if device.isSameState == false { return Span("STATE DIFFERS", .critical) }
    // Of one that is not here it is known what it had when it was heard.
    return device.presence == .here ? Span("up to date", .good) : Span("had everything then", .dim)
  }

  private static func detail(_ device: Snapshot.Device, _ context: PanelContext) -> Line {
    Line("    \(CellText.clean(device.kind)), heard \(Wording.ago(device.heard, now: context.wall)), id \(device.id)", .dim)
  }
}
