"""The report in headless Chromium, with no network: skipped where there is none."""

from __future__ import annotations

import html as html_words
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trtparse.validation.report.page import html
from trtparse.validation.result import ValidationResult

MadeUp = Callable[..., ValidationResult]


def browser() -> str:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip(f"none of {', '.join(names)} is on PATH, so the report is not opened in a browser")
    return found


INSPECT = """
function luminance(c) {
  const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function parse(colour) {
  const parts = colour.match(/[\\d.]+/g).map(Number);
  return {rgb: parts.slice(0, 3), alpha: parts[3] ?? 1};
}
function behind(node, view) {
  for (; node; node = node.parentElement) {
    const colour = parse(view.getComputedStyle(node).backgroundColor);
    if (colour.alpha > 0) return colour.rgb;
  }
  return [255, 255, 255];
}
function inspect(frame) {
  const view = frame.contentWindow, root = view.document.documentElement, found = {};
  const shown = [...root.querySelectorAll('body *')].filter(n => n.checkVisibility());
  found.overflow = root.scrollWidth - root.clientWidth;
  found.outside = shown.filter(n => !n.closest('.hidden, thead, .scroll')
      && (n.getBoundingClientRect().right > root.clientWidth + 1 || n.getBoundingClientRect().left < -1))
    .map(n => n.tagName + ' ' + n.textContent.trim().slice(0, 30));
  found.loaded = view.performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'));
  found.focus = [...new Set(shown.filter(n => n.tabIndex >= 0).map(n => n.tagName))].sort();
  found.pictures = [...root.querySelectorAll('img')].filter(i => !(i.complete && i.naturalWidth > 0)).length;
  found.page = view.getComputedStyle(view.document.body).backgroundColor;
  found.faint = []; found.small = []; found.letters = 0;
  for (const node of shown) {
    const own = [...node.childNodes].filter(c => c.nodeType === 3 && c.data.trim());
    if (!own.length || ['TITLE', 'DESC', 'title', 'desc'].includes(node.tagName)) continue;
    const style = view.getComputedStyle(node), svg = node.namespaceURI.endsWith('svg');
    const [one, two] = [parse(svg ? style.fill : style.color).rgb, behind(node, view)].map(luminance);
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    found.letters += own.length;
    if (ratio < 4.5) found.faint.push(ratio.toFixed(2) + ' ' + own[0].data.trim());
    if (parseFloat(style.fontSize) < 11) found.small.push(own[0].data.trim());
  }
  return found;
}
addEventListener('load', () => {
  for (const details of document.querySelectorAll('iframe'))
    details.contentDocument.querySelectorAll('details').forEach(d => d.open = true);
  const found = [...document.querySelectorAll('iframe')].map(inspect);
  document.getElementById('found').textContent = JSON.stringify(found);
});
"""


def inspected(pages: list[tuple[str, int]], dark: bool, folder: Path) -> list[dict[str, Any]]:
    """What a browser without a network sees: pages in frames of given widths, as a window has a least width."""
    frames = [
        f'<iframe style="width:{width}px;height:900px" srcdoc="{html_words.escape(text)}"></iframe>'
        for text, width in pages
    ]
    scheme = "<meta name='color-scheme' content='light dark'>"
    around = f"<!doctype html>{scheme}<pre id=found></pre>{''.join(frames)}<script>{INSPECT}</script>"
    (folder / "frames.html").write_text(around, "utf-8")
    command = [
        browser(),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        f"--user-data-dir={folder / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--virtual-time-budget=5000",
        "--dump-dom",
        (folder / "frames.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    told = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told is not None
    found: list[dict[str, Any]] = json.loads(html_words.unescape(told[1]))
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_in_a_browser_nothing_loads_overflows_or_is_hard_to_read(
    dark: bool, made_up: MadeUp, hostile: ValidationResult, tmp_path: Path
) -> None:
    browser()
    one = html(
        made_up(),
        ranges={"/stage2/block1/Conv": (-1.0, 30.0)},
        sensitivity={"stage2": 0.1},
        command="trtparse validate " + "x" * 200,
    )
    several = html(made_up((0.4, 1.7), partial=True))
    evil = html(hostile, ranges={hostile.dataset: (0, 1)}, command=hostile.dataset)
    spoilt = one.replace("<main>", "<main><p style='width:200vw;color:#888;background:#999;font-size:9px'>faint</p>")
    spoilt = spoilt.replace("<main>", "<main tabindex=0><img src='https://example.org/x.png'>")
    spoilt = spoilt.replace('http-equiv="Content-Security-Policy"', "")
    *found, bad = inspected(
        [(one, 320), (one, 1200), (several, 360), (several, 768), (evil, 360), (evil, 1200), (spoilt, 360)],
        dark,
        tmp_path,
    )
    for page_found in found:
        assert page_found["letters"] > 300
        assert page_found["page"] == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
        assert page_found["overflow"] == 0
        assert page_found["outside"] == []
        assert page_found["loaded"] == []
        assert page_found["faint"] == []
        assert page_found["small"] == []
        assert page_found["pictures"] == 0
        assert page_found["focus"] == ["A", "SUMMARY"]
    # The same eyes see what is wrong with a page that is spoilt.
    assert bad["overflow"] > 0
    assert bad["loaded"] == ["https://example.org/x.png"]
    assert bad["faint"]
    assert bad["small"] == ["faint"]
    assert "MAIN" in bad["focus"]
    assert bad["pictures"] == 1
