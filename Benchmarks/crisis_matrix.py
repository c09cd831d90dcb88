#!/usr/bin/env python3
"""The crisis path under obstacles: two homes, one folder relay, and whatever stands in the way on device A.

    crisis_matrix.py rows  [--only ROW,ROW]     every obstacle alone, with the dashboard
    crisis_matrix.py pairs [--only ROW,ROW]     every two obstacles that make sense together (one ROW: all its pairs)
    crisis_matrix.py all | list                 both | the names of the rows

Of each cell: a crisis is raised on A under the obstacle (said within 1 s, and nothing without evidence), the obstacle
goes, B knows within 1 s of A's next chance, B resolves it; then it is raised again, and resolved on A under the obstacle.
A failure of timing alone counts when it came in each of three runs. `say` is command -> first words, `B` raised or
obstacle gone -> event on B, `resolve` command -> end, `screen` the key ! -> help lines drawn.

Exit status 0 when everything held. The program: FULLMIND, or the one that scripts/run builds. Rows that mount something
need root; without, the preloaded library says ENOSPC and EROFS instead. It needs a C compiler.
"""
import argparse, fcntl, itertools, json, os, pty, re, select, shutil, signal, statistics, struct, subprocess, sys, tempfile, termios, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("FULLMIND", os.path.join(HERE, "..", ".build-run", "release", "fullmind"))

SOURCE = r"""
// CMX_RULES: "how|classes|path|gate" joined by ";": how = hang, or the number of an error; classes = letters of
//   o paths looked up, opened, listed   r read   w written   l locked   c made, renamed, linked, removed   k opened for writing
// A rule holds while its gate (a file) is there. CMX_CLOCK: "seconds|gate".
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
static struct rule { char how[16], classes[16], path[512], gate[512]; } rules[16];
static int count; static long long clock_by; static char clock_gate[512];
__attribute__((constructor(101))) static void begin(void) {
  const char *all = getenv("CMX_RULES"), *c = getenv("CMX_CLOCK");
  while (all && *all && count < 16) {
    struct rule *r = &rules[count];
    if (sscanf(all, "%15[^|]|%15[^|]|%511[^|]|%511[^;]", r->how, r->classes, r->path, r->gate) == 4) count++;
    all = strchr(all, ';'); if (all) all++;
  }
  if (c) sscanf(c, "%lld|%511s", &clock_by, clock_gate);
}
static int there(const char *p) { return syscall(SYS_faccessat, AT_FDCWD, p, F_OK) == 0; }
static int at(char class, const char *path) {
  int kept = errno;
  if (!path) return 0;
  for (int i = 0; i < count; i++) {
    struct rule *r = &rules[i];
    size_t l = strlen(r->path);
    if (!strchr(r->classes, class) || strncmp(path, r->path, l) || (path[l] && path[l] != '/') || !there(r->gate)) continue;
    if (strcmp(r->how, "hang")) { errno = atoi(r->how); return 1; }
    for (int n = 0; n < 60000 && there(r->gate); n++) { struct timespec t = {0, 10000000}; syscall(SYS_nanosleep, &t, 0); }
  }
  errno = kept;
  return 0;
}
static int at_fd(char class, int fd) {
  char link[64], name[1024];
  if (!count) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  long got = syscall(SYS_readlinkat, AT_FDCWD, link, name, sizeof name - 1);
  if (got <= 0) return 0;
  name[got] = 0;
  return at(class, name);
}
static int opened(int d, const char *p, int f, unsigned m) {
  if (at('o', p)) return -1;
  if ((f & (O_WRONLY | O_RDWR)) && at('k', p)) return -1;
  if ((f & O_CREAT) && !there(p) && at('c', p)) return -1;
  return (int)syscall(SYS_openat, d, p, f, m);
}
#define MODE unsigned mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list v; va_start(v, flags); mode = va_arg(v, unsigned); va_end(v); }
int open(const char *p, int flags, ...) { MODE return opened(AT_FDCWD, p, flags, mode); }
int open64(const char *p, int flags, ...) { MODE return opened(AT_FDCWD, p, flags | O_LARGEFILE, mode); }
int openat(int d, const char *p, int flags, ...) { MODE return opened(d, p, flags, mode); }
int openat64(int d, const char *p, int flags, ...) { MODE return opened(d, p, flags | O_LARGEFILE, mode); }
#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
DIR *opendir(const char *p) { REAL(DIR *, "opendir", const char *); return at('o', p) ? NULL : real(p); }
int access(const char *p, int m) { return at('o', p) ? -1 : (int)syscall(SYS_faccessat, AT_FDCWD, p, m); }
#define STAT(name) int name(const char *restrict p, struct stat *restrict s) { REAL(int, #name, const char *, struct stat *); return at('o', p) ? -1 : real(p, s); }
#define STAT64(name) int name(const char *restrict p, struct stat64 *restrict s) { REAL(int, #name, const char *, struct stat64 *); return at('o', p) ? -1 : real(p, s); }
STAT(stat) STAT(lstat) STAT64(stat64) STAT64(lstat64)
ssize_t read(int fd, void *b, size_t l) { return at_fd('r', fd) ? -1 : syscall(SYS_read, fd, b, l); }
ssize_t pread(int fd, void *b, size_t l, off_t o) { return at_fd('r', fd) ? -1 : syscall(SYS_pread64, fd, b, l, o); }
ssize_t pread64(int fd, void *b, size_t l, off64_t o) { return at_fd('r', fd) ? -1 : syscall(SYS_pread64, fd, b, l, o); }
ssize_t write(int fd, const void *b, size_t l) { return at_fd('w', fd) ? -1 : syscall(SYS_write, fd, b, l); }
ssize_t pwrite(int fd, const void *b, size_t l, off_t o) { return at_fd('w', fd) ? -1 : syscall(SYS_pwrite64, fd, b, l, o); }
ssize_t pwrite64(int fd, const void *b, size_t l, off64_t o) { return at_fd('w', fd) ? -1 : syscall(SYS_pwrite64, fd, b, l, o); }
ssize_t writev(int fd, const struct iovec *v, int n) { return at_fd('w', fd) ? -1 : syscall(SYS_writev, fd, v, n); }
int fsync(int fd) { return at_fd('w', fd) ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return at_fd('w', fd) ? -1 : (int)syscall(SYS_fdatasync, fd); }
int flock(int fd, int how) { return at_fd('l', fd) ? -1 : (int)syscall(SYS_flock, fd, how); }
static int fcntl_any(int fd, int c, long v) {
  if ((c == F_SETLK || c == F_SETLKW || c == F_OFD_SETLK || c == F_OFD_SETLKW) && at_fd('l', fd)) return -1;
  return (int)syscall(SYS_fcntl, fd, c, v);
}
int fcntl(int fd, int c, ...) { va_list v; va_start(v, c); long x = va_arg(v, long); va_end(v); return fcntl_any(fd, c, x); }
int fcntl64(int fd, int c, ...) { va_list v; va_start(v, c); long x = va_arg(v, long); va_end(v); return fcntl_any(fd, c, x); }
static int made(const char *p) { return at('o', p) || at('c', p); }
int mkdir(const char *p, mode_t m) { return !there(p) && made(p) ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, p, m); }
int rename(const char *a, const char *b) { return made(b) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 0); }
int link(const char *a, const char *b) { return made(b) ? -1 : (int)syscall(SYS_linkat, AT_FDCWD, a, AT_FDCWD, b, 0); }
int unlink(const char *p) { return at('o', p) ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, p, 0); }
int clock_gettime(clockid_t id, struct timespec *t) {
  int r = (int)syscall(SYS_clock_gettime, id, t);
  if (!r && clock_by && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) && there(clock_gate)) t->tv_sec += clock_by;
  return r;
}
int gettimeofday(struct timeval *restrict t, void *restrict z) {
  struct timespec s; (void)z; clock_gettime(CLOCK_REALTIME, &s);
  t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000; return 0;
}
time_t time(time_t *out) { struct timespec s; clock_gettime(CLOCK_REALTIME, &s); if (out) *out = s.tv_sec; return s.tv_sec; }
"""

# name: (group, what it is)
ROWS = {
    "locked": ("home", "another program holds the write lock of store.db"),
    "disk-full": ("home", "no byte is free where the home is"),
    "read-only": ("home", "the home cannot be written"),
    "passphrase": ("home", "the store wants a passphrase that is not given"),
    "damaged-start": ("home", "the first bytes of store.db overwritten"),
    "damaged-middle": ("home", "pages in the middle of store.db overwritten"),
    "absent": ("relay", "the relay's folder is away, for everybody"),
    "hang-open": ("relay", "the relay hangs when it is opened or listed"),
    "hang-read": ("relay", "the relay hangs when it is read"),
    "hang-write": ("relay", "the relay hangs when it is written"),
    "hang-lock": ("relay", "the relay hangs when it is locked"),
    "denied": ("relay", "nothing below the relay may be touched"),
    "relay-full": ("relay", "no byte is free at the relay"),
    "leader-stopped": ("process", "an agent of A, stopped"),
    "agent": ("process", "an agent of A that runs under the same obstacle"),
    "unsent": ("history", "a mild crisis raised before that the relay never got"),
    "year-1960": ("clock", "A's clock is in 1960"),
    "year-2200": ("clock", "A's clock is in 2200"),
}
RULES = {  # of the preloaded library: how, classes, whether it is the home
    "hang-open": ("hang", "oc", 0), "hang-read": ("hang", "r", 0), "hang-write": ("hang", "wc", 0), "hang-lock": ("hang", "l", 0),
    "denied": ("13", "orwc", 0), "relay-full": ("28", "wc", 0), "unsent": ("2", "oc", 0),
    "disk-full": ("28", "wc", 1), "read-only": ("30", "kc", 1),
}
NO_DISK = {"disk-full", "read-only"}
NO_RELAY = {"absent", "hang-open", "hang-read", "hang-write", "denied", "relay-full"}
TOGETHER = [("locked", "disk-full"), ("locked", "read-only"), ("locked", "passphrase"), ("passphrase", "disk-full"), ("passphrase", "read-only"),
            ("damaged-start", "disk-full"), ("damaged-start", "read-only"), ("damaged-start", "passphrase"), ("damaged-middle", "disk-full")]
WORDS = [("Saved here and sent", "saved-and-sent"), ("Saved here.", "saved"), ("Sent; any other device", "sent"), ("Only this screen knows", "only-this-screen"),
         ("Nothing can be sent from here", "no-way"), ("Telling your devices", "trying")]
UNDONE = r"It could not be taken back[^.]*\.|Taken back[^.]*\.|No crisis was active here\."  # what the dashboard says after u
TIMEOUT = 4  # what is given to --timeout

now = time.monotonic


def ms(seconds):
    return "-" if seconds is None else f"{seconds * 1000:.0f}"


class Failure(Exception):
    pass


class Command:
    """A command under way; when its output came."""
    def __init__(self, words, env=None):
        self.out, self.err, self.first, self.lines = b"", b"", None, []
        self.began = now()
        self.process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.threads = [threading.Thread(target=self.read, args=(stream, isOut), daemon=True) for stream, isOut in ((self.process.stdout, True), (self.process.stderr, False))]
        for thread in self.threads:
            thread.start()

    def read(self, stream, is_out):
        while data := os.read(stream.fileno(), 65536):
            if self.first is None:
                self.first = now() - self.began
            self.lines.append((now() - self.began, data.decode(errors="replace")))
            if is_out:
                self.out += data
            else:
                self.err += data

    def wait(self, patience):
        """Whether it ended in time; one that did not is killed."""
        try:
            self.process.wait(patience)
            is_over = True
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            is_over = False
        self.took = now() - self.began
        for thread in self.threads:
            thread.join(2)
        return is_over

    @property
    def status(self):
        return self.process.returncode

    @property
    def text(self):
        return self.out.decode(errors="replace") + self.err.decode(errors="replace")

    def json(self):
        for line in self.out.decode(errors="replace").splitlines():
            try:
                return json.loads(line)
            except ValueError:
                pass
        return {}

    def said(self, pattern):
        return next((moment for moment, text in self.lines if re.search(pattern, text)), None)


class Agent:
    def __init__(self, words, env=None):
        self.events, self.began = [], now()
        self.process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()
        self.err = ""
        threading.Thread(target=self.errors, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            try:
                self.events.append((now(), json.loads(line)))
            except ValueError:
                pass

    def errors(self):
        for line in self.process.stderr:
            self.err += line

    def wait(self, wanted, since, patience):
        """When an event came, after a moment."""
        end = now() + patience
        while True:
            for at, event in list(self.events):
                if at >= since and wanted(event):
                    return at
            if now() >= end:
                return None
            time.sleep(0.002)

    def stop(self):
        """Its exit status; None while it had not ended by itself."""
        status = self.process.poll()
        if status is None:
            os.kill(self.process.pid, signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        return status


class Picture:
    """What a terminal would show: as much of an xterm as ncurses uses."""
    def __init__(self, rows, columns):
        self.rows, self.columns, self.rest = rows, columns, ""
        self.top, self.bottom, self.y, self.x, self.last = 0, rows - 1, 0, 0, " "
        self.cells = [[" "] * columns for _ in range(rows)]

    def blank(self):
        return [" "] * self.columns

    def feed(self, data):
        text, i = self.rest + data.decode("utf-8", "replace"), 0
        while i < len(text):
            c = text[i]
            if c == "\x1b":
                found = re.compile(r"\x1b(\[[0-9;?>=!]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][0-9A-Za-z]|[^\[\]()])").match(text, i)
                if not found:
                    if len(text) - i > 200:
                        i += 1
                        continue
                    break
                self.escape(found.group(1))
                i = found.end()
                continue
            i += 1
            if c == "\r": self.x = 0
            elif c == "\n": self.down()
            elif c == "\b": self.x = max(0, self.x - 1)
            elif c == "\t": self.x = min(self.columns - 1, (self.x // 8 + 1) * 8)
            elif c >= " ": self.put(c)
        self.rest = text[i:]

    def put(self, c):
        if self.x >= self.columns:
            self.x = 0
            self.down()
        self.cells[self.y][self.x], self.last = c, c
        self.x += 1

    def down(self):
        if self.y == self.bottom:
            self.cells.insert(self.bottom + 1, self.blank())
            del self.cells[self.top]
        else:
            self.y = min(self.rows - 1, self.y + 1)

    def escape(self, code):
        if code[0] != "[":
            if code == "M":
                if self.y == self.top:
                    del self.cells[self.bottom]
                    self.cells.insert(self.top, self.blank())
                else:
                    self.y = max(0, self.y - 1)
            return
        kind, words = code[-1], code[1:-1]
        if words[:1] in "?>=!" and words:
            if kind == "h" and words == "?1049":
                self.cells = [self.blank() for _ in range(self.rows)]
            return
        numbers = [int(word) if word.isdigit() else 0 for word in words.split(";")] if words else []
        n = max(1, numbers[0]) if numbers else 1
        row = self.cells[self.y]
        x = min(self.x, self.columns - 1)
        if kind in "Hf": self.y, self.x = min(self.rows, n) - 1, min(self.columns, max(1, numbers[1]) if len(numbers) > 1 else 1) - 1
        elif kind == "A": self.y = max(0, self.y - n)
        elif kind == "B": self.y = min(self.rows - 1, self.y + n)
        elif kind == "C": self.x = min(self.columns - 1, self.x + n)
        elif kind == "D": self.x = max(0, x - n)
        elif kind in "G`": self.x = min(self.columns, n) - 1
        elif kind == "d": self.y = min(self.rows, n) - 1
        elif kind == "r":
            self.top, self.bottom = (n - 1, (numbers[1] if len(numbers) > 1 else self.rows) - 1)
            self.y = self.x = 0
        elif kind == "J":
            how = numbers[0] if numbers else 0
            for y in range(self.rows):
                if how == 2 or (how == 0 and y > self.y) or (how == 1 and y < self.y): self.cells[y] = self.blank()
            if how == 0: row[x:] = [" "] * (self.columns - x)
        elif kind == "K":
            how = numbers[0] if numbers else 0
            if how == 0: row[x:] = [" "] * (self.columns - x)
            elif how == 1: row[:x + 1] = [" "] * (x + 1)
            else: row[:] = self.blank()
        elif kind == "X": row[x:x + n] = [" "] * len(row[x:x + n])
        elif kind == "b":
            for _ in range(n): self.put(self.last)
        elif kind == "P": row[x:] = (row[x + n:] + [" "] * n)[:self.columns - x]
        elif kind == "@": row[x:] = ([" "] * n + row[x:])[:self.columns - x]
        elif kind in "LMST":
            first = self.y if kind in "LM" else self.top
            for _ in range(min(n, self.bottom - first + 1)):
                if kind in "LT":
                    del self.cells[self.bottom]
                    self.cells.insert(first, self.blank())
                else:
                    self.cells.insert(self.bottom + 1, self.blank())
                    del self.cells[first]

    @property
    def text(self):
        return "\n".join("".join(row) for row in self.cells)

    @property
    def flat(self):
        """Its words, without lines and boxes."""
        return re.sub(r"\s+", " ", re.sub(r"[^\w\s.,;:!?…'“”‘’()/+-]", " ", self.text))


class Terminal:
    def __init__(self, words, env):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            env = dict(env, TERM="xterm-256color", LANG="C.UTF-8")
            for name in ("FULLMIND_REGION", "LC_ALL", "LC_MESSAGES"):
                env.pop(name, None)
            os.execve(words[0], words, env)
        self.picture, self.began, self.status = Picture(24, 80), now(), None

    def until(self, condition, patience):
        """When a picture came for which the condition holds."""
        end = now() + patience
        if condition(self.picture):
            return now()
        while (left := end - now()) > 0:
            if not select.select([self.terminal], [], [], min(left, 0.2))[0]:
                continue
            try:
                data = os.read(self.terminal, 65536)
            except OSError:
                return None
            at = now()
            if b"\x1b[6n" in data: os.write(self.terminal, b"\x1b[1;1R")
            self.picture.feed(data)
            if condition(self.picture):
                return at
        return None

    def press(self, keys):
        at = now()
        os.write(self.terminal, keys)
        return at

    def end(self):
        """Its status where it had ended before."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.status = os.waitstatus_to_exitcode(status)
        else:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)
        return self.status


class Cell:
    """Two homes of one account, and the obstacles of some rows."""
    def __init__(self, rows, tools):
        self.rows, self.tools, self.problems, self.figures = list(rows), tools, [], {}
        self.folder = tempfile.mkdtemp(prefix="cell-", dir=tools.folder)
        self.a, self.b, self.relay = (os.path.join(self.folder, name) for name in ("disk/a", "b", "relay"))
        self.away, self.gates = self.relay + "-away", os.path.join(self.folder, "gates")
        self.mounts, self.locker, self.agent, self.listener, self.isObstructed = [], None, None, None, False
        self.passfile = os.path.join(self.folder, "pass") if "passphrase" in rows else None
        self.env = dict(os.environ)
        self.env.pop("FULLMIND_HOME", None)

    # The household

    def prepare(self):
        os.mkdir(self.gates)
        os.mkdir(os.path.dirname(self.a))
        if "disk-full" in self.rows and self.tools.can_mount:
            self.mount("-t", "tmpfs", "-o", "size=8m,mode=0700", "none", os.path.dirname(self.a))
        secret = ["--no-passphrase"]
        if self.passfile:
            with open(self.passfile, "w") as file:
                file.write("correct horse battery staple\n")
            secret = ["--passphrase-file", self.passfile]
        place = "folder:" + self.relay
        self.healthy("init", "--device", "a", *secret, "--home", self.a, "--relay", place)
        unlock = ["--passphrase-file", self.passfile] if self.passfile else []
        invite = subprocess.Popen([self.tools.program, "devices", "invite", "--yes", "--home", self.a, *unlock], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
        code = invite.stdout.readline().strip()
        self.healthy("join", code, "--device", "b", "--yes", "--no-passphrase", "--home", self.b, "--relay", place)
        invite.wait(30)
        for home in (self.a, self.b, self.a):
            self.healthy("sync", "--home", home, *(unlock if home == self.a else []))
        rules = [self.rule(row) for row in self.rows if row in RULES and not (RULES[row][2] and self.tools.can_mount)]
        if rules or set(self.rows) & {"year-1960", "year-2200"}:
            self.env["LD_PRELOAD"] = self.tools.library
            self.env["CMX_RULES"] = ";".join(rules)
            for row in self.rows:
                if row.startswith("year-"):
                    by = int((int(row[5:]) - 1970) * 31556952 + 86400 * 100 - time.time())
                    self.env["CMX_CLOCK"] = f"{by}|{self.gate(row)}"
        self.listener = Agent([self.tools.program, "agent", "--events", "--home", self.b])
        self.listener.wait(lambda event: event["event"] == "synced", 0, 5)
        time.sleep(0.15)

    def gate(self, row):
        return os.path.join(self.gates, row)

    def rule(self, row):
        how, classes, is_home = RULES[row]
        return f"{how}|{classes}|{self.a if is_home else self.relay}|{self.gate(row)}"

    def healthy(self, *words):
        done = subprocess.run([self.tools.program, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        if done.returncode != 0:
            raise Failure(f"HARNESS {' '.join(words[:2])}: status {done.returncode}: {done.stderr.strip()}")
        return done

    def mount(self, *words):
        subprocess.run(["mount", *words], check=True, capture_output=True)
        self.mounts.append(words[-1])

    def unlock(self):
        return ["--passphrase-file", self.passfile] if self.passfile and not self.isObstructed else []

    def words(self, *words):
        return [self.tools.program, *words, "--home", self.a, *self.unlock()]

    def on_a(self, *words):
        return Command(self.words(*words), self.env)

    def on_b(self, *words):
        return Command([self.tools.program, *words, "--home", self.b])

    # The obstacles

    def obstruct(self):
        if "unsent" in self.rows:
            if self.agent and "leader-stopped" in self.rows: os.kill(self.agent.process.pid, signal.SIGSTOP)
            open(self.gate("unsent"), "w").close()
            mild = Command([self.tools.program, "crisis", "activate", "mild", "--now", "--json", "--home", self.a], self.env)
            if not mild.wait(10) or mild.json().get("word") != "saved":
                self.problem("unsent-mild", f"status {mild.status} {mild.text.strip()[:200]}")
        if set(self.rows) & {"leader-stopped", "agent"} and not self.agent:
            self.agent = Agent([self.tools.program, "agent", "--events", "--home", self.a, *(["--passphrase-file", self.passfile] if self.passfile else [])], self.env)
            self.agent.wait(lambda event: event["event"] in ("synced", "relay"), 0, 5)
            time.sleep(0.2)
        for row in self.rows:
            if row in RULES and row != "unsent" and not (RULES[row][2] and self.tools.can_mount) or row.startswith("year-"): open(self.gate(row), "w").close()
        self.isObstructed = True
        if "absent" in self.rows: os.rename(self.relay, self.away)
        if "damaged-start" in self.rows or "damaged-middle" in self.rows:
            self.spare = {name: open(os.path.join(self.a, name), "rb").read() for name in os.listdir(self.a) if name.startswith("store.db")}
            with open(os.path.join(self.a, "store.db"), "r+b") as file:
                size = os.path.getsize(file.name)
                if "damaged-start" in self.rows: file.write(os.urandom(200))
                if "damaged-middle" in self.rows:
                    file.seek(size // 3 // 4096 * 4096)
                    file.write(os.urandom(size // 3))
        if "locked" in self.rows:
            self.locker = subprocess.Popen([sys.executable, "-c", "import sqlite3,sys,time\nc=sqlite3.connect(sys.argv[1],timeout=5,isolation_level=None)\nc.execute('BEGIN IMMEDIATE')\nprint('held',flush=True)\ntime.sleep(60)",
                                            os.path.join(self.a, "store.db")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if self.locker.stdout.readline().strip() != "held":
                raise Failure("HARNESS the lock could not be taken: " + self.locker.stderr.read()[-200:])
        if "leader-stopped" in self.rows and self.agent: os.kill(self.agent.process.pid, signal.SIGSTOP)
        if "disk-full" in self.rows and self.tools.can_mount:
            self.filler = os.open(os.path.join(self.a, "filler"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for size in (65536, 4096, 1):
                try:
                    while True: os.write(self.filler, b"x" * size)
                except OSError: pass
        if "read-only" in self.rows and self.tools.can_mount:
            self.mount("--bind", self.a, self.a)
            subprocess.run(["mount", "-o", "remount,bind,ro", self.a], check=True, capture_output=True)
        if "unsent" in self.rows: os.unlink(self.gate("unsent"))

    def lift_relay(self):
        if "absent" in self.rows and os.path.exists(self.away): os.rename(self.away, self.relay)
        for row in NO_RELAY | {"hang-lock"}:
            if os.path.exists(self.gate(row)): os.unlink(self.gate(row))
        return now()

    def lift(self):
        self.lift_relay()
        if "read-only" in self.rows and self.tools.can_mount and self.isObstructed:
            subprocess.run(["umount", "-l", self.a], check=True)
            self.mounts.pop()
        if "disk-full" in self.rows and self.tools.can_mount and self.isObstructed:
            os.close(self.filler)
            os.unlink(os.path.join(self.a, "filler"))
        for name in os.listdir(self.gates): os.unlink(os.path.join(self.gates, name))
        if self.locker:
            self.locker.kill()
            self.locker.wait()
            self.locker = None
        if self.isObstructed and set(self.rows) & {"damaged-start", "damaged-middle"}:
            self.end_agent()
            for name in os.listdir(self.a):
                if name.startswith("store.db"): os.unlink(os.path.join(self.a, name))
            for name, data in self.spare.items():
                with open(os.path.join(self.a, name), "wb") as file: file.write(data)
        if self.agent: os.kill(self.agent.process.pid, signal.SIGCONT)
        self.isObstructed = False
        return now()

    def end_agent(self):
        if not self.agent: return
        status = self.agent.stop()
        self.crashed("agent-of-A", status, self.agent.err)
        if status is not None and not set(self.rows) & {"damaged-start", "damaged-middle"}:
            self.problem("agent-ended", f"A's agent ended by itself with {status}: {self.agent.err.strip()[-200:]}")
        self.agent = None

    def clean(self):
        try:
            if self.isObstructed: self.lift()
        except Exception as error:
            print("  (cleaning:", error, ")")
        for agent in (self.agent, self.listener):
            if agent: agent.stop()
        if self.locker: self.locker.kill()
        for mount in reversed(self.mounts): subprocess.run(["umount", "-l", mount], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    # Judging

    def problem(self, kind, text):
        self.problems.append((kind, text))

    def crashed(self, what, status, text):
        if status is not None and status < 0 and status != -signal.SIGKILL or re.search(r"Fatal error|Illegal instruction", text or ""):
            self.problem("crash", f"{what} ended by signal {-status if status and status < 0 else status}: {(text or '').strip()[-300:]}")

    def figure(self, name, seconds, limit):
        """Notes a figure; one over its limit is a failure of timing."""
        if seconds is not None: self.figures.setdefault(name, []).append(seconds)
        if seconds is None or seconds > limit:
            self.problem("T:" + name, f"{ms(seconds)} ms, more than {ms(limit)}")

    def ended(self, command, name, patience):
        if not command.wait(patience): self.problem("hang", f"`{name}` had not ended after {patience:.0f} s; printed {command.text.strip()[-160:]!r}")
        self.crashed(f"`{name}`", command.status, command.err.decode(errors="replace"))

    def state(self, on, name, expected, patience, kind, level=None):
        """Waits until `crisis status` of a device says so, and names the level if one is meant."""
        end, last = now() + patience, None
        while True:
            command = on("crisis", "status", "--json")
            self.ended(command, f"crisis status on {name}", 15)
            last = command
            said = command.json()
            if said.get("active") is expected and (level is None or said.get("level") == level): return said
            if now() > end: break
            time.sleep(0.1)
        self.problem(kind, f"on {name}: active should be {expected}; status {last.status}: {last.text.strip()[:200]}")
        return last.json()

    @property
    def allowance(self): return self.tools.start + 0.2

    # What a person does

    def raise_it(self, as_json=True):
        """Raises severe under the obstacle; what was said, and whether it had evidence."""
        options = ["--json"] if as_json else []
        return self.on_a("crisis", "activate", "severe", "--now", "--timeout", str(TIMEOUT), *options)

    def deliver(self):
        """Raised under the obstacle, the obstacle goes, B knows; B resolves."""
        self.obstruct()
        rows = set(self.rows)
        no_disk, no_relay = bool(rows & NO_DISK), bool(rows & NO_RELAY)
        began = now()
        is_active = lambda event: event["event"] == "crisis" and event["active"] and event["level"] == "severe"
        if no_disk and no_relay:
            command = self.raise_it(as_json=False)
            said = None
            while said is None and now() - began < 3 and command.process.poll() is None:
                time.sleep(0.005)
                said = command.said("Only this screen knows")
            self.figure("say", command.said("Only this screen knows"), 1 + self.allowance)
            if early := command.said("Saved here|Sent to your"): self.problem("claim", f"said that it is saved or sent after {ms(early)} ms, neither can be: {command.text[-300:]}")
            gone = self.lift_relay()
            self.figure("B", self.minus(self.listener.wait(is_active, began, 3), gone), 1)
            self.ended(command, "crisis activate", TIMEOUT + 2)
            if command.status != 0 or not command.said("Sent; any other device"): self.problem("retry", f"the relay is back, the command ended with {command.status}: {command.text[-300:]}")
            gone = self.lift()
            saved, sent = False, True
        else:
            command = self.raise_it()
            while command.first is None and now() - began < 10 and command.process.poll() is None: time.sleep(0.002)
            self.ended(command, "crisis activate --json", TIMEOUT + 4)
            self.figure("say", command.first, 1 + self.allowance)
            self.figure("end", command.took, TIMEOUT + 1 + self.allowance)
            answer = command.json()
            saved, sent = answer.get("savedAt_us") is not None, answer.get("atRelay") is True
            if command.status != 0: self.problem("activate-status", f"status {command.status}: {command.text.strip()[:400]}")
            if len(command.out.decode().splitlines()) != 1: self.problem("not-one-json", command.out.decode()[:400])
            word = {(True, True): "saved-and-sent", (True, False): "saved", (False, True): "sent"}.get((saved, sent), "only-this-screen")
            if answer.get("word") != word: self.problem("word", f"word {answer.get('word')}, but saved {saved} and sent {sent}")
            if not no_relay and not sent: self.problem("not-sent", f"the relay is well, and it was not sent: {command.text.strip()[:300]}")
            if not no_disk and not saved: self.problem("not-saved", f"the disk is well, and it was not saved: {command.text.strip()[:300]}")
            if sent:
                at = self.listener.wait(is_active, began, 3)
                self.figure("B", self.minus(at, began), 1 + self.allowance)
                if at is None: self.problem("claim", "said to be at the relay, and B never learned of it")
            if saved: self.state(self.on_a, "A under the obstacle", True, 0, "status-under")
            gone = self.lift()
            if not sent:
                if not self.agent:
                    gone = now()
                    self.agent = Agent(self.words("agent", "--events"), self.env)
                at = self.listener.wait(is_active, began, 12)
                self.figure("B", self.minus(at, gone), 1 + self.allowance)
        if not self.agent: self.ended(self.on_a("sync"), "sync", 30)
        if saved or sent:
            self.state(self.on_a, "A afterwards", True, 5, "lost-on-A")
            state = self.state(self.on_b, "B afterwards", True, 5, "lost-on-B")
            if state.get("level") != "severe": self.problem("level-on-B", str(state))
        command = self.on_b("crisis", "resolve", "--yes")
        self.ended(command, "crisis resolve on B", 10)
        if command.status != 0: self.problem("resolve-B", f"status {command.status}: {command.text.strip()[:200]}")
        self.state(self.on_b, "B after it resolved", False, 1, "not-resolved-on-B")
        if not self.agent: self.ended(self.on_a("sync"), "sync", 30)
        self.state(self.on_a, "A after B resolved", False, 5, "not-resolved-on-A")
        if self.agent and not rows & {"agent", "leader-stopped"}: self.end_agent()

    @staticmethod
    def minus(at, began): return None if at is None else max(0.0, at - began)

    def resolve(self):
        """Raised and resolved under the obstacle; the obstacle goes, and it is over on both."""
        self.obstruct()
        rows = set(self.rows)
        no_disk, no_relay = bool(rows & NO_DISK), bool(rows & NO_RELAY)
        began = now()
        raised = self.raise_it()
        self.ended(raised, "crisis activate --json", TIMEOUT + 4)
        if no_disk and no_relay:
            self.figure("json", raised.first, 1 + self.allowance)
            if raised.status != 75 or raised.json().get("word") != "only-this-screen": self.problem("neither", f"status {raised.status}: {raised.text.strip()[:300]}")
            if len(raised.out.decode().splitlines()) != 1: self.problem("not-one-json", raised.out.decode()[:500])
            self.figure("end", raised.took, TIMEOUT + 1 + self.allowance)
        is_over = lambda event: event["event"] == "crisis" and not event["active"]
        told = self.listener.wait(lambda event: event["event"] == "crisis" and event["active"], began, 1) if raised.json().get("atRelay") else None
        before = now()
        command = self.on_a("crisis", "resolve", "--yes", "--json")
        self.ended(command, "crisis resolve --json", 15)
        self.figure("resolve", command.took, 1.5 + self.allowance)
        answer = command.json()
        if not command.text.strip(): self.problem("resolve-silent", f"nothing was said, status {command.status}")
        if command.status == 70: self.problem("resolve-unexpected", command.text.strip()[:300])
        if command.status == 0 and answer.get("atRelay") and told and self.listener.wait(is_over, before, 1.5) is None:
            self.problem("claim", f"said to be resolved at the relay, and B never learned of it: {command.text.strip()[:200]}")
        if command.status == 0 and answer.get("active") is not False and "No crisis is active" not in command.text: self.problem("resolve-words", command.text.strip()[:300])
        was = command
        if command.status == 0:
            status = self.on_a("crisis", "status", "--json")
            self.ended(status, "crisis status", 15)
            if status.json().get("active"): self.problem("resolved-but-active", f"resolve said {was.text.strip()[:160]!r}, status under the obstacle says {status.text.strip()[:160]!r}")
        elif raised.json().get("savedAt_us") and not no_disk: self.problem("resolve-refused", f"status {command.status}: {command.text.strip()[:300]}")
        self.lift()
        if not self.agent: self.ended(self.on_a("sync"), "sync", 30)
        # What a damaged store took goes with it when its copy is put back.
        if command.status != 0 or rows & {"damaged-start", "damaged-middle"} and not answer.get("atRelay"):
            command = self.on_a("crisis", "resolve", "--yes", "--json")
            self.ended(command, "crisis resolve afterwards", 10)
            if command.status != 0: self.problem("resolve-afterwards", f"status {command.status}: {command.text.strip()[:300]}")
        if not self.agent: self.ended(self.on_a("sync"), "sync", 30)
        self.state(self.on_a, f"A afterwards (resolve had said {was.status} {was.text.strip()[:120]!r})", False, 5, "not-resolved-on-A")
        self.state(self.on_b, f"B afterwards (resolve had said {was.status} {was.text.strip()[:120]!r})", False, 5, "not-resolved-on-B")

    def screen(self):
        """The dashboard under the obstacle: the key, the picture, its words."""
        self.obstruct()
        rows = set(self.rows)
        no_disk, no_relay = bool(rows & NO_DISK), bool(rows & NO_RELAY)
        times, ups = [], []
        for _ in range(1):  # a second one would show the crisis from the start
            terminal = Terminal(self.words(), self.env)
            at = terminal.until(lambda picture: "(! for help)" in picture.flat or "112" in picture.text or ("help" in picture.flat and len(picture.text.split()) > 15), 25)
            if at is None:
                self.problem("no-screen", "nothing was drawn within 25 s: " + terminal.picture.flat[:200])
                terminal.end()
                break
            ups.append(at - terminal.began)
            is_prompt = "(! for help)" in terminal.picture.flat
            terminal.until(lambda _: False, 0.4)
            if "112" in terminal.picture.flat:
                # A crisis was active already: its screen is the first picture.
                if "unsent" not in rows: self.problem("HARNESS-112", "112 was on the screen before: " + terminal.picture.flat[:300])
            pressed = terminal.press(b"!\r" if is_prompt else b"!")
            at = terminal.until(lambda picture: "112" in picture.text, 5)
            times.append(at - pressed if at else 5.0)
            terminal.until(lambda _: False, 1.6)
            flat = terminal.picture.flat
            words = next((word for text, word in WORDS if text in flat), None)
            if words is None and no_relay: self.problem("screen-words", "says nothing of its way: " + flat[:700])
            if no_relay and (words in ("saved-and-sent", "sent") or re.search(r"1 of 1 other|sent;|Sent to", flat)): self.problem("screen-claim", "claims that it was sent: " + flat[:700])
            if no_disk and (words or "").startswith("saved"): self.problem("screen-claim", "claims that it is saved here: " + flat[:700])
            self.words_on_screen = words or re.sub(r".*(Raised on [^.]*\.|\d of \d other[^.]*\.).*", r"\1", flat)[:60]
            status = terminal.end()
            self.crashed("dashboard", status, flat)
            if status is not None: self.problem("dashboard-ended", f"status {status}: {flat[:200]}")
        if times:
            self.figures["screen"] = times
            if min(times) > 0.05: self.problem("T:screen", f"best {ms(min(times))} ms of {[ms(t) for t in times]}")
        if ups: self.figures["up"] = ups
        self.lift()
        if not self.agent: self.ended(self.on_a("sync"), "sync", 30)
        if not (no_disk and no_relay): self.state(self.on_b, "B after the dashboard", True, 5, "lost-from-screen")

    def undo(self):
        """The dashboard under the obstacle: raised, taken back with u; the obstacle goes, and it is over on both."""
        self.obstruct()
        terminal = Terminal(self.words(), self.env)
        terminal.until(lambda picture: "(! for help)" in picture.flat or "112" in picture.text or ("help" in picture.flat and len(picture.text.split()) > 15), 25)
        is_prompt = "(! for help)" in terminal.picture.flat
        terminal.until(lambda _: False, 0.4)
        terminal.press(b"!\r" if is_prompt else b"!")
        terminal.until(lambda _: False, 1.4)
        pressed = terminal.press(b"u\r" if is_prompt else b"u")
        answered = terminal.until(lambda picture: re.search(UNDONE, picture.flat), 12)
        self.figure("undo", self.minus(answered, pressed), 2)
        flat = terminal.picture.flat
        found = re.search(UNDONE, flat)
        said = found.group(0) if found else flat[-200:]
        status = terminal.end()
        self.crashed("dashboard", status, flat)
        self.lift()
        if not self.agent: self.ended(self.on_a("sync"), "sync", 30)
        if "could not" in said: return self.problem("undo-refused", said)
        # u takes back what was raised at that screen: the mild one from before goes on.
        goes_on, level = ("unsent" in self.rows, "mild" if "unsent" in self.rows else None)
        self.state(self.on_a, f"A afterwards (u had said {said!r})", goes_on, 5, "undo-claim-A", level)
        self.state(self.on_b, f"B afterwards (u had said {said!r})", goes_on, 5, "undo-claim-B", level)

    def run(self, parts):
        for part in parts:
            try:
                self.prepare()
                getattr(self, part)()
            except Failure as failure: self.problem("HARNESS", str(failure))
            except Exception as error: self.problem("HARNESS", f"{part}: {type(error).__name__}: {error} (line {error.__traceback__.tb_lineno})")
            finally:
                if self.listener:
                    status = self.listener.stop()
                    self.crashed("agent-of-B", status, self.listener.err)
                    if status is not None: self.problem("agent-ended", f"B's agent ended by itself with {status}: {self.listener.err.strip()[-200:]}")
                self.problems = [(kind, text if text.startswith("[") else f"[{part}] {text}") for kind, text in self.problems]
                if self.agent: self.end_agent()
                self.clean()
            problems, figures, words = self.problems, self.figures, getattr(self, "words_on_screen", None)
            self.__init__(self.rows, self.tools)
            self.problems, self.figures = problems, figures
            if words: self.words_on_screen = words
        shutil.rmtree(self.folder, ignore_errors=True)
        return self


class Tools:
    def __init__(self, folder):
        self.folder = tempfile.mkdtemp(prefix="crisis-matrix-", dir=folder)
        self.program, self.library = os.path.join(self.folder, "fullmind"), os.path.join(self.folder, "matrix.so")
        shutil.copy2(PROGRAM, self.program)
        source = os.path.join(self.folder, "matrix.c")
        with open(source, "w") as file: file.write(SOURCE)
        compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
        if not compiler: raise SystemExit("A C compiler is needed.")
        subprocess.run([compiler, "-O1", "-w", "-shared", "-fPIC", "-o", self.library, source, "-ldl"], check=True)
        probe = os.path.join(self.folder, "probe")
        os.mkdir(probe)
        self.can_mount = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", probe], capture_output=True).returncode == 0
        if self.can_mount: subprocess.run(["umount", probe])
        starts = []
        for _ in range(5):
            began = now()
            subprocess.run([self.program, "crisis", "card"], stdout=subprocess.DEVNULL, env=dict(os.environ, LD_PRELOAD=self.library))
            starts.append(now() - began)
        self.start = statistics.median(starts)
        print(f"program {PROGRAM}, start {ms(self.start)} ms (median of 5), mounts {'yes' if self.can_mount else 'no: preloaded instead'}", flush=True)

    def remove(self): shutil.rmtree(self.folder, ignore_errors=True)


def sensible(one, other):
    if (one, other) in TOGETHER or (other, one) in TOGETHER: return True
    return ROWS[one][0] != ROWS[other][0]


def judge(rows, parts, tools, repeat):
    """Runs a cell; a failure is looked at again, and one of timing alone must come three times."""
    mode = "rows" if len(rows) == 1 else "pairs"
    runs, figures, hard, words = 0, {}, {}, None
    wanted = repeat
    timing = {}
    while runs < wanted:
        runs += 1
        cell = Cell(rows, tools).run(parts)
        words = getattr(cell, "words_on_screen", words)
        for name, values in cell.figures.items(): figures.setdefault(name, []).extend(values)
        kinds = set()
        for kind, text in cell.problems:
            if kind in kinds: continue
            kinds.add(kind)
            (timing if kind.startswith("T:") else hard).setdefault(kind, []).append(text)
        if cell.problems and runs >= wanted and wanted < repeat + (2 if kinds and all(kind.startswith("T:") for kind in kinds) else 1): wanted += 1
        elif not cell.problems and not hard and runs >= repeat: break
    failures = dict(hard)
    for kind, texts in timing.items():
        if len(texts) >= min(runs, 3): failures[kind] = texts
    shown = "  ".join(f"{name} {ms(min(values))}/{ms(statistics.median(values))}" for name, values in figures.items())
    name = "+".join(rows)
    print(f"{'ok  ' if not failures else 'FAIL'} {name:32} {shown}{'  “' + words + '”' if words else ''}{f'  ({runs} runs)' if runs > 1 else ''}", flush=True)
    for kind, texts in failures.items(): print(f"       {kind} ({len(texts)} of {runs}): {texts[0]}", flush=True)
    if failures: print(f"       replay: FULLMIND={PROGRAM} {os.path.abspath(__file__)} {mode} --only {','.join(rows)}", flush=True)
    return name, failures, figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["rows", "pairs", "all", "list"], nargs="?", default="rows")
    parser.add_argument("--pairs", action="store_true", help="the same as the word pairs")
    parser.add_argument("--only", default="", metavar="ROW[,ROW]")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--folder", default="/dev/shm" if os.path.isdir("/dev/shm") else None, help="where the homes are made")
    parser.add_argument("--parts", default="", help="deliver,resolve,screen,undo")
    options = parser.parse_args()
    if options.pairs: options.mode = "pairs"
    only = [name for name in options.only.split(",") if name]
    for name in only:
        if name not in ROWS: raise SystemExit(f"There is no row {name}; crisis_matrix.py list.")
    if options.mode == "list":
        for name, (group, text) in ROWS.items(): print(f"{name:16} {group:8} {text}")
        return
    cells = []
    if options.mode in ("rows", "all"): cells += [(name,) for name in ROWS if not only or name in only]
    if options.mode in ("pairs", "all"):
        pairs = [pair for pair in itertools.combinations(ROWS, 2) if sensible(*pair)]
        if len(only) == 1: pairs = [pair for pair in pairs if only[0] in pair]
        elif only: pairs = [pair for pair in pairs if set(pair) <= set(only)] or [tuple(only)]
        cells += pairs
    tools = Tools(options.folder)
    results, began = [], time.time()
    try:
        for rows in cells:
            parts = options.parts.split(",") if options.parts else ["deliver", "resolve"] + (["screen", "undo"] if len(rows) == 1 or set(rows) & NO_DISK and set(rows) & NO_RELAY else [])
            results.append(judge(rows, parts, tools, options.repeat))
    finally: tools.remove()
    failed = [result for result in results if result[1]]
    figures, classes = {}, {}
    for name, failures, numbers in results:
        for key, values in numbers.items(): figures.setdefault(key, []).extend(values)
        for kind in failures: classes.setdefault(kind, []).append(name)
    print(f"\n{len(results)} cells, {len(results) - len(failed)} held, {len(failed)} did not, {time.time() - began:.0f} s")
    print("figure     best  median     p95     max   ms")
    for key, values in figures.items():
        ordered = sorted(values)
        print(f"{key:8} {ms(ordered[0]):>6} {ms(statistics.median(ordered)):>7} {ms(ordered[int(0.95 * (len(ordered) - 1))]):>7} {ms(ordered[-1]):>7}   of {len(ordered)}")
    for kind, names in sorted(classes.items()): print(f"{kind}: {len(names)}: {' '.join(names)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
