/// How far a crisis has come that was just raised here: the disk, the store and the relay are tried side by side, and each
/// word is said after its evidence.
public struct CrisisDelivery: Sendable, Hashable {
  /// What became of one way.
  public enum Way: Sendable, Hashable {
    case underWay
    case done
    /// Tried again, unless it cannot ever work; the code says why it failed.
    case failed(code: String)

    public var isDone: Bool { self == .done }
  }
  /// The emergency journal, or the store.
  public var disk = Way.underWay
  public var relay = Way.underWay
  /// Where the other devices meet is a folder that only this device can reach.
  public var isRelayPrivate = false
  /// No other device has been seen where the devices meet.
  public var isRelayUnseen = false
  /// A second has gone by: what is still under way counts as not done.
  public var isOverdue = false

  public init() {}

  /// The code where there is neither an emergency key nor a store.
  public static let noKey = "crisis.no-emergency-key"

  /// What may be said.
  public enum Word: String, Sendable, Hashable {
    /// Nothing is known yet.
    case trying
    case savedAndSent = "saved-and-sent"
    /// No other device reads what lies there, as far as can be seen.
    case savedAlone = "saved-alone"
    case saved
    case sent
    /// Nobody else knows, and nothing would be left if this screen were closed.
    case onlyThisScreen = "only-this-screen"
    /// Without an emergency key and without a store there is no way to tell anybody.
    case noWay = "no-way"
  }

  public var word: Word {
    switch (disk.isDone, relay.isDone) {
    case (true, true): isRelayPrivate || isRelayUnseen ? .savedAlone : .savedAndSent
    case (true, false): .saved
    case (false, true): .sent
    case (false, false):
      switch (disk, relay) {
      case (.underWay, _), (_, .underWay): isOverdue ? .onlyThisScreen : .trying
      case (.failed(Self.noKey), .failed(Self.noKey)): .noWay
      default: .onlyThisScreen
      }
    }
  }

  /// Whether something is left to be tried.
  public var isComplete: Bool { disk.isDone && relay.isDone }
  /// Whether it lies where other devices read; whether any has been seen there is another matter: see ``word``.
  public var isAtRelay: Bool { relay.isDone && !isRelayPrivate }

  /// Where the relay's disk is full, by the code of what failed.
  public static let relayFull = "relay.full"

  /// Why it is not at the relay, in words; no more than is known.
  private var relayTrouble: String {
    switch relay {
    case .failed(Self.relayFull): "The relay's disk is full"
    case .failed: "The relay cannot be reached"
    case .underWay, .done: "The relay has not answered yet"
    }
  }

  /// As ``text``, where something goes on trying for as long as it is shown.
  public var textWhileTrying: String {
    word == .sent ? "\(text) It is tried again until it is." : text
  }

  /// In one calm sentence or two. What is tried after it is said is no part of it, but for ``Word/onlyThisScreen``, which
  /// nobody leaves alone.
  public var text: String {
    switch word {
    case .trying: "Telling your devices…"
    case .savedAndSent: "Saved here and sent; any other device of yours shows it as soon as it looks."
    case .savedAlone:
      isRelayPrivate
        ? "Saved here. Your devices meet in a folder that only this device can reach, so no other one knows."
        : "Saved here. No other device of yours has been seen where they meet, so none may know."
    case .saved: "Saved here. \(relayTrouble); any other device of yours learns of it once it lies there, which takes fullmind running here."
    case .sent: "Sent; any other device of yours shows it as soon as it looks. It could not be saved on this one yet."
    case .noWay: "Nothing can be sent from here. Please call one of the numbers above, or somebody near you."
    case .onlyThisScreen: "Only this screen knows; still trying. Please do not wait for it: call one of the numbers above, or somebody near you."
    }
  }
}
