# /// script
# requires-python = ">=3.10"
# dependencies = ["garminconnect>=0.3.2,<0.4"]
# ///
"""garmin: daily summaries and activities from Garmin Connect; one event for each.

Needs the package garminconnect, see run.sh. README.md has the configuration, the events and an example.

State:
  source       identifies tokens and user; another one begins anew
  days         {date: hash of the summary} of the last days that had data
  activities   ids of the activities of the last days
  looked       the day of the last poll that has looked at everything
  since        {"days": date, "activities": date}: what is from before was there before, or is forgotten
  left         {"from": date, "at": date}: the days of a poll that had not the time for all, and where the next one goes on

Exit codes: 0, also for `status: error`; 78 for a wrong configuration; 1 for a fault of this program.
"""

import datetime
import hashlib
import json
import logging
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import ductile
from ductile_settings import Settings

KEYS = ("tokens", "user", "password", "china", "days", "emit_existing")
# Each day is one request; what is further back is for an export by hand.
MAX_DAYS = 31
MAX_ACTIVITIES = 1000
# ductile takes 10 MB of output.
MAX_EVENT_BYTES = 8 * 1024 * 1024
# Time for the request that is being answered.
SPARE = 15
# Of a summary: changes with each synchronization, though nothing else may have.
VOLATILE = ("lastSyncTimestampGMT",)


def settings(request):
    read = Settings(request.config, KEYS)
    ductile.hide(request.config.get("password"))
    checked = {
        "tokens": read.text("tokens"),
        "user": read.text("user", None),
        "password": read.text("password", None),
        "china": read.flag("china", False),
        "days": read.number("days", 1, MAX_DAYS, 3, whole=True),
        "emit_existing": read.flag("emit_existing", False),
    }
    if not os.path.isabs(checked["tokens"]):
        read.wrong("tokens", "must be a whole path, from /")
    if (checked["user"] is None) != (checked["password"] is None):
        read.wrong("user", "and config.password must be set both or neither")
    return checked


def package():
    try:
        import garminconnect
    except ImportError as error:
        raise ductile.Misconfigured(f"the Python package garminconnect is missing ({error}): install uv, or the package") from None
    # It prints tracebacks of its own.
    logging.disable(logging.CRITICAL)
    return garminconnect


@ductile.command("health")
def health(request):
    checked = settings(request)
    package()
    if checked["user"] is None and not os.path.isdir(checked["tokens"]):
        raise ductile.Misconfigured(f"config.tokens: {checked['tokens']} is no folder: log in first, see README.md")
    return ductile.ok("package and tokens are there; nobody was asked")


@ductile.command("poll")
def poll(request):
    checked = settings(request)
    source = hashlib.sha256(f"{checked['tokens']}\n{checked['user']}".encode()).hexdigest()[:16]
    state = request.state if request.state.get("source") == source else {}
    garminconnect = package()
    try:
        return changes(logged_in(garminconnect, checked), checked, source, state, request, garminconnect.GarminConnectTooManyRequestsError)
    except garminconnect.GarminConnectTooManyRequestsError as error:
        # Asking again soon would make it worse.
        raise ductile.Failure(f"Garmin wants to be asked less often: {said(error)}", retry=False) from None
    except garminconnect.GarminConnectAuthenticationError as error:
        # The package says so of failed requests, too; but repeated logins lock the account.
        raise ductile.Failure(f"Garmin does not let us in: {said(error)}; log in anew, see README.md", retry=False) from None
    except (garminconnect.GarminConnectConnectionError, OSError) as error:
        raise ductile.Failure(f"Garmin: {said(error)}") from None


def logged_in(garminconnect, checked):
    asked_for_code = False

    def code():
        nonlocal asked_for_code
        asked_for_code = True
        raise RuntimeError("nobody is here to say the code")

    # The tokens are as good as the password.
    os.umask(0o077)
    os.makedirs(checked["tokens"], mode=0o700, exist_ok=True)
    garmin = garminconnect.Garmin(checked["user"], checked["password"], is_cn=checked["china"], prompt_mfa=code)
    try:
        garmin.login(checked["tokens"])
    except Exception:
        if asked_for_code:
            raise ductile.Failure("Garmin asks for a code, which needs you: log in once by hand, see README.md", retry=False) from None
        raise
    return garmin


def changes(garmin, checked, source, state, request, too_many):
    today = datetime.date.today()
    first = today - datetime.timedelta(days=checked["days"])
    if state.get("looked"):
        # After a pause all days since then, so that none is missed.
        pause = datetime.date.fromisoformat(state["looked"]) - datetime.timedelta(days=1)
        first = max(min(first, pause), today - datetime.timedelta(days=MAX_DAYS))
    tomorrow, second, first = (day.isoformat() for day in (today + datetime.timedelta(days=1), first + datetime.timedelta(days=1), first))
    since = state.get("since")
    if since is None:
        # A first poll looks at all activities at once, but perhaps not at all days.
        since = {"days": first, "activities": first} if state else {"days": today.isoformat(), "activities": "9999"}
    # If more days are configured than before, the older ones are like those of a first poll.
    silent_before = {"days": "", "activities": ""} if checked["emit_existing"] else since
    events = Events()
    told = activities(garmin, first, tomorrow, source, state, events, silent_before["activities"])
    left = days(garmin, first, today, source, state, events, silent_before["days"], request, too_many)
    complete = told and left is None
    update = {
        "source": source, "days": events.days, "activities": events.activities, "left": left,
        "looked": today.isoformat() if complete else state.get("looked") or second,
        "since": {"days": first if left is None else max(first, since["days"]),
                  "activities": first if told else max(first, since["activities"])},
    }
    result = f"{len(events.made)} new"
    if not state and not checked["emit_existing"]:
        result = f"first poll: {len(events.days)} days and {len(events.activities)} activities remembered, none emitted"
    result += "" if complete else ", more at the next poll"
    return ductile.ok(result, events=events.made, state=None if all(state.get(key) == value for key, value in update.items()) else update)


class Events:
    """What is emitted, and what is remembered of it."""

    def __init__(self):
        self.made = []
        self.days = {}
        self.activities = []
        self._size = 0

    def add(self, made):
        """Whether there was room for it."""
        cost = len(json.dumps(made))
        if self._size + cost > MAX_EVENT_BYTES or len(self.made) == MAX_ACTIVITIES:
            return False
        self._size += cost
        self.made.append(made)
        return True


def activities(garmin, first, tomorrow, source, state, events, silent_before):
    """Whether there was room for all."""
    listed = garmin.get_activities_by_date(first, tomorrow, sortorder="asc")
    known = set(state.get("activities") or [])
    complete = True
    for activity in listed or []:
        number = activity.get("activityId") if isinstance(activity, dict) else None
        if not isinstance(number, int):
            raise ductile.Failure("an activity of Garmin's has no activityId: the answer is not what it used to be")
        started = activity.get("startTimeLocal")
        silent = number in known or (started[:10] if isinstance(started, str) else first) < silent_before
        # Once it is full the rest waits, so that the order stays.
        if not silent and complete:
            complete = events.add(ductile.event("garmin.activity", about_activity(activity), f"{source}:activity:{number}"))
        if silent or complete:
            events.activities.append(number)
    return complete


def days(garmin, first, today, source, state, events, silent_before, request, too_many):
    """What the state shall have as `left`: None if all were looked at. Only whole days: today's summary changes all the time."""
    known = state.get("days") or {}
    start = datetime.date.fromisoformat(first)
    span = [(start + datetime.timedelta(days=number)).isoformat() for number in range((today - start).days)]
    # Days that are not reached this time stay as they were.
    events.days = {day: mark for day, mark in known.items() if day in span}
    left = state.get("left")
    # From the beginning if more days are asked for by now.
    begun, at = (left["from"], left["at"]) if left and left["from"] <= first else (first, first)
    asked = 0
    for day in span:
        if day < at:
            continue
        stopped = {"from": begun, "at": day}
        if request.seconds_left() < SPARE:
            ductile.log("warn", f"the time is over at {day}")
            return stopped
        try:
            summary = garmin.get_user_summary(day)
        except too_many as error:
            if asked == 0:
                raise
            ductile.log("warn", f"Garmin wants to be asked less often, at {day}: {said(error)}")
            return stopped
        asked += 1
        if not isinstance(summary, dict):
            raise ductile.Failure("a summary of Garmin's is no object: the answer is not what it used to be")
        if summary.get("includesWellnessData") is False:
            continue
        steady = {key: value for key, value in summary.items() if key not in VOLATILE}
        mark = hashlib.sha256(json.dumps(steady, sort_keys=True).encode()).hexdigest()[:16]
        if known.get(day) == mark:
            continue
        kind = "garmin.day.updated" if day in known else "garmin.day"
        if day >= silent_before and not events.add(ductile.event(kind, about_day(day, summary), f"{source}:day:{day}:{mark}")):
            return stopped
        events.days[day] = mark
    return None


def about_day(day, summary):
    lines = [
        line("steps", summary.get("totalSteps")),
        line("distance", summary.get("totalDistanceMeters"), "m"),
        line("resting heart rate", summary.get("restingHeartRate"), "bpm"),
        line("sleep", hours(summary.get("sleepingSeconds"))),
    ]
    return {"title": f"Garmin: {day}", "text": "\n".join(filter(None, lines)), "date": day, "steps": summary.get("totalSteps"),
            "distance_m": summary.get("totalDistanceMeters"), "resting_heart_rate": summary.get("restingHeartRate"),
            "sleep_s": summary.get("sleepingSeconds"), "summary": summary}


def about_activity(activity):
    kind = activity.get("activityType")
    kind = kind.get("typeKey") if isinstance(kind, dict) else None
    lines = [line("type", kind), line("started", activity.get("startTimeLocal")), line("distance", activity.get("distance"), "m"),
             line("duration", hours(activity.get("duration")))]
    number = activity["activityId"]
    return {"title": str(activity.get("activityName") or kind or "activity"), "text": "\n".join(filter(None, lines)),
            "url": f"https://connect.garmin.com/modern/activity/{number}", "id": number, "type": kind,
            "started": activity.get("startTimeLocal"), "distance_m": activity.get("distance"), "duration_s": activity.get("duration"),
            "activity": activity}


def line(name, value, unit=""):
    if isinstance(value, float):
        value = round(value)
    return None if value is None else f"{name}: {value} {unit}".rstrip()


def hours(seconds):
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


def said(error):
    return " ".join(str(error).split())[:300] or type(error).__name__


if __name__ == "__main__":
    ductile.main()
