#!/usr/bin/env python3
"""example: watches one file and emits `file.changed` when its content differs from the last poll.

The model to copy for a plugin of your own. Python 3 standard library only.

A plugin is a process that lives for one job. It reads one JSON object, the request, from stdin until
end of file, and prints one JSON object, the response, on stdout. ../lib/ductile.py does both.

Configuration:
  path       the file to watch; relative to this folder, which is the working directory
  max_bytes  refuse files that are larger; default 104857600 (100 MB)

State, kept by ductile between runs and sent with each request:
  sha256     of the content at the last poll
  handled    {event type: how many were handled}

Exit codes:
  0   a response was printed, also for `status: error`
  78  the configuration is wrong; never retried
  1   an uncaught exception: a failure that is retried, with its traceback on stderr, which ductile keeps
      with the attempt
"""

import hashlib
import os
import re
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
# The module in there needs no folder of compiled ones beside it.
sys.dont_write_bytecode = True

import ductile

DEFAULT_MAX_BYTES = 100 * 1024 * 1024


@ductile.command("poll")
def poll(request):
    """Look at the outside world; report what is new since last time.

    The new state and the events are committed together or not at all. If the machine dies before that,
    the poll runs again with the old state, so looking twice must be harmless.
    """
    path, max_bytes = settings(request)
    size, changed_ns, sha256 = fingerprint(path, max_bytes)
    if sha256 == request.state.get("sha256"):
        ductile.log("debug", f"{path}: unchanged")
        return ductile.ok()
    ductile.log("info", f"{path}: changed, {size} bytes")
    payload = {"path": os.path.abspath(path), "size": size, "sha256": sha256}
    # The same key means the same fact: a target that has handled it within `service.dedupe_ttl` is not
    # given it again. The time is part of the key because a file may return to an earlier content, and
    # that is a new fact.
    dedupe_key = f"{os.path.abspath(path)}:{changed_ns}:{sha256}"
    # The state is merged key by key; what is not named here stays.
    return ductile.ok(events=[ductile.event("file.changed", payload, dedupe_key)], state={"sha256": sha256})


@ductile.command("handle")
def handle(request):
    """Take one event that a route or a webhook brought.

    A job may run more than once (after a crash, after a timeout), so acting on the outside world should
    be idempotent: `event["event_id"]` is the same in every attempt.
    """
    event = request.event
    handled = request.state.get("handled")
    if not isinstance(handled, dict):
        handled = {}
    # Count types, but not without end: state is limited to 1 MB.
    if event["type"] in handled or len(handled) < 1000:
        handled[event["type"]] = handled.get(event["type"], 0) + 1
    ductile.log("info", f"event {event['type']} from {event['source']}, {event['event_id']}")
    return ductile.ok(state={"handled": handled})


@ductile.command("health")
def health(request):
    """Say whether a job could work now. Changes nothing."""
    path, max_bytes = settings(request)
    fingerprint(path, max_bytes)
    return ductile.ok()


def settings(request):
    """The configuration, checked. Values that were interpolated (`${VAR}`) arrive as text."""
    config = request.config
    path = config.get("path")
    if not isinstance(path, str) or not path or "\0" in path:
        raise ductile.Misconfigured("config.path must be the name of a file")
    max_bytes = config.get("max_bytes", DEFAULT_MAX_BYTES)
    if isinstance(max_bytes, str) and re.fullmatch("[0-9]{1,18}", max_bytes):
        max_bytes = int(max_bytes)
    # A bool is an int for Python, but no number.
    if type(max_bytes) is not int or max_bytes < 0:
        raise ductile.Misconfigured(f"config.max_bytes must be a whole number of bytes, not {max_bytes!r}")
    return path, max_bytes


def fingerprint(path, max_bytes):
    """Size, time of the last change and SHA-256 of the file, read in pieces."""
    try:
        # Without O_NONBLOCK a path that names a pipe would hang here.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ductile.Misconfigured(f"config.path: {path} is not a regular file")
            digest = hashlib.sha256()
            size = 0
            while piece := file.read(1024 * 1024):
                size += len(piece)
                if size > max_bytes:
                    raise ductile.Misconfigured(f"{path} is larger than config.max_bytes ({max_bytes})")
                digest.update(piece)
    except OSError as error:
        raise ductile.Failure(f"cannot read {path}: {error.strerror}") from None
    return size, status.st_mtime_ns, digest.hexdigest()


if __name__ == "__main__":
    ductile.main()
