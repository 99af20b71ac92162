"""The configuration, checked, and the ways in which a delivery ends badly.

Values that were interpolated (`${VAR}`) arrive as text.
"""

import email.utils
import ipaddress
import re
import ssl
import urllib.parse

import ductile

KEYS = {
    "log": (),
    "ntfy": ("url", "topic", "token", "priority", "tags"),
    "slack": ("url",),
    "discord": ("url",),
    "smtp": ("host", "port", "tls", "username", "password", "from", "to"),
}
COMMON_KEYS = ("via", "timeout", "ca_file")
PRIORITIES = {"min": 1, "low": 2, "default": 3, "high": 4, "max": 5, "urgent": 5}
PORTS = {"starttls": 587, "implicit": 465, "none": 25}
# Python would take 1_000, +5 and digits of other scripts, too.
NUMBER = re.compile(r"\s*-?[0-9]+(\.[0-9]+)?\s*")


class BadConfig(ductile.Failure):
    """Only a change of the configuration can help."""

    def __init__(self, message):
        super().__init__(message, retry=False)


class Refused(ductile.Failure):
    """The server will not take this message, now or later."""

    def __init__(self, message):
        super().__init__(message, retry=False)


class Failed(ductile.Failure):
    """It did not work this time. Tried again, with growing delays."""


def checked(config):
    """All keys of the transport, those that are absent with their default or as nothing."""
    via = one_of(config, "via", KEYS, None)
    for key in config:
        if key not in COMMON_KEYS + KEYS[via]:
            known = ", ".join(COMMON_KEYS + KEYS[via])
            raise BadConfig(f"config.{key} is not known with via: {via}; there are {known}")
    settings = {
        "via": via,
        "timeout": number(config, "timeout", float, 0.1, 100, 20),
        "ca_file": text(config, "ca_file", required=False),
    }
    if via == "log":
        return settings
    if via == "smtp":
        return {**settings, **smtp_settings(config)}
    settings["url"] = web_url(config)
    if via == "ntfy":
        settings.update(ntfy_settings(config))
    return settings


def ntfy_settings(config):
    if urllib.parse.urlsplit(config["url"]).query:
        raise BadConfig("config.url must be the address of the ntfy server, without a query")
    if not re.fullmatch("[-_A-Za-z0-9]{1,64}", text(config, "topic")):
        raise BadConfig("config.topic must be 1 to 64 letters, digits, - or _")
    token = text(config, "token", required=False)
    if not re.fullmatch("[!-~]*", token):
        raise BadConfig("config.token must be ASCII without spaces")
    priority = config.get("priority")
    if isinstance(priority, str) and priority in PRIORITIES:
        priority = PRIORITIES[priority]
    else:
        priority = number(config, "priority", int, 1, 5, None)
    return {"topic": config["topic"], "token": token, "priority": priority, "tags": texts(config, "tags")}


def smtp_settings(config):
    host, tls = text(config, "host"), one_of(config, "tls", PORTS, "starttls")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", host) and not is_address(host):
        raise BadConfig("config.host must be a name or an address; the port is config.port")
    username, password = (text(config, key, required=False) for key in ("username", "password"))
    if bool(username) != bool(password):
        raise BadConfig("config.username and config.password must be set both or neither")
    for key in ("username", "password"):
        if not text(config, key, required=False).isascii():
            raise BadConfig(f"config.{key} must be ASCII")
    sender, to = addresses(config, "from"), addresses(config, "to")
    if len(sender) != 1:
        raise BadConfig("config.from must be one address")
    return {
        "host": host,
        "port": number(config, "port", int, 1, 65535, PORTS[tls]),
        "tls": tls,
        "username": username,
        "password": password,
        "from": sender[0],
        "to": to,
    }


def is_address(host):
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def text(config, key, required=True):
    """One line of text; empty if it is not there."""
    value = config.get(key)
    if value is None:
        value = ""
    if not isinstance(value, str):
        raise BadConfig(f"config.{key} must be text; put it in quotes")
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
        raise BadConfig(f"config.{key} must be one line, without control characters")
    if required and not value:
        raise BadConfig(f"config.{key} must be set")
    return value


def one_of(config, key, choices, default):
    value = config.get(key)
    if value is None:
        value = default
    if not isinstance(value, str) or value not in choices:
        raise BadConfig(f"config.{key} must be one of {', '.join(choices)}")
    return value


def number(config, key, kind, low, high, default):
    """A number, or its text."""
    value = config.get(key)
    if value is None:
        return default
    try:
        # A bool is an int for Python, and int() would cut a float.
        if isinstance(value, bool) or (kind is int and isinstance(value, float)):
            raise ValueError
        if isinstance(value, str) and not NUMBER.fullmatch(value):
            raise ValueError
        value = kind(value)
        if not low <= value <= high:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        noun = "whole number" if kind is int else "number"
        raise BadConfig(f"config.{key} must be a {noun} from {low} to {high}") from None
    return value


def texts(config, key):
    """A list of texts, or one text with commas."""
    value = config.get(key)
    if isinstance(value, list):
        return [text({key: item}, key) for item in value]
    return [item.strip() for item in text(config, key, required=False).split(",") if item.strip()]


def addresses(config, key):
    """Mail addresses, with names or without, as header fields have them."""
    value = config.get(key)
    parts = [text({key: item}, key) for item in value] if isinstance(value, list) else [text(config, key)]
    pairs = email.utils.getaddresses(parts)
    if not pairs or not all(re.fullmatch(r"[!-;=?A-~]+@[A-Za-z0-9.:\[\]-]+", address) for _, address in pairs):
        raise BadConfig(f"config.{key} must be a mail address" + (" or a list of them" if key == "to" else ""))
    return [email.utils.formataddr(pair) for pair in pairs]


def web_url(config):
    """An http or https URL. What is wrong with it is said without showing it, for it may hold a secret."""
    url = text(config, "url")
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not re.fullmatch("[!-~]+", url):
        raise BadConfig("config.url must be an http or https address, ASCII without spaces")
    if "@" in parts.netloc:
        raise BadConfig("config.url must not hold a user name or a password")
    return url


def trust(settings):
    """The TLS context: certificates and host names are always checked."""
    try:
        return ssl.create_default_context(cafile=settings["ca_file"] or None)
    except (OSError, ValueError) as error:
        raise BadConfig(f"config.ca_file cannot be used: {error}") from None
