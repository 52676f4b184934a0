"""One base model and any number of LoRA adapters on it; several blends of them answer at once, token by token.

    engine = Engine(load_base(folder))
    engine.add("3f2a…", adapter_folder)
    for update in engine.stream([Pane(messages, {"3f2a…": 0.7}), Pane(messages)], Sampling()):
        print(update.pane, update.text)

N panes are N rows of one batch. The base's own weights are never touched: a pane without a blend is the base.
Which adapters are acceptable is in `fit.py`, how their deltas are added in `lora_layers.py`.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from medley.errors import ConflictError, NotFoundError, ParameterError
from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_tensors import iterate_scaled_factors
from medley.lm.batch import Batch
from medley.lm.fit import check_fit
from medley.lm.load import LoadedBase
from medley.lm.lora_layers import BlendLayers, Factors
from medley.lm.next_token import Sampler
from medley.lm.panes import Completion, Pane, PaneUpdate
from medley.lm.prompts import Message, end_token_ids, prompt_ids
from medley.lm.sampling import Sampling
from medley.lm.text_stream import TextStream
from medley.options import from_mapping

__all__ = ["Completion", "Engine", "Pane", "PaneUpdate", "Sampling"]

WAIT_S = 120.0  # for another stream on the same engine to end


@dataclass
class _Row:
    """A pane while it answers."""

    pane: int
    blend: Mapping[str, float]
    limit: int
    text: TextStream
    new_tokens: int = 0


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
        self._stack: tuple[tuple[str, ...], BlendLayers] | None = None  # the last one used
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The adapters at hand, in the order they were added."""
        return tuple(self._adapters)

    def add(self, key: str, folder: Path) -> None:
        """Bring an adapter into memory. A key that is there already is left as it is: a key names a content.

        Args:
            key: a digest of the content, never a name that may be moved to other weights.
            folder: the adapter.

        Raises:
            AdapterFormatError, IncompatibleError, ProblemsError: it cannot be read, or not be blended on this base.
        """
        self._check_open()
        if key in self._adapters:
            return
        adapter = open_adapter(folder)
        check_fit(adapter, self.base.model)
        device, dtype = self.base.model.device, getattr(torch, self.base.device.dtype)
        self._adapters[key] = {
            name: (b.to(device, dtype), a.to(device, dtype)) for name, (b, a) in iterate_scaled_factors(adapter)
        }

    def remove(self, key: str) -> None:
        """Forget an adapter; one that is not there is no error. A running stream keeps what it started with."""
        self._adapters.pop(key, None)
        if self._stack and key in self._stack[0]:
            self._stack = None

    def close(self) -> None:
        """Give the adapters' memory back; a running stream ends at its next token.

        The base's own memory goes with the last reference to it.
        """
        self._is_closed = True
        self._adapters.clear()
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
            ParameterError, ProblemsError: no panes, a weight that is not finite, an option out of range, a prompt
                longer than the base can read.
            ConflictError: another stream did not end in time.
        """
        self._check_open()
        if not panes:
            raise ParameterError("There is nothing to answer: at least one pane is needed.")
        from_mapping(Sampling, asdict(sampling))
        blends = [self._checked_blend(pane.blend) for pane in panes]
        prompts = [prompt_ids(self.base.tokenizer, pane.messages) for pane in panes]
        rows = [
            _Row(index, blends[index], self._room(prompt, sampling.max_new_tokens), TextStream(self.base.tokenizer))
            for index, prompt in enumerate(prompts)
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
    def logits(self, prompt: Sequence[Message] | Sequence[int], blend: Mapping[str, float]) -> torch.Tensor:
        """Logits (T, V) at every position of one prompt, as the model's own numbers: for parity checks.

        Args:
            prompt: messages (the assistant's turn is opened) or token ids.
            blend: adapter key -> weight.
        """
        self._check_open()
        is_ids = all(isinstance(each, int) for each in prompt)
        ids = list(prompt) if is_ids else prompt_ids(self.base.tokenizer, prompt)
        with self._blended([self._checked_blend(blend)]):
            return self.base.model(torch.tensor([ids], device=self.base.model.device)).logits[0]

    def _run(
        self,
        rows: list[_Row],
        prompts: list[list[int]],
        sampling: Sampling,
        should_stop: Callable[[int], bool],
    ) -> Iterator[PaneUpdate]:
        with self._blended([row.blend for row in rows]) as select_rows:
            started = time.perf_counter()
            batch = Batch(self.base.model, prompts, self._pad_id)
            logits = batch.read_prompts()
            sampler = Sampler(sampling, batch.seen_tokens(logits.shape[-1]))
            while rows:
                tokens = sampler.next_tokens(logits)
                going = []
                for index, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
                    update = self._advance(row, token, started, should_stop)
                    if not update.is_done:
                        going.append(index)
                    yield update
                if going and len(going) < len(rows):
                    batch.keep(going)
                    sampler.keep(going)
                    select_rows(going)
                rows = [rows[index] for index in going]
                if rows:
                    logits = batch.step(tokens[going])

    def _advance(self, row: _Row, token: int, started: float, should_stop: Callable[[int], bool]) -> PaneUpdate:
        """Take one token into a row, or end it."""
        reason, text = "", ""
        if self._is_closed or should_stop(row.pane):
            reason = "stopped"
        else:
            row.new_tokens += 1
            if token in self.end_ids:
                reason = "stop"
            else:
                text = row.text.push(token)
                reason = "length" if row.new_tokens == row.limit else ""
        speed = row.new_tokens / (time.perf_counter() - started)
        return PaneUpdate(row.pane, text, bool(reason), reason, row.new_tokens, speed, row.blend)

    @contextmanager
    def _blended(self, blends: Sequence[Mapping[str, float]]) -> Iterator[Callable[[list[int]], None]]:
        """The model with a blend on each row; yields a function that keeps some of the rows.

        A batch in which no blend is active runs the bare model, bit for bit.
        """
        if not self._lock.acquire(timeout=WAIT_S):
            raise ConflictError(f"Another answer has been running on this base for {WAIT_S:.0f} s. Stop it first.")
        try:
            self._check_open()
            keys = tuple(sorted({key for blend in blends for key in blend}))
            if not keys:
                yield lambda rows: None
                return
            weights = torch.tensor([[blend.get(key, 0.0) for key in keys] for blend in blends])
            layers = self._layers(keys)
            layers.attach(weights)
            remaining = [weights]

            def select_rows(rows: list[int]) -> None:
                remaining[0] = remaining[0][rows]
                layers.set_weights(remaining[0])

            try:
                yield select_rows
            finally:
                layers.detach()
        finally:
            self._lock.release()

    def _layers(self, keys: tuple[str, ...]) -> BlendLayers:
        for key in keys:
            self._check_key(key)  # it may have been removed while this stream waited for its turn
        if self._stack is None or self._stack[0] != keys:
            self._stack = None  # the old one's memory goes first
            self._stack = (keys, BlendLayers(self.base.model, [self._adapters[key] for key in keys]))
        return self._stack[1]

    def _checked_blend(self, blend: Mapping[str, float]) -> dict[str, float]:
        for key, weight in blend.items():
            self._check_key(key)
            if not math.isfinite(weight):
                raise ParameterError(f"A weight must be a finite number, got {weight} for {key[:12]}.")
        return {key: float(weight) for key, weight in blend.items() if weight != 0}

    def _check_key(self, key: str) -> None:
        if key not in self._adapters:
            raise NotFoundError(f"The adapter {key[:12]} is not in memory; add it to the engine first.")

    def _room(self, prompt: list[int], max_new_tokens: int) -> int:
        """How many new tokens a row may write before the base's context is full."""
        longest = getattr(self.base.model.config.get_text_config(), "max_position_embeddings", None)
        if longest is None:
            return max_new_tokens
        if len(prompt) >= longest:
            raise ParameterError(f"The prompt has {len(prompt)} tokens, but the base reads at most {longest}.")
        return min(max_new_tokens, longest - len(prompt))

    @property
    def _pad_id(self) -> int:
        tokenizer = self.base.tokenizer
        return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConflictError("This engine was closed to free its memory; open the base again.")
