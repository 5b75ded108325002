"""What holds when something goes wrong, and what is promised."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from .errors import FlowError

#: Seconds, a `timedelta`, or a text such as `"300ms"`, `"90s"`, `"5m"`, `"2h"` or `"1d"`.
Time = Union[int, float, str, timedelta]

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\Z")


def millis(time: Time) -> int:
    """A time in milliseconds."""
    if isinstance(time, timedelta):
        return round(time.total_seconds() * 1_000)
    if isinstance(time, (int, float)) and not isinstance(time, bool) and time >= 0:
        return round(time * 1_000)
    found = _TIME.match(time) if isinstance(time, str) else None
    if not found:
        raise FlowError(f"{time!r} is no time: write seconds, or a text such as '300ms', '90s', '5m', '2h' or '1d'")
    return round(float(found.group(1)) * _UNITS[found.group(2)])


@dataclass(frozen=True)
class Retry:
    """When a step is tried again. What is not said is as in the reference: any error, 3 times, after 1 s, twice as long each time."""

    times: Optional[int] = None
    on: Optional[Sequence[str]] = None
    backoff: Optional[Time] = None
    rate: Optional[float] = None
    backoff_max: Optional[Time] = None
    jitter: Optional[bool] = None

    def _json(self) -> Dict[str, Any]:
        errors = [self.on] if isinstance(self.on, str) else self.on
        return said(
            errors=None if errors is None else list(errors),
            retries=self.times,
            backoff_ms=None if self.backoff is None else millis(self.backoff),
            rate=self.rate,
            backoff_max_ms=None if self.backoff_max is None else millis(self.backoff_max),
            jitter=self.jitter,
        )


@dataclass(frozen=True)
class Slo:
    """What is promised: 99 of 100 take no longer than `p99`; after `deadline` from the beginning of the run it is worth nothing; it may cost `budget`."""

    p99: Optional[Time] = None
    deadline: Optional[Time] = None
    budget: Optional[int] = None

    def _json(self) -> Dict[str, Any]:
        return said(
            p99_ms=None if self.p99 is None else millis(self.p99),
            deadline_ms=None if self.deadline is None else millis(self.deadline),
            budget=self.budget,
        )


def catch(*errors: str, do: Any) -> Tuple[List[str], Any]:
    """What happens instead once a step has failed with one of these errors (none: any). The body gets `error`, `message` and `input`."""
    return (list(errors) or ["*"], do)


def said(**fields: Any) -> Dict[str, Any]:
    """The fields that are there."""
    return {name: value for name, value in fields.items() if value is not None}


def retries(retry: Any) -> List[Dict[str, Any]]:
    """`retry=3`, `retry=Retry(...)` or several."""
    if isinstance(retry, int) and not isinstance(retry, bool):
        retry = Retry(times=retry)
    rules = [retry] if isinstance(retry, Retry) else list(retry)
    for rule in rules:
        if not isinstance(rule, Retry):
            raise FlowError("`retry` takes a number, a `Retry`, or a list of these")
    return [rule._json() for rule in rules]
