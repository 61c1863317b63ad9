"""Compares two descriptor sets: check_breaking.py RELEASED NOW, or --self-test RELEASED.

A change is breaking if it makes an old message unreadable: a field or enum value that was removed without
reserving its number, or whose number, name, type, label, packing or oneof changed; a message that was removed.
Additions are fine. Names count too, for the JSON form and for the code of clients.
"""

import sys

from google.protobuf import descriptor_pb2


def load(path):
    with open(path, "rb") as file:
        return descriptor_pb2.FileDescriptorSet.FromString(file.read())


def messages(files):
    def walk(prefix, message):
        name = f"{prefix}.{message.name}"
        yield name, message
        for nested in message.nested_type:
            yield from walk(name, nested)

    return {name: m for file in files.file for top in file.message_type for name, m in walk(file.package, top)}


def enums(files):
    found = {f"{file.package}.{enum.name}": enum for file in files.file for enum in file.enum_type}
    for name, message in messages(files).items():
        found.update({f"{name}.{enum.name}": enum for enum in message.enum_type})
    return found


def shape(message, field):
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    packed = field.options.packed if field.options.HasField("packed") else None
    return {
        "name": field.name,
        "type": field.type,
        "type name": field.type_name,
        "label": field.label,
        "oneof": oneof,
        "packed": packed,
    }


def is_reserved(ranges, number, end_is_inclusive):
    return any(r.start <= number < r.end + end_is_inclusive for r in ranges)


def problems(old, new):
    new_messages, new_enums = messages(new), enums(new)
    for name, message in messages(old).items():
        if name not in new_messages:
            yield f"message {name}: vanished"
            continue
        now = {field.number: field for field in new_messages[name].field}
        for field in message.field:
            where = f"{name}.{field.name} = {field.number}"
            if field.number not in now:
                if not is_reserved(new_messages[name].reserved_range, field.number, 0):
                    yield f"{where}: vanished, and its number is not reserved"
                continue
            before = shape(message, field)
            after = shape(new_messages[name], now[field.number])
            for key in before:
                if before[key] != after[key]:
                    yield f"{where}: {key}: expected {before[key]!r}, found {after[key]!r}"
    for name, enum in enums(old).items():
        if name not in new_enums:
            yield f"enum {name}: vanished"
            continue
        now = {value.number: value.name for value in new_enums[name].value}
        for value in enum.value:
            if value.number not in now:
                if not is_reserved(new_enums[name].reserved_range, value.number, 1):
                    yield f"{name}.{value.name} = {value.number}: vanished, and its number is not reserved"
            elif now[value.number] != value.name:
                yield f"{name} = {value.number}: expected {value.name}, found {now[value.number]}"


def self_test(path):
    """Breaks the schema in every way that the check knows, one at a time, and expects each to be found."""

    def find(files, name):
        return messages(files)[f"needletail.v1.{name}"]

    def first(files, name):
        return find(files, name).field[0]

    breaks = {
        "field renamed": lambda f: setattr(first(f, "Request"), "name", "identity"),
        "field renumbered": lambda f: setattr(first(f, "Request"), "number", 77),
        "type changed": lambda f: setattr(first(f, "Request"), "type", 13),
        "label changed": lambda f: setattr(first(f, "Tensor"), "label", 3),
        "field removed": lambda f: find(f, "Tensor").field.pop(0),
        "oneof left": lambda f: find(f, "Request").field[2].ClearField("oneof_index"),
        "message removed": lambda f: f.file[0].message_type.pop(0),
        "enum value removed": lambda f: f.file[0].enum_type[0].value.pop(1),
        "enum value renamed": lambda f: setattr(f.file[0].enum_type[0].value[1], "name", "WRONG"),
    }
    old = load(path)
    assert not list(problems(old, old)), "the schema breaks itself"
    for name, change in breaks.items():
        new = load(path)
        change(new)
        assert list(problems(old, new)), f"not found: {name}"
    print(f"{len(breaks)} breaking changes found")


def main():
    if sys.argv[1] == "--self-test":
        return self_test(sys.argv[2])
    found = list(problems(load(sys.argv[1]), load(sys.argv[2])))
    for problem in found:
        print(problem, file=sys.stderr)
    sys.exit(1 if found else 0)


main()
