import Causality
import Foundation
import Sealing
import WireFormat

/// A newcomer that this device has admitted and not heard of yet: what it still has to be given.
package struct Admission: Sendable, Hashable {
  package var device: DeviceID
  /// The mailbox in which the newcomer looks, and the code that opens it.
  package var code: String
  /// The account, sealed to the newcomer.
  package var sealed: [UInt8]

  package init(device: DeviceID, code: String, sealed: [UInt8]) { (self.device, self.code, self.sealed) = (device, code, sealed) }

  package var bytes: [UInt8] {
    var wire = WireKeptAdmission()
    (wire.device, wire.code, wire.sealed) = (Data(device.bytes), code, Data(sealed))
    return wire.encoded
  }

  package init?(bytes: [UInt8]) {
    guard let wire = try? WireKeptAdmission(serializedBytes: bytes), let device = DeviceID(bytes: wire.device) else { return nil }
    self.init(device: device, code: wire.code, sealed: Array(wire.sealed))
  }
}

/// Sees an admission through: the newcomer gets its keys although the device that admitted it was killed in between, and
/// one that refused is a member no more. Only what is signed ends an admission, never a clock.
package struct AdmissionDuty: Sendable {
  package enum Step: Sendable, Hashable {
    /// Puts the account into the mailbox (again), and looks for a refusal there.
    case deliver(Admission)
    /// The newcomer was heard of: the mailbox is done with.
    case finish(Admission)

    package var admission: Admission {
      switch self {
      case .deliver(let admission), .finish(let admission): admission
      }
    }
  }

  private var waiting: [Admission] = []
  /// Uptime at which it is looked again; `nil` while nobody is waited for.
  package private(set) var due: UInt64?
  /// How often a mailbox is looked at, in nanoseconds.
  private static let gap: UInt64 = 2_000_000_000

  package init() {}

  /// Takes over what the store has kept.
  package mutating func follow(_ admissions: [Admission], now: UInt64) {
    guard waiting != admissions else { return }
    waiting = admissions
    due = admissions.isEmpty ? nil : now
  }

  /// - Parameter isHeardOf: Whether a device has said or written anything.
  package mutating func look(now: UInt64, isHeardOf: (DeviceID) -> Bool) -> [Step] {
    guard let due, due <= now else { return [] }
    self.due = waiting.isEmpty ? nil : now &+ Self.gap
    return waiting.map { isHeardOf($0.device) ? .finish($0) : .deliver($0) }
  }

  /// An admission has ended.
  package mutating func didEnd(_ device: DeviceID) {
    waiting.removeAll { $0.device == device }
    if waiting.isEmpty { due = nil }
  }
}
