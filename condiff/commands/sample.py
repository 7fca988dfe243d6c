"""Draw images from a checkpoint: python sample.py [ckpt=…] [contrast=…] [num_samples=…] [sampler=…] [steps=…] [out=DIR]."""

import logging

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig

from condiff.checkpoint.checkpoint import SAMPLING
from condiff.commands.cli import entry, job_folder
from condiff.commands.command_line import allow_checkpoint_fields
from condiff.commands.from_checkpoint import open_checkpoint, ready, sampling_of
from condiff.commands.provenance import attributes_of, settings_of
from condiff.commands.translate import translate_file
from condiff.data.conditioning import NAMES
from condiff.data.image_spec import ImageSpec
from condiff.diffusion.model import DiffusionModel
from condiff.errors import InputError, counted
from condiff.files import nifti, pictures, results
from condiff.images import FIGURE_IMAGES_PER_CONTRAST
from condiff.sampling import ANIMATED, ANY, SampleRequest, check_clamp, make_requests, resolve_contrasts
from condiff.sampling.cost import SamplingCost
from condiff.sampling.distributed import sample_distributed
from condiff.sampling.figures import animation, images_of, process, save, save_dicom, save_nifti

RESULTS = ("samples.h5", "translated.h5", "nifti", "dicom")
WRITERS = {"nifti": save_nifti, "dicom": save_dicom}
NEUTRAL_OPTIONS = ("ckpt", "out", "accelerator", "devices", "batch_size", "compile")  # options that do not change the images
log = logging.getLogger(__name__)


@entry("sample", allow_checkpoint_fields(*SAMPLING))
def main(cfg: DictConfig) -> None:
    cfg, checkpoint = open_checkpoint(cfg, *SAMPLING, shipped="phantom")
    model, spec, out = checkpoint.model(), checkpoint.spec(), job_folder(cfg.out)
    check_clamp(instantiate(cfg.clamp), spec.shape[0], model.codec.is_latent)
    requests = requests_of(cfg, model, spec)
    settings = settings_of(cfg, checkpoint, NEUTRAL_OPTIONS)
    results.check_folder(out, settings, RESULTS)
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=cfg.devices)
    fabric.launch()
    if fabric.is_global_zero:
        print(f"checkpoint  {checkpoint.title}")
    sampling = sampling_of(cfg, fabric.device)
    model = ready(model, cfg, fabric.device)
    sampling.check(model)
    if cfg.init is not None:
        if fabric.is_global_zero:
            translate_file(cfg, model, spec, requests, sampling, out, settings)
        return
    cost = SamplingCost()
    rounds = sample_distributed(fabric, model, spec, requests, sampling.counting(cost))
    states = [trajectory for batch in rounds for trajectory in batch]
    if fabric.is_global_zero:
        results.keep(out, settings)
        images = images_of(spec, requests, states, {**attributes_of(cfg, checkpoint), **requests[0].parameters})
        save(out, images, animation(spec, requests, states))
        if write := WRITERS.get(cfg.format):
            write(out / cfg.format, images)
        data = checkpoint.data()
        real = data.volumes.prepared_example(requests[0].contrast)
        if real is None:
            log.info("process.png shows a sample alone: no held-out image of the model's data is in the cache to add noise to")
        pictures.grid(process(model.cpu(), spec, states[0], real, cfg.seed, cfg.steps, data.kind)).save(out / "process.png")
        evaluations = cost.evaluations / len(requests[:: fabric.world_size])
        print(f"samples     {out}/samples.h5 ({counted(len(requests), 'image')})")
        print(f"picture     {out}/samples.png (at most {FIGURE_IMAGES_PER_CONTRAST} of each contrast)\nall files   {out}/")
        print(f"cost        {evaluations:g} network evaluations per image (guidance included)")


def requests_of(cfg: DictConfig, model: DiffusionModel, spec: ImageSpec) -> list[SampleRequest]:
    """Returns the requests of the command line. Raises InputError for contrasts or parameters that the model lacks."""
    contrasts = resolve_contrasts(cfg.contrast, spec.contrasts, model.conditional)
    parameters = {name: cfg[name] for name in NAMES if cfg[name] is not None}
    if cfg.format in WRITERS:
        list(map(nifti.file_stem, (contrast or ANY for contrast in contrasts)))
    for contrast in contrasts:
        spec.conditioning.encode(contrast, parameters, cfg.extrapolate)
    if cfg.init is None and (cfg.source or cfg.strength is not None or cfg.init_slices is not None):
        raise InputError("source, strength, init_slices: are options of translation; give the image, init=FILE")
    return make_requests(contrasts, cfg.num_samples, cfg.seed, cfg.shared_noise, parameters, cfg.extrapolate, ANIMATED)
