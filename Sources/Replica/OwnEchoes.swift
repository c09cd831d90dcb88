/// What a relay tells of this device's own files: mostly an echo of what another process of the device has just put
/// there, which says so itself when it is done.
///
/// An echo is put off for a moment, so that looking at it takes no processor, and no lock of the file, from that process
/// and from those who read what it wrote. Then it is news like any other: a copy of this home may have written it. What
/// is about a crisis is never put off.
package struct OwnEchoes: Sendable {
  private var waiting: [RelayChange] = []
  /// Uptime at which those that wait are news; `nil` while none waits.
  package private(set) var due: UInt64?

  /// Nanoseconds.
  package static let patience: UInt64 = 5_000_000

  package init() {}

  /// - Returns: What is news now, in the order in which it was told.
  package mutating func take(_ changes: [RelayChange], own: BlindTag, now: UInt64) -> [RelayChange] {
    var (news, isUrgent) = ([RelayChange](), false)
    if let due, due <= now {
      (news, waiting) = (waiting, [])
      self.due = nil
    }
    for change in changes {
      guard case .stream(let stream) = change, stream.tag == own else {
        news.append(change)
        continue
      }
      if due == nil { due = now &+ Self.patience }
      if !waiting.contains(change) { waiting.append(change) }
      isUrgent = isUrgent || stream.channel.lane == .crisis
    }
    if isUrgent {
      news += waiting
      (waiting, due) = ([], nil)
    }
    return news
  }
}
