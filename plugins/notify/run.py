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
import json
import re
import signal
import sys
import traceback

# The modules beside this file need no folder of compiled ones in there.
sys.dont_write_bytecode = True

import mail
import web
from message import describe, with_url
from settings import BadConfig, Failed, Refused, checked

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


def main():
    hide = str
    code = 0
    try:
        request = parsed(sys.stdin.buffer.read())
        hide = hider(request["config"])
        commands = {"handle": handle, "health": health}
        command = commands.get(request["command"])
        if command is None:
            raise BadConfig(f"unknown command {request['command']!r}")
        response = {"status": "ok", "logs": [log(level, hide(text)) for level, text in command(request)]}
    except (BadConfig, Refused, RecursionError) as error:
        response = {"status": "error", "error": hide(error), "retry": False}
    except Failed as error:
        response = {"status": "error", "error": hide(error)}
    except Exception as error:
        # Left alone, its text would go to stderr, and a secret could be in it.
        sys.stderr.write(hide(traceback.format_exc()))
        response, code = {"status": "error", "error": hide(f"unexpected: {error!r}")}, 1
    # ASCII output is valid JSON in every locale; one write, at the very end.
    sys.stdout.write(json.dumps(response) + "\n")
    sys.exit(code)


def parsed(text):
    try:
        return json.loads(text)
    except ValueError as error:
        # ductile sends valid JSON; but Python has a limit for the digits of a number.
        raise Refused(f"the request cannot be read: {error}") from None


def hider(config):
    """A function that makes text of something, without the configuration's secrets."""
    url = config.get("url")
    secrets = [config.get("token"), config.get("password"), config.get("topic")]
    if isinstance(url, str):
        # A webhook's secret is its path; servers and libraries repeat it whole or in parts.
        path = url.partition("//")[2].partition("/")[2]
        secrets += [path, *(part for part in re.split(r"[/?&=#]", path) if len(part) >= 8)]
    # Shorter ones are words that the text needs.
    secrets = sorted({secret for secret in secrets if isinstance(secret, str) and len(secret) >= 4}, key=len)

    def hide(value):
        text = str(value)
        for secret in reversed(secrets):
            text = text.replace(secret, "***")
        return text

    return hide


def handle(request):
    """Send the message.

    A job may run more than once, and only mail has an identity to tell a repetition by: its Message-ID
    comes from the event's id. By the other transports a message may come twice.
    """
    settings = checked(request["config"])
    message = describe(request["event"])
    if settings["via"] == "log":
        said = ": ".join(filter(None, (message["title"], message["text"])))
        return [("info", with_url(said, message["url"], LOG_LENGTH))]
    with time_limit(settings["timeout"]):
        send, _ = TRANSPORTS[settings["via"]]
        warnings = send(settings, message)
    return [("info", f"sent by {settings['via']}"), *(("warn", text) for text in warnings)]


def health(request):
    """Say whether the configuration is right and the server answers. Sends nothing."""
    settings = checked(request["config"])
    if settings["via"] == "log":
        return []
    settings["timeout"] = min(settings["timeout"], HEALTH_TIMEOUT)
    with time_limit(settings["timeout"]):
        _, look = TRANSPORTS[settings["via"]]
        look(settings)
    return []


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


def log(level, message):
    """One entry of the response's `logs`; level is debug, info, warn or error."""
    return {"level": level, "message": message}


if __name__ == "__main__":
    main()
