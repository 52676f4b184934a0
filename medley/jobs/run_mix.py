"""Does a mixing job: several dataset versions in, one new version out, which names them as its parents."""

import shutil

from medley.jobs.work import JobWork


def run(work: JobWork) -> str:
    """The id of the mixed version."""
    from hub import Parent
    from medley.corpus.mixture import Source, mix_datasets

    params = work.spec.params
    out_dir = work.out_dir / "dataset"
    shutil.rmtree(out_dir, ignore_errors=True)
    sources = [
        Source(each["name"], work.input(each["id"]).path, each["share"], each["is_replay"])
        for each in params["sources"]
    ]
    report = mix_datasets(sources, out_dir, rows=params["rows"], seed=params["seed"], emit=work.emit_or_stop)
    work.emit("progress", step=1, total=1, text="Registering")
    return work.register(
        "dataset",
        out_dir,
        parents=[Parent(each["id"], "replay" if each["is_replay"] else "data") for each in params["sources"]],
        recipe=recipe_text(work),
        facts=report.facts(),
    )


def recipe_text(work: JobWork) -> str:
    """What was mixed, by content, and how."""
    import yaml

    params = work.spec.params
    groups = {
        group: {f"sha256:{each['id']}": each["share"] for each in params["sources"] if each["is_replay"] == is_replay}
        for group, is_replay in (("mix", False), ("replay", True))
    }
    recipe = {**{group: shares for group, shares in groups.items() if shares}, "rows": params["rows"]}
    return yaml.safe_dump({**recipe, "seed": params["seed"]}, sort_keys=False, width=120)
