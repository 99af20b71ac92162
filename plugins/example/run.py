#!/usr/bin/env python3
"""example: watches one file and emits `file.changed` when its content differs from the last poll.

The model to copy for a plugin of your own. Python 3 standard library only.

A plugin is a process that lives for one job. It reads one JSON object, the request, from stdin until
end of file, and prints one JSON object, the response, on stdout. Nothing else may go to stdout: use the
response's `logs`, or stderr for what you want to see when something is badly wrong.

Configuration:
  path       the file to watch; relative to this folder, which is the working directory
  max_bytes  refuse files that are larger; default 104857600 (100 MB)

State, kept by ductile between runs and sent with each request:
  sha256     of the content at the last poll
  handled    {event type: how many were handled}

Exit codes:
  0   a response was printed, also for `status: error`
  78  the configuration is wrong; never retried. For plugins that cannot print a response;
      this one answers `"retry": false` instead, which says what is wrong as well
  any other, or death by a signal: a failure that is retried. An uncaught exception ends here (1), with
      its traceback on stderr, which ductile keeps with the attempt.
"""

import hashlib
import json
import os
import stat
import sys

DEFAULT_MAX_BYTES = 100 * 1024 * 1024


class BadConfig(Exception):
    """Only a change of the configuration can help: answered with `retry: false`."""


class Failed(Exception):
    """It did not work this time: answered with an error that is retried, with growing delays."""


def main():
    request = json.loads(sys.stdin.buffer.read())
    commands = {"poll": poll, "handle": handle, "health": health}
    try:
        command = commands.get(request["command"])
        if command is None:
            raise BadConfig(f"unknown command {request['command']!r}")
        response = {"status": "ok", **command(request)}
    except BadConfig as error:
        response = {"status": "error", "error": str(error), "retry": False}
    except Failed as error:
        response = {"status": "error", "error": str(error)}
    # ASCII output is valid JSON in every locale; one write, at the very end.
    sys.stdout.write(json.dumps(response) + "\n")


def poll(request):
    """Look at the outside world; report what is new since last time.

    The new state and the events are committed together or not at all. If the machine dies before that,
    the poll runs again with the old state, so looking twice must be harmless.
    """
    path, max_bytes = settings(request)
    size, changed_ns, sha256 = fingerprint(path, max_bytes)
    if sha256 == request["state"].get("sha256"):
        return {"logs": [log("debug", f"{path}: unchanged")]}
    return {
        "events": [
            {
                "type": "file.changed",
                "payload": {"path": os.path.abspath(path), "size": size, "sha256": sha256},
                # The same key means the same fact: a target that has handled it within
                # `service.dedupe_ttl` is not given it again. The time is part of the key because a
                # file may return to an earlier content, and that is a new fact.
                "dedupe_key": f"{os.path.abspath(path)}:{changed_ns}:{sha256}",
            }
        ],
        # Merged into the state key by key; what is not named here stays.
        "state_updates": {"sha256": sha256},
        "logs": [log("info", f"{path}: changed, {size} bytes")],
    }


def handle(request):
    """Take one event that a route or a webhook brought.

    A job may run more than once (after a crash, after a timeout), so acting on the outside world should
    be idempotent: `event["event_id"]` is the same in every attempt.
    """
    event = request["event"]
    handled = request["state"].get("handled")
    if not isinstance(handled, dict):
        handled = {}
    # Count types, but not without end: state is limited to 1 MB.
    if event["type"] in handled or len(handled) < 1000:
        handled[event["type"]] = handled.get(event["type"], 0) + 1
    return {
        "state_updates": {"handled": handled},
        "logs": [log("info", f"event {event['type']} from {event['source']}, {event['event_id']}")],
    }


def health(request):
    """Say whether a job could work now. Changes nothing."""
    path, max_bytes = settings(request)
    fingerprint(path, max_bytes)
    return {}


def settings(request):
    """The configuration, checked. Values that were interpolated (`${VAR}`) arrive as text."""
    config = request["config"]
    path = config.get("path")
    if not isinstance(path, str) or not path or "\0" in path:
        raise BadConfig("config.path must be the name of a file")
    try:
        max_bytes = int(config.get("max_bytes", DEFAULT_MAX_BYTES))
    except (TypeError, ValueError):
        raise BadConfig(f"config.max_bytes must be a whole number, not {config['max_bytes']!r}") from None
    return path, max_bytes


def fingerprint(path, max_bytes):
    """Size, time of the last change and SHA-256 of the file, read in pieces."""
    try:
        # Without O_NONBLOCK a path that names a pipe would hang here.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BadConfig(f"config.path: {path} is not a regular file")
            digest = hashlib.sha256()
            size = 0
            while piece := file.read(1024 * 1024):
                size += len(piece)
                if size > max_bytes:
                    raise BadConfig(f"{path} is larger than config.max_bytes ({max_bytes})")
                digest.update(piece)
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}") from None
    return size, status.st_mtime_ns, digest.hexdigest()


def log(level, message):
    """One entry of the response's `logs`; level is debug, info, warn or error."""
    return {"level": level, "message": message}


if __name__ == "__main__":
    main()
