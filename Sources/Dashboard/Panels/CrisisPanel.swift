import Stores

/// Whether a crisis is active, and which devices have it.
enum CrisisPanel {
  /// Who would know of a crisis that is raised now.
  private static func reach(_ snapshot: Snapshot) -> String {
    if snapshot.devices.count < 2 { return "no other device belongs to this account yet" }
    if !snapshot.devices.contains(where: { !$0.isThisOne && $0.isHeardOf }) { return "no other device was heard of yet" }
    return switch snapshot.sync.state {
    case .offline, .strange: "your other devices would know when the relay is back"
    case .waiting where !snapshot.sync.status.sendingProblem.isEmpty: "your other devices would know when the relay can be written"
    case .starting: "whether your other devices can be reached is not known yet"
    // Not when: one that is away learns of it when it is back.
    default: "and your devices are told"
    }
  }

  /// What the store lacks: where it was raised here it lies beside it, if the disk took it.
  private static func unsaved(_ context: PanelContext) -> Line {
    Line((context.isRaisedOnDisk ? "saved beside the store; not in it yet" : "not saved here yet") + (context.obstacle.map { ": \(CellText.clean($0))" } ?? ""), .waiting)
  }

  static func lines(_ context: PanelContext) -> [Line] {
    let crisis = context.snapshot.crisis
    if !crisis.isActive, context.isRaisedHere {
      return [Line([Span(" RAISED HERE ", .crisis), Span(" the store does not show it yet")]), Line([Span("Enter", .key), Span(" how far it has come; r says it is over")])]
    }
    guard crisis.isActive else {
      return [
        Line([context.snapshot.isCrisisUnknown ? Span("none known here", .waiting) : Span("none", .good), Span("   "), Span("!", .key), Span(" at any moment: help lines")]),
        Line(reach(context.snapshot), .dim),
      ]
    }
    let since = Wording.ago(crisis.since, now: context.wall)
    return [
      Line([Span(" \(crisis.level.name.uppercased()) ", .crisis), Span(" raised \(since) on \(CellText.clean(crisis.source))")])
    ]
      + (crisis.isSaved ? [] : [unsaved(context)])
      + crisis.receipts.map { receipt in
        let after = receipt.after.map { " after \(Wording.duration(nanoseconds: $0))" } ?? ""
        return Line(
          [Span("\(receipt.hasIt ? context.glyphs.here : context.glyphs.away) \(CellText.clean(receipt.device))")],
          right: [receipt.hasIt ? Span("has it\(after)", .good) : Span("not yet", .waiting)])
      }
      + crisis.acknowledgements.map { Line([Span("acknowledged on \(CellText.clean($0.device))", .good)]) }
      + crisis.tellings.compactMap { telling in
        switch telling.state {
        case .told(_, .seen): Line([Span("\(CellText.clean(telling.name)) has seen it", .good)])
        case .told(_, .shown): Line([Span("a screen of \(CellText.clean(telling.name)) shows it", .good)])
        case .told(_, .unopened): Line([Span("nobody opened the link of \(CellText.clean(telling.name)): please call", .waiting)])
        case .told: Line([Span("an alert lies at the link of \(CellText.clean(telling.name))", .waiting)])
        case .undecided: Line([Span("\(CellText.clean(telling.name)) is not told by itself: please call", .waiting)])
        case .later, .now, .unanswered, .notInvited: nil
        }
      }
      + (CrisisScreen.nextStep(context.snapshot, since: 0).map { [Line($0, .dim)] } ?? [])
      + [Line([Span("Enter", .key), Span(" help lines and plan")])]
  }
}
