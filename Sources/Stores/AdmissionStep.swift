import Causality
import Foundation
import Replica
import Sealing
import Storage

/// Does for a newcomer what ``AdmissionDuty`` decided.
struct AdmissionStep {
  let store: Store
  let relay: any Relay

  enum Outcome {
    case waiting
    case ended
    /// It was refused there, and the newcomer is a member no more.
    case refused
    /// It was refused there; another device of the account has let it in as well, and it still belongs.
    case refusedAndStays
  }

  /// - Returns: What became of the admission.
  /// - Throws: ``RelayError``, ``StorageError``; it is tried again.
  func perform(
    _ step: AdmissionDuty.Step, _ performer: inout EffectPerformer<Store>, _ now: Moment,
    _ random: inout some RandomNumberGenerator
  ) throws -> Outcome {
    switch step {
    case .deliver(let admission):
      guard let code = try? InvitationCode(admission.code) else { return try end(admission, nil) }
      if let refusal = try relay.mail(in: code.mailbox, slot: EnrolmentSlot.refusal.rawValue), code.isRefusal(refusal, .refusal) {
        let isRetracted = try performer.retract(admission.device, now: now, using: &random) { try $0.removeAdmission(of: admission.device) }
        try? relay.removeMailbox(code.mailbox)
        if isRetracted { return .refused }
        return performer.members.devices.contains(admission.device) ? .refusedAndStays : .ended
      }
      do { try relay.putMail(admission.sealed, mailbox: code.mailbox, slot: EnrolmentSlot.admission.rawValue) } catch .taken {
        // Somebody who knows the code has put something else there: the newcomer sees that it does not open.
      }
      return .waiting
    case .finish(let admission): return try end(admission, try? InvitationCode(admission.code))
    }
  }

  private func end(_ admission: Admission, _ code: InvitationCode?) throws -> Outcome {
    try store.write(within: DriverLoop.patience) { try $0.removeAdmission(of: admission.device) }
    if let code { try? relay.removeMailbox(code.mailbox) }
    return .ended
  }
}
