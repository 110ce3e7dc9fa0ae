"""Something in a workspace as the immutable object that a snapshot names."""

from resplice.io import sidecars, snapshots
from resplice.io.store import Store


def owned(workspace: Store, key: str, suffix: str) -> tuple[str, str]:
    """Make the object; return its key and SHA-256."""
    sha = sidecars.digest(workspace, key)
    object_ = snapshots.object_key(sha, suffix)
    snapshots.own(workspace, key, object_)
    return object_, sha
