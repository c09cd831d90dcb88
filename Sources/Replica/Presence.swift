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
  package var run: UInt64
  /// Counts up within a run.
  package var counter: UInt64
  /// The device's wall clock, in milliseconds since 1970.
  package var wall: UInt64
  /// Only what is durable there, of every history of a stream. A stream that is not named is complete there as far
  /// as the device has read that it was closed.
  package var cursors: [StreamKey: [StreamCursor]]
  /// Not all cursors fitted: of what is not named nothing is known.
  package var isPartial = false
  /// Streams it cannot read any further on the relay.
  package var damaged: [StreamKey]
  /// The first operation of a stream that it has, and does not show until its time has come.
  package var heldBack: [StreamKey: UInt64]
  package var echoes: [Echo]
  package var stateHash: StateHash
  package var isLeaving: Bool
  /// The activation that is drawn on a screen of this device.
  package var shown: Shown?
  /// The relay that it was written to.
  package var relay: UInt64

  package struct Shown: Hashable, Sendable {
    package var activation: OperationID
    /// Nanoseconds between drawing it and writing this presence.
    package var held: UInt64

    package init(activation: OperationID, held: UInt64) { (self.activation, self.held) = (activation, held) }
  }

  package init(
    device: DeviceID, run: UInt64, counter: UInt64, wall: UInt64, cursors: [StreamKey: [StreamCursor]],
    damaged: [StreamKey] = [], heldBack: [StreamKey: UInt64] = [:], echoes: [Echo] = [], stateHash: StateHash,
    isLeaving: Bool = false, shown: Shown? = nil, relay: UInt64 = 0
  ) {
    (self.device, self.run, self.counter, self.wall) = (device, run, counter, wall)
    (self.cursors, self.damaged, self.heldBack, self.echoes) = (cursors, damaged, heldBack, echoes)
    (self.stateHash, self.isLeaving, self.shown, self.relay) = (stateHash, isLeaving, shown, relay)
  }

  /// Whether it says that a place in a stream was reached there, in that history.
  package func has(_ tip: OwnTip) -> Bool { cursors[tip.stream]?.contains(tip.cursor) ?? false }

  // MARK: Bytes

  package var bytes: [UInt8] {
    var wire = WirePresence()
    var writers = WriterTable()
    wire.device = Data(device.bytes)
    (wire.run, wire.counter, wire.wallMs) = (run, counter, wall)
    // The lanes that matter most come first, so that what does not fit is the least.
    for (key, cursors) in cursors.sorted(by: { $0.key < $1.key }) {
      for cursor in cursors where wire.cursors.count < Limits.presenceCursors {
        wire.cursors.append(writers.cursor(key, cursor.sequence, cursor.hash))
      }
    }
    wire.partial = isPartial || cursors.values.reduce(0) { $0 + $1.count } > Limits.presenceCursors
    wire.damaged = damaged.sorted().prefix(Limits.presenceCursors).map { writers.cursor($0, 0, 0) }
    wire.heldBack = heldBack.sorted { $0.key < $1.key }.prefix(Limits.presenceCursors).map { writers.cursor($0.key, $0.value, 0) }
    wire.writers = Data(writers.bytes)
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
      wire.shown = Data(shown.activation.bytes)
      wire.shownHeldUs = shown.held / 1_000
    }
    wire.relayIdentity = relay
    return wire.encoded
  }

  /// Reads a presence that has been opened and whose signature holds; `nil` when it is malformed.
  package init?(bytes: [UInt8]) {
    guard
      let wire = try? WirePresence(serializedBytes: bytes), let device = DeviceID(bytes: wire.device),
      let stateHash = StateHash(bytes: Array(wire.stateHash)), let writers = WriterTable(bytes: Array(wire.writers))
    else { return nil }
    self.init(
      device: device, run: wire.run, counter: wire.counter, wall: wire.wallMs, cursors: [:],
      damaged: wire.damaged.compactMap(writers.key), stateHash: stateHash, isLeaving: wire.leaving,
      relay: wire.relayIdentity)
    isPartial = wire.partial
    for cursor in wire.cursors {
      guard let key = writers.key(cursor) else { continue }
      cursors[key, default: []].append(StreamCursor(sequence: cursor.sequence, hash: cursor.hash))
    }
    for cursor in wire.heldBack { if let key = writers.key(cursor) { heldBack[key] = cursor.sequence } }
    echoes = wire.echoes.compactMap { echo in
      guard let device = DeviceID(bytes: echo.device), echo.heldUs < 1 << 50 else { return nil }
      return Echo(device: device, counter: echo.counter, held: echo.heldUs * 1_000)
    }
    if let activation = OperationID(bytes: Array(wire.shown)), wire.shownHeldUs < 1 << 50 {
      shown = Shown(activation: activation, held: wire.shownHeldUs * 1_000)
    }
  }
}

/// Devices and their lives, named once each.
private struct WriterTable {
  private(set) var bytes: [UInt8] = []
  private var indices: [[UInt8]: UInt32] = [:]

  init() {}

  init?(bytes: [UInt8]) {
    guard bytes.count % 24 == 0 else { return nil }
    self.bytes = bytes
  }

  mutating func cursor(_ key: StreamKey, _ sequence: UInt64, _ hash: UInt64) -> WireStreamCursor {
    let writer = key.device.bytes + key.incarnation.rawValue.bigEndianBytes
    let index = indices[writer] ?? UInt32(indices.count)
    if indices.updateValue(index, forKey: writer) == nil { bytes += writer }
    var wire = WireStreamCursor()
    (wire.writer, wire.channel, wire.sequence, wire.hash) = (index, UInt32(key.channel.rawValue), sequence, hash)
    return wire
  }

  func key(_ wire: WireStreamCursor) -> StreamKey? {
    guard wire.writer < bytes.count / 24, wire.channel < 256, let channel = Channel(rawValue: UInt8(wire.channel)) else { return nil }
    let entry = bytes[Int(wire.writer) * 24..<Int(wire.writer) * 24 + 24]
    guard let device = DeviceID(bytes: entry.prefix(16)) else { return nil }
    let incarnation = Incarnation(rawValue: UInt64(bigEndianBytes: entry.suffix(8)))
    return StreamKey(device: device, incarnation: incarnation, channel: channel)
  }
}
