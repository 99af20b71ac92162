"""Reads measures or activity page by page, and knows what of it was emitted.

State of each kind:
  since    asked for is what changed since then, less a day; seconds since 1970
  begun    while more than one poll is needed: what `since` will be; else null
  offset   then the page to go on with
  seen     base64 of 12 bytes for each one that was emitted: 6 of its id, 6 of its content
"""

import base64
import datetime
import decimal
import hashlib
import json
import time

import ductile

KINDS = ("measures", "activity")
MAX_EVENTS = 1000
MAX_SEEN = 10_000
PIECE = 6
# Asked for twice, so that neither clocks nor delays at Withings lose anything.
OVERLAP = 86_400
FIELDS = "steps,distance,elevation,soft,moderate,intense,active,calories,totalcalories,hr_average,hr_min,hr_max"
# type: name, unit; others have the name `type_<number>`.
NAMES = {
    1: ("weight", "kg"), 4: ("height", "m"), 5: ("fat_free_mass", "kg"), 6: ("fat_ratio", "%"), 8: ("fat_mass", "kg"),
    9: ("diastolic", "mmHg"), 10: ("systolic", "mmHg"), 11: ("heart_rate", "bpm"), 12: ("temperature", "°C"), 54: ("spo2", "%"),
    71: ("body_temperature", "°C"), 73: ("skin_temperature", "°C"), 76: ("muscle_mass", "kg"), 77: ("water", "kg"), 88: ("bone_mass", "kg"),
    91: ("pulse_wave_velocity", "m/s"),
}


class Reading:
    def __init__(self, kind, state, checked, taken):
        state = state if isinstance(state, dict) else {}
        self.kind = kind
        self.first = state.get("since") is None
        self.silent = self.first and not checked["emit_existing"]
        now = int(time.time())
        self.since = (0 if checked["emit_existing"] else now) if self.first else int(state["since"])
        self.begun = now if state.get("begun") is None else int(state["begun"])
        self.offset = int(state.get("offset") or 0)
        data = base64.b64decode(state.get("seen") or "")
        pairs = (data[at : at + 2 * PIECE] for at in range(0, len(data), 2 * PIECE))
        self.seen = {pair[:PIECE]: pair[PIECE:] for pair in pairs}
        self.room = MAX_EVENTS - taken
        self.types = checked["types"]
        self.left = False
        self.events = []

    def read(self, api, access):
        while True:
            path, fields = self._question()
            body = api.page(path, {**fields, "lastupdate": max(0, self.since - OVERLAP), "offset": self.offset}, access)
            for item in self._items(body):
                if not self._take(item):
                    # This page again with the next poll.
                    self.left = True
                    return
            if not body.get("more"):
                return
            following = body.get("offset")
            if not isinstance(following, int) or following <= self.offset:
                raise ductile.Failure(f"{self.kind}: the answer says that there is more, but not where")
            self.offset = following

    def state(self):
        pairs = list(self.seen.items())[-MAX_SEEN:]
        seen = base64.b64encode(b"".join(key + mark for key, mark in pairs)).decode()
        if self.left:
            return {"since": self.since, "begun": self.begun, "offset": self.offset, "seen": seen}
        return {"since": self.begun, "begun": None, "offset": 0, "seen": seen}

    def _question(self):
        if self.kind == "measures":
            # Category 1: real measures, no goals.
            return "/measure", {"action": "getmeas", "meastypes": ",".join(map(str, self.types)), "category": 1}
        return "/v2/measure", {"action": "getactivity", "data_fields": FIELDS}

    def _items(self, body):
        items = body.get("measuregrps" if self.kind == "measures" else "activities")
        made = (self._measure if self.kind == "measures" else self._activity)
        try:
            return [made(item) for item in items]
        except (TypeError, KeyError, ValueError, ArithmeticError, AttributeError):
            raise ductile.Failure(f"{self.kind}: the answer is not as the reference of Withings has it") from None

    def _take(self, item):
        """Emits what is new; whether there was room for it."""
        identity, payload = item
        key = _hash(identity)
        mark = _hash(json.dumps(payload, sort_keys=True))
        if self.seen.get(key) == mark:
            return True
        if not self.silent:
            if len(self.events) >= self.room:
                return False
            dedupe = f"{self.kind}:{key.hex()}:{mark.hex()}"
            self.events.append(ductile.event(f"withings.{self.kind}", payload, dedupe))
        self.seen.pop(key, None)
        self.seen[key] = mark
        return True

    def _measure(self, group):
        measures = []
        for measure in group["measures"]:
            name, unit = NAMES.get(measure["type"], (f"type_{measure['type']}", None))
            # Exact until the end: 72345 * 10^-3 is 72.345.
            value = float(decimal.Decimal(_whole(measure["value"])).scaleb(_whole(measure["unit"])))
            measures.append({"type": measure["type"], "name": name, "value": int(value) if value.is_integer() else value, "unit": unit})
        payload = {
            "title": ", ".join(f"{m['name'].replace('_', ' ')} {m['value']} {m['unit'] or ''}".strip() for m in measures),
            "id": _whole(group["grpid"]),
            "date": _moment(group["date"]),
            "created": _moment(group.get("created")),
            "modified": _moment(group.get("modified")),
            **{m["name"]: m["value"] for m in measures},
            "measures": measures,
            "attrib": group.get("attrib"),
            "ambiguous": group.get("attrib") == 1,
            "device": group.get("deviceid"),
        }
        return str(payload["id"]), payload

    def _activity(self, day):
        date = datetime.date.fromisoformat(day["date"]).isoformat()
        fields = {name: day[name] for name in FIELDS.split(",") if day.get(name) is not None}
        steps = fields.get("steps")
        title = f"{date}: {'activity' if steps is None else f'{steps} steps'}"
        payload = {"title": title, "date": date, "timezone": day.get("timezone"), "device": day.get("deviceid"), **fields}
        # A day may have one summary for each tracker.
        return f"{date}:{day.get('deviceid') or ''}", payload


def _whole(value):
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _moment(seconds):
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(_whole(seconds), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _hash(text):
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=PIECE).digest()
