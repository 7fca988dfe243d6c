"""Choice of the training precision."""

import torch


def fastest(accelerator: str = "auto") -> str:
    """Returns Lightning's name of the fastest precision: bfloat16 autocast if the hardware supports it, else float32.

    On a CPU that means AVX512-BF16 or AMX: there a training step takes half to 0.8 of the time, the larger the
    network the less (benchmarks/networks.py); elsewhere bfloat16 is emulated, and slower.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        native = False
    else:
        abilities: dict = getattr(torch.cpu, "get_capabilities", dict)()  # absent from older torch
        native = any(abilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16-mixed" if native else "32-true"
