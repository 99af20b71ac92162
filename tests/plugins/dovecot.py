"""An own Dovecot for the tests of email_in: own configuration, ports, certificate and mailboxes in a temporary folder."""

import contextlib
import grp
import imaplib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

from support import PATIENCE, Certificate

PASSWORD = "gehe!m pässword\\\"1"

CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
ssl_dh =
mail_location = maildir:{folder}/mail
first_valid_uid = 1
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
auth_mechanisms = plain
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
"""


def missing():
    """Why there can be none here, or None."""
    program = _program()
    if program is None:
        return "no dovecot (Debian, Ubuntu: dovecot-imapd)"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=PATIENCE).stdout
    if not version.startswith("2.3."):
        return f"dovecot is {version.strip()}, and the configuration here is for 2.3"
    return None


def _program():
    return shutil.which("dovecot", path=f"{os.environ['PATH']}:/usr/sbin")


class Dovecot:
    user = "ann"

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.certificate = Certificate("IP:127.0.0.1")
        self._process = None
        folder = pathlib.Path(self._folder.name)
        (folder / "mail").mkdir()
        # As root it wants other users for the mail and for itself.
        me = pwd.getpwuid(os.getuid()).pw_name
        internal, login = ("dovecot", "dovenull") if os.getuid() == 0 else (me, me)
        owner = pwd.getpwnam("nobody" if os.getuid() == 0 else me)
        if os.getuid() == 0:
            folder.chmod(0o755)
            os.chown(folder / "mail", owner.pw_uid, owner.pw_gid)
        group = grp.getgrgid(pwd.getpwnam(internal).pw_gid).gr_name
        (folder / "users").write_text(f"{self.user}:{{PLAIN}}{PASSWORD}::::::\n")
        self.port, self.tls_port = _free_ports(2)
        key = os.path.join(self.certificate.folder.name, "key.pem")
        text = CONFIG.format(folder=folder, certificate=self.certificate.file, key=key, internal=internal, internal_group=group,
                             login=login, uid=owner.pw_uid, gid=owner.pw_gid, port=self.port, tls_port=self.tls_port)
        (folder / "dovecot.conf").write_text(text)
        self.start()

    def start(self):
        config = os.path.join(self._folder.name, "dovecot.conf")
        with open(os.path.join(self._folder.name, "output"), "wb") as output:
            self._process = subprocess.Popen([_program(), "-F", "-c", config], stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.tls_port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"dovecot does not start: {self.said()}") from None
                time.sleep(0.01)

    def said(self):
        return "".join(file.read_text(errors="replace") for name in ("output", "log")
                       if (file := pathlib.Path(self._folder.name, name)).exists())

    def stop(self):
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE)
            self._process = None

    def remove(self):
        self.stop()
        self.certificate.remove()
        self._folder.cleanup()

    @contextlib.contextmanager
    def session(self, folder="INBOX"):
        """As a mail program has it."""
        context = ssl.create_default_context(cafile=self.certificate.file)
        with imaplib.IMAP4_SSL("127.0.0.1", self.tls_port, ssl_context=context, timeout=PATIENCE) as imap:
            imap.authenticate("PLAIN", lambda _: f"\0{self.user}\0{PASSWORD}".encode())
            imap.create(folder)
            imap.select(folder)
            yield imap

    def deliver(self, *messages, folder="INBOX", arrived=None):
        with self.session(folder) as imap:
            for source in messages:
                status, answer = imap.append(folder, "", arrived, source)
                assert status == "OK", answer

    def flags(self, folder="INBOX"):
        with self.session(folder) as imap:
            return [b"\\Seen" in flags for flags in imap.fetch("1:*", "(FLAGS)")[1] if flags is not None]


def _free_ports(count):
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
