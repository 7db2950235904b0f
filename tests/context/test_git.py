"""A prompt's commit and tags, compared with what Git itself has written."""

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
    """One commit per text and a tag on each: one more holds the last text again, a tag of a tag points to the first."""
    place = tmp_path_factory.mktemp("original")
    run(place, "init", "-q", "-b", "main", ".")
    parts = [b"blob\nmark :1\n", data(b"the same in many files")]
    for number, text in enumerate([*TEXTS, TEXTS[-1]]):
        parts += [b"commit refs/heads/main\ncommitter a <a@b.c> %d +0000\n" % number, data(b""),
                  b"M 100644 inline %s\n" % NAME.as_posix().encode(), data(text)]  # fmt: skip
        if number == 0:  # a folder of more than the 64 KB that a delta copies at once, and an index to be searched
            parts += [b"M 100644 :1 prompts/%0200d.md\n" % other for other in range(300)]
            for other in range(300):
                parts += [b"M 100644 inline others/%d\n" % other, data(b"%d" % other)]
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
    git._search.cache_clear()
    known = git.look_up(place / name, text, ("v",))
    return known.commit, known.tags


REPACK = ("repack", "-a", "-d", "-f", "-q", "--window=20", "--depth=20")


def the_pack(place: Path) -> Path:
    (pack,) = (place / ".git/objects/pack").glob("*.pack")
    pack.chmod(0o600)
    pack.with_suffix(".idx").chmod(0o600)
    return pack


def loose(place: Path) -> None:
    content = the_pack(place).read_bytes()
    shutil.rmtree(place / ".git/objects/pack")
    run(place, "unpack-objects", "-q", stdin=content)


def by_offset(place: Path) -> None:
    run(place, *REPACK)


def by_name(place: Path) -> None:
    run(place, "-c", "repack.useDeltaBaseOffset=false", *REPACK)


def in_two_packs(place: Path) -> None:
    pack = the_pack(place)
    listed = run(place, "show-index", stdin=pack.with_suffix(".idx").read_bytes()).splitlines()
    names = [line.split()[1] for line in listed]
    for half in (names[::2], names[1::2]):
        run(place, "pack-objects", "-q", ".git/objects/pack/pack", stdin="\n".join(half).encode())
    for path in (pack, pack.with_suffix(".idx")):
        path.unlink()


def far(place: Path) -> None:
    """Offsets as in a pack beyond 2 GB."""
    pack = the_pack(place)
    pack.with_suffix(".idx").unlink()
    run(place, "index-pack", "--index-version=2,0x40", str(pack))


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


@pytest.mark.parametrize(
    "keep", [loose, by_offset, by_name, in_two_packs, far, alternates, packed_references, separate_git_folder]
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


def cut_off(place: Path) -> None:
    os.truncate(the_pack(place), 40)


def own_base(place: Path) -> None:
    """A delta whose base is itself."""
    by_name(place)
    pack = the_pack(place)
    content = pack.read_bytes()
    for line in run(place, "verify-pack", "-v", str(pack.with_suffix(".idx"))).splitlines():
        words = line.split()
        if words[1:2] == ["tree"] and len(words) == 7:  # a delta, whose base comes last
            content = content.replace(bytes.fromhex(words[6]), bytes.fromhex(words[0]))
    pack.write_bytes(content)


def of_no_kind(place: Path) -> None:
    """Objects of a kind that Git has no use for yet."""
    pack = the_pack(place)
    content = bytearray(pack.read_bytes())
    for line in run(place, "show-index", stdin=pack.with_suffix(".idx").read_bytes()).splitlines():
        offset = int(line.split()[0])
        content[offset] = content[offset] & 0x8F | 0x50
    pack.write_bytes(content)


def old_index(place: Path) -> None:
    """The form of an index that Git wrote until 2008."""
    run(place, "-c", "pack.indexVersion=1", *REPACK)


def gone(place: Path) -> None:
    shutil.rmtree(place / ".git/objects")


@pytest.mark.parametrize("spoil", [cut_off, own_base, of_no_kind, old_index, gone])
def test_damaged_repository_gives_no_history(repository: Path, spoil: Callable[[Path], None]) -> None:
    """A damaged repository, or one of another form, gives no history, and never a wrong one."""
    right = [history(repository, text) for text in TEXTS]
    spoil(repository)
    found = [history(repository, text) for text in TEXTS]
    assert (None, ()) in found
    assert all(each in (known, (None, ())) for each, known in zip(found, right, strict=True))


def test_file_outside_a_repository_has_no_history(tmp_path: Path) -> None:
    """Neither a commit nor a tag is returned."""
    assert history(tmp_path, TEXTS[0]) == (None, ())


def test_object_too_large_is_not_read(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object larger than any prompt fills no memory."""
    monkeypatch.setattr(git, "_MAX_OBJECT_BYTES", 10)
    assert history(repository, TEXTS[-1]) == (None, ())


@pytest.mark.parametrize("head", ["ref: refs/heads/none", "ref: HEAD", "a" * 64, "", "v0"])
def test_head_without_a_commit_still_gives_tags(repository: Path, head: str) -> None:
    """A branch without a commit, a reference to itself, another object format: no commit, and the tags all the same."""
    (repository / ".git/HEAD").write_text(head)
    assert history(repository, TEXTS[0]) == (None, ("v/0", "v0"))


def test_tags_of_other_objects_than_commits_are_ignored(repository: Path) -> None:
    """A tag of a file or of a folder holds no prompt, nor does one at the end of many tags."""
    for name, at in (("v-file", f"HEAD:{NAME.as_posix()}"), ("v-folder", "HEAD:prompts")):
        run(repository, "tag", name, at)
    for number in range(6):
        annotate(repository, f"v-{number}", f"v-{number - 1}" if number else "v0")
    commit, tags = history(repository, TEXTS[0])
    assert commit is None
    assert {"v0", "v/0", "v-0", "v-1"} <= set(tags)
    assert not {"v-5", "v-file", "v-folder"} & set(tags)
