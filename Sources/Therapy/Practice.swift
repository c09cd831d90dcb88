/// A guided practice: stages with their lengths in seconds.
package struct Practice: Sendable, Hashable {
  package struct Stage: Sendable, Hashable {
    package var name: String
    package var seconds: Double
  }
  package var name: String
  package var stages: [Stage]

  package var seconds: Double { stages.reduce(0) { $0 + $1.seconds } }

  /// Three-minute breathing space: exactly three times 60 s. (Segal, Williams, Teasdale 2013.)
  package static let breathing = Practice(
    name: "breathing",
    stages: ["awareness", "gathering", "expanding"].map { Stage(name: $0, seconds: 60) })

  /// Body scan over 12 areas.
  package static let bodyScan = Practice(
    name: "body-scan",
    stages: [
      "feet", "lower legs", "knees", "thighs", "hips", "belly", "lower back", "chest", "shoulders", "arms",
      "neck", "face",
    ].map { Stage(name: $0, seconds: 45) })

  package static let all = [breathing, bodyScan]

  /// Seconds of one breath: 4 in, 4 out.
  package static let breathSeconds = 8.0

  /// The stage at a moment of the practice; the last one when it is over.
  package func stage(at elapsed: Double) -> (index: Int, remaining: Double) {
    var start = 0.0
    for (index, stage) in stages.enumerated() {
      if elapsed < start + stage.seconds { return (index, start + stage.seconds - elapsed) }
      start += stage.seconds
    }
    return (stages.count - 1, 0)
  }
}

/// When an interrupted session can be taken up again. (DOMAIN.md.)
package enum SessionResumption {
  /// Milliseconds after the interruption.
  package static let life: UInt64 = 24 * 3_600_000
  /// Share that must have been done; less is quicker begun anew.
  package static let leastProgress = 0.1
  /// How often one session is taken up again.
  package static let most: Int64 = 5
}
