"""What is said: any event as title, text and URL."""

import json
import re
import urllib.parse

MAX_TITLE = 200
MAX_URL = 1000
MAX_TEXT = 10_000


def describe(event):
    """`{title, text, url, id}` of any event. `title` is one line and never empty."""
    payload = event.get("payload")
    known = payload if isinstance(payload, dict) else {}
    title, text, url = (clean(known.get(name)) for name in ("title", "text", "url"))
    if not title and not text:
        title, text = generic_title(event, known), generic_text(payload)
    return {
        "title": cut(one_line(title) or one_line(event["type"]), MAX_TITLE),
        "text": cut(text, MAX_TEXT),
        "url": web_address(url),
        "id": event["event_id"],
    }


def generic_title(event, payload):
    """The type; for events of ductile itself also whose job it is about."""
    about = ""
    if event.get("source") == "ductile":
        about = " ".join(filter(None, (clean(payload.get("plugin")), clean(payload.get("command")))))
    return f"{event['type']}: {about}" if about else event["type"]


def generic_text(payload):
    """One line for each field of a flat object, JSON for anything else."""
    if payload is None:
        return ""
    if isinstance(payload, dict) and not any(isinstance(value, (dict, list)) for value in payload.values()):
        lines = (f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in payload.items())
        return clean("\n".join(lines))
    return clean(json.dumps(payload, ensure_ascii=False, separators=(",", ":")))


def web_address(url):
    """The URL in ASCII if it can be clicked, else nothing."""
    url = urllib.parse.quote(url, safe="%/:?#[]@!$&'()*+,;=~")
    return url if re.match("https?://.", url) and len(url) <= MAX_URL else ""


def clean(text):
    """Text without control characters and half surrogate pairs; nothing for what is no text."""
    if not isinstance(text, str):
        return ""
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", " ", text).strip()


def one_line(text):
    return " ".join(clean(text).split())


def cut(text, limit, size=len):
    """The beginning, with `...` if that is not all. `size` measures as the receiver does."""
    if size(text) <= limit:
        return text
    text = text[:limit]
    while text and size(text) > limit - 3:
        text = text[: len(text) - max(1, (size(text) - limit) // 4)]
    return text.rstrip() + "..."


def utf8_size(text):
    return len(text.encode("utf-8"))


def utf16_size(text):
    return len(text.encode("utf-16-le")) // 2


def with_url(text, url, limit, size=len):
    """Text and URL on a line of its own, the text cut so that both fit."""
    return "\n".join(filter(None, (cut(text, limit - len(url) - 1, size), url)))
