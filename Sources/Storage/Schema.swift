import Causality
import Foundation
import GRDB
import Therapy

/// The tables of a store. Identifiers, sequence numbers and times are plain; whatever a person or a
/// device said is sealed. What a record is looked up by (its kind, the impact of what is open in it) is a keyed hash.
enum Schema {
  /// The format written into `user_version`. A store with a higher one is not touched.
  static let version = 11
  /// The oldest format that can be read. Earlier ones were never released.
  static let oldest = 11

  static let statements = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    -- A writer is a device in one life of its store.
    CREATE TABLE writers (
      number INTEGER PRIMARY KEY, device BLOB NOT NULL, incarnation INTEGER NOT NULL, UNIQUE (device, incarnation)
    );
    CREATE TABLE records (
      id BLOB PRIMARY KEY, kind BLOB NOT NULL, latest INTEGER NOT NULL, flags INTEGER NOT NULL, body BLOB NOT NULL,
      impact BLOB
    ) WITHOUT ROWID;
    CREATE INDEX records_by_kind ON records (kind, latest);
    CREATE INDEX records_open ON records (impact, latest) WHERE impact IS NOT NULL;
    -- The ends of the histories of a stream; branch 0 is the one that came first.
    CREATE TABLE heads (
      writer INTEGER NOT NULL, channel INTEGER NOT NULL, branch INTEGER NOT NULL, applied INTEGER NOT NULL,
      batched INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (writer, channel, branch)
    ) WITHOUT ROWID;
    -- The same of streams that are closed and complete: nobody is told of them, and nothing looks through them.
    CREATE TABLE folded (
      writer INTEGER NOT NULL, channel INTEGER NOT NULL, branch INTEGER NOT NULL, applied INTEGER NOT NULL,
      batched INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (writer, channel, branch)
    ) WITHOUT ROWID;
    CREATE TABLE closings (
      writer INTEGER NOT NULL, channel INTEGER NOT NULL, sequence INTEGER NOT NULL, hash INTEGER NOT NULL, wall INTEGER NOT NULL,
      PRIMARY KEY (writer, channel, sequence, hash)
    ) WITHOUT ROWID;
    -- When something was written last in a stream of this device that had been closed: a copy that is alive.
    CREATE TABLE outlived (writer INTEGER NOT NULL, channel INTEGER NOT NULL, wall INTEGER NOT NULL, PRIMARY KEY (writer, channel)) WITHOUT ROWID;
    -- What is folded, and what this device wrote, added up.
    CREATE TABLE totals (
      device BLOB NOT NULL, channel INTEGER NOT NULL, folded INTEGER NOT NULL, PRIMARY KEY (device, channel)
    ) WITHOUT ROWID;
    CREATE TABLE own (channel INTEGER PRIMARY KEY, operations INTEGER NOT NULL, position INTEGER NOT NULL);
    CREATE TABLE pending (
      number INTEGER PRIMARY KEY, writer INTEGER NOT NULL, lane INTEGER NOT NULL, sequence INTEGER NOT NULL,
      mark INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (writer, lane, sequence)
    );
    CREATE INDEX pending_by_lane ON pending (lane, number);
    CREATE TABLE batches (
      number INTEGER PRIMARY KEY, writer INTEGER NOT NULL, channel INTEGER NOT NULL, own INTEGER NOT NULL,
      first INTEGER NOT NULL, count INTEGER NOT NULL, hash BLOB NOT NULL, marks BLOB NOT NULL, frame BLOB NOT NULL
    );
    CREATE INDEX batches_by_stream ON batches (writer, channel, first);
    CREATE INDEX batches_own ON batches (channel) WHERE own = 1;
    CREATE TABLE history (
      record BLOB NOT NULL, writer INTEGER NOT NULL, channel INTEGER NOT NULL, sequence INTEGER NOT NULL,
      PRIMARY KEY (record, writer, channel, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE early (operation BLOB PRIMARY KEY, device BLOB NOT NULL, channel INTEGER NOT NULL, count INTEGER NOT NULL, frame BLOB NOT NULL);
    CREATE TABLE quarantine (
      operation BLOB PRIMARY KEY, writer INTEGER NOT NULL, channel INTEGER NOT NULL, sequence INTEGER NOT NULL,
      due INTEGER NOT NULL, body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX quarantine_by_due ON quarantine (due);
    CREATE TABLE membership (number INTEGER PRIMARY KEY, entry BLOB NOT NULL);
    CREATE TABLE usage (day INTEGER PRIMARY KEY, operations INTEGER NOT NULL);
    CREATE TABLE peers (device BLOB PRIMARY KEY, heard INTEGER NOT NULL, round_trip INTEGER, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE admissions (device BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE measurements (operation TEXT NOT NULL, mode TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (operation, mode)) WITHOUT ROWID;
    """

  /// What makes a store of the format before into one of the format named: frozen statements, which describe the past
  /// and call nothing of this program.
  private static let migrations: [(to: Int, sql: String)] = []

  /// Makes an older store into one of this version, completely or not at all.
  ///
  /// - Throws: ``StorageError/newerVersion(_:found:supported:)`` for one that a newer program has written,
  ///   ``StorageError/olderVersion(_:found:supported:)`` for one that was never released; it is left alone.
  static func migrate(_ database: Database, _ file: String) throws {
    func found() throws -> Int { try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0 }
    let format = try found()
    guard format <= version else { throw StorageError.newerVersion(file, found: format, supported: version) }
    guard format >= oldest else {
      // A file without any table is no older store: something emptied it.
      let tables = try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_master") ?? 0
      throw tables == 0 ? StorageError.damaged(file) : StorageError.olderVersion(file, found: format, supported: oldest)
    }
    guard format < version else { return }
    try database.inTransaction(.immediate) {
      // Read again: another process may have been faster.
      for migration in try migrations.drop(while: { try $0.to <= found() }) { try database.execute(sql: migration.sql) }
      try database.execute(sql: "PRAGMA user_version = \(version)")
      return .commit
    }
  }
}

/// Keys of the `meta` table.
enum MetaKey: String {
  case keyRing = "key-ring"
  /// The life of this store that writes now.
  case incarnation
  case clock
  case stateHash = "state-hash"
  case relayProgress = "relay-progress"
  /// Where the devices meet, and which relay that is.
  case relay
  case crisisSeen = "crisis-seen"
  case crisisShown = "crisis-shown"
  case syncRequests = "sync-requests"
  /// Another value with every look whether something can be written.
  case tried
  /// What the sync leader last said of itself.
  case leader
}

/// Columns, as sealed values name them.
enum Column {
  static let body: UInt8 = 1
  static let entry: UInt8 = 2
  static let value: UInt8 = 3

  /// What the hash in the column of that name is made of.
  static func impact(_ impact: ConflictImpact) -> String { "impact \(impact.rawValue)" }
}
