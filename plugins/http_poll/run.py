#!/usr/bin/env python3
"""http_poll: polls a JSON list or an RSS or Atom feed; one event for each new item.

Python 3 standard library only. README.md has the configuration, the events and an example.

State:
  source         identifies url, format, items and id; another one begins anew
  etag, last_modified   of the last answer, as long as nothing of it is left to emit
  seen, content  which items were seen, see seen.py
  revision       counts the polls that changed something
  not_before     seconds since 1970: the server asked to be left alone until then
  waits          how many times in a row it did

Exit codes: 0, also for `status: error`; 78 for a wrong configuration; 1 for a fault of this program.
"""

import hashlib
import os
import re
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import ductile
import ductile_http
import ductile_raw
from ductile_settings import Settings
from feed import feed_items
from listing import json_items
from seen import Seen

KEYS = ("url", "format", "items", "id", "headers", "max_body", "event_type", "emit_existing", "updated", "timeout", "ca_file")
MAX_EVENTS = 1000
# ductile takes 10 MB of output.
MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_ITEM_BYTES = 1024 * 1024
MAX_WAIT = 24 * 3600.0
MAX_WAITS = 10
HEALTH_TIMEOUT = 7.0
# Time to print the response.
SPARE = 5
# Of ETag and Last-Modified; what is longer or odd is not used.
VALIDATOR = re.compile(r"[\x20-\x7e]{1,1000}")


def settings(request):
    read = Settings(request.config, KEYS)
    checked = {
        "url": read.url("url"),
        "format": read.choice("format", ("auto", "json", "rss", "atom"), "auto"),
        "items": read.text("items", None),
        "id": read.text("id", "id"),
        "headers": read.headers("headers"),
        "max_body": read.size("max_body", 1, 50 * 1024 * 1024, 10 * 1024 * 1024),
        "event_type": read.text("event_type", "http.item"),
        "emit_existing": read.flag("emit_existing", False),
        "updated": read.flag("updated", False),
        "timeout": read.number("timeout", 0.1, 600, 30.0),
        "ca_file": read.text("ca_file", None),
    }
    if checked["format"] in ("rss", "atom"):
        for key in ("items", "id"):
            if key in request.config:
                read.wrong(key, "is for JSON only")
    for name in checked["headers"]:
        if name.lower() in ("if-none-match", "if-modified-since", "host", "content-length", "accept-encoding"):
            read.wrong(f"headers.{name}", "is set by the plugin")
    if len(checked["event_type"].encode()) > 200:
        read.wrong("event_type", "must have at most 200 bytes")
    ductile_http.hide_url(checked["url"])
    ductile_http.hide_headers(checked["headers"])
    return checked


def source_of(checked):
    parts = "\n".join(str(checked[key]) for key in ("url", "format", "items", "id"))
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def asked(checked, conditions, timeout):
    accept = "application/json, application/atom+xml, application/rss+xml, application/xml;q=0.9, */*;q=0.5"
    headers = {"Accept": accept, **checked["headers"], **conditions}
    return ductile_http.fetch(
        "GET", checked["url"], headers, timeout=timeout, max_body=checked["max_body"], ca_file=checked["ca_file"]
    )


def items_of(answer, checked):
    kind = checked["format"]
    if kind == "auto":
        # UTF-16, which XML may be in, has zeros; a JSON text does not begin with this character.
        begins = answer.body[:100].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
        kind = "feed" if begins.startswith(b"<") else "json"
    items = json_items(answer.body, checked["items"], checked["id"]) if kind == "json" else feed_items(answer, kind)
    return list({item.key: item for item in reversed(items)}.values())[::-1]


@ductile.command("health")
def health(request):
    checked = settings(request)
    answer = asked(checked, {}, min(checked["timeout"], HEALTH_TIMEOUT))
    if answer.status != 200:
        raise ductile_http.refused(answer, checked["url"])
    return ductile.ok(f"{len(items_of(answer, checked))} items")


@ductile.command("poll")
def poll(request):
    checked = settings(request)
    source = source_of(checked)
    state = request.state if request.state.get("source") == source else {}
    wait = float(state.get("not_before") or 0) - time.time()
    # A time that is further away than any that was asked for: the clock was set back.
    if 0 < wait <= MAX_WAIT:
        return ductile.ok(f"not asked: the server wants to be left alone for {wait:.0f} s more")
    answer = asked(checked, conditions(state, checked), max(0.1, min(checked["timeout"], request.seconds_left() - SPARE)))
    if answer.status in (429, 503):
        return told_to_wait(answer, checked, source, state)
    asked_again = {"not_before": None, "waits": 0} if state.get("waits") else None
    if answer.status == 304 and state.get("seen") is not None:
        return ductile.ok("unchanged", state=asked_again)
    if answer.status != 200:
        raise ductile_http.refused(answer, checked["url"])
    return changes(items_of(answer, checked), answer, checked, source, state)


def conditions(state, checked):
    """The headers that ask for an answer only if it is another one."""
    if checked["updated"] and state.get("content") is None:
        # `updated` is new: the contents are not known yet.
        return {}
    pairs = (("If-None-Match", state.get("etag")), ("If-Modified-Since", state.get("last_modified")))
    return {name: value for name, value in pairs if isinstance(value, str) and VALIDATOR.fullmatch(value)}


def told_to_wait(answer, checked, source, state):
    """A success, because only a success can remember how long to wait."""
    seconds = ductile_http.retry_after(answer)
    waits = int(state.get("waits") or 0) + 1
    failure = ductile_http.refused(answer, checked["url"])
    if seconds is None:
        raise failure
    if waits > MAX_WAITS:
        # Somebody should hear of it.
        raise ductile.Failure(f"{failure}, {waits} times in a row", retry=False)
    seconds = min(seconds, MAX_WAIT)
    ductile.log("warn", f"{failure}; not asked again for {seconds:.0f} s, as it wants")
    update = {"not_before": time.time() + seconds, "waits": waits}
    if not state:
        update.update(source=source, etag=None, last_modified=None, seen=None, content=None, revision=0)
    return ductile.ok(f"{failure}: the server asks to wait {seconds:.0f} s", state=update)


def changes(items, answer, checked, source, state):
    seen = Seen(state)
    revision = int(state.get("revision") or 0) + 1
    events, size, left, said_missing = [], 0, 0, 0
    for item in items:
        said_missing += item.without_id
        status = seen.status(item, checked["updated"])
        silent = seen.first and not checked["emit_existing"]
        if status == "known" or silent:
            seen.remember(item)
            continue
        cost = min(item.size, MAX_ITEM_BYTES)
        if len(events) == MAX_EVENTS or size + cost > MAX_EVENT_BYTES:
            left += 1
            seen.keep(item)
            continue
        events.append(event(item, status, checked["event_type"], source, revision))
        size += cost
        seen.remember(item)
    if said_missing:
        ductile.log("warn", f"{said_missing} items have no {checked['id']!r}: told apart by all of their content")
    update = {"source": source, **seen.state(checked["updated"]), "not_before": None, "waits": 0}
    # With something left the whole answer is needed again.
    update["etag"], update["last_modified"] = (None, None) if left else validators(answer)
    same = all(state.get(key) == value for key, value in update.items())
    result = f"{len(events)} new of {len(items)} items" + (f", {left} left for the next poll" if left else "")
    if seen.first and not checked["emit_existing"]:
        result = f"first poll: {len(items)} items remembered, none emitted"
    return ductile.ok(result, events=events, state=None if same and not events else {**update, "revision": revision})


def validators(answer):
    found = (answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
    return tuple(value if value is not None and VALIDATOR.fullmatch(value) else None for value in found)


def event(item, status, event_type, source, revision):
    key = f"{source}:{item.key.hex()}"
    if status == "updated":
        # An item may return to an earlier content, and that is a change, too.
        event_type, key = f"{event_type}.updated", f"{key}:{item.mark.hex()}:{revision}"
    payload = ductile_raw.value(item.text)
    if item.size > MAX_ITEM_BYTES:
        payload = {"id": item.id[:1000], "omitted": f"the item has more than {MAX_ITEM_BYTES} bytes"}
        ductile.log("warn", f"an item has more than {MAX_ITEM_BYTES} bytes: only its id is passed on")
    return ductile.event(event_type, payload, key)


if __name__ == "__main__":
    ductile_raw.main()
