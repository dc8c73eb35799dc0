"""`make_plan`: which steps compute a Functional model, in which layout, and what may write over what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kdrecipes.backend import keras
from kdrecipes.fast.convolution import CONVOLUTIONS, convolution
from kdrecipes.fast.layout import Function, Layout, Native, fits
from kdrecipes.fast.plan import Plan, Step, has_one_input_and_output, run_plan
from kdrecipes.keras_private import Functional, nodes_of, operation_fn

layers = keras.layers


def make_plan(model: Functional, natives: Mapping[Any, Native], frozen: bool = False) -> Plan:
    """The steps of a model; the given layers are computed natively, everything else is called as Keras does.

    Args:
        model: one for which `is_graph` holds.
        natives: the native computation of each layer that has one.
        frozen: for inference with the weights as they are now: batch normalisation is folded into convolutions, and
            graphs inside the graph run as plans of their own.
    """
    builder = _Builder(model, natives, frozen)
    for node in nodes_of(model):
        builder.add(node)
    outputs = [builder.slot(tensor, Layout.KERAS) for tensor in model.outputs]
    last: dict[int, int] = {}
    for i, step in enumerate(builder.steps):
        last.update(dict.fromkeys([step.inputs] if isinstance(step.inputs, int) else step.inputs, i))
    drops: dict[int, list[int]] = {}
    for slot, i in last.items():
        if slot not in outputs:
            drops.setdefault(i, []).append(slot)
    steps = [step._replace(drops=tuple(drops.get(i, ()))) for i, step in enumerate(builder.steps)]
    return Plan(steps, builder.slots, outputs)


class _Builder:
    def __init__(self, model: Functional, natives: Mapping[Any, Native], frozen: bool):
        self.natives, self.frozen = natives, frozen
        self.steps: list[Step] = []
        self.slots = len(model.inputs)
        self.found = {(id(tensor), Layout.KERAS): i for i, tensor in enumerate(model.inputs)}
        nodes = nodes_of(model)
        readers = [(id(tensor), node) for node in nodes for tensor in node.input_tensors]
        self.readers = Counter([*(key for key, _ in readers), *(id(tensor) for tensor in model.outputs)])
        self.reader: dict[int, Any] = dict(readers)
        self.maker: dict[int, Any] = {id(tensor): node for node in nodes for tensor in node.outputs}
        self.absorbed: set[int] = set()  # nodes that a convolution before or after them computes
        for node in nodes:
            if self._is_border(node) or self._is_folded(node):
                self.absorbed.add(id(node))

    def slot(self, tensor: Any, layout: Layout) -> int:
        """Where a value stands in a layout; a view is added where it stands in the other one alone."""
        key = (id(tensor), layout)
        if key not in self.found:
            other = Layout.KERAS if layout is Layout.IMAGE else Layout.IMAGE
            order = (0, 3, 1, 2) if layout is Layout.IMAGE else (0, 2, 3, 1)
            source = self.found[id(tensor), other]
            self._append(lambda x, training: x.permute(order), source, tensor, layout)
        return self.found[key]

    def _append(self, function: Function, inputs: int | list[int], tensors: Any, layout: Layout) -> None:
        first = self.slots
        many = isinstance(tensors, list)
        for tensor in tensors if many else [tensors]:
            self.found[id(tensor), layout] = self.slots
            self.slots += 1
        output = list(range(first, self.slots)) if many else first
        self.steps.append(Step(function, inputs, output, ()))

    def add(self, node: Any) -> None:
        """Append a node's step."""
        if id(node) in self.absorbed:
            return
        made = self._native(node)
        if made is None:
            tensors = list({id(tensor): tensor for tensor in node.input_tensors}.values())
            slots = [self.slot(tensor, Layout.KERAS) for tensor in tensors]
            self._append(self._other(node, [id(t) for t in tensors]), slots, list(node.outputs), Layout.KERAS)
            return
        takes, gives = self._layouts(made, node.input_tensors)
        if type(node.operation) in CONVOLUTIONS:
            function, tensors, output = self._convolution(node, made)
        else:
            function, tensors, output = self._over_its_input(node, made), node.input_tensors, node.outputs[0]
        slots = [self.slot(tensor, takes) for tensor in tensors]
        self._append(function, slots if _merges(node) else slots[0], output, gives)

    def _layouts(self, made: Native, tensors: list[Any]) -> tuple[Layout, Layout]:
        """In which layout a native computation reads these values, and in which it gives its own."""
        if len(tensors[0].shape) != 4:
            return Layout.KERAS, Layout.KERAS
        takes = made.takes
        if takes is Layout.ANY:
            images = all((id(tensor), Layout.IMAGE) in self.found for tensor in tensors)
            takes = Layout.IMAGE if images else Layout.KERAS
        return takes, takes if made.gives is Layout.ANY else made.gives

    def _convolution(self, node: Any, made: Native) -> tuple[Function, list[Any], Any]:
        """A convolution with what it absorbed before and after it: the computation, what it reads, what it makes."""
        tensors, output = node.input_tensors, node.outputs[0]
        border, norm = (0, 0), None
        if (before := self._absorbed(self.maker, tensors[0], layers.ZeroPadding2D)) is not None:
            (top, _), (left, _) = before.operation.padding
            tensors, border = before.input_tensors, (top, left)
        if (after := self._absorbed(self.reader, output, layers.BatchNormalization)) is not None:
            output, norm = after.outputs[0], after.operation
        return convolution(node.operation, border, norm, self.frozen) or made.function, tensors, output

    def _over_its_input(self, node: Any, made: Native) -> Function:
        """A node's native computation, writing over an input that nobody else needs where it can."""
        tensors = node.input_tensors
        if type(node.operation) is layers.Add and len(tensors) == 2 and tensors[0].shape == tensors[1].shape:
            fresh = next((i for i in (0, 1) if self._is_fresh(tensors[i])), None)
            return made.function if fresh is None else _add_over(fresh)
        if not _merges(node) and self._is_fresh(tensors[0]):
            return (made.frozen_in_place if self.frozen else made.in_place) or made.function
        return made.function

    def _absorbed(self, nodes: Mapping[int, Any], tensor: Any, kind: type) -> Any:
        """The absorbed node of a kind that made, or reads, a value."""
        node = nodes.get(id(tensor))
        return node if node is not None and id(node) in self.absorbed and type(node.operation) is kind else None

    def _other(self, node: Any, ids: list[int]) -> Function:
        """The computation of a node that is not native."""
        operation = node.operation
        if self.frozen and has_one_input_and_output(operation) and len(ids) == 1:
            plan = make_plan(operation, self.natives, frozen=True)
            return lambda values, training: run_plan(plan, values, False)
        return _as_keras(node, ids)

    def _native(self, node: Any) -> Native | None:
        """The node's native computation, where the call is a plain one on tensors that it fits."""
        made = self.natives.get(node.operation)
        given = node.arguments
        # `training` as the graph was built counts where none is given; Keras' graph then says False, or nothing.
        if made is None or len(given.args) != 1 or any(given.kwargs.get(key) for key in ("training", "mask")):
            return None
        if not set(given.kwargs) <= {"training", "mask"}:
            return None
        tensors = list(given.args[0]) if isinstance(given.args[0], list | tuple) else [given.args[0]]
        if not all(isinstance(t, keras.KerasTensor) and t.dtype == "float32" for t in tensors):
            return None
        return made if fits(made, [len(t.shape) for t in tensors]) else None

    def _only_reader(self, tensor: Any) -> Any:
        """The one node that reads a value; None where several do, or the model gives it out."""
        return self.reader.get(id(tensor)) if self.readers[id(tensor)] == 1 else None

    def _is_fresh(self, tensor: Any) -> bool:
        """Whether a value is a native result that nothing but its one reader, and nothing in autograd, needs."""
        node = self.maker.get(id(tensor))
        made = None if node is None else self._native(node)
        return made is not None and made.leaves and self._only_reader(tensor) is not None

    def _is_border(self, node: Any) -> bool:
        """Whether a node pads evenly for one valid convolution alone, which then pads by itself."""
        if type(node.operation) is not layers.ZeroPadding2D or self._native(node) is None:
            return False
        (top, bottom), (left, right) = node.operation.padding
        reader = self._only_reader(node.outputs[0])
        return (
            (top, left) == (bottom, right)
            and reader is not None
            and type(reader.operation) in CONVOLUTIONS
            and self._native(reader) is not None
            and reader.operation.padding == "valid"
        )

    def _is_folded(self, node: Any) -> bool:
        """Whether a node normalises what one linear convolution alone computed, which is then scaled instead."""
        if not self.frozen or type(node.operation) is not layers.BatchNormalization or self._native(node) is None:
            return False
        before = self.maker.get(id(node.input_tensors[0]))
        return before is not None and type(before.operation) in CONVOLUTIONS and self._is_fresh(node.input_tensors[0])


def _merges(node: Any) -> bool:
    """Whether a node's layer takes a list of tensors."""
    return isinstance(node.arguments.args[0], list | tuple)


def _add_over(fresh: int) -> Function:
    return lambda x, training: x[fresh].add_(x[1 - fresh])


def _as_keras(node: Any, ids: list[int]) -> Function:
    """A node's own call, as a Functional model makes it."""
    operation, arguments = node.operation, node.arguments

    def function(values: list[Any], training: bool | None) -> Any:
        args, kwargs = arguments.fill_in(dict(zip(ids, values, strict=True)))
        return operation_fn(operation, training=training)(*args, **kwargs)

    return function
