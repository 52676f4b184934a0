"""The adapter of a reward model: LoRA on every layer, fresh or from an adapter that writes, and a head that scores."""

from pathlib import Path

from peft import LoraConfig, PeftModel
from peft.utils import load_peft_weights, set_peft_model_state_dict

from medley.errors import IncompatibleError
from medley.lm.adapter_file import SCORE_HEAD, AdapterFile, open_adapter
from medley.lm.fit import CHANGES_THE_BASE, check_shapes
from medley.lm.load import LoadedBase
from medley.lm.score_head import HEAD, draw_head
from trainers.adapter import config_for, start_adapter, wrap
from trainers.reward_options import RewardOptions

HEAD_SPREAD = 0.02  # where the base's configuration does not say how its own weights were drawn


def attach_reward_adapter(base: LoadedBase, options: RewardOptions, init_adapter: Path | None) -> PeftModel:
    """The base with a trainable adapter named "default" and its score head, which peft saves with it.

    A fresh head is drawn from the seed. With `init_adapter` the LoRA starts from its weights and keeps its rank, alpha
    and targets; where that is a reward model itself, its head goes on too.

    Args:
        base: from `load_score_base`.

    Raises:
        ParameterError: no module of the base has a name in `options.targets`.
        AdapterFormatError: `init_adapter` is not a readable adapter.
        IncompatibleError: it is not a LoRA of this base, or is more than that.
    """
    start = None if init_adapter is None else _open_start(init_adapter, base)
    spread = getattr(base.model.config.get_text_config(), "initializer_range", HEAD_SPREAD)
    head = getattr(base.model, HEAD)
    draw_head(head, seed=options.seed, spread=spread)
    config = config_for(base.model, options) if start is None else LoraConfig.from_pretrained(str(start.folder))
    config.task_type, config.inference_mode, config.modules_to_save = "SEQ_CLS", False, [HEAD]
    model = wrap(base.model, config)
    config.modules_to_save = [HEAD]  # peft has put its other names for heads beside it
    if start is None:
        start_adapter(model, options)
    else:
        weights = {SCORE_HEAD: head.weight.detach(), **load_peft_weights(str(start.folder), device="cpu")}
        set_peft_model_state_dict(model, weights)
    return model


def _open_start(folder: Path, base: LoadedBase) -> AdapterFile:
    start = open_adapter(folder)
    config = start.config
    extra = [name for name in start.extra_tensors if "lora_magnitude_vector" not in name]  # DoRA's, which LoRA keeps
    reason = None
    if config.peft_type != "LORA":
        reason = f"it is of type {config.peft_type}"
    elif str(config.init_lora_weights).lower().startswith(CHANGES_THE_BASE):
        reason = f"it was initialised by {config.init_lora_weights}, which changes the base's weights"
    elif extra and not start.is_reward_model:
        reason = f"it holds more than LoRA factors (the first is {extra[0]})"
    if reason:
        raise IncompatibleError(
            f"A reward model starts from a LoRA adapter, but of this one, {reason}. Leave out --from."
        )
    check_shapes(start, base.model)
    return start
