import Foundation
import Testing

/// A home that is replaced: the old one, or the new one, is there at every moment.
@Suite("Replacing a home", .serialized)
struct ReplacingTests {
  private static let folder = try? Folder()

  /// Loaded before a program: `WHEN` says how it ends at the exchange of two homes, or what its file system refuses.
  private static let library: String? = {
    let path = (folder?.path ?? "/tmp") + "/replacing"
    let source = #"""
      #define _GNU_SOURCE
      #include <errno.h>
      #include <fcntl.h>
      #include <signal.h>
      #include <stdlib.h>
      #include <string.h>
      #include <sys/syscall.h>
      #include <unistd.h>
      static int is(const char *when) {
        const char *said = getenv("WHEN");
        return said && !strcmp(said, when);
      }
      static void die(void) { kill(getpid(), SIGKILL); pause(); }
      int renameat2(int one, const char *from, int other, const char *to, unsigned flags) {
        if (is("before")) die();
        if (is("refused")) { errno = EIO; return -1; }
        if (is("without") || is("between")) { errno = EINVAL; return -1; }
        int result = (int)syscall(SYS_renameat2, one, from, other, to, flags);
        if (is("after")) die();
        return result;
      }
      int rename(const char *from, const char *to) {
        const char *place = getenv("PLACE");
        if (is("between") && place && !strcmp(to, place) && !strstr(from, ".replaced-")) die();
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

  init() throws {
    meeting = try Meeting()
    try meeting.found("w")
    _ = try meeting.write("w", "old")
  }

  private func world(_ when: String) throws -> [String: String] {
    ["LD_PRELOAD": try #require(Self.library), "WHEN": when, "PLACE": meeting.home("w")]
  }

  private func replace(_ when: String) throws -> Program.Outcome {
    try meeting.run("w", "init", "--replace", "--device", "new", "--no-passphrase", "--relay", meeting.url, environment: world(when))
  }

  private func beside(_ prefix: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: meeting.path).filter { $0.hasPrefix(prefix) }
  }

  @Test("killed before the exchange the old home is where it was, and the next try succeeds")
  func before() throws {
    #expect(try replace("before").status != 0)
    #expect(try meeting.titles("w") == ["old"])
    let again = try replace("")
    let aside = try #require(again.err.split(separator: "\n").first(where: { $0.hasPrefix("What was there lies in ") }))
    #expect(again.status == 0)
    let name = try #require(try beside("w.replaced-").first(where: { aside.contains($0) }))
    #expect(try meeting.titles("w") == [] && meeting.titles(name) == ["old"])
    // What was never in its place is gone, and is not taken for the old home.
    #expect(try beside("w.new-").isEmpty && beside("w.replaced-").count == 1)
  }

  @Test("killed after the exchange the new home is there, and the old one beside it", arguments: ["after", "without"])
  func after(when: String) throws {
    let status = try replace(when).status
    #expect((status == 0) == (when == "without"))
    #expect(try meeting.titles("w") == [])
    let name = try #require(try beside("w.replaced-").first)
    #expect(try meeting.titles(name) == ["old"])
    #expect(try beside("w.new-").isEmpty)
  }

  @Test("where names cannot be exchanged and it is cut in between, the old home is named with what puts it back")
  func between() throws {
    #expect(try replace("between").status != 0)
    #expect(access(meeting.home("w"), F_OK) != 0)
    let name = try #require(try beside("w.replaced-").first)
    for words in [["status"], ["crisis", "activate", "severe"], ["record", "list"]] {
      let said = try Program.run(words + ["--home", meeting.home("w")])
      #expect(said.status == 66 && said.err.contains(meeting.home(name)) && said.err.contains("storage.moved-aside"), "\(said)")
    }
    let command = try #require(try meeting.run("w", "status").err.split(separator: "`").first(where: { $0.hasPrefix("mv ") }))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", String(command)]
    try process.run()
    process.waitUntilExit()
    #expect(try meeting.titles("w") == ["old"])
  }

  @Test("cut in between and repeated, it is said where the old home lies")
  func repeated() throws {
    #expect(try replace("between").status != 0)
    let name = try #require(try beside("w.replaced-").first)
    let again = try replace("")
    #expect(again.status == 0 && again.err.contains(meeting.home(name)), "\(again.err)")
    #expect(try meeting.titles(name) == ["old"])
  }

  @Test("where nothing was there, nobody is told that it lies aside")
  func nothing() throws {
    #expect(try replace("").status == 0)
    try FileManager.default.removeItem(atPath: meeting.home("w"))
    let missing = try meeting.run("w", "sync")
    #expect(missing.status == 66 && missing.err.contains("storage.no-store"), "\(missing.err)")
    let again = try replace("")
    #expect(again.status == 0 && !again.err.contains("What was there"), "\(again.err)")
  }

  @Test("a home that could not be put in its place says that the words shown are void, and leaves no key behind")
  func refused() throws {
    let said = try replace("refused")
    #expect(said.status != 0 && said.out.contains("recovery code") && said.err.contains("the 24 words that were shown open nothing"), "\(said)")
    #expect(try meeting.titles("w") == ["old"])
    #expect(try beside("w.").isEmpty)
  }

  @Test("a join that is killed before the exchange is gone on with by the same code")
  func join() throws {
    try meeting.found("a")
    let code = try meeting.invite("a")
    let words = ["join", code, "--device", "w", "--no-passphrase", "--yes", "--replace", "--home", meeting.home("w"), "--relay", meeting.url]
    #expect(try Program.run(words, environment: world("before")).status != 0)
    #expect(try meeting.titles("w") == ["old"])
    let joined = try Program.run(words)
    #expect(joined.status == 0 && joined.err.contains("What was there lies in"), "\(joined)")
    #expect(try beside("w.replaced-").count == 1 && beside("w.joining").isEmpty)
  }

  @Test("whom this machine follows as a contact stays, in the new home and in the old one")
  func following() throws {
    let folder = meeting.home("w") + "/following"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
    try Data("x".utf8).write(to: URL(fileURLWithPath: folder + "/somebody"))
    #expect(try replace("").status == 0)
    let aside = try #require(try beside("w.replaced-").first)
    for name in ["w", aside] {
      #expect(access(meeting.home(name) + "/following/somebody", F_OK) == 0, "\(name)")
    }
  }
}
