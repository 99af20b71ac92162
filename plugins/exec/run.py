#!/usr/bin/env python3
"""exec: runs a command of the operator, with the event in its environment and on its stdin; its output becomes events.

Python 3 standard library only. README.md has the configuration and an example.

State: none. Exit codes: 0, also for `status: error`; 78 for a wrong configuration.
"""

import json
import os
import shutil
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import ductile
import ductile_raw
from child import run
from ductile_settings import Settings

KEYS = ("command", "shell", "cwd", "timeout", "success_codes", "permanent_codes", "output", "event_type", "max_output")
SHELL = "/bin/sh"
# Linux takes 128 KiB for one variable.
MAX_VARIABLE = 100_000
MAX_EVENTS = 1000
MAX_TYPE_BYTES = 256
MAX_OUTPUT = 8 * 1024 * 1024
# Of the 10 MB of a response; the rest is for result and log. Output becomes longer by what JSON escapes.
MAX_EVENT_BYTES = 9 * 1024 * 1024
MAX_LOG_LINES = 100
MAX_LOG_LINE = 500
# To end the command before ductile ends this plugin, and to answer.
SPARE = 4


def settings(request):
    read = Settings(request.config, KEYS)
    shell = read.flag("shell", False)
    command = request.config.get("command")
    if shell:
        if not isinstance(command, str) or not command.strip() or "\0" in command:
            read.wrong("command", "must be text with shell: true")
        command = [SHELL, "-c", command]
    else:
        texts = isinstance(command, list) and all(isinstance(part, str) and "\0" not in part for part in command)
        if not texts or not command or not command[0]:
            read.wrong("command", "must be a list of texts, the program and its arguments (or text, with shell: true)")
    checked = {
        "command": command,
        "cwd": read.text("cwd", None),
        "timeout": read.number("timeout", 0.1, 86_400, None),
        "success": read.numbers("success_codes", 0, 255, [0]),
        "permanent": read.numbers("permanent_codes", 0, 255),
        "output": read.choice("output", ("none", "text", "json", "lines"), "none"),
        "event_type": read.text("event_type", "exec.output"),
        "max_output": read.size("max_output", 1, MAX_OUTPUT, 1024 * 1024),
    }
    if len(checked["event_type"].encode()) > MAX_TYPE_BYTES:
        read.wrong("event_type", f"must have at most {MAX_TYPE_BYTES} bytes")
    both = set(checked["success"]) & set(checked["permanent"])
    if both:
        read.wrong("permanent_codes", f"has {min(both)}, which is in success_codes, too")
    if checked["cwd"] is not None and not os.path.isabs(checked["cwd"]):
        read.wrong("cwd", "must be a whole path, from /")
    return checked


def environment(request, payload):
    """What is the plugin's own, and the event. What is not there is not set."""
    event = request.event or {}
    given = {
        "DUCTILE_COMMAND": request.command,
        "DUCTILE_EVENT_TYPE": event.get("type"),
        "DUCTILE_EVENT_SOURCE": event.get("source"),
        "DUCTILE_EVENT_ID": event.get("event_id"),
        "DUCTILE_EVENT_TIMESTAMP": event.get("timestamp"),
        "DUCTILE_DEDUPE_KEY": event.get("dedupe_key"),
    }
    if len(payload.encode()) <= MAX_VARIABLE:
        given["DUCTILE_PAYLOAD"] = payload
    else:
        ductile.log("warn", f"the payload has more than {MAX_VARIABLE} bytes: it is on stdin only, not in DUCTILE_PAYLOAD")
    set_ones = {name: text.replace("\0", "?") for name, text in given.items() if isinstance(text, str)}
    return {**os.environb, **{os.fsencode(name): text.encode("utf-8", "replace") for name, text in set_ones.items()}}


def execute(request, stdin, payload):
    checked = settings(request)
    if checked["cwd"] is not None and not os.path.isdir(checked["cwd"]):
        raise ductile.Failure(f"config.cwd: {checked['cwd']} is not a folder")
    left = max(0.1, request.seconds_left() - SPARE)
    timeout = min(checked["timeout"] or left, left)
    started = time.monotonic()
    try:
        done = run(checked["command"], checked["cwd"], environment(request, payload), stdin.encode(), timeout, checked["max_output"])
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        raise ductile.Misconfigured(f"config.command: cannot run {checked['command'][0]}: {error.strerror}") from None
    except OSError as error:
        raise ductile.Failure(f"cannot run {checked['command'][0]}: {error.strerror}") from None
    judge(done, checked, timeout)
    events = made(done.stdout, checked)
    noun = "event" if len(events) == 1 else "events"
    said = f"exit code {done.code} after {time.monotonic() - started:.1f} s, {len(events)} {noun}"
    return ductile.ok(said, events=events)


def judge(done, checked, timeout):
    """Logs what the command said on stderr, and raises the Failure if it did not succeed."""
    good = done.code in checked["success"] and not done.timed_out
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    if len(lines) > MAX_LOG_LINES:
        ductile.log("warn", f"the first {len(lines) - MAX_LOG_LINES} lines of stderr are left out")
    for line in lines[-MAX_LOG_LINES:]:
        ductile.log("info" if good else "warn", line[:MAX_LOG_LINE])
    if done.timed_out:
        raise ductile.Failure(f"the command was stopped: it took more than {timeout:.3g} s")
    if not good:
        last = f": {lines[-1][:MAX_LOG_LINE]}" if lines else ""
        if done.code < 0:
            raise ductile.Failure(f"the command was killed by {signal_name(-done.code)}{last}")
        raise ductile.Failure(f"the command ended with exit code {done.code}{last}", retry=done.code not in checked["permanent"])
    if done.overflow and checked["output"] != "none":
        raise ductile.Failure(f"the command printed more than config.max_output, {checked['max_output']} bytes", retry=False)


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def made(stdout, checked):
    """The events that the output stands for; of nothing none."""
    payloads = encoded(stdout.decode("utf-8", "replace"), checked["output"])
    overhead = len(json.dumps(ductile.event(checked["event_type"], "")))
    size = sum(overhead + len(payload.encode()) for payload in payloads)
    if size > MAX_EVENT_BYTES:
        raise ductile.Failure(f"the command's output takes {size} bytes as JSON; at most {MAX_EVENT_BYTES} can be events", retry=False)
    return [ductile.event(checked["event_type"], ductile_raw.value(payload)) for payload in payloads]


def encoded(text, kind):
    """The payloads, each as JSON."""
    if kind == "none" or not text.strip():
        return []
    if kind == "json":
        try:
            ductile_raw.parsed(text)
        except ValueError as error:
            raise ductile.Failure(f"the command's output is not JSON: {error}") from None
        return [text.strip()]
    if kind == "text":
        texts = [text[:-1] if text.endswith("\n") else text]
    else:
        # Not splitlines, which also takes odd characters for ends of lines.
        texts = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
        if len(texts) > MAX_EVENTS:
            raise ductile.Failure(f"the command printed {len(texts)} lines; at most {MAX_EVENTS} can be events", retry=False)
    # As ASCII, other scripts would take three times as much.
    return [json.dumps({"text": text}, ensure_ascii=False) for text in texts]


@ductile.command("poll")
def poll(request):
    payload = ductile_raw.payload()
    return execute(request, payload, payload)


@ductile.command("handle")
def handle(request):
    return execute(request, ductile_raw.event(), ductile_raw.payload())


@ductile.command("health")
def health(request):
    checked = settings(request)
    program = checked["command"][0]
    # As the child finds it: a path with a slash is relative to its folder.
    place = os.path.join(checked["cwd"] or "", program) if "/" in program else program
    if shutil.which(place) is None:
        raise ductile.Misconfigured(f"config.command: {program} cannot be found or is not executable")
    return ductile.ok(f"{program} can be run")


if __name__ == "__main__":
    ductile_raw.main()
