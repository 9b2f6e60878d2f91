"""The marks by which a table's file is known."""

from studperf.config.dataset import DELIMITERS

__all__ = ["DELIMITERS", "GZIP_MAGIC", "PARQUET_ENDINGS", "PARQUET_MAGIC", "ZIP_MAGIC"]

GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
ZIP_MAGIC = b"PK\x03\x04"
PARQUET_ENDINGS = (".parquet", ".pq")
