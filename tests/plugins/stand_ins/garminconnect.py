"""Stands for the package garminconnect 0.3: its names, and answers from the JSON file that GARMIN_ANSWERS names.

{"login": error, "mfa": bool, "days": {date: summary or error}, "activities": [..] or error}; an error is {"raise": class name, "text": ...}.
What is asked is appended to the file's "asked".
"""

import json
import os


class GarminConnectConnectionError(Exception):
    pass


class GarminConnectTooManyRequestsError(Exception):
    pass


class GarminConnectAuthenticationError(Exception):
    pass


def _answer(value):
    if isinstance(value, dict) and "raise" in value:
        raise {**globals(), "OSError": OSError}[value["raise"]](value.get("text", ""))
    return value


class Garmin:
    def __init__(self, email=None, password=None, is_cn=False, prompt_mfa=None, return_on_mfa=False):
        self._credentials, self._prompt_mfa = (email, password), prompt_mfa
        self._file = os.environ["GARMIN_ANSWERS"]

    def _said(self, *what):
        with open(self._file) as file:
            answers = json.load(file)
        answers.setdefault("asked", []).append(what)
        with open(self._file, "w") as file:
            json.dump(answers, file)
        return answers

    def login(self, /, tokenstore=None):
        answers = self._said("login", *self._credentials)
        _answer(answers.get("login"))
        tokens = os.path.join(tokenstore, "garmin_tokens.json")
        if os.path.exists(tokens):
            return None, None
        if not all(self._credentials):
            raise GarminConnectAuthenticationError("Username and password are required")
        if answers.get("mfa"):
            try:
                self._prompt_mfa()
            except Exception as error:
                raise GarminConnectConnectionError(f"Login failed: {error}") from error
        with open(tokens, "w") as file:
            file.write("{}")
        return None, None

    def get_user_summary(self, cdate):
        return _answer(self._said("day", cdate)["days"].get(cdate, {"calendarDate": cdate, "includesWellnessData": False}))

    def get_activities_by_date(self, startdate, enddate=None, activitytype=None, sortorder=None):
        listed = _answer(self._said("activities", startdate, enddate, sortorder)["activities"])
        if not isinstance(listed, list):
            return listed
        within = [one for one in listed if not isinstance(one, dict) or startdate <= one.get("startTimeLocal", startdate)[:10] <= enddate]
        return sorted(within, key=lambda one: one["startTimeLocal"]) if sortorder == "asc" and within and "startTimeLocal" in within[0] else within
