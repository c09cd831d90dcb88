import Causality
import Foundation
import Sealing
import SwiftProtobuf
import WireFormat

/// Membership entries as the content of a batch.
enum MembershipCodec {
  static func encode(_ entries: [[UInt8]]) -> [UInt8] {
    var wire = WireMembershipEntries()
    wire.entries = entries.map { Data($0) }
    return wire.encoded
  }

  static func decode(_ bytes: [UInt8]) throws(CodecError) -> [[UInt8]] {
    guard let wire = try? WireMembershipEntries(serializedBytes: bytes) else { throw .notAMessage }
    return wire.entries.map { Array($0) }
  }
}
