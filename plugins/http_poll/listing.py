"""The items of a JSON list."""

import json

import ductile
import ductile_raw
from seen import Item, check_count


def json_items(body, path, id_path):
    """The items in their order; each payload is the item's text as the server wrote it."""
    try:
        text = body.decode(json.detect_encoding(body)).lstrip("\ufeff")
        whole = ductile_raw.parsed(text)
    except ValueError as error:
        raise ductile.Failure(f"the answer is not JSON: {error}") from None
    names = path.split(".") if path else ()
    for name in names:
        if not isinstance(whole, dict) or name not in whole:
            raise ductile.Failure(f"the answer has no {path!r}, which config.items names", retry=False)
        whole = whole[name]
    if not isinstance(whole, list):
        lists = [name for name, value in whole.items() if isinstance(value, list)] if isinstance(whole, dict) else []
        hint = f"; there are lists at {', '.join(lists[:10])}" if lists else ""
        raise ductile.Failure(f"{path or 'the answer'} is not a list: config.items must be the path of one{hint}", retry=False)
    check_count(len(whole))
    for name in names:
        text = [inner for member, _, inner in ductile_raw.members(text) if member == name][-1]
    return [_item(value, inner, id_path) for value, inner in ductile_raw.elements(text)]


def _item(value, text, id_path):
    content = _canonical(value, text)
    found = value
    for name in id_path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, str) and found:
        return Item(found, text, content)
    if isinstance(found, int) and not isinstance(found, bool):
        return Item(str(found), text, content)
    return Item(content, text, content, without_id=True)


def _canonical(value, text):
    """The same for the same content, however it is spaced and ordered."""
    try:
        return json.dumps(value, sort_keys=True)
    except RecursionError:
        return text
