"""What is uploaded: both distributions, built, and installed beside other people's packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from sysconfig import get_path

import pytest
from servers import RedisServer

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {"memberstream": ROOT, "memberstream_lookup": ROOT / "clients/python"}
#: What a service that looks members up must not wait for: each takes milliseconds to load.
SLOW = {"asyncio", "dataclasses", "hashlib", "importlib.resources", "json", "logging", "ssl", "urllib.parse"}


def hatch(source: Path, target: Path, *options: str) -> Path:
    """Build wheel and sdist, or what `options` say; returns the folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target), *options]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    return target


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    for source in SOURCES.values():
        hatch(source, folder)
    return folder


def wheel(folder: Path, name: str) -> Path:
    (found,) = folder.glob(f"{name}-*.whl")
    return found


Python = Callable[[str], str]


@pytest.fixture
def install(built: Path, tmp_path: Path) -> Callable[..., Python]:
    """`install(name, *dependencies)` gives an empty environment with that wheel and a foreign `models` and `stream`.

    Dependencies are copied from the environment of the tests; without any, all of its packages are there.
    """

    def make(name: str, *dependencies: str) -> Python:
        venv.create(tmp_path / name, with_pip=False, symlinks=True)
        site = Path(get_path("purelib", vars={"base": str(tmp_path / name)}))
        for package in ("models", "stream"):
            (site / package).mkdir()
            (site / package / "__init__.py").write_text("whose = 'a stranger'\n")
        zipfile.ZipFile(wheel(built, name)).extractall(site)
        for dependency in dependencies:
            shutil.copytree(Path(get_path("purelib")) / dependency, site / dependency)
        if not dependencies:  # its .pth files aren't read: the editable install isn't seen
            (site / "dependencies.pth").write_text(get_path("purelib"))

        def run(code: str) -> str:
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MEMBERSTREAM", "COV"))}
            command = [str(tmp_path / name / "bin/python"), "-c", code]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        return run

    return make


@pytest.mark.parametrize("name", SOURCES)
def test_an_sdist_has_all_that_its_wheel_has(name: str, built: Path, tmp_path: Path) -> None:
    """Folders that are links in the repository are folders there; the wheel that is built from it is the same."""
    (sdist,) = built.glob(f"{name}-*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    again = wheel(hatch(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "dist", "-t", "wheel"), name)

    def contents(path: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(path) as archive:
            return {each: archive.read(each) for each in archive.namelist() if not each.endswith("/RECORD")}

    assert contents(again) == contents(wheel(built, name))


def test_a_reader_needs_two_small_packages(
    install: Callable[..., Python], built: Path, valkey_server: RedisServer
) -> None:
    """memberstream-lookup works with hiredis and msgspec alone, beside a foreign `models` and `stream`. All together
    has less than 5 MB, and importing it loads nothing slow."""
    python = install("memberstream_lookup", "hiredis", "msgspec")
    loaded = json.loads(
        python(
            "import hiredis, msgspec, sys; before = set(sys.modules); import memberstream_lookup; "
            "new = set(sys.modules) - before; import json; print(json.dumps(sorted(new)))"
        )
    )
    assert not SLOW & set(loaded)
    told = python(
        "import asyncio, models, stream\n"
        "from memberstream_lookup import AsyncLookup, Lookup, LookupUnavailable\n"
        f"with Lookup({valkey_server.url!r}) as lookup: print(lookup.get('m').status, models.whose, stream.whose)\n"
        "async def main():\n"
        f"    async with AsyncLookup({valkey_server.url!r}) as lookup: print((await lookup.visible('m')).status)\n"
        "asyncio.run(main())\n"
    )
    assert told.split("\n")[:2] == ["rebuilding a stranger a stranger", "rebuilding"]
    site = Path(python("import hiredis; print(hiredis.__path__[0])").strip()).parent
    ours = [site / "memberstream_lookup", site / "hiredis", site / "msgspec"]
    assert sum(file.stat().st_size for folder in ours for file in folder.rglob("*") if file.is_file()) < 5 << 20
    with zipfile.ZipFile(wheel(built, "memberstream_lookup")) as archive:
        (metadata,) = (archive.read(each) for each in archive.namelist() if each.endswith("/METADATA"))
    requirements = [line for line in metadata.decode().splitlines() if line.startswith("Requires-Dist")]
    assert [line.split()[1].partition("<")[0].partition(">")[0] for line in requirements] == ["hiredis", "msgspec"]


def test_everything_else_has_one_name(install: Callable[..., Python], built: Path, valkey_server: RedisServer) -> None:
    """The wheel of memberstream brings no other package. Its public names work beside a foreign `models` and `stream`,
    and are imported when they are asked for."""
    python = install("memberstream")
    told = python(
        "import sys, memberstream\n"
        "print(sorted(name for name in sys.modules if name.startswith('memberstream')))\n"
        "import models, stream\n"
        "for name in memberstream.__all__: getattr(memberstream, name)\n"
        "print(len(memberstream.__all__), models.whose, stream.whose, 'demo' in dir(memberstream))\n"
        f"with memberstream.Lookup({valkey_server.url!r}) as lookup: print(lookup.get('m').status)\n"
        "try: memberstream.nonsense\n"
        "except AttributeError as error: print(error)\n"
    )
    assert told.splitlines() == [
        "['memberstream']",
        "10 a stranger a stranger False",
        "rebuilding",
        "module 'memberstream' has no attribute 'nonsense'",
    ]
    with zipfile.ZipFile(wheel(built, "memberstream")) as archive:
        folders = {Path(each).parts[0] for each in archive.namelist()}
    assert sorted(folder.partition("-")[0] for folder in folders) == ["memberstream", "memberstream"]
    assert version("memberstream") in python(
        "import runpy, sys; sys.argv[1:] = ['--version']; runpy.run_module('memberstream')"
    )
