"""Requires that the policies of a role allow each of its requests to S3, Batch, SQS and EventBridge, as on AWS.

A client with the credentials of `credentials_of` acts as that role: Airflow as its execution role, a container as its
job definition's role. Other clients act as the account's administrator. moto's own check knows neither resources nor
conditions, so this module answers before moto does. It does not check other services.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.s3.models import s3_backends
from moto.sts.models import sts_backends

from local_aws.iam import allowed

_PARTITION = "aws"

_moto_answer = DomainDispatcherApplication.__call__


class Right(NamedTuple):
    """An action on a resource, which a request needs."""

    action: str
    resource: str
    context: Mapping[str, str] = {}


def credentials_of(role_arn: str, region: str) -> dict[str, str]:
    """Environment variables that make any AWS SDK act as the role."""
    session = sts_backends[ACCOUNT][_PARTITION].assume_role(region, "local", role_arn, "", 3600, "")
    return {
        "AWS_ACCESS_KEY_ID": session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
        "AWS_SESSION_TOKEN": session.session_token,
    }


def install() -> None:
    """Put the check before moto's answers. Call it before moto's server starts."""
    DomainDispatcherApplication.__call__ = _answer


def _answer(self: Any, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    key, _, region, service, *_ = [*_credential_scope(environ), "", "", "", ""]
    session = sts_backends[ACCOUNT][_PARTITION].get_assumed_role_from_access_key(key)
    if session is not None and service in _RIGHTS:
        statements = _statements_of(session.role_arn)
        for right in _RIGHTS[service](environ, region):
            if not allowed(statements, right.action, right.resource, right.context):
                message = f"{session.role_arn} is not authorized to perform {right.action} on {right.resource}"
                return _denied(environ, start_response, service, message)
    return _moto_answer(self, environ, start_response)


def _credential_scope(environ: Mapping[str, Any]) -> list[str]:
    """Access key, date, region and service of the request's signature, which is a header or part of the address.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-authentication-methods.html
    """
    query = parse_qs(environ.get("QUERY_STRING", ""))
    if "X-Amz-Credential" in query:
        return query["X-Amz-Credential"][0].split("/")
    if "AWSAccessKeyId" in query:  # an address of S3 with the older signature
        return [query["AWSAccessKeyId"][0], "", "", "s3"]
    signature = str(environ.get("HTTP_AUTHORIZATION", ""))
    return signature.partition("Credential=")[2].partition(",")[0].split("/")


def _statements_of(role_arn: str) -> list[dict[str, Any]]:
    role = iam_backends[ACCOUNT][_PARTITION].get_role_by_arn(role_arn)
    return [statement for policy in role.policies.values() for statement in _parsed(policy)]


@lru_cache(maxsize=64)
def _parsed(policy: str) -> list[dict[str, Any]]:
    statements = json.loads(policy)["Statement"]
    return statements if isinstance(statements, list) else [statements]


# S3

_BUCKET_ACTIONS = {
    "versions": "s3:ListBucketVersions",
    "uploads": "s3:ListBucketMultipartUploads",
    "location": "s3:GetBucketLocation",
    "versioning": "s3:GetBucketVersioning",
    "list-type": "s3:ListBucket",
}


def _s3_rights(environ: dict[str, Any], region: str) -> Iterator[Right]:
    """The rights that a request to S3 needs.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
    """
    method, query = environ["REQUEST_METHOD"], parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    bucket, _, key = environ["PATH_INFO"].encode("latin-1").decode().removeprefix("/").partition("/")
    of_bucket, of_object = f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{key}"
    if method == "POST" and "delete" in query:
        for name in _deleted_keys(_body(environ)):
            yield Right("s3:DeleteObject", f"{of_bucket}/{name}")
    elif not key:
        named = next((action for part, action in _BUCKET_ACTIONS.items() if part in query), "s3:ListBucket")
        yield Right(named if method in ("GET", "HEAD") else f"s3:{method} of a bucket", of_bucket)
    elif "tagging" in query:
        yield Right(f"s3:{method.capitalize()}ObjectTagging", of_object)
    elif method in ("GET", "HEAD"):
        yield from _reading(bucket, key, query.get("versionId", [None])[0], region)
    elif method == "DELETE":
        version = "Version" if "versionId" in query else ""
        yield Right("s3:AbortMultipartUpload" if "uploadId" in query else f"s3:DeleteObject{version}", of_object)
    else:
        yield from _writing(environ, query, of_object, region)


def _reading(bucket: str, key: str, version: str | None, region: str) -> Iterator[Right]:
    """The rights to read an object, or its metadata.

    Without s3:ListBucket a missing key is refused. An object that is encrypted with a customer's KMS key needs a right
    on that key: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    yield Right("s3:GetObjectVersion" if version else "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}")
    stored = _stored(bucket, key, version)
    if stored is None:
        yield Right("s3:ListBucket", f"arn:aws:s3:::{bucket}")
    elif stored.kms_key_id:
        is_arn = stored.kms_key_id.startswith("arn:")
        yield Right(
            "kms:Decrypt",
            stored.kms_key_id if is_arn else f"arn:aws:kms:{region}:{ACCOUNT}:key/{stored.kms_key_id}",
            {"kms:ViaService": f"s3.{region}.amazonaws.com"},
        )


def _writing(environ: dict[str, Any], query: Mapping[str, Any], of_object: str, region: str) -> Iterator[Right]:
    """The rights to put an object, or a part of one. A copy takes the source's tags along, unless it replaces them.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    yield Right("s3:PutObject", of_object)
    tagged = "HTTP_X_AMZ_TAGGING" in environ
    source = environ.get("HTTP_X_AMZ_COPY_SOURCE")
    if source:
        path, _, version = source.partition("?versionId=")
        bucket, key = unquote(path).removeprefix("/").split("/", 1)
        yield from _reading(bucket, key, version or None, region)
        stored = _stored(bucket, key, version or None)
        whole = "partNumber" not in query
        if stored and whole and environ.get("HTTP_X_AMZ_TAGGING_DIRECTIVE", "COPY") == "COPY" and _tags(stored):
            yield Right(f"s3:GetObject{'Version' if version else ''}Tagging", f"arn:aws:s3:::{bucket}/{key}")
            tagged = True
    if tagged:
        yield Right("s3:PutObjectTagging", of_object)


def _stored(bucket: str, key: str, version: str | None) -> Any:
    backend = s3_backends[ACCOUNT][_PARTITION]
    return backend.get_object(bucket, key, version_id=version) if bucket in backend.buckets else None


def _tags(stored: Any) -> dict[str, str]:
    tags: dict[str, str] = s3_backends[ACCOUNT][_PARTITION].tagger.get_tag_dict_for_resource(stored.arn)
    return tags


def _deleted_keys(body: bytes) -> list[str]:
    return [found.text or "" for found in ElementTree.fromstring(body).iterfind("{*}Object/{*}Key")]  # noqa: S314


# Batch


def _batch_rights(environ: dict[str, Any], region: str) -> Iterator[Right]:
    """The rights that a request to Batch needs.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html
    """
    request = environ["PATH_INFO"].rpartition("/")[2]
    body = json.loads(_body(environ) or b"{}")

    def arn(kind: str, name: str) -> str:
        return name if name.startswith("arn:") else f"arn:aws:batch:{region}:{ACCOUNT}:{kind}/{name}"

    if request == "submitjob":
        yield Right("batch:SubmitJob", arn("job-queue", body["jobQueue"]))
        yield Right("batch:SubmitJob", arn("job-definition", body["jobDefinition"]))
    elif request == "terminatejob":
        yield Right("batch:TerminateJob", arn("job", body["jobId"]))
    else:
        yield Right(f"batch:{request}", "*")  # actions have no case


# SQS and EventBridge


def _sqs_rights(environ: dict[str, Any], region: str) -> Iterator[Right]:
    """The right that a request to SQS needs. A request for several messages needs the right to one.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
    """
    request = environ["HTTP_X_AMZ_TARGET"].rpartition(".")[2].removesuffix("Batch")
    queue = json.loads(_body(environ) or b"{}").get("QueueUrl", "*").rpartition("/")[2]
    yield Right(f"sqs:{request}", f"arn:aws:sqs:{region}:{ACCOUNT}:{queue}")


def _event_rights(environ: dict[str, Any], region: str) -> Iterator[Right]:
    """The rights that a request to EventBridge needs.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-conditions.html
    """
    request = environ["HTTP_X_AMZ_TARGET"].rpartition(".")[2]
    for entry in json.loads(_body(environ) or b"{}").get("Entries", ({},)):
        bus = entry.get("EventBusName", "default")
        context = {"events:source": entry.get("Source", "")}
        yield Right(f"events:{request}", f"arn:aws:events:{region}:{ACCOUNT}:event-bus/{bus}", context)


_RIGHTS = {"s3": _s3_rights, "batch": _batch_rights, "sqs": _sqs_rights, "events": _event_rights}


def _body(environ: dict[str, Any]) -> bytes:
    """The request's body, which stays readable for moto."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _denied(environ: dict[str, Any], start_response: Any, service: str, message: str) -> list[bytes]:
    _body(environ)  # a client that still sends its body would see a broken connection
    status = f"{HTTPStatus.FORBIDDEN.value} {HTTPStatus.FORBIDDEN.phrase}"
    if service != "s3":
        headers = [("Content-Type", "application/json"), ("x-amzn-errortype", "AccessDeniedException")]
        start_response(status, headers)
        return [json.dumps({"__type": "AccessDeniedException", "message": message}).encode()]
    start_response(status, [("Content-Type", "application/xml")])
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    return [f"<Error><Code>AccessDenied</Code><Message>{escape(message)}</Message></Error>".encode()]
