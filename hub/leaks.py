"""What must never leave this machine inside a text: tokens and local paths. Finding them, and taking them out.

A vocabulary may well hold "/usr/lib" as a piece of text, so how strictly a text is read depends on what it is:
`local_paths` takes any absolute path (our own files and cards), `home_paths` only folders of this very machine.
"""

import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

MASK = "hf_***"
TOKEN = re.compile(r"(?:hf_(?:oauth_)?|api_org_)[A-Za-z0-9]{30,}")
_NOT_AFTER = r"(?<![\w/.~<>+%\\-])"
_STEPS = r"(?:[^\s\"'`<>|,;:*?()\[\]{}\\/]+/)"
_POSIX = rf"{_NOT_AFTER}(?:file://)?(?:/{_STEPS}|~/)(?:{_STEPS})*[^\s\"'`<>|,;:*?()\[\]{{}}\\/]*"
_WINDOWS = r"(?<!\w)[A-Za-z]:\\{1,2}[^\s\"'`<>|,;*?]+|\\\\[\w.-]+\\[^\s\"'`<>|,;*?]+"
LOCAL_PATH = re.compile(rf"{_POSIX}|{_WINDOWS}|file://[^\s\"'`<>]+")


def has_token(text: str) -> bool:
    """Whether something in the text looks like a Hub token."""
    return TOKEN.search(text) is not None


def masked(text: str, *secrets: str | bool | None) -> str:
    """The text without tokens.

    Args:
        secrets: the tokens in use, whatever they look like; what is no text is passed over.
    """
    for secret in secrets:
        if isinstance(secret, str) and secret.strip():
            text = text.replace(secret.strip(), MASK)
    return TOKEN.sub(MASK, text)


def local_paths(text: str) -> list[str]:
    """Every absolute path in the text ("/home/ada/x", "~/x", "C:\\x", "file://…"), in order."""
    return [found[0] for found in LOCAL_PATH.finditer(text)]


def last_part(path: str) -> str:
    """The name at the end of a path, without its folders."""
    return re.split(r"[\\/]+", path.rstrip("\\/"))[-1] or "…"


def without_local_paths(text: str, replacement: Callable[[str], str] = last_part) -> str:
    """The text with every absolute path replaced by what `replacement(path)` gives; its last part by default."""
    return LOCAL_PATH.sub(lambda found: replacement(found[0]), text)


def home_paths(text: str, homes: Iterable[Path]) -> list[str]:
    """The folders of this machine that the text names: those given, the user's home, the temporary folder."""
    folders = {str(folder) for folder in (*homes, Path.home(), Path(tempfile.gettempdir())) if len(folder.parts) > 2}
    return sorted(folder for folder in folders if folder in text)
