"""How far long work is: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from functools import partialmethod
from typing import Any, TypeVar

from tqdm.auto import tqdm
from tqdm.std import tqdm as plain

logger = logging.getLogger(__name__)
T = TypeVar("T")

BAR_SECONDS = 1.0
"""After which a bar appears on a terminal, and how often it is drawn at least."""
LINE_SECONDS = 5.0
"""After which the first line is logged, and between two lines."""
LINE = "{desc}: {n_fmt}/{total_fmt} {unit} in {elapsed}, {remaining} left"
LINE_WITHOUT_TOTAL = "{desc}: {n_fmt} {unit} in {elapsed}"
LINE_OF_OTHERS = "{l_bar} {n_fmt}/{total_fmt} {unit} in {elapsed}, {remaining} left"
"""Of a bar that may have no name."""


class _Lines(plain):  # type: ignore[type-arg]  # only its stubs are generic
    """A bar whose states are logged, one a line."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        logger.info("%s", str(self) if msg is None else msg)

    def close(self) -> None:
        if not self.disable:
            if self.delay != math.inf:
                self.refresh()
            self.delay = math.inf  # there is no line to be ended
        super().close()


class _Log:
    """Where bars of other libraries are drawn that are to be lines of the log."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> None:
        if text.startswith("\r") and text.strip():  # all else moves the cursor
            logger.info("%s", text.strip())

    def flush(self) -> None:
        """Nothing waits."""


@contextmanager
def lines_of_other_bars() -> Iterator[None]:
    """Within it, the bars that other libraries draw with tqdm are lines in the log, as those of `progress_bar` are."""
    drawn: Any = plain.__init__
    instead = {"file": _Log(), "delay": LINE_SECONDS, "mininterval": LINE_SECONDS, "bar_format": LINE_OF_OTHERS}
    patched: Any = plain
    patched.__init__ = partialmethod(drawn, **instead)
    try:
        yield
    finally:
        patched.__init__ = drawn


@contextmanager
def progress_bar(
    what: str, shown: bool | None = None, *, total: int | None = None, initial: int = 0, unit: str = "item", **bar: Any
) -> Iterator[Any]:
    """A bar of tqdm's, to be told of what is done by `update`; work that is soon done shows nothing.

    Args:
        what: The work, as in "encoding".
        shown: `None` draws it on a terminal; elsewhere this module's logger tells every few seconds how far the work
            is, at level INFO: the command line prints that, a library where its user's logging does. TQDM_DISABLE=1
            silences both. `True` draws it wherever standard error goes, `False` nowhere.
        total: How much there is to do, if that is known.
        initial: How much of it was done before.
        unit: What is counted.
        **bar: Other settings of tqdm.
    """
    settings = {"desc": what, "total": total, "initial": initial, "unit": unit, **bar}
    if shown is None and os.environ.get("TQDM_DISABLE"):
        shown = False
    made: Any
    if shown is not None or getattr(sys.stderr, "isatty", bool)():
        made, seconds = tqdm(disable=shown is False, delay=0 if shown else math.inf, **settings), BAR_SECONDS
    else:
        settings.setdefault("bar_format", LINE_WITHOUT_TOTAL if total is None else LINE)
        silent = not logger.isEnabledFor(logging.INFO)
        made, seconds = _Lines(disable=silent, mininterval=math.inf, delay=math.inf, **settings), LINE_SECONDS
    ended = threading.Event()

    def refresh() -> None:  # a single step may take long, too
        while not ended.wait(seconds):
            made.delay = 0  # from here on it is seen
            made.refresh()

    with made:
        if not made.disable:
            threading.Thread(target=refresh, name="comem-progress", daemon=True).start()
        try:
            yield made
        finally:
            ended.set()


def tracked(
    work: Iterable[T], what: str, shown: bool | None = None, *, total: int | None = None, **settings: Any
) -> Generator[T, None, None]:
    """The elements of something that has a length, or `total` elements, with a `progress_bar` over them.

    A `for` loop that fails ends the bar. What else takes the elements does so within `contextlib.closing`: a traceback
    may keep the generator, and with it the bar.
    """
    with progress_bar(what, shown, total=len(work) if isinstance(work, Sized) else total, **settings) as bar:
        for one in work:
            yield one
            bar.update()


def working(what: str) -> AbstractContextManager[Any]:
    """As `progress_bar`, of work that does not tell how far it is: for how long it has been going on."""
    return progress_bar(what, bar_format="{desc}: {elapsed}")
