import Stores
import Therapy

/// The guide of a running practice: a breath that grows and shrinks, the stage, the time left.
enum PracticeScreen {
  static func draw(_ state: DashboardState, _ frame: inout Frame) {
    guard let session = state.ownSession, let practice = Practice.all.first(where: { $0.name == session.type }) else { return }
    let elapsed = state.ownElapsed
    let stage = practice.stage(at: elapsed)
    let phase = elapsed.truncatingRemainder(dividingBy: Practice.breathSeconds)
    let half = Practice.breathSeconds / 2
    let isIn = phase < half
    let fullness = isIn ? phase / half : 2 - phase / half
    let columns = min(56, state.size.columns - 8)
    let breath = Int((fullness * Double(columns - 4)).rounded())
    let line = String(repeating: " ", count: (columns - breath) / 2) + String(repeating: state.glyphs.full, count: breath)
    DialogFrame.box(
      practice.name == "breathing" ? "Breathing space" : "Body scan",
      [
        Line([Span(practice.stages[stage.index].name, .strong)], right: [Span("\(stage.index + 1) of \(practice.stages.count), \(Int(stage.remaining.rounded(.up))) s", .dim)]),
        .empty, Line(line, .plotLow), Line(line, .plotLow), .empty,
        Line(isIn ? "in \(state.glyphs.arrow) \(Int(half - phase) + 1)" : "out \(state.glyphs.arrow) \(Int(Practice.breathSeconds - phase) + 1)", .accent), .empty,
        Line([Span(Wording.bar(elapsed / practice.seconds, columns: columns - 14, state.glyphs), .plotLow)], right: [Span("\(Wording.clock(elapsed)) of \(Wording.clock(practice.seconds))", .dim)]),
      ], state, &frame)
  }
}
