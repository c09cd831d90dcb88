import CSystem
import Causality
import ConflictResolution
import Crisis
import Dashboard
import Foundation
import Replica
import Storage
import Stores
import Synchronization
import Terminal
import Therapy

/// What the dashboard writes, and what it says of it.
extension DashboardHost {
  /// What an intent writes; `nil` for one that writes nothing.
  func write(for intent: Intent) -> (@Sendable (Actions) throws -> Void)? {
    switch intent {
    case .add(let kind, let assignments): return { _ = try $0.add(kind: kind, assignments) }
    case .editPlan(let assignments): return { try $0.editPlan(assignments) }
    case .remove(let record):
      guard let id = RecordID(record) else { return nil }
      return { try $0.remove(id) }
    case .resolve(let record, let field, let version): return settling(record, field) { try $0.resolve($1, field: field, keeping: version) }
    case .resolveBy(let method, let record, let field): return settling(record, field) { try $0.resolve($1, field: field, by: method) }
    case .resolveWith(let record, let field, let text): return settling(record, field) { try $0.resolve($1, field: field, with: text) }
    case .resolveAll(let type): return { _ = try $0.resolveAll(type: type) }
    case .saveProgress(let session, let elapsed, let phase): return progress(session, elapsed, phase)
    default: return nil
    }
  }

  private func progress(_ session: String, _ elapsed: Double, _ phase: String?) -> (@Sendable (Actions) throws -> Void)? {
    guard let id = RecordID(session) else { return nil }
    return { _ = try $0.progress(id, to: elapsed, phase: phase.flatMap(SessionState.Phase.init(rawValue:))) }
  }

  /// Settles what was written apart. An answer that calls for help offers it, whichever way it came to be there.
  private func settling(
    _ record: String, _ field: String, _ body: @escaping @Sendable (Actions, RecordID) throws -> Void
  ) -> (@Sendable (Actions) throws -> Void)? {
    guard let id = RecordID(record) else { return nil }
    let notices = notices
    return { actions in
      try body(actions, id)
      guard RecordState.isAnswer(field), let offer = try actions.offer(of: id) else { return }
      notices.post(.tell("Because \(offer.reason.text): ! shows help lines and tells your devices."))
    }
  }

  /// Writes, and says what came of it: after it is so.
  func save(_ intent: Intent) {
    // One after the other: what came of each is told in the order in which it was asked for.
    saves.async { [self] in
      // A store that went away may be back, or another one may lie in its place.
      if state.withLock({ $0.problem != nil }) { reopen() }
      saveNow(intent)
    }
  }

  /// Milliseconds after which the next one has its turn although this one has not ended.
  private static let longest = 15_000

  private func saveNow(_ intent: Intent) {
    let notices = notices
    if let problem = state.withLock({ $0.problem }) { return notices.post(.saved(problem: Self.words(problem))) }
    guard let write = write(for: intent) else { return notices.post(.saved(problem: "What was meant is not there any more.")) }
    let done = Latch()
    send(.perform { actions in
      defer { done.open() }
      do {
        try write(actions)
        notices.post(.saved(problem: nil))
      } catch { notices.post(.saved(problem: Self.words(error))) }
    })
    _ = done.wait(Self.longest)
  }

  /// What happened, what was kept, what to do, and the code.
  static func words(_ error: any Error) -> String {
    let actionable = Output.actionable(error)
    return "\(actionable.summary) \(actionable.remedy) (\(actionable.code))"
  }
}
