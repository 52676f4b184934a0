"""Everything a user can get wrong, worded once.

The tree (all of it is UserError; anything else that escapes is a bug of ours):

    UserError                  one sentence or three: what happened, the value, what to do
    ├── NotFoundError          no such name, version, alias, job or file
    ├── InvalidNameError       a name that cannot be used, or belongs to another kind
    ├── ParameterError         an option or method parameter outside its range, or unknown
    ├── AdapterFormatError     a folder, config, header or archive of an adapter or model that is not acceptable
    ├── DatasetError           rows that cannot be read, detected or trained on
    ├── RecipeError            a recipe that does not parse or contradicts itself
    ├── IncompatibleError      inputs that are fine alone but not together
    ├── BaseModelError         a base model that cannot be found or loaded
    ├── ConflictError          somebody else moved first, or the thing is still in use
    ├── StorageError           disk full, a damaged store, no permission
    ├── HubError               the Hugging Face Hub refused, is out of reach, or answers nonsense
    ├── MemoryLimitError       a training that needs more memory than there is
    ├── JobError               a job that cannot be started, stopped or retried
    ├── ReadOnlyError          not allowed on a Space or with --read-only
    ├── MissingDependencyError a package that an optional feature needs; names the install line
    └── ProblemsError          several of the above, found together

The edges (`medley.cli`, `medley.ui`, the job worker) catch UserError and show its message; nobody else does.
"""

from collections.abc import Sequence


class UserError(Exception):
    """What a user can cause: what happened, the value, what to do, in one to three plain sentences."""


class NotFoundError(UserError):
    """There is no such name, version, alias, job or file."""


class InvalidNameError(UserError):
    """A name that cannot be used, or that belongs to another kind of thing."""


class ParameterError(UserError):
    """An option or a method's parameter is unknown, of the wrong type or outside its range."""


class AdapterFormatError(UserError):
    """A folder, config, weights file or archive of an adapter or a full model that is not acceptable."""


class DatasetError(UserError):
    """Rows that cannot be read, recognised or trained on."""


class RecipeError(UserError):
    """A recipe that does not parse, names something unknown or contradicts itself."""


class IncompatibleError(UserError):
    """Inputs that are fine alone but cannot be used together."""


class BaseModelError(UserError):
    """A base model that cannot be found, read or loaded."""


class ConflictError(UserError):
    """Somebody else moved first, or the thing is still in use."""


class StorageError(UserError):
    """The disk is full, the store is damaged, or permission is missing."""


class HubError(UserError):
    """The Hugging Face Hub refused, is out of reach, or sent something unexpected."""


class MemoryLimitError(UserError):
    """A training needs more memory than there is; the message says what would fit."""


class JobError(UserError):
    """A job that cannot be started, stopped or retried."""


class ReadOnlyError(UserError):
    """The action is switched off on a Space or with --read-only."""


class MissingDependencyError(UserError):
    """An optional package is missing; the message names the line that installs it."""


class ProblemsError(UserError):
    """Several problems found together, so that they can be mended together.

    Args:
        subject: what was looked at, for example "recipe.yaml".
        problems: one plain sentence each; at least one.
    """

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        if not problems:
            raise ValueError("ProblemsError needs at least one problem")
        self.subject = subject
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            super().__init__(self.problems[0])
        else:
            lines = [f"{len(self.problems)} problems in {subject}:", *(f"  {problem}" for problem in self.problems)]
            super().__init__("\n".join(lines))
