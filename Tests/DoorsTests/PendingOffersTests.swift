import Causality
import Replica
import Stores
import Testing

@Suite("Pending offers")
struct PendingOffersTests {
  private static let second: UInt64 = 1_000_000_000
  private let session = RecordID(high: 1, low: 1)
  private let writer = DeviceID(high: 2, low: 2)

  private func late(at milliseconds: UInt64 = 1_000, offset: Int64?) -> PendingOffers.Finding {
    .late(PendingOffers.Offer(writer: writer, timestamp: Timestamp(milliseconds: milliseconds), offset: offset))
  }

  @Test("what was refused stays and is due again, later each time, but never much later")
  func refused() {
    var (offers, now, waits) = (PendingOffers(), Self.second, [UInt64]())
    offers.insert([session], now: now)
    #expect(offers.isDue(now) && offers.sessions == [session])
    for _ in 0..<12 {
      offers.endRound(now: now)
      guard let due = offers.due else {
        Issue.record("a session that was refused is forgotten")
        return
      }
      #expect(due > now && !offers.isDue(due - 1) && offers.isDue(due) && offers.sessions == [session])
      waits.append(due - now)
      now = due
    }
    #expect(waits == waits.sorted() && waits[0] <= Self.second && waits.last == PendingLooks<Int>.highestWait)
    offers.note(session, .ended)
    offers.endRound(now: now)
    #expect(offers.due == nil && offers.sessions.isEmpty)
    // What comes next waits no longer because of it.
    offers.insert([session], now: now)
    offers.endRound(now: now)
    #expect(offers.due == now + waits[0])
  }

  @Test("something new is looked at although what was refused waits")
  func news() {
    var offers = PendingOffers()
    offers.insert([session], now: 1)
    offers.endRound(now: 1)
    let other = RecordID(high: 1, low: 2)
    offers.insert([other], now: 2)
    #expect(offers.isDue(2) && offers.sessions == [session, other])
  }

  @Test("an offer that is too old waits for a clock, and for nothing else")
  func clocks() {
    var offers = PendingOffers()
    offers.insert([session], now: 1)
    offers.note(session, late(offset: nil))
    offers.endRound(now: 1)
    #expect(offers.due == nil)
    let ofAStranger = offers.learn(HouseholdClocks(offsets: [DeviceID(high: 3, low: 3): 5]), now: 2)
    #expect(!ofAStranger && offers.due == nil)
    let isKnown = offers.learn(HouseholdClocks(offsets: [writer: -240_000]), now: 3)
    #expect(isKnown && offers.isDue(3) && offers.sessions == [session])
    offers.note(session, late(offset: -240_000))
    offers.endRound(now: 3)
    let isAnother = offers.learn(HouseholdClocks(offsets: [writer: -240_020]), now: 4)
    #expect(!isAnother, "no clock is heard to the millisecond")
    let wasSet = offers.learn(HouseholdClocks(offsets: [writer: .max]), now: 5)
    #expect(wasSet)
    offers.note(session, .ended)
    offers.endRound(now: 5)
    let isBack = offers.learn(HouseholdClocks(offsets: [writer: 0]), now: 6)
    #expect(!isBack, "one that ended comes back with nothing")
  }

  @Test("a search that is refused is made again, and what it finds is looked at in the same round")
  func search() {
    var offers = PendingOffers()
    offers.search(now: 0)
    #expect(offers.mustSearch && offers.isDue(0))
    offers.endRound(now: 7)
    #expect(offers.mustSearch && !offers.isDue(7) && offers.due != nil)
    offers.didSearch([session: Timestamp(milliseconds: 1)], now: 8)
    #expect(!offers.mustSearch && offers.sessions == [session] && offers.isDue(8))
    offers.didSearch([:], now: 9)
    offers.endRound(now: 9)
    #expect(offers.due == nil, "what the store does not offer any more is not looked for")
  }

  @Test("more offers than are kept in mind are found in the store, the newest first; nothing goes round and round")
  func limit() {
    var offers = PendingOffers()
    let all = (0..<UInt64(3 * PendingOffers.limit)).map { RecordID(high: 9, low: $0) }
    offers.insert(all, now: 1)
    #expect(offers.mustSearch && offers.sessions.count <= PendingOffers.limit + 1)
    offers.didSearch(Dictionary(uniqueKeysWithValues: all.enumerated().map { ($1, Timestamp(milliseconds: UInt64($0))) }), now: 2)
    #expect(!offers.mustSearch && offers.sessions == Array(all.suffix(PendingOffers.limit)))
    for (index, id) in all.enumerated() { offers.note(id, late(at: UInt64(index), offset: nil)) }
    offers.endRound(now: 3)
    #expect(offers.due == nil)
    let isKnown = offers.learn(HouseholdClocks(offsets: [writer: 1]), now: 4)
    #expect(isKnown && offers.sessions == Array(all.suffix(PendingOffers.limit)))
  }

  @Test("what waits has a limit, and says where it is reached")
  func looks() {
    var looks = PendingLooks<Int>(limit: 2)
    let hasRoom = [looks.insert([1, 2], now: 5), looks.insert([2], now: 5), looks.insert([3], now: 5)]
    #expect(hasRoom == [true, true, false] && looks.items == [1, 2])
    looks.end(1)
    let hasRoomAgain = looks.insert([3], now: 5)
    #expect(hasRoomAgain && looks.items == [2, 3] && looks.due == 5)
    var empty = PendingLooks<Int>(limit: 2)
    empty.insert([Int](), now: 1)
    #expect(empty.due == nil, "nothing came")
  }
}
