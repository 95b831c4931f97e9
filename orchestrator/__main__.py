"""The entry point of `orchestrate` and of `python -m orchestrator`."""

import gc
import signal


def main() -> None:
    """Import the command line and run it; `cli.main` handles signals."""
    # Imports create hundreds of thousands of objects that stay alive. To scan them for garbage
    # again and again would take a twentieth of the time of a run with nothing due.
    gc.set_threshold(200_000)
    # Ctrl-C during the imports ends the process without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from orchestrator import cli  # noqa: PLC0415 - the imports that the lines above prepare for

    # Exclude these objects from the scan at exit too, which would take a tenth of that time.
    gc.freeze()
    cli.main()


if __name__ == "__main__":
    main()
