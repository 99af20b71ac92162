"""plugins/exec with real commands."""

import json
import os
import signal
import tempfile
import unittest

from connector import Connector

EVENT = {"type": "a.b", "payload": {"n": 1, "t": "x'; touch /nope; $(id) é"}, "dedupe_key": "k"}


class Exec(Connector):
    plugin = "exec"

    def handle(self, command, event=EVENT, **config):
        return self.asked("handle", event, command=command, **config)

    def shell(self, text, **config):
        return self.handle(text, shell=True, **config)

    def payloads(self, response):
        self.assert_ok(response)
        return [event["payload"] for event in response.get("events", [])]

    def test_event_on_stdin_and_in_the_environment(self):
        (seen,) = self.payloads(self.handle(["cat"], output="json"))
        self.assertEqual(seen, {**EVENT, "source": "test", "timestamp": "2026-01-01T12:00:00.000Z", "event_id": "e-1"})
        names = "COMMAND EVENT_TYPE EVENT_SOURCE EVENT_ID EVENT_TIMESTAMP DEDUPE_KEY PAYLOAD"
        script = " ".join(f'"$DUCTILE_{name}"' for name in names.split())
        found = [payload["text"] for payload in self.payloads(self.shell(f"printf '%s\\n' {script}", output="lines"))]
        self.assertEqual(found[:-1], ["handle", "a.b", "test", "e-1", "2026-01-01T12:00:00.000Z", "k"])
        self.assertEqual(json.loads(found[-1]), EVENT["payload"])

    def test_poll_has_its_payload(self):
        for payload in ({}, {"full": True}):
            response = self.asked("poll", payload=payload, command='cat; echo; echo "$DUCTILE_PAYLOAD${DUCTILE_EVENT_ID-no}"',
                                  shell=True, output="lines")
            self.assertEqual([found["text"] for found in self.payloads(response)],
                             [json.dumps(payload), json.dumps(payload) + "no"])

    def test_no_shell_unless_asked(self):
        self.assertEqual(self.payloads(self.handle(["printf", "%s", "$HOME; *"], output="text")), [{"text": "$HOME; *"}])
        self.assert_misconfigured(self.handle("echo x"), "config.command")

    def test_outputs(self):
        self.assertEqual(self.payloads(self.shell("echo x")), [])
        for output in ("text", "json", "lines"):
            self.assertEqual(self.payloads(self.shell("echo; echo ' '", output=output)), [])
        self.assertEqual(self.payloads(self.shell("printf 'a\\r\\n\\n b\\nc'", output="lines")),
                         [{"text": "a"}, {"text": " b"}, {"text": "c"}])
        self.assertEqual(self.payloads(self.shell("printf 'a\\n\\377\\n\\n'", output="text")), [{"text": "a\n\ufffd\n"}])
        response = self.shell("echo '[1.10, 12345678901234567890.5]'", output="json", event_type="mine")
        self.assertIn("[1.10, 12345678901234567890.5]", self.stdout)
        self.assertEqual(response["events"][0]["type"], "mine")
        self.assert_retried(self.shell("echo '{\"a\":'", output="json"), "not JSON")
        self.assert_retried(self.shell("echo NaN", output="json"), "not JSON")
        self.assertEqual(len(self.payloads(self.shell("seq 1000", output="lines"))), 1000)
        self.assert_final(self.shell("seq 1001", output="lines"), "1001 lines")

    def test_too_much_output(self):
        many = "head -c 3000000 /dev/zero | tr '\\0' x"
        self.assert_final(self.shell(many, output="text"), "max_output")
        self.assert_ok(self.shell(many))
        (payload,) = self.payloads(self.shell(many, output="text", max_output="3MB"))
        self.assertEqual(len(payload["text"]), 3_000_000)

    def test_output_that_is_longer_as_json(self):
        # As ASCII this would be three times as long.
        (payload,) = self.payloads(self.handle(["printf", "я" * 10_000], output="text"))
        self.assertEqual(payload["text"], "я" * 10_000)
        self.assertLess(len(self.stdout.encode()), 21_000)
        # Of a control character JSON makes six.
        self.assert_final(self.shell("head -c 1600000 /dev/zero", output="text", max_output="2MB"), "bytes as JSON", "9437184")

    def test_exit_codes(self):
        for code, config, outcome in (
            (0, {}, self.assert_ok), (1, {}, self.assert_retried), (3, {"permanent_codes": [2, 3]}, self.assert_final),
            (3, {"success_codes": "0, 3"}, self.assert_ok), (0, {"success_codes": [1]}, self.assert_retried),
            (78, {}, self.assert_retried), (2, {"permanent_codes": 2}, self.assert_final),
        ):
            with self.subTest(code=code, config=config):
                outcome(self.shell(f"exit {code}", **config))
                self.assertEqual(self.code, 0)
        self.assert_retried(self.shell("kill -9 $$"), "SIGKILL")
        self.assertEqual(self.shell("echo x; exit 1", output="text").get("events"), None)

    def test_stderr_goes_to_the_log(self):
        response = self.shell("echo one >&2; echo 'twö' >&2; exit 4")
        self.assert_retried(response, "exit code 4: twö")
        self.assertEqual(response["logs"], [{"level": "warn", "message": "one"}, {"level": "warn", "message": "twö"}])
        logs = self.shell("seq 5000 >&2")["logs"]
        self.assertEqual((len(logs), logs[-1]), (101, {"level": "info", "message": "5000"}))

    def test_timeout_ends_the_command(self):
        with tempfile.TemporaryDirectory() as folder:
            script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done"
            self.assert_retried(self.shell(script, cwd=folder, timeout=0.4), "took more than 0.4 s")
            with open(os.path.join(folder, "pid")) as file:
                pid = int(file.read())
            with self.assertRaises(ProcessLookupError):
                os.kill(pid, 0)
        # Also one that has closed all that it could be heard by.
        self.assert_retried(self.handle(["sh", "-c", "exec <&- >&- 2>&-; exec sleep 30"], timeout=0.3), "took more")
        # And the deadline of the plugin counts, whatever is configured.
        response = self.asked("handle", EVENT, seconds=4.4, command=["sleep", "30"], timeout=600)
        self.assert_retried(response, "took more than 0")

    def test_grandchild_that_holds_the_pipes_does_not_delay(self):
        (said,) = self.payloads(self.shell("sleep 60 & echo $!", output="text", timeout=30))
        os.kill(int(said["text"]), signal.SIGKILL)

    def test_command_that_does_not_read(self):
        event = {**EVENT, "payload": "y" * 3_000_000}
        response = self.handle(["sh", "-c", 'printf "${DUCTILE_PAYLOAD-unset}"'], event, output="text")
        self.assertEqual(self.payloads(response), [{"text": "unset"}])
        self.assertIn("DUCTILE_PAYLOAD", response["logs"][0]["message"])
        self.assertEqual(self.payloads(self.handle(["wc", "-c"], event, output="json"))[0] > 3_000_000, True)

    def test_working_directory(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = os.path.realpath(folder)
            self.assertEqual(self.payloads(self.handle(["pwd", "-P"], cwd=folder, output="text")), [{"text": folder}])
        self.assert_retried(self.handle(["pwd"], cwd=folder), "config.cwd")

    def test_health_does_not_run_it(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assert_ok(self.asked("health", command=["touch", "ran"], cwd=folder))
            self.assertEqual(os.listdir(folder), [])
        for missing in (["no-such-program"], ["/no/such"], ["/etc/passwd"]):
            self.assert_misconfigured(self.asked("health", command=missing), "config.command")
            self.assert_misconfigured(self.handle(missing), "config.command")

    def test_wrong_configuration(self):
        self.config = {"command": ["true"]}
        self.assert_each_misconfigured({
            "command": (..., [], "", [7], {"a": 1}, ["a\0b"]), "shell": ("yes", 1.5, 1), "cwd": ("here", 7),
            "timeout": (0, "x", "1_0", "+5"), "success_codes": ([256], "x", {}), "permanent_codes": ([0], [-1]),
            "output": ("xml",), "event_type": ("", 7, "x" * 257), "max_output": ("9MB", "x", 0), "comand": ("x",),
        })


if __name__ == "__main__":
    unittest.main()
