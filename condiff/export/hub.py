"""Upload of an exported folder to the Hugging Face hub, by the extra `hub`."""

from pathlib import Path

from condiff.errors import InputError


def push(folder: Path, name: str) -> str:
    """Uploads a folder to the repository USER/NAME, which is made private if it is not there yet; returns its address.

    Raises:
        InputError: the package is missing, nobody is logged in, or the hub refuses.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
    except ImportError:
        raise InputError(f'push={name}: needs the package huggingface_hub; pip install "condiff[hub]"') from None
    api = HfApi()
    try:
        address = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Model of condiff")
    except (HFValidationError, LocalTokenNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"push={name}: not uploaded ({reason}); log in (hf auth login) and give push=USER/NAME. The folder is in {folder}"
        ) from None
    return str(address)
