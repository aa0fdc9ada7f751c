"""Imported first by the fork server: from here on Ctrl-C ends it, and workers that have not started, without a word.

A Python process would print a traceback instead, from wherever its imports are. Until this module is imported the
signal is blocked, see `forkserver.begin_imports`.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
