"""The files of the last poll, in so few bytes that 100,000 of them fit into the state (1 MB).

Of each file there are 3 bytes made of its size and time (`marks`), and its name: all names, sorted, without what they begin
with like the one before, compressed (`names`). If they are too many or too random to fit, a hash of 6 bytes stands for each
name, sorted, the first two bytes as counts (`buckets`) and the others as they are (`hashes`): then a change is noticed all the same,
but the name of a file that was removed is not known. All are base85.
"""

import base64
import hashlib
import os
import zlib

import ductile

KEY_BYTES = 6
MARK_BYTES = 3
# Of the 1,048,576 that the state may have.
MAX_TEXT = 1_040_000


class Entry:
    """A file as it is remembered; `path` is None if the name was not stored."""

    __slots__ = ("path", "key", "mark")

    def __init__(self, path, size, modified):
        self.path = path
        self.key = key(path)
        self.mark = hashlib.blake2b(b"%d %d" % (size, modified), digest_size=MARK_BYTES).digest()

    @classmethod
    def stored(cls, path, key_bytes, mark):
        entry = cls.__new__(cls)
        entry.path, entry.key, entry.mark = path, key_bytes, mark
        return entry


def key(path):
    return hashlib.blake2b(path, digest_size=KEY_BYTES).digest()


def apply(known, kind, entry):
    if kind == "removed":
        known.pop(entry.key, None)
    else:
        known[entry.key] = entry


def read(state):
    """{key: Entry} of what `write` made, and nothing of nothing."""
    if not isinstance(state.get("marks"), str):
        return {}
    marks = base64.b85decode(state["marks"])
    marks = [marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES)]
    if state.get("names") is not None:
        paths = _unpacked(zlib.decompress(base64.b85decode(state["names"])))
        return {key(path): Entry.stored(path, key(path), mark) for path, mark in zip(paths, marks)}
    hashes = base64.b85decode(state["hashes"])
    counts = zlib.decompress(base64.b85decode(state["buckets"]))
    keys = []
    for bucket in range(65536):
        count = int.from_bytes(counts[4 * bucket : 4 * bucket + 4], "big")
        for _ in range(count):
            at = (KEY_BYTES - 2) * len(keys)
            keys.append(bucket.to_bytes(2, "big") + hashes[at : at + KEY_BYTES - 2])
    return {name: Entry.stored(None, name, mark) for name, mark in zip(keys, marks)}


def write(known):
    """The state's keys for these entries. Failure if they are too many."""
    entries = list(known.values())
    names = None
    if all(entry.path is not None for entry in entries):
        entries.sort(key=lambda entry: entry.path)
        names = base64.b85encode(zlib.compress(_packed([entry.path for entry in entries]), 9)).decode()
        marks = _marks(entries)
        if len(names) + len(marks) <= MAX_TEXT:
            return {"names": names, "marks": marks, "hashes": None, "buckets": None}
    entries.sort(key=lambda entry: entry.key)
    counts = [0] * 65536
    for entry in entries:
        counts[int.from_bytes(entry.key[:2], "big")] += 1
    stored = {
        "names": None,
        "marks": _marks(entries),
        "hashes": base64.b85encode(b"".join(entry.key[2:] for entry in entries)).decode(),
        "buckets": base64.b85encode(zlib.compress(b"".join(count.to_bytes(4, "big") for count in counts), 9)).decode(),
    }
    if sum(len(text) for text in stored.values() if text) > MAX_TEXT:
        raise ductile.Failure(
            f"{len(entries)} files are too many to remember: watch parts of the folder, each by an alias with its own path",
            retry=False,
        )
    ductile.log("warn", f"the names of {len(entries)} files do not fit into the state: events of removed files will lack them")
    return stored


def _marks(entries):
    return base64.b85encode(b"".join(entry.mark for entry in entries)).decode()


def _packed(paths):
    """For each path: how many bytes are those of the one before, how many follow, these."""
    pieces, last = [], b""
    for path in paths:
        shared = len(os.path.commonprefix((last[:255], path[:255])))
        pieces += (bytes((shared,)), (len(path) - shared).to_bytes(2, "big"), path[shared:])
        last = path
    return b"".join(pieces)


def _unpacked(data):
    paths, at, last = [], 0, b""
    while at < len(data):
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3], "big")
        last = last[: data[at]] + data[at + 3 : end]
        paths.append(last)
        at = end
    return paths
