"""Files that are a text each (.txt, .md): a row with one column, `text`: all of the file."""

from collections.abc import Sequence

from luthier_trainer.data.row import MAX_ROW_BYTES, LocalFile, Row, malformed
from luthier_trainer.data.textfile import TO_UTF8
from luthier_trainer.errors import data_error

COLUMN = "text"


class TextRows:
    """Rows of many such files, each read when it is asked for."""

    def __init__(self, files: Sequence[LocalFile]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Row:
        return text_row(self._files[index])


def text_row(file: LocalFile) -> Row:
    """The row that a file is. Raises TrainerError (MalformedRow, RowTooLarge)."""
    with file.path.open("rb") as stream:
        data = stream.read(MAX_ROW_BYTES + 1)
    if len(data) > MAX_ROW_BYTES:
        raise data_error(
            "RowTooLarge",
            f"{file.name}: the file is one text, and larger than {MAX_ROW_BYTES >> 20} MiB: write "
            "its chapters, articles or paragraphs to files of their own, or as rows of .jsonl",
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        place = f"{file.name} at byte {error.start + 1:,}"
        raise malformed(place, "not UTF-8", TO_UTF8) from error
    return Row({COLUMN: text.removeprefix("\ufeff")}, f"{file.name}:1")
