// The few system calls that Swift's C library module does not offer, as plain functions.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// A descriptor that wakes a thread sleeping in poll. -1 on failure.
int fm_wake_open(void);
void fm_wake_signal(int fd);
void fm_wake_clear(int fd);

// Watches folders for changes. -1 where the system offers nothing; the caller then polls slowly.
// Whether the kernel hears of every change to that folder: not where other machines write to it, too.
int fm_watch_is_told(const char *path);
int fm_watch_open(void);
// Returns a watch number, or -1.
int fm_watch_add(int fd, const char *path);
// Watches whether a file or folder is moved or deleted.
int fm_watch_place(int fd, const char *path);
void fm_watch_remove(int fd, int watch);
// Reads pending events without waiting. `names` receives entries of the form: watch (int32), mask
// (uint32), NUL-terminated name. Returns the bytes used, 0 when nothing is pending.
size_t fm_watch_read(int fd, uint8_t *entries, size_t capacity);
int fm_watch_mask_lost(uint32_t mask);  // the folder itself went away, or the queue overflowed

// A datagram socket that other processes ping after a commit; the path ends with .sock. -1 on failure.
int fm_ping_open(const char *path);
// Sends a message to every `*.sock` in a folder but `except` (may be NULL); removes those nobody listens at.
void fm_ping_all(const char *folder, const char *except, const uint8_t *message, size_t count);
// The length of the next message that has come, cut to the capacity; -1 when none has.
ssize_t fm_ping_next(int fd, uint8_t *message, size_t capacity);

// Whether this process holds the file of that name open: 1 when it does, 0 when not, -1 when that cannot be told.
int fm_holds_file(const char *path);

// What the index in the memory of a connection says of its log, which it must have read before: how many pages are in
// it, and how many bytes it has at least. Opens no file, since closing one would end the locks that SQLite has on it.
struct sqlite3;
struct fm_log { uint32_t pages; int64_t bytes; };
struct fm_log fm_store_log(struct sqlite3 *connection);
// Whether a connection, where it is the last one, folds the log into the database when it closes, and deletes it.
void fm_store_fold_at_close(struct sqlite3 *connection, int folds);

// Exchanges two names in one call: at no moment is either missing. 1 when that was done, 0 where the system or the file
// system cannot do it, -1 with `errno`.
int fm_exchange(const char *one, const char *other);

// Writes at most 4 KiB to a pipe, all or nothing, if that can be done without waiting. 1 when it was.
int fm_write_now(int fd, const char *bytes, size_t count);
// Waits until a descriptor is ready; `ready` receives one byte each: 1 readable, 2 gone. timeout in ms, -1 for ever.
int fm_wait(const int *descriptors, uint8_t *ready, int count, int timeout_ms);

// An exclusive lock on a file that ends with the process. The descriptor, or -1 when it is held.
int fm_lock(const char *path, int wait);
void fm_unlock(int fd);

uint64_t fm_uptime_ns(void);
uint64_t fm_wall_us(void);
// The clock by which a local file system says when a file was changed; never ahead of it.
uint64_t fm_file_time_ns(void);
// Also counts the time that the machine slept: for what somebody was given minutes for.
uint64_t fm_boottime_ns(void);

// Between two looks at something that tells of no changes.
void fm_pause_ms(int ms);

// No core dumps, not readable by other processes of the user: keys are in memory.
void fm_protect_memory(void);
uint64_t fm_resident_bytes(void);

// Holds the places of standard files that are closed, so that no other file gets their numbers: what is
// printed would go into it. Writing to them fails as before.
void fm_standard_files_hold(void);

// Whoever started this program may have held back its signals: it can be ended all the same.
void fm_signals_let_in(void);

// Signals (WINCH TERM INT HUP QUIT TSTP CONT): blocked for the whole process and read through a
// descriptor. Call before any thread exists.
int fm_signals_open(void);
// The next pending signal number, or 0.
int fm_signal_next(int fd);
