"""Where is served: ``HOST:PORT`` as a person types it, and the socket that listens there."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from urllib.parse import quote

from ..errors import MachineError, UsageError

_EXAMPLES = "Write 127.0.0.1:8080 for this machine alone, 0.0.0.0:8080 for its network."
_LEAST_TOKEN = 8  # characters; at 20 tries a second, 8 hexadecimal digits stand for 3 years on average
_WAITING = 64  # connections that the system holds until they are accepted


@dataclass(frozen=True)
class ServeAddress:
    """A place to listen.

    Args:
        host: a name or an address, without brackets.
        port: 0 takes one that is free.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> ServeAddress:
        """``HOST:PORT``, ``[IPV6]:PORT``, or ``PORT`` of this machine alone.

        Raises:
            UsageError: it is none of these.
        """
        host, colon, port = text.strip().rpartition(":")
        if not colon:
            host = "127.0.0.1"
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        if not host or (":" in host) != bracketed or any(letter in host for letter in "/@?# "):
            raise UsageError(f"{text} is no HOST:PORT.", _EXAMPLES)
        if not (port.isascii() and port.isdecimal() and len(port.lstrip("0")) <= 5 and int(port) <= 65535):
            raise UsageError(f"{text} names no port between 0 and 65535.", _EXAMPLES)
        return cls(host, int(port))

    def resolved(self) -> tuple[socket.AddressFamily, str]:
        """The address behind the host's name, of version 4 where it has one.

        Raises:
            UsageError: nobody knows the name.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{self.host} is no address of this machine: {reason}.", _EXAMPLES) from error
        # One socket: with several, port 0 would be another one on each.
        family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        return family, str(where[0])


def check_token(address: ServeAddress, token: str) -> None:
    """See that nobody serves to a network by accident.

    Raises:
        UsageError: other machines can reach it and there is no token, or one that is soon guessed.
    """
    if token and len(token) < _LEAST_TOKEN:
        raise UsageError(
            f"The token has {len(token)} characters; {_LEAST_TOKEN} are the least.",
            f"Take a random one: --token {secrets.token_urlsafe(16)}",
        )
    if not token and not ipaddress.ip_address(address.resolved()[1].partition("%")[0]).is_loopback:
        raise UsageError(
            f"Other machines can reach {address}, so a token is needed.",
            f"Add --token {secrets.token_urlsafe(16)}, or serve on 127.0.0.1 and come through ssh -L.",
        )


def listen(address: ServeAddress) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: the port is taken or not this user's, or the address not this machine's.
        MachineError: the system refuses for another reason.
    """
    family, host = address.resolved()
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Else a port stays taken for a minute after the last run. It shares no port with a program that listens.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, address.port))
        listening.listen(_WAITING)
    except OSError as error:
        listening.close()
        raise _refused(address, error) from error
    return listening


def _refused(address: ServeAddress, error: OSError) -> UsageError | MachineError:
    other = ServeAddress(address.host, 0)
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"Port {address.port} of {address.host} is in use by another program.",
            f"Choose another one; {other} takes one that is free.",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UsageError(f"Port {address.port} may not be used by this user.", "Choose one above 1023.")
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"{address.host} is no address of this machine.", _EXAMPLES)
    return MachineError(f"{address} cannot be listened on: {error.strerror or error}.")


def url_of(listening: socket.socket, token: str) -> str:
    """What to open in a browser, with the token in it where there is one."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = _own_address(listening.family) or socket.gethostname()
    query = f"?token={quote(token, safe='')}" if token else ""
    return f"http://{ServeAddress(host, port)}/{query}"


def _own_address(family: int) -> str:
    """This machine's address in its network; empty where it has none.

    Connecting a datagram socket sends nothing and makes the system choose (both addresses are nobody's).
    """
    anywhere = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((anywhere, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])
