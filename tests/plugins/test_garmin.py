"""plugins/garmin with a stand-in for its package: what Garmin really answers cannot be tested without an account."""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from connector import Connector
from support import PATIENCE, ROOT

STAND_INS = pathlib.Path(__file__).resolve().parent / "stand_ins"
NOW = datetime.datetime.now(datetime.timezone.utc)
# The plugin's clock says about noon, so that no test crosses midnight.
TIME_ZONE = f"X{NOW.hour - 12:+d}"
TODAY = (NOW - datetime.timedelta(hours=NOW.hour - 12)).date()


def day(back):
    return (TODAY - datetime.timedelta(days=back)).isoformat()


def summary(back, steps, **more):
    return {"calendarDate": day(back), "includesWellnessData": True, "totalSteps": steps, "sleepingSeconds": 27_000, **more}


def activity(number, back):
    return {"activityId": number, "activityName": f"Run {number}", "activityType": {"typeKey": "running"},
            "startTimeLocal": f"{day(back)} 08:00:00", "distance": 5000.4, "duration": 1800.5}


class Garmin(Connector):
    plugin = "garmin"
    program = (sys.executable, "-S", "garmin.py")
    path = os.environ["PATH"]
    with_package = True

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "tokens").mkdir(mode=0o700)
        (self.folder / "tokens" / "garmin_tokens.json").write_text("{}")
        self.config = {"tokens": str(self.folder / "tokens")}
        self.answers = {"days": {}, "activities": []}

    def answered(self, request):
        file = self.folder / "answers.json"
        file.write_text(json.dumps(self.answers))
        env = {"PATH": self.path, "LANG": "C", "TZ": TIME_ZONE, "GARMIN_ANSWERS": str(file)}
        if self.with_package:
            env["PYTHONPATH"] = str(STAND_INS)
        done = subprocess.run(self.program, cwd=ROOT / "plugins" / "garmin", input=request.encode(), env=env, capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.stderr, b"")
        self.stdout, self.code = done.stdout.decode(), done.returncode
        self.assertNotIn("very-secret", self.stdout)
        self.asked_for = json.loads(file.read_text()).get("asked", [])
        return json.loads(self.stdout)

    def kinds(self, **config):
        return [(event["type"], event["payload"].get("date") or event["payload"].get("id")) for event in self.events(**config)]

    def test_new_days_and_activities_once(self):
        self.answers = {"days": {day(2): summary(2, 1000), day(0): summary(0, 5)}, "activities": [activity(2, 1), activity(1, 2)]}
        self.assertEqual(self.kinds(), [])
        self.answers["days"][day(1)] = summary(1, 2000)
        self.answers["activities"].append(activity(3, 0))
        (run, whole_day) = self.events()
        self.assertEqual((run["type"], run["payload"]["title"], run["payload"]["type"], run["payload"]["activity"]),
                         ("garmin.activity", "Run 3", "running", activity(3, 0)))
        self.assertIn("duration: 0:30:00", run["payload"]["text"])
        self.assertEqual((whole_day["type"], whole_day["payload"]["date"], whole_day["payload"]["steps"], whole_day["payload"]["summary"]),
                         ("garmin.day", day(1), 2000, summary(1, 2000)))
        self.assertEqual(self.kinds(), [])
        self.assertNotIn("state_updates", self.poll())

    def test_existing_ones_if_asked_for_in_order(self):
        self.answers = {"days": {day(1): summary(1, 1), day(3): summary(3, 3), day(4): summary(4, 4)}, "activities": [activity(2, 1), activity(1, 2)]}
        self.assertEqual(self.kinds(emit_existing=True),
                         [("garmin.activity", 1), ("garmin.activity", 2), ("garmin.day", day(3)), ("garmin.day", day(1))])

    def test_a_day_that_has_changed(self):
        self.answers["days"][day(1)] = summary(1, 1000, lastSyncTimestampGMT="a")
        self.poll()
        self.answers["days"][day(1)] = summary(1, 1000, lastSyncTimestampGMT="b")
        self.assertEqual(self.kinds(), [])
        self.answers["days"][day(1)] = summary(1, 1500)
        self.assertEqual(self.kinds(), [("garmin.day.updated", day(1))])

    def test_a_repeated_attempt_gives_the_same_events(self):
        self.poll()
        self.answers = {"days": {day(1): summary(1, 1)}, "activities": [activity(1, 1)]}
        before = dict(self.state)
        first = self.events()
        self.state = before
        self.assertEqual(self.events(), first)

    def test_a_pause_misses_nothing(self):
        self.poll()
        # As it was ten days ago.
        self.state.update(looked=day(10), since={"days": day(13), "activities": day(13)})
        self.answers = {"days": {day(back): summary(back, back) for back in range(1, 15)}, "activities": [activity(1, 9)]}
        self.assertEqual(self.kinds(), [("garmin.activity", 1)] + [("garmin.day", day(back)) for back in range(11, 0, -1)])
        self.state["looked"] = "2001-01-01"
        self.poll()
        self.assertEqual(len([asked for asked in self.asked_for if asked[0] == "day"]), 31)

    def test_no_time_left_goes_on_at_the_next_poll(self):
        self.poll()
        self.answers["days"][day(1)] = summary(1, 1)
        response = self.asked("poll", seconds=10)
        self.assert_ok(response)
        self.assertIn("more at the next poll", response["result"])
        self.assertEqual(self.kinds(), [("garmin.day", day(1))])

    def asked_days(self):
        return [asked[1] for asked in self.asked_for if asked[0] == "day"]

    def polled_without_time_after(self, back, **config):
        """Too many requests at one day: as if the time were over, but without waiting for it."""
        there = self.answers["days"].get(day(back))
        self.answers["days"][day(back)] = {"raise": "GarminConnectTooManyRequestsError"}
        response = self.poll(**config)
        self.assertIn("more at the next poll", response["result"])
        self.assertIn("less often", response["logs"][0]["message"])
        self.answers["days"][day(back)] = there if there is not None else {"includesWellnessData": False}
        return response

    def test_slow_answers_reach_the_newest_day(self):
        self.poll(days=6)
        self.answers["days"] = {day(back): summary(back, back) for back in (6, 3, 1)}
        dates = [event["payload"]["date"] for event in self.polled_without_time_after(4, days=6)["events"]]
        dates += [event["payload"]["date"] for event in self.polled_without_time_after(2, days=6)["events"]]
        self.assertEqual(self.asked_days(), [day(4), day(3), day(2)])
        # At the very first: nothing was got, so somebody should hear of it.
        self.answers["days"][day(2)] = {"raise": "GarminConnectTooManyRequestsError", "text": "why"}
        self.assert_final(self.asked("poll", days=6), "why")
        del self.answers["days"][day(2)]
        dates += [date for _, date in self.kinds(days=6)]
        self.assertEqual(self.asked_days(), [day(2), day(1)])
        self.assertEqual(dates, [day(6), day(3), day(1)])
        # Then from the beginning again, for what has changed.
        self.assertEqual(self.kinds(days=6), [])
        self.assertEqual(self.asked_days(), [day(back) for back in (6, 5, 4, 3, 2, 1)])

    def test_what_was_there_before_is_not_told_after_a_first_poll_that_ran_out_of_time(self):
        self.answers = {"days": {day(back): summary(back, back) for back in (3, 2, 1)}, "activities": [activity(1, 2), activity(2, 0)]}
        self.assertIn("first poll", self.polled_without_time_after(2)["result"])
        # A late one of a day before is new all the same.
        self.answers["activities"].append(activity(3, 1))
        self.assertEqual(self.kinds(), [("garmin.activity", 3)])
        self.assertEqual(self.asked_days(), [day(2), day(1)])
        self.assertEqual(sorted(self.state["days"]), [day(3), day(2), day(1)])
        self.answers["days"][day(1)] = summary(1, 7)
        self.assertEqual(self.kinds(), [("garmin.day.updated", day(1))])

    def test_a_day_that_ends_while_a_first_poll_goes_on_is_told(self):
        self.answers["days"] = {day(back): summary(back, back) for back in (5, 4, 3, 2, 1)}
        self.polled_without_time_after(2, days=5)
        # As if that had been yesterday.
        self.state["since"]["days"] = day(1)
        self.assertEqual(self.kinds(days=5), [("garmin.day", day(1))])

    def test_more_days_than_before_are_remembered_like_those_of_a_first_poll(self):
        self.answers = {"days": {day(back): summary(back, back) for back in range(1, 11)}, "activities": [activity(back, back) for back in range(1, 11)]}
        self.poll()
        self.assertNotIn("events", self.polled_without_time_after(5, days=8))
        # Even more while the older ones are not all known: the rest is not taken for looked at.
        self.assertEqual(self.kinds(days=10), [])
        self.assertEqual(len(self.state["days"]), 10)
        self.assertEqual(self.kinds(days=10), [])
        # Those are forgotten again, and not told when they are looked at once more.
        self.assertEqual(self.kinds(), [])
        self.assertEqual(self.kinds(days=10), [])
        self.answers["days"][day(9)] = summary(9, 1)
        self.answers["activities"].append(activity(11, 9))
        self.assertEqual(self.kinds(days=10), [("garmin.activity", 11), ("garmin.day.updated", day(9))])
        self.assertEqual(self.kinds(days=4), [])
        self.assertEqual(len(self.kinds(days=5, emit_existing=True)), 2)

    def test_more_than_a_response_may_have(self):
        self.poll()
        self.answers["activities"] = [activity(number, 1) for number in range(1500)]
        first = self.kinds()
        self.assertEqual(len(first), 1000)
        self.assertEqual(sorted(number for _, number in first + self.kinds()), list(range(1500)))

    def test_failures(self):
        for where in ("login", "activities"):
            for error, final in (("GarminConnectConnectionError", False), ("OSError", False), ("GarminConnectTooManyRequestsError", True),
                                 ("GarminConnectAuthenticationError", True)):
                with self.subTest(where=where, error=error):
                    self.answers[where] = {"raise": error, "text": "why\nit is"}
                    (self.assert_final if final else self.assert_retried)(self.asked("poll"), "why it is")
                    self.assertEqual(self.state, {})
                    self.answers = {"days": {}, "activities": []}
        # In the middle: what came before is not remembered, so nothing is missed.
        self.poll()
        self.answers["days"] = {day(3): summary(3, 1), day(2): {"raise": "GarminConnectConnectionError"}}
        self.assert_retried(self.asked("poll"), "Garmin")
        self.answers["days"].pop(day(2))
        self.assertEqual(self.kinds(), [("garmin.day", day(3))])

    def test_malformed_answers(self):
        for key, value in (("activities", [{"name": "x"}]), ("activities", ["x"]), ("days", {day(1): ["x"]})):
            with self.subTest(value=value):
                self.answers = {"days": {}, "activities": [], key: value}
                self.assert_retried(self.asked("poll"), "not what it used to be")

    def test_logins(self):
        (self.folder / "tokens" / "garmin_tokens.json").unlink()
        self.assert_final(self.asked("poll"), "log in")
        self.answers["mfa"] = True
        self.assert_final(self.asked("poll", user="ann", password="very-secret"), "asks for a code")
        self.answers["mfa"] = False
        self.config["tokens"] = str(self.folder / "new")
        self.poll(user="ann", password="very-secret")
        self.assertEqual(os.stat(self.folder / "new").st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(self.folder / "new" / "garmin_tokens.json").st_mode & 0o777, 0o600)

    def test_health(self):
        self.assert_ok(self.asked("health"))
        self.assertEqual(self.asked_for, [])
        self.assert_misconfigured(self.asked("health", tokens=str(self.folder / "none")), "config.tokens")

    def test_wrong_configuration(self):
        self.assert_each_misconfigured({"tokens": [..., "relative"], "user": ["only"], "password": [5], "days": [0, 32], "china": ["no"], "x": [1]})

    def test_without_the_package(self):
        self.with_package = False
        self.assert_misconfigured(self.asked("health"), "garminconnect", "uv")

    def test_entrypoint_takes_uv_if_it_is_there(self):
        programs = self.folder / "bin"
        programs.mkdir()
        (programs / "python3").symlink_to(sys.executable)
        self.program, self.path = ("/bin/sh", "run.sh"), str(programs)
        self.assert_ok(self.asked("health"))
        self.with_package = False
        self.assert_misconfigured(self.asked("health"), "garminconnect")
        uv = programs / "uv"
        uv.write_text(f'#!/bin/sh\n[ "$*" = "run --quiet --script garmin.py" ] && PYTHONPATH={STAND_INS} exec {sys.executable} garmin.py\n')
        uv.chmod(0o755)
        self.assert_ok(self.asked("health"))


if __name__ == "__main__":
    unittest.main()
