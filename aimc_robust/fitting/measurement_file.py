"""Read a CSV file of measurements."""

import csv
from pathlib import Path

from aimc_robust.errors import DataError


def read_csv(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Read a CSV file in UTF-8; blank lines are skipped.

    Returns:
        Header, rows, and the line number of each row.

    Raises:
        DataError: If the file is missing, empty, not CSV in UTF-8, or a row has another number of fields.
    """
    rows, lines = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if any(field.strip() for field in row):
                    rows.append(row)
                    lines.append(reader.line_num)
    except FileNotFoundError:
        raise DataError(f"there is no file of measurements at {path}; give the path of an existing CSV file.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read as a CSV file: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}.") from None
    if not rows:
        raise DataError(f"{path} is empty; expected a header line with the columns target and measured.")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{path}, line {line}: expected {len(rows[0])} fields as in the header, got {len(row)}; write numbers "
                "with a decimal point and separate fields by commas."
            )
    return rows[0], rows[1:], lines[1:]
