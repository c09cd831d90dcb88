import CSystem
import Causality
import Foundation
import Replica
import Synchronization

/// One stream of a folder relay as a file.
struct LogFile {
  let path: String

  /// How a file looks from outside; changes with every write, whoever makes it.
  struct Stamp: Hashable {
    var generation: UInt64
    var size: Int
    var node: UInt64
    var modified: Modified
    struct Modified: Hashable { var seconds: Int; var nanoseconds: Int }
    var end: RelayPosition { RelayPosition(generation: generation, offset: UInt64(size)) }
  }

  private static let magic = Array("FMRL".utf8) + [1, 0, 0, 0]
  private static let headerSize = 16
  /// Milliseconds that a lock of another process is waited for: an append takes less than one.
  private static let lockPatience = 250

  // MARK: Opening

  /// Opens without waiting for anybody: what is no file (a pipe, a device) is refused.
  private func open(_ flags: Int32) throws(RelayError) -> Int32? {
    var descriptor: Int32
    repeat { descriptor = Foundation.open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0o600) } while descriptor < 0 && errno == EINTR
    guard descriptor >= 0 else {
      if errno == ENOENT, flags & O_CREAT == 0 { return nil }
      throw errno == ENOSPC ? .full : .unreachable(path)
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw .unreachable(path)
    }
    return descriptor
  }

  /// Takes the lock of an open file, for a moment.
  private func lock(_ descriptor: Int32, _ kind: Int32) throws(RelayError) {
    let end = fm_uptime_ns() + UInt64(Self.lockPatience) * 1_000_000
    while flock(descriptor, kind | LOCK_NB) != 0 {
      guard errno == EWOULDBLOCK || errno == EINTR else { return }  // a file system without locks
      guard fm_uptime_ns() < end else { throw .busy(path) }
      fm_pause_ms(2)
    }
  }

  // MARK: Reading

  /// - Parameter isOwn: Also reports a frame that is not complete: nobody else can be writing it.
  func read(from position: RelayPosition, isOwn: Bool) throws(RelayError) -> (RelayChunk, Stamp?) {
    guard let descriptor = try open(O_RDONLY) else {
      return (RelayChunk(frames: [], positions: [.start], isAtEnd: true, isDamaged: false), nil)
    }
    defer { close(descriptor) }
    // Another process of this device may be in the middle of an append.
    if isOwn { try lock(descriptor, LOCK_SH) }
    guard let stamp = Self.stamp(of: descriptor) else {
      // A file that has just been made has no header yet, nor one that a service has brought in part; only its writer
      // knows that none is coming.
      let size = Self.bytes(of: descriptor, at: 0, count: Self.headerSize)?.count ?? 0
      // In an empty one there is nothing that could be damaged; somebody is about to write into it.
      return (RelayChunk(frames: [], positions: [.start], isAtEnd: true, isDamaged: size > 0 && (isOwn || size >= Self.headerSize), isTorn: true), nil)
    }
    let isSame = position.generation == stamp.generation && position.offset <= stamp.size
    let start = isSame ? Int(position.offset) : Self.headerSize
    let wanted = min(Limits.relayReadBytes, stamp.size - start)
    guard let bytes = Self.bytes(of: descriptor, at: start, count: wanted) else { throw .unreachable(path) }
    return (Self.chunk(bytes, start: start, stamp: stamp, isOwn: isOwn), stamp)
  }

  private static func chunk(_ bytes: [UInt8], start: Int, stamp: Stamp, isOwn: Bool) -> RelayChunk {
    var frames = [[UInt8]]()
    var offset = 0
    var positions = [RelayPosition(generation: stamp.generation, offset: UInt64(start))]
    var isDamaged = false
    while bytes.count - offset >= 4 {
      let length = Int(UInt32(bigEndianBytes: bytes[offset..<offset + 4]))
      guard length > 0, length <= Limits.frameBytes else {
        isDamaged = true
        break
      }
      guard bytes.count - offset - 4 >= length else { break }
      frames.append(Array(bytes[offset + 4..<offset + 4 + length]))
      offset += 4 + length
      positions.append(RelayPosition(generation: stamp.generation, offset: UInt64(start + offset)))
    }
    let isAtEnd = start + bytes.count >= stamp.size
    // What is left is a torn tail, a write under way, or the cut of this read.
    if isOwn, isAtEnd, offset < bytes.count { isDamaged = true }
    return RelayChunk(
      frames: frames, positions: positions, isAtEnd: isAtEnd || isDamaged, isDamaged: isDamaged, isTorn: isAtEnd && offset < bytes.count)
  }

  /// Bytes of a file; fewer where it ends before, `nil` where it cannot be read.
  static func bytes(of descriptor: Int32, at offset: Int, count: Int) -> [UInt8]? {
    guard count > 0 else { return [] }
    var got = 0
    var hasFailed = false
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      while got < count {
        let read = pread(descriptor, buffer.baseAddress.map { $0 + got }, count - got, off_t(offset + got))
        if read < 0, errno == EINTR { continue }
        hasFailed = read < 0
        if read <= 0 { break }
        got += read
      }
      filled = got
    }
    return hasFailed ? nil : bytes
  }

  func stamp() -> Stamp? {
    guard let descriptor = try? open(O_RDONLY) else { return nil }
    defer { close(descriptor) }
    return Self.stamp(of: descriptor)
  }

  private static func stamp(of descriptor: Int32) -> Stamp? {
    guard let header = bytes(of: descriptor, at: 0, count: headerSize), header.count == headerSize,
      Array(header[..<8]) == magic
    else { return nil }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return nil }
    #if os(Linux)
      let time = status.st_mtim
    #else
      let time = status.st_mtimespec
    #endif
    return Stamp(
      generation: UInt64(bigEndianBytes: header[8...]), size: Int(status.st_size), node: UInt64(status.st_ino),
      modified: .init(seconds: Int(time.tv_sec), nanoseconds: Int(time.tv_nsec)))
  }

  /// Every frame that begins with these bytes, wherever it lies: what follows a damaged length is found again.
  ///
  /// - Parameter beginning: The bytes with which every frame of this file begins.
  func salvage(beginning: [UInt8]) throws(RelayError) -> [[UInt8]] {
    guard let descriptor = try open(O_RDONLY) else { return [] }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return [] }
    var (frames, at, left) = ([[UInt8]](), 0, Limits.searchedBytes)
    // Somebody may have made it as large as they like, with nothing in it.
    while at < Int(status.st_size), left > 0, let data = Self.data(in: descriptor, from: at) {
      guard let bytes = Self.bytes(of: descriptor, at: max(0, data - 4), count: Self.window + Limits.frameBytes + 4), !bytes.isEmpty else { break }
      frames += Self.frames(in: bytes, beginning: beginning, within: Self.window)
      at = max(0, data - 4) + Self.window
      left -= Self.window
    }
    return frames
  }

  private static let window = 8 * 1_024 * 1_024

  /// Where the next bytes lie that somebody has written; holes are passed over where the file system tells of them.
  private static func data(in descriptor: Int32, from offset: Int) -> Int? {
    #if os(Linux)
      let found = lseek(descriptor, off_t(offset), 3)  // SEEK_DATA
      if found < 0 { return errno == ENXIO ? nil : offset }
      return Int(found)
    #else
      return offset
    #endif
  }

  /// - Parameter limit: Frames count that begin before it.
  private static func frames(in bytes: [UInt8], beginning: [UInt8], within limit: Int) -> [[UInt8]] {
    var starts = [Int]()
    var at = 4
    while at + beginning.count <= bytes.count {
      guard bytes[at] == beginning[0], bytes[at..<at + beginning.count].elementsEqual(beginning) else {
        at += 1
        continue
      }
      starts.append(at)
      at += beginning.count
    }
    return starts.enumerated().compactMap { index, start in
      guard start - 4 < limit else { return nil }
      let length = Int(UInt32(bigEndianBytes: bytes[start - 4..<start]))
      // Where the next one begins inside of it, it was cut off.
      let end = index + 1 < starts.count ? starts[index + 1] - 4 : bytes.count
      return length >= beginning.count && length <= Limits.frameBytes && start + length <= end ? Array(bytes[start..<start + length]) : nil
    }
  }

  // MARK: Writing

  /// Appends frames after the end this process knows.
  func append(_ frames: [[UInt8]], expecting stamp: Stamp?) throws(RelayError) -> Stamp {
    guard let descriptor = try open(O_RDWR | O_CREAT | O_APPEND) else { throw .unreachable(path) }
    defer { close(descriptor) }
    try lock(descriptor, LOCK_EX)
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .unreachable(path) }
    guard isInPlace(status) else { throw .changed }
    if status.st_size == 0, stamp == nil {
      try Self.write(Self.header(), to: descriptor, path)
    } else if stamp == nil || Self.stamp(of: descriptor) != stamp {
      throw .changed
    }
    let size = status.st_size
    do { try Self.write(frames.flatMap(Self.framed), to: descriptor, path) } catch {
      // Half a frame would only have to be healed later.
      _ = ftruncate(descriptor, size)
      throw error
    }
    guard let stamp = Self.stamp(of: descriptor) else { throw .changed }
    return stamp
  }

  /// Appends frames to whatever is there, in one call that no other writer can cut in two; waits for nobody's lock for
  /// longer than a blink. A file that is put in its place meanwhile gets them too.
  func appendAnyway(_ frames: [[UInt8]]) throws(RelayError) {
    for _ in 0..<Self.attempts {
      guard let descriptor = try open(O_RDWR | O_CREAT | O_APPEND) else { throw .unreachable(path) }
      defer { close(descriptor) }
      Self.lockInABlink(descriptor)
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { throw .unreachable(path) }
      let header = status.st_size == 0 ? Self.header() : []
      try Self.write(header + frames.flatMap(Self.framed), to: descriptor, path)
      if isInPlace(status) { return }
    }
    throw .changed
  }

  /// Whether a file that was opened is still the one of this name: while its lock was waited for, another may have been
  /// put in its place, and what is written into a file without a name is read by nobody.
  private func isInPlace(_ opened: stat) -> Bool {
    var there = stat()
    return lstat(path, &there) == 0 && there.st_ino == opened.st_ino && there.st_dev == opened.st_dev
  }

  private static let attempts = 5
  /// Milliseconds.
  private static let blink = 40

  /// Takes the lock where nobody holds it for longer than a blink; goes on without it where that takes longer, also where
  /// the call itself has no end: a thread of its own asks, and is left behind.
  private static func lockInABlink(_ descriptor: Int32) {
    let own = dup(descriptor)
    guard own >= 0 else { return }
    let state = LockAttempt()
    let thread = Thread {
      let end = fm_uptime_ns() + UInt64(blink) * 1_000_000
      while flock(own, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK || errno == EINTR, fm_uptime_ns() < end { fm_pause_ms(2) }
      // The lock belongs to the file that was opened: who left must not keep it.
      state.isLeft.withLock { if $0 { flock(own, LOCK_UN) } }
      close(own)
      fm_wake_signal(state.answer)
    }
    thread.start()
    var ready: [UInt8] = [0]
    if fm_wait([state.answer], &ready, 1, Int32(2 * blink)) <= 0 { state.isLeft.withLock { $0 = true } }
  }

  private final class LockAttempt: Sendable {
    let isLeft = Mutex(false)
    /// Waited for by the monotonic clock: a semaphore of the system waits until a time of day on Linux.
    let answer = fm_wake_open()
    deinit { if answer >= 0 { close(answer) } }
  }

  /// How large the file is; 0 where there is none.
  func size() throws(RelayError) -> Int {
    guard let descriptor = try open(O_RDONLY) else { return 0 }
    defer { close(descriptor) }
    var status = stat()
    return fstat(descriptor, &status) == 0 ? Int(status.st_size) : 0
  }

  /// Takes the file away, unless somebody has written to it since it was looked at.
  ///
  /// - Parameter size: How large it was then; `nil` where nobody else writes it.
  func remove(ifSize size: Int?) throws(RelayError) {
    guard let descriptor = try open(O_RDWR) else { return }
    defer { close(descriptor) }
    try check(descriptor, size)
    if unlink(path) != 0, errno != ENOENT { throw .unreachable(path) }
  }

  private func check(_ descriptor: Int32, _ size: Int?) throws(RelayError) {
    guard let size else { return }
    try lock(descriptor, LOCK_EX)
    var status = stat()
    guard fstat(descriptor, &status) == 0, Int(status.st_size) == size else { throw .changed }
  }

  /// Appends one frame when the file ends with the frame before it.
  func appendNext(_ frame: [UInt8], after previous: [UInt8]?) throws(RelayError) -> Bool {
    guard let descriptor = try open(O_RDWR | O_APPEND | (previous == nil ? O_CREAT : 0)) else { return false }
    defer { close(descriptor) }
    try lock(descriptor, LOCK_EX)
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .unreachable(path) }
    guard isInPlace(status) else { return false }
    let size = Int(status.st_size)
    if let previous {
      let tail = Self.framed(previous)
      guard size >= Self.headerSize + tail.count,
        Self.bytes(of: descriptor, at: size - tail.count, count: tail.count) == tail
      else { return false }
    } else {
      guard size == 0 || (size == Self.headerSize && Self.stamp(of: descriptor) != nil) else { return false }
      if size == 0 { try Self.write(Self.header(), to: descriptor, path) }
    }
    do { try Self.write(Self.framed(frame), to: descriptor, path) } catch {
      _ = ftruncate(descriptor, off_t(size))
      throw error
    }
    return true
  }

  /// Writes the whole stream anew and puts it in place at once.
  ///
  /// - Parameter size: How large it was when it was looked at; one that has grown since is left as it is. `nil` where
  ///   nobody else writes it.
  func replace(with frames: [[UInt8]], ifSize size: Int? = nil) throws(RelayError) -> Stamp {
    let old = size == nil ? nil : try open(O_RDWR)
    defer { if let old { close(old) } }
    let file = LogFile(path: "\(path).\(getpid())-\(UInt32.random(in: 0 ... .max)).new")
    guard let descriptor = try file.open(O_RDWR | O_CREAT | O_EXCL) else { throw .unreachable(path) }
    defer { close(descriptor) }
    do {
      try Self.write(Self.header(), to: descriptor, path)
      for frame in frames { try Self.write(Self.framed(frame), to: descriptor, path) }
    } catch {
      unlink(file.path)
      throw error
    }
    do throws(RelayError) { if let old { try check(old, size) } } catch {
      unlink(file.path)
      throw error
    }
    guard rename(file.path, path) == 0, let stamp = Self.stamp(of: descriptor) else {
      let isFull = errno == ENOSPC
      unlink(file.path)
      throw isFull ? .full : .unreachable(path)
    }
    return stamp
  }

  private static func header() -> [UInt8] { magic + UInt64.random(in: 1 ... .max).bigEndianBytes }

  private static func framed(_ frame: [UInt8]) -> [UInt8] { UInt32(frame.count).bigEndianBytes + frame }

  /// Writes all bytes; a disk that is full takes a part of them first, and says so with the next call.
  static func write(_ bytes: [UInt8], to descriptor: Int32, _ path: String) throws(RelayError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
      if written < 0, errno == EINTR { continue }
      guard written > 0 else { throw written == 0 || errno == ENOSPC || errno == EDQUOT ? .full : .unreachable(path) }
      rest = rest.dropFirst(written)
    }
  }
}
