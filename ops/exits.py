"""Exit codes of ``pulex``, for scripts and for the runbook."""

OK = 0
CONFIG = 2  # wrong option or configuration, port in use, /dev/shm full, already running: nothing was started
START = 3  # a process did not start, or arming was refused
WARM = 4  # the kernels did not compile
KILL_TEST = 5  # the kill test failed, so the system was not armed
HALTED = 6  # killed or latched; the next start waits for pulex resume
UNCLEAN = 7  # stopped, but it could not be verified that nothing is left open
ABSENT = 8  # no such instance is running

NAMES = {OK: "ok", START: "start", WARM: "warm", KILL_TEST: "kill_test", HALTED: "halted", UNCLEAN: "unclean"}
