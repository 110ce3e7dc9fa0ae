"""Make docs/report-light.png and docs/report-dark.png: the report of the demo's recovery, with a sound playing.

python tests/screenshots.py      needs Chromium, named by CHROMIUM or found on PATH
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import browser

DOCS = Path(__file__).parent.parent / "docs"
PLAYING = "Array.from(document.querySelectorAll('audio')).some((audio) => audio.currentTime > 0.2)"
RESPLICE = [sys.executable, "-m", "resplice.pipelines"]


def main() -> None:
    """Write a demo corpus, recover it, and photograph its report in both colour schemes."""
    with tempfile.TemporaryDirectory() as folder, browser.chromium() as chromium:
        demo = Path(folder) / "demo"
        config = str(demo / "resplice.toml")
        subprocess.run([*RESPLICE, "demo", str(demo)], check=True)
        subprocess.run([*RESPLICE, "recover", "--config", config, "--run-id", "demo", "--yes", "--quiet"], check=True)
        report = demo / "workspace" / "runs" / "demo" / "report.html"
        for scheme in ("light", "dark"):
            with browser.opened(chromium, report, scheme) as page:
                photograph(page, DOCS / f"report-{scheme}.png")


def photograph(page: browser.Page, target: Path) -> None:
    """Press the second button of the first sample, and take the page down to there while its sound plays."""
    button = page.locator("button.play").nth(1)
    button.click()
    browser.wait_until(page, PLAYING)
    first = page.locator("article.listening").first.bounding_box()
    assert first is not None
    shown = page.evaluate("window.scrollY") + first["y"] + first["height"] + 16
    page.screenshot(path=target, full_page=True, clip={"x": 0, "y": 0, "width": 1180, "height": shown})
    print(target)


if __name__ == "__main__":
    main()
