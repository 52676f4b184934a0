"""General text, on which forgetting is measured: the paragraphs of a file. No torch here."""

from pathlib import Path

from medley.errors import DatasetError

MIN_TEXTS = 2  # one text has no standard error
MAX_TEXTS = 100  # as many as in peft's comparison
MAX_CHARACTERS = 6000  # of one paragraph; some 1,500 tokens, of which 768 are measured


def read_texts(path: Path) -> list[str]:
    """The paragraphs of a text file, parted by empty lines: the first hundred, of each the first 6,000 characters.

    Raises:
        DatasetError: it is not readable text, or has fewer than two paragraphs.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name} cannot be read as text in UTF-8.") from error
    parts = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    texts = [part[:MAX_CHARACTERS] for part in parts[:MAX_TEXTS]]
    if len(texts) < MIN_TEXTS:
        raise DatasetError(
            f"{path.name} has fewer than {MIN_TEXTS} paragraphs, too few to measure forgetting on. "
            "Part them by empty lines."
        )
    return texts
