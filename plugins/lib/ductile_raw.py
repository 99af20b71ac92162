"""JSON that a plugin passes on as it was written, so that no digit of a number is lost.

    payload = ductile_raw.value(text)          # stands for this JSON text, in what is given to ductile.event
    ductile_raw.main()                         # instead of ductile.main()

`members` and `elements` take a JSON text apart without changing the parts.
"""

import json
import json.decoder
import os
import re
import secrets
import sys

import ductile

_TOKEN = secrets.token_hex(16)
_SPACE = re.compile(r"[ \t\n\r]*")
_texts = []
_request = ""


def value(text):
    """Stands for a JSON text, which must be valid, until the response is printed."""
    _texts.append(text)
    return f"raw:{_TOKEN}:{len(_texts) - 1}"


def event():
    """The text of the event, as ductile sent it; `{}` if there is none."""
    return _member(_request, "event")


def payload():
    """The text of the job's payload, of `handle` the event's, as ductile sent it; `{}` if there is none."""
    found = _member(_request, "payload")
    return _member(event(), "payload") if found == "{}" else found


def _member(text, name):
    # Of several with the same name the last counts, as for Python.
    found = [inner for member, _, inner in members(text) if member == name]
    return found[-1] if found else "{}"


def main():
    """As `ductile.main`, with what `value` stands for in its place."""
    global _request
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)
    text = sys.stdin.buffer.read()
    _request = text.decode("utf-8", "replace")
    answer, code = ductile.respond(text)
    answer = re.sub(rf'"raw:{_TOKEN}:([0-9]+)"', lambda found: _texts[int(found[1])], answer)
    with open(out, "wb") as stdout:
        stdout.write(answer.encode("utf-8") + b"\n")
    sys.exit(code)


def _no_constant(name):
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def parsed(text):
    """The value of a JSON text; ValueError says what is wrong. Neither NaN nor Infinity is JSON."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def members(text):
    """(name, value, text of the value) of each member of the object in a valid JSON text; of nothing else none."""
    at = _SPACE.match(text).end()
    if text[at : at + 1] != "{":
        return
    at = _SPACE.match(text, at + 1).end()
    while text[at] != "}":
        name, at = json.decoder.scanstring(text, at + 1, True)
        begin = _SPACE.match(text, _SPACE.match(text, at).end() + 1).end()
        value, end = _DECODER.raw_decode(text, begin)
        yield name, value, text[begin:end]
        at = _SPACE.match(text, end).end()
        if text[at] == ",":
            at = _SPACE.match(text, at + 1).end()


def elements(text):
    """(value, its text) of each element of the list in a valid JSON text; of nothing else none."""
    at = _SPACE.match(text).end()
    if text[at : at + 1] != "[":
        return
    at = _SPACE.match(text, at + 1).end()
    while text[at] != "]":
        value, end = _DECODER.raw_decode(text, at)
        yield value, text[at:end]
        at = _SPACE.match(text, end).end()
        if text[at] == ",":
            at = _SPACE.match(text, at + 1).end()
