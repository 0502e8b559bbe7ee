"""Who may ask: the token, the names it goes by, the page that asks, and how often.

A browser carries other people's pages, and those can send requests to any address that this machine reaches. What a
request says about where it comes from is therefore looked at on loopback as well.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

_MOST_ADDRESSES = 1024


class Credentials:
    """Compares what a request brings with the token, in a time that does not tell how much of it is right.

    Args:
        token: empty lets everybody in who reaches the page.
        port: of the page: a browser sends cookies to every port of a host, so the port is in the cookie's name.
    """

    def __init__(self, token: str, port: int) -> None:
        self._token = token
        self.cookie_name = f"trtparse-live-{port}"
        # Not the token itself, which need not lie in a browser; the same after a restart.
        self.cookie = hmac.new(_bytes(token), b"trtparse live page", hashlib.sha256).hexdigest()

    @property
    def needed(self) -> bool:
        return bool(self._token)

    def is_token(self, given: str | None) -> bool:
        return self._equal(given, self._token)

    def is_cookie(self, given: str | None) -> bool:
        return self._equal(given, self.cookie)

    def _equal(self, given: str | None, right: str) -> bool:
        if not self._token:
            return True
        return hmac.compare_digest(_bytes(given or ""), _bytes(right))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def own_names(host: str) -> frozenset[str]:
    """The names besides ``localhost`` and addresses that a server on ``host`` is asked for by."""
    machine = socket.gethostname().lower()
    return frozenset({"localhost", host.lower(), machine, f"{machine}.local"})


def is_own_host(header: str, names: frozenset[str]) -> bool:
    """Whether ``Host`` is an address or one of ``names``.

    Any other name was made to point here by somebody, whose page would then count as ours (DNS rebinding). An address
    cannot be made to; the port is not looked at, as ``ssh -L`` changes it.
    """
    try:
        host = (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if host in names:
        return True
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_own_page(host: str, origin: str | None, fetch_site: str | None, fetch_mode: str | None) -> bool:
    """Whether a request comes from our page, from no page, or from a person who follows a link.

    Args:
        host: the request's ``Host``.
        origin: its ``Origin``; browsers send it with every form and every WebSocket, other programs with none.
        fetch_site: its ``Sec-Fetch-Site``.
        fetch_mode: its ``Sec-Fetch-Mode``.
    """
    if origin is not None:
        if not origin.startswith(("http://", "https://")):
            return False
        try:
            return urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:  # no address at all, as no browser sends it
            return False
    return fetch_site in (None, "same-origin", "none") or fetch_mode == "navigate"


class RateLimit:
    """A bucket per key that fills at a steady rate; each request takes a drop.

    Args:
        per_second: how fast.
        burst: how much it holds.
        clock: seconds.

    Example:
        >>> limit = RateLimit(1, burst=2, clock=lambda: 0.0)
        >>> [limit.allows("10.0.0.7") for _ in range(3)]
        [True, True, False]
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, key: str = "") -> bool:
        now = self._clock()
        level, since = self._buckets.pop(key, (float(self._burst), now))
        level = min(level + (now - since) * self._per_second, self._burst)
        allowed = level >= 1
        self._buckets[key] = (level - 1 if allowed else level, now)
        if len(self._buckets) > _MOST_ADDRESSES:  # the one that was silent for longest
            self._buckets.popitem(last=False)
        return allowed
