#!/usr/bin/env python3
"""file_watch: watches the files under a folder; one event for each that is new, changed or removed.

Python 3 standard library only. README.md has the configuration, the events and an example.

State:
  source      identifies path, include, exclude and recursive; another one begins anew
  generation  counts the polls that found something
  names, buckets, hashes, marks   the files, see table.py

Exit codes: 0, also for `status: error`; 78 for a wrong configuration; 1 for a fault of this program.
"""

import base64
import datetime
import hashlib
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import ductile
import table
from ductile_settings import Settings
from tree import Globs, files

KEYS = ("path", "include", "exclude", "events", "recursive", "stable_age", "emit_existing", "must_exist")
KINDS = ("created", "changed", "removed")
MAX_EVENTS = 1000


def settings(request):
    read = Settings(request.config, KEYS)
    checked = {
        "path": read.text("path"),
        "include": read.texts("include"),
        "exclude": read.texts("exclude"),
        "events": read.some_of("events", KINDS),
        "recursive": read.flag("recursive", True),
        "stable_age": read.number("stable_age", 0, 86_400, 2.0),
        "emit_existing": read.flag("emit_existing", False),
        "must_exist": read.text("must_exist", None),
    }
    if not os.path.isabs(checked["path"]):
        read.wrong("path", "must be a whole path, from /")
    return checked


def looked(checked):
    """All files, {relative path: (size, mtime_ns)}; Failure if that is not certain to be all."""
    root = os.fsencode(checked["path"])
    if not os.path.isdir(root):
        raise ductile.Failure(f"{checked['path']} is not there, or is no folder")
    if checked["must_exist"] is not None and not os.path.lexists(os.path.join(checked["path"], checked["must_exist"])):
        raise ductile.Failure(f"{checked['must_exist']} (config.must_exist) is not in {checked['path']}: is it mounted?")
    globs = Globs(checked["include"], checked["exclude"])
    try:
        return files(root, globs, checked["recursive"])
    except OSError as error:
        # Guessing would report files as removed that are there.
        raise ductile.Failure(f"cannot read {os.fsdecode(error.filename or root)!r}: {error.strerror}") from None


@ductile.command("health")
def health(request):
    checked = settings(request)
    try:
        with os.scandir(checked["path"]):
            return ductile.ok(f"{checked['path']} can be read")
    except OSError as error:
        raise ductile.Failure(f"cannot read {checked['path']}: {error.strerror}") from None


@ductile.command("poll")
def poll(request):
    checked = settings(request)
    parts = [checked["path"], checked["include"], checked["exclude"], checked["recursive"]]
    source = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    state = request.state if request.state.get("source") == source else {}
    generation = int(state.get("generation") or 0) + 1
    first = "source" not in state
    known = table.read(state)
    found = looked(checked)
    changes = differences(known, found, checked["stable_age"])
    events = []
    left = waiting = 0
    for kind, path, entry in changes:
        silent = kind not in checked["events"] or (first and not checked["emit_existing"])
        if kind == "young":
            waiting += 1
        elif silent:
            table.apply(known, kind, entry)
        elif len(events) == MAX_EVENTS:
            left += 1
        else:
            events.append(event(checked["path"], kind, path, entry, found.get(path), source, generation))
            table.apply(known, kind, entry)
    # Names that the last poll could not store are known again.
    for path in found:
        entry = known.get(table.key(path))
        if entry is not None:
            entry.path = path
    stored = table.write(known)
    if first and not checked["emit_existing"]:
        result = f"first poll: {len(known)} files remembered, none emitted"
    else:
        result = f"{len(events)} changes in {len(found)} files"
    result += f", {left} left for the next poll" if left else ""
    result += f", {waiting} not yet stable" if waiting else ""
    update = {"source": source, "generation": generation, **stored}
    same = not events and all(state.get(name) == value for name, value in stored.items()) and not first
    return ductile.ok(result, events=events, state=None if same else update)


def differences(known, found, stable_age):
    """(kind, path, entry) of all that is different, by path; what is removed first. `young`: of those that are still written."""
    now = time.time()
    here = set()
    new = []
    for path in sorted(found):
        size, modified = found[path]
        entry = table.Entry(path, size, modified)
        here.add(entry.key)
        old = known.get(entry.key)
        if old is not None and old.mark == entry.mark:
            continue
        # A time in the future is no sign of writing, unless it is near.
        if abs(now - modified / 1e9) < stable_age:
            new.append(("young", path, entry))
        else:
            new.append(("created" if old is None else "changed", path, entry))
    gone = [entry for key, entry in known.items() if key not in here]
    gone.sort(key=lambda entry: (entry.path or b"", entry.key))
    return [("removed", entry.path, entry) for entry in gone] + new


def event(root, kind, path, entry, status, source, generation):
    """`generation` makes the keys of two removals of the same file differ; a repeated attempt has the same."""
    name = None if path is None else path.decode("utf-8", "replace")
    payload = {
        "title": f"{kind}: {name or 'a file whose name was not stored'}",
        "path": None if name is None else os.path.join(root, name),
        "relative_path": name,
        "path_id": entry.key.hex(),
    }
    if name is not None and name.encode() != path:
        payload["path_base64"] = base64.b64encode(os.path.join(os.fsencode(root), path)).decode()
    if status is not None:
        moment = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
        try:
            moment += datetime.timedelta(microseconds=status[1] // 1000)
            payload["modified"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        except OverflowError:
            payload["modified"] = None
        payload["size"] = status[0]
    key = f"{source}:{kind}:{entry.key.hex()}:{entry.mark.hex()}:{generation}"
    return ductile.event(f"file.{kind}", payload, key)


if __name__ == "__main__":
    ductile.main()
