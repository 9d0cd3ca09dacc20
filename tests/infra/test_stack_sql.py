"""The tables, the workgroup and the saved queries of Amazon Athena, in both deployments."""

from __future__ import annotations

import pytest

from tests.infra.stack_template import PROJECT, Assembly
from transcription_contract import layout, sql_table


@pytest.fixture(params=["stack", "on_demand"])
def deployed(request: pytest.FixtureRequest) -> Assembly:
    found: Assembly = request.getfixturevalue(request.param)
    return found


def test_the_tables_are_where_accounting_and_editors_write_and_have_their_columns(deployed: Assembly) -> None:
    tables = {table["TableInput"]["Name"]: table["TableInput"] for table in deployed.all("AWS::Glue::Table").values()}
    for name, prefix, columns in (
        ("recordings", layout.TABLE, sql_table.RECORDINGS),
        ("corrections", layout.CORRECTIONS, sql_table.CORRECTIONS),
    ):
        storage = tables[name]["StorageDescriptor"]
        assert storage["Location"] == f"s3://<StorageAudio>/{prefix}"
        assert {column["Name"]: column["Type"] for column in storage["Columns"]} == columns


def test_each_day_is_a_partition_that_nobody_has_to_register(deployed: Assembly) -> None:
    table = deployed.all("AWS::Glue::Table")["SqlRecordings"]["TableInput"]
    assert [key["Name"] for key in table["PartitionKeys"]] == ["day"]
    template = table["Parameters"]["storage.location.template"].replace("${day}", "2026-11-28")
    key = layout.table_key("run", "plan", "2026-11-28")
    assert f"s3://<StorageAudio>/{key}".startswith(template)


def test_a_query_has_a_limit_and_its_results_are_encrypted_and_expire(deployed: Assembly) -> None:
    [group] = deployed.all("AWS::Athena::WorkGroup").values()
    configuration = group["WorkGroupConfiguration"]
    assert configuration["EnforceWorkGroupConfiguration"] is True
    assert configuration["BytesScannedCutoffPerQuery"] == 10_000_000_000
    assert configuration["ResultConfiguration"] == {
        "EncryptionConfiguration": {"EncryptionOption": "SSE_S3"},
        "OutputLocation": f"s3://<StorageAudio>/{layout.QUERY_RESULTS}",
    }
    rules = deployed.all("AWS::S3::Bucket")["StorageAudio"]["LifecycleConfiguration"]["Rules"]
    assert [rule["ExpirationInDays"] for rule in rules if rule.get("Prefix") == layout.QUERY_RESULTS] == [7]


def test_the_saved_queries_are_the_files(deployed: Assembly) -> None:
    saved = {query["Name"]: query for query in deployed.all("AWS::Athena::NamedQuery").values()}
    files = {file.stem: file.read_text() for file in (PROJECT / "infra" / "sql").glob("*.sql")}
    assert {name: query["QueryString"] for name, query in saved.items()} == files
    assert all(query["Description"].endswith(".") for query in saved.values())
