#!/usr/bin/env python3
"""email_in: looks into a mailbox by IMAP; one event for each new message.

Python 3 standard library only. README.md has the configuration, the events and an example.

State:
  source       identifies host, user and folder; another one begins anew
  uidvalidity  of the folder
  cursor       the UID of the last message that was looked at
  recent       fingerprints of the last messages up to there
  newest       the day of the newest of them
  again_since  after a change of uidvalidity: only messages from that day on that are not in `recent` are new

Exit codes: 0, also for `status: error`; 78 for a wrong configuration; 1 for a fault of this program.
"""

import base64
import datetime
import hashlib
import imaplib
import json
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import ductile
import message
from ductile_settings import Settings
from mailbox import CHUNK, Late, Mailbox

KEYS = ("host", "user", "password", "port", "tls", "folder", "event_type", "emit_existing", "mark_seen", "max_messages", "max_text",
        "max_message", "timeout", "ca_file")
PORTS = {"implicit": 993, "starttls": 143}
MAX_RECENT = 500
# ductile takes 10 MB of output.
MAX_EVENT_BYTES = 8 * 1024 * 1024
# Of a message that is too large to be fetched whole.
BEGINNING = 256 * 1024
HEALTH_TIMEOUT = 7.0
# Time to read the last message and to print the response.
SPARE = 8


def hide_login(user, password):
    """The password in each form in which it is sent, since servers repeat what they get, and as imaplib shows the bytes of that."""
    if not isinstance(password, str):
        return
    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    plain = base64.b64encode(f"\0{user}\0{password}".encode("utf-8", "replace")).decode()
    for form in (password, quoted, plain):
        # With a double quote behind it, so that a single one is escaped; it is or not, as the rest of the answer has it.
        shown = repr(form.encode("utf-8", "replace") + b'"')[2:-2]
        ductile.hide(form, shown, shown.replace("\\'", "'"))


def settings(request):
    read = Settings(request.config, KEYS)
    hide_login(request.config.get("user"), request.config.get("password"))
    tls = read.choice("tls", tuple(PORTS), "implicit")
    checked = {
        "host": read.text("host"),
        "user": read.text("user"),
        "password": read.text("password"),
        "tls": tls,
        "port": read.number("port", 1, 65535, PORTS[tls], whole=True),
        "folder": read.text("folder", "INBOX"),
        "event_type": read.text("event_type", "email.received"),
        "emit_existing": read.flag("emit_existing", False),
        "mark_seen": read.flag("mark_seen", False),
        "max_messages": read.number("max_messages", 1, 500, 50, whole=True),
        "max_text": read.size("max_text", 0, 500_000, 64 * 1024),
        "max_message": read.size("max_message", BEGINNING, 50 * 1024 * 1024, 10 * 1024 * 1024),
        "timeout": read.number("timeout", 0.1, 600, 45.0),
        "ca_file": read.text("ca_file", None),
    }
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", checked["host"]):
        read.wrong("host", "must be a name or an address; the port is config.port")
    if len(checked["event_type"].encode()) > 200:
        read.wrong("event_type", "must have at most 200 bytes")
    return checked


@ductile.command("health")
def health(request):
    checked = {**settings(request), "mark_seen": False}
    with Mailbox(checked, min(checked["timeout"], HEALTH_TIMEOUT)) as mailbox:
        return ductile.ok(f"{mailbox.count} messages in {checked['folder']}")


@ductile.command("poll")
def poll(request):
    checked = settings(request)
    parts = "\n".join((checked["host"].lower(), checked["user"], checked["folder"]))
    source = hashlib.sha256(parts.encode()).hexdigest()[:16]
    state = request.state if request.state.get("source") == source else {}
    with Mailbox(checked, max(0.1, min(checked["timeout"], request.seconds_left() - SPARE))) as mailbox:
        if not state and not checked["emit_existing"]:
            return first(mailbox, source)
        position = Position(state, mailbox.uidvalidity)
        return changes(mailbox, position, checked, source, state)


def first(mailbox, source):
    """Remembers what is there."""
    uids = [uid for uid in mailbox.after(0) if uid < mailbox.uidnext]
    position = Position({}, mailbox.uidvalidity)
    for summary in mailbox.summaries(uids[-MAX_RECENT:]).values():
        position.passed(summary)
    position.cursor = mailbox.uidnext - 1
    return ductile.ok(f"first poll: {len(uids)} messages remembered, none emitted", state=position.state(source))


class Position:
    """How far the folder has been looked at."""

    def __init__(self, state, uidvalidity):
        self.uidvalidity = uidvalidity
        self.cursor = int(state.get("cursor") or 0)
        self.recent = list(state.get("recent") or [])
        self.newest = state.get("newest")
        self.again_since = state.get("again_since")
        if state and state.get("uidvalidity") != uidvalidity:
            # All UIDs are new, and those of before mean nothing. Two days: servers have a time zone of their own.
            day = datetime.date.fromisoformat(self.newest) - datetime.timedelta(days=2)
            self.cursor, self.again_since = 0, min(day.isoformat(), self.again_since or day.isoformat())
            ductile.log("warn", f"the server has numbered the folder anew: messages since {self.again_since} are compared with the last ones")
        self._known = set(self.recent)

    def since(self):
        return None if self.again_since is None else datetime.date.fromisoformat(self.again_since)

    def known(self, summary):
        return self.again_since is not None and summary.fingerprint in self._known

    def passed(self, summary):
        self.cursor = max(self.cursor, summary.uid)
        if summary.fingerprint not in self._known:
            self.recent.append(summary.fingerprint)
            self._known.add(summary.fingerprint)
        arrived = imaplib.Internaldate2tuple(b'INTERNALDATE "' + summary.arrived.encode() + b'"')
        if arrived is not None:
            day = f"{arrived.tm_year:04}-{arrived.tm_mon:02}-{arrived.tm_mday:02}"
            self.newest = max(self.newest or day, day)

    def state(self, source):
        return {
            "source": source,
            "uidvalidity": self.uidvalidity,
            "cursor": self.cursor,
            "recent": self.recent[-MAX_RECENT:],
            "newest": self.newest or datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "again_since": self.again_since,
        }


def changes(mailbox, position, checked, source, state):
    uids = mailbox.after(position.cursor, position.since())
    events, emitted = [], []
    size = done = 0
    try:
        for uid, summary in found(mailbox, uids):
            content = None
            if summary is not None and not position.known(summary):
                if len(events) == checked["max_messages"]:
                    break
                whole = summary.size <= checked["max_message"]
                content = mailbox.source(uid, checked["max_message"] if whole else BEGINNING)
            # What was fetched counts, even if it takes the time that is left: else it would hold up those behind it for ever.
            with mailbox.paused():
                if content is not None:
                    payload = message.payload(content, summary, checked["folder"], checked["max_text"], whole)
                    event = ductile.event(checked["event_type"], payload, f"{source}:{position.uidvalidity}:{uid}")
                    cost = len(json.dumps(event))
                    if size + cost > MAX_EVENT_BYTES:
                        break
                    events.append(event)
                    emitted.append(uid)
                    size += cost
                if summary is not None:
                    position.passed(summary)
                position.cursor = max(position.cursor, uid)
                done += 1
    except Late:
        # What has been read is not read again, so that a slow server is once through.
        if not done:
            raise
        ductile.log("warn", f"the time is over; {len(uids) - done} messages are left for the next poll")
        if checked["mark_seen"] and emitted:
            # The server is in the middle of an answer.
            ductile.log("warn", f"{len(emitted)} messages are not marked as read")
            emitted = []
    left = len(uids) - done
    if not left:
        position.again_since = None
    if checked["mark_seen"] and emitted:
        marked(mailbox, emitted)
    update = position.state(source)
    same = all(state.get(key) == value for key, value in update.items())
    result = f"{len(events)} new messages" + (f", {left} left for the next poll" if left else "")
    return ductile.ok(result, events=events, state=None if same else update)


def found(mailbox, uids):
    """Each UID with its Summary, or None if the message is gone."""
    for at in range(0, len(uids), CHUNK):
        chunk = uids[at : at + CHUNK]
        summaries = mailbox.summaries(chunk)
        for uid in chunk:
            yield uid, summaries.get(uid)


def marked(mailbox, uids):
    """Not a failure: then the events would be lost, and come again."""
    try:
        mailbox.mark_seen(uids)
    except ductile.Failure as failure:
        ductile.log("warn", f"the messages could not be marked as read: {failure}")


if __name__ == "__main__":
    ductile.main()
