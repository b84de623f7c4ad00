"""What a text file is told that isn't UTF-8."""

from luthier_trainer.data.row import LocalFile, malformed
from luthier_trainer.errors import TrainerError

BOM = b"\xef\xbb\xbf"
TO_UTF8 = "save the file as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8, for one from Windows)"


def not_utf8(file: LocalFile) -> TrainerError:
    """Names the first line that isn't, by what ends lines in text: \\n, \\r\\n or \\r."""
    number = 1
    with file.path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, start=1):  # noqa: B007 - used after
            if any("\udc80" <= character <= "\udcff" for character in line):
                break
    return malformed(f"{file.name}:{number}", "not UTF-8", TO_UTF8)
