"""What can go wrong. Each error is also the builtin a caller would guess, and its message says what to do."""


def counted(number: int, what: str) -> str:
    """How many there are, as messages say it: 1 item, 2 items."""
    return f"{number} {what}{'s' * (number != 1)}"


def shortened(text: object) -> str:
    """What a message says of a text that may be long: its beginning and its end, 200 characters together."""
    whole = str(text)  # reprlib always quotes, and textwrap cuts at blanks, which encoded bytes lack
    return whole if len(whole) <= 200 else f"{whole[:140]} ... {whole[-55:]}"


class ComemError(Exception):
    """Base class of every error that comem_memory raises on purpose."""


class InvalidItemError(ComemError, ValueError):
    """A memory item cannot be encoded: nothing in it, an unreadable or oversized image, a bad id or metadata."""


class ItemTooLongError(InvalidItemError):
    """The item's text and image do not fit the encoder's context window."""


class DuplicateIdError(ComemError, ValueError):
    """One call names the same id for two different items."""


class ItemNotFoundError(ComemError, KeyError):
    """No item with this id is stored in this namespace."""

    def __str__(self) -> str:  # KeyError shows the repr of its message
        return str(self.args[0])


class QueryError(ComemError, ValueError):
    """A search cannot be run: nothing to search for, k below 1, an unknown filter operator."""


class StoreLocationError(ComemError, ValueError):
    """The directory or server does not hold a memory of ours, no longer that which was opened, or a newer version's."""


class StoreClosedError(ComemError, RuntimeError):
    """The memory was closed and is used again."""


class NotPicklableError(ComemError, TypeError):
    """What is open or loaded here cannot be sent to another process; its directory, server, namespace and names can."""


class ForkedProcessError(ComemError, RuntimeError):
    """A memory is used in a fork of the process that opened it, or opened in a fork of one that opened any."""


class StoreReadOnlyError(ComemError, PermissionError):
    """Something is written to a memory whose directory cannot be written, which is open for reading only."""


class StoreConnectionError(ComemError, ConnectionError):
    """The server of an open memory, Chroma's or ours, does not answer."""


class StoreAccessError(ComemError, PermissionError):
    """The Chroma server does not know the token, or the token does not open the database."""


class StoreInUseError(ComemError, RuntimeError):
    """Another process has this embedded directory open."""


class EncoderMismatchError(ComemError, ValueError):
    """The collection, adapter or export was written with another encoder or another retrieval key."""


class PromptTooLongError(ComemError, ValueError):
    """A conversation with its memory does not fit the model's context window."""


class GrammarError(ComemError, ValueError):
    """A JSON schema or tool that the answer is to follow cannot be enforced."""


class ModelError(ComemError, ValueError):
    """A model cannot be found or loaded, or takes neither this memory's vectors nor such a conversation."""


class ModelConnectionError(ComemError, ConnectionError):
    """The server that runs the answering model does not answer, does not take the token, or fails."""


class AdapterError(ComemError, ValueError):
    """An adapter folder is incomplete, or does not belong to this base model."""


class CheckpointError(ComemError, ValueError):
    """Model files cannot be converted: damaged, incomplete, of another layout, or not a LoRA of this base model."""


class CorruptBlockError(ComemError, ValueError):
    """A stored block of memory embeddings is damaged; the message names the item."""


class DownloadError(ComemError, OSError):
    """A public weight file could not be fetched or is not the file that was expected."""


class CacheError(ComemError, OSError):
    """What is fetched or made once has no folder to be kept in: there is no home directory, or it is read-only."""


class BenchmarkError(ComemError, ValueError):
    """A benchmark's file is missing or malformed, or its predictions cannot be scored."""


class CorpusError(ComemError, ValueError):
    """A training corpus cannot be made or read: wrong settings, nothing to keep, a folder that is none."""


class RequestError(ComemError, ValueError):
    """A request to a server is not one that it understands."""


class TokenError(ComemError, PermissionError):
    """A server was given no token, or one that it does not know."""


class AccessError(ComemError, PermissionError):
    """A token does not open this namespace, or only for reading; or a web page asks a server that has no tokens."""


class NotServedError(ComemError, AttributeError):
    """A connected memory is asked for what only whoever opened it has or can do."""


class LimitError(ComemError, ValueError):
    """A request is larger than a server takes."""


class BusyError(ComemError, RuntimeError):
    """A server is stopping, or has too much to do; later it will not.

    Args:
        message: What happened, and what to do.
        retry_after: Seconds after which to try again.
    """

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimitError(BusyError):
    """A token's owner asks a server too often."""


class TimeLimitError(ComemError, TimeoutError):
    """An answer took longer than a server gives to one."""


class AddressError(ComemError, ValueError):
    """A server cannot listen where it is told to, or not safely."""
