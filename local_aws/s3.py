"""S3 on moto 5.2.5: corrects keys, conditional requests, bucket policies, CORS, and the listing of restored objects."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import unquote

from moto.iam.access_control import PermissionResult
from moto.moto_server import werkzeug_app
from moto.moto_server.utilities import RegexConverter
from moto.s3 import models as s3
from moto.s3.exceptions import PreconditionFailed
from moto.s3.responses import S3Response

# The condition values of each request. The local endpoint has no TLS, but stands for S3's endpoint with TLS.
_REQUEST_CONTEXT = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}

_moto_get_permission = s3.FakeBucket.get_permission
_moto_put_object = S3Response.put_object
_moto_copy_object = S3Response.copy_object
_moto_delete_object = S3Response.delete_object
_moto_list_objects_v2 = S3Response.list_objects_v2
_moto_serialized = S3Response.serialized
_moto_init_converter = RegexConverter.__init__

_writing = threading.Lock()


def _get_permission(self: Any, action: str, resource: str) -> Any:
    """A statement of a bucket policy has no effect if its condition is false. moto ignores conditions.

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
    """A key may contain any character, also line feeds. moto's routes do not match a path with line feeds.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
    """
    _moto_init_converter(self, url_map, *items)
    self.regex = f"(?s:{self.regex})"


def _copy_object(self: Any) -> Any:
    """A copy may have conditions on the ETag of its source and on the absence of its target. moto ignores them.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html (x-amz-copy-source-if-match, If-None-Match)
    """
    if self.headers.get("If-None-Match") == "*" and self.backend.get_object(self.bucket_name, self.parse_key_name()):
        raise PreconditionFailed(failed_condition="If-None-Match")
    wanted = self.headers.get("x-amz-copy-source-if-match")
    if wanted is not None:
        bucket, key = unquote(self.headers["x-amz-copy-source"]).lstrip("/").split("?versionId=")[0].split("/", 1)
        source = self.backend.get_object(bucket, key)
        if source is not None and source.etag.strip('"') != wanted.strip('"'):
            raise PreconditionFailed(failed_condition="x-amz-copy-source-If-Match")
    return _moto_copy_object(self)


def _list_objects_v2(self: Any) -> Any:
    """A listing says on request which archived objects have been restored for a while. moto never does.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html (x-amz-optional-object-attributes)
    """
    if self.headers.get("x-amz-optional-object-attributes") == "RestoreStatus":
        serialized = self.serialized
        self.serialized = lambda answer: serialized(_with_restore_status(answer, self.backend, self.bucket_name))
    return _moto_list_objects_v2(self)


def _with_restore_status(answer: Any, backend: Any, bucket: str) -> Any:
    for item in answer.result["Contents"]:
        stored = backend.get_object(bucket, unquote(item["Key"]))
        state = stored.response_dict.get("x-amz-restore") if stored else None
        if state:
            item["RestoreStatus"] = {"IsRestoreInProgress": 'ongoing-request="true"' in state}
            if stored.expiry_date:
                item["RestoreStatus"]["RestoreExpiryDate"] = stored.expiry_date
    return answer


def _serialized(self: Any, answer: Any) -> Any:
    """An error, too, has the CORS headers of the bucket. Without them a page cannot read its status.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html
    """
    status, headers, body = _moto_serialized(self, answer)
    return status, {**self._get_cors_headers_other(), **headers}, body


def _one_at_a_time(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A write and its condition (`If-Match`, `If-None-Match`) are atomic. In moto, another write can come in between.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
    """

    @wraps(write)
    def locked(self: Any) -> Any:
        with _writing:
            return write(self)

    return locked


def install() -> None:
    """Replace moto's functions with those of this module. Call it before moto's server starts and makes its routes."""
    s3.FakeBucket.get_permission = _get_permission
    S3Response.put_object = _one_at_a_time(_moto_put_object)
    S3Response.copy_object = _one_at_a_time(_copy_object)
    S3Response.delete_object = _one_at_a_time(_moto_delete_object)
    S3Response.list_objects_v2 = _list_objects_v2
    S3Response.serialized = _serialized
    RegexConverter.__init__ = _init_converter
    # Otherwise every bucket accepts requests of every web site, whatever its CORS rules are.
    werkzeug_app.DISABLE_GLOBAL_CORS = True
