"""What pandas, pyarrow and DuckDB do against a node. Run by the end-to-end tests with the endpoint and the keys in the environment."""

import os
from importlib.resources import files
from urllib.parse import urlparse

import duckdb
import pandas as pd
from pyarrow import dataset, fs

ENDPOINT = urlparse(os.environ["AWS_ENDPOINT_URL"]).netloc
KEY, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
CITIES = ["Bern", "Lima", "Oslo", "Rome"]
# Two groups of rows, of which a query that needs one reads one; more than a chunk, and more than one part of an upload.
ROWS = 1_600_000
FRAME = pd.DataFrame({
    "id": range(ROWS),
    "noise": pd.Series(range(ROWS), dtype="uint64") * 0x9E3779B97F4A7C15,
    "city": CITIES * (ROWS // len(CITIES)),
})


def fails(error, says, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except error as raised:
        assert says in str(raised), raised
        return
    raise AssertionError(f"{arguments} did not fail")


def pandas():
    """By s3fs, which is what it uses for `s3://`."""
    FRAME.to_parquet("s3://tables/frame.parquet", row_group_size=ROWS // 2)
    FRAME.to_csv("s3://tables/frame.csv", index=False)
    assert pd.read_parquet("s3://tables/frame.parquet").equals(FRAME)
    assert pd.read_csv("s3://tables/frame.csv", dtype={"noise": "uint64"}).equals(FRAME)
    few = pd.read_parquet("s3://tables/frame.parquet", columns=["city"], filters=[("id", "<", 3)])
    assert few["city"].to_list() == CITIES[:3]
    FRAME.head(1_000).to_csv("s3://tables/few.csv.gz", index=False)
    assert len(pd.read_csv("s3://tables/few.csv.gz")) == 1_000

    fails(FileNotFoundError, "tables/nothing.csv", pd.read_csv, "s3://tables/nothing.csv")
    fails(FileNotFoundError, "nowhere", pd.read_parquet, "s3://nowhere/frame.parquet")
    wrong = {"key": KEY, "secret": "another secret"}
    fails(PermissionError, "", pd.read_csv, "s3://tables/frame.csv", storage_options=wrong)


def arrow():
    """By the client that pyarrow brings, which makes directories first."""
    s3 = fs.S3FileSystem(access_key=KEY, secret_key=SECRET, endpoint_override=ENDPOINT, scheme="http")
    few = FRAME.head(1_000)
    for _ in range(2):
        few.to_parquet("s3://tables/by_city", partition_cols=["city"], existing_data_behavior="delete_matching")
    assert len(pd.read_parquet("s3://tables/by_city", filters=[("city", "==", "Oslo")])) == 250
    assert dataset.dataset("tables/by_city", filesystem=s3, partitioning="hive").count_rows() == 1_000
    found = s3.get_file_info(fs.FileSelector("tables/by_city", recursive=True))
    assert sorted(info.base_name for info in found if not info.is_file) == [f"city={city}" for city in CITIES]
    s3.move("tables/few.csv.gz", "tables/moved/few.csv.gz")
    assert s3.get_file_info("tables/few.csv.gz").type == fs.FileType.NotFound
    s3.delete_dir("tables/moved")
    assert s3.get_file_info("tables/moved").type == fs.FileType.NotFound


def duck():
    """By httpfs, its own extension."""
    db = duckdb.connect(config={"autoinstall_known_extensions": False})
    db.load_extension(str(next(files("duckdb_extension_httpfs").rglob("httpfs.duckdb_extension"))))
    db.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', ENDPOINT '{ENDPOINT}', URL_STYLE path, USE_SSL false)"
    )
    db.execute("CALL enable_logging('HTTP')")

    def rows(sql):
        return db.execute(sql).fetchall()

    sums = [(city, ROWS // 4, int(FRAME["id"][at::4].sum())) for at, city in enumerate(CITIES)]
    for name in ["frame.parquet", "frame.csv"]:
        assert rows(f"SELECT city, count(*), sum(id) FROM 's3://tables/{name}' GROUP BY city ORDER BY city") == sums
    # Of one column and half of the rows only those bytes are asked for, if they are not known from before.
    db.execute("SET enable_external_file_cache = false")
    db.execute("CALL truncate_duckdb_logs()")
    half = int(FRAME["id"][ROWS // 2:].sum())
    assert rows(f"SELECT sum(id) FROM 's3://tables/frame.parquet' WHERE id >= {ROWS // 2}") == [(half,)]
    asked = rows("SELECT response.status, response.headers['content-length'] FROM duckdb_logs_parsed('HTTP') "
                 "WHERE request.type = 'GET'")
    size = fs.S3FileSystem(endpoint_override=ENDPOINT, scheme="http").get_file_info("tables/frame.parquet").size
    assert asked and all(status == "PartialContent_206" for status, _ in asked), asked
    assert sum(int(length) for _, length in asked) < size // 2, (asked, size)

    rows("COPY (SELECT * FROM 's3://tables/frame.parquet' ORDER BY noise) TO 's3://tables/duck.parquet'")
    back = pd.read_parquet("s3://tables/duck.parquet").sort_values("id", ignore_index=True)
    assert back["noise"].equals(FRAME["noise"])
    rows("COPY (SELECT * FROM 's3://tables/frame.parquet' LIMIT 10) TO 's3://tables/duck.csv'")
    assert pd.read_csv("s3://tables/duck.csv")["id"].to_list() == list(range(10))
    rows("COPY (SELECT * FROM 's3://tables/frame.csv' LIMIT 1000) TO 's3://tables/duck' (FORMAT parquet, PARTITION_BY city)")
    counted = rows("SELECT city, count(*) FROM 's3://tables/duck/**/*.parquet' GROUP BY city ORDER BY city")
    assert counted == [(city, 250) for city in CITIES], counted

    fails(duckdb.HTTPException, "404", rows, "SELECT * FROM 's3://tables/nothing.parquet'")
    db.execute(f"CREATE SECRET wrong (TYPE s3, KEY_ID '{KEY}', SECRET 'another', ENDPOINT '{ENDPOINT}', URL_STYLE path, "
               "USE_SSL false, SCOPE 's3://tables/wrong')")
    fails(duckdb.HTTPException, "403", rows, "COPY (SELECT 1 AS a) TO 's3://tables/wrong.csv'")


pandas()
arrow()
duck()
