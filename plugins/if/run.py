#!/usr/bin/env python3
"""if: passes an event on under the type that the first matching check gives it, so that routes can tell events apart.

Python 3 standard library only. README.md has the configuration and an example.

State: none. Exit codes: 0, also for `status: error`; 78 for a wrong configuration.
"""

import json
import os
import re
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import ductile
import ductile_raw
from ductile_settings import Settings

OPS = ("contains", "startswith", "endswith", "equals", "regex", "default")
# For all regular expressions of a job together. Python looks for signals while it matches.
REGEX_SECONDS = 5.0
MAX_TYPE_BYTES = 256
MISSING = object()


class Check:
    def __init__(self, number, config):
        self.where = f"config.checks.{number}"
        if not isinstance(config, dict):
            raise ductile.Misconfigured(f"{self.where} must be a map with field, op, value and emit")
        read = Settings(config, ("field", "op", "value", "emit"), self.where)
        self.op = read.choice("op", OPS)
        self.emit = read.text("emit")
        if len(self.emit.encode()) > MAX_TYPE_BYTES:
            read.wrong("emit", f"must have at most {MAX_TYPE_BYTES} bytes")
        if self.op == "default":
            for key in ("field", "value"):
                if key in config:
                    read.wrong(key, "has no meaning with op: default")
            return
        self.path = path(read, config.get("field"))
        if "value" not in config:
            read.wrong("value", "must be set")
        self.value = config["value"]
        if self.op == "regex":
            if not isinstance(self.value, str):
                read.wrong("value", "must be text with op: regex; put it in quotes")
            try:
                self.regex = re.compile(self.value)
            except (re.error, RecursionError, OverflowError) as error:
                read.wrong("value", f"is not a regular expression: {error}")
        elif self.op != "equals" and text(self.value) == "":
            read.wrong("value", f"must not be empty: everything {self.op} nothing")

    def matches(self, payload):
        if self.op == "default":
            return True
        found = found_at(payload, self.path)
        if found is MISSING:
            return False
        if self.op == "equals":
            return equal(found, self.value)
        if self.op == "regex":
            return self.searched(text(found))
        if self.op == "contains":
            return text(self.value) in text(found)
        return getattr(text(found), self.op)(text(self.value))

    def searched(self, subject):
        try:
            return self.regex.search(subject) is not None
        except TooLong:
            raise ductile.Failure(
                f"{self.where}: the regular expression took more than {REGEX_SECONDS:g} s; "
                "avoid repetitions inside of repetitions, like (a+)+",
                retry=False,
            ) from None


class TooLong(Exception):
    pass


def path(read, field):
    """The names that lead to the field: a text with dots, or a list if a name itself has a dot."""
    names = field.split(".") if isinstance(field, str) else field
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        read.wrong("field", "must be the path of a field, such as issue.title, or a list of names")
    return names


def found_at(value, names):
    for name in names:
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and re.fullmatch("[0-9]{1,9}", name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return MISSING
    return value


def text(value):
    """A text as it is, anything else as JSON, without spaces and with sorted names."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def equal(found, value):
    numbers = [kind for kind in (found, value) if isinstance(kind, (int, float)) and not isinstance(kind, bool)]
    return found == value if len(numbers) == 2 else text(found) == text(value)


def checks(request):
    listed = request.config.get("checks")
    Settings(request.config, ("checks",))
    if not isinstance(listed, list) or not listed:
        raise ductile.Misconfigured("config.checks must be a list with at least one check")
    made = [Check(number, config) for number, config in enumerate(listed, 1)]
    for check in made[:-1]:
        if check.op == "default":
            raise ductile.Misconfigured(f"{check.where}: op: default must be the last check, for none behind it is looked at")
    return made


def first_match(request, made):
    def expired(_signal, _frame):
        raise TooLong

    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, min(REGEX_SECONDS, request.seconds_left() - 1)))
    try:
        return next((check for check in made if check.matches(request.payload)), None)
    except TooLong:
        raise ductile.Failure("the checks took too long", retry=False) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@ductile.command("handle")
def handle(request):
    made = checks(request)
    check = first_match(request, made)
    if check is None:
        return ductile.ok(f"none of {len(made)} checks matched")
    # The text, not what Python has made of it: no digit of a number may change.
    payload = ductile_raw.value(ductile_raw.payload())
    emitted = ductile.event(check.emit, payload, request.event.get("dedupe_key"))
    return ductile.ok(f"{check.emit}, by {check.where}", events=[emitted])


@ductile.command("health")
def health(request):
    return ductile.ok(f"{len(checks(request))} checks")


if __name__ == "__main__":
    ductile_raw.main()
