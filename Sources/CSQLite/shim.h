#ifndef NEEDLETAIL_CSQLITE_SHIM_H
#define NEEDLETAIL_CSQLITE_SHIM_H

#include <sqlite3.h>

/// Binds a copy of text: SQLITE_TRANSIENT is a cast of -1, which Swift does not import.
static inline int nt_sqlite_bind_text(sqlite3_stmt *statement, int index, const char *text, int bytes) {
  return sqlite3_bind_text(statement, index, text, bytes, SQLITE_TRANSIENT);
}

#endif
