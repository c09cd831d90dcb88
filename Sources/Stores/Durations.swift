import Causality
import Histogram

/// How long something took, each time it happened: a histogram with three significant digits, never a mean.
package struct Durations: Sendable {
  private var histogram: Histogram<UInt32>

  package init() {
    histogram = Histogram<UInt32>(numberOfSignificantValueDigits: .three)
    histogram.autoResize = true
  }

  package mutating func record(_ value: UInt64, count: UInt32 = 1) { histogram.record(value, count: count) }

  package var count: Int { Int(histogram.totalCount) }
  /// `nil` before the first one.
  package func percentile(_ share: Double) -> UInt64? { count == 0 ? nil : UInt64(histogram.valueAtPercentile(share)) }
  package var max: UInt64? { count == 0 ? nil : UInt64(histogram.max) }
  package func count(above bound: UInt64) -> Int {
    histogram.max > bound ? Int(histogram.count(within: bound + 1...histogram.max)) : 0
  }

  /// Pairs of value (8 bytes) and count (4).
  package var bytes: [UInt8] {
    histogram.recordedValues().flatMap { $0.value.bigEndianBytes + UInt32($0.count).bigEndianBytes }
  }

  /// Adds what was kept; ignores bytes that are not whole pairs.
  package mutating func restore(_ bytes: some RandomAccessCollection<UInt8>) {
    let bytes = Array(bytes)
    for start in stride(from: 0, to: bytes.count - 11, by: 12) {
      record(
        UInt64(bigEndianBytes: bytes[start..<start + 8]), count: UInt32(bigEndianBytes: bytes[start + 8..<start + 12]))
    }
  }
}
