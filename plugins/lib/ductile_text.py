"""The text of HTML."""

import html.parser

# What stands for a line's end.
_BLOCKS = frozenset("br p div li tr h1 h2 h3 h4 h5 h6 blockquote pre".split())


def plain(text, limit):
    """The text of HTML, or of what is none, in lines that are not blank; at most `limit` characters, None if there is nothing."""
    # What is behind it would be cut anyway, and parsing it takes time.
    parser = _Plain()
    parser.feed(text[: 10 * limit])
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.pieces).splitlines())
    return "\n".join(line for line in lines if line)[:limit] or None


class _Plain(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.pieces = []
        self.silent = 0

    def handle_starttag(self, tag, attrs):
        self.silent += tag in ("script", "style")
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag):
        self.silent -= tag in ("script", "style") and self.silent > 0
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data):
        if not self.silent:
            self.pieces.append(data)
