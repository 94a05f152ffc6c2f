"""Which format a client wants, from its `Accept` header."""

from __future__ import annotations

from functools import lru_cache

from drover.host.metadata.render import Format

_OFFERS = (
    ("text", "plain", Format.TEXT),
    ("application", "json", Format.JSON),
    ("application", "yaml", Format.YAML),
    ("application", "x-yaml", Format.YAML),
    ("text", "yaml", Format.YAML),
    ("text", "x-yaml", Format.YAML),
)


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Format:
    """Best quality first, then the more specific range, then the order of the offers. Text when nothing fits."""
    ranges = [parsed for part in accept.split(",") if (parsed := _range(part)) is not None]
    best = (0.0, 0, 0)
    chosen = Format.TEXT
    for order, (kind, subtype, wanted) in enumerate(_OFFERS):
        matching = [
            (specificity, quality)
            for range_kind, range_subtype, specificity, quality in ranges
            if range_kind in ("*", kind) and range_subtype in ("*", subtype)
        ]
        if not matching:
            continue
        specificity, quality = max(matching)
        rank = (quality, specificity, -order)
        if quality > 0 and rank > best:
            best, chosen = rank, wanted
    return chosen


def _range(part: str) -> tuple[str, str, int, float] | None:
    media, *parameters = (piece.strip() for piece in part.lower().split(";"))
    kind, slash, subtype = media.partition("/")
    if not slash:
        return None
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
    return kind, subtype, (kind != "*") + (subtype != "*"), quality
