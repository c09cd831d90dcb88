/// A questionnaire with its items in order, its codes and its bands.
///
/// A screening aid: a band describes a score, it is not a diagnosis.
package struct Instrument: Sendable, Hashable {
  package struct Item: Sendable, Hashable {
    /// LOINC code of the item.
    package var code: String
    /// Our short word for it.
    package var topic: String
  }
  package struct Band: Sendable, Hashable {
    package var range: ClosedRange<Int>
    package var name: String
  }
  package var name: String
  /// LOINC code of the panel.
  package var panel: String
  /// LOINC code of the total.
  package var total: String
  package var items: [Item]
  package var bands: [Band]

  package static let all = [phq9, gad7]

  /// PHQ-9: bands of Kroenke et al. 2001; LOINC 44249-1. The items are not in code order.
  package static let phq9 = Instrument(
    name: "phq9", panel: "44249-1", total: "44261-6",
    items: [
      Item(code: "44250-9", topic: "interest"), Item(code: "44255-8", topic: "down"),
      Item(code: "44259-0", topic: "sleep"), Item(code: "44254-1", topic: "tired"),
      Item(code: "44251-7", topic: "appetite"), Item(code: "44258-2", topic: "failure"),
      Item(code: "44252-5", topic: "concentrating"), Item(code: "44253-3", topic: "slow or fidgety"),
      Item(code: "44260-8", topic: "better off dead"),
    ],
    bands: [
      Band(range: 0...4, name: "minimal"), Band(range: 5...9, name: "mild"),
      Band(range: 10...14, name: "moderate"), Band(range: 15...19, name: "moderately severe"),
      Band(range: 20...27, name: "severe"),
    ])

  /// GAD-7: bands of Spitzer et al. 2006; LOINC 69737-5.
  package static let gad7 = Instrument(
    name: "gad7", panel: "69737-5", total: "70274-6",
    items: [
      Item(code: "69725-0", topic: "nervous"), Item(code: "68509-9", topic: "cannot stop worrying"),
      Item(code: "69733-4", topic: "worrying too much"), Item(code: "69734-2", topic: "trouble relaxing"),
      Item(code: "69735-9", topic: "restless"), Item(code: "69689-8", topic: "easily annoyed"),
      Item(code: "69736-7", topic: "afraid"),
    ],
    bands: [
      Band(range: 0...4, name: "minimal"), Band(range: 5...9, name: "mild"),
      Band(range: 10...14, name: "moderate"), Band(range: 15...21, name: "severe"),
    ])

  package static func named(_ name: String) -> Instrument? { all.first { $0.name == name } }

  /// The sum of the answers; `nil` while one is missing, for a missing answer is unknown, never 0.
  package func score(_ answers: [Int?]) -> Int? {
    guard answers.count == items.count, !answers.contains(nil) else { return nil }
    return answers.compactMap { $0 }.reduce(0, +)
  }

  package func band(of score: Int) -> String? { bands.first { $0.range.contains(score) }?.name }
}
