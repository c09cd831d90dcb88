/// Every limit of the program, in one place, each with its reason.
package enum Limits {
  /// Operations in one batch. One signature (16 µs to make, 73 µs to check) is then under 1.2 µs each.
  package static let operationsPerBatch = 64
  /// Bytes of one batch before sealing; keeps a crisis from waiting behind more than one read of this size.
  package static let batchBytes = 64 * 1_024
  /// Bytes of one sealed frame on a relay: a batch, its padding (at most one third) and its header.
  package static let frameBytes = 128 * 1_024
  /// How long an operation may wait for company while its lane is busy, in milliseconds.
  package static let batchAge: UInt64 = 50
  /// Batches applied in one transaction. 16 × 64 operations take about 8 ms: the longest that a crisis
  /// arriving in the meantime has to wait.
  package static let batchesPerApply = 16
  /// Bytes read from a relay at once; at least one frame always fits.
  package static let relayReadBytes = 192 * 1_024

  /// Characters of free text (DOMAIN.md, *Practices and check-ins*).
  package static let textCharacters = 2_000
  /// Bytes of one text: 2,000 characters of any script, with room for combining marks.
  package static let textBytes = 16 * 1_024
  /// Entries in a list (DOMAIN.md).
  package static let listEntries = 20
  /// Bytes in a kind or field name.
  package static let nameBytes = 64
  /// Operations one write may replace: list entries and siblings of a record, with a wide margin.
  package static let replacedOperations = 4_096
  /// Characters in a device name, so that it fits one line of an 80-column screen.
  package static let deviceNameCharacters = 40

  /// Cursors in one presence: every stream of 50 devices, several times over; 16 bytes each and the frame's limit holds.
  package static let presenceCursors = 3_000
  /// Bytes that a device carries for others, per channel; what is older than a relay comes from backups then.
  package static let carriedBytes: UInt64 = 64 * 1_024 * 1_024
  /// Bytes of one emergency journal: an activation and what takes it back are less than a kilobyte.
  package static let journalBytes = 64 * 1_024
  /// Frames of emergencies whose content a process remembers.
  package static let openedFrames = 1_024
  /// Sequence numbers: more than anybody writes, and room to add to them.
  package static let sequences: UInt64 = 1 << 62
  /// Lives of a store that are over and not closed: more than restoring it can explain.
  package static let openLives = 16
  /// Streams that one closing names: every channel, and histories that a copied home made of it.
  package static let closedStreams = 64
  /// Membership entries that wait for their signers: as many as a household has devices, several times over.
  package static let waitingEntries = 256
  /// Frames at the beginning of a membership file that are read of a device that is not known, one entry in each: about what
  /// one read brings. Longer chains of admissions belong to the account all the same; an introduction has the end of them.
  package static let introducedBy = 64
  /// Files of unknown devices that one look at a relay reads, each once and at most `relayReadBytes` of it: more is not taken
  /// for understood. Anybody can make folders there; a household has a few.
  package static let strangersRead = 512
  /// How often the relay's introductions are gone through, each time with those who became known by the last.
  package static let introductionRounds = 4
  /// Emergency keys of one device: one for each time that it was put back or set up anew.
  package static let emergencyKeys = 32

  /// Devices of the largest tier; tables are sized for it, nothing is refused at it.
  package static let devices = 50
  /// Conflicts listed at once: the weightiest ones, of equal ones the newest, which cost 3 ms of the first picture at most.
  package static let listedConflicts = 100
  /// Versions of one conflict that are listed; a field that more devices wrote apart says how many more there are.
  package static let listedVersions = 8
  /// Conflicts of one record that are listed; a record of a newer version may have any number of fields.
  package static let conflictsPerRecord = 16
  /// Reasons that a decision carries, and the bytes of one: a sentence each.
  package static let reasons = 4
  package static let reasonBytes = 480
  /// Events the dashboard keeps for its list.
  package static let keptEvents = 500
  /// Frames per second the screen is drawn at most.
  package static let framesPerSecond = 30

  /// Bytes of a notice before sealing: a name, and what it is about. All have this size.
  package static let noticeBytes = 1_024
  /// Activations that one notice can be about; a crisis has one or two.
  package static let noticeActivations = 12
  /// Characters of the name that a contact knows the person as.
  package static let personCharacters = 40
  /// Numbers of a board.
  package static let notices: UInt64 = 1 << 32
  /// Bytes of a file on a relay that are looked through for frames, at most.
  package static let searchedBytes = 256 * 1_024 * 1_024
  /// How often a notice is put up under the next number when others were faster: every device once.
  package static let noticeAttempts = 64

  /// Bytes of a question to reviewers before sealing: the smallest of these that holds it.
  package static let reviewBytes = [4 * 1_024, 16 * 1_024, 60 * 1_024]
  /// Who can be asked about one conflict.
  package static let reviewers = 8

  /// How long an invitation code lives, in milliseconds (PROTOCOL.md).
  package static let invitationLife: UInt64 = 5 * 60 * 1_000
  /// Bytes of one enrolment message: a certificate is 1.4 KB, a full key ring and membership log 40 KB.
  package static let mailBytes = 256 * 1_024
}
