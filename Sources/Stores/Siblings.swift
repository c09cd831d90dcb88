import CSystem
import Foundation
import Storage

/// The other processes over the same store: their pings, the lock that says which of all exchanges with the
/// relay, and commits whose ping was lost. Used by the driver's thread alone.
struct Siblings {
  /// The descriptor that a ping wakes; -1 where there is none.
  private(set) var ping: Int32 = -1
  /// Where this process is pinged.
  private(set) var path = ""
  /// Uptime at which it is tried again to become the one that exchanges.
  private(set) var nextTry: UInt64 = 0
  private var lock: Int32 = -1
  private var dataVersion = -1
  private let store: Store

  /// How often a watching process looks whether it has to take over.
  private static let lockGap: UInt64 = 2_000_000_000

  init(_ store: Store) { self.store = store }

  /// Whether this process exchanges with the relay.
  var isExchanging: Bool { lock >= 0 }

  mutating func open() {
    path = store.home.sockets + "/\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
    ping = fm_ping_open(path)
    dataVersion = (try? store.dataVersion()) ?? -1
  }

  func end() {
    if ping >= 0 { close(ping) }
    unlink(path)
    if lock >= 0 { fm_unlock(lock) }
  }

  /// - Returns: Whether this process exchanges from now on.
  mutating func takeOver(_ now: UInt64) -> Bool {
    nextTry = now + Self.lockGap
    lock = fm_lock(store.home.exchangeLock, 0)
    return lock >= 0
  }

  /// Whether somebody has pinged since the last call.
  func wasPinged() -> Bool { ping >= 0 && fm_ping_clear(ping) > 0 }

  /// Whether another process has committed since the last call.
  mutating func haveCommitted() -> Bool {
    guard let version = try? store.dataVersion(), version != dataVersion else { return false }
    dataVersion = version
    return true
  }
}
