"""One HTTP request of a plugin, bounded in time and size. Proxies are taken from the environment (`https_proxy`, ...).

What a URL may have of secrets, its path and its query, is in no error.
"""

import base64
import contextlib
import email.utils
import http.client
import re
import signal
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

import ductile

MAX_REDIRECTS = 5
# Answers that say "not now". All 5xx do as well.
LATER = (408, 425, 429)


class Answer:
    """Status; headers; body, None if it was not asked for; the URL that it came from, after redirects."""

    def __init__(self, status, headers, body, url):
        self.status = status
        self.headers = headers
        self.body = body
        self.url = url


def fetch(method, url, headers, data=None, timeout=30.0, max_body=None, ca_file=None):
    """Sends the request and gives the answer, whatever its status. `timeout` is for all of it, in seconds.

    The body is read up to `max_body` bytes, or not at all if that is None. Redirects are followed only if there is a body to
    read: without the given headers if they lead to another server, and never from https to http. Otherwise they are answers
    like others. Raises `Failure` if there is no answer, or it is cut short (retried), or too large (not retried).
    """
    host = urllib.parse.urlsplit(url).netloc
    handlers = [_Redirects(headers, follow=max_body is not None)]
    if url.startswith("https:"):
        handlers.append(urllib.request.HTTPSHandler(context=_trust(ca_file)))
    request = urllib.request.Request(url, data, {"User-Agent": "ductile/1.0", **headers}, method=method)
    with _time_limit(timeout, host):
        try:
            with _answered(urllib.request.build_opener(*handlers), request, timeout) as response:
                body = None if max_body is None else _body(response, max_body, host)
                return Answer(response.status, response.headers, body, response.geturl())
        except urllib.error.URLError as error:
            raise ductile.Failure(f"{host}: {error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ductile.Failure(f"{host}: {type(error).__name__}: {error}".rstrip(": ")) from None


def refused(answer, url):
    """The Failure for a status that is no success. Retried if it may be different soon."""
    host = urllib.parse.urlsplit(url).netloc
    reason = f"HTTP {answer.status} from {host}"
    if 300 <= answer.status < 400:
        return ductile.Failure(f"{reason}: not followed; configure the final address", retry=False)
    return ductile.Failure(reason, retry=answer.status >= 500 or answer.status in LATER)


def retry_after(answer):
    """For how many seconds the server asks to be left alone, as a number or a date; None if it does not."""
    value = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def hide_url(url):
    """Keeps path and query of a URL out of errors and logs, also where servers and libraries repeat them."""
    rest = url.partition("//")[2].partition("/")[2] or urllib.parse.urlsplit(url).query
    ductile.hide(*(part for part in (rest, *re.split(r"[/?&=#]", rest)) if len(part) >= 8))


def hide_headers(headers):
    """Keeps what these headers have of secrets out of errors and logs, also where servers and libraries repeat it in parts."""
    for value in headers.values():
        scheme, _, rest = value.partition(" ")
        ductile.hide(value, rest, *(part for part in re.split(r"[\s;,=]", value) if len(part) >= 8))
        if scheme.lower() == "basic":
            with contextlib.suppress(ValueError):
                decoded = base64.b64decode(rest).decode()
                ductile.hide(decoded, decoded.partition(":")[2])


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS

    def __init__(self, private, follow):
        self.private = [name.lower() for name in private]
        self.follow = follow

    def redirect_request(self, request, response, code, message, headers, new_url):
        if not self.follow:
            return None
        old, new = urllib.parse.urlsplit(request.full_url), urllib.parse.urlsplit(new_url)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            raise ductile.Failure(f"{old.netloc}: redirects from {old.scheme} to {new.scheme}; not followed", retry=False)
        redirected = super().redirect_request(request, response, code, message, headers, new_url)
        if redirected is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            for name in [name for name in redirected.headers if name.lower() in self.private]:
                redirected.remove_header(name)
        return redirected


def _answered(opener, request, timeout):
    try:
        return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        # It is the answer, too.
        return error


def _body(response, max_body, host):
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ductile.Failure(f"{host}: the answer is compressed, which was not asked for")
    pieces, size = [], 0
    # Read in pieces, since the time limit of a socket holds for each of them.
    while piece := response.read(64 * 1024):
        size += len(piece)
        if size > max_body:
            raise ductile.Failure(f"{host}: the answer has more than {max_body} bytes", retry=False)
        pieces.append(piece)
    announced = response.headers.get("Content-Length", "")
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    if not chunked and announced.isdecimal() and response.status not in (204, 304) and size < int(announced):
        raise ductile.Failure(f"{host}: the answer ends after {size} of {announced} bytes")
    return b"".join(pieces)


def _trust(ca_file):
    """The TLS context: certificates and host names are always checked."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise ductile.Misconfigured(f"config.ca_file cannot be used: {error}") from None


@contextlib.contextmanager
def _time_limit(seconds, host):
    """For all together: the time limit of a socket starts again with each byte."""

    def expired(_signal, _frame):
        raise ductile.Failure(f"{host}: no complete answer within {seconds:.3g} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
