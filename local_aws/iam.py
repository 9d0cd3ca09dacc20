"""Decides like IAM whether a request is allowed. Supports the parts of the policy language that the stack uses.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _like(pattern: str, value: str) -> bool:
    """IAM's wildcards: `*` for any text, `?` for one character."""
    return bool(re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value, re.DOTALL))


def _condition_holds(operator: str, pattern: str, value: str | None) -> bool:
    if value is None:
        return False
    if operator in ("ArnLike", "StringLike"):
        return _like(pattern, value)
    if operator == "NumericLessThan":
        return float(value) < float(pattern)
    if operator in ("StringEquals", "Bool"):
        return value == pattern
    raise NotImplementedError(f"The stack uses a new operator, {operator}. Add it to local_aws/iam.py.")


def applies(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether a statement applies to this request."""
    unknown = set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}
    if unknown:
        raise NotImplementedError(f"The stack uses {unknown} in a policy. Add it to local_aws/iam.py.")
    return (
        any(_like(str(pattern).lower(), action.lower()) for pattern in _as_list(statement["Action"]))
        and any(_like(str(pattern), resource) for pattern in _as_list(statement["Resource"]))
        and all(
            any(_condition_holds(operator, str(pattern), context.get(key)) for pattern in _as_list(patterns))
            for operator, keys in statement.get("Condition", {}).items()
            for key, patterns in keys.items()
        )
    )


def allowed(
    statements: Iterable[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, str] | None = None
) -> bool:
    """Whether a request is allowed: a statement allows it and no statement denies it."""
    effects = {s["Effect"] for s in statements if applies(s, action, resource, context or {})}
    return effects == {"Allow"}
