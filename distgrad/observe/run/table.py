"""metrics.csv: the metrics that count as one table, for pandas and spreadsheets."""

from __future__ import annotations

import csv
import io

from distgrad.errors import DistgradError
from distgrad.files import replacing, shown
from distgrad.observe.run.layout import COLUMNS, TABLE
from distgrad.observe.run.read import RunRecord


def write_table(run: RunRecord) -> None:
    """Write a row a line of metrics that counts; a column each name, empty where not measured.

    Errors: DistgradError if it cannot be written.
    """
    path, text = run.folder / TABLE, io.StringIO(newline="")
    table = csv.DictWriter(text, [*COLUMNS, *run.names], lineterminator="\n")
    table.writeheader()
    table.writerows(run.metrics)
    try:
        with replacing(path, durable=False) as file:
            file.write(text.getvalue().encode())
    except OSError as error:
        raise DistgradError(f"{shown(path)} cannot be written: {error.strerror or error}") from None
