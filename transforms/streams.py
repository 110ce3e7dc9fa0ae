"""What MP3 and Ogg streams tell of their own length, by which one that was cut off is known."""

from __future__ import annotations

ID3_HEAD = 10
_ID3, _FOOTER = b"ID3", 0x10
_XING_WITHIN = 64
"""Bytes of the first frame in which its Xing or Info header lies: behind 4 to 6 of the frame and up to 32 of sides."""
_FRAMES_FLAG = 1
_PAGE = b"OggS"
_PAGE_HEAD, _LAST_OF_STREAM = 27, 4
OGG_HEAD = _PAGE_HEAD + 255


def id3_size(head: bytes) -> int:
    """Return how many bytes the ID3v2 tag takes that a file begins with (ID3v2.4.0, 3.1), 0 without one."""
    if head[:3] != _ID3 or len(head) < ID3_HEAD:
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return ID3_HEAD + size + (ID3_HEAD if head[5] & _FOOTER else 0)


def counts_frames(first: bytes) -> bool:
    """Return whether the first frame of an MP3 is a Xing or Info header that tells how many frames there are."""
    if len(first) < 2 or first[0] != 0xFF or first[1] & 0xE0 != 0xE0:
        return False
    at = max(first[:_XING_WITHIN].find(name) for name in (b"Xing", b"Info"))
    return at > 0 and len(first) >= at + 8 and bool(first[at + 7] & _FRAMES_FLAG)


def ogg_page(head: bytes) -> tuple[int, bool] | None:
    """Return the bytes of the page of Ogg (RFC 3533, 6) whose first 282 bytes are given, and whether it is the last one
    of its stream; None for what is no page.
    """
    if len(head) < _PAGE_HEAD or head[:4] != _PAGE:
        return None
    sizes = head[_PAGE_HEAD : _PAGE_HEAD + head[26]]
    return _PAGE_HEAD + head[26] + sum(sizes), bool(head[5] & _LAST_OF_STREAM)
