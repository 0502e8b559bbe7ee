"""The page in headless Chromium, as somebody uses it: skipped where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import cv2
import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed, so no page is served")

from trtparse.demo.layers import all_parts, layers_of
from trtparse.demo.live import LivePage, LiveSettings
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.pose.task import Pose
from trtparse.tests.demo.live.chromium import Browser, Tab
from trtparse.tests.demo.live.made_frames import PANTS, UPPER_CLOTHES, Pipeline, eventually, made_frame

PARTS = Parsing(label_set("lip")).parts

SHOWN = "Number(document.getElementById('picture').dataset.shown ?? 0)"
LEFT, RIGHT = (0.2, 0.8), (0.8, 0.8)  # in the upper clothes, in the pants
GREY = [100, 100, 100]

INSPECT = """
(() => {
  const luminance = c => {
    const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parse = colour => {
    const parts = colour.match(/[\\d.]+/g).map(Number);
    return {rgb: parts.slice(0, 3), alpha: parts[3] ?? 1};
  };
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.alpha > 0) return colour.rgb;
    }
    return [255, 255, 255];
  };
  const root = document.documentElement;
  const found = {letters: 0, faint: [], small: [], low: [], outside: []};
  found.overflow = root.scrollWidth - root.clientWidth;
  found.page = getComputedStyle(document.body).backgroundColor;
  found.loaded = performance.getEntriesByType('resource').map(e => new URL(e.name).pathname).sort();
  for (const node of [...document.querySelectorAll('body *')].filter(n => n.checkVisibility())) {
    const box = node.getBoundingClientRect();
    if (!node.closest('.hidden') && (box.right > root.clientWidth + 1 || box.left < -1)) found.outside.push(node.id);
    if (['BUTTON', 'INPUT'].includes(node.tagName) && box.height < 32) found.low.push(node.textContent || node.id);
    const own = [...node.childNodes].filter(c => c.nodeType === 3 && c.data.trim());
    if (!own.length || node.disabled) continue;
    found.letters += own.length;
    const style = getComputedStyle(node);
    const [one, two] = [parse(style.color).rgb, behind(node)].map(luminance);
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) found.faint.push(ratio.toFixed(2) + ' ' + own[0].data.trim());
    if (parseFloat(style.fontSize) < 11) found.small.push(own[0].data.trim());
  }
  return found;
})()
"""


@pytest.fixture
def running(page: LivePage) -> Iterator[LivePage]:
    """A page that is fed."""
    with Pipeline(page):
        yield page


def opened(tab: Tab, page: LivePage) -> None:
    tab.open(page.url)
    tab.until(f"{SHOWN} > 2")
    tab.until("document.getElementById('fps').textContent === '25.0'")


def like(pixel: list[int], colour: list[int]) -> bool:
    """As far as JPEG keeps colours."""
    return all(abs(one - other) < 25 for one, other in zip(pixel, colour))


def text(tab: Tab, name: str) -> str:
    return str(tab.run(f"document.getElementById('{name}').textContent"))


def test_the_picture_moves(tab: Tab, running: LivePage) -> None:
    opened(tab, running)
    seen = set()
    for _ in range(4):
        before = tab.run(SHOWN)
        tab.until(f"{SHOWN} > {before}")
        seen.add(tab.run("document.getElementById('picture').toDataURL()"))
    assert len(seen) == 4
    assert text(tab, "state") == "Live"
    assert tab.complaints == []


def test_the_numbers_are_those_of_the_frames(tab: Tab, running: LivePage) -> None:
    opened(tab, running)
    assert text(tab, "title") == "street.mp4"
    assert text(tab, "people") == "22 so far"
    assert tab.run("[...document.querySelectorAll('#persons li')].map(n => n.textContent)") == ["#1  90 %", "#2  90 %"]
    times = tab.run("[...document.querySelectorAll('.stages li')].map(n => n.innerText.split('\\n').join(' '))")
    assert times == ["Decode 1.0", "Prepare 2.0", "Infer 12.5", "Draw 3.0", "Encode 4.0"]
    assert tab.run("document.querySelector('.slowest').textContent") == "Infer12.5"
    seen = tab.run("[...document.querySelectorAll('.classes .seen .name')].map(n => n.textContent)")
    assert seen == ["Upper clothes", "Pants"]
    tab.until("Number(document.getElementById('shown').textContent) > 1")


def test_a_part_that_is_switched_off_leaves_the_picture(tab: Tab, running: LivePage) -> None:
    opened(tab, running)
    assert not like(tab.pixel(*RIGHT), GREY)
    tab.click(f"[data-id='{PANTS}']")
    eventually(lambda: like(tab.pixel(*RIGHT), GREY))
    assert not like(tab.pixel(*LEFT), GREY)
    assert running.settings.classes == frozenset(range(1, 20)) - {PANTS}
    assert tab.run(f"document.querySelector('[data-id=\"{PANTS}\"]').getAttribute('aria-pressed')") == "false"
    tab.click("[data-kind=parts] .none")
    eventually(lambda: like(tab.pixel(*LEFT), GREY))
    tab.click(f"[data-id='{UPPER_CLOTHES}']")
    eventually(lambda: not like(tab.pixel(*LEFT), GREY))
    assert running.settings.classes == {UPPER_CLOTHES}
    tab.click("[data-kind=parts] .all")
    eventually(lambda: running.settings.classes == frozenset(range(1, 20)))
    assert tab.complaints == []


def test_each_kind_of_part_has_a_card_with_switches_of_its_own(tab: Tab) -> None:
    parts = all_parts(layers_of([Parsing(label_set("lip")), Pose(load_skeleton("coco17"))]))
    with LivePage("127.0.0.1:0", settings=LiveSettings(parts)) as page, Pipeline(page):
        opened(tab, page)
        assert tab.run("[...document.querySelectorAll('.parts h2')].map(n => n.textContent)") == ["Parts", "Joints"]
        names = tab.run("[...document.querySelectorAll('[data-kind=joints] .name')].map(n => n.textContent)")
        assert (len(names), names[0], names[-1]) == (17, "nose", "right ankle")
        tab.click("[data-kind=joints] .none")
        eventually(lambda: page.settings.classes == frozenset(range(1, 20)))
        tab.click("[data-kind=parts] .none")
        eventually(lambda: page.settings.classes == frozenset())
        tab.click("[data-kind=joints] .all")
        eventually(lambda: page.settings.classes == frozenset(range(20, 37)))
        for size in ((320, 640), (1280, 800)):
            tab.look(*size, phone=size[0] < 500)
            tab.until(f"innerWidth === {size[0]}")
            found = tab.run(INSPECT)
            assert [found[what] for what in ("overflow", "outside", "faint", "small")] == [0, [], [], []]
    assert tab.complaints == []


def test_the_opacity_follows_the_keyboard_to_both_ends(tab: Tab, running: LivePage) -> None:
    opened(tab, running)
    tab.run("document.getElementById('opacity').focus()")
    tab.press("Home", 36)
    eventually(lambda: running.settings.opacity == 0)
    eventually(lambda: like(tab.pixel(*LEFT), GREY))
    tab.press("End", 35)
    eventually(lambda: running.settings.opacity == 1)
    eventually(lambda: like(tab.pixel(*LEFT), [254, 0, 0]))
    for _ in range(30):  # faster than the page may ask
        tab.press("ArrowLeft", 37)
    eventually(lambda: running.settings.opacity == 0.7)
    assert text(tab, "opacity-value") == "70 %"
    assert text(tab, "state") == "Live"


def test_two_viewers_see_the_same_switches(browser: Browser, tab: Tab, running: LivePage) -> None:
    other = browser.tab()
    for one in (tab, other):
        opened(one, running)
    tab.click("input[value=latest]")
    eventually(lambda: running.settings.policy == "latest")
    other.until("document.querySelector('input[value=latest]').checked")
    other.call("Page.close")


def test_a_snapshot_is_saved(browser: Browser, tab: Tab, running: LivePage) -> None:
    opened(tab, running)
    tab.click("#snapshot")
    tab.until("document.getElementById('notice').textContent.startsWith('Saved trtparse-')")
    path = browser.downloads / text(tab, "notice").removeprefix("Saved ")
    eventually(path.is_file)
    assert cv2.imread(str(path)).shape == (120, 160, 3)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_window_shows_all_of_it_readably(tab: Tab, running: LivePage, dark: bool) -> None:
    opened(tab, running)
    for size in ((320, 640), (390, 844), (844, 390), (1280, 800)):
        phone = min(size) < 500
        tab.look(*size, dark=dark, phone=phone)
        running.say("A long notice about a camera that was lost and is being connected again, as often happens.")
        tab.until(f"innerWidth === {size[0]} && !document.getElementById('notice').hidden")
        found = tab.run(INSPECT)
        assert found["letters"] > 50
        assert found["page"] == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
        assert found["overflow"] == 0
        assert found["outside"] == []
        assert found["faint"] == []
        assert found["small"] == []
        assert not phone or found["low"] == []
        assert found["loaded"] == ["/page.css", "/page.js"]
    assert tab.complaints == []


def test_on_a_phone_the_picture_stays_in_sight_while_a_switch_is_touched(tab: Tab, running: LivePage) -> None:
    tab.look(390, 844, phone=True)
    opened(tab, running)
    tab.click("[data-id='19']")
    eventually(lambda: 19 not in running.settings.classes)
    top, bottom = tab.run(
        "(() => { const b = document.getElementById('picture').getBoundingClientRect(); return [b.top, b.bottom]; })()"
    )
    assert tab.run("scrollY") > 100
    assert 0 <= top < bottom < 600


def test_the_eyes_of_these_tests_see_what_is_wrong_with_a_page(tab: Tab, running: LivePage) -> None:
    tab.look(390, 844, phone=True)
    opened(tab, running)
    tab.run(
        "(() => { const p = document.createElement('p'); p.textContent = 'faint'; p.id = 'wrong';"
        "p.style.cssText = 'width:900px;color:#888;background:#999;font-size:9px'; document.body.append(p);"
        "document.querySelector('.all').style.cssText = 'min-height:0;height:20px'; })()"
    )
    found = tab.run(INSPECT)
    assert found["overflow"] > 0
    assert "wrong" in found["outside"]
    assert found["faint"]
    assert found["small"] == ["faint"]
    assert found["low"] == ["All"]
    # And the policy does not let a script in that is not the page's.
    tab.run("document.body.append(Object.assign(document.createElement('script'), {textContent: 'stolen = 1'}))")
    assert tab.run("typeof stolen") == "undefined"
    assert any("Content Security Policy" in complaint for complaint in tab.complaints)


def test_words_from_a_source_stay_words(tab: Tab) -> None:
    title = "<img src=x onerror=stolen=1>.mp4"
    with LivePage("127.0.0.1:0", settings=LiveSettings(PARTS), title=title) as page, Pipeline(page):
        opened(tab, page)
        page.say(title)
        tab.until("!document.getElementById('notice').hidden")
        assert text(tab, "title") == text(tab, "notice") == title
        assert tab.run("document.images.length") == 0


def test_a_frame_that_stays_away_is_said_and_so_is_the_end(tab: Tab) -> None:
    with LivePage("127.0.0.1:0", settings=LiveSettings(PARTS)) as page:
        tab.open(page.url)
        tab.until("document.getElementById('state').textContent === 'Waiting'")
        assert text(tab, "message") == "Waiting for the first frame"
        page(made_frame(0))
        tab.until("document.getElementById('state').textContent === 'Live'")
        page._came -= 60
        tab.until("document.getElementById('message').textContent .match(/^No new frame for 6\\d s$/)")
        assert text(tab, "fps") == "0.0"
        page(made_frame(1))
        tab.until("document.getElementById('message').hidden")
    tab.until("document.getElementById('state').textContent === 'Ended'")
    assert text(tab, "message") == "The run has ended."
    assert tab.run(SHOWN) == 2
    assert tab.run("document.getElementById('snapshot').disabled && document.getElementById('opacity').disabled")


def test_a_page_that_is_served_again_is_found_again(tab: Tab, running: LivePage) -> None:
    with LivePage("127.0.0.1:0", settings=LiveSettings(PARTS)) as page, Pipeline(page):
        opened(tab, page)
        port = urlsplit(page.url).port
    tab.until("document.getElementById('state').textContent === 'Ended'")
    before = tab.run(SHOWN)
    with LivePage(f"127.0.0.1:{port}", settings=LiveSettings(PARTS)) as page, Pipeline(page):
        tab.until(f"{SHOWN} > {before} && document.getElementById('state').textContent === 'Live'")
        assert not tab.run("document.getElementById('opacity').disabled")


def test_the_token_is_asked_for_once_and_leaves_the_address(browser: Browser, tab: Tab) -> None:
    with LivePage("127.0.0.1:0", "a long token", settings=LiveSettings(PARTS)) as page, Pipeline(page):
        plain = page.url.split("?")[0]
        tab.look(320, 640, phone=True)
        tab.open(plain)
        tab.until("document.forms.length === 1")
        assert tab.run(INSPECT)["faint"] == []
        tab.run("document.forms[0].token.value = 'wrong'; document.forms[0].requestSubmit()")
        tab.until("document.getElementById('wrong') && !document.getElementById('wrong').hidden")
        tab.run("document.forms[0].token.value = 'a long token'; document.forms[0].requestSubmit()")
        tab.until(f"{SHOWN} > 0")
        assert tab.run("document.cookie") == ""
        again = browser.tab()
        again.open(plain)
        again.until(f"{SHOWN} > 0")
        again.call("Page.close")
    with LivePage("127.0.0.1:0", "another token", settings=LiveSettings(PARTS)) as page, Pipeline(page):
        tab.open(page.url)
        tab.until(f"{SHOWN} > 0")
        assert tab.run("location.search") == ""


def test_a_page_in_the_background_is_sent_nothing_new(tab: Tab, running: LivePage) -> None:
    opened(tab, running)
    tab.run(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    (viewer,) = running._server._viewers
    eventually(lambda: not viewer.is_ready)
    made = running._pictures.made
    time.sleep(0.3)
    assert running._pictures.made <= made + 1
    before = tab.run(SHOWN)
    tab.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    tab.until(f"{SHOWN} > {before} + 2")


def test_a_page_under_a_name_that_somebody_made_point_here_stays_shut(tab: Tab, running: LivePage) -> None:
    tab.open(running.url.replace("127.0.0.1", "rebound.test"))
    tab.until("document.body?.innerText.includes('not served under that name')")


def test_a_page_of_another_port_gets_nothing_from_this_one(tab: Tab, running: LivePage) -> None:
    with LivePage("127.0.0.1:0", settings=LiveSettings(PARTS)) as other:
        tab.open(other.url)
        tab.until("document.readyState === 'complete'")
        tab.call("Page.setBypassCSP", enabled=True)
        tab.open(other.url)
        tab.until("document.getElementById('state')?.textContent === 'Waiting'")
        tab.call("Page.setBypassCSP", enabled=False)
        address = urlsplit(running.url).netloc
        heard = tab.run(
            f"new Promise(done => {{ const s = new WebSocket('ws://{address}/live');"
            "s.onopen = () => done('open'); s.onerror = () => done('refused'); })"
        )
        assert heard == "refused"
        loaded = tab.run(
            f"new Promise(done => {{ const i = new Image(); i.onload = () => done('loaded');"
            f"i.onerror = () => done('refused'); i.src = 'http://{address}/snapshot.png'; }})"
        )
        assert loaded == "refused"
