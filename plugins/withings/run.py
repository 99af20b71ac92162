#!/usr/bin/env python3
"""withings: weights, other body measures and daily activity from Withings; one event for each that is new or changed.

Python 3 standard library only. README.md has the configuration, the events, and how the tokens survive a crash.

State:
  seed      identifies the refresh token of the configuration, which these came from:
  refresh   refresh tokens, the newest first, and the one before it
  access, expires, life   the access token, when it ends (seconds since 1970), and for how many seconds it was given
  unused    whether the access token has not been used yet
  barren    how often in a row new tokens gave no data
  measures, activity      how far each was read, see readings.py
  not_before, waits       when Withings wants to be asked again, and how often in a row it has said so

Exit codes: 0, also for `status: error`; 78 for a wrong configuration; 1 for a fault of this program.
"""

import hashlib
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import ductile
import ductile_http
import readings
from api import Api, Busy, Refused
from ductile_settings import Settings

KEYS = ("client_id", "client_secret", "refresh_token", "base_url", "data", "types", "emit_existing", "timeout", "ca_file")
BASE = "https://wbsapi.withings.net"
# Weight, fat-free mass, fat ratio, fat mass, muscle, water, bone.
TYPES = (1, 5, 6, 8, 76, 77, 88)
# An access token that ends within this many seconds is taken for expired.
NEAR = 60
MAX_WAIT = 86_400
MAX_WAITS = 10
# So many times in a row new tokens may give no data; then polls fail, which cannot renew them.
MAX_BARREN = 2
# Seconds until expired ones are renewed all the same: more than a day, so that daily polls fail, too.
BARREN_PAUSE = 90_000
AGAIN = "authorise again, as README.md says, and set config.refresh_token"


def settings(request):
    read = Settings(request.config, KEYS)
    checked = {
        "client_id": read.text("client_id"),
        "client_secret": read.text("client_secret"),
        "refresh_token": read.text("refresh_token"),
        "base_url": read.url("base_url", BASE).rstrip("/"),
        "data": read.texts("data", readings.KINDS),
        "types": read.numbers("types", 1, 100_000, TYPES),
        "emit_existing": read.flag("emit_existing", False),
        "timeout": read.number("timeout", 0.1, 600, 30.0),
        "ca_file": read.text("ca_file", None),
    }
    for kind in checked["data"]:
        if kind not in readings.KINDS:
            read.wrong("data", f"may have {', '.join(readings.KINDS)}, not {kind!r}")
    if not checked["data"]:
        read.wrong("data", "must have at least one of them")
    if not checked["types"]:
        read.wrong("types", "must have at least one number")
    ductile.hide(checked["client_secret"], checked["refresh_token"])
    return checked


class Tokens:
    """The tokens of the state, or those that begin with the configuration."""

    def __init__(self, state, checked):
        self.seed = hashlib.sha256(checked["refresh_token"].encode("utf-8", "surrogatepass")).hexdigest()[:16]
        mine = state if state.get("seed") == self.seed else {}
        self.refresh = list(mine.get("refresh") or [])
        self.first = checked["refresh_token"]
        self.access = mine.get("access")
        self.expires = float(mine.get("expires") or 0)
        self.life = float(mine.get("life") or 0)
        self.unused = bool(mine.get("unused"))
        self.barren = int(mine.get("barren") or 0)
        ductile.hide(self.access, *self.refresh)

    def valid(self):
        left = self.expires - time.time()
        # Longer than it was given for: the clock was set back.
        return self.access is not None and NEAR < left <= self.life + NEAR

    def renewed_at(self):
        return self.expires - self.life

    def half_gone(self):
        return self.expires - time.time() < self.life / 2

    def renew(self, api):
        """Asks for new ones, which are not used yet. While they are not, Withings keeps the old refresh token valid."""
        refused = None
        for token in dict.fromkeys((*self.refresh, self.first)):
            try:
                body = api.renewed(token)
            except Refused as error:
                refused = error
                continue
            new, self.access, self.life = body
            ductile.hide(new, self.access)
            self.refresh = [new] + [token] * (new != token)
            self.expires = time.time() + self.life
            self.unused = True
            return
        raise ductile.Failure(f"{refused}: no refresh token is accepted; {AGAIN}", retry=False)

    def state(self):
        names = ("seed", "refresh", "access", "expires", "life", "unused", "barren")
        return {name: getattr(self, name) for name in names}


def opened(request, checked):
    return Api(checked, request.seconds_left)


@ductile.command("health")
def health(request):
    tokens = Tokens(request.state, settings(request))
    if tokens.valid():
        return ductile.ok(f"the access token is valid for {(tokens.expires - time.time()) / 60:.0f} minutes more")
    return ductile.ok("no valid access token; the next poll renews it")


@ductile.command("token_refresh")
def token_refresh(request):
    checked = settings(request)
    tokens = Tokens(request.state, checked)
    try:
        tokens.renew(opened(request, checked))
    except Busy as busy:
        raise ductile.Failure(str(busy)) from None
    return ductile.ok(f"tokens renewed, valid for {tokens.life / 60:.0f} minutes", state=tokens.state())


@ductile.command("poll")
def poll(request):
    checked = settings(request)
    wait = float(request.state.get("not_before") or 0) - time.time()
    if 0 < wait <= MAX_WAIT:
        return ductile.ok(f"not asked: Withings wants to be left alone for {wait:.0f} s more")
    tokens = Tokens(request.state, checked)
    api = opened(request, checked)
    try:
        return polled(request, checked, tokens, api)
    except Busy as busy:
        return told_to_wait(busy, request.state)


def polled(request, checked, tokens, api):
    expired = not tokens.valid()
    if not expired:
        try:
            return fetched(request, checked, tokens, api)
        except Refused as refused:
            if tokens.barren >= MAX_BARREN:
                raise no_data(tokens, str(refused)) from None
            ductile.log("warn", f"{refused}: the access token is not accepted; renewing it")
    elif tokens.barren >= MAX_BARREN and 0 <= time.time() - tokens.renewed_at() < BARREN_PAUSE:
        raise no_data(tokens, "not asked")
    never_used = tokens.unused and tokens.access is not None
    tokens.renew(api)
    if not never_used:
        # Used now, it would end the old refresh token before the new one is stored.
        return ductile.ok("tokens renewed; the next poll asks for data", state={**tokens.state(), **asked_again(request.state)})
    if expired:
        ductile.log("warn", "the access token expires before it is used: poll more often than that, at least every hour")
    try:
        return fetched(request, checked, tokens, api)
    except (Busy, Refused, ductile.Failure) as failure:
        # A failure would forget the tokens, and the old ones may be worth nothing by now.
        ductile.log("error", f"no data: {failure}")
        tokens.barren += 1
        return ductile.ok(f"tokens renewed, but no data: {failure}", state=tokens.state())


def no_data(tokens, why):
    """The Failure of a poll that has not renewed the tokens, and so forgets none."""
    return ductile.Failure(f"{why}; new tokens gave no data {tokens.barren} times in a row: if it stays so, {AGAIN}", retry=False)


def fetched(request, checked, tokens, api):
    """What is new, with the access token as it is; then new tokens, if it is time for them, which are left unused."""
    update, events, left = {}, [], []
    for kind in checked["data"]:
        reading = readings.Reading(kind, request.state.get(kind), checked, len(events))
        reading.read(api, tokens.access)
        events += reading.events
        update[kind] = reading.state()
        if reading.left:
            left.append(kind)
    tokens.unused, tokens.barren = False, 0
    if tokens.half_gone():
        try:
            tokens.renew(api)
        except (Busy, ductile.Failure) as failure:
            ductile.log("warn", f"the tokens could not be renewed yet: {failure}")
    result = f"{len(events)} new" + (f", more {' and '.join(left)} with the next poll" if left else "")
    return ductile.ok(result, events=events, state={**tokens.state(), **update, **asked_again(request.state)})


def asked_again(state):
    return {"not_before": None, "waits": 0} if state.get("waits") else {}


def told_to_wait(busy, state):
    """A success, because only a success can remember how long to wait."""
    waits = int(state.get("waits") or 0) + 1
    if waits > MAX_WAITS:
        raise ductile.Failure(f"{busy}, {waits} times in a row", retry=False)
    seconds = min(busy.seconds, MAX_WAIT)
    ductile.log("warn", f"{busy}; not asked again for {seconds:.0f} s")
    return ductile.ok(f"{busy}: to be asked again in {seconds:.0f} s", state={"not_before": time.time() + seconds, "waits": waits})


if __name__ == "__main__":
    ductile.main()
