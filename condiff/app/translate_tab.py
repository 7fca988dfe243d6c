"""The tab Translate."""

from pathlib import Path
from typing import Any

import gradio as gr

from condiff.app.folder import new_folder
from condiff.app.models import Loaded
from condiff.app.show import events, notes, one_line_errors, outcome, pictures
from condiff.app.translate import brightest, panels, read, save, translate
from condiff.errors import InputError

OF_FILE = "of the file"
HELP = (
    "The slice is turned into noise under its own contrast, and the noise into an image of the target contrast (DDIM inversion). "
    "The model invents what the scan does not show."
)


def translate_tab(loaded: Loaded, folder: Path) -> None:
    """Adds the upload, the choice of contrasts and slice, the images and the downloads."""
    model = loaded.model
    contrasts = [*model.contrasts]
    if not contrasts:
        gr.Markdown("This model is unconditional: it cannot translate between contrasts. Start the page with another, `ckpt=`.")
        return
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            upload = gr.File(label="NIfTI (.nii, .nii.gz) or fastMRI file (.h5)", file_count="single", elem_id="translate-file")
            source = gr.Dropdown([OF_FILE, *contrasts], value=OF_FILE, label="Source contrast", elem_id="translate-source")
            target = gr.Dropdown(contrasts, value=contrasts[-1], label="Target contrast", elem_id="translate-target")
            number = gr.Slider(0, 1, 0, step=1, label="Slice, from 0", visible=False, elem_id="translate-slice")
            run = gr.Button("Translate", variant="primary", elem_id="translate-run")
        with gr.Column(scale=3, min_width=320):
            gr.Markdown(HELP)
            shown, about, result, files, downloads = outcome("translate")

    @one_line_errors
    def uploaded(file: str | None) -> Any:
        if not file:
            return gr.Slider(visible=False), ""
        scan = read(model, Path(file))
        text = f"{len(scan.images)} slices of {scan.contrast or 'unknown contrast: choose the source contrast'}."
        count = max(len(scan.images) - 1, 1)
        return gr.Slider(0, count, brightest(scan, model), visible=len(scan.images) > 1), notes([text])

    @one_line_errors
    def made(file: str | None, source: str, target: str, number: int) -> Any:
        if not file:
            raise InputError("file: none is chosen; give a NIfTI or a fastMRI file")
        translation = translate(model, Path(file), None if source == OF_FILE else source, target, number)
        return pictures(panels(translation)), translation, gr.Button(visible=True), gr.File(None, visible=False)

    @one_line_errors
    def write(translation: Any) -> Any:
        return gr.File(save(translation, new_folder(folder)), visible=True)

    upload.change(uploaded, upload, [number, about], **events())
    run.click(made, [upload, source, target, number], [shown, result, files, downloads], **events())
    files.click(write, result, downloads, **events())
