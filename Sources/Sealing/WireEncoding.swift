import SwiftProtobuf

extension SwiftProtobuf.Message {
  /// The serialized message.
  package var encoded: [UInt8] {
    // Only a missing required field can make this fail, and proto3 has none.
    guard let bytes: [UInt8] = try? serializedBytes() else {
      preconditionFailure("a proto3 message always serializes")
    }
    return bytes
  }
}
