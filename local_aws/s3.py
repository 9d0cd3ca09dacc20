"""S3 on moto 5.2.5: keys, conditions and bucket policies as S3 takes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import unquote

from moto.iam.access_control import PermissionResult
from moto.moto_server.utilities import RegexConverter
from moto.s3 import models as s3
from moto.s3.exceptions import PreconditionFailed
from moto.s3.responses import S3Response

# What a request's conditions are judged by: the local endpoint stands for S3's, which speaks TLS.
_REQUEST_CONTEXT = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}

_moto_get_permission = s3.FakeBucket.get_permission
_moto_put_object = S3Response.put_object
_moto_copy_object = S3Response.copy_object
_moto_delete_object = S3Response.delete_object
_moto_init_converter = RegexConverter.__init__

_writing = threading.Lock()


def _get_permission(self: Any, action: str, resource: str) -> Any:
    """A statement of a bucket policy whose condition does not hold says nothing; moto lets it deny.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html
    """
    if self.policy is None:
        return PermissionResult.NEUTRAL
    policy = json.loads(self.policy)
    held = [
        {key: value for key, value in statement.items() if key != "Condition"}
        for statement in policy["Statement"]
        if all(
            _REQUEST_CONTEXT.get(key) == str(value).lower()
            for operator in statement.get("Condition", {}).values()
            for key, value in operator.items()
        )
    ]
    whole, self.policy = self.policy, json.dumps({**policy, "Statement": held}).encode()
    try:
        return _moto_get_permission(self, action, resource)
    finally:
        self.policy = whole


def _init_converter(self: Any, url_map: Any, *items: Any) -> None:
    """A key may hold any character, line feeds too; moto's routes know no such path.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
    """
    _moto_init_converter(self, url_map, *items)
    self.regex = f"(?s:{self.regex})"


def _copy_object(self: Any) -> Any:
    """A copy may be asked for just one version of its source; moto copies whatever is there.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html (x-amz-copy-source-if-match)
    """
    wanted = self.headers.get("x-amz-copy-source-if-match")
    if wanted is not None:
        bucket, key = unquote(self.headers["x-amz-copy-source"]).lstrip("/").split("?versionId=")[0].split("/", 1)
        source = self.backend.get_object(bucket, key)
        if source is not None and source.etag.strip('"') != wanted.strip('"'):
            raise PreconditionFailed(failed_condition="x-amz-copy-source-If-Match")
    return _moto_copy_object(self)


def _one_at_a_time(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A write and its condition (`If-Match`, `If-None-Match`) are one step; moto lets others come between them.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
    """

    @wraps(write)
    def locked(self: Any) -> Any:
        with _writing:
            return write(self)

    return locked


def install() -> None:
    """Put these in the place of moto's; before its server is started, since its routes are made then."""
    s3.FakeBucket.get_permission = _get_permission
    S3Response.put_object = _one_at_a_time(_moto_put_object)
    S3Response.copy_object = _one_at_a_time(_copy_object)
    S3Response.delete_object = _one_at_a_time(_moto_delete_object)
    RegexConverter.__init__ = _init_converter
