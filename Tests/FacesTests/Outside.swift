import CSystem
import Foundation

/// What a process is made to believe of the world: a library loaded before it.
///
/// `WALL` sets its wall clock (seconds since 1970), `SKEW` moves it by seconds, or by what the file behind `@` says at
/// each look. Beneath `FULL` nothing can be written, where `FROM` is set from when that file exists; where `HANG` begins a path, opening has no end until the
/// file `UNTIL` exists. With `UNWATCHED` the
/// user has no watches of the file system left.
enum Outside {
  private static let folder = try? Folder()

  static let library: String? = {
    let path = (folder?.path ?? "/tmp") + "/outside"
    let source = #"""
      #define _GNU_SOURCE
      #include <dlfcn.h>
      #include <errno.h>
      #include <fcntl.h>
      #include <stdarg.h>
      #include <stdio.h>
      #include <stdlib.h>
      #include <string.h>
      #include <sys/syscall.h>
      #include <sys/time.h>
      #include <time.h>
      #include <unistd.h>
      static long long skew(void) {
        const char *said = getenv("SKEW");
        if (!said) return 0;
        if (*said != '@') return atoll(said);
        char text[32] = {0};
        long file = syscall(SYS_openat, AT_FDCWD, said + 1, O_RDONLY);
        if (file < 0) return 0;
        syscall(SYS_read, file, text, sizeof text - 1);
        syscall(SYS_close, file);
        return atoll(text);
      }
      int clock_gettime(clockid_t clock, struct timespec *at) {
        int result = (int)syscall(SYS_clock_gettime, clock, at);
        const char *said = getenv("WALL");
        if (clock == CLOCK_REALTIME) at->tv_sec = said ? atoll(said) : at->tv_sec + skew();
        return result;
      }
      time_t time(time_t *at) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        if (at) *at = now.tv_sec;
        return now.tv_sec;
      }
      int gettimeofday(struct timeval *at, void *zone) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        at->tv_sec = now.tv_sec;
        at->tv_usec = now.tv_nsec / 1000;
        return 0;
      }
      int inotify_add_watch(int file, const char *path, unsigned mask) {
        if (getenv("UNWATCHED")) { errno = ENOSPC; return -1; }
        return (int)syscall(SYS_inotify_add_watch, file, path, mask);
      }
      static int is_below(const char *name, const char *path) {
        const char *folder = getenv(name);
        return folder && path && !strncmp(path, folder, strlen(folder));
      }
      static int is_full(int file) {
        char link[64], path[4096];
        const char *from = getenv("FROM");
        if (!getenv("FULL") || (from && syscall(SYS_faccessat, AT_FDCWD, from, F_OK) != 0)) return 0;
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
        if (length <= 0) return 0;
        path[length] = 0;
        return is_below("FULL", path);
      }
      ssize_t write(int file, const void *bytes, size_t count) {
        if (is_full(file)) { errno = ENOSPC; return -1; }
        return syscall(SYS_write, file, bytes, count);
      }
      ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
        if (is_full(file)) { errno = ENOSPC; return -1; }
        return syscall(SYS_pwrite64, file, bytes, count, at);
      }
      ssize_t pwrite64(int file, const void *bytes, size_t count, off_t at) { return pwrite(file, bytes, count, at); }
      static int goes_on(void) {
        const char *file = getenv("UNTIL");
        return file && syscall(SYS_faccessat, AT_FDCWD, file, F_OK) == 0;
      }
      static int opened(int folder, const char *path, int flags, int mode) {
        while (is_below("HANG", path) && !goes_on()) usleep(20000);
        return (int)syscall(SYS_openat, folder, path, flags, mode);
      }
      #define MODE va_list list; va_start(list, flags); int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, int) : 0; va_end(list)
      int open(const char *path, int flags, ...) { MODE; return opened(AT_FDCWD, path, flags, mode); }
      int open64(const char *path, int flags, ...) { MODE; return opened(AT_FDCWD, path, flags, mode); }
      int openat(int folder, const char *path, int flags, ...) { MODE; return opened(folder, path, flags, mode); }
      int openat64(int folder, const char *path, int flags, ...) { MODE; return opened(folder, path, flags, mode); }
      """#
    try? Data(source.utf8).write(to: URL(fileURLWithPath: path + ".c"))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["clang", "-shared", "-fPIC", "-o", path + ".so", path + ".c", "-ldl"]
    try? process.run()
    process.waitUntilExit()
    return process.terminationStatus == 0 ? path + ".so" : nil
  }()
}
