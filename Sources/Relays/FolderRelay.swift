import CSystem
import Causality
import Foundation
import Replica
import Synchronization

/// A relay in a folder: one append-only file per stream, written by its device alone.
///
/// ```text
/// FOLDER/epoch                          random, made with the folder: another one means it was wiped
/// FOLDER/ACCOUNT/DEVICE/0.log … 5.log   one per channel; ACCOUNT and DEVICE are blinded tags
/// FOLDER/ACCOUNT/DEVICE/presence        replaced in place
/// FOLDER/mail/MAILBOX/1 … 4             messages of an enrolment
/// FOLDER/boards/BOARD/1, 2, …           notices, each put up once and never changed
/// ```
///
/// A log begins with `FMRL`, a version byte, three zeros and its generation (8 bytes); each frame
/// follows its length (4 bytes, big-endian). Whatever else lies in the folder is left alone.
package final class FolderRelay: Relay {
  private let root: String
  private let account: String
  package let ownTag: BlindTag?
  private let watcher: FolderWatcher?
  /// How each own stream was left by this process.
  private let ends = Mutex<[RelayStream: LogFile.Stamp]>([:])

  /// - Parameters:
  ///   - path: Is made when its parent exists.
  ///   - account: The account's blinded tag; empty when there is none yet (joining).
  ///   - ownTag: This device's tag; its streams are the only ones this object writes.
  ///   - isTold: Whether the file system tells of changes; found out when absent.
  /// - Throws: ``RelayError/unreachable(_:)``.
  package init(path: String, account: [UInt8], ownTag: BlindTag?, isTold: Bool? = nil) throws(RelayError) {
    root = path
    self.account = account.isEmpty ? "" : path + "/" + account.hexadecimal
    self.ownTag = ownTag
    // The folder that holds it, where there is none yet: `mkdir` does not change the file system.
    let isTold = isTold ?? (fm_watch_is_told(access(path, F_OK) == 0 ? path : Self.parent(of: path)) != 0)
    watcher = account.isEmpty || !isTold ? nil : FolderWatcher()
    try prepare()
  }

  private func prepare() throws(RelayError) {
    guard FileManager.default.fileExists(atPath: Self.parent(of: root)) else { throw .unreachable(root) }
    for folder in [root, account] where !folder.isEmpty { try Self.makeFolder(folder) }
    let epoch = root + "/epoch"
    guard !FileManager.default.fileExists(atPath: epoch) else { return }
    let descriptor = open(epoch, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { return }
    let text = Array((UInt64.random(in: 1 ... .max).bigEndianBytes.hexadecimal + "\n").utf8)
    _ = write(descriptor, text, text.count)
    Foundation.close(descriptor)
  }

  private static func parent(of path: String) -> String {
    let parent = (path as NSString).deletingLastPathComponent
    return parent.isEmpty ? "." : parent
  }

  private static func makeFolder(_ path: String) throws(RelayError) {
    if mkdir(path, 0o700) != 0, errno != EEXIST { throw errno == ENOSPC ? .full : .unreachable(path) }
    guard access(path, R_OK | W_OK | X_OK) == 0 else { throw .unreachable(path) }
  }

  // MARK: Listing

  package func survey() throws(RelayError) -> RelaySurvey {
    try prepare()
    // Watches first: what appears between the two is then seen twice, not never.
    watcher?.watch(root, as: .root)
    watcher?.watch(account, as: .account)
    var streams: [RelayStream] = []
    var presences: [BlindTag] = []
    for name in Self.names(in: account) {
      guard let tag = Self.tag(name) else { continue }
      let folder = account + "/" + name
      watcher?.watch(folder, as: .device(tag))
      for file in Self.names(in: folder) {
        if file == "presence" { presences.append(tag) }
        if let channel = Self.channel(file) { streams.append(RelayStream(tag: tag, channel: channel)) }
      }
    }
    let epoch = (try? String(contentsOfFile: root + "/epoch", encoding: .utf8))
      .flatMap { UInt64($0.trimmingCharacters(in: .whitespacesAndNewlines), radix: 16) }
    let ends = streams.filter { $0.tag == ownTag }.compactMap { stream in log(stream).stamp().map { (stream, $0.end) } }
    return RelaySurvey(
      epoch: epoch ?? 0, streams: streams.sorted(), ownEnds: Dictionary(uniqueKeysWithValues: ends), presences: presences.sorted())
  }

  private static func names(in folder: String) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted()
  }

  static func tag(_ name: String) -> BlindTag? {
    name.utf8.count == 32 ? [UInt8](hexadecimal: name).flatMap(BlindTag.init(bytes:)) : nil
  }

  static func channel(_ name: String) -> Channel? {
    guard name.hasSuffix(".log"), let number = UInt8(name.dropLast(4)) else { return nil }
    return Channel(rawValue: number)
  }

  // MARK: Streams

  private func log(_ stream: RelayStream) -> LogFile {
    LogFile(path: account + "/" + stream.tag.bytes.hexadecimal + "/\(stream.channel.rawValue).log")
  }

  package func read(_ stream: RelayStream, from position: RelayPosition) throws(RelayError) -> RelayChunk {
    let isOwn = stream.tag == ownTag
    let (chunk, stamp) = try log(stream).read(from: position, isOwn: isOwn)
    if isOwn { ends.withLock { $0[stream] = chunk.isAtEnd ? stamp : nil } }
    return chunk
  }

  @discardableResult
  package func append(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) -> RelayPosition {
    let end = ends.withLock { $0[stream] }
    let stamp: LogFile.Stamp
    do { stamp = try log(stream).append(frames, expecting: end) } catch .unreachable {
      // The folder may be gone, or not there yet.
      try makeOwnFolder()
      stamp = try log(stream).append(frames, expecting: end)
    }
    ends.withLock { $0[stream] = stamp }
    return stamp.end
  }

  package func appendNext(
    _ frame: [UInt8], after previous: [UInt8]?, to stream: RelayStream
  ) throws(RelayError) -> Bool {
    if previous == nil { try makeOwnFolder() }
    return try log(stream).appendNext(frame, after: previous)
  }

  /// Appends to whatever is there: for a crisis raised by a process that does nothing else. Receivers
  /// ignore a frame they know.
  package func appendBlindly(_ frames: [[UInt8]], to stream: RelayStream) throws(RelayError) {
    try makeOwnFolder()
    _ = try log(stream).append(frames, expecting: nil, isBlind: true)
  }

  @discardableResult
  package func replace(_ stream: RelayStream, with frames: [[UInt8]]) throws(RelayError) -> RelayPosition {
    try makeOwnFolder()
    let stamp = try log(stream).replace(with: frames)
    ends.withLock { $0[stream] = stamp }
    return stamp.end
  }

  private func makeOwnFolder() throws(RelayError) {
    guard let ownTag else { preconditionFailure("only a member writes streams") }
    try prepare()
    let folder = account + "/" + ownTag.bytes.hexadecimal
    try Self.makeFolder(folder)
    watcher?.watch(folder, as: .device(ownTag))
  }

  // MARK: Presence and mail

  package func putPresence(_ sealed: [UInt8], of tag: BlindTag) throws(RelayError) {
    try makeOwnFolder()
    try Self.replaceFile(account + "/" + tag.bytes.hexadecimal + "/presence", with: sealed)
  }

  package func presence(of tag: BlindTag) throws(RelayError) -> [UInt8]? {
    Self.contents(account + "/" + tag.bytes.hexadecimal + "/presence", limit: Limits.frameBytes)
  }

  package func putMail(_ sealed: [UInt8], mailbox: String, slot: UInt8) throws(RelayError) {
    try Self.makeFolder(root + "/mail")
    try Self.makeFolder(root + "/mail/" + mailbox)
    try Self.replaceFile(root + "/mail/\(mailbox)/\(slot)", with: sealed)
  }

  package func mail(in mailbox: String, slot: UInt8) throws(RelayError) -> [UInt8]? {
    Self.contents(root + "/mail/\(mailbox)/\(slot)", limit: Limits.mailBytes)
  }

  package func removeMailbox(_ mailbox: String) throws(RelayError) {
    guard FileManager.default.fileExists(atPath: root + "/mail/" + mailbox) else { return }
    do { try FileManager.default.removeItem(atPath: root + "/mail/" + mailbox) } catch { throw .unreachable(root) }
  }

  package func putNotice(_ sealed: [UInt8], board: String, number: UInt64) throws(RelayError) -> Bool {
    let folder = root + "/boards/" + board
    try Self.makeFolder(root + "/boards")
    try Self.makeFolder(folder)
    // Written aside and linked: it is there as a whole or not at all, and the first one stays.
    let temporary = folder + "/.\(getpid())-\(UInt32.random(in: 0 ... .max))"
    try Self.replaceFile(temporary, with: sealed)
    defer { unlink(temporary) }
    let path = folder + "/\(number)"
    if link(temporary, path) == 0 { return true }
    // A file system without hard links: whoever makes the name first has it all the same.
    if [EPERM, EOPNOTSUPP, EMLINK].contains(errno) {
      let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
      if descriptor >= 0 {
        Foundation.close(descriptor)
        try Self.replaceFile(path, with: sealed)
        return true
      }
    }
    guard errno == EEXIST else { throw errno == ENOSPC ? .full : .unreachable(folder) }
    return false
  }

  package func notices(on board: String, after number: UInt64) throws(RelayError) -> [RelayNotice] {
    guard access(root, R_OK | X_OK) == 0 else { throw .unreachable(root) }
    let folder = root + "/boards/" + board
    let numbers = Self.names(in: folder).compactMap { UInt64($0) }.filter { $0 > number }
    return numbers.sorted().compactMap { number in
      Self.contents(folder + "/\(number)", limit: Limits.frameBytes).map { RelayNotice(number: number, sealed: $0) }
    }
  }

  private static func replaceFile(_ path: String, with bytes: [UInt8]) throws(RelayError) {
    // Several processes of one device may write it: each has a temporary name of its own.
    let temporary = "\(path).\(getpid()).new"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .unreachable(path) }
    let written = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    let isFull = written != bytes.count && errno == ENOSPC
    Foundation.close(descriptor)
    guard written == bytes.count, rename(temporary, path) == 0 else {
      unlink(temporary)
      throw isFull ? .full : .unreachable(path)
    }
  }

  private static func contents(_ path: String, limit: Int) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { Foundation.close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, Int(status.st_size) <= limit else { return nil }
    return LogFile.bytes(of: descriptor, at: 0, count: Int(status.st_size))
  }

  // MARK: Changes

  package func watch() -> (any RelayWatch)? {
    guard let watcher, watcher.descriptor >= 0 else { return nil }
    return FolderWatch(relay: self, watcher: watcher)
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
  private let relay: FolderRelay
  private let watcher: FolderWatcher

  init(relay: FolderRelay, watcher: FolderWatcher) {
    self.relay = relay
    self.watcher = watcher
  }

  var descriptor: Int32 { watcher.descriptor }

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
