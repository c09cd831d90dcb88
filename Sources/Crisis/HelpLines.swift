/// Where to find help in one region. Shown, never dialled, never synced.
public struct HelpRegion: Sendable, Hashable {
  public var name: String
  /// Upper-case territory codes as in a locale name (`en_US`).
  public var territories: [String]
  /// One line each.
  public var lines: [String]
  /// Where the facts were taken from and when they were checked.
  public var source: String
}

/// The help lines that are compiled in. (DOMAIN.md, *Help lines*.)
public enum HelpLines {
  public static let regions = [
    HelpRegion(
      name: "United States", territories: ["US"],
      lines: [
        "988 Suicide & Crisis Lifeline: call or text 988, chat 988lifeline.org (24/7)",
        "   veterans: press 1, or text 838255 · Spanish: press 2",
        "Crisis Text Line: text HOME to 741741",
        "Emergency: 911",
      ],
      source: "988lifeline.org, checked 2026-11"),
    HelpRegion(
      name: "Canada", territories: ["CA"],
      lines: ["9-8-8 Suicide Crisis Helpline: call or text 988 (24/7)", "Emergency: 911"],
      source: "988.ca, checked 2026-11"),
    HelpRegion(
      name: "United Kingdom and Ireland", territories: ["GB", "UK", "IE"],
      lines: ["Samaritans: 116 123 (24/7, free)", "Emergency: 999 or 112"],
      source: "samaritans.org, checked 2026-11"),
    HelpRegion(
      name: "European Union",
      territories: [
        "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IT", "LT", "LU",
        "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
      ],
      lines: ["Emergency: 112 (free, from any phone)"],
      source: "112.eu, checked 2026-11"),
  ]

  /// The region of a locale name such as `de_AT.UTF-8`; `nil` when it names none that is known.
  public static func region(ofLocale locale: String) -> HelpRegion? {
    let territory = locale.split(separator: ".", omittingEmptySubsequences: false)[0]
      .split(separator: "@", omittingEmptySubsequences: false).first?
      .split(separator: "_").dropFirst().first.map { $0.uppercased() }
    return territory.flatMap { code in regions.first { $0.territories.contains(code) } }
  }

  /// The region called so, by territory code or name; `nil` when it is not known.
  public static func region(named name: String) -> HelpRegion? {
    let wanted = name.uppercased()
    return regions.first { $0.territories.contains(wanted) || $0.name.uppercased() == wanted }
  }

  /// What is shown when nobody said where the person is.
  public static let unknownRegion = [
    "Emergency: 112 works on mobile phones in most countries; 911 in North America",
    "Choose your region once:  FULLMIND_REGION=US  (or CA, GB, DE …)",
  ]
}
