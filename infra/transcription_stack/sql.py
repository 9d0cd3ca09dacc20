"""SQL over all recordings: tables of AWS Glue over the bucket, and a workgroup of Amazon Athena with saved queries.

Nothing of it costs anything until somebody runs a query.
"""

from collections.abc import Mapping
from pathlib import Path

from aws_cdk import Stack
from aws_cdk import aws_athena as athena
from aws_cdk import aws_glue as glue
from aws_cdk import aws_s3 as s3
from constructs import Construct

from transcription_contract import layout, sql_table

from .stack_settings import Settings

QUERIES = Path(__file__).parents[1] / "sql"
_GB = 1_000_000_000
_JSON_LINES = glue.CfnTable.SerdeInfoProperty(
    serialization_library="org.openx.data.jsonserde.JsonSerDe", parameters={"ignore.malformed.json": "true"}
)


class Sql(Construct):
    """The database `<environment>` with the tables `recordings` and `corrections`, and the workgroup of this name."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, audio_bucket: s3.IBucket) -> None:
        super().__init__(scope, construct_id)
        self._account = Stack.of(self).account
        self._bucket = audio_bucket.bucket_name
        database = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=self._account,
            database_input=glue.CfnDatabase.DatabaseInputProperty(
                name=settings.environment_name.lower().replace("-", "_"),
                description="Recordings, transcripts and corrections of the transcription pipeline",
            ),
        )
        # Athena computes the partitions of a day from the key, so nothing has to register them.
        self._table(
            "Recordings",
            database,
            layout.TABLE,
            sql_table.RECORDINGS,
            partition=sql_table.PARTITION,
            parameters={
                "projection.enabled": "true",
                "projection.day.type": "date",
                "projection.day.format": "yyyy-MM-dd",
                "projection.day.range": "2026-01-01,NOW",
                "storage.location.template": f"s3://{self._bucket}/{layout.TABLE}day=${{day}}/",
            },
        )
        self._table("Corrections", database, layout.CORRECTIONS, sql_table.CORRECTIONS, partition={}, parameters={})
        self.workgroup = athena.CfnWorkGroup(
            self,
            "WorkGroup",
            name=settings.environment_name,
            description="SQL over recordings and transcripts; docs/sql.md of the pipeline explains the queries",
            recursive_delete_option=True,
            work_group_configuration=athena.CfnWorkGroup.WorkGroupConfigurationProperty(
                enforce_work_group_configuration=True,
                publish_cloud_watch_metrics_enabled=False,  # they would cost money
                bytes_scanned_cutoff_per_query=int(settings.max_gb_per_query * _GB),
                result_configuration=athena.CfnWorkGroup.ResultConfigurationProperty(
                    output_location=f"s3://{self._bucket}/{layout.QUERY_RESULTS}",
                    encryption_configuration=athena.CfnWorkGroup.EncryptionConfigurationProperty(
                        encryption_option="SSE_S3"
                    ),
                ),
            ),
        )
        for file in sorted(QUERIES.glob("*.sql")):
            text = file.read_text("utf-8")
            athena.CfnNamedQuery(
                self,
                file.stem.title().replace("_", ""),
                name=file.stem,
                description=text.partition("\n")[0].removeprefix("-- "),
                database=database.ref,
                query_string=text,
                work_group=self.workgroup.ref,
            )

    def _table(
        self,
        name: str,
        database: glue.CfnDatabase,
        prefix: str,
        columns: Mapping[str, str],
        *,
        partition: Mapping[str, str],
        parameters: Mapping[str, str],
    ) -> None:
        glue.CfnTable(
            self,
            name,
            catalog_id=self._account,
            database_name=database.ref,
            table_input=glue.CfnTable.TableInputProperty(
                name=name.lower(),
                table_type="EXTERNAL_TABLE",
                parameters={"classification": "json", **parameters},
                partition_keys=_columns(partition),
                storage_descriptor=glue.CfnTable.StorageDescriptorProperty(
                    columns=_columns(columns),
                    location=f"s3://{self._bucket}/{prefix}",
                    input_format="org.apache.hadoop.mapred.TextInputFormat",
                    output_format="org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
                    serde_info=_JSON_LINES,
                ),
            ),
        )


def _columns(columns: Mapping[str, str]) -> list[glue.CfnTable.ColumnProperty]:
    return [glue.CfnTable.ColumnProperty(name=name, type=kind) for name, kind in columns.items()]
