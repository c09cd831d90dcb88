#define _GNU_SOURCE
#define NCURSES_WIDECHAR 1
#include "cncurses.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <ncurses.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

static SCREEN *screen;
static FILE *output;  // on a descriptor of its own, which ncurses alone writes to
static int frame = -1;  // where a frame is gathered
static int color_count, synchronised;
static struct termios cooked;
static volatile sig_atomic_t active;

// Leaves the alternate screen, shows the cursor, stops mouse, paste and synchronised output, resets colours.
static const char reset[] =
    "\033[?2026l\033[?1000l\033[?1002l\033[?1003l\033[?1006l\033[0m\033[?1049l\033[?25h\033[?1l\033>";

static int ncurses_key(int code) {
  switch (code) {
    case KEY_UP: return CNC_KEY_UP;
    case KEY_DOWN: return CNC_KEY_DOWN;
    case KEY_LEFT: return CNC_KEY_LEFT;
    case KEY_RIGHT: return CNC_KEY_RIGHT;
    case KEY_ENTER: return CNC_KEY_ENTER;
    case KEY_BACKSPACE: return CNC_KEY_BACKSPACE;
    case KEY_HOME: return CNC_KEY_HOME;
    case KEY_END: return CNC_KEY_END;
    case KEY_PPAGE: return CNC_KEY_PAGE_UP;
    case KEY_NPAGE: return CNC_KEY_PAGE_DOWN;
    case KEY_DC: return CNC_KEY_DELETE;
    case KEY_BTAB: return CNC_KEY_BACK_TAB;
    default: return CNC_KEY_OTHER;
  }
}

static void enter_modes(int mouse) {
  raw();  // ^C, ^Z and ^\ arrive as keys: the program gives the terminal back before it acts on them
  noecho();
  nonl();
  keypad(stdscr, TRUE);
  nodelay(stdscr, TRUE);
  meta(stdscr, TRUE);
  leaveok(stdscr, FALSE);
  curs_set(0);
  if (mouse) {
    mousemask(BUTTON1_PRESSED | BUTTON4_PRESSED | BUTTON5_PRESSED, NULL);
    mouseinterval(0);
  }
}

// A nameless file in memory.
static int open_frame(void) {
#ifdef __linux__
  return memfd_create("frame", MFD_CLOEXEC);
#else
  char path[] = "/tmp/fullmind-frame-XXXXXX";
  int descriptor = mkstemp(path);
  if (descriptor >= 0) unlink(path);
  return descriptor;
#endif
}

int cnc_begin(const char *term, int mouse, cnc_ability *ability) {
  setlocale(LC_ALL, "");
  tcgetattr(STDIN_FILENO, &cooked);
  set_escdelay(25);
  int descriptor = dup(STDOUT_FILENO);
  output = descriptor < 0 ? NULL : fdopen(descriptor, "w");
  screen = output ? newterm(term, output, stdin) : NULL;
  if (!screen) {
    if (output) fclose(output);
    return -1;
  }
  active = 1;
  if (frame < 0) frame = open_frame();
  typeahead(-1);  // a frame goes out whole
  enter_modes(mouse);
  color_count = 0;
  if (has_colors()) {
    start_color();
    use_default_colors();
    color_count = COLORS;
  }
  ability->colors = color_count;
  ability->unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
  const char *name = term ? term : getenv("TERM");
  // Terminals that do not know mode 2026 ignore it; the Linux console and vt100 are not asked.
  synchronised = name && (strncmp(name, "xterm", 5) == 0 || strncmp(name, "tmux", 4) == 0 ||
                          strncmp(name, "fullmind", 8) == 0);
  return 0;
}

void cnc_end(void) {
  if (!screen) return;
  erase();
  refresh();
  endwin();
  active = 0;
  delscreen(screen);
  fclose(output);
  screen = NULL;
}

void cnc_size(int *rows, int *columns) { getmaxyx(stdscr, *rows, *columns); }

int cnc_terminal_size(int *rows, int *columns) {
  struct winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return -1;
  *rows = size.ws_row;
  *columns = size.ws_col;
  return 0;
}

void cnc_resize(int rows, int columns) { resizeterm(rows, columns); }

cnc_style cnc_make_style(int attributes, int foreground, int background) {
  attr_t style = A_NORMAL;
  if (attributes & CNC_BOLD) style |= A_BOLD;
  if (attributes & CNC_DIM) style |= A_DIM;
  if (attributes & CNC_UNDERLINE) style |= A_UNDERLINE;
  if (attributes & CNC_REVERSE) style |= A_REVERSE;
  if (attributes & CNC_ITALIC) style |= A_ITALIC;
  int pair = 0;
  if (color_count > 0 && (foreground >= 0 || background >= 0)) pair = alloc_pair(foreground, background);
  cnc_style made = {(uint32_t)style, pair < 0 ? 0 : pair};
  return made;
}

// Whole cells, not text: ncurses copies them, and neither decodes nor measures anything again.
void cnc_put(int row, int column, const cnc_cell *cells, int count) {
  static cchar_t *line;
  static int room;
  if (count > room) {
    cchar_t *grown = realloc(line, (size_t)count * sizeof *line);
    if (!grown) return;
    line = grown;
    room = count;
  }
  int filled = 0;
  const cnc_style *styled = NULL;
  wmove(stdscr, row, column);
  for (int i = 0; i < count; i++) {
    if (cells[i].scalars[0] == 0) continue;
    // As the one before it, but for the character: so most cells are.
    if (styled && memcmp(styled, &cells[i].style, sizeof *styled) == 0 && !cells[i].scalars[1] && !line[filled - 1].chars[1]) {
      line[filled] = line[filled - 1];
      line[filled++].chars[0] = (wchar_t)cells[i].scalars[0];
      continue;
    }
    styled = &cells[i].style;
    wchar_t text[5] = {0};
    for (int k = 0; k < 4; k++) text[k] = (wchar_t)cells[i].scalars[k];
    int pair = cells[i].style.pair;
    setcchar(&line[filled++], text, (attr_t)cells[i].style.attributes, (short)pair, &pair);
  }
  wadd_wchnstr(stdscr, line, filled);
}

void cnc_cursor(int row, int column, int visible) {
  curs_set(visible ? 1 : 0);
  if (visible) wmove(stdscr, row, column);
}

static void write_all(const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t written = write(STDOUT_FILENO, bytes, count);
    if (written < 0 && errno == EAGAIN) {
      struct pollfd ready = {STDOUT_FILENO, POLLOUT, 0};
      poll(&ready, 1, 1000);
    } else if (written < 0 && errno != EINTR) {
      return;  // the terminal is gone; reading from it says so too
    } else if (written > 0) {
      bytes += written;
      count -= (size_t)written;
    }
  }
}

// ncurses writes after every movement of the cursor, seventy times in a full frame, and every write
// wakes the terminal. What it writes is gathered, and goes out at once.
void cnc_flush(void) {
  static const char begin[] = "\033[?2026h", end[] = "\033[?2026l";
  static char *bytes;
  static size_t room;
  wnoutrefresh(stdscr);
  if (frame < 0 || lseek(frame, 0, SEEK_SET) != 0 || dup2(frame, fileno(output)) < 0) {
    doupdate();
    return;
  }
  doupdate();
  dup2(STDOUT_FILENO, fileno(output));
  off_t size = lseek(frame, 0, SEEK_CUR);
  if (size <= 0) return;
  size_t needed = (size_t)size + sizeof begin + sizeof end;
  if (needed > room) {
    char *grown = realloc(bytes, needed);
    if (!grown) return;
    bytes = grown;
    room = needed;
  }
  size_t filled = 0;
  if (synchronised) filled = sizeof begin - 1, memcpy(bytes, begin, filled);
  ssize_t got = pread(frame, bytes + filled, (size_t)size, 0);
  if (got > 0) filled += (size_t)got;
  if (synchronised) memcpy(bytes + filled, end, sizeof end - 1), filled += sizeof end - 1;
  write_all(bytes, filled);
}

void cnc_clear(void) { clearok(curscr, TRUE); }

cnc_event cnc_next_event(void) {
  wint_t character;
  cnc_event event = {CNC_NONE, 0, 0, 0};
  int result = wget_wch(stdscr, &character);
  if (result == ERR) return event;
  if (result == KEY_CODE_YES && character == KEY_MOUSE) {
    MEVENT mouse;
    if (getmouse(&mouse) != OK) return event;
    event.kind = CNC_MOUSE;
    event.row = mouse.y;
    event.column = mouse.x;
    event.code = mouse.bstate & BUTTON4_PRESSED ? 4 : mouse.bstate & BUTTON5_PRESSED ? 5 : 1;
  } else if (result == KEY_CODE_YES) {
    event.kind = CNC_KEY;
    event.code = ncurses_key((int)character);
  } else {
    event.kind = CNC_TEXT;
    event.code = (int32_t)character;
  }
  return event;
}

void cnc_suspend(void) {
  def_prog_mode();
  erase();
  refresh();
  endwin();
  active = 0;
  kill(getpid(), SIGSTOP);  // SIGTSTP is blocked and read through the descriptor; SIGSTOP always stops
  active = 1;
  reset_prog_mode();
  refresh();
  clearok(curscr, TRUE);
}

static void crashed(int number) {
  if (active) {
    (void)!write(STDOUT_FILENO, reset, sizeof reset - 1);
    tcsetattr(STDIN_FILENO, TCSANOW, &cooked);
    active = 0;
  }
  // The default action, not the runtime's backtracer: that would wait for a key on this terminal, and
  // what it prints may be private.
  signal(number, SIG_DFL);
  raise(number);
}

void cnc_guard_crashes(void) {
  int numbers[] = {SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE};
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = crashed;
  action.sa_flags = SA_NODEFER;
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
    sigaction(numbers[i], &action, NULL);
}
