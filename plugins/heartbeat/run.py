#!/usr/bin/env python3
"""heartbeat: pings a dead-man's switch, so that somebody notices when the gateway itself is gone.

Python 3 standard library only. README.md has the configuration and an example.

State: none. Exit codes: 0, also for `status: error`; 78 for a wrong configuration.
"""

import os
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import ductile
import ductile_http
from ductile_settings import Settings

KEYS = ("url", "fail_url", "method", "headers", "timeout", "ca_file")
# Services keep the beginning of what is sent; healthchecks.io 100 kB.
MAX_TEXT = 10_000
# Time to print the response after the last try.
SPARE = 2


def settings(request):
    read = Settings(request.config, KEYS)
    checked = {
        "url": read.url("url"),
        "fail_url": read.url("fail_url", None),
        "method": read.choice("method", ("GET", "HEAD", "POST"), "GET"),
        "headers": read.headers("headers"),
        "timeout": read.number("timeout", 0.1, 100, 10.0),
        "ca_file": read.text("ca_file", None),
    }
    for url in filter(None, (checked["url"], checked["fail_url"])):
        ductile_http.hide_url(url)
    ductile_http.hide_headers(checked["headers"])
    return checked


def ping(request, checked, method, url, data=None):
    """The host and the status of the answer. Every failure is retried: silence is what raises the alarm."""
    headers = dict(checked["headers"])
    if data is not None:
        headers.setdefault("Content-Type", "text/plain; charset=utf-8")
    timeout = min(checked["timeout"], request.seconds_left() - SPARE)
    answer = ductile_http.fetch(method, url, headers, data, timeout, ca_file=checked["ca_file"])
    if not 200 <= answer.status < 300:
        raise ductile.Failure(str(ductile_http.refused(answer, url)))
    return f"HTTP {answer.status} from {urllib.parse.urlsplit(url).netloc}"


@ductile.command("poll")
def poll(request):
    checked = settings(request)
    data = b"" if checked["method"] == "POST" else None
    return ductile.ok(ping(request, checked, checked["method"], checked["url"], data))


@ductile.command("handle")
def handle(request):
    checked = settings(request)
    if checked["fail_url"] is None:
        raise ductile.Misconfigured("config.fail_url must be set, since events are routed to this plugin")
    said = ping(request, checked, "POST", checked["fail_url"], described(request.event).encode("utf-8", "replace"))
    return ductile.ok(f"told of {request.event.get('type')}: {said}")


@ductile.command("health")
def health(request):
    settings(request)
    return ductile.ok("the configuration is right; nothing was pinged")


def described(event):
    """The event in lines: its type, and the payload's fields that are no lists or objects."""
    payload = event.get("payload")
    lines = [str(event.get("type", ""))]
    if isinstance(payload, dict):
        lines += [f"{key}: {value}" for key, value in payload.items() if not isinstance(value, (dict, list))]
    return "\n".join(lines)[:MAX_TEXT]


if __name__ == "__main__":
    ductile.main()
