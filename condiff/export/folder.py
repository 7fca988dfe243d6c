"""Export of a checkpoint as a model folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from condiff.checkpoint import Checkpoint, model_folder, results_folder, run_folder
from condiff.checkpoint.model_folder import CONFIG, WEIGHTS
from condiff.diffusion.samplers import consistency
from condiff.errors import InputError
from condiff.evaluation.copy_summary import reports_copies
from condiff.evaluation.serialization import check_numbers, read_numbers
from condiff.export.card import card
from condiff.sampling import Sampling

PUBLIC = ("held_out", "cost", "compared", "scores", "copies", "summary", "notes")  # of evaluation.json
PUBLIC_SETTINGS = ("sha256", "num_samples", "seed", "steps")


def save(
    checkpoint: Checkpoint,
    folder: str | Path,
    *,
    float16: bool = False,
    patients: bool = True,
    evaluation: str | Path | None = None,
    accept_copies: bool = False,
    title: str = "",
) -> Path:
    """Writes a checkpoint as a model folder, and returns the folder.

    Args:
        float16: weights in 16 bits instead of 32: half the size, with a relative error of 5e-4 each.
        patients: whether config.json holds the salted hashes of the patients, by which evaluate.py and reconstruct.py leave out
            those that the model was trained on.
        evaluation: evaluation.json of this checkpoint; None: the newest one in its run, if there is one.
        accept_copies: write also a model of a run of which an evaluation reports copies of patients.
        title: of the card; the folder's name by default.

    Raises:
        InputError: a folder that is not empty, a checkpoint that is not of a diffusion model, an evaluation of another
            checkpoint, or copies that are not accepted.
    """
    target = Path(folder)
    check_empty(target)
    model = checkpoint.model()
    evaluations = [*_evaluations_of(checkpoint), *([read_numbers(Path(evaluation))] if evaluation else [])]
    copying = [numbers["summary"] for numbers in evaluations if reports_copies(numbers)]
    if copying and not accept_copies:
        raise InputError(
            f"{checkpoint.path}: an evaluation of its run reports copies of training patients ({copying[-1]}); do not give it "
            "away, or accept that, copies=accept"
        )
    own = [numbers for numbers in evaluations if _is_of(numbers, checkpoint)]
    if evaluation and not (own and own[-1] is evaluations[-1]):
        raise InputError(f"evaluation={evaluation}: is of another checkpoint than {checkpoint.path}; evaluate this one")
    numbers = public(own[-1]) if own else None
    weights = model_folder.half(checkpoint.weights) if float16 else checkpoint.weights
    text = card(checkpoint, title or target.name, numbers, sum(weight.numel() for weight in model.parameters()))
    step = int(checkpoint.content.get("global_step") or 0)
    model_folder.write(target, checkpoint.config, weights, _data_state(checkpoint, patients), step, numbers, text)
    return target


def check_sampler(checkpoint: Checkpoint, format: str) -> None:
    """Raises InputError for a few-step model: samplers of other programs take its estimates for means, and draw noise."""
    sampler = Sampling.of_run(checkpoint).sampler
    if getattr(sampler, "func", sampler) is consistency:
        raise InputError(
            f"format={format}: {checkpoint.path} is a model of few steps, for sampler=consistency alone, which other programs do "
            "not have; export the model that it began as, or use format=safetensors"
        )


def check_empty(folder: Path) -> None:
    """Raises InputError for a file, or a folder that is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"out={folder}: {'is not empty' if folder.is_dir() else 'is a file'}; give a new folder")


def public(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the part of evaluation.json that is given away: no path, and no seed of a sample that may be a copy."""
    settings = {key: numbers["settings"][key] for key in PUBLIC_SETTINGS if key in numbers["settings"]}
    flagged = [{"sample": "not given away"}] * len(numbers["named"])
    return {"settings": settings, "named": flagged} | {key: numbers[key] for key in PUBLIC if key in numbers}


def _data_state(checkpoint: Checkpoint, patients: bool) -> dict[str, Any]:
    """Statistics of the images and, if they are recorded and wanted, salted hashes of patients."""
    recorded = patients and "patients" in checkpoint.data_state
    return {"statistics": dict(checkpoint.statistics)} | (checkpoint.patients.state() if recorded else {})


def _evaluations_of(checkpoint: Checkpoint) -> Iterator[dict[str, Any]]:
    """The contents of all evaluation.json in the run of a checkpoint, of whatever checkpoint, the newest last."""
    if (own := given_evaluation(checkpoint)) is not None:
        yield own
    run = (
        results_folder(checkpoint.path, "evaluation", "").parent
        if checkpoint.path.name == WEIGHTS
        else run_folder(checkpoint.path)
    )
    for file in sorted(run.glob("evaluation/*/evaluation.json"), key=lambda file: file.stat().st_mtime):
        yield read_numbers(file)


def given_evaluation(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Returns the evaluation in a model folder; None without one. Raises InputError if it is damaged."""
    content = checkpoint.content.get("evaluation")
    if content is None or checkpoint.path.name != WEIGHTS:
        return None
    try:
        return check_numbers(content)
    except ValueError as error:
        raise InputError(
            f"{checkpoint.path.with_name(CONFIG)}: its evaluation is damaged ({error}); give an intact copy"
        ) from None


def _is_of(numbers: Mapping[str, Any], checkpoint: Checkpoint) -> bool:
    return numbers is checkpoint.content.get("evaluation") or numbers["settings"].get("sha256") == checkpoint.sha256
