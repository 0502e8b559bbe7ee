from __future__ import annotations

import socket
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtparse.errors import UsageError
from trtparse.web.address import ServeAddress, check_token, listen, url_of


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8080", "127.0.0.1", 8080),
        ("localhost:0", "localhost", 0),
        ("0.0.0.0:65535", "0.0.0.0", 65535),
        ("[::1]:8080", "::1", 8080),
        ("jetson.local:80", "jetson.local", 80),
    ],
)
def test_an_address_is_read_as_it_is_typed(text: str, host: str, port: int) -> None:
    assert ServeAddress.parse(text) == ServeAddress(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":8080",
        "host",
        "host:",
        "host:x",
        "host:65536",
        f"host:{'9' * 5000}",
        "host:-1",
        "::1:8080",
        "http://host:80",
        "a@b:80",
        "h:٣",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ServeAddress.parse(text)
    assert "127.0.0.1:8080" in caught.value.hint


@given(st.sampled_from(["127.0.0.1", "::1", "a.b"]), st.integers(0, 65535))
def test_an_address_is_written_as_it_is_read(host: str, port: int) -> None:
    address = ServeAddress(host, port)
    assert ServeAddress.parse(str(address)) == address


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_on_this_machine_alone_no_token_is_needed(address: str) -> None:
    check_token(ServeAddress.parse(address), "")


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "192.0.2.7:8080"])
def test_where_others_can_reach_it_a_token_is_needed_and_one_is_offered(address: str) -> None:
    with pytest.raises(UsageError, match="a token is needed") as caught:
        check_token(ServeAddress.parse(address), "")
    offered = caught.value.hint.split("--token ")[1].split(",")[0]
    check_token(ServeAddress.parse(address), offered)


def test_a_token_that_is_soon_guessed_is_refused() -> None:
    with pytest.raises(UsageError, match="7 characters"):
        check_token(ServeAddress.parse("127.0.0.1:0"), "seven77")


def test_a_host_that_nobody_knows_is_named() -> None:
    with pytest.raises(UsageError, match=r"no-such-host\.invalid"):
        listen(ServeAddress("no-such-host.invalid", 0))


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(UsageError, match=r"192\.0\.2\.7 is no address of this machine"):
        listen(ServeAddress("192.0.2.7", 0))


def test_a_port_in_use_is_named_with_a_way_out() -> None:
    with closing(listen(ServeAddress("127.0.0.1", 0))) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} of 127.0.0.1 is in use") as caught:
            listen(ServeAddress("127.0.0.1", port))
    assert "127.0.0.1:0" in caught.value.hint


def test_a_port_is_free_again_at_once() -> None:
    with closing(listen(ServeAddress("127.0.0.1", 0))) as first:
        port = first.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            first.accept()[0].close()
    listen(ServeAddress("127.0.0.1", port)).close()


def test_the_address_to_open_carries_the_token() -> None:
    with closing(listen(ServeAddress("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        assert url_of(listening, "") == f"http://127.0.0.1:{port}/"
        assert url_of(listening, "a b&c/d?#") == f"http://127.0.0.1:{port}/?token=a%20b%26c%2Fd%3F%23"


def test_the_address_to_open_is_never_that_of_all_interfaces() -> None:
    with closing(listen(ServeAddress("0.0.0.0", 0))) as listening:
        assert "0.0.0.0" not in url_of(listening, "some-token")
