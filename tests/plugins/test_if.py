"""plugins/if: which check matches, and that the payload is passed on byte for byte."""

import json
import unittest

from connector import Connector

PAYLOAD = {"title": "Build failed", "n": 5, "on": True, "none": None, "labels": ["bug", "ui"], "a.b": "dotted",
           "user": {"name": "Ünï", "tags": [{"id": 7}]}}


class If(Connector):
    plugin = "if"

    def chosen(self, *checks, payload=PAYLOAD):
        """The type that was emitted, or None."""
        response = self.asked("handle", {"type": "t", "payload": payload}, checks=list(checks))
        self.assert_ok(response)
        events = response.get("events", [])
        self.assertLessEqual(len(events), 1)
        return events[0]["type"] if events else None

    def check(self, field, op, value):
        return self.chosen({"field": field, "op": op, "value": value, "emit": "yes"}) == "yes"

    def test_operations(self):
        for field, op, good, bad in (
            ("title", "contains", "ld fa", "LD"),
            ("title", "startswith", "Build", "failed"),
            ("title", "endswith", "failed", "Build"),
            ("title", "equals", "Build failed", "Build"),
            ("title", "regex", "^B.*d$", "^b"),
            ("title", "regex", "(?i)^b", "x"),
            ("n", "equals", 5, 6),
            ("n", "equals", 5.0, 5.5),
            ("n", "equals", "5", "5.0"),
            ("n", "regex", "^[0-9]$", "[a-z]"),
            ("on", "equals", True, 1),
            ("on", "equals", "true", "True"),
            ("none", "equals", None, ""),
            ("labels", "contains", '"bug"', '"ug"'),
            ("labels", "equals", ["bug", "ui"], ["ui", "bug"]),
            ("labels.1", "equals", "ui", "bug"),
            ("user.name", "equals", "Ünï", "Uni"),
            ("user.tags.0.id", "equals", 7, 8),
            ("user", "equals", {"tags": [{"id": 7}], "name": "Ünï"}, {}),
            (["a.b"], "equals", "dotted", "x"),
        ):
            with self.subTest(field=field, op=op):
                self.assertTrue(self.check(field, op, good))
                self.assertFalse(self.check(field, op, bad))

    def test_a_missing_field_matches_nothing(self):
        for field in ("nope", "title.x", "labels.2", "labels.x", "user.tags.9.id", "a.b"):
            for op in ("contains", "equals", "regex"):
                self.assertFalse(self.check(field, op, "."), field)
        for payload in (None, 7, "text", [], {}):
            check = {"field": "title", "op": "regex", "value": "", "emit": "yes"}
            self.assertIsNone(self.chosen(check, payload=payload))

    def test_the_first_match_counts(self):
        checks = [{"field": "n", "op": "equals", "value": 1, "emit": "one"},
                  {"field": "n", "op": "equals", "value": 5, "emit": "two"},
                  {"field": "n", "op": "equals", "value": 5, "emit": "three"},
                  {"op": "default", "emit": "else"}]
        self.assertEqual(self.chosen(*checks), "two")
        self.assertEqual(self.chosen(*checks, payload={"n": 9}), "else")
        self.assertIsNone(self.chosen(*checks[:3], payload={"n": 9}))

    def test_payload_is_passed_on_as_it_was_written(self):
        payload = ('{"n": 9223372036854775807, "d": 0.1000000000000000055511151231257827021181583404541015625, '
                   '"e":1E400 , "z": -0.0, "same": 1, "same": 2, "t": "\\u00e9 \\ud83d\\ude00 ü \\ud800", '
                   '"raw:0": ["raw:0"]}')
        event = '{"type": "t", "source": "s", "event_id": "e", "dedupe_key": "k-1", "payload": ' + payload + "}"
        request = ('{"protocol": 2, "job_id": "j", "command": "handle", "config": {"checks": '
                   '[{"field": "n", "op": "equals", "value": 9223372036854775807, "emit": "big"}]}, "state": {}, '
                   f'"payload": {payload}, "context": {{}}, "event": {event}}}')
        response = self.answered(request)
        self.assertIn(payload, self.stdout)
        (event,) = response["events"]
        self.assertEqual((event["type"], event["dedupe_key"]), ("big", "k-1"))

    def test_no_key_stays_no_key(self):
        response = self.asked("handle", {"type": "t", "payload": []}, checks=[{"op": "default", "emit": "x"}])
        self.assertEqual(response["events"], [{"type": "x", "payload": []}])

    def test_a_catastrophic_expression_is_stopped(self):
        checks = [{"field": "t", "op": "regex", "value": "(a+)+$", "emit": "x"}]
        event = {"type": "t", "payload": {"t": "a" * 60 + "b"}}
        # A second before the deadline, which here is near.
        self.assert_final(self.asked("handle", event, seconds=1.3, checks=checks), "config.checks.1", "regular expression")

    def test_wrong_configuration(self):
        good = {"field": "a", "op": "equals", "value": "x", "emit": "y"}
        for wrong, word in (
            (None, "config.checks"), ([], "config.checks"), ({}, "config.checks"), ([7], "config.checks.1"),
            ([{**good, "op": "like"}], "checks.1.op"), ([{**good, "field": ""}], "checks.1.field"),
            ([{**good, "field": "a..b"}], "checks.1.field"), ([{**good, "feild": "a"}], "checks.1.feild"),
            ([good, {**good, "emit": ""}], "checks.2.emit"), ([{**good, "emit": "x" * 257}], "checks.1.emit"),
            ([{**good, "op": "regex", "value": "("}], "checks.1.value"), ([{**good, "op": "regex", "value": 7}], "checks.1.value"),
            ([{**good, "op": "contains", "value": ""}], "checks.1.value"), ([{"op": "default", "emit": "x"}, good], "must be the last"),
            ([{"op": "default", "emit": "x", "value": 1}], "checks.1.value"),
            ([{"field": "a", "op": "equals", "emit": "y"}], "checks.1.value"),
        ):
            with self.subTest(wrong=json.dumps(wrong)):
                self.assert_misconfigured(self.asked("health", checks=wrong), word)
        self.assert_ok(self.asked("health", checks=[good]))


if __name__ == "__main__":
    unittest.main()
