"""What a ductile plugin in Python needs: read the request, answer once. Python 3.9 or later, standard library only.

    import os, sys
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
    import ductile

    @ductile.command("poll")
    def poll(request):
        ductile.log("info", "looked")
        return ductile.ok("1 new item", events=[ductile.event("feed.item", {"title": "x"}, dedupe_key="x")])

    if __name__ == "__main__":
        ductile.main()

A command returns `ok(...)`, or raises `Failure` or `Misconfigured`. Any other exception is a fault of the plugin: its
last line is the error, its traceback goes to stderr, and the job is tried again. What is printed goes to stderr.

Whole numbers are exact. Other numbers are read as floats, so long decimals lose digits: have them sent as text.
"""

import datetime
import json
import os
import sys
import traceback

EX_CONFIG = 78
# Of a request that was made by hand, without a deadline.
DEFAULT_SECONDS = 60.0

_commands = {}
_logs = []
_secrets = []


class Failure(Exception):
    """The job did not succeed, and why. With `retry=False` it is not tried again."""

    def __init__(self, message, retry=True):
        super().__init__(message)
        self.retry = retry


class Misconfigured(Failure):
    """The configuration is wrong: not tried again, exit code 78. The message should name the key."""

    def __init__(self, message):
        super().__init__(message, retry=False)


class Request:
    """What the plugin is asked for.

    protocol     1 or 2
    job_id       text, the same in each attempt
    command      text
    config       dict, the plugin's `config`; what came from `${...}` is text
    state        dict, as the last success left it
    event        dict with type, payload, source, timestamp, event_id and perhaps dedupe_key; None but for `handle`
    payload      of the event for `handle`; in protocol 2 what the job was given for another command; else {}
    deadline_at  text, UTC
    """

    def __init__(self, fields):
        self.protocol = fields.get("protocol", 1)
        self.job_id = fields.get("job_id", "")
        self.command = fields["command"]
        self.config = _object(fields, "config")
        self.state = _object(fields, "state")
        self.event = None
        if self.command == "handle":
            if "event" not in fields:
                raise Failure("the request has no event, which `handle` needs", retry=False)
            self.event = _object(fields, "event")
        given = (self.event or {}).get("payload", {})
        self.payload = fields.get("payload", given)
        self.deadline_at = fields.get("deadline_at")

    def seconds_left(self):
        """Until ductile ends this process; never below 0. A request made by hand, without a deadline, has 60."""
        if self.deadline_at is None:
            return DEFAULT_SECONDS
        end = datetime.datetime.fromisoformat(self.deadline_at.replace("Z", "+00:00"))
        return max(0.0, (end - datetime.datetime.now(datetime.timezone.utc)).total_seconds())


def command(name):
    """Declares the function that carries out this command. It takes the Request."""

    def declare(function):
        _commands[name] = function
        return function

    return declare


def ok(result=None, events=(), state=None):
    """Success. `result` says in a short text what was done; protocol 2 requires it.

    `events` are made by `event`. `state` is a dict: each of its keys replaces that key of the plugin's state.
    """
    response = {"status": "ok"}
    if result is not None:
        response["result"] = _text(result, "the result")
    events = list(events)
    if events:
        response["events"] = events
    if state is not None:
        if not isinstance(state, dict):
            raise TypeError(f"the state must be a dict, not {type(state).__name__}")
        response["state_updates"] = state
    return response


def event(event_type, payload=None, dedupe_key=None):
    """An event for `ok`. The payload is anything that JSON can hold, {} without one.

    A target that has handled an event with this key within `service.dedupe_ttl` is not given it again.
    """
    made = {"type": _text(event_type, "the type of an event"), "payload": {} if payload is None else payload}
    if dedupe_key is not None:
        made["dedupe_key"] = _text(dedupe_key, "a dedupe key")
    return made


def log(level, message):
    """Adds an entry to the job's log, also to that of a failure; level is debug, info, warn or error."""
    _logs.append({"level": level, "message": str(message)})


def hide(*secrets):
    """Shows *** instead of these texts in result, error, logs and traceback. Those of fewer than 4 characters stay."""
    _secrets.extend(secret for secret in secrets if isinstance(secret, str) and len(secret) >= 4)
    # The longest first, since one may be part of another.
    _secrets.sort(key=len, reverse=True)


def hidden(value):
    """The value as text without what `hide` hides; for what is cut, since a part of a secret is not found later."""
    text = str(value)
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text


def respond(text):
    """The response to a request, both as JSON, and the exit code. For tests; `main` is what a plugin calls."""
    _logs.clear()
    _secrets.clear()
    code = 0
    try:
        answer = json.dumps(_with_logs(_carried_out(_parsed(text))), allow_nan=False)
    except Failure as failure:
        code = EX_CONFIG if isinstance(failure, Misconfigured) else 0
        answer = _error(hidden(failure), failure.retry)
    except (Exception, SystemExit) as error:
        sys.stderr.write(hidden(traceback.format_exc()))
        code = 1
        answer = _error(hidden("".join(traceback.format_exception_only(type(error), error)).strip().split("\n")[-1]))
    return answer, code


def main():
    """Reads the request from stdin, carries it out, prints the response and ends the process."""
    # Only the response may reach the real stdout, whatever is printed by the plugin, its libraries and its children.
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)
    answer, code = respond(sys.stdin.buffer.read())
    with open(out, "wb") as stdout:
        stdout.write(answer.encode("ascii") + b"\n")
    sys.exit(code)


def _parsed(text):
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        # ductile sends valid JSON; but Python has limits for the digits of a number, and for nesting.
        raise Failure(f"the request cannot be read: {error}", retry=False) from None
    if not isinstance(fields, dict) or not isinstance(fields.get("command"), str):
        raise Failure("the request on stdin must be a JSON object with a command", retry=False)
    return Request(fields)


def _carried_out(request):
    function = _commands.get(request.command)
    if function is None:
        known = ", ".join(_commands)
        raise Failure(f"unknown command {request.command!r}; there are {known}", retry=False)
    response = function(request)
    if not isinstance(response, dict):
        raise TypeError(f"`{request.command}` must return ductile.ok(...), not {type(response).__name__}")
    if request.protocol >= 2 and not response.get("result", "").strip():
        raise TypeError(f"`{request.command}` must say what it has done: ductile.ok(\"...\"); protocol 2 requires it")
    return response


def _with_logs(response):
    if "result" in response:
        response = {**response, "result": hidden(response["result"])}
    if _logs:
        response = {**response, "logs": [{**entry, "message": hidden(entry["message"])} for entry in _logs]}
    return response


def _error(message, retry=True):
    response = {"status": "error", "error": message}
    if not retry:
        response["retry"] = False
    # ASCII is valid JSON in every locale.
    return json.dumps(_with_logs(response))


def _object(fields, name):
    value = fields.get(name, {})
    if not isinstance(value, dict):
        raise Failure(f"`{name}` in the request must be an object", retry=False)
    return value


def _text(value, what):
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{what} must be a text that is not blank, not {value!r}")
    return value
