"""The card of a model: what it was trained on, how good it is, what the search for copies found, what it is for.

Sections as in Mitchell et al. 2019, Model Cards for Model Reporting. Everything is computed from the checkpoint and its
evaluation: counts and ranges, never a name of a patient, file or site.
"""

from collections.abc import Mapping
from typing import Any

from condiff.checkpoint import Checkpoint
from condiff.data.conditioning import PARAMETERS
from condiff.data.patients import Fingerprints
from condiff.evaluation.sets import POOLED
from condiff.evaluation.table import COLUMNS, score_rows

UNITS = {"slice": "", "tr": " ms", "te": " ms", "ti": " ms", "flip": "°", "field": " T"}
NO_EVALUATION = (
    "No evaluation is recorded: neither the quality of its images is known, nor **whether they are copies of patients**."
)


def card(checkpoint: Checkpoint, name: str, evaluation: Mapping[str, Any] | None, parameters: int) -> str:
    """Returns the card of a checkpoint in Markdown.

    Args:
        evaluation: content of evaluation.json; None: not evaluated.
        parameters: number of weights.
    """
    spec = checkpoint.spec()
    channels, rows, columns = spec.shape
    kind = "complex" if channels == 2 else "magnitude"
    contrasts = ", ".join(spec.contrasts)
    sections = [
        f"---\nlibrary_name: condiff\ntags: [diffusion, mri, brain]\nlicense: other # fill in\n---\n\n# {name}",
        f"A diffusion model of {kind} brain MR images, {rows} x {columns} pixels, field of view "
        f"{spec.transform.fov_mm:g} mm: {contrasts}. "
        f"{parameters / 1e6:.2f} million parameters.",
        _usage(name, spec.contrasts if checkpoint.model().conditional else (), kind),
        "## Training data\n\n" + _training(checkpoint),
        "## Evaluation\n\n" + (_scores(evaluation) if evaluation else NO_EVALUATION),
        *(["## Copies of training patients\n\n" + _copies(evaluation)] if evaluation else []),
        "## Intended use and limits\n\n" + _limits(checkpoint, kind),
        "## Licence\n\nFill in. It must agree with the licence or agreement of the training data.",
    ]
    return "\n\n".join(sections) + "\n"


def _usage(name: str, contrasts: tuple[str, ...], kind: str) -> str:
    call = (
        'result = model.reconstruct(kspace, mask, method="posterior", samples=8)'
        if kind == "complex"
        else f"images = model.sample({_quoted(contrasts)}n=4, seed=1)  # images.save('head.nii.gz')"
    )
    return f'```python\nimport condiff\n\nmodel = condiff.load("{name}")  # this folder\n{call}\n```'


def _quoted(contrasts: tuple[str, ...]) -> str:
    return f'"{contrasts[0]}", ' if contrasts else ""


def _training(checkpoint: Checkpoint) -> str:
    config = checkpoint.config["data"]
    source = "Simulated heads, the phantom of condiff" if checkpoint.is_simulated else "Scans of patients"
    own, *earlier = [len(patients.hashes) for patients in _patients(checkpoint)] or [0]
    numbers = [f"{own} patients"] if own else []
    numbers += [f"{checkpoint.content.get('global_step') or 0:,} steps of {config.get('batch_size', '?')} images"]
    lines = [f"{source}: {', '.join(numbers)}."]
    if earlier:
        count = ", ".join(map(str, earlier))
        lines.append(f"It began with, or was taught by, models of other data: {count} patients or simulated heads.")
    conditioning = checkpoint.spec().conditioning
    if conditioning.ranges:
        ranges = {contrast: conditioning.ranges.get(contrast, {}) for contrast in conditioning.contrasts}
        names = [name for name in PARAMETERS if any(name in spans for spans in ranges.values())]
        lines += ["", "| contrast | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        lines += [
            f"| {contrast} | " + " | ".join(_span(spans.get(name), name) for name in names) + " |"
            for contrast, spans in ranges.items()
        ]
        lines += ["", "Conditions outside these ranges were not trained."]
    return "\n".join(lines)


def _patients(checkpoint: Checkpoint) -> list[Fingerprints]:
    """The training patients of a checkpoint and of those before it; empty if they are not recorded."""
    return checkpoint.training_patients if "patients" in checkpoint.data_state else []


def _span(span: Any, name: str) -> str:
    if span is None:
        return "–"
    low, high = span
    return f"{low:g}{UNITS[name]}" if low == high else f"{low:g} to {high:g}{UNITS[name]}"


def _scores(evaluation: Mapping[str, Any]) -> str:
    scores, settings, held_out = evaluation["scores"], evaluation["settings"], evaluation["held_out"]
    lines = [
        f"{settings.get('num_samples', '?')} samples per contrast in {settings.get('steps', '?')} steps against "
        f"{held_out['images']} images of {held_out['patients']} held-out patients, contrasts pooled, with the half width of 95 % "
        "intervals, before any rounding of the weights to 16 bits. The score of real images against real images is the best that "
        "so many patients can show.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---|---|---|---|",
    ]
    contrast = POOLED if POOLED in scores else next(iter(scores), POOLED)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in score_rows(evaluation, contrast))])


def _copies(evaluation: Mapping[str, Any]) -> str:
    summary = str(evaluation["summary"])
    notes = [note for note in evaluation["notes"] if str(note).startswith("copies")]
    return "\n".join([f"{summary[:1].upper()}{summary[1:]}.", *(f"\n{note[:1].upper()}{note[1:]}." for note in notes)])


def _limits(checkpoint: Checkpoint, kind: str) -> str:
    lines = [
        "For research on methods: generation, augmentation and reconstruction of brain MR images. Not for diagnosis, and not a "
        "replacement for scans of patients.",
        "",
        "- Its images look like its training data and like nothing else: pathologies, scanners and protocols that are not among "
        "them are missing.",
        "- Details of generated images are invented. Those of a reconstruction may be; see its uncertainty.",
    ]
    if checkpoint.is_simulated and len(_patients(checkpoint)) == 1:
        lines.append(
            "- No patient is in its training data. The figures above are of simulated heads and say nothing of real ones."
        )
    else:
        lines.append("- A search can miss copies of patients. Follow the data agreement before you pass the model on.")
    if kind == "magnitude":
        lines.append("- It makes magnitudes only. For reconstruction a model of complex images is better.")
    return "\n".join(lines)
