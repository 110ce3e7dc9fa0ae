"""The first look at embeddings: its projection, its neighbours, and that a browser plays them from disk."""

from __future__ import annotations

from pathlib import Path

import browser
import numpy as np
import pytest
from embedding import Music

from resplice.transforms import charts, preview_page, projection
from resplice.transforms.page import Point, Scatter


def test_the_plane_is_that_of_the_largest_variance_whatever_the_sign() -> None:
    random = np.random.default_rng(1)
    vectors = (random.normal(0, 1, (50, 6)) * [5.0, 0.1, 2.0, 0.1, 0.1, 0.1]).astype(np.float32)
    places, shares = projection.plane(vectors)
    wide = vectors - vectors.mean(axis=0)
    assert np.abs(np.corrcoef(places[:, 0], wide[:, 0])[0, 1]) > 0.99
    assert np.abs(np.corrcoef(places[:, 1], wide[:, 2])[0, 1]) > 0.99
    assert shares[0] > shares[1] > 0 and sum(shares) <= 1
    assert np.allclose(projection.plane(vectors[:1])[0], 0) and projection.plane(vectors[:1])[1] == (0.0, 0.0)


def test_neighbours_are_the_nearest_without_the_item_itself_and_items_shown_lie_apart() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.96, 0.28]], np.float32)
    assert [row for row, _ in projection.neighbours(vectors, 0, 2)] == [3, 1]
    assert projection.neighbours(vectors, 0, 9)[-1] == (2, 0.0)
    assert set(projection.apart(vectors, 3)) >= {0, 2} and len(projection.apart(vectors, 9)) <= 4


def test_dots_keep_their_shape_and_lie_within_the_picture() -> None:
    points = [Point(0, 0, "a"), Point(10, 0, "b", "1"), Point(0, 1, "c")]
    dots = {dot.point.label: dot for dot in charts.scatter(Scatter("t", points, ("x", "y")))}
    assert all(0 < dot.x < charts.SCATTER_WIDTH and 0 < dot.y < charts.SCATTER_HEIGHT for dot in dots.values())
    assert dots["b"].x - dots["a"].x == pytest.approx(10 * (dots["a"].y - dots["c"].y))
    assert charts.scatter(Scatter("t", [], ("x", "y"))) == []


def test_a_page_without_any_vector_says_so() -> None:
    page = preview_page.page([], np.zeros((0, 1), np.float32), 0, "logmel", lambda row: None)
    assert page.verdict == "0 items" and page.sections == []


@pytest.mark.skipif(browser.executable() is None, reason="no browser")
def test_the_preview_plays_neighbours_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    music = Music.make(tmp_path, 5)
    music.write("same.wav", 0)
    monkeypatch.chdir(tmp_path)
    assert music("--preview", "--windows", "full") == 0
    file = tmp_path / "data/embeddings/preview.html"
    with browser.chromium() as chromium, browser.opened(chromium, file) as page:
        assert page.locator("svg.scatter circle").count() == 6
        assert "1.0000" in page.locator("main").inner_text()  # the same sound in another format
        page.locator("button.play").first.click()
        browser.wait_until(page, "Array.from(document.querySelectorAll('audio')).some((each) => each.currentTime > 0)")
