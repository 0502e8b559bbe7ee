"""Ctrl-C, kill and a terminal that closes are one thing, whenever they come."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from trtparse.storage import interrupts as module
from trtparse.storage.files import replace_bytes
from trtparse.storage.interrupts import SIGNALS, Interrupts, interrupts, kept_handlers, uninterrupted
from trtparse.storage.journal import Journal
from trtparse.tests.signals import handled

COMMAND = """
import os, signal, subprocess, sys, time
from pathlib import Path
import click
from trtparse.commands import command_line
from trtparse.storage import interrupts

@click.group()
def group(): pass

@group.command()
def work():
    try:
        print("working", flush=True)
        time.sleep(600)
    finally:
        {tidy_up}

command_line.run(group)
"""
WRITE = 'Path(sys.argv[0]).with_name("tidied").write_text("")'


def start(folder: Path, tidy_up: str = WRITE, **options: Any) -> subprocess.Popen[str]:
    """A command that sleeps until a signal comes, in a process of its own; it is at work when this returns."""
    script = folder / "script.py"
    script.write_text(COMMAND.format(tidy_up=tidy_up))

    def defaults() -> None:
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    command = [sys.executable, script, "work"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": defaults, **options}
    process: subprocess.Popen[str] = subprocess.Popen(command, text=True, **options)
    if process.stdout is not None:
        assert process.stdout.readline() == "working\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_each_signal_lets_a_command_tidy_up_and_ends_it_with_the_shell_s_code_however_often_it_comes(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    with start(tmp_path) as process:
        process.send_signal(number)
        while process.poll() is None:  # until Python itself has ended
            process.send_signal(number)
            time.sleep(0.002)
        out, err = process.communicate()
    assert (process.returncode, out) == (code, "")
    assert "Error: Interrupted" in err
    assert (number.name in err) == (number != signal.SIGINT)
    assert "Traceback" not in err
    assert (tmp_path / "tidied").exists()


def test_a_second_signal_ends_at_once_what_hangs_while_it_tidies_up(tmp_path: Path) -> None:
    hang = 'interrupts.ONE_INTERRUPT_SECONDS = 0; print("tidying up", flush=True); time.sleep(600)'
    with start(tmp_path, hang) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "tidying up\n"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert (process.returncode, err) == (143, "")


def test_a_terminal_that_closes_does_not_cut_the_tidying_up_short(tmp_path: Path) -> None:
    """What goes to a terminal that is gone fails, and must not end the command in the middle."""
    ours, theirs = pty.openpty()
    script = f'print("to a dead terminal", flush=True); {WRITE}'
    options = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}

    def in_charge() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with start(tmp_path, script, preexec_fn=in_charge, **options) as process:
        os.close(theirs)
        told = b""
        while b"working" not in told:
            told += os.read(ours, 100)
        os.close(ours)
        process.wait()
    assert process.returncode == 129
    assert (tmp_path / "tidied").exists()


def test_what_is_told_to_be_ignored_stays_so_as_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts(own_process=False):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert isinstance(signal.getsignal(signal.SIGTERM), Interrupts)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not isinstance(signal.getsignal(signal.SIGTERM), Interrupts)


def test_off_the_main_thread_signals_are_somebody_else_s() -> None:
    def work() -> None:
        with interrupts(own_process=False), uninterrupted(), kept_handlers():
            done.append(signal.getsignal(signal.SIGTERM))

    done: list[object] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_in_what_must_be_finished_comes_after_it(number: signal.Signals, fails: bool) -> None:
    done = []
    with handled() as ours:
        with pytest.raises(KeyboardInterrupt), uninterrupted():  # noqa: PT012
            with uninterrupted():
                signal.raise_signal(number)
            done.append("the inner one does not end it")
            if fails:
                raise OSError("on the way")
        assert ours.exit_code == module.exit_code() == 128 + number
    assert done
    assert module.exit_code() == 130


def test_without_a_command_a_signal_in_what_must_be_finished_comes_after_it_too() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("finished")
        done.append("never")
    assert done == ["finished"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_library_s_handlers_go_when_it_has_started() -> None:
    with interrupts(own_process=False) as ours:
        with kept_handlers():
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        assert signal.getsignal(signal.SIGTERM) is ours


def interrupted_everywhere(work: Callable[[], object], files: set[str]) -> int:
    """Run ``work`` again and again, with an interrupt at its first line, its second and so on; how often."""
    for line in range(10_000):
        left = line

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            if os.path.basename(frame.f_code.co_filename) not in files:
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            work()
            return line
        except KeyboardInterrupt:
            continue
        finally:
            sys.settrace(before)
    raise AssertionError("it does not end")


def test_a_journal_can_be_gone_on_with_at_whatever_line_its_writing_was_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"

    def opened() -> Journal[int]:
        return Journal(path, {"of": "numbers"}, lambda number: number, int, resume=True, hint="")

    def go_on() -> None:
        path.write_text('{"of":"numbers"}\n0\n1\n2')
        try:
            with opened() as journal:
                journal.append(2)
        finally:
            left = [one.name for one in tmp_path.iterdir()]
            with opened() as journal:
                seen.append((left, journal.entries))

    seen: list[tuple[list[str], list[int]]] = []
    assert interrupted_everywhere(go_on, {"journal.py", "files.py"}) > 40
    assert [left for left, _ in seen] == [["record.jsonl"]] * len(seen)
    assert {tuple(entries) for _, entries in seen} == {(0, 1), (0, 1, 2)}
    assert seen[-1][1] == [0, 1, 2]


def test_a_file_is_whole_at_whatever_line_its_writing_was_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = set()

    def write() -> None:
        try:
            replace_bytes(path, b"new" * 1000)
        finally:
            seen.add(path.read_bytes())

    assert interrupted_everywhere(write, {"files.py"}) > 10
    assert seen == {b"old", b"new" * 1000}
