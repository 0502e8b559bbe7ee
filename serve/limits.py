"""What a server takes from its clients at the most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of what clients can make a server do.

    Args:
        photograph_bytes: of a JPEG or PNG.
        photograph_pixels: of it, unpacked.
        bytes_at_once: of all requests that are being read or answered.
        connections: open at once.
        rate: requests a second from one address; 0 for no limit.
        reading_seconds: that a request's body may take to come, and an answer to be taken.
        answering_seconds: that a request may wait for its answer.
        silence_seconds: that a connection may stay open without a whole request.
        draining_seconds: that what was asked before the end may take.
    """

    photograph_bytes: int = 32 << 20
    photograph_pixels: int = 64_000_000
    bytes_at_once: int = 512 << 20
    connections: int = 256
    rate: float = 0.0
    reading_seconds: float = 20.0
    answering_seconds: float = 60.0
    silence_seconds: float = 30.0
    draining_seconds: float = 20.0
