#!/usr/bin/env python3
"""__NAME__: counts its runs and tells of each with an event. Python standard library only.

ductile starts this program once for each job: one JSON object, the request, is on stdin, and one JSON
object, the response, must be printed on stdout. Print nothing else there; stderr is free.
"""

import json
import sys


class BadConfig(Exception):
    """Only a change of the configuration can help: answered with `retry: false`."""


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
    # Any other exception ends the program with 1 and a traceback: a failure that is tried again.
    sys.stdout.write(json.dumps(response) + "\n")


def poll(request):
    """Look at the outside world and report what is new. What follows is committed together or not at all."""
    greeting = settings(request)
    run = count(request, "runs")
    return {
        # Shown by `ductile run`, `logs` and `queue show`; protocol 2 wants one with every success.
        "result": f"run {run}",
        "events": [{"type": "__NAME__.polled", "payload": {"greeting": greeting, "run": run}}],
        # Merged into the state key by key; it comes back with the next request.
        "state_updates": {"runs": run},
        "logs": [{"level": "info", "message": greeting}],
    }


def handle(request):
    """Take one event. A job may run twice: `event_id` is the same in every attempt."""
    greeting = settings(request)
    event = request["event"]
    return {
        "result": f"handled {event['type']}",
        "state_updates": {"handled": count(request, "handled")},
        "logs": [{"level": "info", "message": f"{greeting}: {event['type']} from {event['source']}"}],
    }


def health(request):
    """Say whether a job could work now. Changes nothing."""
    settings(request)
    return {"result": "ready"}


def settings(request):
    greeting = request["config"].get("greeting", "hello")
    if not isinstance(greeting, str):
        raise BadConfig("config.greeting must be text")
    return greeting


def count(request, key):
    """One more than the state has; 1 when there is nothing to count on."""
    before = request["state"].get(key)
    return before + 1 if isinstance(before, int) else 1


if __name__ == "__main__":
    main()
