"""The requests to Withings. Its answers are HTTP 200 nearly always; the `status` in them tells what they are worth."""

import json
import urllib.parse

import ductile
import ductile_http

MAX_BODY = 10 * 1024 * 1024
# Kept for the answer, of the time until the deadline.
SPARE = 5.0
TOO_MANY = 601
# For 601, which comes without a Retry-After. Its limit is per minute.
WAIT = 60.0
UNAUTHENTICATED = (100, 101, 102, 200, 401)
UNAUTHORIZED = (214, 277, 2553, 2555)
# "Invalid params" in the list of statuses of the reference; 503 is that of a refresh token that is not known.
INVALID = (*range(201, 214), 293, 400, *range(501, 512))


class Refused(Exception):
    """The token is not accepted."""


class Busy(Exception):
    """Too many requests: not before so many seconds."""

    def __init__(self, message, seconds):
        super().__init__(message)
        self.seconds = seconds


class Api:
    def __init__(self, checked, seconds_left):
        self._checked = checked
        self._seconds_left = seconds_left

    def renewed(self, refresh):
        """(refresh token, access token, seconds that the access token is valid). Refused if this one is not accepted."""
        fields = {"action": "requesttoken", "grant_type": "refresh_token", "refresh_token": refresh}
        fields.update(client_id=self._checked["client_id"], client_secret=self._checked["client_secret"])
        body = self._asked("/v2/oauth2", fields, {}, refusals=(*UNAUTHENTICATED, *INVALID))
        new, access, life = body.get("refresh_token"), body.get("access_token"), body.get("expires_in")
        usable = isinstance(life, (int, float)) and not isinstance(life, bool) and life > 0
        for token in (new, access):
            usable = usable and isinstance(token, str) and token.isascii() and token.isprintable() and token.strip() != ""
        if not usable:
            raise ductile.Failure("Withings answered without usable tokens")
        return new, access, float(life)

    def page(self, path, fields, access):
        """The body of the answer. Refused if the access token is not accepted."""
        return self._asked(path, fields, {"Authorization": f"Bearer {access}"}, refusals=UNAUTHENTICATED)

    def _asked(self, path, fields, headers, refusals):
        url = self._checked["base_url"] + path
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", **headers}
        answer = ductile_http.fetch(
            "POST", url, headers, urllib.parse.urlencode(fields).encode(), max(0.1, min(self._checked["timeout"], self._seconds_left() - SPARE)),
            MAX_BODY, self._checked["ca_file"],
        )
        what = f"{fields['action']}: HTTP {answer.status}"
        if answer.status in (429, 503):
            seconds = ductile_http.retry_after(answer)
            if seconds is not None or answer.status == 429:
                raise Busy(what, WAIT if seconds is None else seconds)
        if answer.status == 401:
            raise Refused(what)
        if answer.status != 200:
            raise ductile_http.refused(answer, url)
        try:
            content = json.loads(answer.body)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or not isinstance(content.get("status"), int):
            raise ductile.Failure(f"{fields['action']}: the answer is not that of Withings: no JSON with a status")
        return _body(content, fields["action"], refusals)


def _body(content, action, refusals):
    status, said = content["status"], content.get("error")
    what = f"{action}: status {status}" + (f", {said[:300]}" if isinstance(said, str) else "")
    if status == 0:
        if not isinstance(content.get("body"), dict):
            raise ductile.Failure(f"{action}: the answer has no body")
        return content["body"]
    if status == TOO_MANY:
        raise Busy(what, WAIT)
    if status in refusals:
        raise Refused(what)
    if status in UNAUTHORIZED:
        raise ductile.Failure(f"{what}: not allowed; was the scope user.metrics,user.activity authorised?", retry=False)
    raise ductile.Failure(what, retry=status not in INVALID)
