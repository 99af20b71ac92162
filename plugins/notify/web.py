"""The transports over HTTP: ntfy, and the webhooks of Slack and Discord."""

import contextlib
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

from message import MAX_TITLE, cut, one_line, utf8_size, utf16_size, with_url
from settings import BadConfig, Failed, Refused, trust

USER_AGENT = "ductile-notify/1.0"
# ntfy takes 4,096 bytes, and twice that for the whole request, in which each character may be escaped.
MAX_NTFY_BYTES = 3000
MAX_SLACK = 4000
MAX_DISCORD = 2000
MAX_REPLY = 200
# Answers that say "not now". All 5xx do as well.
LATER = (408, 425, 429)


def send_ntfy(settings, message):
    # JSON, and not headers: these can neither carry all of Unicode nor be trusted with line feeds.
    body = {"topic": settings["topic"], "title": cut(message["title"], MAX_TITLE, utf8_size)}
    body["message"] = cut(message["text"], MAX_NTFY_BYTES, utf8_size)
    if not body["message"]:
        # Without a message ntfy would say "triggered".
        body["message"] = body.pop("title")
    if message["url"]:
        body["click"] = message["url"]
    body.update({key: settings[key] for key in ("priority", "tags") if settings[key]})
    headers = {"Authorization": f"Bearer {settings['token']}"} if settings["token"] else {}
    return post(settings, settings["url"].rstrip("/") + "/", body, headers)


def send_slack(settings, message):
    text = with_url(f"{message['title']}\n{message['text']}".strip(), message["url"], MAX_SLACK)
    # Everything that makes a mention or a link of text begins with one of these.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return post(settings, settings["url"], {"text": text}, {})


def send_discord(settings, message):
    text = f"{message['title']}\n{message['text']}".strip()
    content = with_url(text, message["url"], MAX_DISCORD, utf16_size)
    return post(settings, settings["url"], {"content": content, "allowed_mentions": {"parse": []}}, {})


def post(settings, url, body, headers):
    data = json.dumps(body, ensure_ascii=False).encode("utf-8")
    headers = {"Content-Type": "application/json; charset=utf-8", **headers}
    try:
        exchange(settings, urllib.request.Request(url, data, headers, method="POST"))
    except urllib.error.HTTPError as error:
        raise judged(error) from None
    return []


def look(settings):
    """Any answer will do: it proves name, port and certificate, and no webhook can be tried without a message."""
    parts = urllib.parse.urlsplit(settings["url"])
    with contextlib.suppress(urllib.error.HTTPError):
        exchange(settings, urllib.request.Request(f"{parts.scheme}://{parts.netloc}/", method="HEAD"))


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry token and message to wherever the server says."""

    def redirect_request(self, *_):
        return None


def exchange(settings, request):
    """Send the request. The answer's body is not waited for: what was accepted must not fail any more."""
    request.add_header("User-Agent", USER_AGENT)
    handlers = [NoRedirect]
    if request.type == "https":
        handlers.append(urllib.request.HTTPSHandler(context=trust(settings)))
    where = request.host
    try:
        urllib.request.build_opener(*handlers).open(request, timeout=settings["timeout"]).close()
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        raise Failed(f"{where}: {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Failed(f"{where}: {type(error).__name__}: {error}") from None


def judged(error):
    """The exception that an answer other than 2xx calls for."""
    if 300 <= error.code < 400:
        return BadConfig(f"HTTP {error.code}: redirects are not followed; config.url must be the final address")
    reply = b""
    with contextlib.suppress(OSError, http.client.HTTPException):
        reply = error.read(MAX_REPLY * 4)
    text = f"HTTP {error.code} {cut(one_line(reply.decode('utf-8', 'replace')), MAX_REPLY)}".rstrip()
    return Refused(text) if 400 <= error.code < 500 and error.code not in LATER else Failed(text)
