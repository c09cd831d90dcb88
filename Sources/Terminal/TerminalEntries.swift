import Foundation
import Stores

/// Terminal descriptions with 24-bit colours, for terminals that say they have them.
///
/// Few systems install one; ours are compiled in and written to a cache folder once.
enum TerminalEntries {
  /// The name of a description for `term`; `nil` when the terminal does not promise 24 bits.
  static func direct(for term: String) -> String? {
    guard ["truecolor", "24bit"].contains(Environment["COLORTERM"]) else { return nil }
    let (name, bytes): (String, [UInt8])
    if term.hasPrefix("tmux") || term.hasPrefix("screen") {
      (name, bytes) = ("fullmind-tmux", PackageResources.fullmind_tmux)
    } else if term.hasPrefix("xterm") || term.contains("256color") || ["alacritty", "foot", "kitty"].contains(where: term.contains) {
      (name, bytes) = ("fullmind-xterm", PackageResources.fullmind_xterm)
    } else {
      return nil
    }
    guard let folder = install(name, bytes) else { return nil }
    let others = Environment["TERMINFO_DIRS"].map { ":" + $0 } ?? ":"
    setenv("TERMINFO_DIRS", folder + others, 1)
    return name
  }

  private static func install(_ name: String, _ bytes: [UInt8]) -> String? {
    let folder = Environment.folder("XDG_CACHE_HOME", else: ".cache") + "/terminfo"
    let path = "\(folder)/f/\(name)"
    if FileManager.default.contents(atPath: path) == Data(bytes) { return folder }
    do {
      try FileManager.default.createDirectory(atPath: folder + "/f", withIntermediateDirectories: true)
      try Data(bytes).write(to: URL(fileURLWithPath: path), options: .atomic)
      return folder
    } catch {
      // A home that cannot be written: 256 colours will do.
      return nil
    }
  }
}
