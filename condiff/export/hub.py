"""Upload of an exported folder to the Hugging Face hub, by the extra `hub`."""

from pathlib import Path

from condiff.errors import InputError


def push(folder: Path, name: str) -> str:
    """Uploads a folder to the repository USER/NAME, which is made private if it is not there yet; returns its address.

    Raises:
        InputError: the package is missing, the hub refuses, or the repository is public.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise InputError(f'push={name}: needs the package huggingface_hub; pip install "condiff[hub]"') from None
    api = HfApi()
    try:
        address = api.create_repo(name, private=True, exist_ok=True)
        is_private = api.repo_info(name).private
        if is_private:
            api.upload_folder(repo_id=name, folder_path=folder, commit_message="Model of condiff")
    except Exception as error:  # of the hub, of its HTTP library, or of the network
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"push={name}: not uploaded ({reason}); {folder} is complete: when there is a connection and a login "
            f"(hf auth login), hf upload {name} {folder}"
        ) from None
    if not is_private:
        raise InputError(f"push={name}: is a public repository; give a new name, or upload {folder} yourself, hf upload")
    return str(address)
