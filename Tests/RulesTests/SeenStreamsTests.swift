import Causality
import Replica
import Testing

/// What lies in files, as the histories that it makes.
@Suite("What lies on the relay")
struct SeenStreamsTests {
  private let stream = StreamKey(device: DeviceID(high: 1, low: 1), incarnation: Incarnation(rawValue: 7), channel: Channel(.ordinary))

  private func place(_ sequence: UInt64, _ hash: UInt64) -> StreamCursor { StreamCursor(sequence: sequence, hash: sequence == 0 ? 0 : hash) }

  private func frame(_ after: UInt64, _ end: UInt64, _ hash: UInt64, following: UInt64? = nil) -> SeenStreams.Frame {
    SeenStreams.Frame(stream: stream, after: place(after, following ?? hash - 1), end: place(end, hash))
  }

  @Test("a frame counts once everything before it is there, in whichever order it comes")
  func holes() {
    let frames: [SeenStreams.Frame] = (UInt64(1)...20).map { number in frame(number - 1, number, 100 + number) }
    var random = SeededRandom(seed: 3)
    for _ in 0..<50 {
      var (seen, noted) = (SeenStreams(), Set<UInt64>())
      for frame in frames.shuffled(using: &random) {
        seen.note(frame)
        noted.insert(frame.end.sequence)
        let whole = UInt64((UInt64(1)...20).prefix { noted.contains($0) }.count)
        for other in frames {
          let isWhole = other.end.sequence <= whole
          #expect(seen.has(stream, other.end) == isWhole)
        }
        let expected: [UInt64] = whole == 0 ? [] : [whole]
        #expect(seen.ends(of: stream).map(\.sequence) == expected)
      }
      #expect(seen.leaves.flatMap(\.ends) == [place(20, 120)])
    }
  }

  @Test("two histories that part somewhere in the middle are two ends; what follows neither is none")
  func forks() {
    var seen = SeenStreams()
    for number in UInt64(1)...6 { seen.note(frame(number - 1, number, 100 + number)) }
    seen.note(frame(3, 4, 900, following: 103))
    #expect(Set(seen.ends(of: stream)) == [place(6, 106), place(4, 900)])
    seen.note(frame(4, 7, 901, following: 555))
    #expect(!seen.has(stream, place(7, 901)), "what it follows is not there")
  }

  @Test("what is split over files is whole where they are read together")
  func union() {
    var (own, carried) = (SeenStreams(), SeenStreams())
    for number in UInt64(1)...10 {
      let part = frame(number - 1, number, 100 + number)
      if number % 3 == 0 { carried.note(part) } else { own.note(part) }
    }
    #expect(own.ends(of: stream) == [place(2, 102)])
    var both = own
    both.formUnion(carried)
    #expect(both.ends(of: stream) == [place(10, 110)])
    carried.formUnion(own)
    #expect(carried.ends(of: stream) == [place(10, 110)])
  }
}
