"""`example_logits`: the distance between logits."""

from kdrecipes import Component


class Logits:
    """Mean over the classes of |student − teacher|^power; shifts of all logits of a network do not count."""

    def __init__(self, power: float):
        self.power = power

    def __call__(self, labels, student, teacher):
        """Values (batch,). `student` and `teacher` are `kdrecipes.Outputs`; a term never adds the label loss."""
        mine, theirs = (logits - logits.mean(1, keepdim=True) for logits in (student.logits, teacher.logits))
        return ((mine - theirs).abs() ** self.power).mean(1)


def build(power: float = 2.0) -> Logits:
    """The term."""
    return Logits(power)


COMPONENT = Component(
    kind="loss",
    name="example_logits",
    build=build,
    summary="the distance between the logits of student and teacher",
    options={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "power": {"type": "number", "minimum": 1, "default": 2.0, "description": "2: the squared distance."},
        },
    },
)
