"""TagResource, UntagResource, ListResourceTags, and what a tag may be."""

from __future__ import annotations

from typing import Final

from hsmkms.core.errors import TagException
from hsmkms.core.messages import (
    Empty,
    ListResourceTagsRequest,
    ListResourceTagsResponse,
    TagListEntry,
    TagMember,
    TagResourceRequest,
    UntagResourceRequest,
)
from hsmkms.core.model import Tag
from hsmkms.core.operations.environment import Environment, mutation
from hsmkms.core.operations.identify import resolve_key_only
from hsmkms.core.operations.judge import Side, authorise
from hsmkms.core.operations.pages import page
from hsmkms.core.ports import Call

_DEFAULT_PAGE: Final = 50
_RESERVED_PREFIX: Final = "aws:"
_PUNCTUATION: Final = frozenset(" _.:/=+-@")


def checked_tags(requested: tuple[TagMember, ...]) -> tuple[Tag, ...]:
    """Return the tags that a request gives, in the order of their keys.

    Raises:
        TagException: a key is reserved or given twice, or a character is not allowed.
    """
    tags: dict[str, Tag] = {}
    for tag in requested:
        assert tag.tag_key is not None
        assert tag.tag_value is not None
        _refuse_reserved(tag.tag_key)
        if tag.tag_key in tags:
            raise TagException(f"The tag key '{tag.tag_key}' is given twice.")
        if not all(c.isalnum() or c in _PUNCTUATION for c in tag.tag_key + tag.tag_value):
            raise TagException("Tag keys and values hold letters, digits, spaces and _ . : / = + - @ only.")
        tags[tag.tag_key] = Tag(tag.tag_key, tag.tag_value)
    return tuple(tags[name] for name in sorted(tags))


def _refuse_reserved(tag_key: str) -> None:
    if tag_key.lower().startswith(_RESERVED_PREFIX):
        raise TagException(f"Tag keys that begin with {_RESERVED_PREFIX} are reserved: '{tag_key}'")


async def tag_resource(environment: Environment, call: Call, request: TagResourceRequest) -> Empty:
    """Add tags to a key, or give those that it has new values.

    Raises:
        TagException: a tag is not valid.
        LimitExceededException: the key would have more than 50.
        KMSInvalidStateException: the key is pending deletion.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    tags = checked_tags(request.tags)
    target = resolve_key_only(environment, call, request.key_id, "kms:TagResource")
    conditions: dict[str, str | tuple[str, ...]] = {f"aws:RequestTag/{tag.tag_key}": tag.tag_value for tag in tags}
    conditions["aws:TagKeys"] = tuple(tag.tag_key for tag in tags)
    authorise(environment, call, "kms:TagResource", target, Side(conditions=conditions))
    await environment.changes.tag(mutation(call, "TagResource", request), target.key, tags)
    return Empty()


async def untag_resource(environment: Environment, call: Call, request: UntagResourceRequest) -> Empty:
    """Take tags from a key. Those that it does not have are no error.

    Raises:
        TagException: a tag key is reserved.
        KMSInvalidStateException: the key is pending deletion.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    for tag_key in request.tag_keys:
        _refuse_reserved(tag_key)
    target = resolve_key_only(environment, call, request.key_id, "kms:UntagResource")
    authorise(environment, call, "kms:UntagResource", target, Side(conditions={"aws:TagKeys": request.tag_keys}))
    await environment.changes.untag(mutation(call, "UntagResource", request), target.key, request.tag_keys)
    return Empty()


async def list_resource_tags(
    environment: Environment, call: Call, request: ListResourceTagsRequest
) -> ListResourceTagsResponse:
    """List a key's tags, whatever its state, a page at a time, in the order of their keys.

    Raises:
        InvalidMarkerException: the marker is not one of this list.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:ListResourceTags")
    authorise(environment, call, "kms:ListResourceTags", target)
    tags, marker = page(
        environment,
        call,
        f"ListResourceTags {target.key.key_id}",
        request.marker,
        request.limit or _DEFAULT_PAGE,
        lambda after, limit: [tag for tag in target.key.tags if tag.tag_key > after][:limit],
        lambda tag: tag.tag_key,
    )
    entries = tuple(TagListEntry(tag.tag_key, tag.tag_value) for tag in tags)
    return ListResourceTagsResponse(entries, marker, marker is not None)
