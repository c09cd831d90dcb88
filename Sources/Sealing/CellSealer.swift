import Causality
import Crypto

/// Seals the values of the store at rest.
///
/// Each table has its own key; each value is bound to its table, column, row and version, so that no
/// sealed value can be moved to another place.
package struct CellSealer: Sendable {
  private let master: SymmetricKey
  private let lookup: SymmetricKey

  /// - Precondition: 32 bytes.
  package init(dataKey: [UInt8]) {
    precondition(dataKey.count == 32, "a data key has 32 bytes")
    master = SymmetricKey(data: dataKey)
    lookup = LabelledInput("fullmind/1/lookup").derive(from: master)
  }

  /// The sealer of one table; keep it, deriving costs 4 µs.
  package func table(_ name: String) -> TableSealer {
    TableSealer(
      name: Array(name.utf8), key: LabelledInput("fullmind/1/table", Array(name.utf8)).derive(from: master))
  }

  /// A keyed hash for equality look-up: 8 bytes that say nothing without the key.
  package func lookupHash(_ text: String) -> [UInt8] {
    let code = HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: lookup)
    return Array(Array(code).prefix(8))
  }
}

/// Seals the values of one table.
package struct TableSealer: Sendable {
  let name: [UInt8]
  let key: SymmetricKey

  /// Nonce, ciphertext and tag: 28 bytes more than `value`.
  package func seal(_ value: [UInt8], column: UInt8, row: [UInt8], version: UInt8 = 1) -> [UInt8] {
    // Sealing with a random nonce fails only when there is no randomness; nothing sensible could go on.
    guard
      let box = try? ChaChaPoly.seal(value, using: key, authenticating: context(column, row, version))
    else { preconditionFailure("ChaCha20-Poly1305 does not fail on values in memory") }
    return [UInt8](box.combined)
  }

  /// - Throws: ``SealingError/notAuthentic`` when the bytes were changed, moved, or sealed under another key.
  package func open(_ sealed: [UInt8], column: UInt8, row: [UInt8], version: UInt8 = 1) throws(SealingError)
    -> [UInt8]
  {
    guard
      let box = try? ChaChaPoly.SealedBox(combined: sealed),
      let value = try? ChaChaPoly.open(box, using: key, authenticating: context(column, row, version))
    else { throw .notAuthentic }
    return [UInt8](value)
  }

  private func context(_ column: UInt8, _ row: [UInt8], _ version: UInt8) -> [UInt8] {
    name + [0, column, version] + row
  }
}
