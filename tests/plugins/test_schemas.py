"""config.schema.json of each plugin, held against what the plugin itself takes and refuses."""

import json
import pathlib
import re
import sys
import types
import unittest

import schemas
from support import loaded, request, spawn

DUCTILE = loaded("github", "run").ductile
# 256 bytes are a limit.
WIDE = "ü" * 150

LAST = {"op": "default", "emit": "e"}
CHECK = {"field": "a.b", "op": "contains", "value": "x", "emit": "e"}
# Configurations that are right; each key of each is set to each of the values.
GOOD = {
    "echo": [{}],
    "email_in": [{"host": "a", "user": "b", "password": "c"}],
    "example": [{"path": "run.py"}],
    "exec": [{"command": ["true"]}, {"command": "true", "shell": True}],
    "file_watch": [{"path": "/x"}],
    "garmin": [{"tokens": "/x"}, {"tokens": "/x", "user": "a", "password": "b"}],
    "git_sync": [{"url": "/x", "path": "/y"}],
    "github": [{}],
    "heartbeat": [{"url": "http://a/"}],
    "http_poll": [{"url": "http://a/"}, {"url": "http://a/", "format": "rss"}],
    "if": [{"checks": [CHECK]}],
    "notify": [
        {"via": "log"},
        {"via": "ntfy", "url": "http://a/", "topic": "t"},
        {"via": "slack", "url": "http://a/"},
        {"via": "discord", "url": "http://a/"},
        {"via": "smtp", "host": "a", "from": "a@b", "to": "a@b"},
        {"via": "smtp", "host": "a", "from": "a@b", "to": ["a@b"], "username": "u", "password": "p"},
    ],
    "sqlite_query": [{"database": "/x", "query": "SELECT 1"}],
    "withings": [{"client_id": "a", "client_secret": "b", "refresh_token": "c"}],
}
VALUES = [
    None, True, False, 0, 1, -1, 2, 1.5, 5.0, 1e300, 10**30, 300_000,
    "", " ", "x", "x\n", "a\nb", "a\tb", "\0", "x" * 300, "x" * 100_000, "ü", WIDE,
    "true", "yes", "0", "1", " 5 ", "5\n", "+5", "-1", "1_000", "0.5", ".5", "1e3", "nan", "٥", "9" * 5000, "1,2", "1,,2", ",", "a, b", "a,\nb", "5,5",
    "10MB", "300 kb", "1GB", "5.0", "/", "/x", "//", "/./..", "/x/..", "/...", "relative",
    "http://a", "HTTPS://a:1/b?c#d", "http://", "http://:80/", "http://a:99999/", "http://u:p@a/", "http://u@a/", "http://a b/", "http://[::1/", "ftp://a",
    "ssh://u@a/b", "ssh://u:p@a/b", "git@a:b", "a:b", "a@b", "Ann <a@b.c>", "a@b, c@d", "::1", "a%b",
    [], [""], [" "], ["x"], ["x", "x"], ["x", None], ["a,b"], ["a\nb"], ["\0"], ["", "x"], [None], [7], [{}], [[]], [5.0], ["5"], ["+5"], [0], [-1], [300], [True],
    ["a@b"], ["a@b", "c@d"], [{"a": 1}],
    {}, {"a": "b"}, {"A b": "x"}, {"A\n": "x"}, {"": "x"}, {"A": ""}, {"A": "x\ny"}, {"A": "ü"}, {"A": 7}, {"Host": "x"}, {"host": "x"}, {"HOST": "x"},
]
# Fewer, for each is a process. Not `hang`, which does.
ECHO = [None, True, 7, 1.5, "", "x", "error", "protocol_error", [], ["x"], {}, {"a": 1}]
CHECKS = [
    *({**CHECK, key: value} for key in CHECK for value in VALUES),
    *({**CHECK, "op": op, "value": value} for op in ("equals", "regex", "startswith") for value in VALUES),
    *({name: value for name, value in CHECK.items() if name != key} for key in CHECK),
    LAST, {**LAST, "field": "a"}, {**LAST, "value": None}, {**CHECK, "more": 1},
    *VALUES,
]
MORE = {
    "checks": [*([check] for check in CHECKS), [CHECK, LAST], [LAST, CHECK]],
    "branch": ["a..b", "-x", "x.lock", "x/", "refs/heads/*", "@{", "a/b"],
    "events": ["created, removed", ["created"], ["added", "added"], [" added"]],
    "data": ["measures,activity", ["measures"]],
    "tls": ["starttls", "implicit", "none"],
    "priority": ["high", "highest", "urgent "],
    "output": ["json"],
    "format": ["json", "atom"],
}


def number_in_text(value):
    return isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]+(\.[0-9]+)?\s*", value) is not None


def first(value):
    return value[0] if isinstance(value, list) and value else value


# What a plugin refuses and JSON Schema cannot, or not readably, say: why, keys, and whether a value is of that kind.
UNSAID = [
    ("5.0 is a whole number", "days depth max_body max_bytes max_message max_messages max_output max_text permanent_codes port priority success_codes types",
     lambda value: isinstance(first(value), float)),
    ("the range of a number that is text", "busy_timeout days depth max_messages port priority stable_age timeout", number_in_text),
    ("the range of numbers that are text", "permanent_codes success_codes types", lambda value: isinstance(first(value), str)),
    ("a code that is a success, too", "permanent_codes", lambda value: value in (0, "0", [0])),
    ("the range of a size that is text", "max_body max_message max_output max_text", lambda value: isinstance(value, str) and value.lstrip()[:1].isdigit()),
    ("an item of a text with commas", "exclude include key", lambda value: value == "a\nb"),
    ("twice the same in a text with commas", "key", lambda value: value == "5,5"),
    ("bytes are not characters", "event_type", lambda value: value == WIDE),
    ("names in any case", "headers", lambda value: value == {"HOST": "x"}),
    ("ports and brackets of an address", "base_url fail_url url", lambda value: value in ("http://a:99999/", "http://[::1/")),
    ("paths that lead to the root", "path", lambda value: value == "/x/.."),
    ("what a mail address is", "from to", lambda value: isinstance(value, str) and "@" in value),
    ("bytes, regular expressions, and the order of checks", "checks", lambda value: value[0].get("emit") == WIDE or value[0].get("op") in ("default", "regex")),
]


def reader(plugin):
    """The function of the plugin that reads its configuration, and raises a Failure for a wrong one."""
    if plugin == "echo":
        return echo
    # Modules of the same name belong to several plugins.
    for name, module in list(sys.modules.items()):
        if pathlib.Path(getattr(module, "__file__", None) or "/").parent.name in schemas.NAMES:
            del sys.modules[name]
    module = loaded(plugin, {"notify": "settings", "garmin": "garmin"}.get(plugin, "run"))
    if plugin == "notify":
        return module.checked
    if plugin == "github":
        return module.settings
    read = module.checks if plugin == "if" else module.settings
    return lambda config: read(types.SimpleNamespace(config=config))


def echo(config):
    """A process, since it is no Python; `mode` makes some of its answers failures."""
    done = spawn("echo", json.dumps(request("health", config)), ["./run.sh"])
    if config.get("mode") != "protocol_error":
        answer = json.loads(done.stdout)
        if "config." in answer.get("error", ""):
            raise DUCTILE.Failure(answer["error"], answer.get("retry", True))


def configurations(plugin, validator):
    """(key, its value, configuration)"""
    for base in GOOD[plugin]:
        for key in base:
            yield key, None, {name: value for name, value in base.items() if name != key}
        for key in validator.schema["properties"]:
            for value in [*(ECHO if plugin == "echo" else VALUES), *MORE.get(key, ())]:
                yield key, value, {**base, key: value}


class Schemas(unittest.TestCase):
    def test_they_refuse_what_the_plugins_refuse_and_nothing_else(self):
        self.assertEqual(sorted(GOOD), schemas.NAMES)
        needed = set()
        for plugin in GOOD:
            read, validator = reader(plugin), schemas.config(plugin)
            for base in GOOD[plugin]:
                self.assertIsNone(refusal(read, base), base)
                self.assertTrue(validator.is_valid(base), base)
            for key, value, config in configurations(plugin, validator):
                refused, valid = refusal(read, config), validator.is_valid(config)
                if refused is not None:
                    # The same with the next attempt.
                    self.assertFalse(refused.retry, (plugin, config))
                whys = {why for why, keys, holds in UNSAID if key in keys.split() and holds(value)} if valid and refused else ()
                needed.update(whys)
                with self.subTest(plugin=plugin, key=key, value=repr(value)[:200]):
                    self.assertTrue(valid == (refused is None) or whys, f"by the schema {'right' if valid else 'wrong'}; the plugin says: {refused}")
        self.assertEqual(needed, {why for why, _, _ in UNSAID})

    def test_a_key_that_is_not_known(self):
        for plugin, bases in GOOD.items():
            wrong = {**bases[0], "unknown": 1}
            self.assertFalse(schemas.config(plugin).is_valid(wrong), plugin)
            # These leave it to ductile, which warns of it.
            if plugin not in ("echo", "example"):
                self.assertIn("config.unknown", str(refusal(reader(plugin), wrong)))


def refusal(read, config):
    try:
        read(config)
    except DUCTILE.Failure as failure:
        return failure
    return None


if __name__ == "__main__":
    unittest.main()
