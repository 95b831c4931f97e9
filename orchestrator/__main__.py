"""The entry point: until the command line is loaded, Ctrl-C ends the process without a word."""

import gc
import signal


def main() -> None:
    """Load and run the command line, which heeds signals from then on."""
    # Imports make hundreds of thousands of objects, which stay. To look through them for garbage
    # again and again is a twentieth of a run with nothing due.
    gc.set_threshold(200_000)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from orchestrator import cli  # noqa: PLC0415 - it takes a while

    gc.freeze()  # nor is it worth a look at the exit, which would be a tenth
    cli.main()


if __name__ == "__main__":
    main()
