"""What is wrong with a flow, and the line that made it."""

import os
import sys
from typing import Optional

_HERE = os.path.dirname(os.path.abspath(__file__))


def caller() -> str:
    """The line outside of this package that is being run."""
    frame = sys._getframe(1)
    while frame.f_back is not None and os.path.dirname(os.path.abspath(frame.f_code.co_filename)) == _HERE:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class FlowError(Exception):
    """A mistake: `at` is the line that made it, `what` is what is wrong and what to do."""

    def __init__(self, what: str, at: Optional[str] = None):
        self.what = what
        self.at = at or caller()
        super().__init__(f"{self.at}: {what}")
