"""The commit and tags of a prompt, in every kind of repository, with and without a usable Git."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llmtrace.context.prompts import git

NAME = Path("prompts/answer.md")
QUIET = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def run(folder: Path, *words: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, env={**os.environ, **QUIET}, input=stdin, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


TEXTS = [f"version {number}".encode() for number in range(5)]


def data(text: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(text), text)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tagged commit per text, one more with the last text, and a tag of the first tag."""
    place = tmp_path_factory.mktemp("original")
    run(place, "init", "-q", "-b", "main", ".")
    parts = []
    for number, text in enumerate([*TEXTS, TEXTS[-1]]):
        parts += [b"commit refs/heads/main\ncommitter a <a@b.c> %d +0000\n" % number, data(b""),
                  b"M 100644 inline %s\n" % NAME.as_posix().encode(), data(text)]  # fmt: skip
        parts += [b"tag v%d\nfrom refs/heads/main\ntagger a <a@b.c> 0 +0000\n" % number, data(b"")]
    run(place, "fast-import", "--quiet", stdin=b"".join(parts))
    annotate(place, "v/0", "v0")
    return place


def annotate(place: Path, name: str, at: str) -> None:
    run(place, "-c", "user.name=a", "-c", "user.email=a@b.c", "tag", "-a", "-m", "", name, at)


@pytest.fixture
def repository(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "repository")


def history(place: Path, text: bytes, name: Path = NAME) -> tuple[str | None, tuple[str, ...]]:
    found = git.look_up(place / name, text, ("v",))
    return found.commit, found.tags


@pytest.fixture(autouse=True)
def forget() -> None:
    """Forget the answers of earlier tests."""
    git._search.cache_clear()
    git._folders.cache_clear()


def packed(place: Path) -> None:
    run(place, "repack", "-a", "-d", "-f", "-q")


def alternates(place: Path) -> None:
    """The objects are those of another repository."""
    other = place.with_name("other")
    place.rename(other)
    run(other.parent, "clone", "-q", "--no-checkout", "-s", str(other), str(place))


def packed_references(place: Path) -> None:
    run(place, "pack-refs", "--all")


def separate_git_folder(place: Path) -> None:
    """The state of the repository is elsewhere, as that of a submodule is."""
    (place / ".git").rename(place / "state")
    (place / ".git").write_text("gitdir: state\n")


def work_tree_of_a_bare_repository(place: Path) -> None:
    bare = place.with_name("bare.git")
    run(place.parent, "clone", "-q", "--bare", str(place), str(bare))
    shutil.rmtree(place)
    run(bare, "worktree", "add", "-q", "--detach", str(place), "v5")


@pytest.mark.parametrize(
    "keep", [packed, alternates, packed_references, separate_git_folder, work_tree_of_a_bare_repository]
)
def test_versions_are_found_in_every_storage_form(repository: Path, keep: Callable[[Path], object]) -> None:
    """Each text has the tags of the commits that hold it, and the checked-out commit if that holds it."""
    keep(repository)
    head = run(repository, "rev-parse", "HEAD")
    assert [history(repository, text) for text in TEXTS] == [
        (None, ("v/0", "v0")),
        (None, ("v1",)),
        (None, ("v2",)),
        (None, ("v3",)),
        (head, ("v4", "v5")),
    ]
    # Neither a text that was never committed, nor a committed one under a name that no commit knows.
    assert history(repository, TEXTS[0] + b"x") == (None, ())
    for name in ("prompts/other.md", "answer.md", "nowhere/answer.md", "prompts/answer.md/deeper"):
        assert history(repository, TEXTS[-1], Path(name)) == (None, ())


def test_shallow_clone_gives_the_commits_that_it_has(repository: Path) -> None:
    """The commits that were not cloned are not fetched, and their tags are not found."""
    clone = repository.with_name("clone")
    run(repository.parent, "clone", "-q", "--depth=1", repository.as_uri(), str(clone))
    assert history(clone, TEXTS[-1]) == (run(clone, "rev-parse", "HEAD"), ("v5",))
    assert history(clone, TEXTS[0]) == (None, ())


def test_partial_clone_fetches_nothing(repository: Path) -> None:
    """Objects that a partial clone left at its origin stay there."""
    run(repository, "config", "uploadpack.allowFilter", "true")
    clone = repository.with_name("clone")
    run(repository.parent, "clone", "-q", "--filter=blob:none", repository.as_uri(), str(clone))
    before = sorted(clone.rglob(".git/objects/**/*"))
    assert history(clone, TEXTS[-1])[0] == run(clone, "rev-parse", "HEAD")
    assert history(clone, TEXTS[0])[0] is None
    assert sorted(clone.rglob(".git/objects/**/*")) == before


def test_repository_with_sha256_object_ids_is_read(tmp_path: Path) -> None:
    """Object ids of 64 digits."""
    run(tmp_path, "init", "-q", "--object-format=sha256", ".")
    (tmp_path / "answer.md").write_bytes(TEXTS[0])
    run(tmp_path, "add", ".")
    run(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "first")
    head = run(tmp_path, "rev-parse", "HEAD")
    assert len(head) == 64
    assert history(tmp_path, TEXTS[0], Path("answer.md")) == (head, ())
    assert history(tmp_path, TEXTS[1], Path("answer.md")) == (None, ())


def test_damaged_repository_gives_no_history(repository: Path) -> None:
    """Missing objects give no history, and no other exception."""
    shutil.rmtree(repository / ".git/objects")
    assert history(repository, TEXTS[-1]) == (None, ())


def test_file_outside_a_repository_has_no_history(tmp_path: Path) -> None:
    """Neither a commit nor a tag is returned."""
    assert history(tmp_path, TEXTS[0]) == (None, ())


@pytest.mark.parametrize("head", ["ref: refs/heads/none", "a" * 40])
def test_head_without_a_commit_still_gives_tags(repository: Path, head: str) -> None:
    """A branch without a commit, or a commit that does not exist: no commit, and the tags all the same."""
    (repository / ".git/HEAD").write_text(head)
    assert history(repository, TEXTS[0]) == (None, ("v/0", "v0"))


def test_tags_of_other_objects_than_commits_are_ignored(repository: Path) -> None:
    """A tag of a file or of a folder holds no prompt."""
    for name, at in (("v-file", f"HEAD:{NAME.as_posix()}"), ("v-folder", "HEAD:prompts")):
        run(repository, "tag", name, at)
    assert history(repository, TEXTS[0]) == (None, ("v/0", "v0"))


def test_git_runs_again_only_after_a_change(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit, a check-out and a tag are noticed; without one, no program is started."""
    run(repository, "reset", "-q", "--hard")
    first = history(repository, TEXTS[-1])
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", None)
        assert history(repository, TEXTS[-1]) == first
    run(repository, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "next")
    head = run(repository, "rev-parse", "HEAD")
    assert history(repository, TEXTS[-1]) == (head, first[1])
    run(repository, "tag", "v6")
    assert history(repository, TEXTS[-1]) == (head, (*first[1], "v6"))
    run(repository, "checkout", "-q", "--detach", "v0")
    assert history(repository, TEXTS[-1]) == (None, (*first[1], "v6"))
    assert history(repository, TEXTS[0])[0] == run(repository, "rev-parse", "v0^{commit}")


def test_variables_of_a_git_hook_do_not_redirect(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that runs in a hook of another repository reads the repository of its prompts."""
    head = run(repository, "rev-parse", "HEAD")
    run(tmp_path, "init", "-q", "--bare", "elsewhere")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert history(repository, TEXTS[-1]) == (head, ("v4", "v5"))


def install_git(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> Path:
    """Put a shell script named ``git`` first on the path; return the file that counts its runs."""
    script, runs = folder / "bin" / "git", folder / "runs"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\necho >>{runs}\n{command}\n")
    script.chmod(0o700)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    return runs


def test_repository_of_another_owner_needs_safe_directory(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git's refusal is respected, and Git is not started again; the setting ``safe.directory`` is respected too."""
    head = run(repository, "rev-parse", "HEAD")
    real = shutil.which("git")
    runs = install_git(tmp_path, monkeypatch, f'GIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {real} "$@"')
    assert [history(repository, TEXTS[-1]) for _ in range(3)] == [(None, ())] * 3
    assert runs.read_text() == "\n"
    git._folders.cache_clear()
    for name, value in {"COUNT": "1", "KEY_0": "safe.directory", "VALUE_0": "*"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert history(repository, TEXTS[-1]) == (head, ("v4", "v5"))


def test_slow_git_is_stopped_once(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Git that hangs, as on a dead network drive, delays one load only."""
    monkeypatch.setattr(git, "_TIMEOUT_SECONDS", 0.2)
    runs = install_git(tmp_path, monkeypatch, "exec sleep 60")
    assert [history(repository, TEXTS[-1]) for _ in range(3)] == [(None, ())] * 3
    assert runs.read_text() == "\n"


@pytest.mark.parametrize("path", ["", "."])
def test_without_git_there_is_no_history(repository: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Git; a file named ``git`` in the current folder is not run."""
    (repository / "git").write_text("#!/bin/sh\necho run >ran\n")
    (repository / "git").chmod(0o700)
    monkeypatch.chdir(repository)
    monkeypatch.setenv("PATH", path)
    assert history(repository, TEXTS[-1]) == (None, ())
    assert not (repository / "ran").exists()
