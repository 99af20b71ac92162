"""A message as the payload of an event, however broken it is."""

import contextlib
import datetime
import email
import email.errors
import email.header
import email.policy
import email.utils
import imaplib
import re
import signal
import time

import ductile
from ductile_text import plain

MAX_LINE = 1000
MAX_LISTED = 100
MAX_PARTS = 1000
# Of a header, in characters. Python's parsers take worse than linear time, decoding the most.
MAX_HEADER = 64 * 1024
MAX_ENCODED = 8 * MAX_LINE
# For one message; those that people send take milliseconds.
SECONDS = 3.0
# What the broken half of the world's mail makes Python's parser raise.
BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, AssertionError)


class TooSlow(BaseException):
    """The message takes too long. No Exception, since email and codecs catch some."""


class _Policy(email.policy.Compat32):
    def header_source_parse(self, lines):
        name, value = super().header_source_parse(lines)
        return name, value[:MAX_HEADER]


def payload(source, summary, folder, max_text, whole):
    """`source` is the message in bytes, `whole` whether that is all of it. Uses SIGALRM and its timer."""
    fields = {name: None for name in ("title", "text", "from", "from_address", "subject", "date", "message_id", "in_reply_to", "reply_to")}
    fields.update(to=[], cc=[], attachments=[], text_cut=False, whole=whole)
    try:
        with _time_limit():
            message = email.message_from_bytes(source, policy=_Policy())
            fields.update(_head(_Headers(message)))
            text, fields["attachments"] = _parts(message, max_text)
            if text is not None:
                fields["text_cut"] = len(text) > max_text
                fields["text"] = text[:max_text]
    except (*BROKEN, TooSlow) as error:
        # One message must not keep all that follow from being seen.
        ductile.log("warn", f"message {summary.uid} is broken ({type(error).__name__}: {error}): some of its fields are missing")
    fields["title"] = fields["subject"] or (f"mail from {fields['from']}" if fields["from"] else "mail without a subject")
    fields.update(folder=folder, uid=summary.uid, size=summary.size, received=_received(summary.arrived))
    return fields


@contextlib.contextmanager
def _time_limit():
    def expired(_signal, _frame):
        raise TooSlow(f"not read within {SECONDS:.3g} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Headers:
    """Header fields as text: encoded words decoded, raw bytes taken for UTF-8, else Latin-1."""

    def __init__(self, message):
        self._pairs = [(name.lower(), str(value)) for name, value in message.raw_items()]

    def raw(self, name):
        return [value for found, value in self._pairs if found == name]

    def line(self, name):
        return next((_line(value) for value in self.raw(name)), None)

    def addresses(self, name):
        return [(_line(shown), _clean(address)[:MAX_LINE]) for shown, address in email.utils.getaddresses(self.raw(name)) if address]


def _head(headers):
    senders = headers.addresses("from")
    shown, address = senders[0] if senders else (None, None)
    return {
        "from": f"{shown} <{address}>" if shown and address else shown or address or headers.line("from"),
        "from_address": address,
        "to": [address for _, address in headers.addresses("to")][:MAX_LISTED],
        "cc": [address for _, address in headers.addresses("cc")][:MAX_LISTED],
        "reply_to": next((address for _, address in headers.addresses("reply-to")), None),
        "subject": headers.line("subject"),
        "date": _date(next(iter(headers.raw("date")), "")),
        "message_id": headers.line("message-id"),
        "in_reply_to": headers.line("in-reply-to"),
    }


def _parts(message, max_text):
    """The text, plain rather than HTML, one character longer than it may be if it was cut; and the attachments."""
    found = {}
    attachments = []
    waiting, seen = [message], 0
    while waiting and seen < MAX_PARTS:
        part = waiting.pop()
        seen += 1
        kind = part.get_content_type()
        if kind != "message/rfc822" and part.is_multipart():
            waiting += reversed(part.get_payload())
            continue
        name = part.get_filename()
        if name is not None or part.get_content_disposition() == "attachment" or not kind.startswith("text/"):
            attachments.append({"name": _line(name) if name is not None else None, "type": kind[:MAX_LINE]})
        elif kind not in found:
            found[kind] = _text(part, max_text)
    text = found.get("text/plain")
    if not (text or "").strip() and "text/html" in found:
        text = plain(found["text/html"], max_text + 1)
    elif text is None:
        text = next(iter(found.values()), None)
    return text, attachments[:MAX_LISTED]


def _text(part, max_text):
    data = part.get_payload(decode=True) or b""
    # HTML has much that is no text. No character takes more than 8 bytes in any charset that mail is written in.
    data = data[: 10 * max_text if part.get_content_type() == "text/html" else 8 * max_text + 8]
    text = _decoded(data, part.get_content_charset())
    return text if part.get_content_type() == "text/html" else text[: max_text + 1]


def _decoded(data, charset):
    for name in (charset, "utf-8"):
        try:
            if name is not None:
                return _clean(data.decode(name, "strict" if name == "utf-8" and charset is None else "replace"))
        except (LookupError, ValueError):
            continue
    return _clean(data.decode("latin-1"))


def _line(value):
    """One line of text of a header's value."""
    raw = str(value).encode("utf-8", "surrogateescape")
    if not raw.isascii():
        return _one(_decoded(raw, None))
    try:
        pieces = email.header.decode_header(raw[:MAX_ENCODED].decode("ascii"))
    except BROKEN + (email.errors.MessageError,):
        return _one(raw.decode("ascii"))
    # Between encoded words and the rest, spaces are in the pieces.
    return _one("".join(piece if isinstance(piece, str) else _decoded(piece, charset) for piece, charset in pieces))


def _one(text):
    return " ".join(text.split())[:MAX_LINE] or None


def _clean(text):
    """Without what no JSON and no terminal is happy with."""
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", " ", text)


def _date(text):
    try:
        moment = email.utils.parsedate_to_datetime(text)
        if moment.tzinfo is None:
            # -0000: UTC, from an unknown zone.
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        return _utc(moment.timestamp())
    except BROKEN:
        return None


def _received(arrived):
    found = imaplib.Internaldate2tuple(b'INTERNALDATE "' + arrived.encode() + b'"')
    return None if found is None else _utc(time.mktime(found))


def _utc(seconds):
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
