import Synchronization

/// How this program was called, so that what it says to do next can be pasted.
///
/// A command in backticks is meant for the home that was worked on, and gets its `--home`: without it a remedy would
/// work on another store, or on none. One that is meant for another device stands in “quotes”.
enum Invocation {
  /// What `--home` said; `nil` where the environment or the system names the folder, as it will the next time.
  static let home = Mutex<String?>(nil)

  /// Words of this program, with its commands as they have to be typed for the home that was worked on.
  static func here(_ text: String) -> String { here(text, home: home.withLock { $0 }) }

  static func here(_ text: String, home: String?) -> String {
    guard let home else { return text }
    let parts = text.split(separator: "`", omittingEmptySubsequences: false)
    return parts.enumerated().map { index, part in
      let isCommand = !index.isMultiple(of: 2) && index < parts.count - 1 && part.split(separator: " ").first == "fullmind"
      return isCommand && !part.contains("--home") && !part.hasPrefix("fullmind help") ? part + " --home " + quoted(home) : String(part)
    }.joined(separator: "`")
  }

  /// As a shell takes it for one word.
  static func quoted(_ path: String) -> String {
    let isPlain = path.utf8.allSatisfy { UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 | 0x20 || UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || "/._-+:@,".utf8.contains($0) }
    return isPlain && !path.isEmpty ? path : "'" + path.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }
}
