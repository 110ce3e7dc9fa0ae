"""The Beam side of every job: a handful of composites, each wiring a function to a PCollection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import apache_beam as beam


def source(values: Iterable[Any], memory_mb: int = 0) -> beam.PTransform:
    """Give some values as a collection. Beam would shuffle them here; `Work` and `JoinByKey`, which follow, do it.

    `memory_mb`: see `Work`; steps of one job that ask for the same share a process.
    """
    return _hinted(beam.Create(values, reshuffle=False), memory_mb)


def _hinted(step: beam.PTransform, memory_mb: int) -> beam.PTransform:
    return step.with_resource_hints(min_ram=f"{memory_mb}MiB") if memory_mb else step


def _applied(work: Callable[[Any], Iterable[Any]], title: str, outputs: Sequence[str]) -> Any:
    """Apply a function; with `outputs` it yields (name of an output, record), and each output is a collection."""
    if not outputs:
        return title >> beam.FlatMap(work)
    return title >> beam.FlatMap(_Named(work)).with_outputs(*outputs)


class _Named:
    """A function that yields (name, record) as Beam wants it."""

    def __init__(self, work: Callable[[Any], Iterable[Any]]) -> None:
        self._work = work

    def __call__(self, element: Any) -> Iterator[Any]:
        yield from (beam.pvalue.TaggedOutput(name, record) for name, record in self._work(element))


class Work(beam.PTransform):  # type: ignore[misc]
    """Spread work items over the workers and apply a function to each: item → records.

    The items pass as elements of their own through a Reshuffle, so that nothing fuses them back onto one worker.
    `memory_mb`: MiB that a worker should have for it, a hint to runners that choose machines; 0 for whatever there is.
    """

    def __init__(
        self, work: Callable[[Any], Iterable[Any]], title: str, memory_mb: int = 0, outputs: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self._work = work
        self._title = title
        self._outputs = outputs
        _hinted(self, memory_mb)

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Return the records of all items; a collection for each of the outputs, if there are some."""
        return items | "Spread" >> beam.Reshuffle() | _applied(self._work, self._title, self._outputs)


class Infer(beam.PTransform):  # type: ignore[misc]
    """Spread work items over the workers, infer something of each with a model by RunInference, and do with it what is
    to be done in the same process: item → what was inferred → records.

    `load` gives the function of an item, which has the model; it is called once a process. A failure of one part of an
    item is for that function to keep to it: RunInference would fail whole batches. `memory_mb`: see `Work`.
    """

    def __init__(
        self, load: Callable[[], Callable[[Any], Any]], then: Callable[[Any], Iterable[Any]], title: str,
        memory_mb: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self._load = load
        self._then = then
        self._title = title
        _hinted(self, memory_mb)

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Return the records of all items."""
        from apache_beam.ml.inference.base import RunInference

        inferred = items | "Spread" >> beam.Reshuffle() | "Infer" >> RunInference(_handler(self._load))
        return inferred | self._title >> beam.FlatMap(_Of(self._then))


def _handler(load: Callable[[], Callable[[Any], Any]]) -> Any:
    from apache_beam.ml.inference.base import ModelHandler, PredictionResult

    class Handler(ModelHandler[Any, Any, Any]):  # type: ignore[misc]
        """A model by the function of an item, an item at a time."""

        def load_model(self) -> Callable[[Any], Any]:
            return load()

        def run_inference(self, batch: Sequence[Any], model: Any, inference_args: Any = None) -> Iterator[Any]:
            yield from (PredictionResult(item, model(item)) for item in batch)

        def batch_elements_kwargs(self) -> dict[str, int]:
            return {"min_batch_size": 1, "max_batch_size": 1}  # an item is as much as is made at a time

    return Handler()


class _Of:
    """A function of what RunInference predicted."""

    def __init__(self, then: Callable[[Any], Iterable[Any]]) -> None:
        self._then = then

    def __call__(self, predicted: Any) -> Iterable[Any]:
        return self._then(predicted.inference)


class JoinByKey(beam.PTransform):  # type: ignore[misc]
    """Join named collections of (key, record) and apply a function to each key: (key, {name: records}) → records."""

    def __init__(
        self, join: Callable[[tuple[Any, dict[str, Iterable[Any]]]], Iterable[Any]], title: str,
        outputs: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self._join = join
        self._title = title
        self._outputs = outputs

    def expand(self, sides: dict[str, beam.PCollection]) -> beam.PCollection:
        """Return the records of all keys; a collection for each of the outputs, if there are some."""
        return sides | "Group" >> beam.CoGroupByKey() | _applied(self._join, self._title, self._outputs)


class Parts(Protocol):
    """What writes records for the driver, in parts."""

    def part(self, record: Any) -> int:
        """Return the part that a record belongs to."""
        ...

    def __call__(self, part: tuple[int, Iterable[Any]]) -> Any:
        """Write one part."""
        ...


class HandBack(beam.PTransform):  # type: ignore[misc]
    """Hand the records of a collection to the driver: they are written in parts, so that no worker gets them all."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts

    def expand(self, records: beam.PCollection) -> beam.PCollection:
        """Return a collection with what the writing of each part gave."""
        of_part = records | "Part" >> beam.WithKeys(self._parts.part) | "Gather" >> beam.GroupByKey()
        return of_part | "Write" >> beam.Map(self._parts)
