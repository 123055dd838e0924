"""Becomes a server: sets what only the child itself can set, then is replaced by the command. Run by path, never imported.

A program of its own, because code between fork and exec of a process with threads may deadlock.

usage: launch.py PARENT_PID DEATH_SIGNAL PID_FILE UID:GID REACH COMMAND [ARGUMENT …]
PID_FILE, UID:GID and REACH may be empty. REACH asks for the right to pass directories that are closed to UID.
"""

import ctypes
import os
import signal
import sys

# linux/prctl.h, linux/securebits.h and linux/capability.h
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def check(result: int) -> None:
    """Raise what the C library call that returned `result` failed with."""
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def change_account(uid: int, gid: int) -> None:
    """Give up root for good."""
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        sys.exit(f"root without the right to become user {uid}: {error}; start this as a normal user")


def keep_only_reach(libc: ctypes.CDLL) -> None:
    """Of all the rights of root that were kept, hand on one: file permissions do not stop us."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    right = 1 << CAP_DAC_OVERRIDE
    effective_permitted_inheritable = (ctypes.c_uint32 * 6)(right, right, right, 0, 0, 0)
    check(libc.capset(header, effective_permitted_inheritable))
    check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0))


def die_with_parent(libc: ctypes.CDLL, parent_pid: int, death_signal: int) -> None:
    """Ask the kernel for `death_signal` at the parent's death; it forgets that when the account changes, so afterwards."""
    check(libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0))
    # A parent that died before the call sends nothing any more.
    if os.getppid() != parent_pid:
        sys.exit("the process that wanted this server is gone")


def main(parent_pid: str, death_signal: str, pid_file: str, account: str, reach: str, *command: str) -> None:
    """Prepare this process, then run `command` in its place; the pid stays."""
    libc = ctypes.CDLL(None, use_errno=True)
    is_linux = sys.platform == "linux"
    if pid_file:
        with open(pid_file, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    if account and reach and is_linux:
        check(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
        # Without it access(2) forgets the right for a user other than root, and initdb asks access(2) for its programs.
        check(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
    if account:
        change_account(*map(int, account.split(":")))
    if account and reach and is_linux:
        keep_only_reach(libc)
    if is_linux:
        die_with_parent(libc, int(parent_pid), int(death_signal))
    os.umask(0o077)
    # Python ignores these two, and what is ignored stays ignored in the next program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execv(command[0], command)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"cannot start {sys.argv[6]}: {error}")
