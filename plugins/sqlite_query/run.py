#!/usr/bin/env python3
"""sqlite_query: asks a SQLite database again and again; one event for each row that is new, changed or removed.

Python 3 standard library only. README.md has the configuration, the events and an example.

State:
  source      identifies database, query and key; another one begins anew
  generation  counts the polls that found something
  keys, hashes, marks   the rows, see rows.py

Exit codes: 0, also for `status: error`; 78 for a wrong configuration; 1 for a fault of this program.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import ductile
import rows
from ductile_settings import Settings

KEYS = ("database", "query", "key", "events", "emit_existing", "busy_timeout")
KINDS = ("added", "changed", "removed")
MAX_EVENTS = 1000
# Of the 10 MB of a response; one row may have a part of it.
MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_ROW_BYTES = 1024 * 1024
# Kept for the answer, of the time until the deadline.
SPARE = 5.0
# Steps of SQLite's machine between two looks at the clock: well below a millisecond.
STEPS = 10_000
# What SQLite says of a query that is none, or writes.
WRONG_QUERY = ("syntax error", "one statement at a time", "incomplete input", "readonly", "not authorized", "authorization denied")


def settings(request):
    read = Settings(request.config, KEYS)
    query = request.config.get("query")
    if not isinstance(query, str) or not query.strip() or "\0" in query:
        read.wrong("query", "must be one SELECT")
    checked = {
        "database": read.text("database"),
        "query": query,
        "key": read.texts("key"),
        "events": read.some_of("events", KINDS),
        "emit_existing": read.flag("emit_existing", False),
        "busy_timeout": read.number("busy_timeout", 0, 600, 5.0),
    }
    if not os.path.isabs(checked["database"]):
        read.wrong("database", "must be a whole path, from /")
    if len(set(checked["key"])) != len(checked["key"]):
        read.wrong("key", "names a column twice")
    return checked


@contextlib.contextmanager
def answered(request, checked):
    """(columns, rows one by one) of the query. What SQLite says against it becomes a Failure."""
    end = time.monotonic() + max(0.1, request.seconds_left() - SPARE)
    busy = min(checked["busy_timeout"], max(0.1, end - time.monotonic()))
    readable = False
    try:
        # Read-only, but not `immutable`: another process may write.
        address = f"file:{urllib.parse.quote(os.fsencode(checked['database']))}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=busy, isolation_level=None)) as database:
            database.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            database.set_progress_handler(lambda: time.monotonic() > end, STEPS)
            database.set_authorizer(only_this_file)
            # What is wrong with the database is not the query's fault.
            database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
            readable = True
            cursor = database.execute(checked["query"])
            yield columns_of(cursor, checked), cursor
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise failure(str(error), checked, readable) from None


def only_this_file(action, *_):
    """No other file: `mode=ro` is not for what ATTACH and VACUUM INTO open, or make."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def columns_of(cursor, checked):
    if cursor.description is None:
        raise ductile.Misconfigured("config.query must be one SELECT: it gives no columns")
    columns = [column[0] for column in cursor.description]
    for column in columns:
        if columns.count(column) > 1:
            raise ductile.Misconfigured(f"config.query gives two columns called {column!r}; name one of them with AS")
    for column in checked["key"]:
        if column not in columns:
            raise ductile.Misconfigured(f"config.key: the query gives no column {column!r}; there are {', '.join(columns)}")
    return columns


def failure(said, checked, readable):
    where = checked["database"]
    if "readonly" in said and os.path.exists(f"{where}-journal") and not readable:
        return ductile.Failure(f"{where}: has an unfinished transaction, perhaps of a crash; a program that may write must open it ({said})")
    if "interrupted" in said:
        return ductile.Failure(f"{where}: the query was not finished in time; narrow it, add an index, or raise `timeouts: {{poll: ...}}`")
    if "locked" in said or "busy" in said:
        return ductile.Failure(f"{where}: {said}: another process is writing; config.busy_timeout says how long to wait")
    if "unable to open" in said or ("readonly" in said and not readable):
        hint = "the file is there; of a database in WAL mode the folder must be writable, or another process have it open"
        return ductile.Failure(f"{where}: {said}" + (f" ({hint})" if os.access(where, os.R_OK) else ""))
    if any(words in said for words in WRONG_QUERY):
        return ductile.Misconfigured(f"config.query: {said}")
    # The tables, or the file, are not what they should be; an error of the disk may pass.
    return ductile.Failure(f"{where}: {said}", retry="disk I/O" in said or "schema has changed" in said)


@ductile.command("health")
def health(request):
    checked = settings(request)
    with answered(request, checked) as (columns, _):
        return ductile.ok(f"the query gives the columns {', '.join(columns)}")


@ductile.command("poll")
def poll(request):
    checked = settings(request)
    parts = [checked["database"], checked["query"], checked["key"]]
    source = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    state = request.state if request.state.get("source") == source else {}
    first = "source" not in state
    generation = int(state.get("generation") or 0) + 1
    known = rows.read(state)
    silent = set(KINDS) if first and not checked["emit_existing"] else set(KINDS) - set(checked["events"])
    found, key_bytes = {}, 0
    changed, response = Room(), Room()
    with answered(request, checked) as (columns, cursor):
        names = checked["key"] or columns
        for row, cells in distinct(columns, names, cursor, checked, found):
            kind = difference(known.get(row.key), row)
            if kind is not None and kind not in silent:
                changed.take(kind, row, lambda: event(kind, row, names, source, generation, dict(zip(columns, cells))))
            key_bytes += row.size
            if key_bytes > rows.MAX_KEYS:
                row.values = None
            if kind in silent:
                rows.apply(known, kind, row)
    for row in [row for key, row in known.items() if key not in found]:
        if "removed" in silent:
            rows.apply(known, "removed", row)
        else:
            response.take("removed", row, lambda: event("removed", row, names, source, generation))
    for kind, row, made, size in changed.taken:
        response.take(kind, row, lambda: (made, size))
    events, left = [], response.left + changed.left
    for kind, row, made, _ in response.taken:
        events.append(made)
        rows.apply(known, kind, row)
        if "omitted" in made["payload"]:
            ductile.log("warn", f"a row has more than {MAX_ROW_BYTES} bytes: only its key is passed on")
    for key, row in found.items():
        # Keys that the last poll could not store are known again.
        if key in known:
            known[key].values = row.values
    stored = rows.write(known)
    if first and not checked["emit_existing"]:
        result = f"first poll: {len(known)} rows remembered, none emitted"
    else:
        result = f"{len(events)} changes in {len(found)} rows" + (f", {left} left for the next poll" if left else "")
    same = not events and not first and all(state.get(name) == value for name, value in stored.items())
    return ductile.ok(result, events=events, state=None if same else {"source": source, "generation": generation, **stored})


class Room:
    """The events that a response may have, in their order, as (kind, row, event, size); and how many more there would be."""

    def __init__(self):
        self.taken, self.left, self._size = [], 0, 0

    def take(self, kind, row, make):
        """`make` gives the event and its size; it is not asked once there is no room."""
        if not self.left and len(self.taken) < MAX_EVENTS:
            made, size = make()
            if self._size + size <= MAX_EVENT_BYTES:
                self.taken.append((kind, row, made, size))
                self._size += size
                return
        self.left += 1


def distinct(columns, names, cursor, checked, found):
    """(row, cells) of the answer, one by one, added to `found`. Two with the same key are an error; whole rows that are the same count as one."""
    places = [columns.index(name) for name in names]
    for cells in cursor:
        row = rows.Row.made(columns, places, cells)
        if row.key in found:
            if not checked["key"]:
                continue
            raise ductile.Failure(f"two rows have the same key, {rows.shown(names, row.values)}; add a column to config.key", retry=False)
        found[row.key] = row
        if len(found) > rows.MAX_ROWS:
            raise ductile.Failure(f"the query gives more than {rows.MAX_ROWS} rows; narrow it", retry=False)
        yield row, cells


def difference(old, row):
    if old is None:
        return "added"
    return "changed" if old.mark != row.mark else None


def event(kind, row, names, source, generation, cells=None):
    """The event and its size. `generation` makes the keys of two like changes differ; a repeated attempt has the same."""
    values = row.values
    payload = {
        "title": f"{kind}: {rows.shown(names, values)}",
        "key": None if values is None else dict(zip(names, values)),
        "key_id": row.key.hex(),
    }
    if kind != "removed":
        payload["row"] = {column: rows.as_json(cell) for column, cell in cells.items()}
        if len(json.dumps(payload)) > MAX_ROW_BYTES:
            del payload["row"]
            payload["omitted"] = f"the row has more than {MAX_ROW_BYTES} bytes"
    size = len(json.dumps(payload))
    if size > MAX_ROW_BYTES:
        payload["key"] = None
        size = len(json.dumps(payload))
    made = ductile.event(f"sqlite.{kind}", payload, f"{source}:{kind}:{row.key.hex()}:{row.mark.hex()}:{generation}")
    return made, size


if __name__ == "__main__":
    ductile.main()
