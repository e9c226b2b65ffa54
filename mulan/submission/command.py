"""The submitted command: the name of its run, its check without training, and the local files that it names."""

import hashlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mulan.config.paths import redacted, scheme_of
from mulan.submission.errors import SubmissionError

DRY_RUN = "--dry-run"
CHECKED_JOBS = frozenset(
    {"jobs.ablate", "jobs.evaluate", "jobs.prepare", "jobs.train", "jobs.train_text_filter", "tune.sweep"}
)
"""Modules that check their request, and the cluster that they run on, with ``--dry-run``."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Command:
    """A command of a shell without a shell's operators: words that reach the program unchanged."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        """Returns the command as it is shown, without credentials."""
        return redacted(shlex.join(self.words))

    @property
    def module(self) -> str | None:
        """The module of ``python -m MODULE ...``; None for other commands."""
        if len(self.words) > 2 and re.fullmatch(r"python(3(\.\d+)?)?", self.words[0]) and self.words[1] == "-m":
            return self.words[2]
        return None

    @property
    def name(self) -> str:
        """What the job is named after: the run of ``--name``, or else the module or program with a digest of its words.

        It is the same whenever the same command is submitted.
        """
        if name := self._value_of("--name"):
            return name
        digest = hashlib.sha256("\0".join(self.words).encode(errors="surrogateescape")).hexdigest()
        return f"{(self.module or Path(self.words[0]).name).rpartition('.')[2]}-{digest[:8]}"

    @property
    def subject(self) -> dict[str, str]:
        """What the command works on: its module, the storage of ``--storage``, and the name of the run."""
        return {"module": self.module or "", "storage": self._value_of("--storage"), "run": self.name}

    def _value_of(self, flag: str) -> str:
        """Returns the value of an option; empty if it is not given."""
        for word, following in zip(self.words, [*self.words[1:], ""], strict=True):
            if word == flag and following:
                return following
            if word.startswith(f"{flag}="):
                return word.removeprefix(f"{flag}=")
        return ""

    @property
    def can_be_checked(self) -> bool:
        """Whether the command checks its request when given ``--dry-run``, which it does not have already."""
        return self.module in CHECKED_JOBS and not {DRY_RUN, "--help", "-h"} & set(self.words)

    def entrypoint(self, *, check_first: bool) -> str:
        """Returns the line that Ray's job server gives to a shell.

        Args:
            check_first: Whether the command first runs with ``--dry-run``, whose printed recipe is dropped, and ends
                with the code of that if it fails.
        """
        # exec: the shell does not stand between the program and the signals and exit codes of the job
        line = f"exec {shlex.join(self.words)}"
        return f"{shlex.join([*self.words, DRY_RUN])} > /dev/null && {line}" if check_first else line

    def named_files(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Returns the files and the folders below a folder that the command names by relative paths.

        Words that are ``NAME=PATH`` count by their path. Absolute paths and those that leave the folder are left as
        they are: they may exist on the cluster.

        Args:
            folder: The folder to which the paths are relative.

        Returns:
            The files and the folders, relative to ``folder``, without repetition.
        """
        files: dict[Path, None] = {}
        folders: dict[Path, None] = {}
        for word in self.words[1:]:
            for text in (word, word.partition("=")[2]):
                if not text or scheme_of(text) or os.path.isabs(text) or "\0" in text:
                    continue
                path = Path(os.path.normpath(text))
                if ".." in path.parts or path == Path():
                    continue
                # Path's methods raise for a word that is longer than a name may be
                if os.path.isfile(folder / path):
                    files[path] = None
                elif os.path.isdir(folder / path):
                    folders[path] = None
        return list(files), list(folders)


def parsed_command(words: Sequence[str]) -> Command:
    """Returns the command after ``--``.

    Raises:
        SubmissionError: There is none, or a word cannot be passed to a program.
    """
    words = [*words[1:]] if words[:1] == ["--"] else [*words]
    if not words:
        raise SubmissionError(["no command is given: write it after --, such as -- python -m jobs.train --recipe ..."])
    if any("\0" in word for word in words):
        raise SubmissionError(["the command contains a null character"])
    if any(redacted(word) != word for word in words):
        raise SubmissionError(
            [f"{Command(tuple(words))}: a URI contains keys or passwords, which the cluster would show to everyone"]
        )
    return Command(tuple(words))


def parsed_variables(given: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment variables of the job; messages do not contain their values.

    Args:
        given: Values of ``--env``, each ``NAME=VALUE``, or ``NAME`` for the value that it has here.
        environment: The variables that exist here.

    Raises:
        SubmissionError: A name is not valid, or a variable does not exist here; lists all faults.
    """
    variables: dict[str, str] = {}
    faults = []
    for text in given:
        name, equals, value = text.partition("=")
        if not _VARIABLE.fullmatch(name):
            faults.append("--env: a value does not begin with the name of a variable; write NAME=VALUE or NAME")
        elif not equals and name not in environment:
            faults.append(f"--env {name}: the variable is not set here; write NAME=VALUE")
        elif name.startswith("RAY_"):
            faults.append(f"--env {name}: variables of Ray are set where Ray starts")
        else:
            variables[name] = value if equals else environment[name]
    if faults:
        raise SubmissionError(faults)
    return variables
