from __future__ import annotations

import hmac
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtparse.web.access import Credentials, RateLimit, is_own_host, is_own_page, own_names

NAMES = frozenset({"localhost", "jetson", "jetson.local"})


@given(token=st.text(min_size=1), given_=st.text())
def test_only_the_token_is_the_token(token: str, given_: str) -> None:
    credentials = Credentials(token, 8080)
    assert credentials.is_token(token)
    assert credentials.is_token(given_) == (given_ == token)
    assert not credentials.is_token(None)
    assert credentials.is_cookie(credentials.cookie)
    assert not credentials.is_cookie(token)
    assert not credentials.is_cookie("")
    assert not credentials.is_token(credentials.cookie)


def test_without_a_token_everybody_enters() -> None:
    credentials = Credentials("", 8080)
    assert not credentials.needed
    assert credentials.is_token(None)
    assert credentials.is_cookie(None)


def test_comparing_takes_the_same_time_for_every_wrong_token() -> None:
    with mock.patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compare:
        Credentials("right-token", 8080).is_token("wrong")
    compare.assert_called_once_with(b"wrong", b"right-token")


def test_a_cookie_is_of_its_token_and_named_by_its_port() -> None:
    one, same, other = Credentials("token-one", 1), Credentials("token-one", 2), Credentials("token-two", 1)
    assert one.cookie == same.cookie != other.cookie
    assert one.cookie_name != same.cookie_name
    assert "token-one" not in one.cookie


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:9", "[::1]:80", "192.168.1.9", "jetson.local.:8080", "jetson"]
)
def test_addresses_and_own_names_are_ours(host: str) -> None:
    assert is_own_host(host, NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.test",
        "evil.test:8080",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "[::1",
        "2130706433",
        "a@evil.test",
    ],
)
def test_a_name_that_points_here_is_not_ours(host: str) -> None:
    assert not is_own_host(host, NAMES)


def test_own_names_hold_the_one_that_is_served_on() -> None:
    assert {"localhost", "board.lab"} <= own_names("Board.Lab")


@pytest.mark.parametrize(
    ("origin", "site", "mode", "own"),
    [
        (None, None, None, True),  # no browser
        ("http://jetson:8080", "same-origin", "cors", True),
        ("https://JETSON:8080", "same-origin", "cors", True),
        ("http://jetson:3000", "same-site", "cors", False),
        ("http://jetson", "same-site", "cors", False),
        ("http://evil.test", "cross-site", "cors", False),
        ("http://evil.test", None, None, False),
        ("null", None, None, False),
        ("", None, None, False),
        ("http://[jetson:8080", None, None, False),
        ("file://jetson:8080", None, None, False),
        ("http://jetson:8080@evil.test", None, None, False),
        (None, "same-origin", "no-cors", True),
        (None, "none", "navigate", True),
        (None, "cross-site", "navigate", True),  # a link that somebody follows
        (None, "cross-site", "no-cors", False),
        (None, "same-site", "no-cors", False),
    ],
)
def test_another_page_does_not_ask_for_ours(origin: str | None, site: str | None, mode: str | None, own: bool) -> None:
    assert is_own_page("jetson:8080", origin, site, mode) is own


def test_a_bucket_fills_again_and_never_beyond_its_size() -> None:
    now = 0.0
    limit = RateLimit(2, burst=3, clock=lambda: now)
    assert [limit.allows("a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert limit.allows("b")
    now = 0.5
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    now = 100.0
    assert [limit.allows("a") for _ in range(5)] == [True] * 3 + [False] * 2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.integers(1, 20), st.floats(0.5, 50))
def test_no_rhythm_gets_more_than_the_rate_and_one_burst(pauses: list[float], burst: int, rate: float) -> None:
    now = 0.0
    limit = RateLimit(rate, burst, clock=lambda: now)
    allowed = 0
    for pause in pauses:
        now += pause
        allowed += limit.allows()
    assert allowed <= burst + rate * now + 1e-6


def test_many_addresses_do_not_fill_the_memory() -> None:
    limit = RateLimit(1, 1)
    for number in range(5000):
        limit.allows(str(number))
    assert len(limit._buckets) <= 1024
