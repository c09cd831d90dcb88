/// What a write may hold: one rule for whoever makes it, merges it, settles it or reads it.
///
/// A reader refuses what is beyond it, and a batch with it; so nothing that is beyond it is ever given a number.
package enum WriteLimits {
  /// Whether a text can be written: in characters as people count them, and in bytes.
  package static func holds(text: String) -> Bool {
    text.utf8.count <= Limits.textBytes && (text.utf8.count <= Limits.textCharacters || text.count <= Limits.textCharacters)
  }

  /// Whether a reader takes it; kinds and fields of newer versions may hold more characters than ours do.
  static func isReadable(text: String) -> Bool { text.utf8.count <= Limits.textBytes }
  static func isReadable(name: String) -> Bool { name.utf8.count <= Limits.nameBytes }
  static func isReadable(replaced count: Int) -> Bool { count <= Limits.replacedOperations }
}

/// One write would hold more than any reader takes.
package struct WriteTooLarge: ActionableError, Hashable {
  package init() {}
  package var code: String { "input.too-large" }
  package var summary: String { "This is more than one change can hold. Nothing was saved." }
  package var remedy: String { "Shorten it, or split it over several records." }
  package var exitStatus: ExitStatus { .dataError }
}

extension Decision {
  /// Whether a reader takes it.
  var isReadable: Bool {
    [method, model].allSatisfy(WriteLimits.isReadable(name:)) && by.utf8.count <= Limits.reasonBytes
      && reasons.count <= Limits.reasons && reasons.allSatisfy { $0.utf8.count <= Limits.reasonBytes } && permille <= 1_000
  }

  /// As many whole characters as fit into a reason.
  package static func fitting(_ text: String) -> String {
    var kept = text
    while kept.utf8.count > Limits.reasonBytes { kept.removeLast() }
    return kept
  }
}

extension Draft {
  /// Whether every reader will take what comes of it.
  ///
  /// - Parameter replaced: How many writes it takes the place of.
  package func isReadable(replacing replaced: Int) -> Bool {
    var isShort = true
    if case .text(let text)? = mutation.value { isShort = WriteLimits.isReadable(text: text) }
    return isShort && WriteLimits.isReadable(name: kind) && WriteLimits.isReadable(name: field)
      && WriteLimits.isReadable(replaced: replaced) && decision?.isReadable ?? true
  }
}
