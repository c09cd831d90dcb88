/// Counts probes; shared by a world and its connections, which run on one thread.
final class ProbeCounter {
  private(set) var all: [Probe: Int] = [:]
  func count(_ probe: Probe) { all[probe, default: 0] += 1 }
}

final class Box<Value> {
  var value: Value
  init(_ value: Value) { self.value = value }
}
