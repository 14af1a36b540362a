"""Reading what requests have in common: numbers within bounds, bytes in base64, pages."""
import base64
import binascii

from .errors import KmsError, invalid


def number(fields, name, low, high, default):
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise invalid(f"1 validation error detected: Value '{value}' at '{name[0].lower() + name[1:]}' failed to satisfy constraint: Member must have "
                      f"value between {low} and {high}")
    return value


def page(rows, fields, default, high, name_of):
    """One page of rows that are sorted by name_of: (rows, Truncated and NextMarker). A marker is the last name of the page before."""
    limit = number(fields, "Limit", 1, high, default)
    marker = fields.get("Marker")
    if marker is not None:
        if not isinstance(marker, str) or not marker.startswith("after:"):
            raise KmsError("InvalidMarkerException", "The marker is not valid.")
        rows = [row for row in rows if name_of(row) > marker[len("after:"):]]
    here = rows[:limit]
    if len(rows) > limit:
        return here, {"Truncated": True, "NextMarker": f"after:{name_of(here[-1])}"}
    return here, {"Truncated": False}


def data(fields, name, high, low=1):
    """Bytes that arrive as base64."""
    try:
        value = base64.b64decode(fields[name], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise invalid(f"1 validation error detected: Value at '{name[0].lower() + name[1:]}' failed to satisfy constraint: Member must not be null") from None
    if not low <= len(value) <= high:
        raise invalid(f"1 validation error detected: Value at '{name[0].lower() + name[1:]}' failed to satisfy constraint: Member must have length between "
                      f"{low} and {high}")
    return value


def base64_of(value):
    return base64.b64encode(value).decode()
