"""One folder of an IMAP server, over TLS, bounded in time and size.

Whatever goes wrong is a `ductile.Failure` that names host and port; `Late` is the one for a server that takes too long.
"""

import base64
import contextlib
import hashlib
import imaplib
import re
import signal
import ssl
import time

import ductile

# A line may have the numbers of all messages of a folder.
imaplib._MAXLINE = 20_000_000
# Commands must not be longer than 8 KB: RFC 7162, section 4.
CHUNK = 500
HEADERS = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]"
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
# Answers "not now", by their code: RFC 5530.
LATER = re.compile(r"\[(UNAVAILABLE|INUSE|LIMIT|SERVERBUG|CONTACTADMIN|OVERQUOTA)\b", re.IGNORECASE)


class Late(ductile.Failure):
    """The time is over."""


class Summary:
    """Of a message: its UID, its size in bytes, when it arrived (as IMAP writes it), and what it is told apart by."""

    def __init__(self, uid, size, arrived, headers):
        self.uid = uid
        self.size = size
        self.arrived = arrived
        self.fingerprint = hashlib.sha256(headers.strip()).hexdigest()[:16]


class Mailbox:
    """`with Mailbox(settings, timeout) as mailbox`: logged in, folder selected; `timeout`, in seconds, is for all together.

    uidvalidity, uidnext   of the folder; while the first is the same, a UID means the same message
    count                  how many messages the folder has
    """

    def __init__(self, checked, timeout):
        self._checked = checked
        self._timeout = timeout
        self._late = False
        self._server = f"{checked['host']}:{checked['port']}"
        self._limit = checked["max_message"] + 1024 * 1024

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._time_limit())
            with self.conversation():
                self._imap = self._connected()
                stack.callback(self._close)
                self._login()
                self._select()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    @contextlib.contextmanager
    def conversation(self):
        """Makes failures of what imaplib may raise."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise ductile.Failure(f"{self._server}: the certificate is not valid: {error.verify_message}") from None
        except (OSError, imaplib.IMAP4.error, ValueError, IndexError, TypeError, AttributeError) as error:
            # imaplib raises the last four when an answer is no IMAP.
            raise ductile.Failure(f"{self._server}: {type(error).__name__}: {error}".rstrip(": ")) from None

    @contextlib.contextmanager
    def _time_limit(self):
        before = signal.signal(signal.SIGALRM, self._expired)
        signal.setitimer(signal.ITIMER_REAL, self._timeout)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _expired(self, *_):
        self._late = True
        raise Late(f"{self._server}: not ready within {self._timeout:.3g} s")

    @contextlib.contextmanager
    def paused(self):
        """The time limit does not end what is done here, but its time counts. Leaves SIGALRM and its timer free."""
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        end = time.monotonic() + left
        try:
            yield
        finally:
            left = max(0.0, end - time.monotonic())
            signal.signal(signal.SIGALRM, self._expired)
            signal.setitimer(signal.ITIMER_REAL, left)
        if not left:
            self._expired()

    def _connected(self):
        host, port, limit = self._checked["host"], self._checked["port"], self._limit
        try:
            context = ssl.create_default_context(cafile=self._checked["ca_file"])
        except (OSError, ValueError) as error:
            raise ductile.Misconfigured(f"config.ca_file cannot be used: {error}") from None
        if self._checked["tls"] == "implicit":
            return _bounded(imaplib.IMAP4_SSL, limit)(host, port, ssl_context=context, timeout=self._timeout)
        imap = _bounded(imaplib.IMAP4, limit)(host, port, timeout=self._timeout)
        try:
            if "STARTTLS" not in imap.capabilities:
                raise ductile.Failure(f"{self._server} does not offer STARTTLS, see config.tls", retry=False)
            imap.starttls(ssl_context=context)
        except BaseException:
            # What failed may have closed it.
            with contextlib.suppress(OSError):
                imap.shutdown()
            raise
        return imap

    def _close(self):
        # Whatever it says now, all has been said.
        if not self._late:
            with contextlib.suppress(Exception):
                self._imap.logout()
        with contextlib.suppress(Exception):
            self._imap.shutdown()

    def _login(self):
        user, password = self._checked["user"], self._checked["password"]
        try:
            if "AUTH=PLAIN" in self._imap.capabilities:
                self._imap.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
            elif user.isascii() and password.isascii():
                self._imap.login(user, password)
            else:
                raise ductile.Misconfigured("config.user and config.password must be ASCII: the server does not offer AUTH=PLAIN")
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            if LATER.search(str(error)):
                raise
            raise ductile.Misconfigured(f"{self._server} refuses config.user with config.password: {_said(error)}") from None

    def _select(self):
        mark = self._checked["mark_seen"]
        try:
            status, answer = self._imap.select(_quoted(self._checked["folder"]), readonly=not mark)
        except imaplib.IMAP4.readonly:
            raise ductile.Misconfigured("config.mark_seen: the server lets the folder be read only") from None
        if status != "OK":
            said = _said(answer[0])
            if LATER.search(said):
                raise ductile.Failure(f"{self._server}: {said}")
            raise ductile.Misconfigured(f"{self._server} has no folder as config.folder says: {said}")
        self.count = int(answer[0])
        self.uidvalidity = self._told("UIDVALIDITY")
        self.uidnext = self._told("UIDNEXT")

    def _told(self, name):
        answer = self._imap.response(name)[1]
        if not answer or answer[0] is None:
            raise ductile.Failure(f"{self._server} does not tell the folder's {name}")
        return int(answer[0])

    def after(self, uid, since=None):
        """The UIDs of messages behind `uid`, ascending; with `since`, a date, only of those that arrived at that day or later."""
        day = f" SINCE {since.day}-{MONTHS[since.month - 1]}-{since.year}" if since else ""
        found = self._uid("SEARCH", f"UID {uid + 1}:*{day}")
        with self.conversation():
            numbers = {int(number) for part in found if part for number in part.split()}
        # `*` is the last message, whatever its number.
        return sorted(number for number in numbers if number > uid)

    def summaries(self, uids):
        """{uid: Summary}, without those that are gone."""
        found = {}
        for at in range(0, len(uids), CHUNK):
            wanted = set(uids[at : at + CHUNK])
            numbers = ",".join(map(str, uids[at : at + CHUNK]))
            for uid, fields, headers in _fetched(self._uid("FETCH", numbers, f"(UID RFC822.SIZE INTERNALDATE {HEADERS})")):
                size = re.search(rb"RFC822\.SIZE (\d+)", fields)
                arrived = re.search(rb'INTERNALDATE "([^"]*)"', fields)
                if uid in wanted and size and arrived:
                    found[uid] = Summary(uid, int(size[1]), arrived[1].decode("ascii", "replace"), headers)
        return found

    def source(self, uid, most):
        """The first `most` bytes of a message, without marking it; None if it is gone."""
        answer = self._uid("FETCH", str(uid), f"(UID BODY.PEEK[]<0.{most}>)")
        # The server may tell of changed flags, too.
        return next((text for found, fields, text in _fetched(answer) if found == uid and b"BODY[]" in fields.upper()), None)

    def mark_seen(self, uids):
        for at in range(0, len(uids), CHUNK):
            self._uid("STORE", ",".join(map(str, uids[at : at + CHUNK])), r"+FLAGS.SILENT (\Seen)")

    def _uid(self, name, *arguments):
        with self.conversation():
            status, answer = self._imap.uid(name, *arguments)
            if status != "OK":
                raise ductile.Failure(f"{self._server}: {name} failed: {_said(answer[0])}")
            return answer


def _bounded(base, limit):
    class Bounded(base):
        def read(self, size):
            if size > limit:
                raise self.abort(f"the server sends {size} bytes at once")
            return super().read(size)

    return Bounded


def _fetched(answer):
    """(UID, all fields, the literal) of each message in the answer to a FETCH."""
    for at, part in enumerate(answer):
        if isinstance(part, tuple):
            # What follows the literal is in the next part.
            rest = answer[at + 1] if at + 1 < len(answer) and isinstance(answer[at + 1], bytes) else b""
            fields = part[0] + b" " + rest
            uid = re.search(rb"\bUID (\d+)", fields)
            if uid:
                yield int(uid[1]), fields, part[1]
        elif isinstance(part, bytes) and not (at and isinstance(answer[at - 1], tuple)):
            # Nothing was worth a literal.
            uid = re.search(rb"\bUID (\d+)", part)
            if uid:
                yield int(uid[1]), part, b""


def _said(answer):
    """What the server said, in one short line."""
    if isinstance(answer, Exception):
        answer = answer.args[0] if answer.args else ""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    return " ".join(ductile.hidden(text).split())[:200]


def _quoted(folder):
    """As IMAP wants it, in modified UTF-7: RFC 3501, section 5.1.3."""

    def shifted(match):
        return "&" + base64.b64encode(match[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",") + "-"

    encoded = re.sub("[^\x20-\x7e]+", shifted, folder.replace("&", "&-"))
    return '"' + encoded.replace("\\", "\\\\").replace('"', '\\"') + '"'
