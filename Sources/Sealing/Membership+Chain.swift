import Causality

/// Who admitted whom, and who took that back: a set, in which the order of arrival leaves no trace.
///
/// An admission is a pair of devices. That one said it twice adds nothing, so that not more is kept of a device than there
/// are devices that admitted it.
struct AdmissionGraph: Sendable {
  /// How a device belongs to the account.
  struct Link: Sendable {
    /// `nil` for the root.
    var admitter: DeviceID?
    var entry: [UInt8]
  }

  /// What each has said of whom, under `nil` the root.
  private var admissions: [DeviceID?: [DeviceID: [UInt8]]] = [:]
  /// By who takes them back.
  private var retractions: [DeviceID: Set<DeviceID>] = [:]

  /// - Returns: Whether it was not said before.
  mutating func admit(_ device: DeviceID, by admitter: DeviceID?, _ entry: [UInt8]) -> Bool {
    guard admissions[admitter]?[device] == nil else { return false }
    admissions[admitter, default: [:]][device] = entry
    return true
  }

  /// It may be heard of before the admission. The root's cannot be taken back.
  ///
  /// - Returns: Whether it was not said before.
  mutating func retract(_ device: DeviceID, by admitter: DeviceID) -> Bool {
    retractions[admitter, default: []].insert(device).inserted
  }

  /// Whether a device has admitted another one, and has not taken it back. Whether that counts is another question: it may
  /// itself have been taken back.
  func hasAdmitted(_ device: DeviceID, by admitter: DeviceID) -> Bool {
    admissions[admitter]?[device] != nil && !isTakenBack(device, by: admitter)
  }

  private func isTakenBack(_ device: DeviceID, by admitter: DeviceID?) -> Bool {
    guard let admitter else { return false }
    return retractions[admitter]?.contains(device) ?? false
  }

  /// Everybody to whom admissions that stand lead from the root, each by the shortest way; of equally short ones by the
  /// lowest admitter.
  ///
  /// Each device is reached once, and each admission looked at once, whoever admitted each other.
  var standing: [DeviceID: Link] {
    var standing: [DeviceID: Link] = [:]
    var generation: [DeviceID?] = [nil]
    while !generation.isEmpty {
      var next: [DeviceID] = []
      for admitter in generation {
        for (device, entry) in admissions[admitter] ?? [:] where standing[device] == nil && !isTakenBack(device, by: admitter) {
          standing[device] = Link(admitter: admitter, entry: entry)
          next.append(device)
        }
      }
      generation = next.sorted()
    }
    return standing
  }

  /// The entries that lead from the root to a device; empty for one that does not belong to the account.
  func chain(to device: DeviceID) -> [[UInt8]] {
    let links = standing
    var (chain, next): ([[UInt8]], DeviceID?) = ([], device)
    while let device = next, let link = links[device] {
      chain.append(link.entry)
      next = link.admitter
    }
    return Array(chain.reversed())
  }
}
