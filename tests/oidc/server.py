"""npm's oidc-provider on loopback: a provider of log-ins that isn't ours.

It is installed once into the repository's cache, as package-lock.json says: each package by its checksum. People:
mia is in the group `CN=data,OU=marketing`, dan in `CN=data,OU=science`, eve in none that has a role here.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

from servers import missing

from memberstream.stream.local.server_process import ServerProcess, free_port

_HERE = Path(__file__).parent
_CACHE = _HERE.parents[1] / ".cache" / "oidc"
SECRET = "a secret of the console"
PATIENCE_S = 60.0


def _installed() -> Path:
    """Return the folder that holds node_modules."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing("Node.js or npm is missing. Install them (Debian: nodejs npm)")
    lock = _HERE / "package-lock.json"
    done = _CACHE / "installed-package-lock.json"
    if not done.exists() or done.read_bytes() != lock.read_bytes():
        shutil.rmtree(_CACHE, ignore_errors=True)
        _CACHE.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, _CACHE)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        run = subprocess.run(command, cwd=_CACHE, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stdout + run.stderr
        shutil.copy(lock, done)
    return _CACHE


@asynccontextmanager
async def provider(redirect_uri: str, log: Path) -> AsyncIterator[tuple[str, ServerProcess]]:
    """Run the provider; yields its issuer, and the process."""
    folder = await asyncio.to_thread(_installed)
    port = free_port()
    process = ServerProcess("the OpenID provider", log)
    process.spawn(
        [shutil.which("node") or "node", str(_HERE / "provider.mjs"), str(folder), str(port), redirect_uri],
        cwd=log.parent,
    )
    issuer = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(_answers, f"{issuer}/.well-known/openid-configuration"):
                assert process.pid is not None, await asyncio.to_thread(log.read_text)
                await asyncio.sleep(0.05)
        yield issuer, process
    finally:
        process.stop(grace_s=5.0)


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5):
            return True
    except OSError:
        return False
