import Storage

extension Store {
  /// Why nothing can be written now; `nil` where something can.
  ///
  /// What is there is written once more: an empty transaction finds room on a full disk.
  ///
  /// - Parameter milliseconds: How long a lock of another program is waited for.
  package func obstacle(within milliseconds: Int) -> (any Error)? {
    do { try write(within: milliseconds) { try $0.setClock(try $0.clock()) } } catch { return error }
    return nil
  }
}
