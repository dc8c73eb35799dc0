"""Which layers a term reads: what its class declares once, for its constructor, its call and the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

KEYS = ("student_layers", "teacher_layers")
MANY = 10**9  # as many as one likes


@dataclass(frozen=True)
class Layers:
    """Which layers a term reads.

    Attributes:
        student, teacher: the least and the most layers of each network.
        paired: equally many of both, each with its partner.
        maps_itself: whether the term brings features together by layers of its own, and no projector can.
    """

    student: tuple[int, int] = (0, 0)
    teacher: tuple[int, int] = (0, 0)
    paired: bool = False
    maps_itself: bool = False

    def problems(
        self, name: str, mine: Sequence[str] | None, theirs: Sequence[str] | None, *, projector: bool = False
    ) -> Iterator[tuple[str, str]]:
        """What is wrong with the layers that a term was given: the key, and the rule that it breaks.

        Args:
            name: the term's.
            mine, theirs: names of layers of the student and of the teacher; None: none are given.
            projector: whether a projector is to map between them.
        """
        found = list(self._counts(name, mine, theirs))
        if not found and self.paired and len(mine or ()) != len(theirs or ()):
            counts = f"{len(mine or ())} and {len(theirs or ())} are given"
            found = [(KEYS[1], f"must be as many as student_layers, for each has its partner; {counts}")]
        yield from found
        if projector and self.maps_itself and self.student[1]:
            yield "projector", f"is not for {name!r}, which maps features by layers of its own: leave it out"
        elif projector and not self.paired:
            yield "projector", f"is not for {name!r}, which compares no layers: leave it out"

    def _counts(self, name: str, mine: Sequence[str] | None, theirs: Sequence[str] | None) -> Iterator[tuple[str, str]]:
        both = self.student[0] and self.teacher[0]
        for key, names, (least, most) in zip(KEYS, (mine, theirs), (self.student, self.teacher), strict=True):
            count = len(names or ())
            if not most and names is not None:
                whose = f" of the {key.partition('_')[0]}" if self.student[1] else ""
                yield key, f"must be left out: {name!r} reads no layers{whose}"
            elif count > most:
                yield key, f"must name one layer: {name!r} reads no more; {count} are given"
            elif not count and least:
                yield key, f"must be given: {name!r} reads {' and '.join(KEYS) if both else key}"
                if both and not mine:
                    return  # one mistake, told once
            elif count < least:
                yield key, f"must name at least {least} layers: {name!r} compares each with the next; {count} is given"

    def fragment(self) -> dict[str, Any]:
        """The same as draft-07, for editors; that both are equally many it can't state."""
        nothing: dict[str, Any] = {"not": {}}
        counts = dict(zip(KEYS, (self.student, self.teacher), strict=True))
        properties = {
            key: nothing if not most else {"minItems": least, **({"maxItems": most} if most < MANY else {})}
            for key, (least, most) in counts.items()
        }
        if self.maps_itself or not self.paired:
            properties["projector"] = nothing
        beside = {key: [other] for key, other in zip(KEYS, reversed(KEYS), strict=True)} if self.paired else {}
        return {
            "required": [key for key, (least, _) in counts.items() if least],
            "properties": properties,
            "dependencies": beside,
        }


NONE = Layers()
STUDENT = Layers(student=(1, MANY))
ONE_OR_NONE = Layers(student=(0, 1), teacher=(0, 1))
ONE_PAIR_OR_NONE = Layers(student=(0, 1), teacher=(0, 1), paired=True)


def pairs(least: int = 1) -> Layers:
    """Layers of both networks, equally many."""
    return Layers(student=(least, MANY), teacher=(least, MANY), paired=True)


def declared_layers(build: Any) -> Layers | None:
    """What a builder itself declares; None where it declares nothing, as one of a plugin that derives from a term."""
    declared = getattr(build, "__dict__", {}).get("takes_layers")
    return declared if isinstance(declared, Layers) else None


def take_layers(term: Any, *, whole: bool = True) -> None:
    """Make a term's `student_layers` and `teacher_layers` tuples.

    Args:
        term: whose class declares what it reads; one that declares nothing reads pairs.
        whole: False where layers may still be named later.

    Raises:
        ValueError: when they are not what the term reads.
    """
    given: list[tuple[str, ...] | None] = []
    for key in KEYS:
        names = getattr(term, key, None)
        if isinstance(names, str):
            raise ValueError(f"`{key}` must be a list of names. Received: {key}={names!r}")
        if names is not None and hasattr(term, key):
            setattr(term, key, tuple(names))
        given.append(tuple(names) if names else None)
    if not whole and given == [None, None]:
        return
    for key, rule in getattr(term, "takes_layers", pairs()).problems(term.name, *given):
        raise ValueError(f"`{key}` {rule}.")
