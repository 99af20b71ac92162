"""The schemas of the plugins, `config.schema.json` and those in the manifests, held against what is asked and answered."""

import functools
import json
import pathlib

import jsonschema
import yaml

PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
NAMES = sorted(path.parent.name for path in PLUGINS.glob("*/manifest.yaml"))


@functools.cache
def config(plugin):
    """The validator of the plugin's `config`."""
    return _validator(json.loads((PLUGINS / plugin / "config.schema.json").read_text()))


@functools.cache
def declared(plugin, command, name):
    """The validator of the `input_schema` or `output_schema` of a command; None if there is none."""
    commands = yaml.safe_load((PLUGINS / plugin / "manifest.yaml").read_text())["commands"]
    found = next((entry.get(name) for entry in commands if entry["name"] == command), None)
    return None if found is None else _validator(found)


def check(plugin, request, response, code):
    """Raises AssertionError if the plugin took a configuration or a payload, or emitted an event, that a schema refuses."""
    if plugin not in NAMES:
        return
    command = request["command"]
    final = response["status"] == "error" and response.get("retry") is False
    if code == 0 and not (final and any(word in response["error"] for word in ("config.", "unknown command", "the request"))):
        _assert_valid(config(plugin), request["config"], f"{plugin}: config")
    if response["status"] != "ok":
        return
    if command == "handle":
        check_input(plugin, command, request["event"].get("payload", {}))
    elif "payload" in request:
        check_input(plugin, command, request["payload"])
    check_events(plugin, command, response)


def check_input(plugin, command, payload):
    taken = declared(plugin, command, "input_schema")
    if taken is not None:
        _assert_valid(taken, payload, f"{plugin} {command}: payload")


def check_events(plugin, command, response):
    emitted = declared(plugin, command, "output_schema")
    for event in response.get("events", ()):
        assert emitted is not None, f"{plugin} {command} emits events, but has no output_schema"
        _assert_valid(emitted, event, f"{plugin} {command}: event {event.get('type')}")


def _validator(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _assert_valid(validator, value, what):
    # Far faster than to ask for the errors.
    if not validator.is_valid(value):
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        raise AssertionError(f"{what}: {error.message[:500]} at {error.json_path}, by its schema")
