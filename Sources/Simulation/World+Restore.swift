import Causality
import Crisis
import Relays
import Replica
import Therapy

/// What befalls a home at the end of a life of ``life`` acts, instead of a storm: each case of the matrix once.
package struct Mishap: Sendable, Hashable {
  package enum Kind: Sendable, Hashable {
    /// The home is put back to what it was after so many acts, and written to so often before it exchanges.
    case restored(moment: Int, writes: Int, withRelay: Bool)
    /// The home is copied to two further machines, and all three are used: one after the other, or at once.
    case cloned(seed: Int, inTurn: Bool)
    /// A device comes back after a life of another one was closed, and is shown the end of that life late.
    case returned(seed: Int)
  }
  package var kind: Kind
  /// Whether the other devices run meanwhile; otherwise they begin when it is over.
  package var othersRun: Bool

  package static let life = 200

  /// 200 moments, three numbers of writes, with and without the others, with and without the relay.
  package static let restorations: [Mishap] = (0..<life).flatMap { moment in
    [0, 1, 20].flatMap { writes in
      [(true, true), (true, false), (false, true), (false, false)].map { othersRun, withRelay in
        Mishap(kind: .restored(moment: moment, writes: writes, withRelay: withRelay), othersRun: othersRun)
      }
    }
  }

  package static let returns: [Mishap] = (0..<100).map { Mishap(kind: .returned(seed: $0), othersRun: true) }

  package static let clonings: [Mishap] = (0..<life).map { Mishap(kind: .cloned(seed: $0, inTurn: $0.isMultiple(of: 2)), othersRun: !$0.isMultiple(of: 3)) }
}

extension World {
  /// Lives, meets with a mishap, heals, and checks everything.
  package mutating func run(_ mishap: Mishap) -> Outcome {
    ending {
      let kept = try $0.live(keepingAt: mishap)
      if !mishap.othersRun { for index in $0.devices.indices.dropFirst() { $0.end(index) } }
      switch mishap.kind {
      case .restored(_, let writes, let withRelay): try $0.restore(kept, writes: writes, withRelay: withRelay)
      case .cloned(_, let inTurn): try $0.useCopies(inTurn: inTurn)
      case .returned: try $0.returnLate()
      }
      try $0.pass(60_000_000_000)
      try $0.heal()
    }
  }

  /// Acts of a person on all devices, mostly on the first, which exchange as they go.
  private mutating func live(keepingAt mishap: Mishap) throws -> StoreImage {
    var moment = 0
    if case .restored(let at, _, _) = mishap.kind { moment = at }
    var kept = image(of: 0)
    for number in 0..<Mishap.life {
      try act(random.happens(permille: 600) ? 0 : random.number(0...devices.count - 1))
      try pass(milliseconds(random.number(0...400)))
      if number == moment { kept = image(of: 0) }
    }
    return kept
  }

  private func image(of index: Int) -> StoreImage {
    StoreImage(
      contents: devices[index].store.durableContents, journal: devices[index].journal, acknowledged: devices[index].acknowledged, relay: relay.image, identity: relay.identity)
  }

  private mutating func end(_ index: Int) {
    devices[index].replica = nil
    devices[index].run += 1
  }

  private mutating func restore(_ image: StoreImage, writes: Int, withRelay: Bool) throws {
    // A machine that is put back as a whole shows nothing.
    let isNoticed = !random.happens(permille: 300)
    if !isNoticed { mayFork = true }
    probes.count(isNoticed ? .putBack : .putBackUnnoticed)
    end(0)
    if withRelay {
      probes.count(.putBackWithRelay)
      relay.restore(image.relay)
      notifyAll(.unknown)
    }
    devices[0].store.putBack(image.contents, isNoticed: isNoticed && sabotage != .reusesNumbers)
    (devices[0].acknowledged, devices[0].journal, devices[0].unkept) = (image.acknowledged, image.journal, [])
    devices[0].wasPutBack = true
    forgetWhatNobodyHas()
    devices[0].connection.isPartitioned = true
    try boot(0)
    for _ in 0..<writes { try act(0) }
    devices[0].connection.isPartitioned = false
    try feed(0, .syncRequested)
  }

  private mutating func returnLate() throws {
    end(2)
    for number in 0..<3 {
      try write("\(number)", on: 0)
      try pass(10_000_000_000)
    }
    try restore(image(of: 0), writes: 0, withRelay: false)
    // The next life is in another lane: no presence says how far this one has come once it is closed.
    try commit([CrisisState.activation(.mild, source: "person", record: person.crisis)], on: 0)
    try pass(90_000_000_000)
    for index in [0, 1] { end(index) }
    let show = devices[0].emergency.file.flatMap { relay.hold(RelayStream(tag: $0.tag, channel: Channel(.bulk)), back: 3) }
    try boot(2)
    try pass(60_000_000_000)
    if let show {
      probes.count(.delayedFile)
      _ = show()
    }
    for index in [0, 1] { try boot(index) }
  }

  private mutating func write(_ title: String, on index: Int) throws {
    let draft = Draft(
      record: RecordID(using: &random), kind: RecordCatalogue.journal.kind, field: "title", mutation: .set(.text("\(Person.canary) \(title)")),
      lane: .bulk)
    try commit([draft], on: index)
  }

  private mutating func useCopies(inTurn: Bool) throws {
    for _ in 0..<2 { try clone(0) }
    let copies = [0, devices.count - 2, devices.count - 1]
    for round in 0..<4 {
      for copy in copies {
        if inTurn {
          for other in copies where other != copy { end(other) }
          try boot(copy)
        }
        for _ in 0..<3 { try act(copy) }
        try pass(milliseconds(inTurn ? 8_000 : random.number(0...400)))
      }
      if inTurn, round == 3 { for copy in copies { try boot(copy) } }
    }
  }

  /// Lets time go by, without anything new being written.
  private mutating func pass(_ nanoseconds: UInt64) throws {
    let end = now + nanoseconds
    while let (at, entry) = queue.pop() {
      guard at <= end else {
        queue.push(entry, at: at)
        break
      }
      now = max(now, at)
      if case .act = entry.item { continue }
      try step(entry.device, entry.item)
    }
    now = max(now, end)
    try check()
  }
}
