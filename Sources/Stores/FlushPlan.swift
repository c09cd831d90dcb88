import Causality
import Replica

/// What other processes of this device, and the next run, want to know, and when it is kept.
struct FlushPlan {
  private(set) var presences: [DeviceID: Presence] = [:]
  var isDirty = false
  var last: UInt64 = 0

  /// At most one remembering transaction in this time, and in ten times of it while a crisis is active.
  private static let gap: UInt64 = 500_000_000

  /// Uptime from which it may be kept.
  func due(inCrisis: Bool) -> UInt64 { last + (inCrisis ? 10 : 1) * Self.gap }

  /// Takes in a presence, or that our own was written; called before the replica sees the event.
  mutating func observe(_ event: ReplicaEvent, _ peers: [DeviceID: Peer]) {
    switch event {
    case .heard(_, let presence?):
      // A mere sign of life is kept with our own next one: that wakes nobody twice.
      if peers[presence.device]?.presence.cursors != presence.cursors { isDirty = true }
      presences[presence.device] = presence
    case .wrotePresence: if !presences.isEmpty { isDirty = true }
    default: break
    }
  }

  /// Takes out what is to be kept now.
  mutating func take(now: UInt64) -> [DeviceID: Presence] {
    defer { presences = [:] }
    (last, isDirty) = (now, false)
    return presences
  }
}
