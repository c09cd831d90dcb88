import Causality
import Replica
import Testing

/// What is read on, and what waits.
@Suite("Reading files of others")
struct InboxTests {
  private let file: RelayStream
  private let second: UInt64 = 1_000_000_000

  init() throws { file = RelayStream(tag: try #require(BlindTag(bytes: Array(repeating: 7, count: 16))), channel: Channel(.crisis)) }

  private func outcome(locked: Int, filed: Int = 0, to offset: UInt64) -> ApplyOutcome {
    var outcome = ApplyOutcome(next: RelayPosition(generation: 1, offset: offset))
    (outcome.locked, outcome.filed) = (locked, filed)
    return outcome
  }

  @Test("frames under a key that nobody has hold up nothing that follows; their file counts as unread until a key comes, and as damaged where none does")
  func underNoKey() {
    var inbox = Inbox()
    inbox.touch(file)
    _ = inbox.note(outcome(locked: 16, to: 16), of: file, isAtEnd: false, now: second)
    #expect(inbox.next(now: second) { _ in true } == file, "what follows is read")
    inbox[file]?.isDirty = false
    _ = inbox.note(outcome(locked: 0, filed: 1, to: 17), of: file, isAtEnd: true, now: second)
    #expect(inbox.isCrisisUnread && inbox.damaged.isEmpty && inbox.next(now: second) { _ in true } == nil)
    // A key comes: everything is read once more, and this time it opens.
    inbox.wakeWaiting()
    #expect(inbox[file]?.position == .start && inbox.next(now: second) { _ in true } == file)
    var again = inbox
    _ = again.note(outcome(locked: 0, filed: 16, to: 17), of: file, isAtEnd: true, now: 2 * second)
    #expect(!again.isCrisisUnread)
    // None comes: where it is read to its end twice after half a minute, it is damage.
    for turn in 0..<2 {
      let isNews = inbox.note(outcome(locked: 16, to: 17), of: file, isAtEnd: true, now: 40 * second)
      #expect(isNews == (turn == 1))
      inbox.touch(file)
    }
    #expect(inbox.damaged == [file] && inbox.isCrisisUnread)
  }
}
