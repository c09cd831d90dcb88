/// The crisis card: a static text that needs no store, no network, no login and no terminal.
public enum CrisisCard {
  /// The card for a region; lines of at most 78 columns, ASCII quotes, no colour.
  ///
  /// - Parameter region: `nil` when it is unknown; the card then says how to choose.
  public static func text(for region: HelpRegion?) -> String {
    (opening + [""] + helpLines(for: region) + [""] + steps + [""] + closing)
      .joined(separator: "\n") + "\n"
  }

  /// The help lines with their heading, for the card and for the crisis screen.
  public static func helpLines(for region: HelpRegion?) -> [String] {
    let lines = region?.lines ?? HelpLines.unknownRegion
    let heading = region.map { "TALK TO SOMEBODY NOW (\($0.name))" } ?? "TALK TO SOMEBODY NOW"
    return [heading] + lines.map { "  " + $0 }
  }

  /// What can be done right now; worded for this program after the steps of the safety planning
  /// intervention (Stanley and Brown 2012).
  public static let steps = [
    "RIGHT NOW",
    "  1  You do not have to decide anything in this minute.",
    "  2  Breathe in for 4, out for 4. Ten times. Feel your feet on the floor.",
    "  3  Go where other people are, or call one person and say: I need company.",
    "  4  Put distance between you and anything you could hurt yourself with.",
    "  5  If it gets stronger, call. You will not be a burden to them.",
  ]

  private static let opening = [
    "You are not alone, and this will not stay as strong as it is now."
  ]

  private static let closing = [
    "This is an aid, not a diagnosis, and no replacement for people who can help.",
    "fullmind never dials, and tells nobody whom you have not invited.",
  ]
}
