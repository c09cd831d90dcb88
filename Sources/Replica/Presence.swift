import Causality
import ConflictResolution
import Foundation
import Sealing
import SwiftProtobuf
import WireFormat

/// What a device says of itself: how far it has come, and that it is there.
package struct Presence: Hashable, Sendable {
  package struct Echo: Hashable, Sendable {
    package var device: DeviceID
    package var counter: UInt64
    /// Nanoseconds between seeing that presence and writing this one.
    package var held: UInt64
  }
  package var device: DeviceID
  /// Drawn anew by every run of the device. A relay that shows an old presence again can make a device
  /// look further behind than it is, never further ahead.
  package var incarnation: UInt64
  /// Counts up within an incarnation.
  package var counter: UInt64
  /// The device's wall clock, in milliseconds since 1970.
  package var wall: UInt64
  /// Only what is durable there.
  package var heads: [StreamKey: UInt64]
  /// Streams it cannot read any further on the relay.
  package var damaged: [StreamKey]
  package var echoes: [Echo]
  package var stateHash: StateHash
  package var isLeaving: Bool
  /// The activation that is drawn on a screen of this device.
  package var shown: Shown?

  package struct Shown: Hashable, Sendable {
    package var activation: OperationID
    /// Nanoseconds between drawing it and writing this presence.
    package var held: UInt64

    package init(activation: OperationID, held: UInt64) { (self.activation, self.held) = (activation, held) }
  }

  package var bytes: [UInt8] {
    var wire = WirePresence()
    wire.device = Data(device.bytes)
    wire.incarnation = incarnation
    wire.counter = counter
    wire.wallMs = wall
    wire.cursors = heads.sorted { $0.key < $1.key }.map { Self.cursor($0.key, $0.value) }
    wire.damaged = damaged.sorted().map { Self.cursor($0, 0) }
    wire.echoes = echoes.map { echo in
      var wire = WirePresenceEcho()
      wire.device = Data(echo.device.bytes)
      wire.counter = echo.counter
      wire.heldUs = echo.held / 1_000
      return wire
    }
    wire.stateHash = Data(stateHash.bytes)
    wire.leaving = isLeaving
    if let shown {
      wire.shown.device = Data(shown.activation.stream.device.bytes)
      wire.shown.sequence = shown.activation.sequence
      wire.shownHeldUs = shown.held / 1_000
    }
    return wire.encoded
  }

  /// Reads a presence that has been opened and whose signature holds; `nil` when it is malformed.
  package init?(bytes: [UInt8]) {
    guard
      let wire = try? WirePresence(serializedBytes: bytes), let device = DeviceID(bytes: wire.device),
      let stateHash = StateHash(bytes: Array(wire.stateHash))
    else { return nil }
    self.device = device
    incarnation = wire.incarnation
    counter = wire.counter
    wall = wire.wallMs
    heads = [:]
    for cursor in wire.cursors {
      if let key = Self.key(cursor) { heads[key] = cursor.sequence }
    }
    damaged = wire.damaged.compactMap(Self.key)
    echoes = wire.echoes.compactMap { echo in
      guard let device = DeviceID(bytes: echo.device), echo.heldUs < 1 << 50 else { return nil }
      return Echo(device: device, counter: echo.counter, held: echo.heldUs * 1_000)
    }
    self.stateHash = stateHash
    isLeaving = wire.leaving
    if let device = DeviceID(bytes: wire.shown.device), wire.shownHeldUs < 1 << 50 {
      let id = OperationID(stream: StreamID(device: device, lane: .crisis), sequence: wire.shown.sequence)
      shown = Shown(activation: id, held: wire.shownHeldUs * 1_000)
    }
  }

  package init(
    device: DeviceID, incarnation: UInt64, counter: UInt64, wall: UInt64, heads: [StreamKey: UInt64],
    damaged: [StreamKey], echoes: [Echo], stateHash: StateHash, isLeaving: Bool,
    shown: Shown? = nil
  ) {
    (self.device, self.incarnation, self.counter, self.wall) = (device, incarnation, counter, wall)
    (self.heads, self.damaged, self.echoes) = (heads, damaged, echoes)
    (self.stateHash, self.isLeaving, self.shown) = (stateHash, isLeaving, shown)
  }

  private static func cursor(_ key: StreamKey, _ sequence: UInt64) -> WireStreamCursor {
    var wire = WireStreamCursor()
    wire.device = Data(key.device.bytes)
    wire.channel = UInt32(key.channel.rawValue)
    wire.sequence = sequence
    return wire
  }

  private static func key(_ wire: WireStreamCursor) -> StreamKey? {
    guard let device = DeviceID(bytes: wire.device), wire.channel < 256,
      let channel = Channel(rawValue: UInt8(wire.channel))
    else { return nil }
    return StreamKey(device: device, channel: channel)
  }
}
