import Causality
import Crypto
import CryptoExtras
import Foundation

/// The file that guards the data key of a store.
///
/// | bytes | passphrase | none |
/// |---|---|---|
/// | 4 | `FMK1` | `FMK1` |
/// | 1 | 1 | 0 |
/// | rest | salt (16), then the key sealed with ChaCha20-Poly1305 under scrypt(passphrase) | the key (32) |
///
/// scrypt with N = 2^17, r = 8, p = 1 takes about 350 ms and 128 MiB (RFC 7914; OWASP's first choice).
package enum DataKeyFile {
  private static let magic = Array("FMK1".utf8)

  /// The file for a store that opens without a passphrase: whoever reads the file reads the store.
  package static func unprotected(_ dataKey: [UInt8]) -> [UInt8] { magic + [0] + dataKey }

  /// - Throws: ``SealingError/emptyPassphrase``.
  package static func protected(
    _ dataKey: [UInt8], passphrase: String, using random: inout some RandomNumberGenerator
  ) throws(SealingError) -> [UInt8] {
    let salt = random.bytes(16)
    let key = try wrappingKey(passphrase, salt: salt)
    guard let box = try? ChaChaPoly.seal(dataKey, using: key, authenticating: magic) else {
      preconditionFailure("ChaCha20-Poly1305 does not fail on values in memory")
    }
    return magic + [1] + salt + box.combined
  }

  /// Whether the file asks for a passphrase.
  ///
  /// - Throws: ``SealingError/malformed``.
  package static func needsPassphrase(_ file: [UInt8]) throws(SealingError) -> Bool {
    guard file.starts(with: magic), file.count > 5, file[4] <= 1 else { throw .malformed }
    return file[4] == 1
  }

  /// - Throws: ``SealingError/malformed``, ``SealingError/wrongPassphrase``, ``SealingError/emptyPassphrase``.
  package static func open(_ file: [UInt8], passphrase: String?) throws(SealingError) -> [UInt8] {
    guard try needsPassphrase(file) else {
      guard file.count == 37 else { throw .malformed }
      return Array(file[5...])
    }
    guard file.count == 5 + 16 + 12 + 32 + 16 else { throw .malformed }
    let key = try wrappingKey(passphrase ?? "", salt: Array(file[5..<21]))
    guard
      let box = try? ChaChaPoly.SealedBox(combined: file[21...]),
      let dataKey = try? ChaChaPoly.open(box, using: key, authenticating: magic)
    else { throw .wrongPassphrase }
    return [UInt8](dataKey)
  }

  /// The same words are the same passphrase, however a keyboard composes their letters and whichever line end an
  /// editor left: NFC, without the end of the line.
  package static func normalised(_ passphrase: String) -> String {
    var scalars = passphrase.unicodeScalars[...]
    while let last = scalars.last, last == "\n" || last == "\r" { scalars = scalars.dropLast() }
    return String(String.UnicodeScalarView(scalars)).precomposedStringWithCanonicalMapping
  }

  private static func wrappingKey(_ passphrase: String, salt: [UInt8]) throws(SealingError) -> SymmetricKey {
    let passphrase = normalised(passphrase)
    guard !passphrase.isEmpty else { throw .emptyPassphrase }
    guard
      let key = try? KDF.Scrypt.deriveKey(
        from: Array(passphrase.utf8), salt: salt, outputByteCount: 32, rounds: 1 << 17, blockSize: 8,
        parallelism: 1)
    else { throw .wrongPassphrase }
    return key
  }
}
