import CSystem
import Causality
import Foundation
import Replica
import Synchronization

/// A relay behind a network whose condition can be changed: for the demo household.
package final class ConditionedRelay: Relay {
  package struct Condition: Sendable, Hashable {
    package var isPartitioned = false
    /// Requests that get lost, per thousand.
    package var lostPermille = 0
    /// Milliseconds until news arrive.
    package var delay: UInt64 = 0
    package init() {}

    /// In words; empty when all is well.
    package var description: String {
      [isPartitioned ? "cut off" : nil, lostPermille > 0 ? "losing \(lostPermille / 10) %" : nil, delay > 0 ? "slow \(delay) ms" : nil]
        .compactMap { $0 }.joined(separator: ", ")
    }
  }

  private let inner: any Relay
  private let state: Mutex<(condition: Condition, random: SeededRandom)>
  private let delayed: DelayedWatch?

  package init(_ inner: any Relay, seed: UInt64) {
    self.inner = inner
    state = Mutex((Condition(), SeededRandom(seed: seed)))
    delayed = inner.watch().map(DelayedWatch.init)
  }

  package var condition: Condition {
    get { state.withLock { $0.condition } }
    set {
      state.withLock { $0.condition = newValue }
      delayed?.delay = newValue.delay
    }
  }

  private func request<Answer>(_ body: () throws(RelayError) -> Answer) throws(RelayError) -> Answer {
    let isLost = state.withLock { state in
      state.condition.isPartitioned || state.random.happens(permille: state.condition.lostPermille)
    }
    if isLost { throw .unreachable("of the demo") }
    return try body()
  }

  package func survey() throws(RelayError) -> RelaySurvey {
    try request { () throws(RelayError) in try inner.survey() }
  }
  package func adopt(_ identity: UInt64) { inner.adopt(identity) }
  package func surveyStranger() throws(RelayError) -> RelaySurvey {
    try request { () throws(RelayError) in try inner.surveyStranger() }
  }
  package func read(_ stream: RelayStream, from position: RelayPosition) throws(RelayError) -> RelayChunk {
    try request { () throws(RelayError) in try inner.read(stream, from: position) }
  }
  package func frames(in stream: RelayStream) throws(RelayError) -> [[UInt8]] {
    try request { () throws(RelayError) in try inner.frames(in: stream) }
  }
  package func contents(of stream: RelayStream) throws(RelayError) -> RelayContents {
    try request { () throws(RelayError) in try inner.contents(of: stream) }
  }
  package func salvage(_ stream: RelayStream) throws(RelayError) -> [[UInt8]] {
    try request { () throws(RelayError) in try inner.salvage(stream) }
  }
  package func append(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) -> RelayPosition {
    try request { () throws(RelayError) in try inner.append(frames, to: stream) }
  }
  package func appendNext(
    _ frame: [UInt8], after previous: [UInt8]?, to stream: RelayStream
  ) throws(RelayError) -> Bool {
    try request { () throws(RelayError) in try inner.appendNext(frame, after: previous, to: stream) }
  }
  package func appendAnyway(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) {
    try request { () throws(RelayError) in try inner.appendAnyway(frames, to: stream) }
  }
  package func replace(_ stream: RelayStream, with frames: [[UInt8]]) throws(RelayError) -> RelayPosition {
    try request { () throws(RelayError) in try inner.replace(stream, with: frames) }
  }
  package func putPresence(_ sealed: [UInt8], of tag: BlindTag) throws(RelayError) {
    try request { () throws(RelayError) in try inner.putPresence(sealed, of: tag) }
  }
  package func presence(of tag: BlindTag) throws(RelayError) -> [UInt8]? {
    try request { () throws(RelayError) in try inner.presence(of: tag) }
  }
  package func putMail(_ sealed: [UInt8], mailbox: String, slot: UInt8) throws(RelayError) {
    try inner.putMail(sealed, mailbox: mailbox, slot: slot)
  }
  package func mail(in mailbox: String, slot: UInt8) throws(RelayError) -> [UInt8]? {
    try inner.mail(in: mailbox, slot: slot)
  }
  package func removeMailbox(_ mailbox: String) throws(RelayError) { try inner.removeMailbox(mailbox) }
  package func putNotice(_ sealed: [UInt8], board: String, number: UInt64) throws(RelayError) -> Bool {
    try request { () throws(RelayError) in try inner.putNotice(sealed, board: board, number: number) }
  }
  package func notices(on board: String, after number: UInt64) throws(RelayError) -> [RelayNotice] {
    try request { () throws(RelayError) in try inner.notices(on: board, after: number) }
  }
  package func watch() -> (any RelayWatch)? { delayed }
}

/// Hands news on after a while, from a thread that sleeps until they are due.
private final class DelayedWatch: RelayWatch, @unchecked Sendable {
  // @unchecked: the mutable parts are behind the mutex.
  private let inner: any RelayWatch
  private let out = fm_wake_open()
  private let ready = Mutex<[RelayChange]>([])
  private let wait = Mutex<UInt64>(0)

  init(_ inner: any RelayWatch) {
    self.inner = inner
    let thread = Thread { [weak self] in
      var descriptor = [inner.descriptor]
      while true {
        var flag: [UInt8] = [0]
        _ = fm_wait(&descriptor, &flag, 1, -1)
        guard let self else { return }
        self.pass()
      }
    }
    thread.name = "slow network"
    thread.start()
  }

  var delay: UInt64 {
    get { wait.withLock { $0 } }
    set { wait.withLock { $0 = newValue } }
  }

  private func pass() {
    let changes = inner.changes()
    let milliseconds = delay
    if milliseconds > 0 { Thread.sleep(forTimeInterval: Double(milliseconds) / 1_000) }
    ready.withLock { ready in
      for change in changes where !ready.contains(change) { ready.append(change) }
    }
    fm_wake_signal(out)
  }

  var descriptor: Int32 { out }

  func changes() -> [RelayChange] {
    fm_wake_clear(out)
    return ready.withLock { ready in
      defer { ready = [] }
      return ready
    }
  }
}
