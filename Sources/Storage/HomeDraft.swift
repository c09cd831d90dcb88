import CSystem
import Foundation

/// A home that is made in a folder beside its place and moved there as a whole: it is there complete, or not at all,
/// and of two that are made at once one is told that it came too late.
package struct HomeDraft: Sendable {
  package let place: HomeFolder
  /// Where it is made.
  package let folder: HomeFolder
  /// Held by the run that joins: two that write into one folder would make a home of two halves.
  private let hold: Hold?

  /// Begins a home that this run finishes.
  ///
  /// - Throws: ``StorageError``: nothing was made.
  package init(at place: HomeFolder) throws(StorageError) {
    Self.giveNamesBack(around: place)
    Self.removeLeftovers(of: place)
    let folder = HomeFolder(path: "\(place.path).new-\(getpid())-\(UInt16.random(in: 0 ... .max))")
    try folder.create()
    (self.place, self.folder, hold) = (place, folder, nil)
  }

  /// Begins, or goes on with, a home that joins an account: another run may finish it.
  ///
  /// - Throws: ``StorageError/locked(_:)`` while another one is under way.
  package init(joiningAt place: HomeFolder) throws(StorageError) {
    Self.giveNamesBack(around: place)
    let folder = Self.joining(place)
    try folder.create()
    guard let hold = Hold(folder.path) else { throw .locked(folder.path) }
    (self.place, self.folder, self.hold) = (place, folder, hold)
  }

  /// The lock of a folder, for as long as this is kept.
  private final class Hold: Sendable {
    private let descriptor: Int32

    /// - Returns: `nil` where somebody else has it, or it lies there no more.
    init?(_ path: String) {
      descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      guard descriptor >= 0 else { return nil }
      var (held, there) = (stat(), stat())
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, fstat(descriptor, &held) == 0, stat(path, &there) == 0,
        held.st_ino == there.st_ino, held.st_dev == there.st_dev
      else {
        close(descriptor)
        return nil
      }
    }

    deinit { close(descriptor) }
  }

  package static func joining(_ place: HomeFolder) -> HomeFolder { HomeFolder(path: place.path + ".joining") }

  /// Moves it to its place.
  ///
  /// - Parameter isReplacing: What lies there is moved aside, not deleted.
  /// - Returns: Where that lies now, or what an earlier run has moved aside that was cut short.
  /// - Throws: ``StorageError``; what lies there was not touched, or lies where ``StorageError/movedAside(_:to:)`` says.
  @discardableResult
  package func finish(replacing isReplacing: Bool) throws(StorageError) -> String? {
    switch place.content {
    case .store, .incomplete:
      guard isReplacing else { throw .storeExists(place.path) }
      return try replace()
    case .foreign: throw .notEmpty(place.path)
    case .nothing:
      try settle()
      return isReplacing ? place.movedAside : nil
    }
  }

  /// Moves it to a place where nothing lies.
  private func settle() throws(StorageError) {
    let (there, here) = (place.following, folder.following)
    let hasFollowing = access(there, F_OK) == 0
    // Whom this machine follows as a contact stays.
    if hasFollowing, rename(there, here) != 0 { throw .unreadable(there, "it cannot be moved") }
    guard rename(folder.path, place.path) == 0 else {
      let reason = errno
      if hasFollowing { _ = rename(here, there) }
      // Somebody else was faster.
      throw reason == ENOTEMPTY || reason == EEXIST ? .storeExists(place.path) : Self.problem(reason, place.path, "it cannot be created")
    }
    HomeFolder.syncFolder(of: place.path)
  }

  // MARK: Replacing

  /// Takes the place of an old home: it gets the name under which that one is to lie, and the two names are exchanged in
  /// one call. Whoever is killed before leaves the old home where it was, whoever is killed after the new one, and the old
  /// one aside.
  ///
  /// - Returns: Where the old one lies.
  private func replace() throws(StorageError) -> String {
    var aside = "\(place.path).replaced-\(Int(Date().timeIntervalSince1970))"
    while access(aside, F_OK) == 0 { aside += "x" }
    try copyFollowing()
    try HomeFolder.writePrivate(Array("\(HomeFolder.name(aside))\n\(HomeFolder.name(folder.path))".utf8), to: folder.naming)
    guard rename(folder.path, aside) == 0 else { throw Self.problem(errno, place.path, "it cannot be moved aside") }
    let outcome = fm_exchange(aside, place.path)
    let reason = errno
    if outcome != 1 {
      guard rename(aside, folder.path) == 0 else { throw Self.problem(errno, place.path, "it cannot be replaced") }
      guard outcome == 0 else { throw Self.problem(reason, place.path, "it cannot be replaced") }
      try replaceInTwoSteps(aside)
    }
    HomeFolder.syncFolder(of: place.path)
    unlink(place.naming)
    return aside
  }

  /// The same where the file system exchanges no names. Cut in between, ``HomeFolder/movedAside`` finds the old home.
  private func replaceInTwoSteps(_ aside: String) throws(StorageError) {
    guard rename(place.path, aside) == 0 else { throw Self.problem(errno, place.path, "it cannot be moved aside") }
    guard rename(folder.path, place.path) == 0 else {
      let reason = errno
      guard rename(aside, place.path) == 0 else { throw .movedAside(place.path, to: aside) }
      throw Self.problem(reason, place.path, "it cannot be replaced")
    }
  }

  private static func problem(_ reason: Int32, _ path: String, _ why: String) -> StorageError {
    reason == ENOSPC ? .diskFull(path) : .unreadable(path, why)
  }

  /// Whom this machine follows as a contact is in the new home as in the old one.
  private func copyFollowing() throws(StorageError) {
    guard access(place.following, F_OK) == 0 else { return }
    try? FileManager.default.removeItem(atPath: folder.following)
    do { try FileManager.default.copyItem(atPath: place.following, toPath: folder.following) } catch {
      throw (error as? CocoaError)?.code == .fileWriteOutOfSpace ? .diskFull(place.following) : .unreadable(place.following, "it cannot be copied")
    }
    chmod(folder.following, 0o700)
  }

  // MARK: What was left

  /// Removes it; nothing of it counts.
  package func discard() { try? FileManager.default.removeItem(atPath: folder.path) }

  /// A finished home that got the name of an old one, and was killed before the two were exchanged, is called again what it
  /// was called: another run goes on with it, and nobody takes it for the old one.
  private static func giveNamesBack(around place: HomeFolder) {
    for path in place.besides(HomeFolder.asideName) {
      guard let former = HomeFolder(path: path).formerPath, maker(of: former, place).map(isRunning) != true, Hold(path) != nil else { continue }
      _ = rename(path, former)
    }
  }

  private static let newName = ".new-"

  /// The process that makes, or made, a home of this name; `nil` for a folder of any other name.
  private static func maker(of path: String, _ place: HomeFolder) -> Int32? {
    let (name, prefix) = (HomeFolder.name(path), HomeFolder.name(place.path) + newName)
    guard name.hasPrefix(prefix) else { return nil }
    let numbers = name.dropFirst(prefix.count).split(separator: "-", omittingEmptySubsequences: false)
    guard numbers.count == 2, let process = Int32(numbers[0]), process > 0, UInt16(numbers[1]) != nil else { return nil }
    return process
  }

  private static func isRunning(_ process: Int32) -> Bool { kill(process, 0) == 0 || errno != ESRCH }

  /// What runs left that were killed before their home was in its place: nobody was told that there is one, and what is made
  /// now shows a code of its own.
  private static func removeLeftovers(of place: HomeFolder) {
    for path in place.besides(newName) {
      guard let process = maker(of: path, place), !isRunning(process) else { continue }
      let leftover = HomeFolder(path: path)
      // Whom this machine follows was on its way into the new home.
      if access(leftover.following, F_OK) == 0, access(place.following, F_OK) != 0 {
        mkdir(place.path, 0o700)
        guard rename(leftover.following, place.following) == 0 else { continue }
      }
      try? FileManager.default.removeItem(atPath: path)
    }
  }
}

extension HomeFolder {
  /// Whom this machine follows as a contact.
  fileprivate var following: String { path + "/following" }
  /// What a finished home is to be called, and was called, while it takes the place of another one.
  fileprivate var naming: String { path + "/naming" }
  fileprivate static let asideName = ".replaced-"
  fileprivate static func name(_ path: String) -> String { (path as NSString).lastPathComponent }

  /// Folders beside the place of a home whose names go on as its own.
  fileprivate func besides(_ more: String) -> [String] {
    let (parent, prefix) = ((path as NSString).deletingLastPathComponent, Self.name(path) + more)
    let names = (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? []
    return names.filter { $0.hasPrefix(prefix) }.sorted().map { HomeFolder(path: parent + "/" + $0).path }
  }

  /// What a new home was called that has the name of an old one, and was not exchanged with it; `nil` for any other folder.
  fileprivate var formerPath: String? {
    guard let bytes = FileManager.default.contents(atPath: naming) else { return nil }
    let names = String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    // Where the two were exchanged it lies under another name.
    guard names.count == 2, names[0] == Self.name(path), !names[1].contains("/"), names[1] != ".." else { return nil }
    return (path as NSString).deletingLastPathComponent + "/" + names[1]
  }

  /// The home that was moved aside last, if one was.
  package var movedAside: String? {
    besides(Self.asideName).last(where: { path in
      let folder = HomeFolder(path: path)
      return folder.hasStore && folder.formerPath == nil
    })
  }
}
