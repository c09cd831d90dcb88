import Causality
import Foundation
import Relays
import Replica
import Synchronization
import Testing

/// What every relay promises.
@Suite("Relay contract")
struct RelayContractTests {
  private static let tag = BlindTag(high: 0xAA, low: 1)
  private let stream = RelayStream(tag: Self.tag, channel: Channel(.ordinary))

  private func both(_ body: (any Relay) throws -> Void) throws {
    let sandbox = try Sandbox()
    _ = try FolderRelay.make(at: sandbox.relayPath)
    try body(FolderRelay(path: sandbox.relayPath, account: Array(repeating: 3, count: 16), ownTag: Self.tag))
    try body(MemoryRelay().connection(of: Self.tag))
  }

  private func frames(_ range: Range<Int>) -> [[UInt8]] { range.map { Array(repeating: UInt8($0), count: 200 + $0) } }

  private func readAll(_ relay: any Relay) throws -> [[UInt8]] {
    var (position, frames) = (RelayPosition.start, [[UInt8]]())
    while true {
      let chunk = try relay.read(stream, from: position)
      frames += chunk.frames
      position = chunk.positions[chunk.frames.count]
      if chunk.isAtEnd { return frames }
    }
  }

  @Test("what was appended is read, in order, from any position")
  func append() throws {
    try both { relay in
      #expect(try readAll(relay).isEmpty)
      try relay.append(frames(0..<3), to: stream)
      try relay.append(frames(3..<30), to: stream)
      #expect(try readAll(relay) == frames(0..<30))
      let chunk = try relay.read(stream, from: .start)
      #expect(try relay.read(stream, from: chunk.positions[2]).frames.first == frames(2..<3)[0])
      #expect(try relay.survey().streams == [stream])
    }
  }

  @Test("an own file that somebody made a terabyte long is looked through all the same")
  func sparse() throws {
    let sandbox = try Sandbox()
    _ = try FolderRelay.make(at: sandbox.relayPath)
    let account = [UInt8](repeating: 3, count: 16)
    let relay = FolderRelay(path: sandbox.relayPath, account: account, ownTag: Self.tag)
    let beginning = RelayFrames.beginning(stream.channel, account: account, device: Self.tag.bytes)
    let frames = frames(0..<5).map { beginning + $0 }
    try relay.append(Array(frames[..<3]), to: stream)
    let file = try #require(try FileManager.default.subpathsOfDirectory(atPath: sandbox.relayPath).first { $0.hasSuffix("3.log") })
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: sandbox.relayPath + "/" + file))
    // Far behind a hole lies one more, across the edge of what is read at once.
    try handle.seek(toOffset: 3 * 8 * 1_024 * 1_024 - 100)
    try handle.write(contentsOf: Data([0, 0, UInt8(frames[3].count >> 8), UInt8(frames[3].count & 0xFF)] + frames[3]))
    try handle.truncate(atOffset: 1 << 40)
    try handle.close()
    #expect(try relay.salvage(stream) == Array(frames[..<4]))
  }

  @Test("a stream written anew is read from its start, whatever the position")
  func replace() throws {
    try both { relay in
      try relay.append(frames(0..<5), to: stream)
      let old = try relay.read(stream, from: .start).positions[4]
      try relay.replace(stream, with: frames(7..<9))
      #expect(try relay.read(stream, from: old).frames == frames(7..<9))
    }
  }

  @Test("one frame is appended only where it belongs; whoever exchanges then has to compare first")
  func appendNext() throws {
    try both { relay in
      let frames = frames(0..<4)
      #expect(try !relay.appendNext(frames[1], after: frames[0], to: stream), "the stream is not there")
      #expect(try relay.appendNext(frames[0], after: nil, to: stream))
      #expect(try !relay.appendNext(frames[1], after: nil, to: stream), "the stream is not empty")
      let end = try #require(try relay.read(stream, from: .start).positions.last)
      #expect(try relay.appendNext(frames[1], after: frames[0], to: stream))
      #expect(try !relay.appendNext(frames[3], after: frames[2], to: stream), "one is missing")
      #expect(throws: RelayError.changed) { try relay.append([frames[2]], to: stream) }
      #expect(try relay.read(stream, from: end).frames == [frames[1]])
      let after = try relay.append([frames[2]], to: stream)
      #expect(try relay.read(stream, from: .start).positions.last == after)
      #expect(try readAll(relay) == Array(frames[..<3]))
    }
  }

  @Test("a number on a board is given away once, and notices are read in order")
  func notices() throws {
    try both { relay in
      let before = try relay.notices(on: "aa", after: 0)
      #expect(before.isEmpty)
      #expect(try relay.putNotice([1], board: "aa", number: 1))
      #expect(try !relay.putNotice([2], board: "aa", number: 1))
      #expect(try relay.putNotice([3], board: "aa", number: 10))
      #expect(try relay.putNotice([4], board: "aa", number: 9))
      #expect(try relay.putNotice([5], board: "bb", number: 1))
      #expect(try relay.notices(on: "aa", after: 0).map(\.sealed) == [[1], [4], [3]])
      #expect(try relay.notices(on: "aa", after: 9).map(\.number) == [10])
    }
  }

  @Test("of many that want a number, one gets it")
  func contested() throws {
    try both { relay in
      let won = Mutex(0)
      DispatchQueue.concurrentPerform(iterations: 32) { index in
        if (try? relay.putNotice([UInt8(index)], board: "aa", number: 1)) == true { won.withLock { $0 += 1 } }
      }
      #expect(won.withLock { $0 } == 1)
      let found = try relay.notices(on: "aa", after: 0)
      #expect(found.count == 1)
    }
  }

  @Test("presence is replaced in place; mail lies in its slot until the mailbox is removed")
  func slots() throws {
    try both { relay in
      #expect(try relay.presence(of: Self.tag) == nil)
      try relay.putPresence([1], of: Self.tag)
      try relay.putPresence([2], of: Self.tag)
      #expect(try relay.presence(of: Self.tag) == [2])
      try relay.putMail([3], mailbox: "ab", slot: 1)
      #expect(try relay.mail(in: "ab", slot: 1) == [3])
      #expect(try relay.mail(in: "ab", slot: 2) == nil)
      try relay.removeMailbox("ab")
      #expect(try relay.mail(in: "ab", slot: 1) == nil)
    }
  }
}

@Suite("Folder relay")
struct FolderRelayTests {
  private static let tag = BlindTag(high: 0xAA, low: 1)
  private let stream = RelayStream(tag: Self.tag, channel: Channel(.ordinary))
  private let sandbox: Sandbox

  init() throws {
    sandbox = try Sandbox()
    _ = try FolderRelay.make(at: sandbox.relayPath)
  }

  private func relay(_ tag: BlindTag? = Self.tag) -> FolderRelay {
    FolderRelay(path: sandbox.relayPath, account: Array(repeating: 3, count: 16), ownTag: tag)
  }

  private var file: String {
    sandbox.path + "/relay/" + String(repeating: "03", count: 16) + "/" + Self.tag.bytes.hexadecimal + "/3.log"
  }

  @Test("a torn tail is not taken by readers, and noticed by its writer")
  func tornTail() throws {
    let writer = relay()
    _ = try writer.read(stream, from: .start)
    try writer.append([[1, 2, 3], [4, 5, 6]], to: stream)
    let bytes = try #require(FileManager.default.contents(atPath: file))
    try bytes.dropLast(2).write(to: URL(fileURLWithPath: file))
    let chunk = try relay(BlindTag(high: 1, low: 1)).read(stream, from: .start)
    #expect(chunk.frames == [[1, 2, 3]])
    #expect(!chunk.isDamaged, "it may be a write under way")
    #expect(try relay().read(stream, from: .start).isDamaged, "nobody else writes it")
    #expect(throws: RelayError.changed) { try writer.append([[7]], to: stream) }
  }

  @Test("what is put behind a frame that was cut off can be read by others, and so can that frame")
  func behindATornTail() throws {
    let tag = Self.tag.bytes
    let beginning = RelayFrames.beginning(stream.channel, account: Array(repeating: 3, count: 16), device: tag)
    let frames = (1...3).map { beginning + Array(repeating: UInt8($0), count: 100) }
    for cut in [2, 90, 140] {
      let writer = relay()
      _ = try writer.read(stream, from: .start)
      try writer.replace(stream, with: Array(frames[..<2]))
      let bytes = try #require(FileManager.default.contents(atPath: file))
      try bytes.dropLast(cut).write(to: URL(fileURLWithPath: file))
      try writer.appendAnyway([frames[2]], to: stream)
      #expect(try relay(nil).frames(in: stream) != frames, "the rest of the cut frame is taken from the next one")
      try writer.complete([frames[2]], after: Array(frames[..<2]), in: stream)
      let there = try relay(nil).frames(in: stream)
      #expect(there.count == 3 && Set(there) == Set(frames), "\(cut)")
      try writer.complete([frames[2]], after: frames, in: stream)
      #expect(try relay(nil).frames(in: stream) == there, "nothing is put there twice")
    }
  }

  @Test("an absurd length is damage and allocates nothing")
  func absurdLength() throws {
    let writer = relay()
    _ = try writer.read(stream, from: .start)
    try writer.append([[1, 2, 3]], to: stream)
    let handle = try #require(FileHandle(forWritingAtPath: file))
    handle.seekToEndOfFile()
    handle.write(Data([0xFF, 0xFF, 0xFF, 0xFF, 1, 2]))
    let chunk = try relay(nil).read(stream, from: .start)
    #expect(chunk.frames == [[1, 2, 3]])
    #expect(chunk.isDamaged)
  }

  @Test("a stranger's files are left alone")
  func strangers() throws {
    _ = try relay().survey()
    let account = sandbox.path + "/relay/" + String(repeating: "03", count: 16)
    try FileManager.default.createDirectory(atPath: account + "/holiday pictures", withIntermediateDirectories: true)
    try Data("hello".utf8).write(to: URL(fileURLWithPath: account + "/notes.txt"))
    #expect(try relay().survey().streams.isEmpty)
    #expect(FileManager.default.fileExists(atPath: account + "/notes.txt"))
  }

  @Test("nothing is made where a relay was: not where it was deleted, not in an empty folder, not in another one")
  func neverMade() throws {
    let identity = try relay().identity()
    let writer = FolderRelay(path: sandbox.relayPath, account: Array(repeating: 3, count: 16), ownTag: Self.tag, meaning: identity)
    _ = try writer.survey()
    try FileManager.default.moveItem(atPath: sandbox.relayPath, toPath: sandbox.relayPath + "-away")
    func tries(_ error: RelayError) {
      #expect(throws: error) { try writer.survey() }
      #expect(throws: error) { try writer.append([[1]], to: stream) }
      #expect(throws: error) { try writer.appendAnyway([[1]], to: stream) }
      #expect(throws: error) { try writer.replace(stream, with: [[1]]) }
      #expect(throws: error) { try writer.putPresence([1], of: Self.tag) }
      #expect(throws: error) { try writer.putMail([1], mailbox: "aa", slot: 1) }
      #expect(throws: error) { try writer.putNotice([1], board: "aa", number: 1) }
    }
    tries(.unreachable(sandbox.relayPath))
    #expect(!FileManager.default.fileExists(atPath: sandbox.relayPath))
    try FileManager.default.createDirectory(atPath: sandbox.relayPath, withIntermediateDirectories: true)
    tries(.noRelay(sandbox.relayPath))
    #expect(try FileManager.default.contentsOfDirectory(atPath: sandbox.relayPath).isEmpty)
    let other = try FolderRelay.make(at: sandbox.relayPath)
    #expect(other != identity)
    tries(.another(sandbox.relayPath, identity: other))
    #expect(try FileManager.default.contentsOfDirectory(atPath: sandbox.relayPath) == ["epoch"])
    writer.adopt(other)
    try writer.append([[1]], to: stream)
  }

  @Test("of many that make a relay at once, all get the same one")
  func makeAtOnce() throws {
    let path = sandbox.path + "/fresh"
    let found = Mutex(Set<UInt64>())
    DispatchQueue.concurrentPerform(iterations: 16) { _ in
      if let identity = try? FolderRelay.make(at: path) { found.withLock { _ = $0.insert(identity) } }
    }
    #expect(found.withLock { $0.count } == 1)
  }

  @Test("the file system tells of another's append within the call")
  func watching() throws {
    let other = BlindTag(high: 7, low: 7)
    let (writer, reader) = (relay(other), relay())
    _ = try reader.survey()
    _ = try writer.read(RelayStream(tag: other, channel: Channel(.crisis)), from: .start)
    let watch = try #require(reader.watch())
    try writer.append([[1]], to: RelayStream(tag: other, channel: Channel(.crisis)))
    #expect(eventually { watch.changes().contains(.listing) })
    _ = try reader.survey()
    try writer.append([[2]], to: RelayStream(tag: other, channel: Channel(.crisis)))
    #expect(eventually { watch.changes().contains(.stream(RelayStream(tag: other, channel: Channel(.crisis)))) })
    // Whoever stops watching and watches again hears again.
    watch.end()
    let again = try #require(reader.watch())
    _ = try reader.survey()
    try writer.append([[3]], to: RelayStream(tag: other, channel: Channel(.crisis)))
    #expect(eventually { again.changes().contains(.stream(RelayStream(tag: other, channel: Channel(.crisis)))) })
  }
}
