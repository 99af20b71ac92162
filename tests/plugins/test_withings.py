"""plugins/withings against a stand-in for its API, made from the public reference: nothing missed, nothing twice, no token lost."""

import json
import threading
import time
import unittest
import urllib.parse

from connector import Connector
from support import PATIENCE, HttpServer, closed_port

DAY = 86_400


class Withings(HttpServer):
    """Rotates tokens as the reference says: the old refresh token is good until the new access token is used."""

    def __init__(self):
        self.refresh = {"first-refresh-token": None}
        self.access = {}
        self.made = 0
        self.life = 10_800
        self.groups = []
        self.days = []
        self.page = 100
        self.instead = []
        self.asked = []
        super().__init__(self.answer)

    def answer(self, handler):
        path, body = self.requests[-1][1], self.requests[-1][3]
        fields = dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True))
        self.asked.append(fields)
        for place, (action, instead) in enumerate(self.instead):
            if action in (None, fields["action"]):
                del self.instead[place]
                instead(handler)
                return
        say(handler, self.tokens(fields) if path == "/v2/oauth2" else self.data(path, fields, handler.headers.get("Authorization", "")))

    def tokens(self, fields):
        wanted = {"action": "requesttoken", "grant_type": "refresh_token", "client_id": "me", "client_secret": "very-secret"}
        if {name: fields.get(name) for name in wanted} != wanted:
            return {"status": 503, "body": {}, "error": "Invalid Params"}
        if fields["refresh_token"] not in self.refresh:
            return {"status": 503, "body": {}, "error": "Invalid Params: invalid refresh_token"}
        self.made += 1
        refresh, access = f"refresh-token-{self.made}", f"access-token-{self.made}"
        self.refresh[refresh] = None
        self.access[access] = (time.time() + self.life, fields["refresh_token"])
        return {"status": 0, "body": {"userid": "363", "access_token": access, "refresh_token": refresh, "expires_in": self.life,
                                      "scope": "user.metrics,user.activity", "token_type": "Bearer"}}

    def data(self, path, fields, authorization):
        token = authorization.removeprefix("Bearer ")
        if self.access.get(token, (0, None))[0] < time.time():
            return {"status": 401, "body": {}, "error": "XRequestID: Not provided invalid_token: The access token provided is invalid"}
        # The old refresh token ends here.
        self.refresh.pop(self.access[token][1], None)
        name, every = ("measuregrps", self.groups) if (path, fields["action"]) == ("/measure", "getmeas") else ("activities", self.days)
        assert name == "measuregrps" or (path, fields["action"]) == ("/v2/measure", "getactivity")
        found = [{key: value for key, value in item.items() if key != "_at"} for item in every if item["_at"] >= int(fields["lastupdate"])]
        offset = int(fields.get("offset") or 0)
        end = offset + self.page
        more = {"more": 1 if name == "measuregrps" else True, "offset": end} if end < len(found) else {"more": 0, "offset": 0}
        return {"status": 0, "body": {"updatetime": int(time.time()), "timezone": "Europe/Berlin", name: found[offset:end], **more}}

    def weight(self, number, grams=72_345, at=None):
        at = int(time.time()) if at is None else at
        self.groups.append({
            "grpid": number, "attrib": 0, "date": 1_767_225_600, "created": 1_767_225_660, "modified": at, "category": 1, "deviceid": "scale",
            "measures": [{"value": grams, "type": 1, "unit": -3, "algo": 0, "fm": 3}, {"value": 205, "type": 6, "unit": -1}], "_at": at})

    def day(self, date, steps):
        self.days = [day for day in self.days if day["date"] != date]
        self.days.append({"date": date, "timezone": "Europe/Berlin", "deviceid": None, "brand": 18, "is_tracker": True, "steps": steps,
                          "distance": 1234.5, "_at": int(time.time())})


def say(handler, content, status=200, headers=()):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class WithingsTest(Connector):
    plugin = "withings"

    def setUp(self):
        super().setUp()
        self.server = Withings()
        self.addCleanup(self.server.__exit__)
        self.config = {"client_id": "me", "client_secret": "very-secret", "refresh_token": "first-refresh-token", "base_url": self.server.url}

    def answered(self, request):
        response = super().answered(request)
        shown = json.dumps({**response, "state_updates": None})
        for secret in ("very-secret", "refresh-token", "access-token"):
            self.assertNotIn(secret, shown)
        return response

    def instead(self, action, content, status=200, headers=()):
        self.server.instead.append((action, lambda handler: say(handler, content, status, headers)))

    def begin(self, **config):
        """The first two polls: tokens, then what is there, remembered."""
        self.assertIn("tokens renewed", self.poll(**config)["result"])
        return self.events(**config)

    def ids(self, **config):
        return [event["payload"]["id"] for event in self.events(**config)]

    def expire(self):
        self.state["expires"] = time.time() - 1

    # Data

    def test_new_measures_once(self):
        self.server.weight(1)
        self.assertEqual(self.begin(), [])
        self.assertEqual(self.events(), [])
        self.server.weight(2)
        (event,) = self.events()
        self.assertEqual(event["type"], "withings.measures")
        modified = event["payload"].pop("modified")
        self.assertTrue(modified.startswith("2") and modified.endswith(".000Z"))
        self.assertEqual(event["payload"], {
            "title": "weight 72.345 kg, fat ratio 20.5 %", "id": 2, "date": "2026-01-01T00:00:00.000Z", "created": "2026-01-01T00:01:00.000Z",
            "weight": 72.345, "fat_ratio": 20.5, "attrib": 0, "ambiguous": False, "device": "scale", "measures": [
                {"type": 1, "name": "weight", "value": 72.345, "unit": "kg"}, {"type": 6, "name": "fat_ratio", "value": 20.5, "unit": "%"}]})
        self.assertEqual(self.events(), [])
        question = [fields for fields in self.server.asked if fields["action"] == "getmeas"][-1]
        self.assertEqual((question["meastypes"], question["category"]), ("1,5,6,8,76,77,88", "1"))

    def test_a_repeated_attempt_gives_the_same_events(self):
        self.begin()
        self.server.weight(1)
        self.server.day("2026-01-01", 100)
        before = dict(self.state)
        first = self.events()
        self.state = before
        self.assertEqual(self.events(), first)
        self.assertEqual(len(first), 2)

    def test_a_measure_that_was_stored_late_is_not_missed(self):
        self.begin()
        self.poll()
        self.server.weight(1, at=int(time.time()) - DAY + 600)
        self.assertEqual(self.ids(), [1])
        self.assertEqual(self.ids(), [])

    def test_after_a_long_pause(self):
        self.begin()
        self.state["measures"]["since"] -= 30 * DAY
        self.server.weight(1, at=int(time.time()) - 20 * DAY)
        self.assertEqual(self.ids(), [1])

    def test_a_measure_that_was_changed(self):
        self.server.weight(1)
        self.begin()
        self.server.groups.clear()
        self.server.weight(1, grams=80_000)
        (event,) = self.events()
        self.assertEqual(event["payload"]["weight"], 80)

    def test_activity_of_a_day_as_it_grows(self):
        self.server.day("2026-01-01", 100)
        self.begin()
        self.assertEqual(self.events(), [])
        keys = set()
        for steps in (200, 300):
            self.server.day("2026-01-01", steps)
            (event,) = self.events()
            self.assertEqual((event["type"], event["payload"]["steps"], event["payload"]["distance"]), ("withings.activity", steps, 1234.5))
            self.assertEqual(event["payload"]["title"], f"2026-01-01: {steps} steps")
            keys.add(event["dedupe_key"])
        self.assertEqual(len(keys), 2)
        self.assertEqual(self.events(data=["measures"]), [])

    def test_thousands_a_thousand_a_poll_while_more_come(self):
        for number in range(2500):
            self.server.weight(number, at=int(time.time()) - 400 * DAY + number)
        self.poll(emit_existing=True)
        found = self.ids(emit_existing=True)
        self.assertEqual(len(found), 1000)
        self.server.weight(2500)
        found += self.ids(emit_existing=True) + self.ids(emit_existing=True)
        self.assertEqual(found, list(range(2501)))
        self.assertEqual(self.ids(emit_existing=True), [])
        self.server.weight(2501)
        self.assertEqual(self.ids(emit_existing=True), [2501])

    # Tokens

    def test_a_crash_at_any_place_loses_no_token(self):
        """Each job runs twice, from the same state: the first answer was lost."""
        self.server.weight(1)
        for number in range(2, 8):
            for age in (None, "half", "gone"):
                with self.subTest(number=number, age=age):
                    if age is not None and self.state.get("life"):
                        self.state["expires"] = time.time() + (self.state["life"] / 3 if age == "half" else -1)
                    before = json.loads(json.dumps(self.state))
                    self.poll()
                    self.state = before
                    self.poll()
        self.server.weight(100)
        self.assertEqual([100], [event["payload"]["id"] for _ in range(2) for event in self.events()])

    def test_new_tokens_in_time_and_not_used_at_once(self):
        self.begin()
        self.state["expires"] = time.time() + self.state["life"] / 3
        old = self.state["access"]
        self.server.weight(5)
        self.assertEqual(self.ids(), [5])
        self.assertNotEqual(self.state["access"], old)
        self.assertEqual(self.server.asked[-1]["action"], "requesttoken")
        self.assertEqual(len(self.state["refresh"]), 2)
        self.server.weight(6)
        self.assertEqual(self.ids(), [6])

    def test_an_expired_token_is_renewed_and_the_next_poll_asks(self):
        self.begin()
        self.expire()
        self.server.weight(5)
        self.assertIn("next poll", self.poll()["result"])
        self.assertEqual(self.ids(), [5])

    def test_a_token_that_is_refused_before_its_time(self):
        self.begin()
        self.server.access.clear()
        self.server.weight(5)
        response = self.poll()
        self.assertIn("status 401", response["logs"][0]["message"])
        self.assertEqual(self.ids(), [5])

    def test_polls_too_rare_for_the_tokens_still_get_data(self):
        self.begin()
        self.expire()
        self.poll()
        self.expire()
        self.server.weight(5)
        response = self.poll()
        self.assertEqual([event["payload"]["id"] for event in response["events"]], [5])
        self.assertIn("at least every hour", response["logs"][0]["message"])
        # A failure then must not lose the tokens.
        for content, status in (({"status": 601, "body": {}}, 200), (b"no JSON", 200), (b"", 500), ({"status": 401, "body": {}}, 200)):
            self.expire()
            self.state.update(unused=True, barren=0)
            self.instead("getmeas", content, status)
            response = self.poll()
            self.assertIn("no data", response["result"])
            self.assertEqual(self.state["refresh"][0], f"refresh-token-{self.server.made}")
        self.assertEqual(self.events(), [])

    def test_an_account_that_no_longer_works_fails_and_loses_no_token(self):
        self.begin()
        refused = {"status": 401, "body": {}, "error": "invalid_token"}
        self.server.data = lambda *_: refused
        self.assertIn("next poll", self.poll()["result"])
        for _ in range(2):
            response = self.poll()
            self.assertIn("no data", response["result"])
            # It had not expired.
            self.assertNotIn("every hour", json.dumps(response["logs"]))
        made = self.server.made
        for _ in range(2):
            self.assert_final(self.asked("poll"), "status 401", "2 times in a row", "authorise again")
        self.assertEqual(self.server.made, made)
        # With expired tokens it would have to renew them: not before a day has gone by.
        self.expire()
        self.assert_final(self.asked("poll"), "not asked", "authorise again")
        self.assertEqual(self.server.made, made)
        self.state["expires"] -= 100_000
        self.assertIn("no data", self.poll()["result"])
        self.assertEqual(self.server.made, made + 1)
        self.assert_final(self.asked("poll"), "3 times in a row")
        # It works again, or was authorised again.
        before = dict(self.state)
        del self.server.data
        self.server.weight(5)
        self.assertEqual(self.ids(), [5])
        self.assertEqual(self.state["barren"], 0)
        self.state = before
        self.server.refresh["second-refresh-token"] = None
        self.config["refresh_token"] = "second-refresh-token"
        self.assertIn("next poll", self.poll()["result"])
        self.assertEqual(self.ids(), [5])

    def test_the_token_before_is_tried_too(self):
        self.begin()
        self.asked("token_refresh")
        self.assertEqual(self.state["refresh"], ["refresh-token-2", "refresh-token-1"])
        self.expire()
        # As after the database was restored from a copy.
        self.server.refresh = {"refresh-token-1": None}
        self.asked("token_refresh")
        self.assertEqual(self.state["refresh"], ["refresh-token-3", "refresh-token-1"])

    def test_no_token_is_accepted(self):
        self.server.refresh.clear()
        self.assert_final(self.asked("poll"), "status 503", "authorise again", "config.refresh_token")
        self.assert_final(self.asked("token_refresh"), "authorise again")
        # Authorised again.
        self.server.refresh["second-refresh-token"] = None
        self.config["refresh_token"] = "second-refresh-token"
        self.assertEqual(self.begin(), [])

    def test_another_token_in_the_configuration_keeps_what_was_seen(self):
        self.server.weight(1)
        self.begin()
        self.server.refresh["second-refresh-token"] = None
        self.config["refresh_token"] = "second-refresh-token"
        self.server.weight(2)
        self.assertEqual(self.events(), [])
        self.assertEqual(self.ids(), [2])

    def test_token_refresh_and_health(self):
        self.assertIn("no valid access token", self.asked("health")["result"])
        self.assertIn("180 minutes", self.asked("token_refresh")["result"])
        self.assertRegex(self.asked("health")["result"], "valid for 1(79|80) minutes")
        self.assertEqual(self.events(), [])
        self.assertEqual(self.server.made, 1)

    def test_tokens_that_cannot_be_renewed_yet_are_no_failure(self):
        self.begin()
        self.state["expires"] = time.time() + self.state["life"] / 3
        self.instead("requesttoken", b"", 500)
        self.server.weight(5)
        response = self.poll()
        self.assertEqual([event["payload"]["id"] for event in response["events"]], [5])
        self.assertIn("could not be renewed yet", response["logs"][0]["message"])

    def test_answers_without_usable_tokens(self):
        for body in ({}, {"access_token": "a", "refresh_token": "b"}, {"access_token": "a\nb", "refresh_token": "b", "expires_in": 5},
                     {"access_token": 7, "refresh_token": "b", "expires_in": 5}, {"access_token": "a", "refresh_token": "b", "expires_in": -1}):
            self.instead("requesttoken", {"status": 0, "body": body})
            self.assert_retried(self.asked("poll"), "without usable tokens")
        self.assertEqual(self.state, {})

    # Failures

    def test_too_many_requests(self):
        self.begin()
        answers = (({"status": 601, "body": {}, "error": "Too Many Request"}, 200, (), 60),
                   (b"", 429, [("Retry-After", "120")], 120), (b"", 429, (), 60), (b"", 503, [("Retry-After", "30")], 30))
        for number, (content, status, headers, seconds) in enumerate(answers):
            with self.subTest(status=status, seconds=seconds):
                # The same number would be the same measure, within a second.
                self.server.weight(number)
                self.instead("getmeas", content, status, headers)
                self.assertIn(f"asked again in {seconds} s", self.poll()["result"])
                asked = len(self.server.asked)
                self.assertIn("left alone", self.poll()["result"])
                self.assertEqual(len(self.server.asked), asked)
                self.state["not_before"] = time.time() - 1
                self.assertEqual(len(self.ids()), 1)
                self.assertEqual(self.state["waits"], 0)
                self.server.groups.clear()
        for _ in range(10):
            self.instead("getmeas", b"", 429)
            self.poll()
            self.state["not_before"] = time.time() - 1
        self.instead("getmeas", b"", 429)
        self.assert_final(self.asked("poll"), "11 times in a row")

    def test_failures_that_are_tried_again_and_others(self):
        self.begin()
        self.server.weight(5)
        for content, status in (({"status": 522, "body": {}, "error": "Timeout"}, 200), ({"status": 2556, "body": {}}, 200), (b"", 500), (b"<html>", 200),
                                (b"[]", 200), ({"status": "0"}, 200), ({"status": 0}, 200), ({"status": 0, "body": {}}, 200),
                                ({"status": 0, "body": {"measuregrps": [{"grpid": "x"}]}}, 200), ({"status": 0, "body": {"measuregrps": [7]}}, 200),
                                ({"status": 0, "body": {"measuregrps": [], "more": 1, "offset": 0}}, 200)):
            with self.subTest(content=content, status=status):
                self.instead("getmeas", content, status)
                self.assert_retried(self.asked("poll"))
        self.instead("getmeas", {"status": 2554 + 1, "body": {}})
        self.assert_final(self.asked("poll"), "scope")
        self.instead("getmeas", {"status": 503, "body": {}, "error": "Invalid Params"})
        self.assert_final(self.asked("poll"), "Invalid Params")
        self.instead("getmeas", b"", 404)
        self.assert_final(self.asked("poll"), "HTTP 404")
        self.assertEqual(self.ids(), [5])

    def test_a_failure_on_a_later_page_misses_nothing(self):
        self.begin()
        self.server.page = 2
        for number in range(5):
            self.server.weight(number)
        self.server.instead.append(("getmeas", lambda handler: say(handler, self.server.data("/measure", self.server.asked[-1], handler.headers["Authorization"]))))
        self.instead("getmeas", b"", 500)
        self.assert_retried(self.asked("poll"), "HTTP 500")
        self.assertEqual(self.ids(), list(range(5)))

    def test_unreachable_and_slow(self):
        self.begin()
        self.assert_retried(self.asked("poll", base_url=f"http://127.0.0.1:{closed_port()}"), "127.0.0.1")
        release = threading.Event()
        self.server.instead.append(("getmeas", lambda handler: release.wait(PATIENCE)))
        try:
            self.assert_retried(self.asked("poll", timeout=0.5), "no complete answer within")
        finally:
            release.set()
        self.server.weight(1)
        self.assertEqual(self.ids(), [1])

    def test_wrong_configuration(self):
        self.assert_each_misconfigured({
            "client_id": (..., ""), "client_secret": (..., 7), "refresh_token": (..., ""), "base_url": ("ftp://x", "x"), "data": (["sleep"], []),
            "types": (["x"], [], 0), "emit_existing": ("yes",), "timeout": (0,), "ca_file": (7,), "pth": ("x",),
        })


if __name__ == "__main__":
    unittest.main()
