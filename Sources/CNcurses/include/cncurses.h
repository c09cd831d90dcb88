// A narrow face of ncursesw: what the Terminal module needs, as plain functions.
#pragma once
#include <stdint.h>

typedef struct {
  int colors;   // 0 (monochrome), 8, 16, 256 or 16777216
  int unicode;  // 1 when the locale's character set is UTF-8
} cnc_ability;

enum { CNC_BOLD = 1, CNC_DIM = 2, CNC_UNDERLINE = 4, CNC_REVERSE = 8, CNC_ITALIC = 16 };
enum { CNC_NONE = 0, CNC_TEXT = 1, CNC_KEY = 2, CNC_MOUSE = 3, CNC_GONE = 4 };

typedef struct {
  int kind;
  int32_t code;    // a Unicode scalar, a CNC_KEY_*, or a mouse button (1 left, 4 wheel up, 5 wheel down)
  int row, column; // of the mouse
} cnc_event;

enum {
  CNC_KEY_UP = 1, CNC_KEY_DOWN, CNC_KEY_LEFT, CNC_KEY_RIGHT, CNC_KEY_ENTER, CNC_KEY_BACKSPACE,
  CNC_KEY_HOME, CNC_KEY_END, CNC_KEY_PAGE_UP, CNC_KEY_PAGE_DOWN, CNC_KEY_DELETE, CNC_KEY_BACK_TAB,
  CNC_KEY_OTHER
};

// Takes over the terminal. 0 on success; -1 when the terminal is unknown (nothing was changed).
int cnc_begin(const char *term, int mouse, cnc_ability *ability);
void cnc_end(void);
void cnc_size(int *rows, int *columns);
void cnc_resize(int rows, int columns);
// Asks the terminal for its size.
int cnc_terminal_size(int *rows, int *columns);

// A style, as ncurses names it: attributes and a colour pair.
typedef struct {
  uint32_t attributes;
  int32_t pair;
} cnc_style;

// Colours: -1 the terminal's own; otherwise a palette index, or 0xRRGGBB when there are 2^24.
cnc_style cnc_make_style(int attributes, int foreground, int background);

// What stands in one column: a scalar and up to three marks on it; nothing behind a wide character.
typedef struct {
  uint32_t scalars[4];
  cnc_style style;
} cnc_cell;

// Puts cells into a row; those without a scalar are left out.
void cnc_put(int row, int column, const cnc_cell *cells, int count);
void cnc_cursor(int row, int column, int visible);
void cnc_flush(void);
void cnc_clear(void);
cnc_event cnc_next_event(void);

// Gives the terminal back, stops the process, and takes the terminal again when it continues.
void cnc_suspend(void);

// After a crash: gives the terminal back, then lets the crash go on.
void cnc_guard_crashes(void);
