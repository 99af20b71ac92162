"""The transport by SMTP."""

import contextlib
import email.message
import email.policy
import email.utils
import hashlib
import smtplib

from message import cut, one_line
from settings import BadConfig, Failed, Refused, trust

MAX_REPLY = 200


def send(settings, message):
    mail = composed(settings, message)
    with session(settings) as server:
        refused = server.send_message(mail)
    return [f"{address} was refused: {smtp_reply(*reply)}" for address, reply in refused.items()]


def look(settings):
    with session(settings):
        pass


def composed(settings, message):
    mail = email.message.EmailMessage(email.policy.SMTP)
    mail["Subject"] = message["title"]
    mail["From"] = settings["from"]
    mail["To"] = ", ".join(settings["to"])
    mail["Date"] = email.utils.formatdate(localtime=True)
    # The same in each attempt, so that a mailbox can tell a repetition.
    identity = hashlib.sha256(message["id"].encode("utf-8", "replace")).hexdigest()[:32]
    domain = email.utils.parseaddr(settings["from"])[1].rpartition("@")[2]
    mail["Message-ID"] = f"<{identity}@{domain}>"
    # Or holiday replies come back.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n\n".join(filter(None, (message["text"] or message["title"], message["url"]))))
    return mail


@contextlib.contextmanager
def session(settings):
    """A connection, encrypted and logged in as configured; its errors told apart."""
    where = f"{settings['host']}:{settings['port']}"
    server = None
    try:
        server = connect(settings)
        yield server
        # The mail is accepted: nothing may fail any more.
        with contextlib.suppress(OSError, smtplib.SMTPException, Failed):
            server.quit()
    except smtplib.SMTPAuthenticationError as error:
        # The server's words are left out: they may repeat what it was given.
        kind = BadConfig if error.smtp_code >= 500 else Failed
        raise kind(f"{where}: config.username or config.password refused ({error.smtp_code})") from None
    except smtplib.SMTPRecipientsRefused as error:
        replies = error.recipients
        kind = Refused if all(code >= 500 for code, _ in replies.values()) else Failed
        listed = "; ".join(f"{address}: {smtp_reply(*reply)}" for address, reply in replies.items())
        raise kind(f"{where}: all of config.to refused: {listed}") from None
    except smtplib.SMTPResponseException as error:
        kind = Refused if error.smtp_code >= 500 else Failed
        raise kind(f"{where}: {smtp_reply(error.smtp_code, error.smtp_error)}") from None
    except smtplib.SMTPServerDisconnected as error:
        raise Failed(f"{where}: {error}") from None
    except smtplib.SMTPNotSupportedError as error:
        raise BadConfig(f"{where}: {error} (see config.tls and config.username)") from None
    except smtplib.SMTPException as error:
        raise Refused(f"{where}: {error}") from None
    except (OSError, ValueError) as error:
        raise Failed(f"{where}: {type(error).__name__}: {error}") from None
    finally:
        if server is not None:
            server.close()


def connect(settings):
    host, port, timeout = settings["host"], settings["port"], settings["timeout"]
    if settings["tls"] == "implicit":
        server = smtplib.SMTP_SSL(host, port, timeout=timeout, context=trust(settings))
    else:
        server = smtplib.SMTP(host, port, timeout=timeout)
    if settings["tls"] == "starttls":
        server.starttls(context=trust(settings))
    if settings["username"]:
        server.login(settings["username"], settings["password"])
    return server


def smtp_reply(code, text):
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return f"{code} {cut(one_line(text), MAX_REPLY)}"
