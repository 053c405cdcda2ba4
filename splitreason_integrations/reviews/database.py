"""The queue's SQLite file: readable by its owner alone, and checked before it is used.

Each step opens the file anew, so threads and forked processes never share a connection.
"""

import os
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from splitreason_integrations.errors import ReviewError
from splitreason_integrations.processes.children import no_fork

VERSION = 1
_APPLICATION_ID = 0x53525251
_BUSY_S = 30.0
_SCHEMA = f"""
CREATE TABLE questions (
    id TEXT PRIMARY KEY NOT NULL,
    request_id TEXT NOT NULL,
    status TEXT NOT NULL,
    question TEXT NOT NULL,
    paused TEXT,
    on_timeout TEXT NOT NULL,
    asked_at REAL NOT NULL,
    expires_at REAL,
    answer TEXT,
    answered_at REAL,
    claims INTEGER NOT NULL DEFAULT 0,
    holder TEXT,
    held_until REAL
);
CREATE INDEX by_status ON questions (status, asked_at);
CREATE INDEX by_request ON questions (request_id, status);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""
_REMEDIES = {
    sqlite3.SQLITE_BUSY: f"another process has kept it locked for {_BUSY_S:g} s; end that one",
    sqlite3.SQLITE_LOCKED: f"another process has kept it locked for {_BUSY_S:g} s; end that one",
    sqlite3.SQLITE_CANTOPEN: "name a file in a folder that this process may write to",
    sqlite3.SQLITE_READONLY: "let this process write the file and its folder",
    sqlite3.SQLITE_PERM: "let this process write the file and its folder",
    sqlite3.SQLITE_FULL: "make room on its disk",
}
_DAMAGED = "the file is damaged or of another program: name another, or take it from a backup"


def create(path: Path) -> None:
    """Create the file if there is none; it appears complete or not at all."""
    if path.exists():
        return
    try:
        descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ReviewError(
            f"the review queue {path} cannot be created: {error.strerror}; name a file in a folder "
            "that exists and that this process may write to"
        ) from error
    os.close(descriptor)
    try:
        with _named(path), closing(sqlite3.connect(made, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        os.link(made, path)
    except FileExistsError:
        pass  # another process was faster
    except OSError as error:
        raise ReviewError(
            f"the review queue {path} cannot be created: {error.strerror}; name a file on a local "
            "disk"
        ) from error
    finally:
        os.unlink(made)


@contextmanager
def opened(path: Path) -> Generator[sqlite3.Connection, None, None]:
    """Open the file for one transaction; raise ReviewError if that fails."""
    if not path.is_file():
        raise ReviewError(
            f"there is no review queue {path}; name the file that ReviewQueue was given"
        )
    uri = f"file:{quote(str(path.absolute()))}?mode=rw"
    # SQLite keeps its locks in the process: a child forked meanwhile would hold them for good.
    with no_fork(), _named(path):
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
        with closing(connection):
            _check(connection, path)
            connection.row_factory = sqlite3.Row
            # What is erased is overwritten: it is users' text.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    if found != _APPLICATION_ID:
        raise ReviewError(f"{path} is a database of another program; name another file")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        raise ReviewError(
            f"the review queue {path} is of version {version}, and this program reads {VERSION}: "
            "use the version that made it, or name another file"
        )


@contextmanager
def _named(path: Path) -> Generator[None, None, None]:
    """Raise an error of SQLite as a ReviewError with the file's name and a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the kind of error, the rest its details.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        raise ReviewError(
            f"the review queue {path} cannot be used ({error}): {_REMEDIES.get(code, _DAMAGED)}"
        ) from error
