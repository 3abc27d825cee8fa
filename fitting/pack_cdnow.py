"""Make stream/demo/data/cdnow.csv.gz from the copy of CDNOW in the PyPI package Lifetimes 0.11.3.

    pip download --no-deps lifetimes==0.11.3
    python fitting/pack_cdnow.py Lifetimes-0.11.3-py3-none-any.whl

Laws: an input that isn't the known file, byte for byte, is refused; the output is the same bytes each time (for one
version of zlib: another may compress differently, but to the same CSV). The CSV holds the same values in the same
order, so the original can be made from it again; tests/demo/test_history.py does that.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import zipfile
from pathlib import Path

MEMBER = "lifetimes/datasets/CDNOW_master.txt"
SHA256 = "eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef"
TARGET = Path(__file__).parents[1] / "stream" / "demo" / "data" / "cdnow.csv.gz"


def read(source: Path) -> bytes:
    """Return the bytes of CDNOW_master.txt, given the file itself or the wheel that carries it.

    Raises:
        SystemExit: the file is not the one this project was built with.
    """
    if source.suffix == ".whl":
        with zipfile.ZipFile(source) as wheel:
            original = wheel.read(MEMBER)
    else:
        original = source.read_bytes()
    if hashlib.sha256(original).hexdigest() != SHA256:
        raise SystemExit(f"{source}: expected CDNOW_master.txt with SHA-256 {SHA256}; take it from Lifetimes 0.11.3")
    return original


def to_csv(original: bytes) -> str:
    """Return the CSV: customer number of five digits, ISO date, CDs, dollars with two decimals."""
    lines = ["customer,date,units,amount"]
    for line in original.decode("ascii").splitlines()[1:]:
        customer, day, units, amount = line.split()
        lines.append(f"{customer},{day[:4]}-{day[4:6]}-{day[6:]},{units},{amount}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="Lifetimes-0.11.3-py3-none-any.whl, or CDNOW_master.txt")
    text = to_csv(read(parser.parse_args().source)).encode("ascii")
    TARGET.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes; CSV SHA-256 {hashlib.sha256(text).hexdigest()}")


if __name__ == "__main__":
    main()
