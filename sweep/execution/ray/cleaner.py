"""Ends what a Ray left behind. As a script it runs beside a driver that started Ray, and does so once that is gone.

Most of Ray's processes end with the driver, whatever ends it. Two of its agents do not: after a SIGKILL they would try
for a minute to report it. Uses the standard library alone, so that it starts fast and stays small.
"""

import os
import shutil
import signal
import sys
import time

ROUNDS = 20
SECONDS_BETWEEN = 0.1


def end_processes(folder: str) -> None:
    """Kill all processes of this user that work in a folder of Ray's, and wait until they are gone."""
    for _ in range(ROUNDS):
        left = processes_in(folder)
        if not left:
            return
        for number in left:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(SECONDS_BETWEEN)


def processes_in(folder: str) -> list[int]:
    """Processes of this user, other than this one, that were started for a folder or have a file in it open.

    The agents of Ray change their command line, but keep their logs open. None where the system has no /proc.
    """
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid == os.getuid() and _works_in(f"/proc/{name}", folder):  # noqa: PTH116
                found.append(int(name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def _works_in(process: str, folder: str) -> bool:
    with open(f"{process}/cmdline", "rb") as stream:  # noqa: PTH123
        words = stream.read()
    if __file__.encode() in words:
        return False  # the script beside a driver
    if f"{folder}/".encode() in words:
        return True
    return any(_target(f"{process}/fd/{number}").startswith(f"{folder}/") for number in os.listdir(f"{process}/fd"))  # noqa: PTH208


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115
    except OSError:
        return ""


def main(folder: str) -> None:
    """Wait until standard input is closed, which the driver's death does. A byte means that all is clean already."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):  # it goes when the driver does
        signal.signal(number, signal.SIG_IGN)
    if not sys.stdin.buffer.read(1):
        end_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
