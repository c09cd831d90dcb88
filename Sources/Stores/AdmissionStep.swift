import Causality
import Foundation
import Replica
import Sealing
import Storage

/// Does for a newcomer what ``AdmissionDuty`` decided.
struct AdmissionStep {
  let store: Store
  let relay: any Relay

  /// - Returns: Whether the admission has ended.
  /// - Throws: ``RelayError``, ``StorageError``; it is tried again.
  func perform(
    _ step: AdmissionDuty.Step, _ performer: inout EffectPerformer<Store>, _ now: Moment,
    _ random: inout some RandomNumberGenerator
  ) throws -> Bool {
    switch step {
    case .deliver(let admission):
      guard let code = try? InvitationCode(admission.code) else { return try end(admission, nil) }
      if let refusal = try relay.mail(in: code.mailbox, slot: EnrolmentSlot.refusal.rawValue), code.isRefusal(refusal, .refusal) {
        _ = try performer.retract(admission.device, now: now, using: &random) { try $0.removeAdmission(of: admission.device) }
        try? relay.removeMailbox(code.mailbox)
        return true
      }
      do { try relay.putMail(admission.sealed, mailbox: code.mailbox, slot: EnrolmentSlot.admission.rawValue) } catch .taken {
        // Somebody who knows the code has put something else there: the newcomer sees that it does not open.
      }
      return false
    case .finish(let admission): return try end(admission, try? InvitationCode(admission.code))
    }
  }

  private func end(_ admission: Admission, _ code: InvitationCode?) throws -> Bool {
    try store.write { try $0.removeAdmission(of: admission.device) }
    if let code { try? relay.removeMailbox(code.mailbox) }
    return true
  }
}
