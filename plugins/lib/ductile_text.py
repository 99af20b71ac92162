"""The text of HTML, in linear time: Python's own parser takes minutes for some 100 KB."""

import html
import re

# What stands for a line's end.
_BLOCKS = frozenset("br p div li tr h1 h2 h3 h4 h5 h6 blockquote pre".split())
# A `<` before anything else is text.
_MARKUP = re.compile(r"(?P<comment><!--)|<(?P<closing>/?)(?P<name>[A-Za-z][^\s/>]*)|<[!?/]")
# The end of a tag, or one of its values: what is in quotes may have a `>`.
_END_OR_VALUE = re.compile(r"""(>)|=\s*(?:(["'])|[^\s>]*)""")
# What is behind them is no text, up to their end.
_SILENT = {name: re.compile(rf"</{name}[\s/>]", re.IGNORECASE) for name in ("script", "style")}
# Python refuses to read numbers of thousands of digits.
_REFERENCE = re.compile(r"&(?:#[0-9]{1,10}|#[xX][0-9a-fA-F]{1,10}|[A-Za-z][A-Za-z0-9]{1,31});?")


def plain(text, limit):
    """The text of HTML, or of what is none, in lines that are not blank; at most `limit` characters, None if there is nothing."""
    # What is behind it would be cut anyway, and reading it takes time.
    pieces = "".join(_pieces(text[: 10 * limit]))
    lines = (" ".join(line.split()) for line in pieces.splitlines())
    return "\n".join(line for line in lines if line)[:limit] or None


def _pieces(text):
    """Each step begins where the one before has ended, so nothing is looked at twice."""
    at = 0
    while tag := _MARKUP.search(text, at):
        yield _unescaped(text[at : tag.start()])
        at = tag.start()
        if tag["name"]:
            end = _tag_end(text, tag.end())
        elif tag["comment"]:
            # What is never closed hides the rest.
            end = text.find("-->", at + 2) + 3
            if end < 3:
                return
        else:
            end = text.find(">", at) + 1
        if not end:
            # No tag at all, as in `a <b`.
            break
        at = end
        name = (tag["name"] or "").lower()
        if name in _BLOCKS:
            yield "\n"
        if name in _SILENT and not tag["closing"]:
            closing = _SILENT[name].search(text, at)
            if not closing:
                return
            at = closing.start()
    yield _unescaped(text[at:])


def _tag_end(text, at):
    """Behind the `>` of a tag; 0 if there is none. A quote that is never closed is none."""
    while found := _END_OR_VALUE.search(text, at):
        at = found.end()
        if found[1]:
            return at
        if found[2]:
            at = max(at, text.find(found[2], at) + 1)
    return 0


def _unescaped(text):
    return _REFERENCE.sub(lambda reference: html.unescape(reference[0]), text)
