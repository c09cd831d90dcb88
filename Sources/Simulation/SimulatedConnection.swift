import Causality
import Relays
import Replica

/// A careless connection to the relay: requests and answers get lost, partitions come and go.
final class SimulatedConnection: Relay, @unchecked Sendable {
  // @unchecked: a world runs on one thread; each world has its own connections.
  private let inner: MemoryConnection
  var isPartitioned = false
  var faults: Faults?
  var random: SeededRandom
  /// What this device changed on the relay since the world last looked.
  var touched: [RelayChange] = []
  var met: (Probe) -> Void = { _ in }

  init(_ inner: MemoryConnection, seed: UInt64) {
    self.inner = inner
    random = SeededRandom(seed: seed)
  }

  /// The connection of another process of the device, which has seen nothing yet.
  func another(seed: UInt64) -> SimulatedConnection {
    let other = SimulatedConnection(inner.another(), seed: seed)
    (other.isPartitioned, other.isAway, other.takesAnything) = (isPartitioned, isAway, takesAnything)
    (other.faults, other.met) = (faults, met)
    return other
  }

  /// The folder is not the relay: a drive is not mounted, or another one is.
  var isAway = false
  /// Takes whatever lies there for the relay, as no program should.
  var takesAnything = false

  private func request<Answer>(_ body: () throws(RelayError) -> Answer) throws(RelayError) -> Answer {
    if isPartitioned { throw .unreachable("the relay") }
    if isAway, !takesAnything { throw random.happens(permille: 500) ? .noRelay("the relay") : .another("the relay", identity: 99) }
    if let faults, random.happens(permille: faults.lostRequests) {
      met(.lostRequest)
      throw .unreachable("the relay")
    }
    let answer = try body()
    if let faults, random.happens(permille: faults.lostAnswers) {
      met(.lostAnswer)
      throw .unreachable("the relay")
    }
    return answer
  }

  func survey() throws(RelayError) -> RelaySurvey {
    try request { () throws(RelayError) in try inner.survey() }
  }

  func adopt(_ identity: UInt64) { inner.adopt(identity) }

  func surveyStranger() throws(RelayError) -> RelaySurvey {
    // The relay that lies there meanwhile is empty.
    if isAway { return RelaySurvey(identity: 99, streams: [], ownEnds: [:], presences: []) }
    return try request { () throws(RelayError) in try inner.surveyStranger() }
  }

  func read(_ stream: RelayStream, from position: RelayPosition) throws(RelayError) -> RelayChunk {
    try request { () throws(RelayError) in try inner.read(stream, from: position) }
  }

  func frames(in stream: RelayStream) throws(RelayError) -> [[UInt8]] {
    try request { () throws(RelayError) in try inner.frames(in: stream) }
  }

  func salvage(_ stream: RelayStream) throws(RelayError) -> [[UInt8]] {
    try request { () throws(RelayError) in try inner.salvage(stream) }
  }

  func appendAnyway(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) {
    try request { () throws(RelayError) in
      try inner.appendAnyway(frames, to: stream)
      touched.append(.stream(stream))
    }
  }

  func append(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) -> RelayPosition {
    // Into a folder that nobody reads.
    if isAway, takesAnything { return RelayPosition(generation: 99, offset: 99) }
    return try request { () throws(RelayError) in
      let end = try inner.append(frames, to: stream)
      touched.append(.stream(stream))
      return end
    }
  }

  func appendNext(_ frame: [UInt8], after previous: [UInt8]?, to stream: RelayStream) throws(RelayError) -> Bool {
    try request { () throws(RelayError) in
      let isAppended = try inner.appendNext(frame, after: previous, to: stream)
      if isAppended { touched.append(.stream(stream)) }
      return isAppended
    }
  }

  func replace(_ stream: RelayStream, with frames: [[UInt8]]) throws(RelayError) -> RelayPosition {
    try request { () throws(RelayError) in
      let end = try inner.replace(stream, with: frames)
      touched.append(.stream(stream))
      return end
    }
  }

  func putPresence(_ sealed: [UInt8], of tag: BlindTag) throws(RelayError) {
    try request { () throws(RelayError) in
      try inner.putPresence(sealed, of: tag)
      touched.append(.presence(tag))
    }
  }

  func presence(of tag: BlindTag) throws(RelayError) -> [UInt8]? {
    try request { () throws(RelayError) in try inner.presence(of: tag) }
  }

  func putMail(_ sealed: [UInt8], mailbox: String, slot: UInt8) throws(RelayError) {
    try inner.putMail(sealed, mailbox: mailbox, slot: slot)
  }

  func mail(in mailbox: String, slot: UInt8) throws(RelayError) -> [UInt8]? {
    try inner.mail(in: mailbox, slot: slot)
  }

  func removeMailbox(_ mailbox: String) throws(RelayError) { try inner.removeMailbox(mailbox) }

  func putNotice(_ sealed: [UInt8], board: String, number: UInt64) throws(RelayError) -> Bool {
    try request { () throws(RelayError) in try inner.putNotice(sealed, board: board, number: number) }
  }

  func notices(on board: String, after number: UInt64) throws(RelayError) -> [RelayNotice] {
    try request { () throws(RelayError) in try inner.notices(on: board, after: number) }
  }

  func watch() -> (any RelayWatch)? { nil }
}
