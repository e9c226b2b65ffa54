"""Tests which files are packed: git's own answer is the reference for .gitignore."""

import os
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from mulan.submission.errors import SubmissionError
from mulan.submission.selection import Selection, select_folder, select_named


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def names(selection: Selection) -> list[str]:
    return [str(path) for path in selection.sizes]


def test_junk_and_results_are_left_out(tmp_path: Path) -> None:
    kept = ["code/runs/run.py", "code/train.py", "recipe.toml"]
    junk = [".git/config", ".venv/bin/python", "code/__pycache__/a.pyc", "node_modules/x.js", "runs/a/x", "a.pyc"]
    write(tmp_path, *kept, *junk)
    selection = select_folder(tmp_path)
    assert names(selection) == kept
    assert selection.total_bytes == sum(map(len, kept))
    assert selection.secrets == selection.links == selection.special == []


def test_secrets_are_left_out_and_named(tmp_path: Path) -> None:
    secrets = [
        *(".aws/credentials", ".env", "Key.PEM", "a/id_rsa", "gcp/my-service-account-7.json", "secrets.yaml"),
        *("prod.env", "config.env.local", ".env.local", "aws_credentials.csv", "credentials.yml", "Kubeconfig.yaml"),
        *(
            ".vault-token",
            ".htpasswd",
            "gcp-key.json",
            "my-secret.yaml",
            "a/token",
            "client_secret_7.json",
            "id_rsa.bak",
        ),
    ]
    code = [
        *(
            "credentials.py",
            "environment.py",
            "kubeconfig.py",
            "a.env.py",
            "secretary.txt",
            "token/code.py",
            "keys.json",
        ),
        *(".env.example", "prod.env.template", "tokenizer.json", "credentials.md"),
    ]
    write(tmp_path, *secrets, *code)
    selection = select_folder(tmp_path)
    assert names(selection) == sorted(code)
    named = [PurePosixPath(path) for path in secrets]
    named[0] = named[0].parent
    assert selection.secrets == sorted(named)


def test_links_never_leave_the_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write(inside, "real.txt", "deep/real.txt", ".env")
    write(outside, "secret.txt")
    (inside / "good.txt").symlink_to("real.txt")
    (inside / "leaves.txt").symlink_to(outside / "secret.txt")
    (inside / "up.txt").symlink_to("../outside/secret.txt")
    (inside / "folder").symlink_to(outside)
    (inside / "loop").symlink_to(".")
    (inside / "root").symlink_to("/")
    (inside / "dangling").symlink_to("nowhere")
    (inside / "config.txt").symlink_to(".env")
    selection = select_folder(inside)
    assert names(selection) == ["deep/real.txt", "good.txt", "real.txt"]
    assert list(map(str, selection.links)) == ["dangling", "folder", "leaves.txt", "loop", "root", "up.txt"]
    assert list(map(str, selection.secrets)) == [".env", "config.txt"]


def test_links_that_end_nowhere_are_left_out_and_named(tmp_path: Path) -> None:
    targets = {"loop": "loop", "missing": "nowhere", "a": "b", "b": "a", ".env": "nowhere", "long": "x" * 300}
    for name, target in targets.items():
        (tmp_path / name).symlink_to(target)
    selection = select_folder(tmp_path)
    assert [str(path) for path in selection.links] == ["a", "b", "long", "loop", "missing"]
    assert selection.secrets == [PurePosixPath(".env")]


def test_pipes_are_left_out_and_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert select_folder(tmp_path).special == [PurePosixPath("pipe")]


IGNORED = {
    ".gitignore": "*.log\n!keep.log\n/data/\nbuild\n",
    "a/.gitignore": "!special.log\n*.txt\n",
    "a/b/.gitignore": "!b.txt\n",
}
FILES = [
    *("x.log", "keep.log", "data/1.bin", "a/data/2.bin", "build/out", "a/build/out", "a/special.log", "a/x.log"),
    *("a/a.txt", "a/b/b.txt", "a/b/c.txt", "top.txt"),
]


def kept_by_git(repository: Path, folder: str) -> list[str]:
    """Returns the files of a folder of a new repository that git does not ignore."""
    subprocess.run(["git", "init", "--quiet"], cwd=repository, check=True)
    command = ["git", "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repository / folder, check=True, capture_output=True, text=True)
    return sorted(listed.stdout.split("\0")[:-1], key=PurePosixPath)


@pytest.mark.processes  # git is the reference; a copy of its rules would prove nothing
@pytest.mark.parametrize("folder", [".", "a"])
def test_gitignore_means_what_it_means_to_git(tmp_path: Path, folder: str) -> None:
    write(tmp_path, *FILES)
    for path, content in IGNORED.items():
        (tmp_path / path).write_text(content)
    expected = kept_by_git(tmp_path, folder)
    assert names(select_folder(tmp_path / folder)) == expected


@pytest.mark.processes  # as above
@pytest.mark.parametrize(
    "line",
    [
        *(b"!", b"\\", b"a.txt\\", b"[b-a]", b"[", b"[[", b"", b"#a.txt\xc2\x85top.txt", b"top.txt\xe2\x80\xa8a.txt"),
        *(b"top.txt\0more", b"top.txt\r", b"\xef\xbb\xbftop.txt", b"\xff*", b"\xc3\xa9*", b"a.txt\x0btop.txt"),
    ],
)
@pytest.mark.parametrize("folder", [".", "a"])
def test_unusual_lines_mean_what_they_mean_to_git(tmp_path: Path, folder: str, line: bytes) -> None:
    write(tmp_path, "a.txt", "a/a.txt", "a/x.log", "a/é", "top.txt", "é.txt")
    (tmp_path / ".gitignore").write_bytes(line + b"\n*.log\n")
    expected = kept_by_git(tmp_path, folder)
    assert names(select_folder(tmp_path / folder)) == expected


def test_names_that_are_not_utf_8_can_be_ignored(tmp_path: Path) -> None:
    write(tmp_path, "good")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    (tmp_path / ".gitignore").write_bytes(b"\xff\n")
    assert names(select_folder(tmp_path)) == [".gitignore", "good"]


def test_an_ignore_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(file))

    write(tmp_path, ".gitignore")
    monkeypatch.setattr(Path, "read_bytes", refused)  # tests may run as root, whom no permission stops
    with pytest.raises(SubmissionError, match=r"\.gitignore: cannot be read: Permission denied"):
        select_folder(tmp_path)


def test_what_a_command_names_is_packed_in_any_case(tmp_path: Path) -> None:
    write(tmp_path, "ignored.toml", ".env", "code.py")
    (tmp_path / ".gitignore").write_text("*.toml\n.gitignore\n")
    selection = select_folder(tmp_path, named=[Path("ignored.toml"), Path(".env")])
    assert names(selection) == [".env", "code.py", "ignored.toml"]
    assert selection.secrets == []


def test_a_named_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "outside.toml", "inside/good.toml")
    (tmp_path / "inside" / "recipe.toml").symlink_to("../outside.toml")
    with pytest.raises(SubmissionError, match=r"recipe\.toml: is a link to a file outside"):
        select_named(tmp_path / "inside", [Path("good.toml"), Path("recipe.toml")])


def test_names_that_cannot_be_packed_are_listed_together(tmp_path: Path) -> None:
    write(tmp_path, "back\\slash", "good")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    with pytest.raises(SubmissionError) as refused:
        select_folder(tmp_path)
    assert len(refused.value.faults) == 2


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    for name in ("nowhere", "x" * 300):
        with pytest.raises(SubmissionError, match="is not a folder"):
            select_folder(tmp_path / name)
