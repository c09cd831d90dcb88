import Foundation
import Testing

/// The house checks itself: floors, size, words.
@Suite("The house")
struct HouseTests {
  static let root: URL = {
    var folder = URL(fileURLWithPath: #filePath)
    for _ in 0..<3 { folder.deleteLastPathComponent() }
    return folder
  }()

  static func swiftFiles(in folder: String) throws -> [(path: String, text: String)] {
    let base = root.appendingPathComponent(folder)
    return try FileManager.default.subpathsOfDirectory(atPath: base.path).filter { $0.hasSuffix(".swift") && !$0.hasSuffix(".pb.swift") }.sorted()
      .map { ("\(folder)/\($0)", try String(contentsOf: base.appendingPathComponent($0), encoding: .utf8)) }
  }

  /// The floor of each module, from the comments in Package.swift.
  static func floors() throws -> [String: Int] {
    let manifest = try String(contentsOf: root.appendingPathComponent("Package.swift"), encoding: .utf8)
    var (floors, floor): ([String: Int], Int?) = ([:], nil)
    for line in manifest.split(separator: "\n") {
      if let match = line.firstMatch(of: #/// floor (\d+) ·/#) { floor = Int(match.1) }
      if line.contains("// tests:") { floor = nil }
      if let floor, let match = line.firstMatch(of: /name: "([A-Za-z]+)"/) { floors[String(match.1)] = floor }
    }
    return floors
  }

  @Test("no import runs up or along a floor")
  func imports() throws {
    let floors = try Self.floors()
    #expect(floors.count >= 17, "the floors could not be read: \(floors)")
    var arrows = 0
    for (path, text) in try Self.swiftFiles(in: "Sources") {
      let module = String(path.split(separator: "/")[1])
      let floor = try #require(floors[module], "\(module) stands on no floor")
      for line in text.split(separator: "\n") where line.hasPrefix("import ") {
        let imported = String(line.dropFirst(7))
        guard let other = floors[imported] else { continue }
        arrows += 1
        #expect(other < floor, "\(path) imports \(imported)")
      }
    }
    #expect(arrows > 100)
  }

  @Test("rules read no clock, no file, no unseeded chance, and never wait", arguments: ["Causality", "ConflictResolution", "Crisis", "Sealing", "Therapy", "Replica", "Dashboard"])
  func rulesArePure(module: String) throws {
    let banned = ["Date()", "SystemRandomNumberGenerator", "FileManager", "async ", "await ", "actor ", "Mutex", "DispatchQueue", "Thread.", "clock_gettime", ".random(in:"]
    for (path, text) in try Self.swiftFiles(in: "Sources/\(module)") {
      for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
        guard !line.trimmingCharacters(in: .whitespaces).hasPrefix("//") else { continue }
        for word in banned where line.contains(word) {
          // A seeded source that was passed in is fine.
          if word == ".random(in:", line.contains("using:") { continue }
          Issue.record("\(path):\(number + 1) uses \(word)")
        }
      }
    }
  }

  @Test("no forced unwrapping, no try!, no unfinished places")
  func forced() throws {
    for (path, text) in try Self.swiftFiles(in: "Sources") {
      for word in ["try!", "as!", "TODO", "FIXME", "fatalError("] { #expect(!text.contains(word), "\(path) has \(word)") }
    }
  }

  @Test("files stay small: the longest has a reason")
  func sizes() throws {
    for (path, text) in try Self.swiftFiles(in: "Sources") {
      #expect(text.split(separator: "\n", omittingEmptySubsequences: false).count <= 420, "\(path) could be two rooms")
    }
  }

  @Test("every command has its name in writing: a derived one costs a millisecond of each start of each command")
  func commandNames() throws {
    for (path, text) in try Self.swiftFiles(in: "Sources/Commands") {
      let (all, named) = (text.matches(of: /CommandConfiguration\(/).count, text.matches(of: /CommandConfiguration\(\s*commandName:/).count)
      #expect(all == named, "\(path)")
    }
  }

  @Test("no module is called Core, Common, Utils, Kit or Helpers")
  func moduleNames() throws {
    for name in try Self.floors().keys { #expect(!["Core", "Common", "Utils", "Kit", "Helpers"].contains(name)) }
  }

  @Test("the words of the glossary are explained")
  func glossary() throws {
    let text = try String(contentsOf: Self.root.appendingPathComponent("docs/GLOSSARY.md"), encoding: .utf8)
    for word in ["device", "replica", "record", "field", "operation", "timestamp", "cursor", "batch", "lane", "relay", "epoch", "policy", "conflict", "tombstone", "handoff", "panel", "frame", "theme"] {
      #expect(text.contains("**\(word)**"), "\(word) is missing")
    }
  }

  @Test("files that the documents name exist")
  func namedFiles() throws {
    for document in ["ARCHITECTURE.md", "README.md"] {
      let text = try String(contentsOf: Self.root.appendingPathComponent(document), encoding: .utf8)
      for match in text.matches(of: /`((?:Sources|Tests|scripts|docs|themes)\/[A-Za-z0-9_\/.+-]+)`/) {
        #expect(FileManager.default.fileExists(atPath: Self.root.appendingPathComponent(String(match.1)).path), "\(document) names \(match.1)")
      }
    }
  }
}
