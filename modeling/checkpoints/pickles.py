"""Pickle inspection that builds nothing, with bounds and a list of calls.

Reading with `weights_only` keeps a pickle from running code. It does not bound memory or time: a small file can request
terabytes, create millions of containers, or use a tuple with 2^40 leaves as a key, whose hash takes forever. PyTorch's
files use a small part of the pickle format (protocol 2); the walk knows that part and refuses everything else.
"""

import re
import struct
from collections.abc import Callable
from mmap import mmap

MAX_STEPS = 300_000  # opcodes; training checkpoints of the networks here have up to 100,000
MAX_CONTAINERS = 150_000  # lists, tuples, dicts and tensors
MAX_COPIED = 64_000_000  # bytes of strings that are converted
MAX_ITEMS = 10_000_000  # of the result, where what is repeated counts each time

_CALLED = frozenset(
    f"{module}.{name}"
    for module, names in {
        "collections": ("OrderedDict", "Counter"),
        "builtins": ("set",),
        "_codecs": ("encode",),
        "torch": ("Size", "device"),
        "torch.serialization": ("_get_layout",),
        "torch._utils": (
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_sparse_tensor",
            "_rebuild_meta_tensor_no_storage",
        ),
    }.items()
    for name in names
)
_NAMED = re.compile(r"torch\.((cuda\.|storage\.)?\w*Storage|bool|half|double|[a-z]*(int|float|complex)\d\w*)")
_SCALAR = object()  # stands for floats, bools, None and bytes
_NUMBER_AT = 4  # of a storage's identity: kind, type, key, place, number of elements


class Refused(ValueError):
    """Pickle that asks for more than plain data; the message says what."""


class _Name(str):
    """Name of a class or function."""


class _Node:
    """Container or tensor with its parts, keys left out."""

    __slots__ = ("kind", "parts")

    def __init__(self, kind: str, parts: list) -> None:
        self.kind, self.parts = kind, parts


class Walk:
    """One walk over pickles that follow each other.

    Args:
        content: the file, or the part of it that is the pickle.
        file_bytes: size of the file; no tensor in it can have more elements.
    """

    def __init__(self, content: bytes | mmap, file_bytes: int) -> None:
        self.content, self.file_bytes = content, file_bytes
        self.position = self.steps = self.containers = self.copied = 0

    def pickle(self) -> None:
        """Walk through the next pickle.

        Raises:
            Refused: it asks for something else than plain data, or for too much.
            IndexError, KeyError, TypeError, UnicodeDecodeError, struct.error: it is damaged.
        """
        self.stack: list = []
        self.below: list[list] = []  # stacks under the marks
        self.memo: dict[int, object] = {}
        while (opcode := self.take(1)) != b".":
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise Refused(f"more than {MAX_STEPS} steps")
            if opcode not in _STEPS:
                raise Refused(f"opcode {opcode[0]}")
            _STEPS[opcode](self)
        _check_items(self.stack.pop())

    def take(self, count: int) -> bytes:
        taken = self.content[self.position : self.position + count]
        if len(taken) < count:
            raise IndexError("the pickle is cut off")
        self.position += count
        return taken

    def number(self, layout: str) -> int:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> str:
        end = self.content.find(b"\n", self.position, self.position + 1000)
        if end < 0:
            raise Refused("a name without end")
        text = self.content[self.position : end].decode("utf-8")
        self.position = end + 1
        return text

    def pop_to_mark(self) -> list:
        items, self.stack = self.stack, self.below.pop()
        return items

    def push(self, value: object) -> None:
        self.stack.append(value)

    def make(self, kind: str, parts: list) -> None:
        self.containers += 1
        if self.containers > MAX_CONTAINERS:
            raise Refused(f"more than {MAX_CONTAINERS} containers")
        self.stack.append(_Node(kind, parts))


def _check_items(root: object) -> None:
    """Bound the items of the result, repetitions included; visits nodes once."""
    if not isinstance(root, _Node):
        return
    counts: dict[int, int] = {}
    path: list[tuple[_Node, bool]] = [(root, False)]
    while path:
        node, done = path.pop()
        if done:
            children = [part for part in node.parts if isinstance(part, _Node)]
            counts[id(node)] = len(node.parts) + 1 + sum(counts[id(child)] for child in children)
            if counts[id(node)] > MAX_ITEMS:
                raise Refused("containers that hold each other many times")
        elif counts.get(id(node)) == 0:
            raise Refused("a container that holds itself")
        elif id(node) not in counts:
            counts[id(node)] = 0
            path.append((node, True))
            path += [(part, False) for part in node.parts if isinstance(part, _Node) and not counts.get(id(part))]


def _global(walk: Walk) -> None:
    module, name = walk.line(), walk.line()
    full = f"{module.replace('__builtin__', 'builtins')}.{name}"
    if full not in _CALLED and not _NAMED.fullmatch(full):
        raise Refused(full.removeprefix("builtins."))
    walk.push(_Name(full))


def _reduce(walk: Walk) -> None:
    """Allowed calls: empty OrderedDict, tensor constructors, and a few small types."""
    arguments, function = walk.stack.pop(), walk.stack.pop()
    if function not in _CALLED or not isinstance(function, _Name) or not _is(arguments, "tuple"):
        raise Refused("a call of what is no function")
    kind = "object"
    if function == "collections.OrderedDict":
        kind = "dict"
        if arguments.parts:
            raise Refused("an OrderedDict with arguments")
    elif function == "collections.Counter":
        kind = "dict"
        if not all(_is(part, "dict") for part in arguments.parts):
            raise Refused("a Counter of something else than a dict")
    elif function == "builtins.set":
        if not all(_is(part, "list") and not _nodes(part.parts) for part in arguments.parts):
            raise Refused("a set of containers")
    elif function == "_codecs.encode":
        walk.copied += sum(len(part) for part in arguments.parts if isinstance(part, str))
        if walk.copied > MAX_COPIED:
            raise Refused("long strings, many times")
    walk.make(kind, arguments.parts if function != "_codecs.encode" else [])


def _build(walk: Walk) -> None:
    state = walk.stack.pop()
    if not (_is(walk.stack[-1], "dict") and _is(state, "dict")):
        raise Refused("attributes of what has none")
    walk.stack[-1].parts.append(state)


def _storage(walk: Walk) -> None:
    identity = walk.stack.pop()
    if not _is(identity, "tuple") or len(identity.parts) <= _NUMBER_AT:
        raise Refused("a tensor without data")
    count = identity.parts[_NUMBER_AT]
    if type(count) is not int or not 0 <= count <= walk.file_bytes:
        raise Refused("a tensor that is larger than the file")
    walk.make("storage", [])


def _append(walk: Walk, items: list) -> None:
    if not _is(walk.stack[-1], "list"):
        raise Refused("something appended to what is no list")
    walk.stack[-1].parts.extend(items)


def _set_items(walk: Walk, items: list) -> None:
    target = walk.stack[-1]
    if not _is(target, "dict") or len(items) % 2:
        raise Refused("items of what is no dict")
    if _nodes(items[::2]):
        raise Refused("a container as a key")
    target.parts.extend(items[1::2])


def _set_item(walk: Walk) -> None:
    value, key = walk.stack.pop(), walk.stack.pop()
    _set_items(walk, [key, value])


def _mark(walk: Walk) -> None:
    walk.below.append(walk.stack)
    walk.stack = []


def _tuple(walk: Walk, count: int) -> None:
    items = walk.stack[-count:]
    if len(items) < count:
        raise IndexError("the stack is empty")
    del walk.stack[-count:]
    walk.make("tuple", items)


def _put(walk: Walk, index: int) -> None:
    walk.memo[index] = walk.stack[-1]


def _text(walk: Walk) -> None:
    walk.push(str(walk.take(walk.number("<I")), "utf-8", "surrogatepass"))


def _long(walk: Walk) -> None:
    walk.push(int.from_bytes(walk.take(walk.number("B")), "little", signed=True))


def _skip(layout: str) -> Callable[[Walk], None]:
    def skip(walk: Walk) -> None:
        walk.take(walk.number(layout))
        walk.push(_SCALAR)

    return skip


def _is(value: object, kind: str) -> bool:
    return isinstance(value, _Node) and value.kind == kind


def _nodes(values: list) -> bool:
    return any(isinstance(value, _Node) for value in values)


_STEPS: dict[bytes, Callable[[Walk], None]] = {
    b"\x80": lambda walk: walk.take(1) and None,  # protocol
    b"c": _global,
    b"R": _reduce,
    b"b": _build,
    b"Q": _storage,
    b"a": lambda walk: _append(walk, [walk.stack.pop()]),
    b"e": lambda walk: _append(walk, walk.pop_to_mark()),
    b"s": _set_item,
    b"u": lambda walk: _set_items(walk, walk.pop_to_mark()),
    b"(": _mark,
    b"t": lambda walk: walk.make("tuple", walk.pop_to_mark()),
    b"\x85": lambda walk: _tuple(walk, 1),
    b"\x86": lambda walk: _tuple(walk, 2),
    b"\x87": lambda walk: _tuple(walk, 3),
    b")": lambda walk: walk.make("tuple", []),
    b"]": lambda walk: walk.make("list", []),
    b"}": lambda walk: walk.make("dict", []),
    b"\x8f": lambda walk: walk.make("object", []),  # an empty set
    b"N": lambda walk: walk.push(_SCALAR),
    b"\x88": lambda walk: walk.push(_SCALAR),
    b"\x89": lambda walk: walk.push(_SCALAR),
    b"J": lambda walk: walk.push(walk.number("<i")),
    b"K": lambda walk: walk.push(walk.number("B")),
    b"M": lambda walk: walk.push(walk.number("<H")),
    b"\x8a": _long,
    b"G": lambda walk: walk.take(8) and walk.push(_SCALAR),
    b"X": _text,
    b"U": _skip("B"),
    b"h": lambda walk: walk.push(walk.memo[walk.number("B")]),
    b"j": lambda walk: walk.push(walk.memo[walk.number("<I")]),
    b"q": lambda walk: _put(walk, walk.number("B")),
    b"r": lambda walk: _put(walk, walk.number("<I")),
}
