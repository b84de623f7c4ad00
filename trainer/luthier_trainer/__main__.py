"""`python -m luthier_trainer RUNSPEC.json`."""

import os
import signal

# Until the run handles it: the first process of a container has no default action.
signal.signal(signal.SIGTERM, lambda *_: os._exit(75))  # ExitCode.INTERRUPTED

from luthier_trainer.main import main  # noqa: E402

if __name__ == "__main__":
    main()
