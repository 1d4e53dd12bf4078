"""Files that are written atomically."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO

STALE = 3600  # seconds after which nobody is writing any more


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` when the block ends without an error.

    Whatever happens to this process or its machine, `path` is the old file or the new one. (A
    killed process may leave a file ``.NAME.*.part`` beside it. The next write to this path removes
    those more than an hour old.)

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with replacing(path) as stream:
    ...     _ = stream.write(b"whole")
    >>> path.read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with beside.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    with suppress(OSError):  # the file is there; what follows is housekeeping
        for left in path.parent.glob(f".{escape(path.name)}.*.part"):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()
    if os.name == "posix":
        with suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the new name, too, shall outlast a power cut
            finally:
                os.close(folder)
