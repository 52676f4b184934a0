"""One base model and any number of LoRA adapters on it; several blends of them answer at once, token by token.

    engine = Engine(load_base(folder))
    engine.add("3f2a…", adapter_folder)
    for update in engine.stream([Pane(messages, {"3f2a…": 0.7}), Pane(messages)], Sampling()):
        print(update.pane, update.text)

N panes are N rows of one batch. The base's own weights are never touched: a pane without a blend is the base.
Which adapters are acceptable is in `fit.py`, how their deltas are added in `lora_layers.py`. An adapter that is no sum
of deltas cannot be in a blend: its pane answers after the others, through `alone.py`.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from medley.errors import ConflictError, NotFoundError, ParameterError
from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_tensors import iterate_scaled_factors
from medley.lm.alone import AloneAdapter, AloneBatch
from medley.lm.answer import Row, answer_rows, keep_all
from medley.lm.batch import Batch
from medley.lm.blend_weights import row_weights, without_zeros
from medley.lm.fit import check_alone, check_fit, is_sum_of_deltas
from medley.lm.load import LoadedBase, leave_unpacked
from medley.lm.lora_layers import BlendLayers, Factors
from medley.lm.panes import Blend, Completion, Pane, PaneUpdate, Weight
from medley.lm.prompts import Message, end_token_ids, prompt_ids
from medley.lm.sampling import Sampling
from medley.lm.text_stream import TextStream
from medley.options import from_mapping

__all__ = ["Completion", "Engine", "Pane", "PaneUpdate", "Sampling"]

WAIT_S = 120.0  # for another stream on the same engine to end


def never(pane: int) -> bool:
    """A `should_stop` that lets every pane finish."""
    return False


class Engine:
    """Answers of blends on one base. One stream at a time; another one waits for it.

    While a stream is open the model belongs to the engine: run it elsewhere and the blends show.
    """

    def __init__(self, base: LoadedBase) -> None:
        self.base = base
        self.end_ids = end_token_ids(base.tokenizer, base.model.generation_config)
        self._adapters: dict[str, dict[str, Factors]] = {}
        self._alone: dict[str, AloneAdapter] = {}
        self._stack: tuple[tuple[str, ...], BlendLayers] | None = None  # the last one used
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The adapters at hand, in the order they were added."""
        return (*self._adapters, *self._alone)

    def runs_alone(self, key: str) -> bool:
        """Whether an adapter at hand can only answer by itself, at weight 1."""
        return key in self._alone

    def add(self, key: str, folder: Path) -> None:
        """Bring an adapter into memory. A key that is there already is left as it is: a key names a content.

        Args:
            key: a digest of the content, never a name that may be moved to other weights.
            folder: the adapter.

        Raises:
            AdapterFormatError, IncompatibleError, ProblemsError: it cannot be read, or not be run on this base.
            ConflictError: a stream did not end in time; an adapter that runs alone is tried out on the base.
        """
        self._check_open()
        if key in self.keys:
            return
        adapter = open_adapter(folder)
        if not is_sum_of_deltas(adapter):
            check_alone(adapter)
            with self._turn():
                if self.base.device.quant:
                    leave_unpacked(self.base.model)
                self._alone[key] = AloneAdapter(adapter, self.base.model)
            return
        check_fit(adapter, self.base.model)
        device, dtype = self.base.model.device, getattr(torch, self.base.device.dtype)
        self._adapters[key] = {
            name: (b.to(device, dtype), a.to(device, dtype)) for name, (b, a) in iterate_scaled_factors(adapter)
        }

    def remove(self, key: str) -> None:
        """Forget an adapter; one that is not there is no error. A running stream keeps what it started with."""
        self._adapters.pop(key, None)
        self._alone.pop(key, None)
        if self._stack and key in self._stack[0]:
            self._stack = None

    def close(self) -> None:
        """Give the adapters' memory back; a running stream ends at its next token.

        The base's own memory goes with the last reference to it.
        """
        self._is_closed = True
        self._adapters.clear()
        self._alone.clear()
        self._stack = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def stream(
        self, panes: Sequence[Pane], sampling: Sampling, *, should_stop: Callable[[int], bool] = never
    ) -> Iterator[PaneUpdate]:
        """The panes' answers as they grow, an update for each token of each pane.

        Everything is checked before this returns. Closing the iterator early frees the engine for the next stream.

        Args:
            panes: at least one.
            sampling: for all of them.
            should_stop: asked with a pane's index before each of its tokens; True ends that pane.

        Raises:
            NotFoundError: a blend names a key that was not added.
            ParameterError, ProblemsError: no panes, a weight that is not finite, an adapter in a blend that can only
                run alone, an option out of range, a prompt longer than the base can read.
            ConflictError: another stream did not end in time.
        """
        self._check_open()
        if not panes:
            raise ParameterError("There is nothing to answer: at least one pane is needed.")
        from_mapping(Sampling, asdict(sampling))
        blends = [self._checked_blend(pane.blend) for pane in panes]
        prompts = [prompt_ids(self.base.tokenizer, pane.messages) for pane in panes]
        rows = [
            Row(index, blend, self._room(prompt, blend, sampling.max_new_tokens), TextStream(self.base.tokenizer))
            for index, (prompt, blend) in enumerate(zip(prompts, blends, strict=True))
        ]
        return self._run(rows, prompts, sampling, should_stop)

    def generate(self, panes: Sequence[Pane], sampling: Sampling) -> list[Completion]:
        """The panes' whole answers, in their order; arguments and errors as in `stream`."""
        texts, last = [""] * len(panes), {}
        for update in self.stream(panes, sampling):
            texts[update.pane] += update.text
            last[update.pane] = update
        ends = [last[index] for index in range(len(panes))]
        return [
            Completion(text, end.finish_reason, end.new_tokens, end.tokens_per_s, end.blend)
            for text, end in zip(texts, ends, strict=True)
        ]

    @torch.inference_mode()
    def logits(self, prompt: Sequence[Message] | Sequence[int], blend: Blend) -> torch.Tensor:
        """Logits (T, V) at every position of one prompt, as the model's own numbers: for parity checks.

        Args:
            prompt: messages (the assistant's turn is opened) or token ids.
            blend: adapter key -> weight, as in `Pane`.
        """
        self._check_open()
        is_ids = all(isinstance(each, int) for each in prompt)
        ids = list(prompt) if is_ids else prompt_ids(self.base.tokenizer, prompt)
        tensor, blend = torch.tensor([ids], device=self.base.model.device), self._checked_blend(blend)
        with self._turn():
            for key in self._alone.keys() & blend:
                with self._alone[key].attached(self.base.model) as wrapped:
                    return wrapped(input_ids=tensor).logits[0, -len(ids) :]
            with self._blended([blend]):
                return self.base.model(tensor).logits[0]

    def _run(
        self, rows: list[Row], prompts: list[list[int]], sampling: Sampling, should_stop: Callable[[int], bool]
    ) -> Iterator[PaneUpdate]:
        """The panes that are blends together, then those that answer alone, one after another."""
        model, common = self.base.model, {"end_ids": self.end_ids, "is_stopped": self._stopper(should_stop)}
        with self._turn():
            together = [row for row in rows if not self._alone.keys() & row.blend]
            if together:
                with self._blended([row.blend for row in together]) as select_rows:
                    batch = Batch(model, [prompts[row.pane] for row in together], self._pad_id)
                    yield from answer_rows(together, batch, sampling, select_rows=select_rows, **common)
            for row in rows:
                for key in self._alone.keys() & row.blend:
                    with self._alone[key].attached(model) as wrapped:
                        yield from answer_rows([row], AloneBatch(wrapped, prompts[row.pane]), sampling, **common)

    def _stopper(self, should_stop: Callable[[int], bool]) -> Callable[[int], bool]:
        return lambda pane: self._is_closed or should_stop(pane)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The model for one stream alone; the next one waits."""
        if not self._lock.acquire(timeout=WAIT_S):
            raise ConflictError(f"Another answer has been running on this base for {WAIT_S:.0f} s. Stop it first.")
        try:
            self._check_open()
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _blended(self, blends: Sequence[Blend]) -> Iterator[Callable[[list[int]], None]]:
        """The model with a blend on each row; yields a function that keeps some of the rows.

        A batch in which no blend is active runs the bare model, bit for bit.
        """
        keys = tuple(sorted({key for blend in blends for key in blend}))
        if not keys:
            yield keep_all
            return
        weights = row_weights(blends, keys)
        layers = self._layers(keys)
        layers.attach(weights)
        remaining = [weights]

        def select_rows(rows: list[int]) -> None:
            remaining[0] = remaining[0].keep(rows)
            layers.set_weights(remaining[0])

        try:
            yield select_rows
        finally:
            layers.detach()

    def _layers(self, keys: tuple[str, ...]) -> BlendLayers:
        for key in keys:
            self._check_key(key)  # it may have been removed while this stream waited for its turn
        if self._stack is None or self._stack[0] != keys:
            self._stack = None  # the old one's memory goes first
            self._stack = (keys, BlendLayers(self.base.model, [self._adapters[key] for key in keys]))
        return self._stack[1]

    def _checked_blend(self, blend: Blend) -> dict[str, Weight]:
        for key in blend:
            self._check_key(key)
        chosen = without_zeros(blend)
        for key in self._alone.keys() & chosen:
            if chosen != {key: 1.0}:
                raise ParameterError(
                    f"The adapter {key[:12]} is no sum of deltas, so it cannot be weighted or blended with others. "
                    "Give it a pane of its own, at weight 1."
                )
        return chosen

    def _check_key(self, key: str) -> None:
        if key not in self.keys:
            raise NotFoundError(f"The adapter {key[:12]} is not in memory; add it to the engine first.")

    def _room(self, prompt: list[int], blend: Blend, max_new_tokens: int) -> int:
        """How many new tokens a row may write before the base's context is full."""
        in_front = sum(self._alone[key].virtual_tokens for key in self._alone.keys() & blend)
        longest = getattr(self.base.model.config.get_text_config(), "max_position_embeddings", None)
        if longest is None:
            return max_new_tokens
        used = len(prompt) + in_front
        if used >= longest:
            raise ParameterError(f"The prompt has {used} tokens, but the base reads at most {longest}.")
        return min(max_new_tokens, longest - used)

    @property
    def _pad_id(self) -> int:
        tokenizer = self.base.tokenizer
        return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConflictError("This engine was closed to free its memory; open the base again.")
