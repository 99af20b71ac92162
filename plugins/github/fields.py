"""Reading of a webhook's body: what is not there, or of an odd type, never gets any further."""

import ductile

MAX_LINE = 200
MAX_FIELD = 2000
KINDS = {str: "text", int: "a whole number", bool: "true or false", dict: "an object", list: "a list"}


class BadEvent(ductile.Failure):
    """The event will not become readable by itself."""

    def __init__(self, message):
        super().__init__(message, retry=False)


def find(value, path, kind):
    """What is at a dotted path, or None if it is not there or not of that kind. Text is clean and bounded."""
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    # `True` is an int for Python, not for JSON.
    if type(value) is not kind:
        return None
    return cut(clean(value), MAX_FIELD) if kind is str else value


def need(body, path, kind):
    """As `find`, for what there is no event without. An empty text is as good as none."""
    value = find(body, path, kind)
    if value is None or value == "":
        raise BadEvent(f"payload.{path} must be {KINDS[kind]}: is this a webhook of GitHub?")
    return value


def first_line(text):
    return cut((text or "").strip().partition("\n")[0].rstrip(), MAX_LINE)


def clean(text):
    """Without half surrogate pairs, which JSON can write and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def cut(text, limit):
    return text if len(text) <= limit else text[: limit - 3] + "..."
