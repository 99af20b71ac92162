#!/usr/bin/env python3
"""notify: tells a person about an event, by ntfy, a Slack or Discord webhook, mail, or just the log.

Python 3 standard library only. README.md has an example of each transport.

The message is the payload's `title`, `text` and `url`, as far as they are text. An event without title and
text, such as ductile's own `job.dead`, is shown by its type and its payload.

Configuration:
  via       log, ntfy, slack, discord or smtp
  timeout   seconds for one delivery, 0.1 to 100; default 20
  ca_file   PEM file of the authorities to trust instead of the system's; certificates are always checked

  via: log        (nothing more) the message goes to the job's log (`ductile logs notify`): for a first try
  via: ntfy       url       of the server, without the topic
                  topic
                  token     access token; optional
                  priority  1 to 5, or min, low, default, high, max; optional
                  tags      list, or one text with commas; optional
  via: slack      url       of the incoming webhook (Slack, Mattermost, Rocket.Chat, ...)
  via: discord    url       of the webhook
  via: smtp       host
                  port      default 587, 465 (tls: implicit) or 25 (tls: none)
                  tls       starttls (default), implicit or none. With none everything is sent readable
                  username, password   both or neither; ASCII
                  from      address
                  to        address, or list

State: none.

Exit codes: 0, also for `status: error`. A wrong configuration, and what the server refuses for good, are
answered with `"retry": false`. 1: a fault of this program; retried.
"""

import contextlib
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
# The modules in here and in there need no folders of compiled ones beside them.
sys.dont_write_bytecode = True

import ductile
import mail
import web
from message import describe, with_url
from settings import Failed, Refused, checked

# ductile ends `health` after 10 s.
HEALTH_TIMEOUT = 8
# The most characters of a message for `via: log`.
LOG_LENGTH = 2000
# How each sends a message, and how it looks whether it could.
TRANSPORTS = {
    "ntfy": (web.send_ntfy, web.look),
    "slack": (web.send_slack, web.look),
    "discord": (web.send_discord, web.look),
    "smtp": (mail.send, mail.look),
}


def hide_secrets(config):
    """Also from the text of an exception that nobody expected."""
    secrets = [config.get("token"), config.get("password"), config.get("topic")]
    url = config.get("url")
    if isinstance(url, str):
        # A webhook's secret is its path; servers and libraries repeat it whole or in parts.
        path = url.partition("//")[2].partition("/")[2]
        secrets += [path, *(part for part in re.split(r"[/?&=#]", path) if len(part) >= 8)]
    ductile.hide(*secrets)


@ductile.command("handle")
def handle(request):
    """Send the message.

    A job may run more than once, and only mail has an identity to tell a repetition by: its Message-ID
    comes from the event's id. By the other transports a message may come twice.
    """
    hide_secrets(request.config)
    settings = checked(request.config)
    try:
        message = describe(request.event)
    except RecursionError:
        raise Refused("the payload is nested too deeply") from None
    if settings["via"] == "log":
        said = ": ".join(filter(None, (message["title"], message["text"])))
        ductile.log("info", with_url(said, message["url"], LOG_LENGTH))
        return ductile.ok()
    with time_limit(settings["timeout"]):
        send, _ = TRANSPORTS[settings["via"]]
        warnings = send(settings, message)
    ductile.log("info", f"sent by {settings['via']}")
    for warning in warnings:
        ductile.log("warn", warning)
    return ductile.ok()


@ductile.command("health")
def health(request):
    """Say whether the configuration is right and the server answers. Sends nothing."""
    hide_secrets(request.config)
    settings = checked(request.config)
    if settings["via"] == "log":
        return ductile.ok()
    settings["timeout"] = min(settings["timeout"], HEALTH_TIMEOUT)
    with time_limit(settings["timeout"]):
        _, look = TRANSPORTS[settings["via"]]
        look(settings)
    return ductile.ok()


@contextlib.contextmanager
def time_limit(seconds):
    """For all together: the time limit of a socket starts again with each byte."""

    def expired(_signal, _frame):
        raise Failed(f"no answer within {seconds:g} s")

    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    ductile.main()
