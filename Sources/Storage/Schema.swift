import Causality
import Foundation
import GRDB
import Therapy

/// The tables of a store. Identifiers, sequence numbers and times are plain; whatever a person or a
/// device said is sealed. What a record is looked up by (its kind, the impact of what is open in it) is a keyed hash.
enum Schema {
  /// The format written into `user_version`. A store with a higher one is not touched.
  static let version = 2

  static let statements = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE devices (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE);
    CREATE TABLE records (
      id BLOB PRIMARY KEY, kind BLOB NOT NULL, latest INTEGER NOT NULL, flags INTEGER NOT NULL, body BLOB NOT NULL,
      impact BLOB
    ) WITHOUT ROWID;
    CREATE INDEX records_by_kind ON records (kind, latest);
    CREATE INDEX records_open ON records (impact, latest) WHERE impact IS NOT NULL;
    CREATE TABLE heads (
      device INTEGER NOT NULL, channel INTEGER NOT NULL, applied INTEGER NOT NULL, batched INTEGER NOT NULL,
      hash BLOB NOT NULL, PRIMARY KEY (device, channel)
    ) WITHOUT ROWID;
    CREATE TABLE pending (
      lane INTEGER NOT NULL, sequence INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (lane, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE batches (
      device INTEGER NOT NULL, channel INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
      hash BLOB NOT NULL, frame BLOB NOT NULL, UNIQUE (device, channel, first)
    );
    CREATE TABLE history (
      record BLOB NOT NULL, device INTEGER NOT NULL, channel INTEGER NOT NULL, sequence INTEGER NOT NULL,
      PRIMARY KEY (record, device, channel, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE quarantine (
      device INTEGER NOT NULL, lane INTEGER NOT NULL, sequence INTEGER NOT NULL, body BLOB NOT NULL,
      PRIMARY KEY (device, lane, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE membership (number INTEGER PRIMARY KEY, entry BLOB NOT NULL);
    CREATE TABLE usage (day INTEGER PRIMARY KEY, operations INTEGER NOT NULL);
    CREATE TABLE peers (device INTEGER PRIMARY KEY, heard INTEGER NOT NULL, round_trip INTEGER, body BLOB NOT NULL);
    CREATE TABLE measurements (operation TEXT NOT NULL, mode TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (operation, mode)) WITHOUT ROWID;
    """

  /// What makes a store of the version before into one of the version named.
  private static let steps: [(to: Int, perform: @Sendable (Database, Seals) throws -> Void)] = [
    (
      2,
      { database, seals in
        // The weightiest conflicts are found first, and the index alone counts them: 0.2 ms for 10,000 instead of 6.
        try database.execute(
          sql: """
            DROP INDEX records_open;
            ALTER TABLE records ADD COLUMN impact BLOB;
            CREATE INDEX records_open ON records (impact, latest) WHERE impact IS NOT NULL;
            """)
        var transaction = SQLiteTransaction(database, seals)
        for bytes in try Data.fetchAll(database, sql: "SELECT id FROM records WHERE flags & 1") {
          // One that cannot be read stays as it is: `doctor` tells of it, and the others must open.
          guard let id = RecordID(bytes: bytes), let record = try? transaction.record(id) else { continue }
          try transaction.put(record)
        }
      }
    )
  ]

  /// Makes an older store into one of this version, completely or not at all.
  ///
  /// - Throws: ``StorageError/newerVersion(_:found:supported:)`` for one that a newer program has written; it is left alone.
  static func bringUp(_ database: Database, _ seals: Seals, _ file: String) throws {
    func found() throws -> Int { try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0 }
    guard try found() <= version else { throw StorageError.newerVersion(file, found: try found(), supported: version) }
    guard try found() < version else { return }
    try database.inTransaction(.immediate) {
      // Read again: another process may have been faster.
      for step in try steps.drop(while: { try $0.to <= found() }) { try step.perform(database, seals) }
      try database.execute(sql: "PRAGMA user_version = \(version)")
      return .commit
    }
  }
}

/// Keys of the `meta` table.
enum MetaKey: String {
  case keyRing = "key-ring"
  case incarnation
  case clock
  case stateHash = "state-hash"
  case relayProgress = "relay-progress"
  case settings
  case crisisSeen = "crisis-seen"
  case crisisShown = "crisis-shown"
  case syncWishes = "sync-wishes"
}

/// Columns, as sealed values name them.
enum Column {
  static let body: UInt8 = 1
  static let entry: UInt8 = 2
  static let value: UInt8 = 3

  /// What the hash in the column of that name is made of.
  static func impact(_ impact: ConflictImpact) -> String { "impact \(impact.rawValue)" }
}
