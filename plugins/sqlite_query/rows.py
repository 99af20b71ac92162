"""The rows of the last poll, in few bytes.

Of each row there are 5 bytes made of all its columns (`marks`), and its key: all of them as JSON, compressed (`keys`). If that does not
fit into the state, 8 bytes made of each key stand for them (`hashes`): then a change is noticed all the same, but the key of
a row that was removed is not known. All are base85.
"""

import base64
import hashlib
import json
import math
import zlib

import ductile

KEY_BYTES = 8
MARK_BYTES = 5
# Of the 1,048,576 that the state may have.
MAX_TEXT = 1_040_000
# More than fit; only to bound the memory.
MAX_ROWS = 200_000
# Bytes of all keys as JSON, before they are compressed; for the memory, too.
MAX_KEYS = 16 * 1024 * 1024
MAX_BLOB = 64 * 1024


class Row:
    """`values`, those of the key, are None if they are not stored; `size` is that of them as JSON, in bytes, of a new row."""

    __slots__ = ("key", "mark", "values", "size")

    def __init__(self, key, mark, values, size=0):
        self.key, self.mark, self.values, self.size = key, mark, values, size

    @classmethod
    def made(cls, columns, places, cells):
        values = [as_json(cells[place], whole=True) for place in places]
        # Of a blob all bytes count, also where they are not passed on.
        mark = _hash(repr([(column, type(cell).__name__, cell) for column, cell in zip(columns, cells)]), MARK_BYTES)
        text = json.dumps(values)
        return cls(_hash(text, KEY_BYTES), mark, values, len(text))


def as_json(cell, whole=False):
    """A value of SQLite as JSON can hold it. Integers stay exact; what is no UTF-8, and blobs, are base64."""
    if isinstance(cell, bytes):
        if len(cell) > MAX_BLOB and not whole:
            return {"omitted": f"a blob of {len(cell)} bytes", "sha256": hashlib.sha256(cell).hexdigest()}
        return {"base64": base64.b64encode(cell).decode()}
    if isinstance(cell, str):
        try:
            cell.encode()
        except UnicodeEncodeError:
            return {"text_base64": base64.b64encode(cell.encode("utf-8", "surrogateescape")).decode()}
    if isinstance(cell, float) and not math.isfinite(cell):
        return {"float": str(cell)}
    return cell


def key_of(values):
    return _hash(json.dumps(values), KEY_BYTES)


def shown(names, values):
    if values is None:
        return "a row whose key was not stored"
    text = ", ".join(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in zip(names, values))
    return text if len(text) <= 200 else text[:199] + "…"


def apply(known, kind, row):
    if kind == "removed":
        known.pop(row.key, None)
    else:
        known[row.key] = Row(row.key, row.mark, row.values)


def read(state):
    """{key: Row} of what `write` made, and nothing of nothing."""
    if not isinstance(state.get("marks"), str):
        return {}
    marks = _pieces(state["marks"], MARK_BYTES)
    if state.get("keys") is not None:
        every = json.loads(zlib.decompress(base64.b85decode(state["keys"])))
        return {key: Row(key, mark, values) for values, mark in zip(every, marks) for key in (key_of(values),)}
    return {key: Row(key, mark, None) for key, mark in zip(_pieces(state["hashes"], KEY_BYTES), marks)}


def write(known):
    """The state's keys for these rows. Failure if they are too many."""
    entries = list(known.values())
    stored = {"keys": None, "hashes": None, "marks": _text(b"".join(row.mark for row in entries))}
    if all(row.values is not None for row in entries):
        stored["keys"] = _text(zlib.compress(json.dumps([row.values for row in entries], separators=(",", ":")).encode(), 6))
        if len(stored["keys"]) + len(stored["marks"]) <= MAX_TEXT:
            return stored
    stored["keys"], stored["hashes"] = None, _text(b"".join(row.key for row in entries))
    if len(stored["hashes"]) + len(stored["marks"]) > MAX_TEXT:
        raise ductile.Failure(f"{len(entries)} rows are too many to remember; narrow the query, or divide it among aliases", retry=False)
    ductile.log("warn", f"the keys of {len(entries)} rows do not fit into the state: events of removed rows will lack them")
    return stored


def _text(data):
    return base64.b85encode(data).decode()


def _pieces(text, length):
    data = base64.b85decode(text)
    return [data[at : at + length] for at in range(0, len(data), length)]


def _hash(text, length):
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=length).digest()
