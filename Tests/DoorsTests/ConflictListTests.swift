import Causality
import ConflictResolution
import Storage
import Stores
import Testing
import Therapy

/// What is listed of conflicts: versions that are the same count once, and no list grows without limit.
@Suite("Lists of conflicts")
struct ConflictListTests {
  private let sandbox: Sandbox
  private let actions: Actions

  init() throws {
    sandbox = try Sandbox()
    actions = Actions(try sandbox.newStore())
  }

  private func write(_ id: RecordID, _ kind: String, _ field: String, _ texts: [String]) throws {
    _ = try actions.commit(texts.map { Draft(record: id, kind: kind, field: field, mutation: .set(.text($0)), lane: .ordinary, replaces: []) })
  }

  @Test("what several devices wrote alike is one version; beyond eight it is said how many more there are")
  func versions() throws {
    let id = actions.newRecordID()
    try write(id, "journal", "title", ["a", "b", "a", "a"])
    let few = try #require(try actions.conflicts(of: id).first)
    #expect(Set(few.versions.map(\.value)) == ["a", "b"] && few.versions.count == 2 && few.moreVersions == 0)
    try write(id, "journal", "title", (0..<20).map { "version \($0)" })
    let many = try #require(try actions.conflicts(of: id).first)
    #expect(many.versions.count == Limits.listedVersions && many.moreVersions == 22 - Limits.listedVersions)
    #expect(many.versions.first?.isChosen == true, "what is shown is among them")
  }

  @Test("a record of a newer version may have any number of fields: so many are listed, with a note")
  func fields() throws {
    let id = actions.newRecordID()
    for field in 0..<40 { try write(id, "dream", "field\(field)", ["a", "b"]) }
    let listed = try actions.conflicts(of: id)
    #expect(listed.count == Limits.conflictsPerRecord && listed.allSatisfy { $0.moreInRecord == 40 - Limits.conflictsPerRecord })
    #expect(try SnapshotBuilder.fromStore(actions.store, relay: "").conflicts.count == Limits.conflictsPerRecord)
    for conflict in listed { try actions.resolve(id, field: conflict.field, keeping: try #require(conflict.versions.first).id) }
    #expect(try actions.conflicts(of: id).first?.moreInRecord == 40 - 2 * Limits.conflictsPerRecord, "the next ones come up")
  }

  @Test("what weighs most is listed first, however much was written since")
  func weightiest() throws {
    let critical = actions.newRecordID()
    _ = try actions.commit([1, 3].map { Draft(record: critical, kind: "assessment", field: "item9", mutation: .set(.integer($0)), lane: .ordinary, replaces: []) })
    for _ in 0..<130 { try write(actions.newRecordID(), "check-in", "note", ["a", "b"]) }
    let snapshot = try SnapshotBuilder.fromStore(actions.store, relay: "")
    #expect(snapshot.conflicts.count == Limits.listedConflicts && snapshot.conflictCount == 131)
    #expect(snapshot.oldestConflict == snapshot.conflicts.first?.versions.map(\.timestamp).max(), "it has waited longest")
    #expect(snapshot.conflicts.first?.record == critical && snapshot.conflicts.first?.impact == .critical)
    #expect(try actions.conflicts().map(\.record).prefix(100) == snapshot.conflicts.map(\.record)[...], "the command lists them in the same order")
    try actions.resolve(critical, field: "item9", keeping: try #require(snapshot.conflicts.first?.versions.first).id)
    let after = try SnapshotBuilder.fromStore(actions.store, relay: "")
    #expect(after.conflictCount == 130 && !after.conflicts.contains { $0.record == critical })
  }

  @Test("every open conflict can be listed and settled, also beyond those of the dashboard")
  func all() throws {
    for _ in 0..<130 { try write(actions.newRecordID(), "journal", "title", ["a", "b"]) }
    #expect(try actions.conflicts().count == 130)
    #expect(try SnapshotBuilder.fromStore(actions.store, relay: "").conflicts.count == Limits.listedConflicts)
    #expect(try actions.resolveAll(type: "data divergence") == 130)
    let report = try SnapshotBuilder.fromStore(actions.store, relay: "")
    #expect(report.conflicts.isEmpty && report.decisions.methods.map(\.made) == [130] && report.decisions.types.map(\.name) == ["data divergence"])
    #expect(report.decisions.p50 != nil && report.decisions.max != nil)
  }
}
