"""The unit of systemd as far as it can be held without systemd running: its check, and the settings."""

from __future__ import annotations

import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

from servers import missing

from memberstream.stream.faust_batch.app import STOP_LIMIT_S
from memberstream.stream.settings import from_environment

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "systemd" / "memberstream@.service"


class _Repeated(dict[str, str]):
    """Keys may come again, as in units: then the values are joined by line ends."""

    def __setitem__(self, key: str, value: str) -> None:
        known = self.get(key)
        both = isinstance(known, list) and isinstance(value, list)
        super().__setitem__(key, known + value if both else value)  # type: ignore[operator]


def unit() -> ConfigParser:
    parser = ConfigParser(dict_type=_Repeated, strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_systemd_takes_it_whole(tmp_path: Path) -> None:
    """An unknown key is only a word on standard error to systemd, so there must be none."""
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze is missing. Install it (Debian: systemd)")
    there = tmp_path / "memberstream@1.service"
    there.write_text(UNIT.read_text().replace("/opt/memberstream/bin/memberstream", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(there)], capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if there.name in line]
    assert said == []
    assert done.returncode == 0


def test_each_instance_has_a_disk_and_a_port_of_its_own() -> None:
    """What the unit sets is what settings take."""
    service = unit()["Service"]
    given = dict(line.split("=", 1) for line in service["Environment"].splitlines())
    settings = [
        from_environment({name: value.replace("%i", i) for name, value in given.items() if name != "PYTHONUNBUFFERED"})
        for i in ("1", "2")
    ]
    assert len({one.data_dir for one in settings}) == len({one.metrics_port for one in settings}) == 2
    assert str(settings[0].data_dir) == f"/var/lib/{service['StateDirectory'].replace('%i', '1')}"


def test_a_stop_has_time_to_end() -> None:
    """systemd kills what takes longer."""
    assert float(unit()["Service"]["TimeoutStopSec"]) > 2 * STOP_LIMIT_S
