import CSystem
import Causality
import Foundation
import Replica
import Synchronization

/// A relay in a folder: append-only files, each written by its device alone.
///
/// ```text
/// FOLDER/epoch                            which relay this is; drawn when it was made, and only then
/// FOLDER/ACCOUNT/DEVICE/0.log … 5.log     one per channel; ACCOUNT and DEVICE are blinded tags
/// FOLDER/ACCOUNT/DEVICE/c0.log … c5.log   what the device carries there for others
/// FOLDER/ACCOUNT/DEVICE/presence          replaced in place
/// FOLDER/mail/MAILBOX/1 …                 messages of an enrolment, each put there once
/// FOLDER/boards/BOARD/1, 2, …             notices, each put up once and never changed
/// ```
///
/// A log begins with `FMRL`, a version byte, three zeros and its generation (8 bytes); each frame
/// follows its length (4 bytes, big-endian). Whatever else lies in the folder is left alone. Nothing is made where
/// there is no relay, and nothing is written to another one than is meant.
package final class FolderRelay: Relay {
  let root: String
  let account: String
  /// The account's blinded tag.
  let accountTag: [UInt8]
  package let ownTag: BlindTag?
  /// Which relay is meant; `nil` for whichever lies there.
  let meant: Mutex<UInt64?>
  let isTold: Bool?
  let watcher = Mutex<FolderWatcher??>(nil)
  /// How each own stream was left by this process.
  let ends = Mutex<[RelayStream: LogFile.Stamp]>([:])
  /// How large own files were when they were salvaged.
  let looked = Mutex<[RelayStream: Int]>([:])

  /// Touches nothing: a folder on a disk that hangs must not keep whoever opens it.
  ///
  /// - Parameters:
  ///   - account: The account's blinded tag; empty when there is none yet (joining).
  ///   - ownTag: This device's tag; its streams are the only ones this object writes.
  ///   - meant: Which relay is meant, where that is known.
  ///   - isTold: Whether the file system tells of changes; found out when absent.
  package init(path: String, account: [UInt8], ownTag: BlindTag?, meaning meant: UInt64? = nil, isTold: Bool? = nil) {
    root = path
    self.account = account.isEmpty ? "" : path + "/" + account.hexadecimal
    accountTag = account
    self.ownTag = ownTag
    self.meant = Mutex(meant)
    self.isTold = isTold
  }

  // MARK: Which relay it is

  /// Makes a relay in a folder, or finds the one that is there.
  ///
  /// - Returns: Which it is.
  /// - Throws: ``RelayError``.
  package static func make(at path: String) throws(RelayError) -> UInt64 {
    try makeFolders(path)
    let folder = FolderRelay(path: path, account: [], ownTag: nil)
    do { return try folder.identity() } catch .noRelay {}
    var random = SystemRandomNumberGenerator()
    let text = Array((UInt64.random(in: 1 ... .max, using: &random).bigEndianBytes.hexadecimal + "\n").utf8)
    _ = try folder.putOnce(text, at: path + "/epoch")
    return try folder.identity()
  }

  static func makeFolders(_ path: String) throws(RelayError) {
    if access(parent(of: path), F_OK) != 0, parent(of: path) != path { try makeFolders(parent(of: path)) }
    if mkdir(path, 0o700) != 0, errno != EEXIST { throw errno == ENOSPC ? .full : .unreachable(path) }
  }

  /// Which relay lies in the folder.
  ///
  /// - Throws: ``RelayError/noRelay(_:)`` where there is none.
  package func identity() throws(RelayError) -> UInt64 {
    let descriptor = open(root + "/epoch", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
    guard descriptor >= 0 else {
      guard errno == ENOENT else { throw .unreachable(root) }
      // Nothing at all, or a folder without a relay: a drive that is not mounted leaves either.
      throw access(root, F_OK) == 0 ? .noRelay(root) : .unreachable(root)
    }
    defer { Foundation.close(descriptor) }
    guard let bytes = LogFile.bytes(of: descriptor, at: 0, count: 17) else { throw .unreachable(root) }
    // A file that a service has brought in part is no relay yet.
    guard let identity = Self.identity(bytes) else { throw .noRelay(root) }
    return identity
  }

  /// 16 hexadecimal digits and the end of the line. Read before everything that is done with a relay, so without
  /// making a text of them.
  private static func identity(_ bytes: [UInt8]) -> UInt64? {
    guard bytes.count == 17, bytes[16] == UInt8(ascii: "\n") else { return nil }
    var identity: UInt64 = 0
    for digit in bytes[..<16] {
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): identity = identity << 4 | UInt64(digit - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"): identity = identity << 4 | UInt64(digit - UInt8(ascii: "a") + 10)
      default: return nil
      }
    }
    return identity
  }

  package func adopt(_ identity: UInt64) { meant.withLock { $0 = identity } }

  /// Makes sure that this is the relay that is meant, before anything is written to it.
  @discardableResult
  func check() throws(RelayError) -> UInt64 {
    let identity = try identity()
    if let meant = meant.withLock({ $0 }), meant != identity { throw .another(root, identity: identity) }
    return identity
  }

  static func parent(of path: String) -> String {
    let parent = (path as NSString).deletingLastPathComponent
    return parent.isEmpty ? "." : parent
  }

  // MARK: Modes

  /// How files and folders are made: for the owner alone, or for the group where the folder is a group's.
  func share() -> (folder: mode_t, file: mode_t, owner: (uid_t, gid_t)?) {
    var status = stat()
    guard stat(root, &status) == 0 else { return (0o700, 0o600, nil) }
    let isGroups = status.st_mode & 0o020 != 0
    // What a command run by the system's administrator makes belongs to whom the folder belongs to.
    let owner = geteuid() == 0 && status.st_uid != 0 ? (status.st_uid, status.st_gid) : nil
    return isGroups ? (0o2770, 0o660, owner) : (0o700, 0o600, owner)
  }

  func makeFolder(_ path: String) throws(RelayError) {
    if mkdir(path, 0o700) == 0 {
      let (mode, _, owner) = share()
      if mode != 0o700 { chmod(path, mode) }
      if let owner { chown(path, owner.0, owner.1) }
    } else if errno != EEXIST {
      throw errno == ENOSPC ? .full : .unreachable(path)
    }
  }

  /// A file that was just made gets the mode and the owner that files have here.
  func finish(_ path: String) {
    let (_, mode, owner) = share()
    if mode != 0o600 { chmod(path, mode) }
    if let owner { chown(path, owner.0, owner.1) }
  }

  // MARK: Listing

  package func survey() throws(RelayError) -> RelaySurvey {
    try check()
    return try list()
  }

  package func surveyStranger() throws(RelayError) -> RelaySurvey { try list() }

  func list() throws(RelayError) -> RelaySurvey {
    let identity = try identity()
    // Watches first: what appears between the two is then seen twice, not never.
    let watcher = watcher.withLock { $0 ?? nil }
    watcher?.watch(root, as: .root)
    watcher?.watch(account, as: .account)
    var streams: [RelayStream] = []
    var presences: [BlindTag] = []
    for name in try names(in: account) ?? [] {
      guard let tag = Self.tag(name) else { continue }
      let folder = account + "/" + name
      watcher?.watch(folder, as: .device(tag))
      guard let files = try? names(in: folder) else {
        // What cannot be looked into is not empty: reading it fails, and that is told.
        streams.append(RelayStream(tag: tag, channel: Channel(.crisis)))
        continue
      }
      for file in files {
        if file == "presence" { presences.append(tag) }
        if let (channel, isCarried) = Self.channel(file) {
          streams.append(RelayStream(tag: tag, channel: channel, isCarried: isCarried))
        }
      }
    }
    var ends: [RelayStream: RelayPosition] = [:]
    for stream in streams where stream.tag == ownTag && !stream.isCarried { ends[stream] = log(stream).stamp()?.end }
    return RelaySurvey(identity: identity, streams: streams.sorted(), ownEnds: ends, presences: presences.sorted())
  }

  /// - Returns: `nil` for a folder that is not there.
  /// - Throws: ``RelayError/unreachable(_:)`` for one that cannot be read.
  func names(in folder: String) throws(RelayError) -> [String]? {
    guard let listing = opendir(folder) else {
      if errno == ENOENT { return nil }
      throw .unreachable(folder)
    }
    defer { closedir(listing) }
    var names = [String]()
    while let entry = readdir(listing) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  static func tag(_ name: String) -> BlindTag? {
    name.utf8.count == 32 ? [UInt8](hexadecimal: name).flatMap(BlindTag.init(bytes:)) : nil
  }

  /// Only a name that this program would have given counts: two names of one stream would be two streams.
  static func channel(_ name: String) -> (Channel, isCarried: Bool)? {
    guard name.hasSuffix(".log") else { return nil }
    let isCarried = name.hasPrefix("c")
    guard let number = UInt8(name.dropLast(4).dropFirst(isCarried ? 1 : 0)), let channel = Channel(rawValue: number),
      name == fileName(RelayStream(tag: BlindTag(high: 0, low: 0), channel: channel, isCarried: isCarried))
    else { return nil }
    return (channel, isCarried)
  }

  static func fileName(_ stream: RelayStream) -> String { "\(stream.isCarried ? "c" : "")\(stream.channel.rawValue).log" }

  // MARK: Streams

  func log(_ stream: RelayStream) -> LogFile {
    LogFile(path: account + "/" + stream.tag.bytes.hexadecimal + "/" + Self.fileName(stream))
  }

  package func read(_ stream: RelayStream, from position: RelayPosition) throws(RelayError) -> RelayChunk {
    try check()
    let isOwn = stream.tag == ownTag
    let (chunk, stamp) = try log(stream).read(from: position, isOwn: isOwn)
    if isOwn { ends.withLock { $0[stream] = chunk.isAtEnd ? stamp : nil } }
    return chunk
  }

  package func frames(in stream: RelayStream) throws(RelayError) -> [[UInt8]] { try contents(of: stream).frames }

  package func contents(of stream: RelayStream) throws(RelayError) -> RelayContents {
    try check()
    var (contents, next) = (RelayContents(), RelayPosition?.some(.start))
    while let position = next { next = contents.add(try log(stream).read(from: position, isOwn: false).0) }
    return contents
  }

  package func salvage(_ stream: RelayStream) throws(RelayError) -> [[UInt8]] {
    let size = try log(stream).size()
    looked.withLock { $0[stream] = size }
    return try log(stream).salvage(
      beginning: Self.beginning(stream.channel, account: accountTag, device: stream.tag.bytes))
  }

  /// The bytes with which every frame of a device begins; docs/PROTOCOL.md.
  static func beginning(_ channel: Channel, account: [UInt8], device: [UInt8]) -> [UInt8] {
    RelayFrames.beginning(channel, account: account, device: device)
  }

  @discardableResult
  package func append(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) -> RelayPosition {
    try check()
    let end = ends.withLock { $0[stream] }
    if end == nil { try makeOwnFolder() }
    let stamp = try log(stream).append(frames, expecting: end)
    if end == nil { finish(log(stream).path) }
    ends.withLock { $0[stream] = stamp }
    return stamp.end
  }

  package func appendNext(
    _ frame: [UInt8], after previous: [UInt8]?, to stream: RelayStream
  ) throws(RelayError) -> Bool {
    try check()
    if previous == nil { try makeOwnFolder() }
    let isAppended = try log(stream).appendNext(frame, after: previous)
    if previous == nil { finish(log(stream).path) }
    return isAppended
  }

  package func appendAnyway(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) {
    try check()
    try makeOwnFolder()
    let isNew = access(log(stream).path, F_OK) != 0
    try log(stream).appendAnyway(frames)
    if isNew { finish(log(stream).path) }
  }

  @discardableResult
  package func replace(_ stream: RelayStream, with frames: [[UInt8]]) throws(RelayError) -> RelayPosition {
    try check()
    // Another process may have written to what was salvaged.
    let size = looked.withLock { $0.removeValue(forKey: stream) }
    guard !frames.isEmpty else {
      try log(stream).remove(ifSize: size)
      ends.withLock { $0[stream] = nil }
      return .start
    }
    try makeOwnFolder()
    let stamp = try log(stream).replace(with: frames, ifSize: size)
    finish(log(stream).path)
    ends.withLock { $0[stream] = stamp }
    return stamp.end
  }

  func makeOwnFolder() throws(RelayError) {
    guard let ownTag else { preconditionFailure("only a member writes streams") }
    try makeFolder(account)
    let folder = account + "/" + ownTag.bytes.hexadecimal
    try makeFolder(folder)
    watcher.withLock { $0 ?? nil }?.watch(folder, as: .device(ownTag))
  }

  // MARK: Presence and mail

  package func putPresence(_ sealed: [UInt8], of tag: BlindTag) throws(RelayError) {
    try check()
    let path = account + "/" + tag.bytes.hexadecimal + "/presence"
    do { try replaceFile(path, with: sealed) } catch {
      // The folder may not be there yet.
      try makeOwnFolder()
      try replaceFile(path, with: sealed)
    }
  }

  package func presence(of tag: BlindTag) throws(RelayError) -> [UInt8]? {
    try contents(account + "/" + tag.bytes.hexadecimal + "/presence", limit: Limits.frameBytes)
  }

  package func putMail(_ sealed: [UInt8], mailbox: String, slot: UInt8) throws(RelayError) {
    try check()
    try makeFolder(root + "/mail")
    try makeFolder(root + "/mail/" + mailbox)
    let path = root + "/mail/\(mailbox)/\(slot)"
    if try putOnce(sealed, at: path) { return }
    guard try contents(path, limit: Limits.mailBytes) == sealed else { throw .taken }
  }

  package func mail(in mailbox: String, slot: UInt8) throws(RelayError) -> [UInt8]? {
    try check()
    return try contents(root + "/mail/\(mailbox)/\(slot)", limit: Limits.mailBytes)
  }

  package func removeMailbox(_ mailbox: String) throws(RelayError) {
    let folder = root + "/mail/" + mailbox
    for name in try names(in: folder) ?? [] { unlink(folder + "/" + name) }
    if rmdir(folder) != 0, errno != ENOENT { throw .unreachable(folder) }
  }

  // MARK: Changes

  package func watch() -> (any RelayWatch)? {
    let made = watcher.withLock { watcher -> FolderWatcher? in
      // One that was ended hears nothing any more: whoever leads again watches anew.
      if let known = watcher, !(known?.isOver ?? false) { return known }
      // The folder that holds it, where there is none yet.
      let place = access(root, F_OK) == 0 ? root : Self.parent(of: root)
      let made = account.isEmpty || !(isTold ?? (fm_watch_is_told(place) != 0)) ? nil : FolderWatcher()
      watcher = .some(made)
      made?.watch(root, as: .root)
      made?.watch(account, as: .account)
      return made
    }
    guard let made, made.descriptor >= 0 else { return nil }
    return FolderWatch(relay: self, watcher: made)
  }

  /// Whether an own stream is as this process left it.
  func isAsLeft(_ stream: RelayStream) -> Bool {
    guard stream.tag == ownTag, let stamp = ends.withLock({ $0[stream] }) else { return false }
    return log(stream).stamp() == stamp
  }

  func isOwn(_ tag: BlindTag) -> Bool { tag == ownTag }
}

/// Filters out what this process did itself.
private final class FolderWatch: RelayWatch {
  let relay: FolderRelay
  let watcher: FolderWatcher

  init(relay: FolderRelay, watcher: FolderWatcher) {
    self.relay = relay
    self.watcher = watcher
  }

  var descriptor: Int32 { watcher.descriptor }
  var isComplete: Bool { watcher.isComplete }

  func end() { watcher.end() }

  func changes() -> [RelayChange] {
    watcher.changes().filter { change in
      switch change {
      case .stream(let stream): !relay.isAsLeft(stream)
      case .presence(let tag): !relay.isOwn(tag)
      case .listing, .unknown: true
      }
    }
  }
}
