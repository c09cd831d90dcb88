#define _GNU_SOURCE
#include "csystem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#endif

#ifdef __linux__
int fm_wake_open(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }
void fm_wake_signal(int fd) {
  uint64_t one = 1;
  (void)!write(fd, &one, sizeof one);
}
void fm_wake_clear(int fd) {
  uint64_t count;
  (void)!read(fd, &count, sizeof count);
}
#else
// A socket pair would need two descriptors; a datagram socket connected to itself needs one.
int fm_wake_open(void) {
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "/tmp/.fm-wake-%d-%d", getpid(), fd);
  unlink(address.sun_path);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
      connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    close(fd);
    return -1;
  }
  unlink(address.sun_path);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}
void fm_wake_signal(int fd) { send(fd, "!", 1, 0); }
void fm_wake_clear(int fd) {
  char byte;
  while (recv(fd, &byte, 1, 0) > 0) {}
}
#endif

#ifdef __linux__
int fm_watch_is_told(const char *path) {
  struct statfs file_system;
  if (statfs(path, &file_system) != 0) return 1;
  switch ((uint32_t)file_system.f_type) {
    case 0x6969:      // NFS
    case 0x517b:      // SMB
    case 0xfe534d42:  // SMB 2
    case 0xff534d42:  // CIFS
    case 0x65735546:  // FUSE: sshfs, shared folders of virtual machines
    case 0x01021997:  // 9P
    case 0x5346414f:  // AFS
    case 0x00c36400:  // Ceph
    case 0x47504653:  // GPFS
    case 0x786f4256:  // VirtualBox
    case 0xbacbacbc:  // VMware
      return 0;
    default: return 1;
  }
}

int fm_watch_open(void) { return inotify_init1(IN_NONBLOCK | IN_CLOEXEC); }
int fm_watch_add(int fd, const char *path) {
  return inotify_add_watch(fd, path,
                           IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM |
                               IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);
}
int fm_watch_place(int fd, const char *path) {
  struct stat status;
  // A file that is open is gone for others when it loses its name: that changes its attributes. Of a folder those of
  // everything in it would be told.
  uint32_t more = stat(path, &status) == 0 && S_ISDIR(status.st_mode) ? 0 : IN_ATTRIB;
  return inotify_add_watch(fd, path, more | IN_DELETE_SELF | IN_MOVE_SELF);
}
void fm_watch_remove(int fd, int watch) { inotify_rm_watch(fd, watch); }
size_t fm_watch_read(int fd, uint8_t *entries, size_t capacity) {
  _Alignas(struct inotify_event) char buffer[16384];
  ssize_t got = read(fd, buffer, capacity / 2 < sizeof buffer ? capacity / 2 : sizeof buffer);
  if (got <= 0) return 0;
  size_t used = 0;
  for (char *at = buffer; at < buffer + got;) {
    struct inotify_event *event = (struct inotify_event *)at;
    size_t length = event->len ? strlen(event->name) : 0;
    memcpy(entries + used, &event->wd, 4);
    memcpy(entries + used + 4, &event->mask, 4);
    memcpy(entries + used + 8, event->name, length);
    entries[used + 8 + length] = 0;
    used += 9 + length;
    at += sizeof *event + event->len;
  }
  return used;
}
int fm_watch_mask_lost(uint32_t mask) {
  return (mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) != 0;
}
#else
int fm_watch_is_told(const char *path) { (void)path; return 0; }
int fm_watch_open(void) { return -1; }
int fm_watch_add(int fd, const char *path) { (void)fd; (void)path; return -1; }
int fm_watch_place(int fd, const char *path) { (void)fd; (void)path; return -1; }
void fm_watch_remove(int fd, int watch) { (void)fd; (void)watch; }
size_t fm_watch_read(int fd, uint8_t *entries, size_t capacity) {
  (void)fd; (void)entries; (void)capacity;
  return 0;
}
int fm_watch_mask_lost(uint32_t mask) { (void)mask; return 1; }
#endif

static int address_of(const char *path, struct sockaddr_un *address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (strlen(path) >= sizeof address->sun_path) return -1;
  strcpy(address->sun_path, path);
  return 0;
}

int fm_ping_open(const char *path) {
  struct sockaddr_un address;
  size_t length = strlen(path);
  if (length < 6 || address_of(path, &address) != 0) return -1;
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd < 0) return -1;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  // Between the making of the file and the binding whoever pings is refused, and takes the file for one that
  // somebody left behind: it gets its name when it can be pinged.
  strcpy(address.sun_path + length - 5, ".new");
  unlink(address.sun_path);
  // The folder is the owner's alone; umask belongs to all threads, and folders made meanwhile would be closed.
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
      chmod(address.sun_path, 0600) != 0 || rename(address.sun_path, path) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

void fm_ping_all(const char *folder, const char *except, const uint8_t *message, size_t count) {
  DIR *listing = opendir(folder);
  if (!listing) return;
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd >= 0) fcntl(fd, F_SETFL, O_NONBLOCK);
  struct dirent *entry;
  while (fd >= 0 && (entry = readdir(listing))) {
    size_t length = strlen(entry->d_name);
    if (length < 6 || strcmp(entry->d_name + length - 5, ".sock") != 0) continue;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    struct sockaddr_un address;
    if ((except && strcmp(path, except) == 0) || address_of(path, &address) != 0) continue;
    // A full queue means that the other process has a wake-up coming anyway.
    if (sendto(fd, message, count, 0, (struct sockaddr *)&address, sizeof address) < 0 && errno == ECONNREFUSED)
      unlink(path);
  }
  if (fd >= 0) close(fd);
  closedir(listing);
}

ssize_t fm_ping_next(int fd, uint8_t *message, size_t capacity) {
  ssize_t length;
  do length = recv(fd, message, capacity, 0);
  while (length < 0 && errno == EINTR);
  return length;
}

int fm_exchange(const char *one, const char *other) {
#if defined(__linux__)
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif
#ifdef __GLIBC__
  int result = renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
#else
  int result = (int)syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
#endif
#elif defined(__APPLE__)
  int result = renamex_np(one, other, RENAME_SWAP);
#else
  int result = -1;
  errno = ENOSYS;
#endif
  if (result == 0) return 1;
  return errno == EINVAL || errno == ENOSYS || errno == ENOTSUP ? 0 : -1;
}

int fm_write_now(int fd, const char *bytes, size_t count) {
#if defined(__linux__) && defined(RWF_NOWAIT)
  struct stat status;
  // Of a pipe so much is written at once or not at all.
  if (count > PIPE_BUF || fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) return 0;
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
  return pwritev2(fd, &part, 1, -1, RWF_NOWAIT) == (ssize_t)count;
#else
  (void)fd; (void)bytes; (void)count;
  return 0;
#endif
}

int fm_wait(const int *descriptors, uint8_t *ready, int count, int timeout_ms) {
  struct pollfd polls[16];
  if (count > 16) return -1;
  for (int i = 0; i < count; i++) polls[i] = (struct pollfd){.fd = descriptors[i], .events = POLLIN};
  int result = poll(polls, (nfds_t)count, timeout_ms);
  for (int i = 0; i < count; i++)
    ready[i] = result <= 0 ? 0 : (polls[i].revents & (POLLHUP | POLLERR | POLLNVAL)) ? 2 : polls[i].revents ? 1 : 0;
  return result;
}

int fm_lock(const char *path, int wait) {
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return -1;
  int result;
  do result = flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
  while (result != 0 && errno == EINTR);
  if (result == 0) return fd;
  close(fd);
  return -1;
}

void fm_unlock(int fd) { close(fd); }

uint64_t fm_uptime_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t fm_wall_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  // A clock before 1970 counts as 1970: no time of ours lies before it.
  if (now.tv_sec < 0) return 0;
  return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t fm_file_time_ns(void) {
  struct timespec now;
#ifdef __linux__
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
#else
  clock_gettime(CLOCK_REALTIME, &now);
#endif
  return now.tv_sec < 0 ? 0 : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t fm_boottime_ns(void) {
  struct timespec now;
#ifdef __linux__
  clock_gettime(CLOCK_BOOTTIME, &now);
#else
  clock_gettime(CLOCK_MONOTONIC, &now);  // counts sleep on macOS
#endif
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void fm_pause_ms(int ms) {
  struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
  nanosleep(&time, NULL);
}

void fm_protect_memory(void) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
#ifdef __linux__
  prctl(PR_SET_DUMPABLE, 0);
#endif
}

uint64_t fm_resident_bytes(void) {
#ifdef __linux__
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file) return 0;
  unsigned long total = 0, resident = 0;
  int got = fscanf(file, "%lu %lu", &total, &resident);
  fclose(file);
  return got == 2 ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
#else
  return 0;
#endif
}

static int handled[] = {SIGWINCH, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT};

void fm_standard_files_hold(void) {
  for (int fd = 0; fd < 3; fd++) {
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
  }
}

void fm_signals_let_in(void) {
  sigset_t signals;
  sigemptyset(&signals);
  for (unsigned i = 0; i < sizeof handled / sizeof *handled; i++) sigaddset(&signals, handled[i]);
  pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

#ifdef __linux__
int fm_signals_open(void) {
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  for (unsigned i = 0; i < sizeof handled / sizeof *handled; i++) sigaddset(&signals, handled[i]);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);
  return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}
int fm_signal_next(int fd) {
  struct signalfd_siginfo info;
  return read(fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}
#else
static int signal_pipe[2] = {-1, -1};
static void pass_on(int number) {
  unsigned char byte = (unsigned char)number;
  (void)!write(signal_pipe[1], &byte, 1);
}
int fm_signals_open(void) {
  signal(SIGPIPE, SIG_IGN);
  if (pipe(signal_pipe) != 0) return -1;
  for (int i = 0; i < 2; i++) fcntl(signal_pipe[i], F_SETFL, O_NONBLOCK);
  for (unsigned i = 0; i < sizeof handled / sizeof *handled; i++) signal(handled[i], pass_on);
  return signal_pipe[0];
}
int fm_signal_next(int fd) {
  unsigned char byte;
  return read(fd, &byte, 1) == 1 ? byte : 0;
}
#endif

int fm_holds_file(const char *path) {
  struct stat meant, held;
  if (stat(path, &meant) != 0) return 0;
  DIR *folder = opendir("/dev/fd");
  if (folder == NULL) return -1;
  int holds = 0;
  for (struct dirent *entry; !holds && (entry = readdir(folder)) != NULL;) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    holds = fstat(atoi(entry->d_name), &held) == 0 && held.st_dev == meant.st_dev && held.st_ino == meant.st_ino;
  }
  closedir(folder);
  return holds;
}

// The index begins with its header, twice; whoever changes it writes the second one first. See "WAL-mode File Format"
// in the documentation of SQLite.
struct fm_log fm_store_log(struct sqlite3 *connection) {
  struct fm_log log = {0, 0};
  sqlite3_file *file = NULL;
  if (connection == NULL || sqlite3_file_control(connection, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
      file == NULL || file->pMethods == NULL || file->pMethods->iVersion < 2)
    return log;
  void volatile *index = NULL;
  (void)file->pMethods->xShmMap(file, 0, 32768, 0, &index);
  if (index == NULL) return log;
  for (int turn = 0; turn < 100; turn++) {
    struct { uint32_t version, unused, changes; uint8_t is_ready, is_big_endian; uint16_t page; uint32_t pages, rest[7]; } first, second;
    memcpy(&first, (const void *)index, sizeof first);
    __sync_synchronize();
    memcpy(&second, (const char *)index + sizeof first, sizeof second);
    if (memcmp(&first, &second, sizeof first) != 0) continue;
    if (!first.is_ready || first.pages == 0) return log;
    int64_t page = (first.page & 0xfe00) + ((first.page & 1) << 16);
    log.pages = first.pages;
    log.bytes = 32 + (int64_t)first.pages * (24 + page);
    return log;
  }
  return log;
}

void fm_store_fold_at_close(struct sqlite3 *connection, int folds) {
  if (connection != NULL) (void)sqlite3_db_config(connection, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !folds, (int *)NULL);
}
