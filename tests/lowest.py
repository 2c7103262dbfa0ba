"""Prints the lowest versions that a wheel allows of what it needs, as constraints for pip.

python tests/lowest.py WHEEL EXTRA[,EXTRA ...]
"""

from __future__ import annotations

import email
import sys
import zipfile

from packaging.requirements import Requirement


def main(wheel: str, extras: str) -> None:
    with zipfile.ZipFile(wheel) as file:
        (name,) = (n for n in file.namelist() if n.endswith(".dist-info/METADATA"))
        needed = email.message_from_bytes(file.read(name)).get_all("Requires-Dist") or []
    for text in needed:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras.split(",")):
            bounds = [s.version for s in requirement.specifier if s.operator in {">=", "=="}]
            print(f"{requirement.name}=={bounds[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
