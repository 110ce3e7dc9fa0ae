"""Messages between a process and its killable worker: whole or none."""

import io

from hypothesis import given
from hypothesis import strategies as st

from resplice.io import messages


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(0, 400))
def test_a_message_that_is_cut_anywhere_is_none(parts: list[bytes], cut: int) -> None:
    pipe = io.BytesIO()
    messages.write(pipe, parts)
    data = pipe.getvalue()
    assert messages.read(io.BytesIO(data)) == parts
    assert messages.read(io.BytesIO(data[: cut % len(data)])) == []
