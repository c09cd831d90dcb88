/// Two edits of one text, word by word.
///
/// The differences come from the standard library (`CollectionDifference`: Myers, *An O(ND) Difference
/// Algorithm and Its Variations*, 1986); the merge is the usual three-way one over them.
package enum TextMerge {
  /// A piece of a text, and whether the other text does not have it.
  package struct Piece: Sendable, Hashable {
    package var text: String
    package var isChanged: Bool

    package init(_ text: String, isChanged: Bool) { (self.text, self.isChanged) = (text, isChanged) }
  }

  /// Both texts in pieces; pieces that are not changed are the same on both sides.
  package static func pieces(_ left: String, _ right: String) -> (left: [Piece], right: [Piece]) {
    let (old, new) = (words(left), words(right))
    let difference = new.difference(from: old)
    let (removed, inserted) = (offsets(difference.removals), offsets(difference.insertions))
    return (joined(old, changed: removed), joined(new, changed: inserted))
  }

  /// The text with both edits in it; `nil` where they touch the same words.
  ///
  /// - Parameter base: What both began with.
  package static func merge(base: String, _ one: String, _ other: String) -> String? {
    if one == other || other == base { return one }
    if one == base { return other }
    let words = words(base)
    var edits = edits(from: words, to: Self.words(one)) + self.edits(from: words, to: Self.words(other))
    edits.sort { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
    var (text, end) = ("", 0)
    var last: Edit?
    for edit in edits {
      if let last {
        if last == edit { continue }
        // Also edits that merely touch: nobody knows in which order the person wants them.
        guard edit.range.lowerBound > last.range.upperBound else { return nil }
      }
      text += words[end..<edit.range.lowerBound].joined() + edit.words.joined()
      (end, last) = (edit.range.upperBound, edit)
    }
    return text + words[end...].joined()
  }

  /// Words of the base that were replaced, and by what.
  private struct Edit: Hashable {
    var range: Range<Int>
    var words: [Substring]
  }

  private static func edits(from base: [Substring], to new: [Substring]) -> [Edit] {
    let difference = new.difference(from: base)
    let (removed, inserted) = (offsets(difference.removals), offsets(difference.insertions))
    var edits = [Edit]()
    var (old, young) = (0, 0)
    while old < base.count || young < new.count {
      let start = old
      var words = [Substring]()
      while removed.contains(old) || inserted.contains(young) {
        if removed.contains(old) { old += 1 } else {
          words.append(new[young])
          young += 1
        }
      }
      if old > start || !words.isEmpty { edits.append(Edit(range: start..<old, words: words)) }
      (old, young) = (old + 1, young + 1)
    }
    return edits
  }

  private static func offsets(_ changes: [CollectionDifference<Substring>.Change]) -> Set<Int> {
    Set(changes.map { change in
      switch change {
      case .insert(let offset, _, _), .remove(let offset, _, _): offset
      }
    })
  }

  /// Words and what stands between them, so that joining gives the text back.
  private static func words(_ text: String) -> [Substring] {
    var words = [Substring]()
    var start = text.startIndex
    for index in text.indices.dropFirst() where text[index].isWhitespace || text[text.index(before: index)].isWhitespace {
      words.append(text[start..<index])
      start = index
    }
    if start < text.endIndex { words.append(text[start...]) }
    return words
  }

  private static func joined(_ words: [Substring], changed: Set<Int>) -> [Piece] {
    var pieces = [Piece]()
    for (index, word) in words.enumerated() {
      let isChanged = changed.contains(index)
      if pieces.last?.isChanged == isChanged { pieces[pieces.count - 1].text += word } else {
        pieces.append(Piece(String(word), isChanged: isChanged))
      }
    }
    return pieces
  }
}
