import CSystem
import Causality
import Foundation
import Replica

/// Waiting for news, and hearing them: of the relay, of the other processes of the device, of the faces of this one.
extension DriverLoop {
  func sleep() {
    let now = SystemClock.now.uptime
    var until = wakeAt
    if !isLeader { until = peers.due }
    // Without a socket (a path too long for one) nobody can ping: look at the data version instead.
    if peers.ping < 0 { until = min(until, now + Self.blindPoll) }
    if isBlind, isLeader { until = min(until, pollAt) }
    if needsPublishing, observer.snapshot != nil { until = min(until, lastPublished + publishGap) }
    if flush.isDirty { until = min(until, flush.due(inCrisis: live.isCrisisActive)) }
    if isStopping { until = min(until, stopBy) }
    if let due = live.due { until = min(until, due) }
    if let journalDue { until = min(until, journalDue) }
    if isLeader, let due = admissions.due { until = min(until, due) }
    rest(until: until)
    if isBlind, isLeader, SystemClock.now.uptime >= pollAt {
      pollAt = SystemClock.now.uptime + Self.slowPoll
      events.append(.listingChanged)
    }
    if isLeader, SystemClock.now.uptime >= wakeAt { events.append(.timer) }
  }

  /// Whether the relay tells of no changes, or not of all.
  var isBlind: Bool { watch.map { !$0.isComplete } ?? true }

  /// Waits until there is something to do; an echo of what this device wrote itself is nothing yet.
  private func rest(until end: UInt64) {
    while true {
      let (now, end) = (SystemClock.now.uptime, min(end, echoes.due ?? .max))
      guard wait(end <= now ? 0 : Int32(min((end - now + 999_999) / 1_000_000, 60_000))) else { return }
      if listen() || now >= end { return }
      // Whoever pings beside an echo tells of what is on the relay already.
      if !heard.isEmpty || isPinged && echoes.due == nil { return }
    }
  }

  /// Waits for news, at most so long.
  ///
  /// - Returns: Whether there are news of the relay or of another process, and nothing else.
  @discardableResult
  func wait(_ milliseconds: Int32) -> Bool {
    let (others, news) = ([driver.wake, driver.placeWatch].filter { $0 >= 0 }, [peers.ping, watch?.descriptor ?? -1].filter { $0 >= 0 })
    let descriptors = others + news
    var ready = [UInt8](repeating: 0, count: descriptors.count)
    _ = fm_wait(descriptors, &ready, Int32(descriptors.count), milliseconds)
    if driver.placeWatch >= 0, ready[others.count - 1] != 0 {
      var news = [UInt8](repeating: 0, count: 4_096)
      while fm_watch_read(driver.placeWatch, &news, news.count) > 0 {}
      lookAt = 0
    }
    return ready[..<others.count].allSatisfy { $0 == 0 } && ready.contains { $0 != 0 }
  }

  /// Hears what has changed on the relay, and whether another process has said that it wrote.
  ///
  /// - Returns: Whether another process has said something about a crisis that was not known here.
  @discardableResult
  private func listen() -> Bool {
    let (isPinged, told) = peers.hear()
    if isPinged { self.isPinged = true }
    let known = live.glimpse
    for (file, heard) in Dictionary(grouping: told, by: \.file) { glance(at: heard, from: file) }
    heard += echoes.take(watch?.changes() ?? [], own: performer.ownTag, now: SystemClock.now.uptime)
    return live.glimpse != known
  }

  /// Collects what has happened: commands, commits of other processes, changes on the relay.
  func drain(_ now: Moment) {
    fm_wake_clear(driver.wake)
    let commands = driver.shared.withLock { shared in
      defer { shared.commands = [] }
      return shared.commands
    }
    for command in commands { perform(command, now) }
    let saidNow = driver.takeSaidNow()
    if !saidNow.isEmpty { live.duty.sayNow(saidNow, now) }
    listen()
    // What was raised past the store is told by a ping alone, and not put off.
    if isPinged { journalDue = journalDue ?? now.uptime }
    if isPinged, echoes.due == nil || !heard.isEmpty {
      isPinged = false
      _ = noticeCommits(now, wasPinged: true)
    }
    // Ahead of the answer that is there already: the replica must know of a crisis before it chooses
    // what to do next, or the steps of a long catch-up would follow one another for seconds.
    events.insert(contentsOf: heard.map(ReplicaEvent.init), at: 0)
    heard = []
  }
}
