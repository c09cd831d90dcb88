extension Sequence<UInt8> {
  /// Two lower-case hexadecimal digits per byte.
  package var hexadecimal: String {
    var text = [UInt8]()
    for byte in self {
      text.append(hexadecimalDigits[Int(byte >> 4)])
      text.append(hexadecimalDigits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }
}

private let hexadecimalDigits = Array("0123456789abcdef".utf8)

extension Array<UInt8> {
  /// Reads what ``hexadecimal`` wrote; `nil` for anything else.
  package init?(hexadecimal text: some StringProtocol) {
    let digits = text.utf8.map { hexadecimalDigits.firstIndex(of: $0) }
    guard digits.count % 2 == 0 else { return nil }
    self = []
    for start in stride(from: 0, to: digits.count, by: 2) {
      guard let high = digits[start], let low = digits[start + 1] else { return nil }
      append(UInt8(high << 4 | low))
    }
  }
}
