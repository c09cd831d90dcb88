import Foundation
import Relays
import Replica
import Synchronization

/// A sealed batch that can leave at once, and the frame it follows.
package struct Departure: Sendable {
  package var batch: StoredBatch
  /// `nil` for the first of its file.
  package var previous: [UInt8]?
  /// Of a crisis lane: what it follows in its stream, and what the relay may lack.
  package var earlier: [[UInt8]] = []
  /// Of a crisis lane: what makes this device known to who reads it.
  package var introduction: [[UInt8]] = []
  /// The name of this device on the relay.
  package var tag: BlindTag
  package var isCrisis: Bool { batch.stream.channel.lane == .crisis }
}

/// Takes batches to the relay from the very process that saved them, so that the exchanging process
/// is no hop on their way, and so that they leave when there is none.
///
/// The relay is touched on a thread of its own: one that hangs, on a dead mount for instance, blocks
/// that thread and nobody else. Whatever cannot be taken is left to the exchanging process, which
/// finds it in the log.
package final class Courier: Sendable {
  package enum Outcome: Sendable {
    /// All of it lies on the relay.
    case delivered
    /// The relay does not end where these batches begin: the exchanging process compares and sends.
    case left
    case failed(any Error)
    /// The relay has not answered yet.
    case underWay
  }

  /// One errand, and what has become of it.
  package final class Errand: Sendable {
    fileprivate let departures: [Departure]
    private let answer = Mutex<Outcome?>(nil)
    private let done = Latch()

    fileprivate init(_ departures: [Departure]) { self.departures = departures }

    fileprivate func finish(_ outcome: Outcome) {
      answer.withLock { $0 = outcome }
      done.open()
    }

    /// What has become of it after at most so many milliseconds.
    package func outcome(within milliseconds: Int) -> Outcome {
      _ = done.wait(milliseconds)
      return answer.withLock { $0 } ?? .underWay
    }
  }

  private let waiting = Mutex<[Errand]>([])
  private let ready = DispatchSemaphore(value: 0)

  /// Starts opening the relay at once, while the caller is busy with the store.
  package init(opening open: @escaping @Sendable () throws -> any Relay) {
    let thread = Thread { self.run(open) }
    thread.name = "courier"
    thread.start()
  }

  /// Hands over what was saved.
  package func carry(_ departures: [Departure]) -> Errand {
    let errand = Errand(departures)
    waiting.withLock { $0.append(errand) }
    ready.signal()
    return errand
  }

  private func run(_ open: () throws -> any Relay) {
    var relay = Result { try open() }
    while true {
      ready.wait()
      guard let errand = waiting.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else { continue }
      if case .failure = relay { relay = Result { try open() } }
      do { errand.finish(try Self.deliver(errand.departures, to: relay.get()) ? .delivered : .left) } catch {
        errand.finish(.failed(error))
      }
    }
  }

  private static func deliver(_ departures: [Departure], to relay: any Relay) throws -> Bool {
    var isComplete = true
    for departure in departures {
      let (frame, channel) = (departure.batch.frame, departure.batch.stream.channel)
      let stream = RelayStream(tag: departure.tag, channel: channel)
      let isNext = try relay.appendNext(frame, after: departure.previous, to: stream)
      guard departure.isCrisis else {
        isComplete = isComplete && isNext
        continue
      }
      // A crisis does not wait until somebody has compared the stream with the log.
      if !isNext { try relay.appendAnyway([frame], to: stream) }
      try relay.complete([frame], after: departure.earlier, in: stream)
      if !departure.introduction.isEmpty {
        try relay.deliver(departure.introduction, to: RelayStream(tag: departure.tag, channel: .membership))
      }
    }
    return isComplete
  }
}
