"""The committed sample files are an export of the sample raw rows, byte for byte."""

from pathlib import Path

import samples


def test_the_samples_are_what_the_product_delivers(tmp_path: Path) -> None:
    committed = {path.name: path.read_bytes() for path in samples.SAMPLES.glob("*_20170515.csv*")}
    assert committed.keys() == {
        "activity_BRANDNAAM_20170515.csv",
        "activity_BRANDNAAM_20170515.csv.manifest.json",
        "broadcast_BRANDNAAM_20170515.csv",
    }
    assert samples.export(tmp_path) == committed, "run: make reference"
