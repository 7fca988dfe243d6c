"""The tab Reconstruct."""

from pathlib import Path
from typing import Any

import gradio as gr

from condiff.app.folder import new_folder
from condiff.app.models import Models
from condiff.app.reconstruct import METHODS, Settings, numbers, panels, phantom_scan, reconstruct, remarks, save, slice_number
from condiff.app.show import events, notes, one_line_errors, outcome, pictures, table
from condiff.configuration import choices
from condiff.data.phantom.volumes import CONTRASTS
from condiff.errors import InputError
from condiff.sampling import ANY

PHANTOM, FILE = "phantom", "fastMRI file"
OF_SCAN = "of the scan"
TITLES = {
    "posterior": "posterior: samples and their spread",
    "dds": "dds: one image",
    "sense": "sense: without a model",
    "zero_filled": "zero_filled: without a model",
}
HELP = "A fully sampled scan is undersampled, reconstructed with the model as the prior, and compared with the full scan."


def reconstruct_tab(models: Models, folder: Path) -> None:
    """Adds the choice of a scan and a method, the images and the downloads."""
    scans = new_folder(folder)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            prior = gr.Dropdown(models.available(), value=models.prior(), label="Model (the prior)", elem_id="reconstruct-prior")
            source = gr.Radio([PHANTOM, FILE], value=PHANTOM, label="Scan", elem_id="reconstruct-source")
            with gr.Row() as of_phantom:
                patient = gr.Number(0, label="Patient (seed)", precision=0, minimum=0, min_width=100)
                phantom_contrast = gr.Dropdown([*CONTRASTS], value="AXT2", label="Contrast", min_width=100)
            with gr.Column(visible=False) as of_file:
                upload = gr.File(label="fastMRI file with k-space (.h5)", file_count="single", elem_id="reconstruct-file")
                number = gr.Textbox(label="Slice, from 0; empty: middle", min_width=100)
            condition = gr.Dropdown(**_conditions(models, models.prior()), label="Contrast for the prior")
            with gr.Row():
                mask = gr.Dropdown(choices("mask"), value="equispaced_fraction", label="Mask", min_width=100)
                acceleration = gr.Slider(1, 12, 4, step=0.5, label="Acceleration", elem_id="reconstruct-acceleration")
            method = gr.Dropdown([(TITLES[name], name) for name in METHODS], value="posterior", label="Method")
            samples = gr.Slider(1, 32, 8, step=1, label="Samples")
            run = gr.Button("Reconstruct", variant="primary", elem_id="reconstruct-run")
        with gr.Column(scale=3, min_width=320):
            gr.Markdown(HELP)
            shown, measured, solved, files, downloads = outcome("reconstruct")

    def switch(source: str) -> Any:
        return gr.Row(visible=source == PHANTOM), gr.Column(visible=source == FILE)

    @one_line_errors
    def conditions(prior: str) -> Any:
        return gr.Dropdown(**_conditions(models, prior))

    @one_line_errors
    def solve(
        file: str | None,
        prior: str,
        source: str,
        patient: int,
        phantom_contrast: str,
        number: str,
        condition: str,
        mask: str,
        acceleration: float,
        method: str,
        samples: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008, gradio finds it by this default
    ) -> Any:
        if source == FILE and not file:
            raise InputError("scan: no file is chosen; give a fastMRI file with k-space (.h5), or choose the phantom")
        done = 0.0

        def on_step(share: float) -> None:
            nonlocal done
            done += share
            progress(min(max(done, 0.0), 1.0), desc="Reconstructing")

        progress(0.0, desc="Preparing the scan")
        path = Path(file) if source == FILE and file else phantom_scan(scans, phantom_contrast, patient)
        contrast, chosen = None if condition == OF_SCAN else condition, slice_number(number) if source == FILE else None
        settings = Settings(mask, acceleration, method, samples, contrast, chosen)
        result = reconstruct(models[prior], path, settings, on_step)
        heading, rows = ("", "PSNR", "SSIM"), numbers(result)
        text = (table(heading, rows) if rows else "") + notes(remarks(models[prior], result))
        return pictures(panels(result)), text, (result, settings), gr.Button(visible=True), gr.File(None, visible=False)

    @one_line_errors
    def write(solved: Any) -> Any:
        result, settings = solved
        return gr.File(save(result, settings, new_folder(folder)), visible=True)

    prior.input(conditions, prior, condition, **events())
    source.input(switch, source, [of_phantom, of_file], **events("choices"))
    method.input(lambda name: gr.Slider(visible=name in ("posterior", "dds")), method, samples, **events("choices"))
    inputs = [upload, prior, source, patient, phantom_contrast, number, condition, mask, acceleration, method, samples]
    run.click(solve, inputs, [shown, measured, solved, files, downloads], **events())
    files.click(write, solved, downloads, **events())


def _conditions(models: Models, prior: str) -> dict[str, Any]:
    """What a prior can be conditioned on. At first the contrast of the scan, or none if it knows no contrast of the phantom."""
    known = models[prior].model.contrasts
    return {"choices": [OF_SCAN, ANY, *known], "value": OF_SCAN if not known or {*known} & {*CONTRASTS} else ANY}
