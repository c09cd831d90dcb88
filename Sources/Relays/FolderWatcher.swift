import CSystem
import Causality
import Foundation
import Replica
import Synchronization

/// Follows the folders of a relay through the file system's own notifications.
final class FolderWatcher: Sendable {
  enum Place: Hashable, Sendable {
    case root, account
    case device(BlindTag)
  }

  let descriptor: Int32
  private struct State {
    var places: [Int32: Place] = [:]
    var isOver = false
    /// A folder could not be watched: the user has no watches left.
    var isBlind = false
  }
  private let state = Mutex(State())

  init() { descriptor = fm_watch_open() }
  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Watches a folder; again is harmless.
  func watch(_ path: String, as place: Place) {
    state.withLock { state in
      guard !state.isOver else { return }
      let watch = fm_watch_add(descriptor, path)
      if watch >= 0 { state.places[watch] = place } else if errno == ENOSPC || errno == EMFILE { state.isBlind = true }
    }
  }

  /// Whether it was ended.
  var isOver: Bool { state.withLock { $0.isOver } }

  /// Whether it hears of every change: otherwise the relay has to be asked as well.
  var isComplete: Bool { state.withLock { !$0.isBlind } }

  /// Stops watching. The kernel forgets watches at leisure, but closing their descriptor waits for it,
  /// up to 15 ms: whoever is about to exit ends first and does something else meanwhile.
  func end() {
    state.withLock { state in
      state.isOver = true
      for watch in state.places.keys { fm_watch_remove(descriptor, watch) }
      state.places = [:]
    }
  }

  /// What happened since the last call, each thing once.
  func changes() -> [RelayChange] {
    var seen = Set<RelayChange>()
    var changes = [RelayChange]()
    var buffer = [UInt8](repeating: 0, count: 32_768)
    while true {
      let used = fm_watch_read(descriptor, &buffer, buffer.count)
      if used == 0 { return changes }
      var entry = buffer[..<used]
      while let (watch, mask, name) = Self.next(&entry) {
        if let change = change(watch, mask, name), seen.insert(change).inserted { changes.append(change) }
      }
    }
  }

  private static func next(_ entries: inout ArraySlice<UInt8>) -> (Int32, UInt32, String)? {
    guard entries.count >= 9 else { return nil }
    let words = Array(entries.prefix(8)).withUnsafeBytes {
      ($0.loadUnaligned(as: Int32.self), $0.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    }
    let name = entries.dropFirst(8).prefix { $0 != 0 }
    entries = entries.dropFirst(9 + name.count)
    return (words.0, words.1, String(decoding: name, as: UTF8.self))
  }

  private func change(_ watch: Int32, _ mask: UInt32, _ name: String) -> RelayChange? {
    // Of an overflow the kernel tells for no watch: whatever came after it is not in the queue.
    guard watch >= 0 else { return .unknown }
    if fm_watch_mask_lost(mask) != 0 {
      // Of a watch that was ended nobody wants to hear.
      return state.withLock { $0.places.removeValue(forKey: watch) != nil } ? .unknown : nil
    }
    guard let place = state.withLock({ $0.places[watch] }) else { return nil }
    switch place {
    case .root: return name == "mail" || name == "boards" || name.isEmpty ? nil : .listing
    case .account: return .listing
    case .device(let tag):
      if name == "presence" { return .presence(tag) }
      return FolderRelay.channel(name).map { .stream(RelayStream(tag: tag, channel: $0.0, isCarried: $0.isCarried)) }
    }
  }
}
