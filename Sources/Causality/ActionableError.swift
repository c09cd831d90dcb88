/// An error that a person can act on.
///
/// Nothing in it is private: no field values, no keys, no words the person wrote.
package protocol ActionableError: Error, Sendable {
  /// Stable across releases; scripts and the manual refer to it.
  var code: String { get }
  /// What happened, and what was kept.
  var summary: String { get }
  /// What to do next; never empty.
  var remedy: String { get }
  /// The exit status of a command that ends with it.
  var exitStatus: ExitStatus { get }
}

/// The exit statuses of `sysexits.h` that the commands use.
package enum ExitStatus: Int32, Sendable {
  case usage = 64
  case dataError = 65
  case noInput = 66
  case unavailable = 69
  case software = 70
  case cannotCreate = 73
  case ioError = 74
  case temporary = 75
  case noPermission = 77
  case config = 78
}
