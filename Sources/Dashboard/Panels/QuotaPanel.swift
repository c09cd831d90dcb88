import Stores

/// What was used today, against what the tier allows.
enum QuotaPanel {
  /// From here on the panel warns. (DASHBOARD.md.)
  static let warningPercent = 80

  static func lines(_ context: PanelContext) -> [Line] {
    let quota = context.snapshot.quota
    if context.rows < 3 {
      let limit = quota.tier.operationsPerDay.map { " of \($0)" } ?? ", not limited"
      return [
        Line([Span(quota.tier.name, .strong), Span("  today \(quota.used)\(limit)")]),
        Line("\(quota.deviceCount) of \(quota.tier.devices) devices", .dim),
      ]
    }
    let slots = Line([Span("devices "), Span("\(quota.deviceCount)", .strong), Span(" of \(quota.tier.devices)", .dim)])
    guard let limit = quota.tier.operationsPerDay else {
      return [
        Line([Span(quota.tier.name, .strong), Span("  counted, not limited", .dim)]),
        Line([Span("today "), Span("\(quota.used)", .strong), Span(" sync operations", .dim)]), slots,
      ]
    }
    let role: Role = quota.percent >= 100 ? .bad : quota.percent >= warningPercent ? .waiting : .good
    return [
      Line([Span(quota.tier.name, .strong)], right: [Span("\(quota.percent) %", role)]),
      Line([
        Span(Wording.bar(Double(quota.percent) / 100, columns: max(4, context.columns - 16), context.glyphs), role),
        Span(" \(quota.used)/\(limit)", .dim),
      ]),
      Line("\(forecast(quota, limit, context.wall)) by midnight (UTC)", .dim), slots,
      Line("a crisis never counts", .dim),
    ]
  }

  /// What today comes to if it goes on as it went.
  private static func forecast(_ quota: Snapshot.Quota, _ limit: Int, _ wall: UInt64) -> String {
    let share = Double(wall % 86_400_000) / 86_400_000
    guard share > 0.02 else { return "too early to say" }
    let total = Int(Double(quota.used) / share)
    return total > limit ? "about \(total), over the limit" : "about \(total)"
  }
}
