"""Makes wrong requests of right ones: seeded, so that a failure comes again."""

import json

from google.protobuf.descriptor import FieldDescriptor

_NUMBERS = [0, 1, -1, 7, 127, 255, 2**31 - 1, -(2**31), 2**32, 2**62, -(2**63)]
_TEXTS = ["", "x", "\0", "é" * 300, "../../etc/passwd", "%2e%2e/", "{}", "a\nb"]
_VALUES = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    2**63,
    2**64,
    10**400,
    float("nan"),
    float("inf"),
    *_TEXTS,
    "\ud800",
    [],
    {},
    [[]],
    [[], [[]]],
    [1, [2]],
    {"b64": "*"},
    {"b64": "YQ=="},
    {"b64": 1},
    {"b64": "YQ==", "x": 1},
    {"": {}},
]
_DEPTHS = [30, 70, 200, 900, 5000]


def message(random, kind, request):
    """Returns the bytes of a message with a few things in it changed."""
    changed = kind.FromString(request.SerializeToString())
    for _ in range(random.randint(0, 3)):
        _change_field(random, changed)
    data = changed.SerializeToString()
    return octets(random, data) if random.random() < 0.3 else data


def octets(random, data):
    """Returns bytes with some of them flipped, dropped, doubled or new."""
    data = bytearray(data)
    for _ in range(random.randint(1, 4)):
        start = random.randint(0, len(data))
        end = min(len(data), start + random.choice([1, 1, 4, 50]))
        data[start:end] = random.choice(
            [
                b"",
                random.randbytes(random.randint(1, 9)),
                2 * data[start:end],
                b"\xff" * random.randint(1, 10),
                bytes([byte ^ 1 << random.randrange(8) for byte in data[start:end]]),
            ]
        )
    return bytes(data)


def document(random, request):
    """Returns the bytes of a JSON document with a few things in it changed."""
    changed = json.loads(json.dumps(request))
    for _ in range(random.randint(0, 3)):
        changed = _change_value(random, changed)
    # Deep beyond what `json.dumps` writes.
    text = json.dumps(changed).replace(
        '"DEEP"', _nested(random, random.choice(_DEPTHS)), 1
    )
    data = text.encode("utf-8", "surrogatepass")
    return octets(random, data) if random.random() < 0.3 else data


def _nested(random, depth):
    start, end = random.choice([("[", "]"), ('{"a":', "}")])
    return start * depth + "1" + end * random.choice([depth, depth, 0])


def _change_value(random, value):
    if isinstance(value, dict) and value and random.random() < 0.8:
        key = random.choice(list(value))
        changed = _change_value(random, value[key])
        return {**value, random.choice([key, key, key, "x", ""]): changed}
    if isinstance(value, list) and value and random.random() < 0.8:
        index = random.randrange(len(value))
        item = [_change_value(random, value[index])]
        return value[:index] + random.choice([item, 2 * item, []]) + value[index + 1 :]
    return random.choice([*_VALUES, "DEEP", "DEEP"])


def _change_field(random, part):
    if not part.DESCRIPTOR.fields:
        return
    field = random.choice(part.DESCRIPTOR.fields)
    name = field.name
    if random.random() < 0.1:
        part.ClearField(name)
    elif field.message_type and field.message_type.GetOptions().map_entry:
        values = getattr(part, name)
        key = random.choice([*values, "x"]) if values else "x"
        if field.message_type.fields_by_name["value"].message_type:
            _change_field(random, values[key])
    elif field.is_repeated:
        values = getattr(part, name)
        if field.message_type:
            _change_field(random, random.choice([*values, values.add()]))
        else:
            count = random.choice([0, 1, 3, 1000])
            values.extend(_scalar(random, field) for _ in range(count))
    elif field.message_type:
        inner = getattr(part, name)
        inner.SetInParent()
        _change_field(random, inner)
    else:
        setattr(part, name, _scalar(random, field))


def _scalar(random, field):
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return random.randbytes(random.choice([0, 1, 4, 999]))
        return random.choice(_TEXTS)
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return random.choice([0.0, -1.5, 1e38, float("nan"), float("inf")])
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return random.random() < 0.5
    bits = {
        FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63),
        FieldDescriptor.CPPTYPE_UINT64: (0, 2**64),
        FieldDescriptor.CPPTYPE_UINT32: (0, 2**32),
    }
    least, end = bits.get(kind, (-(2**31), 2**31))
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return random.randint(0, 30)
    return random.choice([n for n in _NUMBERS if least <= n < end])
