import CSystem
import Foundation

/// A home that is made in a folder beside its place and moved there as a whole: it is there complete, or not at all,
/// and of two that are made at once one is told that it came too late.
///
/// Whom this machine follows as a contact is never moved out of a place before the new home stands there: it gets a copy,
/// and what else it held comes after it, file by file. A draft that was left gives back what it holds before it is removed.
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
    Self.clear(around: place)
    Self.bringBackFollowing(to: place)
    let folder = Self.fresh(place)
    try folder.create()
    (self.place, self.folder, hold) = (place, folder, nil)
  }

  /// Begins, or goes on with, a home that joins an account: another run may finish it.
  ///
  /// - Throws: ``StorageError/locked(_:)`` while another one is under way.
  package init(joiningAt place: HomeFolder) throws(StorageError) {
    Self.clear(around: place)
    let folder = Self.joining(place)
    try folder.create()
    guard let hold = Hold(folder.path) else { throw .locked(folder.path) }
    // A run that was killed while it put the home in its place has left it here.
    folder.giveFollowing(to: place)
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

  /// A folder beside the place that no other run has.
  private static func fresh(_ place: HomeFolder) -> HomeFolder {
    HomeFolder(path: "\(place.path)\(newName)\(getpid())-\(UInt16.random(in: 0 ... .max))")
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
      let aside = place.movedAside
      try settle()
      unlink(place.naming)
      Self.removeLeftovers(of: place)
      return isReplacing ? aside : nil
    }
  }

  // MARK: Settling

  private static let tries = 40
  private static let pauseBetweenTries: Int32 = 5

  /// Moves it to a place where nothing lies but, perhaps, whom this machine follows as a contact.
  private func settle() throws(StorageError) {
    for turn in 1...Self.tries {
      // In one call, over nothing or over an empty folder.
      if rename(folder.path, place.path) == 0 { return HomeFolder.syncFolder(of: place.path) }
      let reason = errno
      guard reason == ENOTEMPTY || reason == EEXIST else { throw Self.problem(reason, place.path, "it cannot be created") }
      // Of two that come to one folder, one waits and finds the other's home.
      let hold = Hold(place.path)
      defer { withExtendedLifetime(hold) {} }
      try checkNothing(place)
      if hold != nil || turn == Self.tries, try exchange() { return HomeFolder.syncFolder(of: place.path) }
      fm_pause_ms(Self.pauseBetweenTries)
    }
    throw .unreadable(place.path, "it cannot be created")
  }

  private func checkNothing(_ folder: HomeFolder) throws(StorageError) {
    switch folder.content {
    case .nothing: return
    // Somebody else was faster.
    case .store, .incomplete: throw .storeExists(place.path)
    case .foreign: throw .notEmpty(place.path)
    }
  }

  /// Takes the place of a folder that holds only whom this machine follows: the new home has a copy before it stands there.
  ///
  /// - Returns: Whether it stands there; else the place has changed meanwhile, and is to be looked at again.
  private func exchange() throws(StorageError) -> Bool {
    try copyFollowing()
    let outcome = fm_exchange(folder.path, place.path)
    let reason = errno
    if outcome == 0 { return try settleInTwoSteps() }
    guard outcome == 1 else {
      if reason == ENOENT { return false }
      throw Self.problem(reason, place.path, "it cannot be created")
    }
    do throws(StorageError) { try checkNothing(folder) } catch {
      // A home that came in between gets its place back.
      guard fm_exchange(folder.path, place.path) != 1 else { throw error }
      let aside = Self.freeAside(place)
      guard rename(folder.path, aside) == 0 else { throw error }
      throw .movedAside(place.path, to: aside)
    }
    Self.remove(folder, beside: place)
    return true
  }

  /// The same where the file system exchanges no names. Cut in between, what was followed lies in two folders that are
  /// looked for: see ``bringBackFollowing(to:)``.
  private func settleInTwoSteps() throws(StorageError) -> Bool {
    let former = Self.fresh(place)
    guard rename(place.path, former.path) == 0 else {
      if errno == ENOENT { return false }
      throw Self.problem(errno, place.path, "it cannot be created")
    }
    do throws(StorageError) { try checkNothing(former) } catch {
      // A home that came in between gets its place back.
      guard rename(former.path, place.path) != 0 else { throw error }
      let aside = Self.freeAside(place)
      guard rename(former.path, aside) == 0 else { throw error }
      throw .movedAside(place.path, to: aside)
    }
    let isOver = rename(folder.path, place.path) == 0
    let reason = errno
    if !isOver, reason != ENOTEMPTY, reason != EEXIST {
      if rename(former.path, place.path) != 0 { Self.remove(former, beside: place) }
      throw Self.problem(reason, place.path, "it cannot be created")
    }
    Self.remove(former, beside: place)
    return isOver
  }

  // MARK: Replacing

  /// Takes the place of an old home: it gets the name under which that one is to lie, and the two names are exchanged in
  /// one call. Whoever is killed before leaves the old home where it was, whoever is killed after the new one, and the old
  /// one aside.
  ///
  /// - Returns: Where the old one lies.
  private func replace() throws(StorageError) -> String {
    let aside = Self.freeAside(place)
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

  /// A name for what is moved aside that nothing has.
  private static func freeAside(_ place: HomeFolder) -> String {
    var aside = "\(place.path)\(HomeFolder.asideName)\(Int(Date().timeIntervalSince1970))"
    while access(aside, F_OK) == 0 { aside += "x" }
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
  ///
  /// - Throws: ``StorageError``: something of it cannot be copied, and nothing was moved.
  private func copyFollowing() throws(StorageError) {
    guard access(place.following, F_OK) == 0 else { return }
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: place.following) else { throw .unreadable(place.following, "it cannot be read") }
    mkdir(folder.following, 0o700)
    for name in names where !HomeFolder.isHalfWritten(name) {
      let (from, to) = (place.following + "/" + name, folder.following + "/" + name)
      // Looked at before it is read: of two versions the later one stays, and a copy is as old as what it was made of.
      guard let modified = HomeFolder.lastChange(from) else { continue }
      do throws(StorageError) { try HomeFolder.writePrivate(try HomeFolder.readFile(from), to: to, modified: modified) } catch {
        // Whoever follows replaces its file, and has finished with it: the next look finds the other one.
        if access(from, F_OK) != 0 { continue }
        throw error
      }
    }
  }

  // MARK: What was left

  /// Removes it; nothing of it counts, but whom this machine follows.
  package func discard() { Self.remove(folder, beside: place) }

  /// Begins it anew, in the same folder: another run cannot come in between.
  ///
  /// - Throws: ``StorageError/unreadable(_:_:)``.
  package func restart() throws(StorageError) {
    _ = Self.empty(folder, beside: place)
    try folder.create()
  }

  private static func remove(_ folder: HomeFolder, beside place: HomeFolder) {
    if empty(folder, beside: place) { try? FileManager.default.removeItem(atPath: folder.path) }
  }

  /// Empties a folder that was, or was to be, a home. What it alone says stays: whom this machine follows goes to the place,
  /// and as long as nothing lies there, where an old home was moved.
  ///
  /// - Returns: Whether nothing stays in it.
  private static func empty(_ folder: HomeFolder, beside place: HomeFolder) -> Bool {
    let isGiven = folder.giveFollowing(to: place)
    let kept: [String] = [isGiven ? nil : folder.following, folder.movedAway(from: place) == nil ? nil : folder.naming].compactMap { $0 }
    for name in (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? [] {
      let path = folder.path + "/" + name
      if !kept.contains(path) { try? FileManager.default.removeItem(atPath: path) }
    }
    return kept.isEmpty
  }

  /// What runs that were killed have left beside a home of whom this machine follows is there again. Needs no store.
  package static func bringBackFollowing(to place: HomeFolder) {
    for path in place.besides(newName) {
      guard let process = maker(of: path, place), !isRunning(process) else { continue }
      HomeFolder(path: path).giveFollowing(to: place)
    }
    let joining = Self.joining(place)
    // Whoever joins at the moment sees to it.
    guard access(joining.following, F_OK) == 0, let hold = Hold(joining.path) else { return }
    withExtendedLifetime(hold) { _ = joining.giveFollowing(to: place) }
  }

  private static func clear(around place: HomeFolder) {
    giveNamesBack(around: place)
    removeLeftovers(of: place)
  }

  /// A finished home that got the name of an old one, and was killed before the two were exchanged, is called again what it
  /// was called: another run goes on with it, and nobody takes it for the old one.
  private static func giveNamesBack(around place: HomeFolder) {
    for path in place.besides(HomeFolder.asideName) {
      guard let former = HomeFolder(path: path).formerPath, maker(of: former, place).map(isRunning) != true, Hold(path) != nil else { continue }
      _ = rename(path, former)
    }
  }

  fileprivate static let newName = ".new-"

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
      remove(HomeFolder(path: path), beside: place)
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

  /// Where the home of a place was moved by the run that made this one and was cut short; `nil` where anything lies in the
  /// place: then it was not, or it is over.
  fileprivate func movedAway(from place: HomeFolder) -> String? {
    guard place.content == .nothing, let bytes = FileManager.default.contents(atPath: naming),
      let name = String(decoding: bytes, as: UTF8.self).split(separator: "\n").first.map(String.init),
      name.hasPrefix(Self.name(place.path) + Self.asideName), !name.contains("/")
    else { return nil }
    let aside = HomeFolder(path: (place.path as NSString).deletingLastPathComponent + "/" + name)
    return aside.hasStore && aside.formerPath == nil ? aside.path : nil
  }

  /// The home that was moved aside by a run that was cut short before another one was in its place: what it left says so.
  /// One that was replaced earlier, and whose successor is gone, is not what was here.
  package var movedAside: String? {
    (besides(HomeDraft.newName) + [HomeDraft.joining(self).path]).lazy.compactMap { HomeFolder(path: $0).movedAway(from: self) }.max()
  }

  /// Moves whom this machine follows to another folder, file by file; of two versions the later one stays. Killed at any
  /// moment, each is in one of the two.
  ///
  /// - Returns: Whether nothing is left here.
  @discardableResult
  fileprivate func giveFollowing(to place: HomeFolder) -> Bool {
    guard access(following, F_OK) == 0 else { return true }
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: following) else { return false }
    // Files of somebody else get nothing put beside them.
    if access(place.following, F_OK) != 0, place.content == .foreign { return names.isEmpty }
    if !names.isEmpty {
      mkdir(place.path, 0o700)
      mkdir(place.following, 0o700)
    }
    var isGiven = true
    for name in names {
      let (from, to) = (following + "/" + name, place.following + "/" + name)
      if Self.isHalfWritten(name) {
        unlink(from)
      } else if let there = Self.lastChange(to), let here = Self.lastChange(from), there >= here {
        unlink(from)
      } else if rename(from, to) != 0 {
        isGiven = false
      }
    }
    if isGiven { rmdir(following) }
    return isGiven
  }

  /// What ``writePrivate(_:to:modified:)`` leaves where it is killed.
  fileprivate static func isHalfWritten(_ name: String) -> Bool { name.hasSuffix(".new") }

  /// When the content of a file was changed last, in nanoseconds; `nil` where there is no file.
  fileprivate static func lastChange(_ path: String) -> UInt64? {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    return Continuity.times(status).modified
  }
}
