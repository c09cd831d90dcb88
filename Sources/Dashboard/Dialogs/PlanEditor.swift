import Causality
import Foundation
import Stores
import Therapy

/// The safety plan as it is edited: step by step, entry by entry. Nothing leaves it without a second key.
package struct PlanEditor: Sendable, Hashable {
  /// A line that can be chosen.
  enum Row: Hashable {
    case step(Int)
    case entry(step: Int, String)
    case contacts
    case contact(SafetyPlan.Contact)
  }
  var selected = 0
  /// What is being typed; `nil` while lines are chosen.
  package var typing: String?
  /// The chosen line was asked to be taken out.
  var isRemoving = false
  var problem: String?

  package init() {}

  static func rows(_ plan: SafetyPlan) -> [Row] {
    plan.steps.enumerated().flatMap { index, step in [.step(index)] + step.entries.map { .entry(step: index, $0) } }
      + [.contacts] + plan.contacts.map { .contact($0) }
  }

  private static func step(of row: Row) -> Int? {
    switch row {
    case .step(let index), .entry(let index, _): index
    case .contacts, .contact: nil
    }
  }

  // MARK: Keys

  enum Answer: Hashable {
    case edit([String])
    case removeContact(RecordID)
    case newContact
  }

  /// What a key does; the editor stays open.
  mutating func press(_ key: Key, _ plan: SafetyPlan) -> Answer? {
    let rows = Self.rows(plan)
    selected = max(0, min(selected, rows.count - 1))
    if let text = typing { return type(key, text, rows[selected], plan) }
    if isRemoving {
      isRemoving = false
      return key == .character("y") ? removal(rows[selected], plan) : nil
    }
    problem = nil
    switch key {
    case .down, .character("j"), .tab: selected = min(rows.count - 1, selected + 1)
    case .up, .character("k"), .backTab: selected = max(0, selected - 1)
    case .home: selected = 0
    case .end: selected = rows.count - 1
    case .enter, .character("a"):
      if Self.step(of: rows[selected]) == nil { return .newContact }
      typing = ""
    case .character("d"), .delete:
      switch rows[selected] {
      case .entry, .contact: isRemoving = true
      case .step, .contacts: break
      }
    default: break
    }
    return nil
  }

  private mutating func type(_ key: Key, _ text: String, _ row: Row, _ plan: SafetyPlan) -> Answer? {
    guard key == .enter else {
      typing = DashboardState.edited(text, key)
      return nil
    }
    let entry = text.trimmingCharacters(in: .whitespaces)
    guard !entry.isEmpty, let step = Self.step(of: row) else {
      typing = nil
      return nil
    }
    let words = ["\(plan.steps[step].field)=\(entry)"]
    do throws(InputError) {
      guard plan.steps[step].entries.count < Limits.listEntries else {
        throw InputError.tooManyEntries(field: plan.steps[step].field, limit: Limits.listEntries)
      }
      _ = try RecordCatalogue.plan.drafts(from: words, record: RecordID(high: 0, low: 0), current: nil)
    } catch {
      problem = "\(error.summary) \(error.remedy)"
      return nil
    }
    (typing, problem) = ("", nil)  // the next one
    return .edit(words)
  }

  private func removal(_ row: Row, _ plan: SafetyPlan) -> Answer? {
    switch row {
    case .entry(let step, let text): .edit(["\(plan.steps[step].field)-=\(text)"])
    case .contact(let contact): .removeContact(contact.record)
    case .step, .contacts: nil
    }
  }

  /// The keys that work now.
  var keys: [(String, String)] {
    if typing != nil { return [("^X", "crisis"), ("Enter", "add"), ("Esc", "done with this step")] }
    if isRemoving { return [("!", "crisis"), ("y", "take it out"), ("any other", "keep it")] }
    return [("!", "crisis"), ("↑ ↓", "move"), ("Enter", "add here"), ("d", "take out"), ("Esc", "back")]
  }

  // MARK: Picture

  func lines(_ plan: SafetyPlan, _ glyphs: Glyphs, columns: Int, rows room: Int) -> [Line] {
    var (lines, chosen) = ([Line](), 0)
    for (number, row) in Self.rows(plan).enumerated() {
      let isSelected = number == selected
      if isSelected { chosen = lines.count }
      switch row {
      case .step(let index):
        let step = plan.steps[index]
        let hint = CellText.width(step.title) + CellText.width(step.prompt) + 12 <= columns ? step.prompt : ""
        lines.append(Line([Span(index < 6 ? "\(index + 1)  " : "   ", .key), Span(step.title, .strong)], right: [Span(hint, .dim)], isSelected: isSelected))
      case .entry(_, let text): lines.append(Line([Span("     - \(CellText.clean(text))")], isSelected: isSelected))
      case .contacts: lines.append(Line([Span("   My contacts", .strong)], isSelected: isSelected))
      case .contact(let contact):
        lines.append(Line([Span("     - \(CellText.clean(contact.name))  \(CellText.clean(contact.phone))")], right: [Span(contact.isPrimary ? "first" : "", .dim)], isSelected: isSelected))
      }
      guard isSelected else { continue }
      if let typing { lines.append(Line([Span("     + ", .accent), Span(String(CellText.clean(typing).suffix(max(1, columns - 10)))), Span(glyphs.cursor, .accent)])) }
      if let problem { lines += CellText.wrap(problem, columns - 6).map { Line("     \($0)", .bad) } }
      if isRemoving { lines.append(Line([Span("     take it out on every device?  ", .bad), Span("y", .key), Span(" yes   "), Span("any other key", .key), Span(" no")])) }
    }
    // The chosen line stays in sight.
    let first = max(0, min(chosen - room / 2, lines.count - room))
    return Array(lines.dropFirst(first).prefix(room))
  }
}
