import Causality
import Relays
import Replica
import Synchronization

/// A relay for commands: every call has an end, whatever the folder does.
///
/// A call that takes longer is left behind on a thread of its own; while one is, others are not begun: a share that
/// hangs would take a thread each.
package final class PatientRelay: Relay {
  private let inner: any Relay
  private let name: String
  private let milliseconds: Int
  private let isAskedOnce: Bool
  private let hanging = Mutex<Latch?>(nil)
  private let hasHung = Mutex(false)

  /// Milliseconds that a call may take.
  package static let patience = 5_000

  /// - Parameter isAskedOnce: Whether all calls share one deadline: after one that took longer none is begun.
  package init(_ inner: any Relay, named name: String, patience milliseconds: Int = PatientRelay.patience, isAskedOnce: Bool = false) {
    (self.inner, self.name, self.milliseconds, self.isAskedOnce) = (inner, name, milliseconds, isAskedOnce)
  }

  /// - Throws: ``RelayError/unanswered(_:)`` where some call has taken longer: what the others found is not the whole.
  package func requireAnswers() throws(RelayError) {
    if hasHung.withLock({ $0 }) { throw .unanswered(name) }
  }

  /// Which relay lies in a folder.
  ///
  /// - Throws: As ``FolderRelay/identity()``; ``RelayError/unanswered(_:)`` where it takes longer.
  package static func identity(of folder: FolderRelay, at path: String) throws(RelayError) -> UInt64 {
    try answer(path) { () throws(RelayError) in try folder.identity() }
  }

  /// Makes a relay in a folder, or finds the one that is there.
  ///
  /// - Throws: As ``FolderRelay/make(at:)``; ``RelayError/unanswered(_:)`` where it takes longer.
  package static func make(at path: String) throws(RelayError) -> UInt64 {
    try answer(path) { () throws(RelayError) in try FolderRelay.make(at: path) }
  }

  private static func answer(_ place: String, _ body: @escaping @Sendable () throws(RelayError) -> UInt64) throws(RelayError) -> UInt64 {
    let attempt = Attempt { () -> Result<UInt64, RelayError> in
      do throws(RelayError) { return .success(try body()) } catch { return .failure(error) }
    }
    guard let answer = attempt.answer(within: patience) else { throw .unanswered(place) }
    return try answer.get()
  }

  /// As ``identity(of:at:)``, of the folder that is behind this one.
  package func identity(of folder: FolderRelay) throws(RelayError) -> UInt64 { try call { _ throws(RelayError) in try folder.identity() } }

  private func call<Answer: Sendable>(_ body: @escaping @Sendable (any Relay) throws(RelayError) -> Answer) throws(RelayError) -> Answer {
    if isAskedOnce { try requireAnswers() }
    if let latch = hanging.withLock({ $0 }), !latch.wait(milliseconds) { throw .unanswered(name) }
    let (inner, back) = (inner, Latch())
    hanging.withLock { $0 = back }
    let attempt = Attempt { () -> Result<Answer, RelayError> in
      defer { back.open() }
      do throws(RelayError) { return .success(try body(inner)) } catch { return .failure(error) }
    }
    guard let answer = attempt.answer(within: milliseconds) else {
      hasHung.withLock { $0 = true }
      throw .unanswered(name)
    }
    return try answer.get()
  }

  package func adopt(_ identity: UInt64) { inner.adopt(identity) }
  package func survey() throws(RelayError) -> RelaySurvey { try call { relay throws(RelayError) in try relay.survey() } }
  package func surveyStranger() throws(RelayError) -> RelaySurvey { try call { relay throws(RelayError) in try relay.surveyStranger() } }
  package func read(_ stream: RelayStream, from position: RelayPosition) throws(RelayError) -> RelayChunk {
    try call { relay throws(RelayError) in try relay.read(stream, from: position) }
  }
  package func frames(in stream: RelayStream) throws(RelayError) -> [[UInt8]] { try call { relay throws(RelayError) in try relay.frames(in: stream) } }
  package func salvage(_ stream: RelayStream) throws(RelayError) -> [[UInt8]] { try call { relay throws(RelayError) in try relay.salvage(stream) } }
  package func append(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) -> RelayPosition {
    try call { relay throws(RelayError) in try relay.append(frames, to: stream) }
  }
  package func appendNext(_ frame: [UInt8], after previous: [UInt8]?, to stream: RelayStream) throws(RelayError) -> Bool {
    try call { relay throws(RelayError) in try relay.appendNext(frame, after: previous, to: stream) }
  }
  package func appendAnyway(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) {
    try call { relay throws(RelayError) in try relay.appendAnyway(frames, to: stream) }
  }
  package func replace(_ stream: RelayStream, with frames: [[UInt8]]) throws(RelayError) -> RelayPosition {
    try call { relay throws(RelayError) in try relay.replace(stream, with: frames) }
  }
  package func putPresence(_ sealed: [UInt8], of tag: BlindTag) throws(RelayError) {
    try call { relay throws(RelayError) in try relay.putPresence(sealed, of: tag) }
  }
  package func presence(of tag: BlindTag) throws(RelayError) -> [UInt8]? { try call { relay throws(RelayError) in try relay.presence(of: tag) } }
  package func putMail(_ sealed: [UInt8], mailbox: String, slot: UInt8) throws(RelayError) {
    try call { relay throws(RelayError) in try relay.putMail(sealed, mailbox: mailbox, slot: slot) }
  }
  package func mail(in mailbox: String, slot: UInt8) throws(RelayError) -> [UInt8]? {
    try call { relay throws(RelayError) in try relay.mail(in: mailbox, slot: slot) }
  }
  package func removeMailbox(_ mailbox: String) throws(RelayError) { try call { relay throws(RelayError) in try relay.removeMailbox(mailbox) } }
  package func putNotice(_ sealed: [UInt8], board: String, number: UInt64) throws(RelayError) -> Bool {
    try call { relay throws(RelayError) in try relay.putNotice(sealed, board: board, number: number) }
  }
  package func notices(on board: String, after number: UInt64) throws(RelayError) -> [RelayNotice] {
    try call { relay throws(RelayError) in try relay.notices(on: board, after: number) }
  }
  package func watch() -> (any RelayWatch)? { (try? call { relay throws(RelayError) in relay.watch() }) ?? nil }
}
