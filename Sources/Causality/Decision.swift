import WireFormat

/// How a write came about that settles what others had written apart, or that opens it again.
///
/// It is a part of that write: sealed and signed with it, kept as long, and the same on every device.
package struct Decision: Hashable, Sendable {
  /// A method of DOMAIN.md, *Conflicts*.
  package var method: String
  /// Milliseconds between the latest version and the decision, by the clock of the device that decided.
  package var waited: UInt64 = 0
  /// Whether it takes an earlier decision back.
  package var reopens = false
  /// Who was asked, for a review.
  package var by = ""
  /// The version of the model that recommended; empty where none did.
  package var model = ""
  /// The probability that the model gave to its recommendation, in thousandths.
  package var permille: UInt32 = 0
  /// What spoke for the recommendation, in words, the weightiest first.
  package var reasons: [String] = []
  /// The version that the model recommended, and whether it is what came of it.
  package var recommended: OperationID?
  package var isFollowed = false

  package init(method: String) { self.method = method }

  /// About how many bytes it takes.
  package var byteCount: Int { 48 + [method, by, model].reduce(0) { $0 + $1.utf8.count } + reasons.reduce(0) { $0 + 2 + $1.utf8.count } }
}

/// A value that few have: it stands aside, so that those without it stay small.
package indirect enum Aside<Value: Hashable & Sendable>: Hashable, Sendable {
  case value(Value)
  package var value: Value { switch self { case .value(let value): value } }
}

extension WireDecision {
  /// Without the recommended version, which needs the table of devices.
  init(_ decision: Decision) {
    self.init()
    method = decision.method
    waitedMs = decision.waited
    reopens = decision.reopens
    by = decision.by
    model = decision.model
    permille = decision.permille
    reasons = decision.reasons
    followed = decision.isFollowed
  }
}

extension Decision {
  init(_ wire: WireDecision) throws(CodecError) {
    self.init(method: wire.method)
    (waited, reopens, by) = (wire.waitedMs, wire.reopens, wire.by)
    (model, permille, reasons, isFollowed) = (wire.model, wire.permille, wire.reasons, wire.followed)
    guard isReadable else { throw .tooLarge }
  }
}
