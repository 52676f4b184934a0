"""Does a training job: base, rows and options in, one adapter version out; a stopped one leaves its last checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import AdapterFormatError
from medley.jobs.adapter_facts import adapter_facts
from medley.jobs.base_names import identity_of
from medley.jobs.bases import base_folder
from medley.jobs.estimate import check_fits_now
from medley.jobs.ranks import train_together
from medley.jobs.spec import JobSpec
from medley.jobs.tracking import tracked
from medley.jobs.work import JobStopped, JobWork

if TYPE_CHECKING:
    from hub import Version
    from trainers import Trainer, TrainResult, TrainWork


def run(work: JobWork) -> str:
    """The id of the trained version."""
    from medley.options import from_mapping
    from trainers import TRAINERS, TrainWork
    from trainers.learning_rate import rate_warning

    params = work.spec.params
    trainer = TRAINERS[params["trainer"]]
    options = from_mapping(trainer.options_class, params["options"])
    base, data = work.input(params["base"]), work.input(params["data"])
    init = work.input(params["init"]) if params["init"] else None
    others = {ref: work.input(ref.removeprefix("sha256:")) for ref in params.get("adapters", ())}
    checkpoint = _resume_from(work)
    base_dir = base_folder(work.registry, base, work.emit_or_stop)
    base_id, base_revision = identity_of(base)
    if options.check_memory:
        check_fits_now(work.spec, base_dir, data.path)
    with tracked(work.emit, options.log_to, work.job.tracking_dir, work.job.id) as emit:
        warning = rate_warning(trainer.name, options)
        if warning:
            emit("warning", text=warning)
        task = TrainWork(
            base_dir=base_dir,
            base_id=base_id,
            base_revision=base_revision,
            data_dir=data.path,
            out_dir=work.out_dir,
            init_adapter=init.path if init else None,
            adapters={ref: version.path for ref, version in others.items()},
            labels={ref: version.label for ref, version in others.items()},
            resume_from=checkpoint,
            emit=emit,
            should_stop=work.should_stop,
        )
        result = _train(trainer, params["options"], options, task)
    if result.was_stopped or result.adapter_dir is None:
        raise JobStopped
    parents = [("base", base), ("data", data), *([(trainer.init_role, init)] if init else [])]
    return _publish(work, result, base, data, [*parents, *(("reward", each) for each in others.values())])


def _train(trainer: "Trainer", values: Mapping[str, Any], options: Any, task: "TrainWork") -> "TrainResult":
    """Here, or in as many processes as the options say; `values` are the options as the spec has them."""
    if options.num_processes > 1:
        return train_together(trainer.name, values, task, options.num_processes)
    return trainer.train(options, task)


def _resume_from(work: JobWork) -> Path | None:
    """The checkpoint to go on from, if there is one; and whoever watches is told."""
    checkpoint = newest_checkpoint_of(work)
    if checkpoint is not None:
        step = checkpoint.name.rpartition("-")[2]
        work.emit("progress", step=int(step), total=0, text=f"Going on from step {step} of {work.job.resumed_from}")
    return checkpoint


def newest_checkpoint_of(work: JobWork) -> Path | None:
    """The last whole checkpoint of the job that is retried, or of the one that it had retried, and so on."""
    from trainers.checkpoints import newest_checkpoint

    found = (newest_checkpoint(folder) for folder in work.earlier)
    return next((checkpoint for checkpoint in found if checkpoint is not None), None)


def _publish(
    work: JobWork, result: "TrainResult", base: "Version", data: "Version", parents: list[tuple[str, "Version"]]
) -> str:
    from hub import Parent

    work.emit("progress", step=result.steps, total=result.steps, text="Registering")
    return work.register(
        "adapter",
        result.adapter_dir,
        base=identity_of(base)[0],
        base_revision=identity_of(base)[1],
        parents=[Parent(version.id, role) for role, version in parents],
        recipe=recipe_text(work.spec),
        facts={**_metadata(work, result, base, data), **_reference(work, base, parents)},
    )


def _reference(work: JobWork, base: "Version", parents: list[tuple[str, "Version"]]) -> dict[str, str]:
    """The policy that the new one was held to, by name: the adapter that it started from, or else the base."""
    from trainers import TRAINERS

    if TRAINERS[work.spec.params["trainer"]].init_role != "reference":
        return {}
    return {"reference": next((version.label for role, version in parents if role == "reference"), base.label)}


def recipe_of(spec: JobSpec) -> dict[str, Any]:
    """What `medley train RECIPE.yaml` runs again: inputs by content, every option written out."""
    params = spec.params
    inputs = {"base": params["base"], "data": params["data"], "from": params["init"]}
    return {
        "trainer": params["trainer"],
        **{key: f"sha256:{id}" for key, id in inputs.items() if id},
        "name": spec.output_name,
        "options": params["options"],
    }


def recipe_text(spec: JobSpec) -> str:
    """The same as YAML."""
    import yaml

    return yaml.safe_dump(recipe_of(spec), sort_keys=False, allow_unicode=True, width=120)


def _metadata(work: JobWork, result: "TrainResult", base: "Version", data: "Version") -> dict[str, Any]:
    try:
        facts = adapter_facts(result.adapter_dir)
    except AdapterFormatError as error:
        raise AdapterFormatError(f"The training went wrong: {error} Try a lower learning_rate.") from error
    base = work.registry.get(base.id)  # its digest is known since its folder was opened
    notes = [f"Base: {base.metadata['note']}"] if base.metadata.get("note") else []
    licence = data.metadata.get("licence")
    return {
        **facts,
        "trainer": work.spec.params["trainer"],
        "trained_on": result.trained_on,
        "template_hash": result.template_hash,
        "metrics": dict(result.metrics),
        "steps": result.steps,
        "base_name": base.name,
        "base_weights_digest": base.metadata.get("weights_digest"),
        "notes": notes,
        **({"licence": licence} if licence else {}),  # not stated is not the same as free
    }
