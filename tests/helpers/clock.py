"""The system's clock, which a test puts back, forward, or stops."""

import time


class Clock:
    """What `time.time_ns` is replaced by."""

    def __init__(self) -> None:
        self.put_back = 0
        """Microseconds."""
        self.stopped: int | None = None
        """Nanoseconds since 1970."""
        self.real = time.time_ns

    def time_ns(self) -> int:
        return (self.real() if self.stopped is None else self.stopped) - 1000 * self.put_back
