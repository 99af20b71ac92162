"""Reads a plugin's `config`, key by key; what is wrong raises `ductile.Misconfigured`, which names the key.

Values that were interpolated (`${VAR}`) arrive as text, so a number or a yes/no may be one. What is wrong with a value
is said without showing it, for it may be a secret.
"""

import re
import urllib.parse

import ductile

_UNITS = {"": 1, "B": 1, "KB": 1024, "MB": 1024**2}
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
# Python would take 1_000, +5 and digits of other scripts, too.
_NUMBER = re.compile(r"\s*-?[0-9]+(\.[0-9]+)?\s*")
_REQUIRED = object()


class Settings:
    """The configuration. Each method takes a key and gives its value, checked, or the default; without one it must be set."""

    def __init__(self, config, known, where="config"):
        self._config = config
        self._where = where
        for key in config:
            if key not in known:
                self.wrong(key, f"is not known; there are {', '.join(known)}")

    def wrong(self, key, why):
        raise ductile.Misconfigured(f"{self._where}.{key} {why}")

    def _value(self, key, default):
        value = self._config.get(key)
        if value is None and default is _REQUIRED:
            self.wrong(key, "must be set")
        return value

    def text(self, key, default=_REQUIRED):
        """One line of text that is not empty."""
        value = self._value(key, default)
        if value is None:
            return default
        return self._line(key, value)

    def _line(self, key, value):
        if not isinstance(value, str):
            self.wrong(key, "must be text; put it in quotes")
        if not value.strip() or _CONTROL.search(value):
            self.wrong(key, "must be one line of text, without control characters, and not empty")
        return value

    def choice(self, key, choices, default=_REQUIRED):
        value = self._value(key, default)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            self.wrong(key, f"must be one of {', '.join(choices)}")
        return value

    def flag(self, key, default):
        value = self._value(key, default)
        if value is None:
            return default
        # 1 equals True for Python.
        if value is True or value == "true":
            return True
        if value is False or value == "false":
            return False
        return self.wrong(key, "must be true or false")

    def number(self, key, low, high, default=_REQUIRED, whole=False):
        """A number from low to high, or its text."""
        value = self._value(key, default)
        if value is None:
            return default
        kind = int if whole else float
        try:
            # A bool is an int for Python, and int() would cut a float.
            if isinstance(value, bool) or (whole and isinstance(value, float)):
                raise ValueError
            if isinstance(value, str) and not _NUMBER.fullmatch(value):
                raise ValueError
            number = kind(value)
            if not low <= number <= high:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            self.wrong(key, f"must be a {'whole ' if whole else ''}number from {low} to {high}")
        return number

    def size(self, key, low, high, default):
        """Bytes, as a number or as text such as 64KB or 5MB."""
        value = self._value(key, default)
        if value is None:
            return default
        written = re.fullmatch(r"([0-9]{1,12})\s*(B|KB|MB|)", str(value).strip().upper())
        if isinstance(value, bool) or not written:
            self.wrong(key, "must be a size such as 64KB or 5MB")
        size = int(written[1]) * _UNITS[written[2]]
        if not low <= size <= high:
            self.wrong(key, f"must be a size from {low} to {high} bytes")
        return size

    def texts(self, key, default=()):
        """A list of texts, or one text with commas."""
        value = self._value(key, default)
        if value is None:
            return list(default)
        if isinstance(value, str):
            value = [item.strip() for item in value.split(",") if item.strip()]
        if not isinstance(value, list):
            self.wrong(key, "must be a list of texts, or one text with commas")
        return [self._line(key, item) for item in value]

    def some_of(self, key, choices):
        """At least one of the choices, by default all: a list of texts, or one text with commas."""
        chosen = self.texts(key, choices)
        for text in chosen:
            if text not in choices:
                self.wrong(key, f"may have {', '.join(choices)}, not {text!r}")
        if not chosen:
            self.wrong(key, "must have at least one of them")
        return chosen

    def numbers(self, key, low, high, default=()):
        """A list of whole numbers, or one number, or one text with commas."""
        value = self._value(key, default)
        if value is None:
            return list(default)
        if isinstance(value, str):
            value = [item.strip() for item in value.split(",")]
        items = value if isinstance(value, list) else [value]
        return [Settings({key: item}, [key], self._where).number(key, low, high, whole=True) for item in items]

    def headers(self, key):
        """Names and values of HTTP headers."""
        value = self._value(key, {})
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(key, "must be a map of header names to texts")
        for name, text in value.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                self.wrong(key, f"has {name!r}, which cannot be the name of a header")
            if not isinstance(text, str) or not re.fullmatch(r"[\x20-\x7e]+", text):
                self.wrong(f"{key}.{name}", "must be one line of ASCII text")
        return dict(value)

    def url(self, key, default=_REQUIRED):
        """An http or https address."""
        value = self.text(key, default)
        if value is default:
            return value
        try:
            parts = urllib.parse.urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            usable = False
        if not usable or not re.fullmatch("[!-~]+", value):
            self.wrong(key, "must be an http or https address, ASCII without spaces")
        if "@" in parts.netloc:
            self.wrong(key, "must not hold a user name or a password; use a header")
        return value
