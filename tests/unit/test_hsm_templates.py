"""The templates as tokens get them, and what is remembered of a probe. No token is needed."""

import gc

import pytest

from hsmkms.core.ciphertext import Suite
from hsmkms.hsm import templates
from hsmkms.hsm.capabilities import PURPOSES, Capabilities
from hsmkms.hsm.constants import CKA, CKO
from hsmkms.hsm.cryptoki import Buffer
from hsmkms.hsm.templates import USAGES, Room, Template, render

EVERYTHING = Capabilities(
    suite_1=True, allowed_mechanisms=True, copyable=True, modifiable=True, derive_template=True, unnamed_usages_off=True
)
OBJECTS = {
    name: value
    for name, value in vars(templates).items()
    if name.startswith(("BACKING_KEY_SUITE", "WRAPPING_KEY_", "PAYLOAD", "DATA_KEY_"))
}
PAIRS = {
    name: value
    for name, value in vars(templates).items()
    if name.startswith(("PAIR_", "DATA_PAIR_", "IMPORT_")) and name.endswith(("_PUBLIC", "_PRIVATE"))
}
CLASS_USAGES = {
    CKO.PRIVATE_KEY: {CKA.DECRYPT, CKA.SIGN, CKA.SIGN_RECOVER, CKA.UNWRAP, CKA.DERIVE},
    CKO.PUBLIC_KEY: {CKA.ENCRYPT, CKA.VERIFY, CKA.VERIFY_RECOVER, CKA.WRAP, CKA.DERIVE},
}


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("found", [EVERYTHING, Capabilities(), Capabilities(modifiable=True)])
def test_modifiable_is_last_and_refused_attributes_are_left_out(name, found):
    kinds = [kind for kind, _ in render(OBJECTS[name], found).attributes]
    assert len(kinds) == len(set(kinds))
    assert (CKA.MODIFIABLE in kinds) == found.modifiable
    assert not found.modifiable or kinds[-1] is CKA.MODIFIABLE
    assert (CKA.COPYABLE in kinds) == found.copyable
    if not found.allowed_mechanisms:
        assert CKA.ALLOWED_MECHANISMS not in kinds


@pytest.mark.parametrize("name", OBJECTS)
def test_each_object_is_private_and_has_at_most_one_usage(name):
    attributes = dict(OBJECTS[name])
    assert attributes[CKA.PRIVATE] is True
    assert attributes[CKA.TOKEN] is name.startswith("BACKING_KEY")
    assert attributes[CKA.SENSITIVE] is (name != "PAYLOAD_READABLE")
    assert len([usage for usage in USAGES if attributes.get(usage)]) == (0 if name.startswith("PAYLOAD") else 1)


@pytest.mark.parametrize("name", OBJECTS)
def test_a_token_that_allows_by_default_is_told_what_is_off(name):
    """SoftHSM's default is on, for every usage but derivation."""
    rendered = dict(render(OBJECTS[name], Capabilities()).attributes)
    assert {usage: rendered[usage] for usage in USAGES} == {
        usage: bool(dict(OBJECTS[name]).get(usage)) for usage in USAGES
    }


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("found", [EVERYTHING, Capabilities(), Capabilities(modifiable=True)])
def test_a_key_of_a_pair_names_each_usage_of_its_class_and_no_other(name, found):
    """Tokens differ in what they allow by default: NSS lets EC keys derive, SoftHSM lets each key do everything."""
    attributes = dict(render(PAIRS[name], found, allowed=(1, 2)).attributes)
    class_ = attributes[CKA.CLASS]
    every = set.union(*CLASS_USAGES.values()) | set(USAGES)
    assert every & attributes.keys() == CLASS_USAGES[class_]
    assert attributes[CKA.PRIVATE] is True
    assert attributes[CKA.TOKEN] is name.startswith("PAIR_")
    assert attributes.get(CKA.ALLOWED_MECHANISMS, (1, 2)) == (1, 2)
    assert not found.modifiable or list(attributes)[-1] is CKA.MODIFIABLE
    if class_ is CKO.PRIVATE_KEY:
        assert attributes[CKA.SENSITIVE] is True
        assert attributes[CKA.EXTRACTABLE] is (name == "DATA_PAIR_PRIVATE")


def test_extra_attributes_come_before_modifiable_and_replace():
    rendered = render(
        templates.BACKING_KEY_SUITE_1, EVERYTHING, extra=((CKA.ID, b"i"), (CKA.TOKEN, False)), without=(CKA.VALUE_LEN,)
    )
    kinds = [kind for kind, _ in rendered.attributes]
    assert kinds[2:4] == [CKA.ID, CKA.TOKEN]
    assert dict(rendered.attributes)[CKA.TOKEN] is False
    assert CKA.VALUE_LEN not in kinds


def test_a_pointer_keeps_what_it_points_to():
    pointer = Template(((CKA.VALUE, b"value"),)).pointer
    gc.collect()
    entry = templates.CkAttribute.from_address(pointer.value)
    assert (entry.type, entry.ulValueLen) == (CKA.VALUE, 5)


def test_room_is_never_overrun():
    template = Template(((CKA.VALUE, Room(4)),))
    template.put(CKA.VALUE, b"1234")
    assert template.get(CKA.VALUE) == b"1234"
    template.wipe(CKA.VALUE)
    assert template.get(CKA.VALUE) == b""
    with pytest.raises(ValueError, match="room for 4"):
        template.put(CKA.VALUE, b"12345")
    with pytest.raises(ValueError, match="too long"):
        Buffer(4).put(b"12345")


def test_findings_survive_the_way_through_the_front():
    assert Capabilities.from_dict(EVERYTHING.to_dict() | {"of_a_later_version": True}) == EVERYTHING
    assert PURPOSES.keys() == EVERYTHING.to_dict().keys()
    assert EVERYTHING.has_suite(Suite.AES_CBC_ENCRYPT_DATA)
    assert not EVERYTHING.has_suite(Suite.SP800_108_CMAC_COUNTER)
