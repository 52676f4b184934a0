"""General text, on which forgetting is measured: the paragraphs or lines of a file. No torch here."""

from pathlib import Path

from medley.errors import DatasetError

MIN_TEXTS = 2  # one text has no standard error
MAX_TEXTS = 100  # as many as in peft's comparison
MAX_CHARACTERS = 6000  # of one paragraph; some 1,500 tokens, of which 768 are measured


def read_texts(path: Path) -> list[str]:
    """The texts of a file, parted by empty lines, or by lines where none is empty: the first hundred, each cut short.

    Raises:
        DatasetError: it is not readable text, or has fewer than two texts.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name} cannot be read as text in UTF-8.") from error
    text = text.strip()
    parts = [" ".join(part.split()) for part in text.split("\n\n" if "\n\n" in text else "\n") if part.strip()]
    texts = [part[:MAX_CHARACTERS] for part in parts[:MAX_TEXTS]]
    if len(texts) < MIN_TEXTS:
        raise DatasetError(
            f"{path.name} has fewer than {MIN_TEXTS} texts, too few to measure forgetting on. Part them by empty lines."
        )
    return texts
