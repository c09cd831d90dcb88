import CSystem
import Causality
import ConflictResolution
import Foundation
import Replica
import Stores
import Synchronization
import Therapy

/// Writes events as JSON lines: at once where that takes no waiting, otherwise from a thread of its own, so that who does
/// not read holds nothing up. Identifiers only: no names, no values.
final class EventLines: Sendable {
  private struct Queue {
    var lines: [String] = []
    var dropped = 0
    var isOver = false
    /// The thread has lines in hand that it has not written.
    var isWriting = false
    /// What was said last of everything being exchanged, while nothing has changed since.
    var toldComplete: Bool?
  }
  private let queue = Mutex(Queue())
  private let ready = Latch()
  private let written = Latch()
  /// Lines that wait at most.
  private static let limit = 20_000

  init() {
    let thread = Thread { [self] in write() }
    thread.name = "events"
    thread.start()
  }

  /// Waits until everything is written, for a second at most.
  func end() {
    queue.withLock { $0.isOver = true }
    ready.open()
    _ = written.wait(1_000)
  }

  private func write() {
    while true {
      _ = ready.wait(60_000)
      ready.close()
      let (lines, dropped, isOver) = queue.withLock { queue in
        defer { (queue.lines, queue.dropped, queue.isWriting) = ([], 0, true) }
        return (queue.lines, queue.dropped, queue.isOver)
      }
      var text = lines.joined()
      if dropped > 0 { text += "{\"event\":\"dropped\",\"count\":\(dropped),\"at_us\":\(SystemClock.wallMicroseconds)}\n" }
      if !text.isEmpty { Output.write(text) }
      queue.withLock { $0.isWriting = false }
      if isOver { return written.open() }
    }
  }

  private func put(_ line: String) {
    let isWritten = queue.withLock { queue in
      if queue.lines.isEmpty, queue.dropped == 0, !queue.isWriting, fm_write_now(STDOUT_FILENO, line, line.utf8.count) == 1 { return true }
      if queue.lines.count < Self.limit { queue.lines.append(line) } else { queue.dropped += 1 }
      return false
    }
    if !isWritten { ready.open() }
  }

  func print(_ report: ReplicaReport) {
    let at = SystemClock.wallMicroseconds
    switch report {
    case .applied(let device, let changes): applied(changes, device, at)
    case .released(let changes):
      applied(changes, nil, at)
      line("released", at, "\"count\":\(changes.count)")
    case .quarantined(let device, let count):
      line("quarantined", at, "\"device\":\"\(device?.description ?? "")\",\"count\":\(count)")
    case .damaged(let stream): line("damaged", at, "\"stream\":\"\(stream.tag.bytes.hexadecimal)/\(stream.channel.rawValue)\"")
    case .healed(let channel): line("healed", at, "\"channel\":\(channel.rawValue)")
    case .forked(let stream): line("forked", at, "\"device\":\"\(stream.device)\",\"channel\":\(stream.channel.rawValue)")
    case .tookBack(let count): line("tookBack", at, "\"batches\":\(count)")
    case .copied(let lives): line("copied", at, "\"lives\":\(lives)")
    case .carried(let device): line("carried", at, "\"device\":\"\(device?.description ?? "")\"")
    case .missing(let entries):
      for entry in entries {
        line(
          "missing", at,
          "\"device\":\"\(entry.stream.device)\",\"channel\":\(entry.stream.channel.rawValue),\"count\":\(entry.count),\"crisis\":\(entry.isCrisis)")
      }
    case .admitted: line("admitted", at, nil)
    case .heard(let device): line("heard", at, "\"device\":\"\(device)\"")
    case .relayLost(let error): line("relay", at, "\"reachable\":false,\"code\":\"\(error.code)\"")
    case .relayFound(let identity, let isNew):
      line("relay", at, "\"reachable\":true,\"identity\":\"\(String(identity, radix: 16))\",\"another\":\(isNew)")
    case .sendingFailed(let channel, let error): line("sending", at, "\"channel\":\(channel.rawValue),\"code\":\"\(error.code)\"")
    case .accepted(let channel, let through): line("accepted", at, "\"channel\":\(channel.rawValue),\"through\":\(through)")
    case .idle(let settled, let complete): if settled, isNews(complete) { line("synced", at, "\"complete\":\(complete)") }
    }
    if report.isChange { queue.withLock { $0.toldComplete = nil } }
  }

  /// - Returns: Whether that everything is exchanged was not said since something has changed.
  private func isNews(_ complete: Bool) -> Bool {
    queue.withLock { queue in
      defer { queue.toldComplete = complete }
      return queue.toldComplete != complete
    }
  }

  private func applied(_ changes: [AppliedChange], _ device: DeviceID?, _ at: UInt64) {
    for change in changes {
      line(
        "applied", at,
        "\"record\":\"\(change.record)\",\"kind\":\"\(change.kind.jsonEscaped)\",\"field\":\"\(change.field.jsonEscaped)\",\"device\":\"\((device ?? change.id.stream.device))\"")
    }
  }

  func trouble(_ code: String) { line("trouble", SystemClock.wallMicroseconds, "\"code\":\"\(code)\"") }
  func ended(_ code: String) { line("ended", SystemClock.wallMicroseconds, "\"code\":\"\(code)\"") }

  func crisis(_ state: CrisisState, isSaved: Bool) {
    line(
      "crisis", SystemClock.wallMicroseconds,
      "\"level\":\"\(state.level.name)\",\"active\":\(state.isActive),\"saved\":\(isSaved)")
  }

  private func line(_ event: String, _ at: UInt64, _ rest: String?) {
    put("{\"event\":\"\(event)\",\(rest.map { $0 + "," } ?? "")\"at_us\":\(at)}\n")
  }
}

extension ReplicaReport {
  /// Whether after it everything being exchanged says something new. A device that was heard of has changed nothing.
  fileprivate var isChange: Bool {
    switch self {
    case .heard, .idle: false
    case .applied, .released, .quarantined, .damaged, .healed, .forked, .tookBack, .copied, .carried, .missing, .admitted, .relayLost,
      .relayFound, .sendingFailed, .accepted: true
    }
  }
}

extension String {
  /// For the few places that write JSON without an encoder: kinds and fields of unknown versions.
  var jsonEscaped: String {
    guard contains(where: { $0 == "\"" || $0 == "\\" || $0.unicodeScalars.first.map { $0.value < 32 } ?? false }) else {
      return self
    }
    return unicodeScalars.map { scalar in
      switch scalar {
      case "\"": "\\\""
      case "\\": "\\\\"
      case let control where control.value < 32: "\\u00" + [UInt8(control.value)].hexadecimal
      default: String(scalar)
      }
    }.joined()
  }
}
