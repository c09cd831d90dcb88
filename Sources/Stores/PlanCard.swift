import Foundation
import Storage
import Therapy

/// The plan as plain text beside the store, where the person wants it readable without a passphrase.
///
/// Its existence is the person's consent on this device; whoever can read the files of this user can
/// read it.
package enum PlanCard {
  private static let limit = 64 << 10
  /// The kinds of records that it is made of.
  static let kinds: Set<String> = [RecordCatalogue.plan.kind, RecordCatalogue.contact.kind]

  package static func path(_ home: HomeFolder) -> String { home.path + "/plan-card.txt" }

  package static func isWanted(_ home: HomeFolder) -> Bool { FileManager.default.fileExists(atPath: path(home)) }

  /// The lines; empty when there is none, or none that can be read.
  package static func lines(_ home: HomeFolder) -> [String] {
    let descriptor = open(path(home), O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: limit)
    let count = read(descriptor, &bytes, limit)
    guard count > 0 else { return [] }
    return String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  /// Writes it from the store, where it is wanted.
  package static func refresh(_ store: Store) {
    guard isWanted(store.home), let plan = try? plan(in: store) else { return }
    try? write(plan, store.home)
  }

  package static func setWanted(_ isWanted: Bool, _ store: Store) throws {
    if isWanted { return try write(try plan(in: store), store.home) }
    if Self.isWanted(store.home) { try FileManager.default.removeItem(atPath: path(store.home)) }
  }

  package static func plan(in store: Store) throws -> SafetyPlan {
    try store.read { try SafetyPlan($0) }
  }

  private static func write(_ plan: SafetyPlan, _ home: HomeFolder) throws {
    let text = plan.lines.joined(separator: "\n")
    try HomeFolder.writePrivate(Array((text.isEmpty ? "" : text + "\n").utf8), to: path(home))
  }
}

extension SafetyPlan {
  /// The plan in a store.
  package init(_ transaction: SQLiteTransaction) throws {
    self.init(
      plans: try transaction.allRecords(kind: RecordCatalogue.plan.kind),
      contacts: try transaction.readableRecords(kind: RecordCatalogue.contact.kind))
  }

  /// The contacts alone. One that cannot be read any more keeps nobody else from being told; `doctor` finds it.
  package static func contacts(_ transaction: SQLiteTransaction) throws -> [Contact] {
    SafetyPlan(plans: [], contacts: try transaction.readableRecords(kind: RecordCatalogue.contact.kind)).contacts
  }
}
