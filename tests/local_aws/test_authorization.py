"""A client with a role's credentials can do only what the role's policies allow."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws.server import ACCOUNT, LocalAws

INPUT, OUTPUT = "arn:aws:s3:::rights/input/*", "arn:aws:s3:::rights/output/*"
LIST = ("s3:ListBucket", "arn:aws:s3:::rights")
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/customer"
Rights = tuple[tuple[str, str], ...]
READ: Rights = (("s3:GetObject", INPUT), LIST)
COPY: Rights = (*READ, ("s3:PutObject", OUTPUT))


@pytest.fixture(scope="module")
def s3(aws: LocalAws) -> Any:
    client = aws.client("s3")
    client.create_bucket(Bucket="rights")
    client.put_bucket_versioning(Bucket="rights", VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket="rights", Key="input/plain", Body=b"x")
    client.put_object(Bucket="rights", Key="input/tagged", Body=b"x", Tagging="scan=clean")
    client.put_object(Bucket="rights", Key="input/locked", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=KEY)
    return client


@pytest.fixture
def acting(aws: LocalAws, s3: Any) -> Iterator[Callable[..., Any]]:
    """Makes a client of a service that acts as a role with these rights."""
    iam = aws.client("iam")
    role = iam.create_role(RoleName="tested", AssumeRolePolicyDocument="{}")["Role"]["Arn"]

    def acting(service: str, *rights: tuple[str, str], config: Config | None = None) -> Any:
        always = ("sts:GetCallerIdentity", "*")  # a policy needs a statement
        given = (always, *rights)
        statements = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in given]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName="tested", PolicyName="rights", PolicyDocument=policy)
        variables = aws.environment_of(role)
        return boto3.client(
            service,
            endpoint_url=aws.endpoint,
            region_name="us-east-1",
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=variables["AWS_SESSION_TOKEN"],
            config=config,
        )

    yield acting
    iam.delete_role_policy(RoleName="tested", PolicyName="rights")
    iam.delete_role(RoleName="tested")


def get(client: Any, key: str = "plain", **more: Any) -> Any:
    return client.get_object(Bucket="rights", Key=f"input/{key}", **more)


def head(client: Any, key: str = "plain") -> Any:
    return client.head_object(Bucket="rights", Key=f"input/{key}")


def copy(client: Any, key: str = "plain", **more: Any) -> Any:
    source = {"Bucket": "rights", "Key": f"input/{key}"}
    return client.copy_object(Bucket="rights", Key="output/copy", CopySource=source, **more)


def put(client: Any, **more: Any) -> Any:
    return client.put_object(Bucket="rights", Key="output/new", Body=b"new" * 10_000, **more)


def delete(client: Any) -> Any:
    return client.delete_object(Bucket="rights", Key="output/new")


def delete_many(client: Any) -> Any:
    objects = [{"Key": "output/new"}, {"Key": "output/a b"}]
    return client.delete_objects(Bucket="rights", Delete={"Objects": objects})


def listing(client: Any) -> Any:
    return client.list_objects_v2(Bucket="rights", Prefix="input/")


def multipart(client: Any) -> Any:
    upload = client.create_multipart_upload(Bucket="rights", Key="output/large")["UploadId"]
    return client.abort_multipart_upload(Bucket="rights", Key="output/large", UploadId=upload)


NEEDS: list[tuple[Callable[[Any], Any], Rights]] = [
    (get, READ[:1]),
    (head, READ[:1]),
    (listing, (LIST,)),
    (put, (("s3:PutObject", OUTPUT),)),
    (lambda client: put(client, Tagging="a=b"), (("s3:PutObject", OUTPUT), ("s3:PutObjectTagging", OUTPUT))),
    (delete, (("s3:DeleteObject", OUTPUT),)),
    (delete_many, (("s3:DeleteObject", OUTPUT),)),
    (multipart, (("s3:PutObject", OUTPUT), ("s3:AbortMultipartUpload", OUTPUT))),
    (copy, (("s3:GetObject", INPUT), ("s3:PutObject", OUTPUT))),
    # A copy takes the tags along
    (
        lambda client: copy(client, "tagged"),
        (
            ("s3:GetObject", INPUT), ("s3:GetObjectTagging", INPUT),
            ("s3:PutObject", OUTPUT), ("s3:PutObjectTagging", OUTPUT),
        ),
    ),
    # An object with a customer's KMS key
    (lambda client: get(client, "locked"), (("s3:GetObject", INPUT), ("kms:Decrypt", KEY))),
    (lambda client: head(client, "locked"), (("s3:GetObject", INPUT), ("kms:Decrypt", KEY))),
    (
        lambda client: copy(client, "locked"),
        (("s3:GetObject", INPUT), ("kms:Decrypt", KEY), ("s3:PutObject", OUTPUT)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "rights"), NEEDS)
def test_a_request_needs_each_of_its_rights(acting: Any, call: Callable[[Any], Any], rights: Rights) -> None:
    call(acting("s3", *rights))
    for missing in rights:
        with pytest.raises(ClientError) as refused:
            call(acting("s3", *(right for right in rights if right != missing)))
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_copy_with_its_own_tags_needs_no_right_to_read_the_sources_tags(acting: Any) -> None:
    copy(acting("s3", *COPY, ("s3:PutObjectTagging", OUTPUT)), "tagged", Tagging="a=b", TaggingDirective="REPLACE")


def test_a_copy_keeps_the_tags(acting: Any, s3: Any) -> None:
    copy(acting("s3", *COPY, ("s3:GetObjectTagging", INPUT), ("s3:PutObjectTagging", OUTPUT)), "tagged")
    assert s3.get_object_tagging(Bucket="rights", Key="output/copy")["TagSet"] == [{"Key": "scan", "Value": "clean"}]


def test_a_missing_key_is_refused_without_the_right_to_list(acting: Any) -> None:
    for rights, status in ((READ, 404), (READ[:1], 403)):
        with pytest.raises(ClientError) as refused:
            get(acting("s3", *rights), "no such")
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_a_right_for_one_prefix_is_none_for_another(acting: Any) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        get(acting("s3", ("s3:GetObject", OUTPUT)))


def test_the_administrator_needs_no_rights(s3: Any) -> None:
    assert get(s3, "locked")["Body"].read() == b"x"


def test_requests_to_batch_need_rights_on_queue_definition_and_job(acting: Any, queue_stack: dict[str, str]) -> None:
    queue = queue_stack["Queue"]
    name = queue_stack["Definition"].rpartition("/")[2].partition(":")[0]
    definition = f"arn:aws:batch:us-east-1:{ACCOUNT}:job-definition/{name}"
    submit = (("batch:SubmitJob", queue), ("batch:SubmitJob", definition))
    for missing in submit:
        rights = [right for right in submit if right != missing]
        with pytest.raises(ClientError, match="AccessDeniedException"):
            acting("batch", *rights).submit_job(jobName="rights", jobQueue=queue, jobDefinition=name)
    job = acting("batch", *submit).submit_job(jobName="rights", jobQueue=queue, jobDefinition=name)["jobId"]
    with pytest.raises(ClientError, match="AccessDeniedException"):
        acting("batch").describe_jobs(jobs=[job])
    assert acting("batch", ("batch:DescribeJobs", "*")).describe_jobs(jobs=[job])["jobs"]
    with pytest.raises(ClientError, match="AccessDeniedException"):
        acting("batch").terminate_job(jobId=job, reason="enough")
    acting("batch", ("batch:TerminateJob", f"arn:aws:batch:us-east-1:{ACCOUNT}:job/*")).terminate_job(
        jobId=job, reason="enough"
    )


@pytest.mark.parametrize("signature", ["s3", "s3v4"])
def test_an_address_that_a_role_signed_works_only_as_far_as_the_role_may(
    acting: Callable[..., Any], signature: str
) -> None:
    for rights, status in ((READ, 200), ((LIST,), 403)):
        client = acting("s3", *rights, config=Config(signature_version=signature))
        url = client.generate_presigned_url("get_object", Params={"Bucket": "rights", "Key": "input/plain"})
        try:
            with urllib.request.urlopen(url) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            found = error.code
        assert found == status
