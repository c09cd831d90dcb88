import Causality
import Foundation
import Replica

/// One stream of a folder relay as a file.
struct LogFile {
  let path: String

  /// How a file looks from outside; changes with every write, whoever makes it.
  struct Stamp: Hashable {
    var generation: UInt64
    var size: Int
    var node: UInt64
    var modified: Int64
    var end: RelayPosition { RelayPosition(generation: generation, offset: UInt64(size)) }
  }

  private static let magic = Array("FMRL".utf8) + [1, 0, 0, 0]
  private static let headerSize = 16

  // MARK: Reading

  /// - Parameter isOwn: Also reports a frame that is not complete: nobody else can be writing it.
  func read(from position: RelayPosition, isOwn: Bool) throws(RelayError) -> (RelayChunk, Stamp?) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      guard errno == ENOENT else { throw .unreachable(path) }
      return (RelayChunk(frames: [], positions: [.start], isAtEnd: true, isDamaged: false), nil)
    }
    defer { close(descriptor) }
    // Another process of this device may be in the middle of an append.
    if isOwn { flock(descriptor, LOCK_SH) }
    guard let stamp = Self.stamp(of: descriptor) else {
      // A file that has just been made has no header yet; only its writer knows that none is coming.
      let isNew = Self.bytes(of: descriptor, at: 0, count: Self.headerSize).map { $0.count < Self.headerSize } ?? true
      return (RelayChunk(frames: [], positions: [.start], isAtEnd: true, isDamaged: isOwn || !isNew), nil)
    }
    let isSame = position.generation == stamp.generation && position.offset <= stamp.size
    let start = isSame ? Int(position.offset) : Self.headerSize
    let bytes = Self.bytes(of: descriptor, at: start, count: min(Limits.relayReadBytes, stamp.size - start)) ?? []
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
    return RelayChunk(frames: frames, positions: positions, isAtEnd: isAtEnd || isDamaged, isDamaged: isDamaged)
  }

  static func bytes(of descriptor: Int32, at offset: Int, count: Int) -> [UInt8]? {
    guard count > 0 else { return [] }
    var got = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      while got < count {
        let read = pread(descriptor, buffer.baseAddress.map { $0 + got }, count - got, off_t(offset + got))
        if read <= 0 { break }
        got += read
      }
      filled = got
    }
    return bytes
  }

  func stamp() -> Stamp? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
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
      modified: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }

  // MARK: Writing

  /// Appends frames after the end this process knows.
  ///
  /// - Parameter isBlind: Appends to whatever is there.
  func append(_ frames: [[UInt8]], expecting stamp: Stamp?, isBlind: Bool = false) throws(RelayError) -> Stamp {
    let descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw errno == ENOSPC ? .full : .unreachable(path) }
    defer { close(descriptor) }
    flock(descriptor, LOCK_EX)
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .unreachable(path) }
    if status.st_size == 0, stamp == nil {
      try Self.write(Self.header(), to: descriptor)
    } else if let stamp, Self.stamp(of: descriptor) != stamp {
      throw .changed
    } else if stamp == nil, !isBlind {
      throw .changed
    }
    let size = status.st_size
    do { try Self.write(frames.flatMap(Self.framed), to: descriptor) } catch {
      // Half a frame would only have to be healed later.
      _ = ftruncate(descriptor, size)
      throw error
    }
    guard let stamp = Self.stamp(of: descriptor) else { throw .changed }
    return stamp
  }

  /// Appends one frame when the file ends with the frame before it.
  func appendNext(_ frame: [UInt8], after previous: [UInt8]?) throws(RelayError) -> Bool {
    let flags = O_RDWR | O_APPEND | O_CLOEXEC | (previous == nil ? O_CREAT : 0)
    let descriptor = open(path, flags, 0o600)
    guard descriptor >= 0 else {
      if errno == ENOENT { return false }
      throw errno == ENOSPC ? .full : .unreachable(path)
    }
    defer { close(descriptor) }
    flock(descriptor, LOCK_EX)
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .unreachable(path) }
    let size = Int(status.st_size)
    if let previous {
      let tail = Self.framed(previous)
      guard size >= Self.headerSize + tail.count,
        Self.bytes(of: descriptor, at: size - tail.count, count: tail.count) == tail
      else { return false }
    } else {
      guard size == 0 || (size == Self.headerSize && Self.stamp(of: descriptor) != nil) else { return false }
      if size == 0 { try Self.write(Self.header(), to: descriptor) }
    }
    do { try Self.write(Self.framed(frame), to: descriptor) } catch {
      _ = ftruncate(descriptor, off_t(size))
      throw error
    }
    return true
  }

  /// Writes the whole stream anew and puts it in place at once.
  func replace(with frames: [[UInt8]]) throws(RelayError) -> Stamp {
    let temporary = "\(path).\(getpid()).new"
    let descriptor = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw errno == ENOSPC ? .full : .unreachable(path) }
    defer { close(descriptor) }
    do {
      try Self.write(Self.header(), to: descriptor)
      for frame in frames { try Self.write(Self.framed(frame), to: descriptor) }
    } catch {
      unlink(temporary)
      throw error
    }
    guard rename(temporary, path) == 0, let stamp = Self.stamp(of: descriptor) else {
      unlink(temporary)
      throw .unreachable(path)
    }
    return stamp
  }

  private static func header() -> [UInt8] { magic + UInt64.random(in: 1 ... .max).bigEndianBytes }

  private static func framed(_ frame: [UInt8]) -> [UInt8] { UInt32(frame.count).bigEndianBytes + frame }

  private static func write(_ bytes: [UInt8], to descriptor: Int32) throws(RelayError) {
    let written = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
    guard written == bytes.count else { throw errno == ENOSPC ? .full : .unreachable("folder") }
  }
}
