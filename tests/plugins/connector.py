"""A connector as ductile runs it: protocol 2, with the state that the last success left."""

import datetime
import json

import schemas
from support import PluginTest, spawn


class Connector(PluginTest):
    config = {}
    # In place of Python's; for what goes into the environment.
    program = ()

    def setUp(self):
        self.state = {}

    def asked(self, name, event=None, /, payload=None, seconds=100, **config):
        """The response; of a success its state is kept, as ductile does it. `...` removes a key."""
        merged = {key: value for key, value in {**self.config, **config}.items() if value is not ...}
        deadline = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        request = {"protocol": 2, "job_id": "job", "command": name, "config": merged, "state": self.state,
                   "payload": payload or {}, "context": {}}
        if event is not None:
            request["event"] = {"source": "test", "timestamp": "2026-01-01T12:00:00.000Z", "event_id": "e-1", **event}
            request["payload"] = request["event"].get("payload", {})
        request["deadline_at"] = deadline.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        response = self.answered(json.dumps(request))
        schemas.check(self.plugin, request, response, self.code)
        self.state.update(response.get("state_updates", {}))
        self.assertLess(len(json.dumps(self.state)), 1_048_576)
        return response

    def answered(self, request):
        done = spawn(self.plugin, request, *self.program)
        self.stdout = done.stdout.decode()
        response = json.loads(self.stdout)
        self.assertEqual(done.stderr, b"")
        if response["status"] == "ok":
            self.assertTrue(response["result"].strip())
        # 78 is for what only another configuration can change.
        self.assertIn(done.returncode, (0, 78))
        if done.returncode == 78:
            self.assertIs(response["retry"], False)
        self.code = done.returncode
        return response

    def poll(self, **config):
        response = self.asked("poll", **config)
        self.assert_ok(response)
        return response

    def events(self, **config):
        """The events of a poll; their keys differ."""
        events = self.poll(**config).get("events", [])
        keys = [event["dedupe_key"] for event in events]
        self.assertEqual(len(set(keys)), len(keys))
        return events

    def assert_misconfigured(self, response, *words):
        self.assertEqual(self.code, 78, response)
        self.assert_final(response, *words)

    def assert_each_misconfigured(self, wrong, command="health"):
        """{key: values} of which each is refused by the key's name."""
        for key, values in wrong.items():
            for value in values:
                with self.subTest(key=key, value=value):
                    self.assert_misconfigured(self.asked(command, **{key: value}), f"config.{key}")
