"""The items of an RSS (0.9x, 1.0, 2.0) or Atom feed.

DTDs are refused: with them, a few bytes can become gigabytes, or the content of a local file.
"""

import json
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree
from xml.parsers import expat

import ductile
from ductile_text import plain
from seen import Item, check_count

MAX_DEPTH = 100
MAX_TEXT = 10_000
MAX_LINE = 1000
MAX_LISTED = 50


def feed_items(answer, kind):
    """The items, the oldest first: feeds begin with the newest. `kind` is rss, atom, or anything else for both."""
    root = _parsed(answer.body, answer.headers.get_content_charset())
    name = _name(root)
    if name == "feed" and kind != "rss":
        read, about, found = _atom, root, _children(root, "entry")
    elif name in ("rss", "RDF") and kind != "atom":
        about = _child(root, "channel")
        # In RSS 1.0 the items are beside the channel.
        read, found = _rss, [*_children(about, "item"), *_children(root, "item")]
    else:
        wanted = {"rss": "RSS", "atom": "Atom"}.get(kind, "RSS or Atom")
        raise ductile.Failure(f"the answer is XML, but no {wanted} feed: it begins with <{name[:100]}>", retry=False)
    check_count(len(found))
    # The query may be a secret.
    base = urllib.parse.urlsplit(answer.url)._replace(query="", fragment="").geturl()
    title = _line(_text(about, "title"))
    return [_item({**read(element, base), "feed": title}) for element in reversed(found)]


def _parsed(body, charset):
    declared = re.match(rb"\s*<\?xml[^>]*encoding", body) or body[:3] == b"\xef\xbb\xbf" or body[:2] in (b"\xff\xfe", b"\xfe\xff")
    builder = ElementTree.TreeBuilder()
    depth = 0

    def start(name, attributes):
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise ductile.Failure(f"the answer is XML that is nested more than {MAX_DEPTH} deep", retry=False)
        builder.start(name, attributes)

    def end(name):
        nonlocal depth
        depth -= 1
        builder.end(name)

    def doctype(*_):
        raise ductile.Failure("the answer is XML with a DTD (<!DOCTYPE ...>), which is refused", retry=False)

    try:
        parser = expat.ParserCreate(None if declared else charset, "}")
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = start, end
        parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, doctype
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise ductile.Failure(f"the answer is not well-formed XML: {error}") from None
    return builder.close()


def _rss(item, base):
    guid = _text(item, "guid")
    link = _link(_text(item, "link"), base)
    permalink = _child(item, "guid") is not None and _child(item, "guid").get("isPermaLink", "true") == "true"
    if not link and permalink and guid.startswith(("http://", "https://")):
        link = guid
    enclosures = [enclosure.get("url", "") for enclosure in _children(item, "enclosure")]
    return {
        "id": guid or link,
        "title": _line(_text(item, "title")),
        "text": plain(_text(item, "description") or _text(item, "encoded"), MAX_TEXT),
        "url": link,
        "author": _line(_text(item, "author") or _text(item, "creator")),
        "published": _line(_text(item, "pubDate") or _text(item, "date")),
        "updated": None,
        "categories": _listed(_line("".join(child.itertext())) for child in _children(item, "category")),
        "enclosures": _listed(_link(url, base) for url in enclosures),
    }


def _atom(entry, base):
    links = {}
    for link in _children(entry, "link"):
        links.setdefault(link.get("rel", "alternate"), []).append(_link(link.get("href", ""), base))
    author = _child(entry, "author")
    link = (links.get("alternate") or [None])[0]
    return {
        "id": _text(entry, "id") or link,
        "title": _line(plain(_text(entry, "title"), MAX_TEXT) or ""),
        "text": plain(_text(entry, "summary") or _text(entry, "content"), MAX_TEXT),
        "url": link,
        "author": _line(_text(author, "name")) if author is not None else None,
        "published": _line(_text(entry, "published")),
        "updated": _line(_text(entry, "updated")),
        "categories": _listed(_line(child.get("term", "")) for child in _children(entry, "category")),
        "enclosures": _listed(links.get("enclosure", ())),
    }


def _item(fields):
    content = json.dumps(fields, sort_keys=True)
    if fields["id"]:
        key, fields["id"] = fields["id"], fields["id"][:MAX_LINE]
        return Item(key, json.dumps(fields), content)
    # Common enough to be no warning, so it is not said.
    return Item(f"content:{content}", json.dumps(fields), content)


def _name(element):
    return element.tag.rpartition("}")[2]


def _children(element, name):
    return [] if element is None else [child for child in element if _name(child) == name]


def _child(element, name):
    return next(iter(_children(element, name)), None)


def _text(element, name):
    """All text in the first child of that name that has any: Atom's link beside RSS's has none."""
    return next((text for text in ("".join(child.itertext()).strip() for child in _children(element, name)) if text), "")


def _line(text):
    return " ".join(text.split())[:MAX_LINE] or None


def _listed(values):
    return [value for value in values if value][:MAX_LISTED]


def _link(text, base):
    """An absolute http or https address, or nothing; a fragment alone is no address of its own."""
    text = text.strip()
    if not text or text.startswith("#"):
        return None
    try:
        address = urllib.parse.urljoin(base, text)
    except ValueError:
        return None
    return address[: 2 * MAX_LINE] if address.startswith(("http://", "https://")) else None
