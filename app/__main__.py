"""`python -m greenmine` and the `greenmine` command."""

from __future__ import annotations

import os
import sys

FAILED, INTERRUPTED = 1, 130
DEBUG = "GREENMINE_DEBUG"


def main() -> None:
    """Run the command line. What nobody foresaw becomes words too; GREENMINE_DEBUG=1 shows where it happened."""
    # What is written is for its owner only: databases, their logs and their copies hold hashes of passwords.
    os.umask(0o077)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and "utf" not in stream.encoding.lower():  # GBK has no superscript three, ASCII no 矿
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        # Imported here, so that Ctrl-C while it is imported is not a stack trace.
        from greenmine.cli import app

        app()
    except SystemExit as ending:
        sys.exit(_flushed(ending.code))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        said = f"greenmine: not foreseen, please report it: {type(error).__name__}: {error}"
        sys.stderr.write(f"{said}\nrun it again with {DEBUG}=1 to see where it happened\n")
        sys.exit(FAILED)


def _flushed(code: str | int | None) -> str | int | None:
    """The exit code, unless what was printed cannot be written: a full disk under a redirection is a failure."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        sys.stderr.write(f"greenmine: standard output: {error.strerror}\n")
        code = FAILED
    else:
        return code
    # Python flushes once more when it ends, and would complain once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    main()
