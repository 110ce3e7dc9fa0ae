"""Conditional writes whose answer may be lost: what was refused or failed is read back before it is believed."""

from __future__ import annotations

from collections.abc import Callable

from resplice.io.store import Store, content


def settled(write: Callable[[], bool | None], holds: Callable[[], bool]) -> bool:
    """Return whether a write took effect: by its own answer, else by what the store holds now.

    A write that did, but whose answer was lost, is refused when it is tried again, or raises OSError. Raises that error
    if the store does not hold what was to be written.
    """
    try:
        if write() is not False:
            return True
    except OSError:
        if holds():
            return True
        raise
    return holds()


def create(store: Store, key: str, data: bytes) -> bool:
    """Create an object; return whether it holds just these bytes now, whoever wrote them."""
    return settled(lambda: store.create(key, data), lambda: content(store, key)[0] == data)


def update(store: Store, key: str, change: Callable[[bytes], bytes]) -> None:
    """Change an object by compare-and-set, so that no other writer's change is lost; what does not change is left.

    `change` gets its bytes, b"" if there is no object, and returns the new ones. It is called again whenever another
    writer came first, and must not mind finding its own change there already.
    """
    while True:
        before, token = content(store, key)
        after = change(before)
        if (token and after == before) or _replaced(store, key, after, token):
            return


def _replaced(store: Store, key: str, data: bytes, token: str) -> bool:
    return settled(lambda: store.replace(key, data, token), lambda: content(store, key)[0] == data)
