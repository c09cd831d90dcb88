import Foundation
import Storage
import Testing

/// Whom a machine follows as a contact outlives every home that is made beside it, whenever that is killed.
@Suite("Followed links", .serialized)
struct FollowedLinksTests {
  private static let folder = try? Folder()

  /// Loaded before a program: `AT` says before which rename it ends, `WITHOUT` that its file system exchanges no names.
  private static let library: String? = {
    let path = (folder?.path ?? "/tmp") + "/renaming"
    let source = #"""
      #define _GNU_SOURCE
      #include <errno.h>
      #include <fcntl.h>
      #include <signal.h>
      #include <stdlib.h>
      #include <sys/syscall.h>
      #include <unistd.h>
      static int count;
      static void step(void) {
        const char *at = getenv("AT");
        if (at && ++count == atoi(at)) { kill(getpid(), SIGKILL); pause(); }
      }
      int renameat2(int one, const char *from, int other, const char *to, unsigned flags) {
        if (getenv("WITHOUT")) { errno = EINVAL; return -1; }
        step();
        return (int)syscall(SYS_renameat2, one, from, other, to, flags);
      }
      int rename(const char *from, const char *to) {
        step();
        return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
      }
      """#
    try? Data(source.utf8).write(to: URL(fileURLWithPath: path + ".c"))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["clang", "-shared", "-fPIC", "-o", path + ".so", path + ".c"]
    try? process.run()
    process.waitUntilExit()
    return process.terminationStatus == 0 ? path + ".so" : nil
  }()

  private let meeting: Meeting
  private let links: Set<String>

  /// A person who has invited two contacts, and the machine `w` that follows both links and has no account.
  init() throws {
    meeting = try Meeting()
    try meeting.found("m")
    for (name, handle) in [("Ben", "ben"), ("Ann", "ann")] {
      _ = try meeting.run("m", "record", "add", "contact", "name=\(name)", "phone=555")
      let words = try meeting.run("m", "family", "invite", handle, "--as", "Maya").out.split(whereSeparator: \.isWhitespace).map(String.init)
      let link = try #require(words.firstIndex(of: "follow").map { words[$0 + 1] })
      let followed = try meeting.run("w", "family", "follow", link, "--once", "--relay", meeting.url)
      #expect(followed.status == 0, "\(followed.err)")
    }
    links = Self.links(meeting, "w")
    #expect(links.count == 2)
  }

  private static func links(_ meeting: Meeting, _ name: String) -> Set<String> {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: meeting.home(name) + "/following")) ?? []
    return Set(names.filter { !$0.contains(".") })
  }

  private func follows(_ name: String, _ when: String) throws {
    let heard = try meeting.run(name, "family", "follow", "--once")
    #expect(heard.status == 0, "\(when): \(heard.err)")
    #expect(Self.links(meeting, name) == links, "\(when)")
  }

  private func world(_ at: Int?, _ isWithout: Bool) throws -> [String: String] {
    var world = ["LD_PRELOAD": try #require(Self.library)]
    if let at { world["AT"] = "\(at)" }
    if isWithout { world["WITHOUT"] = "1" }
    return world
  }

  private func make(_ name: String, _ environment: [String: String] = [:]) throws -> Program.Outcome {
    try meeting.run(name, "init", "--device", name, "--no-passphrase", "--relay", meeting.url + "-" + name, environment: environment)
  }

  // MARK: Killed

  @Test("wherever an init is killed, the next follow finds every link, and so does the next init", arguments: [false])
  func initKilled(isWithout: Bool) throws {
    var (at, isMade) = (0, false)
    while !isMade, at < 40 {
      at += 1
      let name = "x\(at)"
      try meeting.copy("w", name)
      isMade = try make(name, world(at, isWithout)).status == 0
      if at % 2 == 0 { try follows(name, "killed at rename \(at)") }
      _ = try make(name)
      #expect(HomeFolder(path: meeting.home(name)).content == .store, "killed at rename \(at)")
      try follows(name, "killed at rename \(at), then made")
    }
    #expect(isMade && at > 4)
    let left = try FileManager.default.contentsOfDirectory(atPath: meeting.path).filter { $0.contains(".new-") }
    // A home that was in its place when the run was killed keeps beside it only what the next one removes.
    for name in left { #expect(!FileManager.default.fileExists(atPath: meeting.home(name) + "/store.db"), "\(name)") }
  }

  @Test("wherever a join is killed, every link is followed on, and the join goes on with the same code")
  func joinKilled() throws {
    let words = ["join", try meeting.invite("m"), "--device", "w", "--no-passphrase", "--yes", "--home", meeting.home("w"), "--relay", meeting.url]
    var at = 0
    while HomeFolder(path: meeting.home("w")).content != .store, at < 40 {
      at += 1
      _ = try Program.run(words, environment: world(at, false))
      if at % 3 == 0 { try follows("w", "killed at rename \(at)") }
    }
    #expect(at > 4 && HomeFolder(path: meeting.home("w")).content == .store)
    #expect(try meeting.run("w", "status").status == 0)
  }

  // MARK: What earlier versions left

  /// The links of `w` as a run of an earlier version left them that was killed: moved into what it made.
  private func orphan(_ suffix: String) throws {
    let draft = meeting.home("w") + suffix
    try FileManager.default.createDirectory(atPath: draft, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
    try FileManager.default.moveItem(atPath: meeting.home("w") + "/following", toPath: draft + "/following")
  }

  /// The number of a process that is over.
  private func dead() throws -> Int32 {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/true")
    try process.run()
    process.waitUntilExit()
    return process.processIdentifier
  }

  enum Next: CaseIterable { case follow, again, initialise, join, refused }

  @Test("links that a killed run has taken away are back with whatever comes next", arguments: zip(Next.allCases, [".joining", ".new-", ".new-", ".joining", ".new-"]))
  func orphaned(next: Next, suffix: String) throws {
    let draft = suffix == ".new-" ? "\(suffix)\(try dead())-7" : suffix
    let kept = try #require(links.sorted().first)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: meeting.home("w") + "/following/" + kept))
    try orphan(draft)
    switch next {
    case .follow: break
    case .again, .initialise:
      if next == .again {
        // One of the links was given again meanwhile.
        try FileManager.default.createDirectory(atPath: meeting.home("w") + "/following", withIntermediateDirectories: true)
        try bytes.write(to: URL(fileURLWithPath: meeting.home("w") + "/following/" + kept))
      }
      let made = try make("w")
      #expect(made.status == 0, "\(made.err)")
    case .join, .refused:
      // With no answer on standard input nobody has confirmed the digits.
      let more = next == .join ? ["--yes"] : []
      let joined = try Program.run(
        ["join", try meeting.invite("m"), "--device", "w", "--no-passphrase", "--home", meeting.home("w"), "--relay", meeting.url] + more)
      #expect((joined.status == 0) == (next == .join), "\(joined.err)")
    }
    #expect(next == .follow || Self.links(meeting, "w") == links)
    try follows("w", "\(next) \(suffix)")
    #expect(!FileManager.default.fileExists(atPath: meeting.home("w") + draft + "/following"))
  }
}
