"""Export of a checkpoint as a model folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condiff.checkpoint import Checkpoint, model_folder, run_folder
from condiff.checkpoint.model_folder import WEIGHTS
from condiff.errors import InputError
from condiff.evaluation.copy_summary import reports_copies
from condiff.export.card import card

MAX_JSON_BYTES = 1 << 24


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
        evaluation: evaluation.json of evaluate.py; None: the newest of this checkpoint in its run, if there is one.
        accept_copies: write also a model whose evaluation reports copies of patients.
        title: of the card; the folder's name by default.

    Raises:
        InputError: a folder that is not empty, a checkpoint that is not of a diffusion model, or copies that are not accepted.
    """
    target = Path(folder)
    check_empty(target)
    model = checkpoint.model()
    scores = read_evaluation(Path(evaluation)) if evaluation else evaluation_of(checkpoint)
    if scores and reports_copies(scores) and not accept_copies:
        raise InputError(
            f"{checkpoint.path}: its evaluation reports copies of training patients ({scores['summary']}); do not give it "
            "away, or accept that, copies=accept"
        )
    state = dict(checkpoint.data_state)
    state.pop("seen_batches", None)
    if not patients:
        state = {"statistics": checkpoint.statistics}
    try:
        text = card(checkpoint, title or target.name, scores, sum(weight.numel() for weight in model.parameters()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"evaluation: lacks {error}; give evaluation.json as evaluate.py writes it, or evaluate again") from None
    weights = model_folder.half(checkpoint.weights) if float16 else checkpoint.weights
    step = int(checkpoint.content.get("global_step") or 0)
    model_folder.write(target, checkpoint.config, weights, state, step, scores, text)
    return target


def check_empty(folder: Path) -> None:
    """Raises InputError for a file, or a folder that is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"out={folder}: {'is not empty' if folder.is_dir() else 'is a file'}; give a new folder")


def evaluation_of(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Returns the content of the newest evaluation.json of a checkpoint in its run; None without one."""
    if checkpoint.path.name == WEIGHTS:
        return checkpoint.content.get("evaluation")
    files = sorted(run_folder(checkpoint.path).glob("evaluation/*/evaluation.json"), key=lambda file: file.stat().st_mtime)
    of_this = [scores for file in files if _digest(scores := read_evaluation(file)) == checkpoint.sha256]
    return of_this[-1] if of_this else None


def read_evaluation(file: Path) -> dict[str, Any]:
    """Returns the content of an evaluation.json, without the path of the checkpoint. Raises InputError if it has none."""
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
        content["settings"].pop("checkpoint", None)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)[:200]
        raise InputError(f"evaluation={file}: cannot be read ({reason}); give evaluation.json of evaluate.py") from None
    return content


def _digest(scores: Mapping[str, Any]) -> Any:
    return scores["settings"].get("sha256")
