import Stores
import Testing

@Suite("Measurements")
struct MeasurementTests {
  @Test("rows that were made once follow what is measured after")
  func rows() throws {
    var measurements = Measurements()
    measurements.makeRows()
    #expect(measurements.rows.allSatisfy { $0.count == 0 && $0.p50 == nil })
    for nanoseconds in [1_000_000, 3_000_000, 900_000_000] as [UInt64] {
      measurements.record(.stateUpdate, .normal, nanoseconds: nanoseconds)
      let asked = try #require(measurements.rows.first { $0.operation == .stateUpdate && $0.mode == .normal })
      measurements.makeRows()
      #expect(measurements.rows.first { $0.operation == .stateUpdate && $0.mode == .normal } == asked)
    }
    let row = try #require(measurements.rows.first { $0.operation == .stateUpdate && $0.mode == .normal })
    #expect(row.count == 3 && row.violations == 1 && row.critical == 0 && (row.max ?? 0) > 890)
    var again = Measurements()
    again.makeRows()
    for kept in measurements.takeChanged() { again.restore(.stateUpdate, .normal, kept.bytes) }
    #expect(again.rows.first { $0.operation == .stateUpdate && $0.mode == .normal }?.count == 3)
  }
}
