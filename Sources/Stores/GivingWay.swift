import Causality
import Replica

/// In a crisis everything ordinary gives way: after each ordinary step the driver rests as long as the
/// step took, so that at most half of a processor, a disk and a store belongs to anything but the crisis.
/// What arrives meanwhile ends the rest.
package struct GivingWay: Sendable {
  private var until: UInt64 = 0

  package init() {}
  /// Nanoseconds; longer steps do not earn a longer rest.
  private static let longest: UInt64 = 20_000_000

  /// Notes a step that was performed.
  package mutating func note(_ effect: ReplicaEffect, inCrisis: Bool, began: UInt64, now: UInt64) {
    guard inCrisis, effect.isOrdinary else { return }
    until = now + min(now - began, Self.longest)
  }

  /// Nanoseconds to rest before the next step; `nil` when it is its turn.
  package func rest(_ now: UInt64) -> UInt64? { until > now ? until - now : nil }

  /// Something arrived: the rest is over.
  package mutating func end() { until = 0 }
}

extension ReplicaEffect {
  /// Whether it can wait: everything but the crisis lane, membership, and saying where we are.
  var isOrdinary: Bool {
    switch self {
    case .reconcile(let channel, _, _, _), .append(let channel, _, _), .dropCarried(let channel): channel.isOrdinary
    case .cut(let lane, _): lane != .crisis
    case .read(let stream, _), .apply(let stream, _, _, _), .audit(let stream, _), .carry(let stream, _): stream.channel.isOrdinary
    case .release, .closeLives, .verify: true
    case .survey, .examine, .readPresence, .writePresence, .wake, .report: false
    }
  }
}

extension ReplicaEvent {
  /// Whether it brings ordinary changes, and more of the same file follows.
  var isAmidOthers: Bool {
    guard case .applied(let stream, isAtEnd: false, _) = self else { return false }
    return stream.channel.isOrdinary
  }
}

extension Channel {
  fileprivate var isOrdinary: Bool { lane.map { $0 != .crisis } ?? false }
}
