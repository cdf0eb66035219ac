"""All steps of a night in order, resumable: raw logs in, published lists and metrics out."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from typing import Annotated

import typer

from crossrec_core.cli.one_line import one_line_errors
from crossrec_core.config import read_config
from crossrec_core.errors import ConfigError
from crossrec_core.ledger import read_steps
from jobs import (
    blend,
    clean,
    compress,
    embed_text,
    evaluate,
    finetune,
    fit_baselines,
    meta_train,
    prepare,
    pretrain,
    publish,
    score,
    serve,
)
from jobs.steps import (
    AsOfOption,
    ConfigOption,
    Night,
    Run,
    RunIdOption,
    SetOption,
    TracebackOption,
    done_steps,
    parse_overrides,
    run_step,
    spark_session,
    start_night,
    summary,
)

STEPS: dict[str, Run] = {
    "clean": clean.run,
    "prepare": prepare.run,
    "embed_text": embed_text.run,
    "fit_baselines": fit_baselines.run,
    "pretrain": pretrain.run,
    "meta_train": meta_train.run,
    "finetune": finetune.run,
    "compress": compress.run,
    "blend": blend.run,
    "score": score.run,
    "evaluate": evaluate.run,
    "serve": serve.run,
    "publish": publish.run,
}

FromOption = Annotated[str, typer.Option("--from", help="Run this step and all after it.")]
OnlyOption = Annotated[str, typer.Option("--only", help="Run this step alone.")]
ResumeOption = Annotated[str, typer.Option("--resume", help="Go on with this run: skip the steps it has done.")]


def main(
    config: ConfigOption,
    run_id: RunIdOption = "",
    as_of: AsOfOption = "",
    from_: FromOption = "",
    only: OnlyOption = "",
    resume: ResumeOption = "",
    set_: SetOption = [],  # noqa: B006  (Typer reads the default, nothing changes it)
    traceback: TracebackOption = False,
) -> None:
    """Run the night: every step in order, all or nothing for readers.

    python jobs/nightly.py --config conf/demo.toml
    python jobs/nightly.py --config conf/demo.toml --resume 20260131T020000
    """
    with one_line_errors(traceback):
        settings = read_config(config, overrides=parse_overrides(set_))
        steps = choose_steps(from_=from_, only=only)
        night = start_night(settings, run_id=resume or run_id, as_of=as_of)
        done = done_steps(night, settings) if resume else set()
        if resume and not as_of:
            night = same_date(night)
        print(f"run {night.run_id} into {night.lake.path}; if it stops: --resume {night.run_id}", flush=True)
        with spark_session(settings) as spark:
            for number, step in enumerate(steps, 1):
                if step in done and not (from_ or only):
                    print(f"[{number}/{len(steps)}] {step}: done before", flush=True)
                    continue
                print(f"[{number}/{len(steps)}] {step} ...", flush=True)
                record = run_step(step, STEPS[step], settings, night, spark)
                print(f"[{number}/{len(steps)}] {summary(record)}", flush=True)


def choose_steps(*, from_: str = "", only: str = "") -> list[str]:
    """The steps to run, in order.

    Raises:
        ConfigError: a step of that name does not exist, or both options are given.
    """
    names = list(STEPS)
    if from_ and only:
        raise ConfigError("--from and --only: expected one of them; --from STEP runs all after it too")
    for option, name in (("--from", from_), ("--only", only)):
        if name and name not in STEPS:
            raise ConfigError(f"{option} {name}: no such step; expected one of {', '.join(names)}")
    if only:
        return [only]
    return names[names.index(from_) :] if from_ else names


def same_date(night: Night) -> Night:
    """A resumed run keeps the date it started with."""
    return replace(night, run_date=read_steps(night.lake, night.run_id)[0].run_date)


if __name__ == "__main__":
    typer.run(main)
