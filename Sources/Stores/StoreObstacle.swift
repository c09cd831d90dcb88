import Storage

extension Store {
  /// Why nothing can be written now; `nil` where something can.
  ///
  /// Something new is written: an empty transaction finds room on a full disk, and so does one that writes what is there.
  ///
  /// - Parameter milliseconds: How long a lock of another program is waited for.
  package func obstacle(within milliseconds: Int) -> (any Error)? {
    do { try write(within: milliseconds) { try $0.tryWriting() } } catch { return error }
    return nil
  }
}
