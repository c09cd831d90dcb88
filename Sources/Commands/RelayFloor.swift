import CSystem
import Foundation

/// The least that a change can cost between two processes on one machine: a durable append here, the
/// wake-up of another process by the file system, a durable append there.
enum RelayFloor {
  private static let tries = 400
  private static let frame = [UInt8](repeating: 0x5A, count: 400)

  static func run() throws -> [BenchRow] {
    let folder = NSTemporaryDirectory() + "/fullmind-floor-\(getpid())"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let peer = Process()
    peer.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
    if !FileManager.default.isExecutableFile(atPath: CommandLine.arguments[0]) {
      peer.executableURL = URL(fileURLWithPath: "/proc/self/exe")
    }
    peer.arguments = ["bench", "relay-floor", "--peer", folder]
    let pipe = Pipe()
    peer.standardOutput = pipe
    try peer.run()
    let answers = Lines(pipe.fileHandleForReading.fileDescriptor)
    guard answers.next() == "ready" else { return [] }
    let (log, relay) = (open(folder + "/log", O_WRONLY | O_CREAT | O_APPEND, 0o600), open(folder + "/relay", O_WRONLY | O_APPEND))
    var micros = [Double]()
    for _ in 0..<tries {
      Thread.sleep(forTimeInterval: 0.002)
      let began = fm_wall_us()
      _ = write(log, frame, frame.count)
      fdatasync(log)
      _ = write(relay, frame, frame.count)
      guard let line = answers.next(), let done = UInt64(line) else { break }
      micros.append(Double(done - began))
    }
    close(relay)
    peer.terminate()
    peer.waitUntilExit()
    return [
      BenchRow(name: "relay floor p50", value: BenchClock.percentile(micros, 0.5) / 1_000, unit: "ms", note: "\(micros.count) tries, two processes"),
      BenchRow(name: "relay floor p99", value: BenchClock.percentile(micros, 0.99) / 1_000, unit: "ms", note: ""),
    ]
  }

  /// The other process: waits for the file system's word, appends durably, says when it was done.
  static func runPeer(folder: String) {
    let relay = open(folder + "/relay", O_RDONLY | O_CREAT, 0o600)
    let log = open(folder + "/peer-log", O_WRONLY | O_CREAT | O_APPEND, 0o600)
    let watch = fm_watch_open()
    _ = fm_watch_add(watch, folder)
    var (buffer, entries) = ([UInt8](repeating: 0, count: frame.count), [UInt8](repeating: 0, count: 16_384))
    Output.line("ready")
    while true {
      var ready: [UInt8] = [0]
      _ = fm_wait([watch], &ready, 1, 10_000)
      if ready[0] == 0 { return }
      _ = fm_watch_read(watch, &entries, entries.count)
      guard read(relay, &buffer, buffer.count) == buffer.count else { continue }
      _ = write(log, buffer, buffer.count)
      fdatasync(log)
      Output.line(String(fm_wall_us()))
    }
  }

  /// The crisis card in a process of its own, beside a process that does nothing.
  static func runCard() -> [BenchRow] {
    func time(_ path: String, _ arguments: [String]) -> [Double] {
      (0..<40).map { _ in
        BenchClock.seconds { spawn(path, arguments) } * 1_000
      }
    }
    let card = time("/proc/self/exe", ["crisis", "card"])
    let floor = time("/bin/true", [])
    return [
      BenchRow(name: "crisis card p50", value: BenchClock.percentile(card, 0.5), unit: "ms", floor: BenchClock.percentile(floor, 0.5), note: "start to exit, beside /bin/true"),
      BenchRow(name: "crisis card p99", value: BenchClock.percentile(card, 0.99), unit: "ms", floor: BenchClock.percentile(floor, 0.99), note: ""),
    ]
  }
}

/// Runs a program with its output thrown away, and waits for its end.
private func spawn(_ path: String, _ arguments: [String]) {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
  defer { posix_spawn_file_actions_destroy(&actions) }
  var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
  defer { for word in words { free(word) } }
  var (child, status): (pid_t, Int32) = (0, 0)
  if posix_spawn(&child, path, &actions, nil, &words, environ) == 0 { waitpid(child, &status, 0) }
}

/// Lines of a descriptor, as they come.
private final class Lines {
  private let descriptor: Int32
  private var rest = [UInt8]()
  init(_ descriptor: Int32) { self.descriptor = descriptor }

  func next() -> String? {
    while true {
      if let end = rest.firstIndex(of: 10) {
        let line = String(decoding: rest[..<end], as: UTF8.self)
        rest = Array(rest[(end + 1)...])
        return line
      }
      var buffer = [UInt8](repeating: 0, count: 4_096)
      let count = read(descriptor, &buffer, buffer.count)
      if count <= 0 { return nil }
      rest += buffer[..<count]
    }
  }
}
