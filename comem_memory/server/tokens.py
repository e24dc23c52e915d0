"""Bearer tokens, each of which opens certain namespaces; a file keeps their hashes alone."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comem_memory.errors import QueryError, TokenError
from comem_memory.files import atomic_write
from comem_memory.store import check_namespace

logger = logging.getLogger(__name__)

BELOW = "/*"
"""What ends the entry that opens all namespaces below one, as `ComemStore` makes them."""


@dataclass(frozen=True)
class Access:
    """What whoever asks may do.

    Args:
        name: Who it is, for the log.
        namespaces: Those that are open, the first of which is meant where none is named; an entry that ends with `/*`
            opens those below. `None` opens all.
        writes: Whether items may be added, changed and deleted.
    """

    name: str
    namespaces: tuple[str, ...] | None = None
    writes: bool = True

    def opens(self, namespace: str) -> bool:
        return self.namespaces is None or any(
            namespace.startswith(entry[:-1]) if entry.endswith(BELOW) else namespace == entry
            for entry in self.namespaces
        )

    def default(self, otherwise: str) -> str:
        """The namespace that is meant where none is named; of a token that opens all it is the server's own."""
        return self.namespaces[0].removesuffix(BELOW) if self.namespaces else otherwise


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    namespaces: list[str] | None
    writes: bool = True


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[_Entry] = []


class Tokens:
    """The tokens of a file, which is read again whenever it has changed, so that a token is revoked at once.

    Args:
        path: The file. None of it is a secret: tokens are 256 random bits, and hashes do not lead back to them.
        others: Tokens that are in no file, with what each opens.

    Raises:
        TokenError: The file is missing or damaged.
    """

    def __init__(self, path: Path | None = None, others: dict[str, Access] | None = None) -> None:
        self.path = path
        self._others = {_digest(token): access for token, access in (others or {}).items()}
        self._known: dict[bytes, Access] = {}
        self._read_at: tuple[int, int] | None = None
        self._refresh()

    def find(self, token: str) -> Access:
        """What a token opens; the time that this takes does not tell how much of it is right.

        Raises:
            TokenError: Nobody has this token.
        """
        try:
            self._refresh()
        except TokenError:
            logger.exception("No token is known until the file of tokens is mended.")
            raise TokenError("This server knows no token at the moment. Ask whoever runs it.") from None
        asked, found = _digest(token), None
        for digest, access in (self._others | self._known).items():
            if hmac.compare_digest(digest, asked):
                found = access
        if found is None:
            raise TokenError("This token is unknown here. Ask whoever runs the server for one (comem token).")
        return found

    def _refresh(self) -> None:
        if self.path is None:
            return
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._read_at:
                entries = _read(self.path).tokens
                self._known = {bytes.fromhex(one.sha256): _access(one) for one in entries}
                self._read_at = stamp
        except OSError as error:
            raise TokenError(f"The file of tokens cannot be read: {error}. Make one with: comem token") from error


def new_token(path: Path, *, name: str, namespaces: list[str] | None, writes: bool) -> str:
    """Makes a token, and adds its hash to a file.

    Args:
        path: The file, made if it is missing.
        name: Whose it is, for the log.
        namespaces: What it opens; `None` for all.
        writes: Whether its owner may write.

    Returns:
        The token, which is kept nowhere.

    Raises:
        QueryError: A namespace that cannot be one, or the name is taken.
        TokenError: The file is damaged.
    """
    for namespace in namespaces or ():
        check_namespace(namespace.removesuffix(BELOW))
    token = f"comem_{secrets.token_urlsafe(32)}"
    entry = _Entry(name=name, sha256=_digest(token).hex(), namespaces=namespaces, writes=writes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # else one of two at once would be lost
        file = _read(path) if path.exists() else _File()
        if any(one.name == name for one in file.tokens):
            raise QueryError(f"{path} has a token named {name!r}. Remove its entry to revoke it, or give another name.")
        atomic_write(path, _File(tokens=[*file.tokens, entry]).model_dump_json(indent=2) + "\n", durable=True)
    return token


def _access(entry: _Entry) -> Access:
    return Access(entry.name, None if entry.namespaces is None else tuple(entry.namespaces), entry.writes)


def _read(path: Path) -> _File:
    try:
        return _File.model_validate_json(path.read_bytes())
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(str(part) for part in found["loc"])
        raise TokenError(f"{path} is damaged at {place or 'its beginning'}: {found['msg']}. Restore it.") from error


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
