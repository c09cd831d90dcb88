import Causality
import Crisis
import Sealing

/// What lies on a board, as somebody who has its link sees it.
///
/// Only what opens counts: anybody who may write the relay can put something else there, under any number. That takes up
/// its number and nothing more.
struct NoticeList {
  private(set) var notices: [(number: UInt64, notice: Notice)] = []
  private var taken: Set<UInt64> = []
  private var last: UInt64

  init(_ board: NoticeBoard, after number: UInt64 = 0, on relay: any Relay) throws(RelayError) {
    last = number
    for found in try relay.notices(on: board.name, after: number) {
      taken.insert(found.number)
      guard let notice = board.open(found.sealed, number: found.number) else { continue }
      notices.append((found.number, notice))
      last = max(last, found.number)
    }
  }

  /// The lowest number that nothing has, behind everything that counts.
  var next: UInt64 {
    var number = last + 1
    while taken.contains(number) { number += 1 }
    return number
  }

  /// Puts a notice up.
  ///
  /// - Returns: Whether it lies there, as whoever follows the link reads it; `false` where somebody else was faster.
  mutating func put(
    _ notice: Notice, on board: NoticeBoard, _ relay: any Relay, using random: inout some RandomNumberGenerator
  ) throws(RelayError) -> Bool {
    var number = next
    var sealed = board.seal(notice, number: number, using: &random)
    while try !relay.putNotice(sealed, board: board.name, number: number) {
      let isRead = try relay.notices(on: board.name, after: number - 1).contains { $0.number == number }
      taken.insert(number)
      // Something that is no file keeps its number from everybody, and nothing more.
      guard !isRead, number < last + UInt64(Limits.noticeAttempts) else { return false }
      number = next
      sealed = board.seal(notice, number: number, using: &random)
    }
    taken.insert(number)
    guard try relay.notices(on: board.name, after: number - 1).contains(where: { $0.number == number && $0.sealed == sealed }) else {
      throw .changed
    }
    last = number
    return true
  }
}
