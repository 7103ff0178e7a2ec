"""JSON values that a schema of OpenAPI describes: seeded, and odd ones among them."""

_NUMBERS = [0, -0.0, 1, 0.1, -1e-300, 1e38, 1e39, 1e308, 2**63, -(2**64), 123456789.123]
_TEXTS = ["", "a", "\0", "é\u2028", "\U0001f600", '"\\', "b64", "NaN", 300 * "x"]
_ANYTHING = [None, True, 0, -1.5, "", [], {}, [[1], "a"], {"a": {"b64": "YQ=="}}]


def any_of(random, schema):
    """Returns one of the values that a schema describes."""
    if "anyOf" in schema:
        return any_of(random, random.choice(schema["anyOf"]))
    if "enum" in schema:
        return random.choice(schema["enum"])
    if schema.get("type") not in _MAKERS:
        return random.choice(_ANYTHING)
    return _MAKERS[schema["type"]](random, schema)


def _list(random, schema):
    least = schema.get("minItems", 0)
    length = random.randint(
        least, schema.get("maxItems", least + random.choice([1, 4]))
    )
    items = schema["items"]
    if length and random.random() < 0.7:  # of one shape, mostly
        return [any_of(random, items)] * length
    return [any_of(random, items) for _ in range(length)]


def _object(random, schema):
    properties = schema.get("properties", {})
    names = set(schema.get("required", ()))
    names |= {name for name in properties if random.random() < 0.5}
    found = {name: any_of(random, properties[name]) for name in sorted(names)}
    if schema.get("additionalProperties", True) and random.random() < 0.2:
        found.setdefault(random.choice(_TEXTS), random.choice(_ANYTHING))
    return found


def _integer(random, schema):
    least = schema.get("minimum", -(2**63))
    most = schema.get("maximum", 2**63 - 1)
    return random.choice([least, most, random.randint(least, most)])


def _text(random, schema):
    return random.choice(["", "YQ=="] if schema.get("format") == "byte" else _TEXTS)


_MAKERS = {
    "array": _list,
    "object": _object,
    "integer": _integer,
    "number": lambda random, schema: random.choice(_NUMBERS),
    "boolean": lambda random, schema: random.random() < 0.5,
    "string": _text,
}
